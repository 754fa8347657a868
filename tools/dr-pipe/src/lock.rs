//! How is only one at work at a time? By the kernel's lock on a file: it ends with whoever held it, however that ended.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::{Failure, state};

/// How often a lock that somebody has is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Takes the lock of a file, which is made where it is missing; none if another process has it. It is held until it is dropped. The
/// directory is not made: what somebody has removed must not come back by a lock.
///
/// # Errors
/// 66, 74 or 77 as the file system says, with the file's name and its owner's.
pub fn take(path: &Path) -> Result<Option<File>, Failure> {
    wait(path, Duration::ZERO)
}

/// The same; waits for who has it for as long as `patience`.
///
/// # Errors
/// As [`take`].
pub fn wait(path: &Path, patience: Duration) -> Result<Option<File>, Failure> {
    let file = state::create(OpenOptions::new().write(true), path).map_err(|error| Failure::file(path, &error))?;
    let end = Instant::now() + patience;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            Err(Errno::WOULDBLOCK) if Instant::now() < end => std::thread::park_timeout(LOOK),
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(Failure::file(path, &error.into())),
        }
    }
}

/// Writes into a lock that we have who we are. That is a help, and no need: a disk that is full has no room for it.
pub fn sign(mut lock: &File, words: &str) {
    drop(lock.set_len(0).and_then(|()| writeln!(lock, "{words}")));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Exit;

    #[test]
    fn one_has_it_until_he_lets_go_and_what_is_no_file_is_a_failure_and_no_endless_wait() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("lock");
        assert_eq!(take(&scratch.path().join("gone/lock")).unwrap_err().exit, Exit::Missing);
        assert!(!scratch.path().join("gone").exists());
        let held = take(&path).unwrap().unwrap();
        sign(&held, "17");
        assert!(take(&path).unwrap().is_none() && wait(&path, Duration::from_millis(80)).unwrap().is_none());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "17\n");
        drop(held);
        assert!(take(&path).unwrap().is_some());
        std::fs::remove_file(&path).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        assert_eq!(take(&path).unwrap_err().exit, Exit::Io);
    }
}
