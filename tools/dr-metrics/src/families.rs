//! Which metrics are there of backups, jobs and drills, and where does each come from?

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use dr_pipe::record::{Backup, Depth, Drill, Job, Kind, Manifest, Record, Run, Verified, Wal};

use crate::exposition::{Metric, Page};
use crate::watched;

const LAST_SUCCESS: Metric = Metric::gauge("pg_dr_last_success_timestamp_seconds", "When it was last done: absent until then.");
const LAST_ATTEMPT: Metric =
    Metric::gauge("pg_dr_last_attempt_timestamp_seconds", "When a run of the job ended last, well or not.");
const LAST_CODE: Metric = Metric::gauge("pg_dr_last_attempt_exit_code", "The exit code of that run; 75 where a signal ended it.");
const LAST_DURATION: Metric = Metric::gauge("pg_dr_last_duration_seconds", "How long that run took.");
const SIZE: Metric = Metric::gauge("pg_dr_backup_size_bytes", "Size of the newest backup, plain or stored.");
const BACKUPS: Metric =
    Metric::gauge("pg_dr_backups", "How many backups are complete, and how many of these are locked, verified or drilled.");
const RECOVERABLE: Metric =
    Metric::gauge("pg_dr_first_recoverable_timestamp_seconds", "The first moment that the backups can bring back.");
const RTO: Metric = Metric::gauge("pg_dr_drill_rto_seconds", "How long a recovery took in the newest drill.");
const RPO: Metric = Metric::gauge("pg_dr_drill_rpo_seconds", "How much would have been lost in the newest drill.");
const PASSED: Metric = Metric::gauge("pg_dr_drill_passed", "Whether the newest drill has passed.");
const BUILD: Metric = Metric::gauge("pg_dr_build_info", "What has written this: always 1.");
const COMMON_SUCCESS: Metric = Metric::gauge("backup_last_success_timestamp", "When the newest backup was stored.");
const COMMON_STATUS: Metric = Metric::gauge("backup_last_status", "Whether the last backup succeeded.");

/// Drills of a database whose newest dump is older than this are left out, where others have younger ones: it was dropped. As
/// dr-objectives(5) has it by default.
const FORGET: TimeDelta = TimeDelta::days(30);

/// Everything that `records` say. They may be of several clusters, and of several stores that hold the same.
pub fn page(records: &[Record], now: DateTime<Utc>) -> Page {
    let mut page = Page::default();
    let revision = option_env!("DR_REVISION").unwrap_or("unknown");
    page.set(BUILD, &[("version", env!("CARGO_PKG_VERSION")), ("revision", revision)], 1.0);
    let mut clusters: BTreeMap<&str, Known> = BTreeMap::new();
    for record in records {
        match record {
            Record::Backup(backup) => of(&mut clusters, &backup.manifest.cluster).backup(backup),
            Record::Verified(verified) => of(&mut clusters, &verified.backup.manifest.cluster).verified(verified),
            Record::Drill(drill) => of(&mut clusters, &drill.cluster).drills.push(drill),
            Record::Run(run) => of(&mut clusters, &run.cluster).runs.push(run),
            Record::Wal(wal) => of(&mut clusters, &wal.cluster).wal.push(wal),
            _ => watched::add(&mut page, record),
        }
    }
    for (cluster, mut known) in clusters {
        known.drills.sort_by_key(|drill| drill.finished_at);
        known.runs.sort_by_key(|run| run.finished_at);
        known.add_backups(&mut page, cluster, now);
        known.add_runs(&mut page, cluster);
        known.add_drills(&mut page, cluster, now);
    }
    page
}

/// What is known of one cluster.
#[derive(Default)]
struct Known<'a> {
    /// Every backup once, by its kind, moment and name.
    backups: BTreeMap<(Kind, DateTime<Utc>, &'a str), &'a Manifest>,
    good: BTreeSet<&'a str>,
    verified_at: Option<DateTime<Utc>>,
    wal: Vec<&'a Wal>,
    drills: Vec<&'a Drill>,
    runs: Vec<&'a Run>,
}

fn of<'m, 'a>(clusters: &'m mut BTreeMap<&'a str, Known<'a>>, cluster: &'a str) -> &'m mut Known<'a> {
    clusters.entry(cluster).or_default()
}

impl<'a> Known<'a> {
    fn backup(&mut self, Backup { manifest, .. }: &'a Backup) {
        self.backups.insert((manifest.kind, manifest.taken_at, &manifest.name), manifest);
    }

    fn verified(&mut self, verified: &'a Verified) {
        self.backup(&verified.backup);
        self.verified_at = self.verified_at.max(verified.verified_at);
        if verified.good && verified.depth >= Depth::Bytes {
            self.good.insert(&verified.backup.manifest.name);
        }
    }

