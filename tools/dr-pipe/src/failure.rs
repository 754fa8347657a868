//! How does a tool say that it failed? Two lines on stderr, program first, and one exit code.

use std::io::{self, Write};

use crate::Exit;

/// What a tool's verb returns: the answer, or why there is none.
pub type Outcome = Result<Exit, Failure>;

/// Why a tool gives up: the exit code, what happened to which object, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The code the shell sees.
    pub exit: Exit,
    /// What happened, to which object; one line without a final stop.
    pub message: String,
    /// What to do, or what state was left behind; one line without a final stop.
    pub hint: String,
}

impl Failure {
    /// A failure with its two lines. Line breaks inside either become spaces, so that a failure is always two lines.
    pub fn new(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure { exit, message: one_line(message.into()), hint: one_line(hint.into()) }
    }

    /// The same failure with `context: ` before its message.
    pub fn within(mut self, context: impl std::fmt::Display) -> Self {
        self.message = one_line(format!("{context}: {}", self.message));
        self
    }

    /// The same failure, its hint followed by what state was left behind, unless it ends with just that.
    pub fn leaving(mut self, state: impl std::fmt::Display) -> Self {
        let state = one_line(state.to_string());
        if !self.hint.ends_with(&state) {
            self.hint = one_line(format!("{}; {state}", self.hint));
        }
        self
    }

    /// Input or output failed on `object`. A closed pipe and a full disk get the words an operator knows them by.
    pub fn io(object: impl std::fmt::Display, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::BrokenPipe => "the next program of the pipe has ended: its own message says why",
            io::ErrorKind::StorageFull => "free space there, or choose another place; nothing was published",
            io::ErrorKind::QuotaExceeded => "raise the quota, or choose another place; nothing was published",
            io::ErrorKind::FileTooLarge => "raise the file size limit (ulimit -f); nothing was published",
            io::ErrorKind::ReadOnlyFilesystem => "the file system is mounted read-only; see dmesg(1)",
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::PermissionDenied => "check the owner and mode of the path, and the user this runs as",
            _ => "see the error above; nothing was published",
        };
        let exit = match error.kind() {
            io::ErrorKind::NotFound => Exit::Missing,
            io::ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::Io,
        };
        Failure::new(exit, format!("{object}: {error}"), hint)
    }

    /// Prints the two lines on stderr. A closed stderr is no reason to fail otherwise.
    pub(crate) fn print(&self, tool: &str) {
        say(&self.lines(tool));
    }

    /// The two lines.
    pub(crate) fn lines(&self, tool: &str) -> String {
        format!("{}{tool}: error: {}\n{}{tool}: hint: {}\n", priority(3), self.message, priority(3), self.hint)
    }
}

/// Prints one warning line on stderr: what the reader should know although the work goes on.
pub fn warn(tool: &str, message: impl std::fmt::Display) {
    say(&format!("{}{tool}: warning: {}\n", priority(4), one_line(message.to_string())));
}

fn say(text: &str) {
    // Where stderr is closed or full there is nobody left to tell: the exit code still says it.
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

/// The journal's priority prefix (sd-daemon(3)) when stderr is the journal, else nothing.
fn priority(level: u8) -> String {
    if stderr_is_journal() { format!("<{level}>") } else { String::new() }
}

/// Whether `$JOURNAL_STREAM` names the device and inode of our stderr (systemd.exec(5)).
pub(crate) fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stat) = rustix::fs::fstat(io::stderr()) else { return false };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

fn one_line(text: String) -> String {
    if !text.contains(['\n', '\r']) {
        return text;
    }
    text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_always_two_lines() {
        let failure = Failure::new(Exit::Damaged, "first\nsecond\r\n", "do\nthis").within("here").leaving("left\nthat");
        assert_eq!(failure.message, "here: first second");
        assert_eq!(failure.hint, "do this; left that");
        assert_eq!(failure.clone().leaving("left that").hint, "do this; left that");
    }
}
