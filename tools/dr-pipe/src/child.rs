//! Programs that a tool runs for itself, such as pg_dump: none of them outlives it, unless it is killed.

use std::io;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::stop::{OnStop, gate, on_stop};

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
    let _open = gate();
    let child = command.stderr(Stdio::piped()).spawn()?;
    let pid = Pid::from_child(&child);
    Ok(Running { child, _on_stop: on_stop(move || end(pid)) })
}

/// Asks a program to end. It may have ended by itself: then there is nobody to ask.
pub fn end(pid: Pid) {
    kill_process(pid, Signal::TERM).unwrap_or(());
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

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
