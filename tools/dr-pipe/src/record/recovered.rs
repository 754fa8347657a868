//! `plan` and `recovered`: what dr-recover will do, and what it has done.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A recovery that was proved to be possible: every segment of WAL that it needs was seen in the stores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What is done, in words; a moment is said in UTC and as the clock of this machine shows it.
    pub summary: String,
    /// The base backup that is restored.
    pub backup: String,
    /// The cluster that is recovered.
    pub cluster: String,
    /// Its system identifier.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub system_identifier: Option<String>,
    /// The data directory that is made.
    pub directory: String,
    /// What was asked for: `time`, `lsn`, `xid`, `name`, `immediate` or `latest`.
    pub target: String,
    /// The target as PostgreSQL will be told; absent where it follows the archive.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target_value: Option<String>,
    /// The moment that was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target_at: Option<DateTime<Utc>>,
    /// The timeline that is followed, counting from 1.
    pub target_timeline: u32,
    /// Where replay begins.
    pub start_lsn: String,
    /// The earliest position that the backup can be recovered to: where it ended.
    pub earliest_lsn: String,
    /// The earliest moment that the backup can be recovered to: when it ended.
    pub earliest_at: DateTime<Utc>,
    /// How far the WAL goes without a gap.
    pub latest_lsn: String,
    /// The last commit that is known in that WAL; absent where no segment was looked into, or none has any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub latest_at: Option<DateTime<Utc>>,
    /// The last commit before the target; only where nothing was committed between it and the target.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub idle_since: Option<DateTime<Utc>>,
    /// Segments of WAL that are replayed, or begun; at most, where a moment was asked for.
    pub segments: u64,
    /// Size of the backup in its store.
    pub stored_bytes: u64,
    /// Size of the files that it holds.
    pub restored_bytes: u64,
    /// Files that it holds.
    pub files: u64,
}

/// A recovery that is complete, or that a server now goes on with. It has all fields of a `plan`, and these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recovered {
    /// What was planned.
    #[serde(flatten)]
    pub plan: Plan,
    /// How far it went: `restored` (no server was started), `started` (a server replays), `promoted`, `paused` or `shutdown`.
    pub state: String,
    /// Where replay ended; only with --wait.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reached_lsn: Option<String>,
    /// The last transaction that was replayed; only with --wait, and where there was any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reached_at: Option<DateTime<Utc>>,
    /// The timeline of the promoted server.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeline: Option<u32>,
    /// The directory of the server's socket; only where one was started.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub socket_dir: Option<String>,
    /// The port of that server, also a part of its socket's name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub port: Option<u16>,
    /// Bytes of files that were written.
    pub written_bytes: u64,
    /// Bytes of files that were there already, and proved equal.
    pub kept_bytes: u64,
    /// The name that the old directory is kept under (--move-aside).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub moved_aside: Option<String>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it was complete.
    pub finished_at: DateTime<Utc>,
    /// Time taken to choose and to prove.
    pub plan_seconds: f64,
    /// Time taken to restore the files.
    pub restore_seconds: f64,
    /// Time taken by the server, from its start to the target; only with --wait.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replay_seconds: Option<f64>,
}
