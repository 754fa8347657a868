//! Walks a data directory, and tells each file that belongs to a backup. Nothing is collected: there may be millions.

use std::collections::HashSet;
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use dr_pipe::{Failure, warn};

use crate::{TOOL, control, names};

/// Something that belongs to a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A directory, by its path in the backup.
    Directory(String),
    /// A file, as it looked when its directory was read.
    File(Place),
}

/// A file's two places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its path in the backup.
    pub path: String,
    /// Where it lies now.
    pub source: PathBuf,
}

/// How a data directory is walked.
pub struct Walk<'w> {
    /// The data directory.
    pub pgdata: &'w Path,
    /// The directory in a tablespace that is this server's: `PG_15_202209061`.
    pub version: String,
    /// A directory that is passed over wherever it is: our own temporary files.
    pub ours: PathBuf,
    /// The tablespaces that existed when the backup began. Later ones come to be by WAL.
    pub tablespaces: Vec<u32>,
    /// Where in the data directory some of them lie, against all advice. They belong to the backup by their links.
    pub inside: HashSet<String>,
}

/// The paths of tablespaces that lie in the data directory.
pub fn inside(pgdata: &Path, tablespaces: &[u32]) -> HashSet<String> {
    let root = pgdata.canonicalize();
    let links = tablespaces.iter().map(|oid| pgdata.join(format!("pg_tblspc/{oid}"))).filter(|link| link.is_symlink());
    let places = links.filter_map(|link| Some(link.canonicalize().ok()?.strip_prefix(root.as_ref().ok()?).ok()?.to_owned()));
    places.filter_map(|place| place.to_str().map(str::to_owned)).collect()
}

