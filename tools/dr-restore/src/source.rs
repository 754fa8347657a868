//! What is to be restored: found by name in stores, in a file, or on standard input; and of which kind it is.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use dr_catalogue::{CatalogueArgs, Scope, Selector};
use dr_crypt::IdentityArgs;
use dr_pipe::record::{Extent, SignatureState};
use dr_pipe::{Exit, Failure, Tally, output, stream, warn};
use tempfile::NamedTempFile;

use crate::TOOL;
use crate::archive_source::Archive;
use crate::bytes::{self, Bytes, Sequential, Stored};
use crate::foreign::{Foreign, Format};

/// Where the backup comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// From stores.
    Stores(Scope, Selector),
    /// From a file, or a dump in directory format.
    Path(PathBuf),
    /// From standard input.
    Stdin,
}

/// Where, and with what it is opened.
pub struct Request<'a> {
    /// Where it comes from.
    pub input: Input,
    /// Stores and trusted keys.
    pub catalogue: &'a CatalogueArgs,
    /// What decrypts it.
    pub identities: &'a IdentityArgs,
    /// Where a stream on standard input is kept.
    pub spool_dir: &'a Path,
}

/// A backup that is open for reading.
pub enum Source {
    /// A dump of ours.
    Archive(Box<Archive>),
    /// A dump of pg_dump.
    Foreign(Foreign),
}

impl Request<'_> {
    /// Finds and opens the backup. What cannot be read in any order is first kept in a file.
    ///
    /// # Errors
    /// 65 for what is damaged or no backup, 66 for what is not there or empty, 77 without the right identity, 81 for a wrong
    /// signature.
    pub fn open(self) -> Result<Source, Failure> {
        match &self.input {
            Input::Stores(scope, selector) => self.find(scope, selector),
            Input::Path(path) if path.is_dir() => Foreign::directory(path).map(Source::Foreign),
            Input::Path(path) => {
                let name = path.display().to_string();
                let file = File::open(path).map_err(|error| Failure::io(&name, &error))?;
                self.recognise(Bytes::open(&name, Stored::file(file), self.identities, &[])?, Some(path))
            }
            Input::Stdin => {
                let mut input = stream::input()?;
                let file = stream::input_file().map_or_else(|| self.kept(&mut input), Ok)?;
                self.recognise(Bytes::open("standard input", Stored::file(file), self.identities, &[])?, None)
            }
        }
    }

    fn find(&self, scope: &Scope, selector: &Selector) -> Result<Source, Failure> {
        let found = self.catalogue.open()?.find(scope, selector).map_err(|error| if_a_base(error.into(), selector))?;
        found.warnings.iter().for_each(|warning| warn(TOOL, warning));
        let manifest = &found.backup.manifest;
        let signed = found.backup.signature == SignatureState::Good;
        if !signed {
            warn(TOOL, format!("the signature of {} was not checked: no public key is known (--public-key KEY)", manifest.name));
        }
        let name = format!("{}/{}", found.store.location(), found.object_key);
        let object = found.store.reader(&found.object_key)?;
        if object.size() != manifest.bytes {
            let message = format!("{name} has {} bytes, its manifest says {}", object.size(), manifest.bytes);
            return Err(Failure::new(Exit::Damaged, message, "use another copy of this backup, if there is one"));
        }
        let stored = Stored::Object(Box::new(object));
        let Some(root) = &manifest.produced.archive else {
            let file = self.download(&name, stored, Extent { bytes: manifest.bytes, sha256: manifest.sha256 })?;
            let bytes = Bytes::open(&name, Stored::file(file), self.identities, &manifest.recipients)?;
            return self.recognise(bytes, None).map(|source| source.signed(signed));
        };
        let bytes = Bytes::open(&name, stored, self.identities, &manifest.recipients)?;
        let mut archive = Archive::open(bytes, Some(root))?;
        archive.signed = signed;
        archive.backup = Some(manifest.name.clone());
        Ok(Source::Archive(Box::new(archive)))
    }

    /// Reads an object that has no digests of its own whole, and proves it by that of its manifest.
    fn download(&self, name: &str, mut stored: Stored, expected: Extent) -> Result<File, Failure> {
        let mut file = tempfile::tempfile_in(self.spool_dir).map_err(|error| spool_failure(self.spool_dir, &error))?;
        let found = copy(&mut stored, &mut file, self.spool_dir, name)?;
        if found == expected {
            return Ok(file);
        }
        let message = format!("{name} is damaged: its SHA-256 is {}, its manifest says {}", found.sha256, expected.sha256);
        Err(Failure::new(Exit::Damaged, message, "use another copy of this backup, if there is one; nothing was restored"))
    }

    /// A stream, in a file without a name.
    fn kept(&self, input: &mut impl Read) -> Result<File, Failure> {
        let mut file = tempfile::tempfile_in(self.spool_dir).map_err(|error| spool_failure(self.spool_dir, &error))?;
        copy(input, &mut file, self.spool_dir, "standard input")?;
        Ok(file)
    }

    /// `path` where the plain bytes have a name that other programs can open.
    fn recognise(&self, bytes: Bytes, path: Option<&Path>) -> Result<Source, Failure> {
        let mut head = Vec::new();
        let mut reader = Sequential::new(bytes.plain()?).take(HEAD_BYTES);
        reader.read_to_end(&mut head).map_err(|error| bytes::failure(&bytes.name, error))?;
        let format = match Magic::of(&head) {
            Magic::Zstandard => return Archive::open(bytes, None).map(Box::new).map(Source::Archive),
            Magic::Foreign(format) => format,
            Magic::Unknown => {
                return Err(Failure::new(
                    Exit::Damaged,
                    format!("{} is no backup: neither an archive nor a dump of pg_dump", bytes.name),
                    "see what it is with file(1); dr-restore reads archives of dr, and pg_dump's custom, directory and SQL formats",
                ));
            }
        };
        match path {
            Some(path) if bytes.is_plain() => Ok(Source::Foreign(Foreign::file(path, format))),
            _ => Ok(Source::Foreign(Foreign::spooled(self.spool(&bytes)?, format, &bytes.name))),
        }
    }

    /// Writes the plain bytes to a file that other programs can open: for as long as it takes, only for its owner.
    fn spool(&self, bytes: &Bytes) -> Result<NamedTempFile, Failure> {
        let mut file = tempfile::Builder::new()
            .prefix("dr-restore-")
            .tempfile_in(self.spool_dir)
            .map_err(|error| spool_failure(self.spool_dir, &error))?;
        copy(&mut Sequential::new(bytes.plain()?), file.as_file_mut(), self.spool_dir, &bytes.name)?;
        Ok(file)
    }
}

