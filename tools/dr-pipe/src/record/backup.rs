//! `manifest` and `backup`: what makes a backup exist, and what a store shows of it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Kind, Produced};
use crate::Sha256;

/// The JSON object that makes a backup exist. Written once, last, never changed, with a minisign signature beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format: 1.
    pub format: u32,
    /// The cluster the backup belongs to.
    pub cluster: String,
    /// The kind of backup.
    pub kind: Kind,
    /// The backup's name; also the file name without suffixes.
    pub name: String,
    /// The object's file name, in the same folder as the manifest.
    pub object: String,
    /// The object's size in bytes.
    pub bytes: u64,
    /// SHA-256 of the object.
    pub sha256: Sha256,
    /// The moment the backup shows.
    pub taken_at: DateTime<Utc>,
    /// When the bytes were durable in every required store.
    pub stored_at: DateTime<Utc>,
    /// Rises with every backup of a cluster: milliseconds since 1970 of `stored_at`.
    pub sequence: u64,
    /// Public keys of those who can decrypt the object; empty where it is not encrypted.
    pub recipients: Vec<String>,
    /// Tags that it was given when it was pushed, each as `key=value`; one whose key is `pin` is never pruned.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tags: Vec<String>,
    /// The stores that hold it, as they were named when it was pushed.
    pub stores: Vec<StoredAt>,
    /// What the producer vouched for.
    pub produced: Produced,
    /// The tools of the pipe and their versions, first to last, as `dr-dump 0.1.0`.
    pub tools: Vec<String>,
}

/// One store that holds the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredAt {
    /// The store as it was named when the backup was pushed.
    pub store: String,
    /// The object's version, where the server keeps versions.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version_id: Option<String>,
    /// Until when the server keeps the object locked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub locked_until: Option<DateTime<Utc>>,
}

/// What is known of a manifest's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignatureState {
    /// Checked with a public key, and right.
    Good,
    /// There, but no public key was given to check it with.
    Unchecked,
}

/// A backup as found in a store: its manifest, where it was found, and what is known of its signature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    /// The store it was found in.
    pub store: String,
    /// What is known of the manifest's signature.
    pub signature: SignatureState,
    /// The fields of the manifest.
    #[serde(flatten)]
    pub manifest: Manifest,
}
