//! One dr-delete at a time: two would leave the tombstone of one with the signature of the other.

use std::fs::{self, File};

use dr_pipe::{Exit, Failure, lock, state, warn};

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
        let path = directory.join(FILE);
        match state::make(&directory).and_then(|()| lock::take(&path)) {
            Ok(Some(file)) => {
                lock::sign(&file, &std::process::id().to_string());
                Ok(Lock(Some(file)))
            }
            Ok(None) => {
                let pid = fs::read_to_string(path).unwrap_or_default();
                let pid = if pid.is_empty() { String::new() } else { format!(" (pid {})", pid.trim_end()) };
                Err(Failure::new(Exit::Busy, format!("another dr-delete is at work{pid}"), "run it again later"))
            }
            Err(Failure { message, hint, .. }) => {
                warn(TOOL, format!("nothing keeps two of these apart: {message} ({hint})"));
                Ok(Lock(None))
            }
        }
    }
}
