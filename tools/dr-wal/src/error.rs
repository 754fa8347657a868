//! What can be wrong with WAL and where it lies, and which exit code each cause has.

use dr_pipe::{Exit, Failure};

use crate::{SegmentSize, WalName};

/// Why WAL is not stored, or not to be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A text is not what it should be: a name, an LSN, a size.
    #[error("{0}")]
    Malformed(String),
    /// Bytes are no WAL, or not what their name says.
    #[error("{object}: {why}")]
    Damaged {
        /// The file or object.
        object: String,
        /// What is wrong.
        why: String,
    },
    /// WAL of another server, or of another size of segments, than this cluster's in the store.
    #[error("{object}: this WAL is of system {found}, and {cluster} in {store} is {expected}")]
    OtherSystem {
        /// The file or object.
        object: String,
        /// The cluster.
        cluster: String,
        /// The store.
        store: String,
        /// What it is of.
        found: String,
        /// What was there before.
        expected: String,
    },
    /// Two contents lie under one name.
    #[error("{store}: {name} has two contents, {}", contents.join(" and "))]
    Conflict {
        /// The store.
        store: String,
        /// The name.
        name: WalName,
        /// The keys of both objects, or the first halves of their digests.
        contents: Vec<String>,
    },
    /// A claim is not signed by a key that is trusted, or says something else than its name.
    #[error("{claim}: {why}")]
    Untrusted {
        /// The claim's key.
        claim: String,
        /// What is wrong.
        why: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] dr_store::Error),
    /// Encryption or decryption failed.
    #[error(transparent)]
    Crypt(#[from] dr_crypt::Error),
    /// A key or signature is wrong.
    #[error(transparent)]
    Catalogue(#[from] dr_catalogue::Error),
    /// Local input or output failed.
    #[error("{object}: {source}")]
    Io {
        /// What was read or written.
        object: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn damaged(object: impl ToString, why: impl Into<String>) -> Self {
        Error::Damaged { object: object.to_string(), why: why.into() }
    }

    /// Input or output failed on `object`.
    pub fn io(object: impl ToString, source: std::io::Error) -> Self {
        Error::Io { object: object.to_string(), source }
    }
}

/// Two systems, as a user would tell them apart.
pub(crate) fn system(identifier: &str, size: SegmentSize) -> String {
    format!("{identifier} with segments of {} bytes", size.bytes())
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let message = error.to_string();
        let (exit, hint) = match error {
            Error::Store(error) => return error.into(),
            Error::Crypt(error) => return error.into(),
            Error::Catalogue(error) => return error.into(),
            Error::Io { object, source } => return Failure::io(object, &source),
            Error::Malformed(_) => (Exit::Usage, "names of WAL are those of files in pg_wal, LSNs are like 16/B374D848"),
            Error::Damaged { .. } => (Exit::Damaged, "it is not used; look for another copy: another store, or pg_wal of a server"),
            Error::OtherSystem { .. } => (
                Exit::Damaged,
                "two servers share a name, or it was made anew (initdb, pg_upgrade): give it a cluster name of its own",
            ),
            Error::Conflict { .. } => (
                Exit::Damaged,
                "usually two primaries archive to one place: find out which one is right, and ask for it with --prefer-content",
            ),
            Error::Untrusted { why, .. } if why.starts_with(dr_catalogue::OTHER_KEY) => (
                Exit::Untrusted,
                "is the public key given that of the cluster? if it is: do not use it unless you know who has written it",
            ),
            Error::Untrusted { .. } => {
                (Exit::Untrusted, "somebody without the key has written there: do not use it unless you know who")
            }
        };
        Failure::new(exit, message, hint)
    }
}
