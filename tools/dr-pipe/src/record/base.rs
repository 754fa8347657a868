//! `base` of what a producer vouches for: what a physical backup is, and what recovery needs to know before it reads any of it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A physical backup of a whole cluster: all that is needed to choose it, and to prepare a machine for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The timeline the backup was taken on, counting from 1.
    pub timeline: u32,
    /// Where recovery begins to read WAL, as PostgreSQL prints it: `16/B374D848`.
    pub start_lsn: String,
    /// Where the backup is consistent: recovery must reach it.
    pub stop_lsn: String,
    /// When the backup began, by the server's clock.
    pub started_at: DateTime<Utc>,
    /// When it ended, by the server's clock: the earliest moment that it can be recovered to.
    pub stopped_at: DateTime<Utc>,
    /// Size of a WAL segment, in bytes.
    pub wal_segment_bytes: u64,
    /// Size of a page of a relation, in bytes.
    pub page_bytes: u32,
    /// Whether pages carry checksums, which were then checked on the way.
    pub page_checksums: bool,
    /// Whether a standby was read.
    pub from_standby: bool,
    /// The tablespaces besides the two of every cluster.
    pub tablespaces: Vec<Tablespace>,
    /// The settings that a server recovering it must not fall below.
    pub settings: Settings,
    /// How the WAL from start to stop is known to be there.
    pub wal: WalKept,
    /// Pages whose checksum is wrong: the backup is suspect where this is not 0.
    pub damaged_pages: u64,
    /// The version of the system catalogue, such as 202209061.
    pub catalog_version: u32,
    /// Files of the cluster in the archive.
    pub files: u64,
}

/// A tablespace outside the data directory; its files are in the archive, below `pg_tblspc`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablespace {
    /// Its OID, also the name of its folder.
    pub oid: u32,
    /// Where it lay on the server.
    pub path: String,
}

/// Settings that are written into WAL: a standby or a recovery that allows queries needs at least these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The server's `max_connections`.
    pub max_connections: u32,
    /// The server's `max_worker_processes`.
    pub max_worker_processes: u32,
    /// The server's `max_wal_senders`.
    pub max_wal_senders: u32,
    /// The server's `max_prepared_transactions`.
    pub max_prepared_transactions: u32,
    /// The server's `max_locks_per_transaction`.
    pub max_locks_per_transaction: u32,
}

/// How the WAL that a base needs was made sure of, before its receipt was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WalKept {
    /// It is in the archive itself, in `pg_wal`.
    Inside,
    /// PostgreSQL's archiver said that all of it is archived.
    Archived,
    /// Every segment was seen in the stores.
    Verified,
}