impl Walk<'_> {
    /// Tells `each` whatever belongs to the backup, directories before what is in them. What vanishes meanwhile is passed over.
    ///
    /// # Errors
    /// If a directory cannot be read, or `each` fails.
    pub fn each(&self, each: &mut dyn FnMut(Found) -> Result<(), Failure>) -> Result<(), Failure> {
        self.directory(self.pgdata, "", each)
    }

    fn directory(&self, source: &Path, path: &str, each: &mut dyn FnMut(Found) -> Result<(), Failure>) -> Result<(), Failure> {
        let entries = match fs::read_dir(source) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_empty() => return Ok(()),
            entries => entries.map_err(|error| Failure::io(source.display(), &error))?,
        };
        let relations = names::is_database(path);
        // A file that is replaced meanwhile may be told twice, by some file systems; those of relations never come again.
        let mut seen = HashSet::new();
        for entry in entries {
            let entry = entry.map_err(|error| Failure::io(source.display(), &error))?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.contains(char::is_control)) else {
                warn(TOOL, format!("{:?} is left out: its name is not UTF-8, or has control characters", entry.path()));
                continue;
            };
            if names::is_left_out(name) || relations && names::is_temporary(name) {
                continue;
            }
            if names::relation_file(name).is_none() && !seen.insert(name.to_owned()) {
                continue;
            }
            let below = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            self.entry(&entry, below, each)?;
        }
        Ok(())
    }

    fn entry(&self, entry: &DirEntry, path: String, each: &mut dyn FnMut(Found) -> Result<(), Failure>) -> Result<(), Failure> {
        let source = entry.path();
        if source == self.ours || path == control::PATH {
            return Ok(());
        }
        if names::is_emptied(&path) {
            return self.emptied(path, each);
        }
        let kind = match entry.file_type() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            kind => kind.map_err(|error| Failure::io(source.display(), &error))?,
        };
        if kind.is_file() {
            each(Found::File(Place { path, source }))
        } else if kind.is_dir() {
            each(Found::Directory(path.clone()))?;
            if self.inside.contains(&path) { Ok(()) } else { self.directory(&source, &path, each) }
        } else if let Some(oid) = kind.is_symlink().then(|| path.strip_prefix("pg_tblspc/")).flatten() {
            let known = oid.parse().is_ok_and(|oid| self.tablespaces.contains(&oid));
            if known { self.tablespace(&source, path, each) } else { Ok(()) }
        } else if kind.is_symlink() && names::is_followed(&path) && source.is_dir() {
            each(Found::Directory(path.clone()))?;
            self.directory(&source, &path, each)
        } else if kind.is_socket() {
            // A server listens there, or did: a socket has nothing in it that could be lost.
            Ok(())
        } else {
            warn(TOOL, format!("{} is left out: neither a file nor a directory", source.display()));
            Ok(())
        }
    }

    fn emptied(&self, path: String, each: &mut dyn FnMut(Found) -> Result<(), Failure>) -> Result<(), Failure> {
        let status = (path == "pg_wal").then(|| "pg_wal/archive_status".to_owned());
        each(Found::Directory(path))?;
        status.map_or(Ok(()), |path| each(Found::Directory(path)))
    }

    /// A tablespace has a directory for each version of the server that ever used it.
    fn tablespace(&self, link: &Path, path: String, each: &mut dyn FnMut(Found) -> Result<(), Failure>) -> Result<(), Failure> {
        each(Found::Directory(path.clone()))?;
        let below = format!("{path}/{}", self.version);
        each(Found::Directory(below.clone()))?;
        self.directory(&link.join(&self.version), &below, each)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::symlink;

    use super::*;

    fn make(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
    }

    #[test]
    fn what_is_told_is_what_postgresql_would_send() {
        let scratch = tempfile::tempdir().unwrap();
        let (pgdata, disk) = (scratch.path().join("data"), scratch.path().join("disk"));
        make(&pgdata, &["PG_VERSION", "postmaster.pid", "global/pg_control", "global/1262", "base/5/16384", "base/5/t3_16385"]);
        make(&pgdata, &["base/5/pg_internal.init", "base/pgsql_tmp/x", "log/today.log", "ours/spool", "pg_stat_tmp/x"]);
        make(&disk, &["wal/000000010000000000000001", "space/PG_15_1/5/16390", "space/PG_14_1/5/16391", "later/PG_15_1/5/1"]);
        fs::create_dir(pgdata.join("pg_tblspc")).unwrap();
        symlink(disk.join("wal"), pgdata.join("pg_wal")).unwrap();
        symlink(disk.join("space"), pgdata.join("pg_tblspc/16400")).unwrap();
        symlink(disk.join("later"), pgdata.join("pg_tblspc/16401")).unwrap();
        make(&pgdata, &["inside/PG_15_1/5/9"]);
        symlink(pgdata.join("inside"), pgdata.join("pg_tblspc/16402")).unwrap();
        make(&disk, &["xact/0000", "photos/1"]);
        symlink(disk.join("xact"), pgdata.join("pg_xact")).unwrap();
        symlink(disk.join("photos"), pgdata.join("photos")).unwrap();
        symlink("/etc/passwd", pgdata.join("link")).unwrap();
        let _listens = std::os::unix::net::UnixListener::bind(pgdata.join(".s.PGSQL.5432")).unwrap();

        let tablespaces = vec![16400, 16402];
        let walk = Walk {
            pgdata: &pgdata,
            version: "PG_15_1".into(),
            ours: pgdata.join("ours"),
            inside: inside(&pgdata, &tablespaces),
            tablespaces,
        };
        let mut told = Vec::new();
        walk.each(&mut |found| {
            told.push(match found {
                Found::Directory(path) => path + "/",
                Found::File(place) => place.path,
            });
            Ok(())
        })
        .unwrap();
        told.sort();
        let expected = [
            "PG_VERSION",
            "base/",
            "base/5/",
            "base/5/16384",
            "global/",
            "global/1262",
            "inside/",
            "log/",
            "log/today.log",
            "pg_stat_tmp/",
            "pg_tblspc/",
            "pg_tblspc/16400/",
            "pg_tblspc/16400/PG_15_1/",
            "pg_tblspc/16400/PG_15_1/5/",
            "pg_tblspc/16400/PG_15_1/5/16390",
            "pg_tblspc/16402/",
            "pg_tblspc/16402/PG_15_1/",
            "pg_tblspc/16402/PG_15_1/5/",
            "pg_tblspc/16402/PG_15_1/5/9",
            "pg_wal/",
            "pg_wal/archive_status/",
            "pg_xact/",
            "pg_xact/0000",
        ];
        assert_eq!(told, expected);
    }
}
