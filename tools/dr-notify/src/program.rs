//! Another program, its input, and a limit to its time.

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use dr_pipe::child;

/// Runs a program to its end, and gives what it said. One that takes longer is told to stop.
///
/// # Errors
/// Where it cannot be run, or takes too long.
pub fn run(command: &mut Command, input: Vec<u8>, limit: Duration) -> io::Result<Output> {
    let mut running = child::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let pid = running.pid();
    if let Some(mut stdin) = running.child.stdin.take() {
        // One that does not read says itself why.
        std::thread::spawn(move || drop(stdin.write_all(&input)));
    }
    let (ended, wait) = mpsc::channel();
    // Where nobody waits any more, nobody asks.
    std::thread::spawn(move || ended.send(running.output()).unwrap_or_default());
    wait.recv_timeout(limit).unwrap_or_else(|_| {
        child::end(pid);
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("it took longer than {:.0} s", limit.as_secs_f64())))
    })
}
