//! Standard input and output as byte streams: never on a terminal, always to the end.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek};
use std::os::fd::AsFd;

use crate::{Exit, Failure, Output};

/// Chunk size of byte pumps: large enough that system calls do not show, small enough to stay in cache.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// Standard input as a stream of bytes.
///
/// # Errors
/// 64 where it is a terminal: nobody types a backup.
pub fn input() -> Result<io::StdinLock<'static>, Failure> {
    if io::stdin().is_terminal() {
        return Err(Failure::new(Exit::Usage, "standard input is a terminal", "pipe a stream into it, or redirect a file with <"));
    }
    Ok(io::stdin().lock())
}

/// Standard input where it is a file that was redirected from its beginning, for those who would read it in any order.
pub fn input_file() -> Option<File> {
    let mut file = File::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
    let is_whole = file.metadata().is_ok_and(|meta| meta.is_file()) && file.stream_position().is_ok_and(|at| at == 0);
    is_whole.then_some(file)
}

/// Standard output as a stream of bytes.
///
/// # Errors
/// 64 where it is a terminal: bytes would ruin it. 74 where it is closed.
pub fn output() -> Result<Output, Failure> {
    if io::stdout().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            "standard output is a terminal",
            "pipe it into the next tool, or redirect it with >",
        ));
    }
    // Closed on exec: a command we start must not keep the next tool from seeing the end.
    let copy = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3).map_err(|error| Failure::io("standard output", &error.into()))?;
    if crate::at_start::stdout_was_closed() {
        return Err(closed());
    }
    Ok(Output::from(File::from(copy)))
}

/// Standard output for records; a terminal is as good as a pipe.
///
/// # Errors
/// 74 where it is closed.
pub fn records() -> Result<io::StdoutLock<'static>, Failure> {
    if crate::at_start::stdout_was_closed() { Err(closed()) } else { Ok(io::stdout().lock()) }
}

fn closed() -> Failure {
    Failure::new(Exit::Io, "standard output is closed", "give it a pipe or a file; >/dev/null where the bytes are not wanted")
}

/// Makes durable what was written to `output`; pipes and devices have nothing to sync.
///
/// # Errors
/// 74 if it cannot be made durable: then it does not count as written.
pub fn settle(output: &Output) -> Result<(), Failure> {
    sync(output.as_ref()).map_err(|error| Failure::io("syncing standard output", &error))
}

pub(crate) fn sync(file: &File) -> io::Result<()> {
    match file.sync_all() {
        // Of a file it means that its file system keeps nothing durably.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput && !file.metadata()?.is_file() => Ok(()),
        done => done,
    }
}

/// Fills `buf` as far as the input goes: short only at the end of input.
///
/// # Errors
/// Whatever `input` does, except interruptions, which are passed over.
pub fn fill(input: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while n < buf.len() {
        match input.read(&mut buf[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(n)
}