impl Source {
    fn signed(mut self, signed: bool) -> Self {
        match &mut self {
            Source::Archive(archive) => archive.signed = signed,
            Source::Foreign(foreign) => foreign.signed = signed,
        }
        self
    }
}

/// How much is looked at to tell what it is: a tar shows itself at 257 bytes.
const HEAD_BYTES: u64 = 512;

/// What bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Magic {
    Zstandard,
    Foreign(Format),
    Unknown,
}

impl Magic {
    fn of(head: &[u8]) -> Magic {
        match head {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Magic::Zstandard,
            _ if head.starts_with(b"PGDMP") => Magic::Foreign(Format::Custom),
            [0x1f, 0x8b, ..] => Magic::Foreign(Format::GzippedSql),
            _ if head.starts_with(b"toc.dat\0") => Magic::Foreign(Format::Tar),
            _ if !head.is_empty() && !head.contains(&0) && is_script(head) => Magic::Foreign(Format::Sql),
            _ => Magic::Unknown,
        }
    }
}

/// Whether a text begins as SQL does: with a comment, a statement, or with a command for psql, which is looked at later.
fn is_script(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    let first = text.trim_start_matches('\u{feff}').trim_start();
    let word = first.split(|char: char| !char.is_ascii_alphabetic()).next().unwrap_or_default().to_ascii_lowercase();
    let statements = ["begin", "set", "create", "select", "copy", "insert", "alter", "drop", "do", "comment", "grant", "start"];
    (first.starts_with("--") && !first.starts_with("-----BEGIN"))
        || first.starts_with("/*")
        || first.starts_with('\\')
        || statements.contains(&word.as_str())
}

fn copy(from: &mut impl Read, to: &mut File, spool_dir: &Path, name: &str) -> Result<Extent, Failure> {
    let mut tally = Tally::default();
    let mut chunk = vec![0; stream::CHUNK_BYTES];
    loop {
        let n = match from.read(&mut chunk) {
            Ok(0) => return Ok(tally.extent()),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(bytes::failure(name, error)),
        };
        tally.update(&chunk[..n]);
        output::write_all(to, &chunk[..n]).map_err(|error| spool_failure(spool_dir, &error))?;
    }
}

fn spool_failure(spool_dir: &Path, error: &io::Error) -> Failure {
    let mut failure = Failure::io(format!("spool directory {}", spool_dir.display()), error);
    failure.hint = "name a directory with room for the whole backup: --spool-dir, or DR_SPOOL_DIR; nothing was restored".into();
    failure
}

/// Whoever names a base wants a cluster back.
fn if_a_base(failure: Failure, selector: &Selector) -> Failure {
    match selector {
        Selector::Name(name) if failure.exit == Exit::Missing && name.contains("_base_") => {
            let hint =
                format!("a base is a whole cluster: dr-recover --backup {name}; dr-list --kind dump shows what this can restore");
            Failure { hint, ..failure }
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_by_their_first_bytes() {
        let table: [(&[u8], Magic); 11] = [
            (b"\x28\xb5\x2f\xfd\x04", Magic::Zstandard),
            (b"PGDMP\x01\x0f", Magic::Foreign(Format::Custom)),
            (b"\x1f\x8b\x08", Magic::Foreign(Format::GzippedSql)),
            (b"toc.dat\0\0\0", Magic::Foreign(Format::Tar)),
            (b"--\n-- PostgreSQL database dump\n--\n", Magic::Foreign(Format::Sql)),
            (b"\\restrict abc\n", Magic::Foreign(Format::Sql)),
            (b"\n  CREATE TABLE t ();", Magic::Foreign(Format::Sql)),
            (b"hello, world", Magic::Unknown),
            (b"SELECT\0", Magic::Unknown),
            (b"-----BEGIN AGE ENCRYPTED FILE-----\n", Magic::Unknown),
            (b"", Magic::Unknown),
        ];
        for (head, magic) in table {
            assert_eq!(Magic::of(head), magic, "{:?}", String::from_utf8_lossy(head));
        }
    }
}
