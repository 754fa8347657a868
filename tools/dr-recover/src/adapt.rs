//! Files that are not written as the backup has them: configuration, the map of tablespaces, and the signal to recover.

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
        let conf = match from_outside {
            Some(conf) => Some(conf),
            None => text(archive, "postgresql.conf")?,
        };
        Ok(Configuration { conf, auto: text(archive, "postgresql.auto.conf")?.unwrap_or_default() })
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
            for directory in included(conf) {
                // A server does not start where a folder that it includes is missing, be it empty.
                std::fs::create_dir_all(data.join(&directory)).map_err(|error| Failure::io(&directory, &error))?;
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

/// Folders that `include_dir` names, beside the file.
fn included(conf: &str) -> Vec<String> {
    let lines = conf.lines().map(str::trim).filter_map(|line| line.strip_prefix("include_dir"));
    let values = lines.filter_map(|rest| rest.trim_start_matches([' ', '\t', '=']).split('\'').nth(1).map(str::to_owned));
    values.filter(|value| !value.starts_with('/') && !value.is_empty() && !value.split('/').any(|part| part == "..")).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_are_included_are_known() {
        let conf = "include_dir = 'conf.d'\t\t# here\n#include_dir = 'x'\ninclude_dir '/etc/y'\ninclude_dir='../z'\n";
        assert_eq!(included(conf), ["conf.d"]);
    }
}
