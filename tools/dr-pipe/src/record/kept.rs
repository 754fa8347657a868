//! `wal`, `verified`, `finding`, `decision`, `deleted` and `copied`: what is known of stored bytes, and what becomes of them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Backup, Kind};
use crate::Sha256;

/// A run of WAL segments of one timeline in one store, without a gap in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wal {
    /// The store they lie in.
    pub store: String,
    /// The cluster whose WAL it is.
    pub cluster: String,
    /// The timeline of the run, counting from 1.
    pub timeline: u32,
    /// The name of the first segment.
    pub first: String,
    /// The name of the last segment.
    pub last: String,
    /// How many segments the run has that are whole: 0 for one that is still being streamed.
    pub segments: u64,
    /// The first byte behind it that is not there, as PostgreSQL prints positions.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until_lsn: Option<String>,
    /// Where more of a segment that is still being streamed is there, behind a hole.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resumes_lsn: Option<String>,
    /// Size of a segment, in bytes.
    pub wal_segment_bytes: u64,
    /// Size of the run's objects in the store.
    pub stored_bytes: u64,
    /// When the store says that the newest of them was written.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stored_at: Option<DateTime<Utc>>,
}

/// How much of a backup was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// Its manifest and signature, and that its object is there with the right size.
    Manifest,
    /// Every byte of its object, against the digest in the manifest.
    Bytes,
    /// What is in it: decrypted, decompressed, its structure and its pages.
    Content,
}

/// What is known of a backup's bytes in one store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verified {
    /// The backup.
    #[serde(flatten)]
    pub backup: Backup,
    /// Whether its bytes were read, now or before, and nothing was found to be wrong.
    pub good: bool,
    /// How deep the last look that counts went: `manifest`, `bytes` or `content`.
    pub depth: Depth,
    /// When that look ended; absent where its bytes were never read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verified_at: Option<DateTime<Utc>>,
    /// How many findings there are about it.
    pub findings: u64,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is lost.
    Note,
    /// Something is wrong.
    Error,
}

/// Something that was found in a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `error`: something is wrong; `note`: worth knowing, and nothing is lost.
    pub severity: Severity,
    /// What kind of finding, such as digest, signature, missing, gap or orphan; dr-verify(1) lists them.
    pub code: String,
    /// The store it was found in.
    pub store: String,
    /// The cluster it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cluster: Option<String>,
    /// The backup it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub backup: Option<String>,
    /// The key of the object it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub object: Option<String>,
    /// Where in the object, in bytes from its beginning.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub offset_bytes: Option<u64>,
    /// What is wrong, in words.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// When it was found.
    pub found_at: DateTime<Utc>,
}

/// What is to become of a backup, or of WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It stays.
    Keep,
    /// It may go.
    Delete,
}

/// What dr-prune has decided about one backup, or about a range of WAL of one timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// `keep` or `delete`.
    pub action: Action,
    /// Why, one reason each: the rules that keep it, or what allows it to go.
    pub reasons: Vec<String>,
    /// The store it is about.
    pub store: String,
    /// The cluster it belongs to.
    pub cluster: String,
    /// A backup: its kind.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<Kind>,
    /// A backup: its name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// A backup: SHA-256 of its object, as its manifest says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<Sha256>,
    /// A backup: whether it was verified, and so counts for the floor.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verified: Option<bool>,
    /// WAL: its timeline.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeline: Option<u32>,
    /// WAL: the first segment of the range.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first: Option<String>,
    /// WAL: the last segment of the range.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last: Option<String>,
    /// The moment for which it was decided.
    pub decided_at: DateTime<Utc>,
}

/// What dr-delete has done about one decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// How far it went: `marked` (a tombstone was written), `waiting` (its grace time is not over), `removed`, `held` (a lock keeps it),
    /// or `aborted` (an upload that was never completed).
    pub state: String,
    /// The store it was done in.
    pub store: String,
    /// The cluster it belonged to.
    pub cluster: String,
    /// A backup: its kind.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<Kind>,
    /// A backup: its name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// WAL: the first segment.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first: Option<String>,
    /// WAL: the last segment.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last: Option<String>,
    /// What an unfinished run had left: the key of the object.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub object: Option<String>,
    /// Objects that are gone.
    pub objects: u64,
    /// Bytes that are gone with them.
    pub bytes: u64,
    /// From when on its data may be removed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_before_at: Option<DateTime<Utc>>,
    /// Until when the store keeps it locked, as far as the store says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held_until_at: Option<DateTime<Utc>>,
    /// When this was done.
    pub done_at: DateTime<Utc>,
}

/// What dr-copy has done about one backup, or about the WAL of one cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Copied {
    /// `copied`, or `present` where all of it was there before.
    pub state: String,
    /// The store it was read from.
    pub from: String,
    /// The store it was written to.
    pub to: String,
    /// The cluster it belongs to.
    pub cluster: String,
    /// A backup: its kind; absent for WAL.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<Kind>,
    /// A backup: its name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// Objects that were written.
    pub objects: u64,
    /// Bytes that were written.
    pub bytes: u64,
    /// The storage class that the store reports.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub storage_class: Option<String>,
    /// Until when the store says it keeps it locked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub locked_until: Option<DateTime<Utc>>,
    /// Time taken.
    pub duration_seconds: f64,
    /// When it was complete.
    pub copied_at: DateTime<Utc>,
}
