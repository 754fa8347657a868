//! Programs of PostgreSQL that we run: none of them outlives us, unless we are killed.

use std::io;
use std::process::{Child, Command, Output, Stdio};

use dr_pipe::stop::{OnStop, on_stop};
use rustix::process::{Pid, Signal, kill_process};

/// A running program. A signal that ends us ends it too.
pub struct Running {
    /// The program.
    pub child: Child,
    _on_stop: OnStop,
}

/// Starts a program, its standard error piped.
///
/// # Errors
/// Where it cannot be run.
pub fn start(command: &mut Command) -> io::Result<Running> {
    let child = command.stderr(Stdio::piped()).spawn()?;
    let pid = Pid::from_child(&child);
    // It may have ended by itself: then there is nobody to end.
    let _on_stop = on_stop(move || kill_process(pid, Signal::TERM).unwrap_or(()));
    Ok(Running { child, _on_stop })
}

impl Running {
    /// Waits for its end, and gives what it said.
    ///
    /// # Errors
    /// Where its output cannot be read.
    pub fn output(self) -> io::Result<Output> {
        self.child.wait_with_output()
    }
}

/// Runs a program to its end, without input.
///
/// # Errors
/// Where it cannot be run.
pub fn output(command: &mut Command) -> io::Result<Output> {
    start(command.stdin(Stdio::null()).stdout(Stdio::piped()))?.output()
}
