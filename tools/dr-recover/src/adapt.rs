//! Files that are not written as the backup has them: configuration, the map of tablespaces, and the signal to recover.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use dr_pipe::{Failure, warn};

use crate::TOOL;
use crate::layout::CONFIG;
use crate::settings::{self, Recovery};
use crate::stored::Archive;
use crate::tablespaces::{Placed, map};

/// Largest file of configuration that is read.
const MAX_BYTES: u64 = 16 << 20;

/// Who may connect, where nobody has said: whoever runs the server.
const PEER: &str = "local all all peer\n";

/// The configuration of a base.
pub struct Configuration {
    /// `postgresql.conf`, without the places of another machine; none where there is none.
    pub conf: Option<String>,
    /// What it includes, by the path in the data directory.
    pub included: BTreeMap<String, String>,
    /// `postgresql.auto.conf`.
    pub auto: String,
}

impl Configuration {
    /// Reads it: that from outside the data directory where `outside` says so.
    ///
    /// # Errors
    /// 65 where it is damaged, or no text.
    pub fn read(archive: &Archive, outside: bool) -> Result<Self, Failure> {
        let from_outside = if outside { text(archive, &format!("{CONFIG}postgresql.conf"))? } else { None };
        let (top, conf) = match from_outside {
            Some(conf) => (CONFIG, Some(conf)),
            None => ("", text(archive, "postgresql.conf")?),
        };
        let included = included(archive, top, conf.as_deref().unwrap_or_default())?;
        Ok(Configuration { conf, included, auto: text(archive, "postgresql.auto.conf")?.unwrap_or_default() })
    }

    /// Whether files outside the data directory are named, instead of those in it.
    pub fn points_away(&self) -> bool {
        self.conf.iter().chain(self.included.values()).any(|text| settings::points_away(text))
    }
}

fn text(archive: &Archive, path: &str) -> Result<Option<String>, Failure> {
    // Comments in old files are in any encoding.
    Ok(archive.member(path, MAX_BYTES)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Writes them into `data`. `signal` is the file that says how the server begins.
///
/// # Errors
/// 74 or 77 as the file system says.
pub fn write(
    data: &Path,
    configuration: &Configuration,
    recovery: &Recovery,
    placed: &[Placed],
    signal: &str,
) -> Result<(), Failure> {
    match &configuration.conf {
        Some(conf) => {
            file(&data.join("postgresql.conf"), settings::conf(conf).as_bytes())?;
            folders(data, "", conf)?;
            for (path, text) in &configuration.included {
                let adapted = settings::conf(text);
                if adapted != *text {
                    file(&data.join(path), adapted.as_bytes())?;
                }
                folders(data, path.rfind('/').map_or("", |slash| &path[..=slash]), text)?;
            }
        }
        None => {
            warn(TOOL, "the backup has no postgresql.conf: the server starts with PostgreSQL's defaults");
            file(&data.join("postgresql.conf"), b"")?;
        }
    }
    if !data.join("pg_hba.conf").exists() {
        warn(TOOL, "the backup has no pg_hba.conf: only the user that runs the server may connect");
        file(&data.join("pg_hba.conf"), PEER.as_bytes())?;
    }
    file(&data.join("postgresql.auto.conf"), settings::auto_conf(&configuration.auto, recovery).as_bytes())?;
    if !placed.is_empty() {
        file(&data.join("tablespace_map"), map(placed).as_bytes())?;
    }
    file(&data.join(signal), b"")
}

/// Makes the folders that a file in `folder` includes: a server does not start where one is missing, be it empty.
fn folders(data: &Path, folder: &str, conf: &str) -> Result<(), Failure> {
    let conf: String =
        conf.lines().filter(|line| line.trim_start().starts_with("include_dir")).flat_map(|line| [line, "\n"]).collect();
    let make = |path: String| std::fs::create_dir_all(data.join(&path)).map_err(|error| Failure::io(&path, &error));
    places(folder, &conf).into_iter().try_for_each(make)
}

/// The files that a configuration in the folder `top` includes, and those that they do, by their paths from there.
fn included(archive: &Archive, top: &str, conf: &str) -> Result<BTreeMap<String, String>, Failure> {
    let mut found = BTreeMap::new();
    let mut unread = vec![(String::new(), conf.to_owned())];
    while let Some((folder, conf)) = unread.pop() {
        for place in places(&folder, &conf) {
            let (file, below) = (format!("{top}{place}"), format!("{top}{place}/"));
            let belongs = |path: &str| {
                let name = path.strip_prefix(&below);
                path == file || name.is_some_and(|name| name.ends_with(".conf") && !name.starts_with('.') && !name.contains('/'))
            };
            for member in archive.contents().members().filter(|member| belongs(&member.path)) {
                let path = &member.path[top.len()..];
                if let (false, Some(text)) = (found.contains_key(path), text(archive, &member.path)?) {
                    let folder = path.rfind('/').map_or("", |slash| &path[..=slash]);
                    unread.push((folder.to_owned(), text.clone()));
                    found.insert(path.to_owned(), text);
                }
            }
        }
    }
    Ok(found)
}

/// What a file in `folder` includes that lies below the first: by its path from there.
fn places(folder: &str, conf: &str) -> Vec<String> {
    let below = |path: &String| !path.starts_with('/') && !path.is_empty() && !path.split('/').any(|part| part == "..");
    settings::inclusions(conf).filter(below).map(|path| format!("{folder}{}", path.trim_end_matches('/'))).collect()
}

/// Writes a file anew, for its owner alone.
///
/// # Errors
/// 74 or 77 as the file system says.
pub fn file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    let written = options.open(path).and_then(|mut file| file.write_all(bytes));
    written.map_err(|error| Failure::io(path.display(), &error))
}

/// Adds a line to a file, durably.
///
/// # Errors
/// 74 or 77 as the file system says.
pub fn append(path: &Path, line: &str) -> Result<(), Failure> {
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    opened
        .and_then(|mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(|error| Failure::io(path.display(), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_are_included_are_known() {
        let conf = "include_dir = 'conf.d'\t\t# here\n#include_dir = 'x'\ninclude_dir '/etc/y'\ninclude_dir='../z'\n";
        assert_eq!(places("", conf), ["conf.d"]);
        assert_eq!(places("a/", "include x.conf\ninclude_if_exists 'b/y.conf' # z\n"), ["a/x.conf", "a/b/y.conf"]);
    }
}
