//! Warnings from deep inside a store, in the name of the program that runs.

use std::fmt::Display;

/// Prints one warning line on stderr.
pub(crate) fn warn(message: impl Display) {
    let program = std::env::current_exe().ok();
    let name = program.as_deref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy());
    dr_pipe::warn(name.as_deref().unwrap_or("dr"), message);
}
