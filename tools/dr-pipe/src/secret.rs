//! Where does a secret come from? From a file of its own, never from the command line or the environment.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::{Exit, Failure};

/// Where a secret file lies: `path` as it is, or `cred:NAME` for `$CREDENTIALS_DIRECTORY/NAME` (systemd.exec(5)).
///
/// # Errors
/// 78 where `cred:` is asked for outside a unit that loads credentials.
pub fn locate(path: &str) -> Result<PathBuf, Failure> {
    let Some(name) = path.strip_prefix("cred:") else { return Ok(path.into()) };
    match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(directory) => Ok(Path::new(&directory).join(name)),
        None => Err(Failure::new(
            Exit::Config,
            format!("{path}: there is no $CREDENTIALS_DIRECTORY"),
            "cred: names work in a systemd unit with LoadCredential=; elsewhere give a path",
        )),
    }
}

/// Reads a secret file (see [`locate`]); refuses one that others can read.
///
/// # Errors
/// 66 if it is not there, 77 if its mode lets group or others in, or we may not read it, 74 if reading fails.
pub fn read(path: &str) -> Result<String, Failure> {
    let located = locate(path)?;
    let shown = located.display();
    let metadata = std::fs::metadata(&located).map_err(|error| Failure::io(&shown, &error))?;
    if metadata.is_file() && metadata.mode() & 0o077 != 0 {
        return Err(Failure::new(
            Exit::Denied,
            format!("{shown}: its mode {:04o} lets others read it", metadata.mode() & 0o7777),
            format!("chmod 600 {shown}"),
        ));
    }
    std::fs::read_to_string(&located).map_err(|error| Failure::io(&shown, &error))
}
