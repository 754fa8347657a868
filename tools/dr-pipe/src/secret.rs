//! Where does a secret come from? From a file of its own, never from the command line or the environment.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::{Exit, Failure};

/// Largest file that is read, in bytes: no key comes near it.
const MAX_BYTES: u64 = 1 << 20;

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

/// Reads a secret file (see [`locate`]); refuses one that others can read. One of root's may be lent to a group, as libpq takes it, and
/// as Kubernetes and newer systemd hand out credentials.
///
/// # Errors
/// 66 if it is not there, 77 if its mode lets group or others in, or we may not read it, 78 if it is no text or larger than
/// any key, 74 if reading fails.
pub fn read(path: &str) -> Result<String, Failure> {
    let located = locate(path)?;
    let shown = located.display();
    let metadata = std::fs::metadata(&located).map_err(|error| Failure::io(&shown, &error))?;
    let lent = metadata.uid() == 0 && !rustix::process::geteuid().is_root();
    if metadata.is_file() && metadata.mode() & if lent { 0o037 } else { 0o077 } != 0 {
        return Err(Failure::new(
            Exit::Denied,
            format!("{shown}: its mode {:04o} lets others read it", metadata.mode() & 0o7777),
            format!("chmod 600 {shown}"),
        ));
    }
    let mut text = String::new();
    let read = std::fs::File::open(&located).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text));
    match read {
        Ok(bytes) if bytes as u64 <= MAX_BYTES => Ok(text),
        Ok(_) => Err(no_key(&shown, "larger than 1 MiB")),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(no_key(&shown, "not a text")),
        Err(error) => Err(Failure::io(&shown, &error)),
    }
}

fn no_key(shown: impl std::fmt::Display, why: &str) -> Failure {
    Failure::new(Exit::Config, format!("{shown}: {why}: no key file"), "name the file that the key was made into")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_can_be_no_key_is_refused_before_it_fills_the_memory() {
        assert_eq!(read("/dev/zero").unwrap_err().exit, Exit::Config);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"\xff\xfe").unwrap();
        assert_eq!(read(file.path().to_str().unwrap()).unwrap_err().exit, Exit::Config);
    }
}
