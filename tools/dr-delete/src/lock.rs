//! One dr-delete at a time: two would leave the tombstone of one with the signature of the other.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use dr_pipe::{Exit, Failure, state, warn};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::TOOL;

/// The file in the state directory that whoever is at work has locked.
const FILE: &str = "delete.lock";

/// Held until it is dropped; it ends with the process. None where there is no place for it, of which it warns.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "it is held")] Option<File>);

impl Lock {
    /// Takes the lock of this state directory.
    ///
    /// # Errors
    /// 75 where another process has it.
    pub fn take() -> Result<Lock, Failure> {
        let Some(directory) = state::directory() else {
            warn(TOOL, "no state directory, so that nothing keeps two of these apart: set DR_STATE");
            return Ok(Lock(None));
        };
        match lock(&directory) {
            Ok(Some(file)) => Ok(Lock(Some(file))),
            Ok(None) => {
                let pid = fs::read_to_string(directory.join(FILE)).unwrap_or_default();
                let pid = if pid.is_empty() { String::new() } else { format!(" (pid {})", pid.trim_end()) };
                Err(Failure::new(Exit::Busy, format!("another dr-delete is at work{pid}"), "run it again later"))
            }
            Err(error) => {
                let file = directory.join(FILE);
                warn(TOOL, format!("nothing keeps two of these apart: {}: {error}", file.display()));
                Ok(Lock(None))
            }
        }
    }
}

/// None if somebody else has it.
fn lock(directory: &Path) -> io::Result<Option<File>> {
    fs::create_dir_all(directory)?;
    let mut file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(directory.join(FILE))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // Whose it is, is a help, and no need: a disk that is full has no room for it.
            drop(file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())));
            Ok(Some(file))
        }
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
