//! What can be wrong with receipts, keys, signatures and catalogues, and which exit code each has.

use std::path::PathBuf;

use dr_pipe::record::Extent;
use dr_pipe::{Exit, Failure};

/// How it is said that a key other than a trusted one has signed.
pub const OTHER_KEY: &str = "signed with key ";
/// How it is said that something is no public key.
pub(crate) const NO_PUBLIC_KEY: &str = "not a minisign public key: ";

/// Why a backup is not published, or not to be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no record at all.
    #[error("there are no receipts")]
    NoReceipts,
    /// No producer has begun, or its receipt does not say what it produced.
    #[error("the chain of receipts has no producer")]
    NoProducer,
    /// A stage has begun and left no receipt: it was killed, failed, or is still at work.
    #[error("{tool} has begun and left no receipt")]
    Unfinished {
        /// The stage.
        tool: String,
    },
    /// No stage has stored the bytes.
    #[error("the chain of receipts ends with {tool}: nothing was pushed")]
    NotPushed {
        /// The last stage there is.
        tool: String,
    },
    /// A stage wrote nothing.
    #[error("{tool} wrote 0 bytes: an empty stream is no backup")]
    EmptyStream {
        /// The stage.
        tool: String,
    },
    /// Fewer stores hold the bytes than must.
    #[error("{stored} of {required} required stores hold the bytes ({lacking})")]
    TooFewStores {
        /// How many stores hold them.
        stored: usize,
        /// How many must.
        required: u32,
        /// The stores that do not, each with its reason.
        lacking: String,
    },
    /// A stage read other bytes than the stage before it wrote.
    #[error("{reader} read {} bytes ({}), but {writer} wrote {} bytes ({})", read.bytes, read.sha256, wrote.bytes, wrote.sha256)]
    BrokenLink {
        /// The stage before.
        writer: String,
        /// What it wrote.
        wrote: Box<Extent>,
        /// The stage after.
        reader: String,
        /// What it read.
        read: Box<Extent>,
    },
    /// The records are not those of one pipe.
    #[error("the receipts are not those of one pipe: {0}")]
    Disorder(String),
    /// The backup belongs to another cluster than the one asked for.
    #[error("the receipts are of cluster {pushed}, not of {asked}")]
    OtherCluster {
        /// The cluster dr-push was told.
        pushed: String,
        /// The cluster asked for.
        asked: String,
    },
    /// A name, key or time that no dr tool makes.
    #[error("{0}")]
    Malformed(String),
    /// The signing key is protected by a password, which nobody is there to type.
    #[error("{}: the signing key is encrypted with a password", path.display())]
    EncryptedKey {
        /// Its file.
        path: PathBuf,
    },
    /// A file or text is no minisign key.
    #[error("{key}: {why}")]
    BadKey {
        /// The file, or the text given.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// A signature is missing, malformed, of another key, or does not fit the manifest.
    #[error("{manifest}: {why}")]
    BadSignature {
        /// The manifest's key in its store.
        manifest: String,
        /// What is wrong.
        why: String,
    },
    /// A manifest is malformed, or says it is another than the one its key names.
    #[error("{manifest}: {why}")]
    BadManifest {
        /// The manifest's key in its store.
        manifest: String,
        /// What is wrong.
        why: String,
    },
    /// The object a manifest speaks of has another size.
    #[error("{object}: {why}")]
    OtherSize {
        /// The object's key in its store.
        object: String,
        /// Which sizes.
        why: String,
    },
    /// The object a manifest or receipt speaks of is not there, or not yet whole.
    #[error("{object}: {why}")]
    NoObject {
        /// The object's key in its store.
        object: String,
        /// What is wrong.
        why: String,
    },
    /// The catalogue's newest backup is older than one seen there before.
    #[error("{store}: {newest}, but {seen} was seen there before")]
    RolledBack {
        /// The store.
        store: String,
        /// What is the newest now.
        newest: String,
        /// The name of the newest that was seen.
        seen: String,
        /// The file that remembers it.
        witness: String,
    },
    /// No store was named.
    #[error("no store is named")]
    NoStore,
    /// No backup fits what was asked for.
    #[error("no backup {0}")]
    NotFound(String),
    /// No backup is of the database that was asked for.
    #[error("no backup is of database {database}; there are backups of {there}")]
    NoSuchDatabase {
        /// What was asked for.
        database: String,
        /// Some of those there are.
        there: String,
    },
    /// Several backups fit, and only one was asked for.
    #[error("{prefix} is the beginning of several names: {names}")]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// Some of the names that begin so.
        names: String,
    },
    /// The newest backup was asked for without saying of which cluster, and there are several.
    #[error("there are backups of several clusters: {0}")]
    SeveralClusters(String),
    /// The newest backup was asked for without saying of which database, and there are several.
    #[error("there are backups of several databases: {0}")]
    SeveralDatabases(String),
    /// A store, file or credential failed.
    #[error("{}", .0.message)]
    Failed(Failure),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Error::Failed(failure)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let hint = match &error {
            Error::Failed(failure) => return failure.clone(),
            Error::NoReceipts => "run the pipe with DR_RECEIPT set to a file, and give dr-seal that file".into(),
            Error::NoProducer => {
                "every tool of the pipe needs the same DR_RECEIPT; vouch for a foreign producer with dr-run".into()
            }
            Error::Unfinished { tool } => {
                format!("the message of {tool} says why; wait for the pipe to end, or run it again")
            }
            Error::NotPushed { .. } => "end the pipe with dr-push, with the same DR_RECEIPT".into(),
            Error::EmptyStream { .. } | Error::TooFewStores { .. } => "run the pipe again".into(),
            Error::BrokenLink { .. } => "bytes were lost or changed between the two: run the pipe again".into(),
            Error::Disorder(_) => "use a fresh receipt file for every pipe, and never one for two pipes at once".into(),
            Error::OtherCluster { .. } => "give dr-push and dr-seal the same --cluster (or DR_CLUSTER)".into(),
            Error::Malformed(_) => "see dr-records(5) and dr-store(5)".into(),
            Error::EncryptedKey { .. } => {
                "make a signing key without a password: minisign -GW -p CLUSTER.pub -s CLUSTER.key, and keep it 0600".into()
            }
            Error::BadKey { why, .. } if why.starts_with(NO_PUBLIC_KEY) => {
                "give the .pub file that `minisign -G` wrote with the signing key, or the 56 characters in it (RW…)".into()
            }
            Error::BadKey { .. } => "make a pair of keys with: minisign -GW -p CLUSTER.pub -s CLUSTER.key".into(),
            Error::BadSignature { why, .. } if why.starts_with(OTHER_KEY) => {
                "is the public key given that of the cluster? if it is: do not restore it, and find out who wrote it; name another backup, or \
                 another store that holds this one"
                    .into()
            }
            Error::BadSignature { .. } => {
                "do not restore it, and find out who wrote it; name another backup, or another store that holds this one".into()
            }
            Error::BadManifest { .. } | Error::NoObject { .. } | Error::OtherSize { .. } => {
                "name another backup, or another store that holds this one".into()
            }
            Error::RolledBack { witness, .. } => {
                format!("somebody may be hiding backups: look at another store; if they were deleted on purpose, remove {witness}")
            }
            Error::NoStore => "name one with --from STORE, or DR_FROM: a directory, or s3://BUCKET/PREFIX".into(),
            Error::NotFound(_) => {
                "see whether the store, the cluster and the database are right: dr-list --from STORE alone shows all there are".into()
            }
            Error::NoSuchDatabase { .. } => "say another one with --database; dr-list shows all backups there are".into(),
            Error::Ambiguous { .. } => "give more of the name".into(),
            Error::SeveralClusters(_) => "say which with --cluster".into(),
            Error::SeveralDatabases(_) => "say which with --database".into(),
        };
        Failure::new(error.exit(), error.to_string(), hint)
    }
}

impl Error {
    /// The exit code of a tool that ends with this error.
    pub fn exit(&self) -> Exit {
        match self {
            Error::NoReceipts
            | Error::NoProducer
            | Error::Unfinished { .. }
            | Error::NotPushed { .. }
            | Error::EmptyStream { .. }
            | Error::TooFewStores { .. }
            | Error::NoObject { .. }
            | Error::NoSuchDatabase { .. }
            | Error::NotFound(_) => Exit::Missing,
            Error::BrokenLink { .. }
            | Error::Disorder(_)
            | Error::Malformed(_)
            | Error::BadManifest { .. }
            | Error::OtherSize { .. } => Exit::Damaged,
            Error::OtherCluster { .. } | Error::EncryptedKey { .. } | Error::BadKey { .. } => Exit::Config,
            Error::BadSignature { .. } | Error::RolledBack { .. } => Exit::Untrusted,
            Error::Ambiguous { .. } | Error::SeveralClusters(_) | Error::SeveralDatabases(_) | Error::NoStore => Exit::Usage,
            Error::Failed(failure) => failure.exit,
        }
    }
}
