//! `start` and `receipt`: what a pipe leaves in the file named by `--receipt`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Base;
use crate::Sha256;

/// Size and digest of a stream or object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of all bytes, 64 hexadecimal characters.
    pub sha256: Sha256,
}

/// What kind of backup a producer makes; also the folder its backups live in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A logical backup of one database.
    Dump,
    /// A physical backup of a whole cluster.
    Base,
    /// A directory tree.
    Files,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Dump => "dump",
            Kind::Base => "base",
            Kind::Files => "files",
        })
    }
}

/// A tool has begun: a producer at once, a filter when its first input byte, or the end of an empty input, has come and
/// before its first output byte. A `start` without its `receipt` is how an unfinished run is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The tool's name.
    pub tool: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// Producers only: what kind of backup follows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<Kind>,
    /// What this tool adds to the object's name, such as `tar.zst` or `age`.
    pub suffix: String,
}

/// A tool has read its input to the end, and its own work is complete and durable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The tool's name.
    pub tool: String,
    /// The tool's version.
    pub version: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When its work was complete.
    pub finished_at: DateTime<Utc>,
    /// What it read; absent for producers.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none", default)]
    pub input: Option<Extent>,
    /// What it wrote; absent for the last stage.
    #[serde(rename = "out", skip_serializing_if = "Option::is_none", default)]
    pub output: Option<Extent>,
    /// Producers only: what was backed up.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub produced: Option<Produced>,
    /// dr-encrypt only: to whom.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub encrypted: Option<Encrypted>,
    /// dr-push only: where the bytes lie.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pushed: Option<Pushed>,
}

impl Receipt {
    /// A receipt that says who and when; what was read, written and done is to be added.
    pub fn new(tool: &str, version: &str, started_at: DateTime<Utc>, finished_at: DateTime<Utc>) -> Self {
        Receipt {
            tool: tool.into(),
            version: version.into(),
            started_at,
            finished_at,
            input: None,
            output: None,
            produced: None,
            encrypted: None,
            pushed: None,
        }
    }
}

/// What a producer vouches for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Produced {
    /// The kind of backup.
    pub kind: Kind,
    /// The moment the backup shows: for a dump, when its snapshot was taken; for a base, the earliest that it can be recovered to.
    pub taken_at: DateTime<Utc>,
    /// The name suffix of the bytes, such as `tar.zst`.
    pub suffix: String,
    /// The host the producer ran on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<String>,
    /// The database that was dumped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub database: Option<String>,
    /// What of it was dumped where that is not all: `schema` for definitions without data, `part` for some tables.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub only: Option<String>,
    /// The server's version as a number, such as 150018 for 15.18.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub server_version: Option<u32>,
    /// The server's system identifier; absent where the role may not ask.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub system_identifier: Option<String>,
    /// The command that was vouched for (dr-run only).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub command: Option<Vec<String>>,
    /// Bytes before compression.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub plain_bytes: Option<u64>,
    /// Tables in the dump.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tables: Option<u64>,
    /// Rows in the dump.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rows: Option<u64>,
    /// Present where the bytes are a dr archive: the root of its digests, by which any part can be proved alone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub archive: Option<ArchiveRoot>,
    /// Present for a physical backup: what recovery needs to know of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub base: Option<Base>,
}

impl Produced {
    /// Of this kind, as it was at a moment; nothing else is said of it.
    pub fn new(kind: Kind, taken_at: DateTime<Utc>, suffix: impl Into<String>) -> Produced {
        Produced {
            kind,
            taken_at,
            suffix: suffix.into(),
            host: None,
            database: None,
            only: None,
            server_version: None,
            system_identifier: None,
            command: None,
            plain_bytes: None,
            tables: None,
            rows: None,
            archive: None,
            base: None,
        }
    }
}

/// The last zstd frame of an archive: it holds the digests of the table of contents, which holds those of every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveRoot {
    /// Where the end frame starts in the archive, in bytes.
    pub end_offset: u64,
    /// Compressed size of the end frame, in bytes.
    pub end_bytes: u64,
    /// SHA-256 of the compressed end frame.
    pub end_sha256: Sha256,
}

/// To whom a stream was encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encrypted {
    /// The recipients' public keys, as given.
    pub recipients: Vec<String>,
}

/// Where dr-push has put one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// The cluster the backup belongs to.
    pub cluster: String,
    /// The kind of backup, as the producer announced it.
    pub kind: Kind,
    /// The backup's name, such as `main_dump_20260125T020000Z_7f3a`.
    pub name: String,
    /// The object's key below the store.
    pub object: String,
    /// Tags that the backup was given, each as `key=value`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tags: Vec<String>,
    /// Every store that was named by `--to`.
    pub stores: Vec<PushedTo>,
    /// In how many stores the bytes had to be durable for success.
    pub required: u32,
}

/// What became of the bytes in one store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedTo {
    /// The store as it was named.
    pub store: String,
    /// Whether the bytes are durable there.
    pub stored: bool,
    /// How the store confirmed them: `fsync`, `checksum` (the server returned our SHA-256), or `unconfirmed`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub confirmed: Option<String>,
    /// The object's version, where the server keeps versions.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version_id: Option<String>,
    /// Until when the server says it keeps the object locked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub locked_until: Option<DateTime<Utc>>,
    /// The storage class the server reports.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub storage_class: Option<String>,
    /// Why the bytes are not stored.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}
