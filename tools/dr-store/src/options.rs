//! What can be asked of an upload, and what a store says of it afterwards.

use chrono::{DateTime, Utc};

/// What is asked of an upload. Only S3 can honour any of it; a directory passes over it.
#[derive(Clone, Debug, Default)]
pub struct UploadOptions {
    /// Storage class, such as `STANDARD_IA`; the bucket's default if absent.
    pub storage_class: Option<String>,
    /// Tags, as key and value.
    pub tags: Vec<(String, String)>,
    /// Object lock: until when the store must refuse to delete the object.
    pub lock_until: Option<DateTime<Utc>>,
    /// How strict that lock is.
    pub lock_mode: LockMode,
    /// How many bytes will come, if that is known or guessed: keeps parts, and with them memory, small for huge objects.
    pub expected_bytes: Option<u64>,
}

impl UploadOptions {
    /// The same, without a storage class whose objects cannot be read at once.
    pub fn readable(&self) -> UploadOptions {
        let storage_class = self.storage_class.clone().filter(|class| !is_cold(class));
        UploadOptions { storage_class, ..self.clone() }
    }
}

/// Whether objects of this storage class have to be thawed before they can be read.
pub(crate) fn is_cold(class: &str) -> bool {
    matches!(class, "GLACIER" | "DEEP_ARCHIVE")
}

/// How strict an object lock is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LockMode {
    /// Nobody can shorten it.
    #[default]
    Compliance,
    /// Whoever has s3:BypassGovernanceRetention can lift it.
    Governance,
}

/// What became of a create-only write of a small object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is there now.
    Created,
    /// It was there before, with the same bytes.
    Identical,
}

/// What became of an object that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It is gone.
    Gone,
    /// It was not there.
    Absent,
    /// The store keeps it locked, and it was left as it is.
    Held {
        /// Until when; none where a legal hold keeps it, which has no end.
        until: Option<DateTime<Utc>>,
    },
}

/// What a bucket with versions holds besides the objects that a listing shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// The object's key below the store.
    pub key: String,
    /// The version.
    pub version_id: String,
    /// When the store says it was written; absent where it does not say.
    pub written_at: Option<DateTime<Utc>>,
    /// What it is.
    pub kind: HiddenKind,
}

/// Why a listing does not show a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HiddenKind {
    /// It is a delete marker: it hides the object of its key, or once did.
    Marker,
    /// It is an object that a newer version or a marker hides.
    Overwritten,
}

/// An upload in parts that was begun, and neither completed nor aborted: one that is at work, or what a killed run has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The key below the store of the object that it would make.
    pub key: String,
    /// The server's name for it.
    pub upload_id: String,
    /// When the server says it was begun; absent where it does not say.
    pub begun_at: Option<DateTime<Utc>>,
}

/// Whether an object in cold storage can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thaw {
    /// It can, now.
    Ready,
    /// It has been asked for with this call, and can be read in some hours.
    Asked,
    /// It was asked for before, and is on its way.
    Ongoing,
}

/// An object that is durable, and what the store says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// How the store confirmed the bytes.
    pub confirmed: Confirmed,
    /// The object's version, where the server keeps versions.
    pub version_id: Option<String>,
    /// Until when the server says it keeps the object locked.
    pub locked_until: Option<DateTime<Utc>>,
    /// The storage class the server reports.
    pub storage_class: Option<String>,
    /// What the user should be warned of: what was asked for and could not be confirmed.
    pub warnings: Vec<String>,
}

impl Stored {
    /// A file of ours, of which nothing else was asked.
    pub(crate) fn synced() -> Self {
        Stored { confirmed: Confirmed::Fsync, version_id: None, locked_until: None, storage_class: None, warnings: Vec::new() }
    }
}

/// How a store confirmed the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// They are synced to a file system of ours.
    Fsync,
    /// The server returned our SHA-256.
    Checksum,
    /// The server said no more than that it has them.
    Unconfirmed,
}

impl std::fmt::Display for Confirmed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Confirmed::Fsync => "fsync",
            Confirmed::Checksum => "checksum",
            Confirmed::Unconfirmed => "unconfirmed",
        })
    }
}
