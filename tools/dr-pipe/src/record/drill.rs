//! `step` and `drill`: what a drill has done, and whether it has proved anything.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{Kind, Manifest};

/// What part of a recovery a step belongs to; its time counts there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// To prepare: a server, a marker row. It counts for no objective.
    Prepare,
    /// To read the backup from its store.
    Fetch,
    /// To restore it.
    Restore,
    /// To replay WAL.
    Replay,
    /// To check what was restored.
    Check,
}

/// One step of a drill: a command that was run, and how it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its name, such as fingerprint, marker or amcheck.
    pub name: String,
    /// What part of a recovery it is: `prepare`, `fetch`, `restore`, `replay` or `check`.
    pub phase: Phase,
    /// Whether the command exited 0.
    pub passed: bool,
    /// Its exit code; absent where a signal ended it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_code: Option<i32>,
    /// When the step began.
    pub started_at: DateTime<Utc>,
    /// Time the step took.
    pub duration_seconds: f64,
    /// The last lines that the command printed, without secrets.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output: Option<String>,
}

/// A drill that is over: a restore that was made only to prove that it works.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drill {
    /// Its name: cluster, kind of drill, and when it began, as `main_drill_20260125T030000Z_7f3a`.
    pub name: String,
    /// What was done, such as restore-test, pitr or staging.
    pub drill: String,
    /// The cluster whose backups were proved.
    pub cluster: String,
    /// The database that was restored, of a dump.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub database: Option<String>,
    /// Whether all steps passed, and all that were required are among them.
    pub passed: bool,
    /// When the drill began.
    pub started_at: DateTime<Utc>,
    /// When the drill was over.
    pub finished_at: DateTime<Utc>,
    /// Who ran it.
    pub operator: String,
    /// The host it ran on.
    pub host: String,
    /// Where it ran, such as throw-away or staging.
    pub environment: String,
    /// The backup that was used.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub backup: Option<String>,
    /// Size of that backup in its store.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stored_bytes: Option<u64>,
    /// Size of what was restored.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub restored_bytes: Option<u64>,
    /// The moment that the restored data shows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reached_at: Option<DateTime<Utc>>,
    /// What was recovered to, with its value where that is no moment: `time`, `immediate`, `latest`, `lsn 0/3000028` or the like;
    /// only where WAL was replayed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<String>,
    /// The moment that was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target_at: Option<DateTime<Utc>>,
    /// Segments of WAL that were replayed, or begun; at most, where a moment was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub segments: Option<u64>,
    /// The backup of files that was used beside it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub files: Option<String>,
    /// Public keys of those who can decrypt the backup: one of them did.
    pub recipients: Vec<String>,
    /// Time to fetch, restore, replay and check: what a recovery would have taken.
    pub rto_seconds: f64,
    /// What it may take at most.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rto_objective_seconds: Option<f64>,
    /// What would have been lost: from the moment that the data shows to the beginning of the drill.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rpo_seconds: Option<f64>,
    /// What may be lost at most.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rpo_objective_seconds: Option<f64>,
    /// Time that steps of the phase fetch took.
    pub fetch_seconds: f64,
    /// Time that steps of the phase restore took.
    pub restore_seconds: f64,
    /// Time that steps of the phase replay took.
    pub replay_seconds: f64,
    /// Time that steps of the phase check took.
    pub check_seconds: f64,
    /// The steps in their order, each with the fields of a step.
    pub steps: Vec<Step>,
    /// What went wrong, in words; empty where it passed.
    pub issues: Vec<String>,
    /// What is to be done next, in words.
    pub next_actions: Vec<String>,
}

impl Drill {
    /// What was done, and with which database: `restore-test of shop`.
    pub fn what(&self) -> String {
        match &self.database {
            Some(database) => format!("{} of {database}", self.drill),
            None => self.drill.clone(),
        }
    }

    /// The newest drill of each sort and database, of `drills` that stand oldest first: one that failed is not hidden by one of another
    /// database. A drill that does not know its database counts until there is a newer one of its sort.
    pub fn newest<'a>(drills: impl IntoIterator<Item = &'a Drill>) -> Vec<&'a Drill> {
        let mut newest: BTreeMap<(&str, Option<&str>), &Drill> = BTreeMap::new();
        for drill in drills {
            newest.remove(&(drill.drill.as_str(), None));
            newest.insert((&drill.drill, drill.database.as_deref()), drill);
        }
        newest.into_values().collect()
    }

    /// Whether the database of this drill is still dumped, as `backups` show: one that was dropped, or whose newest dump is older than
    /// `forget` while others have younger ones, is to alarm nobody for ever. Where no dump is known, nothing is known of that.
    pub fn is_of_today<'a>(
        &self,
        backups: impl IntoIterator<Item = &'a Manifest>,
        forget: Option<TimeDelta>,
        now: DateTime<Utc>,
    ) -> bool {
        let (mut newest, mut own) = (None, None);
        for dump in backups.into_iter().filter(|backup| backup.kind == Kind::Dump) {
            newest = newest.max(Some(dump.taken_at));
            if dump.produced.database == self.database {
                own = own.max(Some(dump.taken_at));
            }
        }
        self.database.is_none() || newest == own || own.is_some_and(|own| forget.is_none_or(|forget| now - own <= forget))
    }
}
