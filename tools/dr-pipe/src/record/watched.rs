//! `run`, `server`, `storage` and `check`: what is watched, and how it is.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What a scheduled job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Job {
    /// To back up databases.
    Dump,
    /// To back up the whole cluster.
    Base,
    /// To back up directories.
    Files,
    /// To bring WAL into the stores.
    Wal,
    /// To read what is stored.
    Verify,
    /// To delete what is not kept.
    Prune,
    /// To copy backups to another store.
    Copy,
    /// To restore, as a proof.
    Drill,
    /// To hold what is known against the objectives.
    Check,
}

impl Job {
    /// Every job, in the order of this list.
    pub const ALL: [Job; 9] =
        [Job::Dump, Job::Base, Job::Files, Job::Wal, Job::Verify, Job::Prune, Job::Copy, Job::Drill, Job::Check];

    /// Its name in records, on command lines and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Job::Dump => "dump",
            Job::Base => "base",
            Job::Files => "files",
            Job::Wal => "wal",
            Job::Verify => "verify",
            Job::Prune => "prune",
            Job::Copy => "copy",
            Job::Drill => "drill",
            Job::Check => "check",
        }
    }
}

impl std::fmt::Display for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A run of a scheduled job that is over, however it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The run's own name: 32 hex characters with hyphens, as UUIDs are written.
    pub run: String,
    /// The cluster it was for.
    pub cluster: String,
    /// What the job does: `dump`, `base`, `files`, `wal`, `verify`, `prune`, `copy`, `drill` or `check`.
    pub job: Job,
    /// The host it ran on.
    pub host: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it was over.
    pub finished_at: DateTime<Utc>,
    /// Whether it exited 0.
    pub succeeded: bool,
    /// Its exit code; absent where a signal ended it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_code: Option<i32>,
    /// The signal that ended it, such as TERM.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<String>,
    /// The newest backup that it published.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub backup: Option<String>,
    /// Size of all that it stored, in bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stored_bytes: Option<u64>,
    /// Its last words: the last lines it wrote to standard error, without secrets.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
}

impl Run {
    /// Whether it has done what the job is for. A check that found something wrong has, and must not be wrong for that the next time.
    pub fn is_done(&self) -> bool {
        self.succeeded || self.job == Job::Check && self.exit_code == Some(1)
    }
}

/// A standby, or another receiver of WAL, that is connected to a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// The name it gives itself: its `application_name`.
    pub name: String,
    /// How far the connection has come, such as `streaming` or `catchup`.
    pub state: String,
    /// WAL that it has not replayed yet, or not yet written where it replays none, in bytes.
    pub lag_bytes: u64,
    /// Whether a commit waits for it.
    pub synchronous: bool,
}

/// A replication slot of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Whether somebody receives from it.
    pub active: bool,
    /// WAL that the server keeps for it, in bytes.
    pub kept_bytes: u64,
    /// Whether WAL that it needs is gone already.
    pub lost: bool,
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// The cluster that it runs.
    pub cluster: String,
    /// Where it was asked: a host name, an address or a directory of sockets.
    pub server: String,
    /// Its version, such as 15.15.
    pub server_version: String,
    /// The system identifier that all copies of a cluster share.
    pub system_identifier: String,
    /// Whether it is a standby.
    pub standby: bool,
    /// Whether it archives WAL: `archive_mode` is on, or always.
    pub archiving: bool,
    /// The segment that was archived last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub archived: Option<String>,
    /// When that was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub archived_at: Option<DateTime<Utc>>,
    /// The segment whose archiving failed last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub archive_failed: Option<String>,
    /// When that was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub archive_failed_at: Option<DateTime<Utc>>,
    /// How often archiving has failed since the statistics were reset.
    pub archive_failures: u64,
    /// How far its WAL goes, as PostgreSQL prints positions: written, or, on a standby, replayed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub written_lsn: Option<String>,
    /// WAL in its directory, in bytes.
    pub wal_bytes: u64,
    /// Segments that wait to be archived.
    pub waiting_segments: u64,
    /// A standby: when the last commit that it has replayed was made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replayed_at: Option<DateTime<Utc>>,
    /// Who receives WAL from it.
    pub replicas: Vec<Replica>,
    /// Its replication slots.
    pub slots: Vec<Slot>,
    /// When it was asked.
    pub seen_at: DateTime<Utc>,
}

/// How full a store is, and what it enforces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// The store.
    pub store: String,
    /// The cluster whose objects were counted.
    pub cluster: String,
    /// Size of the cluster's objects, in bytes.
    pub stored_bytes: u64,
    /// How many objects those are.
    pub objects: u64,
    /// A directory: size of its file system, in bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub capacity_bytes: Option<u64>,
    /// A directory: what of that is free, in bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub free_bytes: Option<u64>,
    /// Until when the object of the newest backup is locked, as the store itself says; absent where it is not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub locked_until: Option<DateTime<Utc>>,
    /// When the store was asked.
    pub seen_at: DateTime<Utc>,
}

impl Storage {
    /// How full its file system is, from 0 to 1; none where that is not known.
    pub fn used_ratio(&self) -> Option<f64> {
        let (capacity, free) = (self.capacity_bytes.filter(|bytes| *bytes > 0)?, self.free_bytes?);
        Some(capacity.saturating_sub(free) as f64 / capacity as f64)
    }
}

/// What a check has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is as it should be.
    Ok,
    /// It wants somebody's look in the daytime.
    Warning,
    /// Somebody has to act at once.
    Critical,
    /// It could not be found out, which is as bad.
    Unknown,
}

/// One named check of a host, a server, a store, or of what was promised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Its name, such as dump-age, wal-lag or clock; dr-check(1) and dr-doctor(1) list theirs.
    pub check: String,
    /// What it has come to: `ok`, `warning`, `critical` or `unknown`.
    pub state: State,
    /// The cluster it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cluster: Option<String>,
    /// What of that it is about: a store, a database, a standby, a slot or a job.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subject: Option<String>,
    /// What was found, in words.
    pub message: String,
    /// What to do about it; absent where nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// What was measured, in its unit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub value: Option<f64>,
    /// The value it may have at most, or at least where less is worse.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit: Option<f64>,
    /// What value and limit are measured in: `seconds`, `bytes`, `percent` or `count`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unit: Option<String>,
    /// Since when it has been in this state, as far as the checker remembers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since_at: Option<DateTime<Utc>>,
    /// When it was found out.
    pub checked_at: DateTime<Utc>,
}
