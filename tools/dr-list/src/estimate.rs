//! How long would a restore take? As long, by size, as the drills took whose records lie beside the backups.

use std::collections::BTreeMap;

use dr_catalogue::Keyring;
use dr_catalogue::drills::read_drills;
use dr_pipe::Failure;
use dr_pipe::drilled::Drilled;
use dr_pipe::record::{Drill, Kind, Manifest};
use dr_pipe::warn;
use dr_store::Store;

use crate::args::Args;
use crate::list::TOOL;
use crate::print::Row;

/// As many records of drills are read, at most, for each cluster.
const READ: usize = 20;
/// As many drills of one kind count: the newest.
const COUNTED: usize = 5;

/// What drills have shown of each cluster.
#[derive(Debug, Default)]
pub struct Estimates(BTreeMap<String, Vec<Drill>>);

impl Estimates {
    /// What the drills beside these backups say; none where people do not read the answer. What fails here is only warned of: a
    /// list without estimates is as good a list.
    pub fn wanted(args: &Args, rows: &[Row]) -> Option<Self> {
        if !args.table.wanted() {
            return None;
        }
        let mut estimates = Estimates::default();
        let Ok(keyring) = args.catalogue.public_key.keyring() else { return Some(estimates) };
        let mut clusters: Vec<_> = rows.iter().map(|row| row.backup.manifest.cluster.as_str()).collect();
        clusters.sort_unstable();
        clusters.dedup();
        for cluster in clusters {
            // Without a key none of them counts, and whoever checks no signatures knows it.
            if keyring.of(cluster).is_ok_and(|keys| !keys.is_empty()) {
                let drills = read(args, cluster, &keyring);
                Drilled::witness(&drills).unwrap_or_else(|warning| warn(TOOL, warning));
                estimates.0.insert(cluster.into(), drills);
            }
        }
        Some(estimates)
    }

    /// How long this backup takes to restore, in words, such as `~4 min`; `-` where nobody knows.
    pub fn of(&self, manifest: &Manifest) -> String {
        let drills = self.0.get(&manifest.cluster).map_or(&[][..], Vec::as_slice);
        match seconds_per_byte(drills, manifest.kind) {
            Some(rate) => about(rate * manifest.bytes as f64),
            None => "-".into(),
        }
    }
}

/// The newest drills of a cluster, oldest first, in the nearest store that has any.
fn read(args: &Args, cluster: &str, keyring: &Keyring) -> Vec<Drill> {
    for location in &args.catalogue.from.from {
        let opened = Store::open_for_read(location, &args.catalogue.store).map_err(Failure::from);
        match opened.and_then(|store| Ok(read_drills(&store, cluster, keyring, READ)?)) {
            Ok(read) => {
                read.warnings.iter().for_each(|warning| warn(TOOL, warning));
                if !read.drills.is_empty() {
                    return read.drills;
                }
            }
            Err(failure) => warn(TOOL, format!("drills of {cluster} in {location}: {}", failure.message)),
        }
    }
    Vec::new()
}

/// The median of the newest drills that have passed with a backup of this kind. `drills` stand oldest first.
fn seconds_per_byte(drills: &[Drill], kind: Kind) -> Option<f64> {
    let rate = |drill: &Drill| {
        // A recovery has a target, a restore of a dump has none.
        let of_kind = if drill.target.is_some() { Kind::Base } else { Kind::Dump };
        let bytes = drill.stored_bytes.filter(|bytes| *bytes > 0 && drill.passed && of_kind == kind)?;
        Some((drill.fetch_seconds + drill.restore_seconds + drill.replay_seconds) / bytes as f64)
    };
    let mut rates: Vec<_> = drills.iter().rev().filter_map(rate).take(COUNTED).collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied()
}

/// A time span in its largest unit.
fn about(seconds: f64) -> String {
    let (number, unit) = match seconds {
        ..119.5 => (seconds.max(1.0), "s"),
        ..7170.0 => (seconds / 60.0, "min"),
        ..171_000.0 => (seconds / 3600.0, "h"),
        _ => (seconds / 86400.0, "d"),
    };
    format!("~{number:.0} {unit}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn drill(seconds: f64, bytes: Option<u64>, target: Option<&str>, passed: bool) -> Drill {
        let at = "2026-01-25T03:00:00Z".parse().unwrap();
        Drill {
            name: "main_drill_20260125T030000Z_7f3a".into(),
            drill: "restore-test".into(),
            cluster: "main".into(),
            database: None,
            passed,
            started_at: at,
            finished_at: at,
            operator: "root".into(),
            host: "h".into(),
            environment: "throw-away".into(),
            backup: None,
            stored_bytes: bytes,
            restored_bytes: None,
            reached_at: None,
            target: target.map(Into::into),
            target_at: None,
            segments: None,
            files: None,
            recipients: Vec::new(),
            rto_seconds: seconds + 100.0,
            rto_objective_seconds: None,
            rpo_seconds: None,
            rpo_objective_seconds: None,
            fetch_seconds: 0.0,
            restore_seconds: seconds,
            replay_seconds: 0.0,
            check_seconds: 100.0,
            steps: Vec::new(),
            issues: Vec::new(),
            next_actions: Vec::new(),
        }
    }

    #[test]
    fn the_median_of_the_newest_five_that_passed_counts() {
        let mut drills: Vec<_> = [900.0, 30.0, 10.0, 20.0, 50.0, 40.0].map(|time| drill(time, Some(10), None, true)).into();
        assert_eq!(seconds_per_byte(&drills, Kind::Dump), Some(3.0));
        assert_eq!(seconds_per_byte(&drills, Kind::Base), None);
        drills.extend([drill(1.0, Some(10), None, false), drill(1.0, None, None, true), drill(1.0, Some(0), None, true)]);
        assert_eq!(seconds_per_byte(&drills, Kind::Dump), Some(3.0), "failed ones, and those without a size, do not count");
        drills.push(drill(70.0, Some(10), Some("latest"), true));
        assert_eq!((seconds_per_byte(&drills, Kind::Base), seconds_per_byte(&drills, Kind::Dump)), (Some(7.0), Some(3.0)));
        assert_eq!(seconds_per_byte(&[], Kind::Dump), None);
    }

    #[test]
    fn a_time_is_said_in_its_largest_unit() {
        for (seconds, text) in [
            (0.01, "~1 s"),
            (119.4, "~119 s"),
            (119.6, "~2 min"),
            (240.0, "~4 min"),
            (7100.0, "~118 min"),
            (7200.0, "~2 h"),
            (1e6, "~12 d"),
        ] {
            assert_eq!(about(seconds), text);
        }
    }
}
