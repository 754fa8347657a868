//! Which backup was used, and which moment does it show? Told by the records that the steps have printed.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use dr_pipe::record::{Backup, Kind, Phase, Plan, Recovered};

use crate::notes::{Noted, Notes, Said};

/// What was brought back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reached {
    /// Every backup that was restored, by name.
    pub backups: Vec<String>,
    /// Size of the last one in its store.
    pub stored_bytes: Option<u64>,
    /// Size of what was restored.
    pub restored_bytes: Option<u64>,
    /// The database that was restored, or of which steps have shown a dump; none within where that was a base, which is of all.
    pub database: Option<Option<String>>,
    /// The moment that the restored data shows.
    pub at: Option<DateTime<Utc>>,
    /// What was recovered to, the moment that was asked for, and how many segments of WAL that takes.
    pub target: Option<(String, Option<DateTime<Utc>>, u64)>,
    /// The backup of files that a step has shown last.
    pub files: Option<String>,
    /// Who can decrypt it.
    pub recipients: Vec<String>,
    /// Whether it was proved by what restored it.
    pub proved: bool,
}

impl Reached {
    /// What the notes of a drill say. Of several restores the last one counts; a plan is none. What a check has printed is no restore:
    /// it may be a row of the database.
    pub fn of(notes: &Notes) -> Self {
        let mut reached = Reached::default();
        let passed = notes.steps.iter().filter(|noted| noted.step.passed && noted.step.phase != Phase::Check);
        for said in passed.flat_map(|noted| &noted.said) {
            match said {
                Said::Restored(restored) => {
                    reached.backups.extend(restored.backup.clone());
                    (reached.at, reached.proved) = (restored.taken_at, restored.proved);
                    reached.database = restored.source_database.clone().map(Some);
                    (reached.stored_bytes, reached.restored_bytes, reached.target) = (None, None, None);
                }
                Said::Recovered(recovered) => {
                    reached.backups.push(recovered.plan.backup.clone());
                    reached.database = Some(None);
                    (reached.at, reached.proved) = (Some(moment(recovered)), false);
                    reached.stored_bytes = Some(recovered.plan.stored_bytes);
                    reached.restored_bytes = Some(recovered.plan.restored_bytes);
                    reached.target = Some((target(&recovered.plan), recovered.plan.target_at, recovered.plan.segments));
                }
                Said::Backup(backup) if backup.manifest.kind == Kind::Files => {
                    reached.files = Some(backup.manifest.name.clone());
                }
                Said::Backup(_) | Said::Plan(_) => {}
            }
        }
        if let Some(backup) = reached.backups.last().and_then(|name| listed(notes, name)) {
            let manifest = &backup.manifest;
            reached.recipients.clone_from(&manifest.recipients);
            reached.database = reached.database.or_else(|| Some(manifest.produced.database.clone()));
            reached.stored_bytes = reached.stored_bytes.or(Some(manifest.bytes));
            reached.restored_bytes = reached.restored_bytes.or(manifest.produced.plain_bytes);
        }
        if reached.backups.is_empty() {
            reached.database = shown_database(notes);
        }
        reached.backups.dedup();
        reached
    }
}

/// Every backup that a step has shown.
fn shown(notes: &Notes) -> impl Iterator<Item = &Backup> {
    let believed = notes.steps.iter().filter(|noted| noted.step.phase != Phase::Check);
    believed.flat_map(|noted| &noted.said).filter_map(|said| match said {
        Said::Backup(backup) => Some(&**backup),
        _ => None,
    })
}

/// The record of backup `name`, where a step has shown it.
fn listed<'a>(notes: &'a Notes, name: &str) -> Option<&'a Backup> {
    shown(notes).find(|backup| backup.manifest.name == name)
}

/// The database of all backups that steps have shown, where it is one and the same: what was to be restored where nothing was.
fn shown_database(notes: &Notes) -> Option<Option<String>> {
    let whole = shown(notes).map(|backup| &backup.manifest).filter(|manifest| manifest.kind != Kind::Files);
    let mut databases: BTreeSet<_> = whole.map(|manifest| manifest.produced.database.clone()).collect();
    databases.pop_first().filter(|_| databases.is_empty())
}

/// The moment that a recovered cluster shows: the one that was asked for, as all WAL up to it was seen; else its last commit; else
/// the end of the base.
fn moment(Recovered { plan, reached_at, .. }: &Recovered) -> DateTime<Utc> {
    let Plan { target_at, earliest_at, latest_at, .. } = plan;
    let latest = if plan.target == "latest" { *latest_at } else { None };
    target_at.or(*reached_at).or(latest).unwrap_or(*earliest_at)
}

/// What was recovered to. A moment has a field of its own.
fn target(plan: &Plan) -> String {
    match &plan.target_value {
        Some(value) if plan.target != "time" => format!("{} {value}", plan.target),
        _ => plan.target.clone(),
    }
}

/// Seconds of a step that the replay of WAL took, where a recovery in it has measured that.
pub fn replay_seconds(noted: &Noted) -> f64 {
    let replay = |said: &Said| match said {
        Said::Recovered(recovered) => recovered.replay_seconds,
        _ => None,
    };
    noted.said.iter().filter_map(replay).sum::<f64>().clamp(0.0, noted.step.duration_seconds)
}
