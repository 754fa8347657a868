//! Which exit codes are there, and what does each promise? (Law 5; dr(7), EXIT STATUS.)

/// The exit codes of every tool, after sysexits.h where it has a word for the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Done, durable, and the answer is good.
    Good = 0,
    /// Done, and the answer is bad: a digest differs, an objective is missed.
    Bad = 1,
    /// The command line is wrong.
    Usage = 64,
    /// Data is damaged, malformed or in conflict.
    Damaged = 65,
    /// Input is missing, empty or unfinished.
    Missing = 66,
    /// A server is unavailable, after bounded retries.
    Unavailable = 69,
    /// A bug: a panic, a broken invariant.
    Bug = 70,
    /// The target exists already.
    Exists = 73,
    /// Input or output failed: disk full, closed pipe.
    Io = 74,
    /// Busy or temporary: the same call may succeed later.
    Busy = 75,
    /// A server broke its protocol: a 200 with an error inside, a header accepted and not honoured.
    Protocol = 76,
    /// Denied: rights, credentials, wrong key.
    Denied = 77,
    /// The configuration is wrong.
    Config = 78,
    /// Refused for safety.
    Refused = 80,
    /// A signature is wrong, or the catalogue is older than one seen before.
    Untrusted = 81,
}

impl Exit {
    /// Every code, in rising order: the table that manual pages are held against.
    pub const ALL: [Exit; 15] = [
        Exit::Good,
        Exit::Bad,
        Exit::Usage,
        Exit::Damaged,
        Exit::Missing,
        Exit::Unavailable,
        Exit::Bug,
        Exit::Exists,
        Exit::Io,
        Exit::Busy,
        Exit::Protocol,
        Exit::Denied,
        Exit::Config,
        Exit::Refused,
        Exit::Untrusted,
    ];

    /// The number the shell sees.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// How a tool ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    With(Exit),
    /// Because this signal asked it to.
    BySignal(i32),
}

impl Ended {
    /// The number every shell sees: for a signal that of [`Exit::Busy`].
    pub fn code(self) -> u8 {
        match self {
            Ended::With(exit) => exit.code(),
            Ended::BySignal(_) => Exit::Busy.code(),
        }
    }
}

/// Which number whoever called a tool sees for each of its ends.
pub type Codes = fn(Ended) -> u8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_rise_and_stay_below_126() {
        assert!(Exit::ALL.windows(2).all(|pair| pair[0].code() < pair[1].code()));
        assert!(Exit::ALL.iter().all(|exit| exit.code() <= 125));
    }
}
