//! What can go wrong with an archive, and what does the shell hear of it?

use std::io;
use std::sync::Arc;

use dr_pipe::{Exit, Failure};

/// Why an archive cannot be written or read. Cheap to clone: every thread that shares a writer gets the first error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The bytes do not begin as an archive does.
    #[error("this is not a dr archive")]
    NotAnArchive,
    /// The input is empty, or ends before an archive would.
    #[error("the archive is unfinished: it has {bytes} bytes, and does not end as an archive does")]
    Unfinished {
        /// Bytes that are there.
        bytes: u64,
    },
    /// Bytes are not those that were written: a digest differs, or they are missing.
    #[error("{what} is damaged, at byte {offset} of the archive")]
    Damaged {
        /// Which part.
        what: String,
        /// Where that part starts in the archive.
        offset: u64,
    },
    /// The bytes are as they were written, but not what a dr archive may hold.
    #[error("{what}, at byte {offset} of the archive")]
    Malformed {
        /// What is wrong with which part.
        what: String,
        /// Where that part starts in the archive.
        offset: u64,
    },
    /// The archive is of a format that this program does not know.
    #[error("the archive has format {format}, this program knows format 1")]
    UnknownFormat {
        /// The format it has.
        format: u32,
    },
    /// A member is larger than the caller wants to hold in memory.
    #[error("member {path:?} has {bytes} bytes, more than the {max_bytes} that are allowed there")]
    TooLarge {
        /// The member.
        path: String,
        /// Its size.
        bytes: u64,
        /// The caller's limit.
        max_bytes: u64,
    },
    /// The archive has no such member.
    #[error("the archive has no member {path:?}")]
    NoMember {
        /// The path asked for.
        path: String,
    },
    /// A path that an archive cannot hold.
    #[error("an archive cannot hold {path:?}: {why}")]
    Path {
        /// The path.
        path: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// The archive would become larger than a reader accepts.
    #[error("the archive is full: {what}")]
    Full {
        /// The limit that was reached.
        what: &'static str,
    },
    /// A source did not give the number of bytes that was announced.
    #[error("{path:?} changed while it was read: it has not the size it had before")]
    SourceChanged {
        /// The member.
        path: String,
    },
    /// Another thread gave up, or panicked, with a piece of the archive in its hands.
    #[error("the archive was abandoned: another thread did not deliver its piece")]
    Abandoned,
    /// Input or output failed.
    #[error("{what}: {source}")]
    Io {
        /// What was read or written.
        what: String,
        /// The system's error.
        source: Arc<io::Error>,
    },
}

impl Error {
    /// An input/output error on `what`; one that carries an [`Error`] (see [`crate::MemberReader`]) gives it back.
    pub fn io(what: impl Into<String>, error: io::Error) -> Self {
        match error.downcast::<Error>() {
            Ok(inner) => inner,
            Err(error) => Error::Io { what: what.into(), source: Arc::new(error) },
        }
    }

    pub(crate) fn damaged(what: impl Into<String>, offset: u64) -> Self {
        Error::Damaged { what: what.into(), offset }
    }

    pub(crate) fn malformed(what: impl Into<String>, offset: u64) -> Self {
        Error::Malformed { what: what.into(), offset }
    }
}

impl From<Error> for io::Error {
    /// An error that goes through [`io::Read`]; [`Error::io`] takes it out again.
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Io { source, .. } => source.kind(),
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (exit, hint) = match &error {
            Error::Io { what, source } => return io_failure(what, source),
            Error::NotAnArchive => (Exit::Damaged, "is it encrypted still, or a foreign dump? see dr-archive(5)"),
            Error::Unfinished { bytes: 0 } => (Exit::Missing, "the program before this one in the pipe wrote nothing"),
            Error::Unfinished { .. } => (Exit::Missing, "it was cut short, or its writer never finished: take another copy"),
            Error::Damaged { .. } => (Exit::Damaged, "nothing of that part was used: take another copy, or another backup"),
            Error::Malformed { .. } => (Exit::Damaged, "nothing of that part was used: do not trust whoever made this archive"),
            Error::UnknownFormat { .. } => (Exit::Damaged, "use a newer version of dr"),
            Error::TooLarge { .. } => (Exit::Damaged, "no dr tool writes such a member there"),
            Error::NoMember { .. } => (Exit::Missing, "list the members with: zstd -dc ARCHIVE | tar -t"),
            Error::Path { .. } => (Exit::Damaged, "see dr-archive(5) for the paths an archive can hold; nothing was published"),
            Error::Full { .. } => (Exit::Damaged, "see dr-archive(5) for the limits; nothing was published"),
            Error::SourceChanged { .. } => (Exit::Busy, "try again; nothing was published"),
            Error::Abandoned => (Exit::Bug, "please report this line; nothing was published"),
        };
        Failure::new(exit, error.to_string(), hint)
    }
}

/// A reader below may itself find its bytes to be damaged (a decryption that fails), and says so by the error's kind.
fn io_failure(what: &str, source: &io::Error) -> Failure {
    let mut failure = Failure::io(what, source);
    if matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) {
        failure.exit = Exit::Damaged;
        failure.hint = "take another copy, or another backup".into();
    }
    failure
}
