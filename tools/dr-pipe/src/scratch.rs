//! A scratch directory that goes with its owner, also when a signal ends the tool.

use std::path::Path;

use tempfile::TempDir;

use crate::Failure;
use crate::stop::{OnStop, on_stop};

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
        let directory = tempfile::Builder::new().prefix("dr-").tempdir();
        let directory = directory.map_err(|error| Failure::io(std::env::temp_dir().display(), &error))?;
        let path = directory.path().to_owned();
        // What cannot be removed on the way out is left to whoever cleans $TMPDIR.
        let on_stop = on_stop(move || drop(std::fs::remove_dir_all(path)));
        Ok(Scratch { directory, _on_stop: on_stop })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}
