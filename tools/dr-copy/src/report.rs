//! What is said: a record for whatever is complete, and every failure once, the worst of them last.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dr_pipe::record::{self, Copied, Record};
use dr_pipe::{Exit, Failure, Outcome, stop};

/// The tool's name, as it begins what it says.
pub const TOOL: &str = "dr-copy";

/// What has become of a run so far.
#[derive(Default)]
pub struct Report {
    worst: Mutex<Option<Failure>>,
}

impl Report {
    /// Says that something is complete.
    pub fn copied(&self, copied: Copied) {
        let mut output = io::stdout().lock();
        let written = record::write(&mut output, &Record::Copied(Box::new(copied))).and_then(|()| output.flush());
        if let Err(error) = written {
            drop(output);
            self.failed(Failure::io("standard output", &error).leaving("what is copied is there all the same"));
        }
    }

    /// Says what failed: at once, unless it may be the worst there is, which is said at the end.
    pub fn failed(&self, failure: Failure) {
        // What a stop takes away is its own affair.
        if stop::stopping() {
            return;
        }
        let mut worst = self.worst();
        let lesser = match &*worst {
            Some(known) if known.exit >= failure.exit => Some(failure),
            _ => worst.replace(failure),
        };
        if let Some(Failure { message, .. }) = lesser {
            warn(message);
        }
    }

    /// How the run ends.
    pub fn end(&self) -> Outcome {
        match self.worst().take() {
            None => Ok(Exit::Good),
            Some(failure) => Err(failure.leaving("what else could be copied was; a second run does only what is missing")),
        }
    }

    fn worst(&self) -> MutexGuard<'_, Option<Failure>> {
        self.worst.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says what the user should know although the work goes on.
pub fn warn(message: impl std::fmt::Display) {
    if !stop::stopping() {
        dr_pipe::warn(TOOL, message);
    }
}
