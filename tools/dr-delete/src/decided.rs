//! What is to be done? The decisions on standard input, by store and cluster, held against each other.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use dr_pipe::record::{Action, Decision, Kind, Record};
use dr_pipe::{Exit, Failure, Sha256};
use dr_store::Location;
use dr_wal::{SegmentName, Timeline};

use crate::clock::SKEW;

/// Decisions that are older were made for another catalogue.
const LONGEST: TimeDelta = TimeDelta::hours(24);

/// The decisions about one cluster in one store.
#[derive(Debug, Default)]
pub struct Told {
    /// Those about backups, by kind and name.
    pub backups: BTreeMap<(Kind, String), Choice>,
    /// Ranges of WAL that may go.
    pub ranges: Vec<Range>,
    /// Ranges of WAL that stay.
    pub kept: Vec<Range>,
    /// When the first of them was made.
    pub since: Option<DateTime<Utc>>,
}

/// A decision about a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What is to become of it.
    pub action: Action,
    /// SHA-256 of its object.
    pub sha256: Sha256,
    /// Whether it counts for the floor.
    pub verified: bool,
    /// Why.
    pub reasons: Vec<String>,
}

/// A decision about WAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Its first segment.
    pub first: SegmentName,
    /// Its last segment, of the same timeline.
    pub last: SegmentName,
    /// Why.
    pub reasons: Vec<String>,
}

impl Range {
    /// Whether both have a segment.
    fn overlaps(&self, other: &Range) -> bool {
        self.first.timeline == other.first.timeline && self.first <= other.last && other.first <= self.last
    }
}

impl Told {
    /// Whether anything may go.
    pub fn deletes(&self) -> bool {
        !self.ranges.is_empty() || self.backups.values().any(|choice| choice.action == Action::Delete)
    }
}

/// All decisions, by store and cluster.
pub type Decided = BTreeMap<(String, String), Told>;

/// Sorts decisions.
///
/// # Errors
/// 66 where there is none; 65 for a record that is none, or is not whole, or contradicts another; 64 where something is to be
/// deleted in a store that is not among `from`, or in another cluster than `only`; 80 for one that is not of today.
pub fn sort(records: Vec<Record>, from: &[Location], only: Option<&str>, now: DateTime<Utc>) -> Result<Decided, Failure> {
    let mut decided = Decided::new();
    for record in records {
        let Record::Decision(decision) = record else {
            return Err(Failure::new(Exit::Damaged, "a record that is no decision", "give it what dr-prune writes"));
        };
        let named = from.iter().any(|location| location.to_string() == decision.store);
        let meant = only.is_none_or(|cluster| *cluster == decision.cluster);
        match (named && meant, decision.action) {
            (true, _) => add(&mut decided, *decision, now)?,
            (false, Action::Keep) => {}
            (false, Action::Delete) => return Err(elsewhere(&decision, named)),
        }
    }
    if decided.is_empty() {
        return Err(Failure::new(Exit::Missing, "there are no decisions", "the message of whoever makes them says why"));
    }
    match decided.values().find_map(contradiction) {
        Some(what) => Err(Failure::new(Exit::Damaged, format!("{what} is to be kept and deleted"), "decide again")),
        None => Ok(decided),
    }
}

fn elsewhere(decision: &Decision, named: bool) -> Failure {
    let Decision { store, cluster, .. } = decision;
    if named {
        return Failure::new(Exit::Usage, format!("a decision deletes in cluster {cluster}"), "another --cluster was named");
    }
    let hint = "name every store with --from exactly as it was named when the decisions were made";
    Failure::new(Exit::Usage, format!("a decision deletes in {store}, which is not named"), hint)
}

fn add(decided: &mut Decided, decision: Decision, now: DateTime<Utc>) -> Result<(), Failure> {
    let age = now - decision.decided_at;
    if age > LONGEST || age < -SKEW {
        let message = format!("a decision about {} was made for {}, and it is {now}", decision.cluster, decision.decided_at);
        return Err(Failure::new(Exit::Refused, message, "decide again, and check the clocks if that is no help"));
    }
    dr_pipe::args::cluster_name(&decision.cluster).map_err(|why| malformed(&why))?;
    let told = decided.entry((decision.store.clone(), decision.cluster.clone())).or_default();
    told.since = Some(told.since.map_or(decision.decided_at, |since| since.min(decision.decided_at)));
    let Decision { action, reasons, .. } = decision;
    match (decision.kind, decision.name, decision.sha256, decision.timeline, decision.first, decision.last) {
        (Some(kind), Some(name), Some(sha256), None, None, None) => {
            let choice = Choice { action, sha256, verified: decision.verified == Some(true), reasons };
            match told.backups.insert((kind, name.clone()), choice) {
                Some(_) => Err(malformed(&format!("two are about {name}"))),
                None => Ok(()),
            }
        }
        (None, None, None, Some(timeline), Some(first), Some(last)) => {
            let segment = |text: &str| text.parse::<SegmentName>().map_err(|error| malformed(&error.to_string()));
            let range = Range { first: segment(&first)?, last: segment(&last)?, reasons };
            if range.first.timeline != Timeline(timeline) || range.last.timeline != Timeline(timeline) || range.last < range.first {
                return Err(malformed(&format!("{first} to {last} is no range of timeline {timeline}")));
            }
            if action == Action::Delete {
                told.ranges.push(range)
            } else {
                told.kept.push(range)
            }
            Ok(())
        }
        _ => Err(malformed("one is neither about a backup nor about WAL")),
    }
}

/// A range that is to be kept and deleted. (A backup has one decision.)
fn contradiction(told: &Told) -> Option<String> {
    let contradicts = |range: &&Range| told.kept.iter().any(|kept| kept.overlaps(range));
    told.ranges.iter().find(contradicts).map(|range| format!("WAL of {} to {}", range.first, range.last))
}

fn malformed(why: &str) -> Failure {
    Failure::new(Exit::Damaged, format!("the decisions are not whole: {why}"), "give it what dr-prune writes, see dr-records(5)")
}