    fn add_backups(&self, page: &mut Page, cluster: &str, now: DateTime<Utc>) {
        for manifest in self.backups.values() {
            let kind = manifest.kind.to_string();
            let labels = [("cluster", cluster), ("kind", kind.as_str())];
            page.raise(LAST_SUCCESS, &labels, seconds(manifest.stored_at));
            page.raise(COMMON_SUCCESS, &labels, seconds(manifest.stored_at));
            page.set(COMMON_STATUS, &labels, 1.0);
            // In the order of their moments: the newest is the last.
            if manifest.produced.only.is_none() {
                let database = manifest.produced.database.as_deref().unwrap_or_default();
                let size = |stage| [("cluster", cluster), ("kind", kind.as_str()), ("database", database), ("stage", stage)];
                page.set(SIZE, &size("stored"), manifest.bytes as f64);
                manifest.produced.plain_bytes.into_iter().for_each(|bytes| page.set(SIZE, &size("plain"), bytes as f64));
            }
        }
        let drilled: BTreeSet<&str> =
            self.drills.iter().filter(|drill| drill.passed).filter_map(|drill| drill.backup.as_deref()).collect();
        let is_locked =
            |manifest: &Manifest| manifest.stores.iter().any(|store| store.locked_until.is_some_and(|until| until > now));
        let count = |test: &dyn Fn(&Manifest) -> bool| self.backups.values().filter(|manifest| test(manifest)).count() as f64;
        for (state, count) in [
            ("complete", count(&|_| true)),
            ("locked", count(&is_locked)),
            ("verified", count(&|manifest| self.good.contains(manifest.name.as_str()))),
            ("drilled", count(&|manifest| drilled.contains(manifest.name.as_str()))),
        ] {
            page.set(BACKUPS, &[("cluster", cluster), ("state", state)], count);
        }
        if let Some(first) = self.backups.values().map(|manifest| manifest.taken_at).min() {
            page.set(RECOVERABLE, &[("cluster", cluster)], seconds(first));
        }
        if let Some(stored) = self.wal.iter().filter_map(|wal| wal.stored_at).max() {
            page.raise(LAST_SUCCESS, &[("cluster", cluster), ("kind", "wal")], seconds(stored));
        }
    }

    fn add_runs(&self, page: &mut Page, cluster: &str) {
        // In the order in which they ended: the newest is the last.
        for run in &self.runs {
            let labels = [("cluster", cluster), ("kind", run.job.name())];
            page.set(LAST_ATTEMPT, &labels, seconds(run.finished_at));
            page.set(LAST_CODE, &labels, f64::from(run.exit_code.unwrap_or(75)));
            page.set(LAST_DURATION, &labels, (run.finished_at - run.started_at).num_milliseconds() as f64 / 1000.0);
            let backs_up = matches!(run.job, Job::Dump | Job::Base | Job::Files);
            if run.is_done() {
                // Of what a job stores, the stores know best when that was.
                let stores = backs_up || run.job == Job::Wal;
                if !stores || !page_has(self, run.job) {
                    page.raise(LAST_SUCCESS, &labels, seconds(run.finished_at));
                }
            }
            if backs_up {
                page.set(COMMON_STATUS, &labels, f64::from(u8::from(run.succeeded)));
            }
        }
        if let Some(verified) = self.verified_at {
            page.raise(LAST_SUCCESS, &[("cluster", cluster), ("kind", "verify")], seconds(verified));
        }
    }

    fn add_drills(&self, page: &mut Page, cluster: &str, now: DateTime<Utc>) {
        for newest in Drill::newest(self.drills.iter().copied()) {
            if !newest.is_of_today(self.backups.values().copied(), Some(FORGET), now) {
                continue;
            }
            let mut labels = vec![("cluster", cluster), ("drill", newest.drill.as_str())];
            labels.extend(newest.database.as_deref().map(|database| ("database", database)));
            page.set(PASSED, &labels, f64::from(u8::from(newest.passed)));
            let is_such = |drill: &&&Drill| drill.passed && drill.drill == newest.drill && drill.database == newest.database;
            if let Some(passed) = self.drills.iter().rev().find(is_such) {
                page.set(RTO, &labels, passed.rto_seconds);
                passed.rpo_seconds.into_iter().for_each(|lost| page.set(RPO, &labels, lost));
            }
        }
        for drill in self.drills.iter().filter(|drill| drill.passed) {
            page.raise(LAST_SUCCESS, &[("cluster", cluster), ("kind", "drill")], seconds(drill.finished_at));
        }
    }
}

/// Whether the stores show what a job leaves there.
fn page_has(known: &Known, job: Job) -> bool {
    known.backups.keys().any(|(kind, ..)| kind.to_string() == job.name()) || job == Job::Wal && !known.wal.is_empty()
}

/// A moment as Prometheus counts them.
pub fn seconds(at: DateTime<Utc>) -> f64 {
    at.timestamp_millis() as f64 / 1000.0
}
