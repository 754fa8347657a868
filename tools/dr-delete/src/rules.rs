//! May these backups go? The rules that hold whatever was decided: pure, but for what the catalogue says.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use dr_pipe::record::{Action, Backup, Kind, Manifest};
use dr_pipe::{Exit, Failure, words};

use crate::decided::Told;

/// So many verified backups of each group stay.
const FLOOR: usize = 2;
/// A group of fewer has no usual interval.
const FEWEST: usize = 3;
/// So many of the newest tell the usual interval.
const RECENT: usize = 10;
/// No group is held to a shorter time.
const SHORTEST: TimeDelta = TimeDelta::hours(2);
/// The key of the tag of backups that are never pruned.
const PIN: &str = "pin";

/// Backups of one kind that show the same thing: only among them is one newer than another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group(Kind, Option<String>, Option<String>);

impl Group {
    /// That of a backup.
    pub fn of(Manifest { kind, produced, .. }: &Manifest) -> Group {
        Group(*kind, produced.database.clone(), produced.only.clone())
    }

    /// Whether new backups of this group tell that such as `other` are still made: they are of the same kind, and no smaller part.
    fn speaks_for(&self, other: &Group) -> bool {
        self != other && self.0 == other.0 && (self.2.is_none() || self.2 == other.2)
    }
}

impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Group(kind, database, only) = self;
        write!(f, "{kind} backups")?;
        database.iter().try_for_each(|database| write!(f, " of database {database}"))?;
        only.iter().try_for_each(|only| write!(f, " ({only})"))
    }
}

/// The backups that are to be deleted, of those that are there.
///
/// # Errors
/// 80 where one that is there was not decided on, or another was meant.
pub fn chosen<'b>(live: &'b [Backup], told: &Told) -> Result<Vec<&'b Backup>, Failure> {
    let mut chosen = Vec::new();
    for backup in live {
        let manifest = &backup.manifest;
        match told.backups.get(&(manifest.kind, manifest.name.clone())) {
            Some(choice) if choice.sha256 != manifest.sha256 => {
                let message =
                    format!("{} is another backup than was decided on: its object has SHA-256 {}", manifest.name, manifest.sha256);
                return Err(refusal(message, "find out who put it there"));
            }
            Some(choice) if choice.action == Action::Delete => chosen.push(backup),
            Some(_) => {}
            // Made since: nobody could decide on it, and it stays.
            None if told.since.is_some_and(|since| manifest.stored_at > since) => {}
            None => {
                let message = format!("nothing was decided about {}: the catalogue has changed since", manifest.name);
                return Err(refusal(message, "decide again, on all backups of this cluster"));
            }
        }
    }
    Ok(chosen)
}

/// Passes backups none of which is pinned, or the newest of its kind.
///
/// # Errors
/// 80.
pub fn may_go(live: &[Backup], chosen: &[&Backup]) -> Result<(), Failure> {
    for backup in chosen {
        let manifest = &backup.manifest;
        if let Some(tag) = manifest.tags.iter().find(|tag| tag.split('=').next() == Some(PIN)) {
            return Err(refusal(format!("{} is pinned, with the tag {tag}", manifest.name), "a pinned backup is never deleted"));
        }
        let newer = |other: &Backup| other.manifest.kind == manifest.kind && other.manifest.sequence > manifest.sequence;
        if !live.iter().any(newer) {
            let message = format!("{} is the newest {} backup of {}", manifest.name, manifest.kind, manifest.cluster);
            return Err(refusal(message, "whoever has seen it would take the catalogue without it for one rolled back"));
        }
    }
    Ok(())
}

/// Passes where backups come, and warns of groups to which none does. `known` are all that are there, marked ones too; `live` those that
/// are not. A database may have been dropped: its backups go while those of another one come.
///
/// # Errors
/// 80 where backups of a kind seem to have stopped coming: then none may go.
pub fn fresh(
    groups: &BTreeSet<Group>,
    live: &[Backup],
    known: &[&Backup],
    max_age: Option<TimeDelta>,
    now: DateTime<Utc>,
) -> Result<Vec<String>, Failure> {
    let allowed = |group: &Group| max_age.or_else(|| usual(group, known).map(|usual| (usual * 2).max(SHORTEST)));
    let age = |group: &Group| newest(group, live).map(|at| now - at);
    let mut warnings = Vec::new();
    for group in groups {
        let Some(limit) = allowed(group) else { continue };
        let message = match age(group) {
            Some(age) if age <= limit => continue,
            Some(age) => {
                let (age, limit) = (words::age(age), words::age(limit));
                format!("the newest of the {group} is {age} old, and one would be there after {limit}")
            }
            None => format!("there are no {group} but such as are marked for deletion"),
        };
        let others: BTreeSet<Group> = live.iter().map(|backup| Group::of(&backup.manifest)).collect();
        let comes = |other: &&Group| age(other).is_some_and(|age| age <= allowed(other).unwrap_or(limit));
        match others.iter().filter(|other| other.speaks_for(group)).find(comes) {
            Some(other) => warnings.push(format!(
                "{message}: {other} come, so it is taken for dropped, and all but {FLOOR} may go; if it is not, find out why none come"
            )),
            None => return Err(refusal(message, "why do none come any more? if they need not, say so with --max-age")),
        }
    }
    Ok(warnings)
}

/// When the newest backup of a group was taken.
fn newest(group: &Group, live: &[Backup]) -> Option<DateTime<Utc>> {
    live.iter().filter(|backup| Group::of(&backup.manifest) == *group).map(|backup| backup.manifest.taken_at).max()
}

/// The median interval of a group's newest backups; none where there are too few.
fn usual(group: &Group, known: &[&Backup]) -> Option<TimeDelta> {
    let of_group = known.iter().filter(|backup| Group::of(&backup.manifest) == *group);
    let mut taken: Vec<_> = of_group.map(|backup| backup.manifest.taken_at).collect();
    if taken.len() < FEWEST {
        return None;
    }
    taken.sort_unstable();
    let recent = &taken[taken.len().saturating_sub(RECENT)..];
    let mut intervals: Vec<_> = recent.windows(2).map(|pair| pair[1] - pair[0]).collect();
    intervals.sort_unstable();
    Some(intervals[intervals.len() / 2])
}

/// Passes where enough backups of every group stay. Verified ones are those that were decided to be kept, and verified; without
/// decisions, in a run that only finishes, all that are there count.
///
/// # Errors
/// 80.
pub fn floor(groups: &BTreeSet<Group>, live: &[Backup], told: Option<&Told>) -> Result<(), Failure> {
    let stays = |manifest: &Manifest| {
        let choice = told.map(|told| told.backups.get(&(manifest.kind, manifest.name.clone())));
        choice.is_none_or(|choice| choice.is_some_and(|choice| choice.action == Action::Keep && choice.verified))
    };
    let mut kept: BTreeMap<Group, usize> = groups.iter().cloned().map(|group| (group, 0)).collect();
    for manifest in live.iter().map(|backup| &backup.manifest).filter(|manifest| stays(manifest)) {
        if let Some(count) = kept.get_mut(&Group::of(manifest)) {
            *count += 1;
        }
    }
    match kept.iter().find(|(_, count)| **count < FLOOR) {
        None => Ok(()),
        Some((group, count)) => {
            let what = if told.is_some() { "that are verified would stay" } else { "would stay" };
            let message = format!("of the {group} only {count} {what}, and {FLOOR} must");
            Err(refusal(message, "verify more of them (dr-verify), or keep more"))
        }
    }
}

fn refusal(message: String, hint: &str) -> Failure {
    Failure::new(Exit::Refused, message, hint)
}
