//! A scratch directory that goes with its owner, also when a signal ends the tool.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::stop::{OnStop, gate, on_stop};
use crate::{Exit, Failure};

/// A temporary directory, mode 0700; removed when dropped, and when the tool is told to stop. SIGKILL leaves it behind.
#[derive(Debug)]
pub struct Scratch {
    directory: TempDir,
    _on_stop: OnStop,
}

impl Scratch {
    /// Makes one below `$TMPDIR`.
    ///
    /// # Errors
    /// 74 or 77 as the file system says.
    pub fn new() -> Result<Self, Failure> {
        Scratch::below(&std::env::temp_dir())
    }

    /// Makes one below `parent`.
    ///
    /// # Errors
    /// As [`Scratch::new`].
    pub fn below(parent: &Path) -> Result<Self, Failure> {
        // Said outright: the umask alone would let others read what children write there, such as the passwords of roles.
        let owner_alone = std::fs::Permissions::from_mode(0o700);
        let _open = gate();
        let directory = tempfile::Builder::new().prefix("dr-").permissions(owner_alone).tempdir_in(parent);
        let directory = directory.map_err(|error| unusable(parent, &error))?;
        let path = directory.path().to_owned();
        let on_stop = on_stop(move || remove(&path));
        Ok(Scratch { directory, _on_stop: on_stop })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// That it is not there is no more missing input than that it is full.
fn unusable(temporary: &Path, error: &std::io::Error) -> Failure {
    let failure = Failure::io(temporary.display(), error);
    match error.kind() {
        std::io::ErrorKind::NotFound => Failure::new(Exit::Io, failure.message, "TMPDIR has to name a directory that is there"),
        _ => failure,
    }
}

/// Removes a directory into which a child that is being ended may still write for a moment. What cannot be removed by then
/// is left to whoever cleans $TMPDIR.
fn remove(path: &Path) {
    for _ in 0..50 {
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => std::thread::park_timeout(Duration::from_millis(20)),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn f24_a_scratch_directory_is_for_its_owner_alone() {
        let scratch = Scratch::new().unwrap();
        assert_eq!(scratch.path().metadata().unwrap().permissions().mode() & 0o7777, 0o700);
    }

    #[test]
    fn a_temporary_directory_that_is_not_there_is_no_missing_input() {
        let failure = unusable(Path::new("/nowhere"), &std::io::Error::from(std::io::ErrorKind::NotFound));
        assert_eq!((failure.exit, failure.hint.contains("TMPDIR")), (Exit::Io, true));
        assert_eq!(unusable(Path::new("/tmp"), &std::io::Error::from(std::io::ErrorKind::PermissionDenied)).exit, Exit::Denied);
    }
}
