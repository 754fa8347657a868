//! Why did a store fail? One variant per cause that a caller can act on.

use std::io;

use dr_pipe::{Exit, Failure};

/// Why a store did not do what it was asked. `object` names it as the user would: store and key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Local input or output failed.
    #[error("{object}: {source}")]
    Io {
        /// What was being read or written.
        object: String,
        /// What the system said.
        source: io::Error,
    },
    /// The name is taken, by other bytes or by what cannot be compared.
    #[error("{object} exists already{}", if *.comparable { " with other content" } else { ", and may not be read to compare it" })]
    Exists {
        /// The object.
        object: String,
        /// Whether it could be compared, and differs.
        comparable: bool,
    },
    /// The object is proven absent.
    #[error("{object} does not exist")]
    Absent {
        /// The object.
        object: String,
    },
    /// The bytes are not what they should be: changed, cut short, or larger than allowed.
    #[error("{object}: {why}")]
    Damaged {
        /// The object.
        object: String,
        /// What is wrong.
        why: String,
    },
    /// Not a key: keys are relative, with no empty, `.` or `..` part.
    #[error("{key:?} is not an object's key: {why}")]
    Key {
        /// What was given.
        key: String,
        /// What is wrong.
        why: &'static str,
    },
    /// What was asked for cannot be had from this kind of store, or in this way.
    #[error("{store}: {why}")]
    Usage {
        /// The store.
        store: String,
        /// What does not fit.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// A directory is not the store that it was: probably not mounted.
    #[error("{store}: {why}")]
    NotMounted {
        /// The store.
        store: String,
        /// What was found.
        why: String,
    },
    /// The configuration is wrong: region, bucket, endpoint, clock.
    #[error("{object}: {why}")]
    Config {
        /// The store or object.
        object: String,
        /// What is wrong.
        why: String,
        /// What to do.
        hint: String,
    },
    /// The server refuses our credentials or rights.
    #[error("{object}: {why}")]
    Denied {
        /// The object.
        object: String,
        /// What the server said.
        why: String,
        /// What is needed.
        hint: String,
    },
    /// The server did not answer, or only with failures, after bounded retries.
    #[error("{object}: {why}")]
    Unavailable {
        /// The object.
        object: String,
        /// What was seen last.
        why: String,
    },
    /// The server asks to come back later: another write is under way, or too many requests.
    #[error("{object}: {why}")]
    Busy {
        /// The object.
        object: String,
        /// What the server said.
        why: String,
    },
    /// The object lies in cold storage, and cannot be read before it has been thawed.
    #[error("{object} is {} in {class}", if *.asked { "being thawed" } else { "frozen" })]
    Frozen {
        /// The object.
        object: String,
        /// Its storage class.
        class: String,
        /// Whether it has been asked for already.
        asked: bool,
    },
    /// The server broke its protocol.
    #[error("{object}: {why}")]
    Protocol {
        /// The object.
        object: String,
        /// What it did.
        why: String,
    },
}

impl Error {
    pub(crate) fn io(object: impl ToString, source: impl Into<io::Error>) -> Self {
        Error::Io { object: object.to_string(), source: source.into() }
    }

    /// A store that is read as it was, and was to be written to.
    pub(crate) fn past(store: impl ToString) -> Self {
        let why = "a store as it was cannot be written to".into();
        Error::Usage { store: store.to_string(), why, hint: "leave out --as-of (DR_AS_OF): it is for reading" }
    }

    /// The store's error inside an `io::Error` that came out of an [`crate::ObjectReader`], else that error on `object`.
    pub fn from_read(object: impl ToString, error: io::Error) -> Self {
        match error.downcast::<Error>() {
            Ok(inner) => inner,
            Err(source) => Error::io(object, source),
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Io { source, object } => io::Error::new(source.kind(), Error::Io { object, source }),
            other => io::Error::other(other),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let (exit, hint) = match error {
            Error::Io { object, source } => return Failure::io(object, &source),
            Error::Exists { .. } => (Exit::Exists, "it was left as it is; nothing is ever overwritten".into()),
            Error::Absent { .. } => (Exit::Missing, "dr-list shows what there is".into()),
            Error::Damaged { .. } => (Exit::Damaged, "use another copy of this backup, if there is one".into()),
            Error::Key { .. } => (Exit::Usage, "keys look like main/dump/NAME.tar.zst.age".into()),
            Error::Usage { hint, .. } => (Exit::Usage, hint.into()),
            Error::NotMounted { .. } => {
                (Exit::Config, "mount it, or name the right place; if it is meant to be new: dr-push --init --to DIR".into())
            }
            Error::Config { hint, .. } => (Exit::Config, hint),
            Error::Denied { hint, .. } => (Exit::Denied, hint),
            Error::Unavailable { .. } => (Exit::Unavailable, "is the server up, and reachable from here? then run it again".into()),
            Error::Busy { .. } => (Exit::Busy, "run it again later".into()),
            Error::Frozen { asked: true, .. } => {
                (Exit::Busy, "it has been asked for: run it again in some hours, or give --thaw DAYS to wait for it".into())
            }
            Error::Frozen { .. } => (Exit::Busy, "give --thaw DAYS to ask for it; that takes hours and costs money".into()),
            Error::Protocol { .. } => (Exit::Protocol, "do not rely on this server for backups until this is understood".into()),
        };
        Failure::new(exit, message, hint)
    }
}
