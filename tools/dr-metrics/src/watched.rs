//! Which metrics are there of servers, stores and checks?

use dr_pipe::record::{Check, Record, Server, State, Storage};

use crate::exposition::{Metric, Page};
use crate::families::seconds;

const STATE: Metric = Metric::gauge("pg_dr_check_state", "What a check has come to: 0 ok, 1 warning, 2 critical, 3 unknown.");
const VALUE: Metric = Metric::gauge("pg_dr_check_value", "What a check has measured, in its unit.");
const LIMIT: Metric = Metric::gauge("pg_dr_check_limit", "What that may be at most, or at least where less is worse.");
const CHECKED: Metric = Metric::gauge("pg_dr_checked_timestamp_seconds", "When dr-check has judged last.");
const WAL_LAG: Metric = Metric::gauge("pg_dr_wal_lag_seconds", "For how long the server has had WAL that no store has.");
const WAL_GAP: Metric = Metric::gauge("pg_dr_wal_gap_segments", "Segments of WAL that are missing from any base on.");
const LOCKED: Metric =
    Metric::gauge("pg_dr_lock_verified", "Whether the store says that the newest backup is locked for long enough.");
const CHANGE: Metric =
    Metric::gauge("pg_dr_backup_size_change_ratio", "By how much the newest backup is larger or smaller than the one before it.");
const COPIES: Metric = Metric::gauge("pg_dr_backup_copies", "The fewest stores that any backup of the last days lies in.");
const AWAY: Metric = Metric::gauge("pg_dr_standby_away_seconds", "For how long a standby that is expected has been away.");
const STORED: Metric = Metric::gauge("pg_dr_storage_bytes", "Size of a cluster's objects in a store.");
const OBJECTS: Metric = Metric::gauge("pg_dr_storage_objects", "How many objects a cluster has in a store.");
const CAPACITY: Metric = Metric::gauge("pg_dr_storage_capacity_bytes", "Size of a store's file system.");
const FREE: Metric = Metric::gauge("pg_dr_storage_free_bytes", "What is free of that.");
const USED: Metric = Metric::gauge("pg_dr_storage_used_ratio", "How full that is, from 0 to 1.");
const FAILURES: Metric = Metric::counter("pg_dr_archive_failures_total", "How often archiving WAL has failed.");
const FAILED: Metric = Metric::gauge("pg_dr_archive_last_failure_timestamp_seconds", "When archiving WAL failed last.");
const ARCHIVED: Metric = Metric::gauge("pg_dr_archive_last_success_timestamp_seconds", "When WAL was archived last.");
const WAITING: Metric = Metric::gauge("pg_dr_archive_waiting_segments", "Segments of WAL that wait to be archived.");
const WAL_BYTES: Metric = Metric::gauge("pg_dr_wal_directory_bytes", "WAL in the server's directory.");
const REPLAYED: Metric =
    Metric::gauge("pg_dr_standby_replayed_timestamp_seconds", "When the last commit was made that a standby has replayed.");
const LAG: Metric = Metric::gauge("pg_dr_replication_lag_bytes", "WAL that a standby has not replayed yet.");
const KEPT: Metric = Metric::gauge("pg_dr_slot_kept_bytes", "WAL that a slot keeps back.");
const ACTIVE: Metric = Metric::gauge("pg_dr_slot_active", "Whether somebody receives from a slot.");
const LOST: Metric = Metric::gauge("pg_dr_slot_lost", "Whether WAL that a slot needs is gone.");

/// Adds what one record says; others than those of servers, stores and checks say nothing.
pub fn add(page: &mut Page, record: &Record) {
    match record {
        Record::Server(server) => add_server(page, server),
        Record::Storage(storage) => add_storage(page, storage),
        Record::Check(check) => add_check(page, check),
        _ => {}
    }
}

fn add_check(page: &mut Page, check: &Check) {
    let (cluster, subject) = (check.cluster.as_deref().unwrap_or_default(), check.subject.as_deref().unwrap_or_default());
    let labels = [("cluster", cluster), ("check", check.check.as_str()), ("subject", subject)];
    let state = match check.state {
        State::Ok => 0.0,
        State::Warning => 1.0,
        State::Critical => 2.0,
        State::Unknown => 3.0,
    };
    page.set(STATE, &labels, state);
    page.raise(CHECKED, &[("cluster", cluster)], seconds(check.checked_at));
    check.limit.into_iter().for_each(|limit| page.set(LIMIT, &labels, limit));
    check.value.into_iter().for_each(|value| page.set(VALUE, &labels, value));
    let own = |label| [("cluster", cluster), (label, subject)];
    match (check.check.as_str(), check.value) {
        ("wal-lag", Some(value)) => page.set(WAL_LAG, &[("cluster", cluster)], value),
        ("wal-gap", Some(value)) => page.set(WAL_GAP, &[("cluster", cluster)], value),
        ("lock", _) => page.set(LOCKED, &own("store"), f64::from(u8::from(check.state == State::Ok))),
        ("size", Some(value)) => page.set(CHANGE, &own("subject"), value / 100.0),
        ("copies", Some(value)) => page.set(COPIES, &[("cluster", cluster)], value),
        ("standby", Some(value)) => page.set(AWAY, &own("standby"), value),
        _ => {}
    }
}

fn add_storage(page: &mut Page, storage: &Storage) {
    let labels = [("cluster", storage.cluster.as_str()), ("store", storage.store.as_str())];
    page.set(STORED, &labels, storage.stored_bytes as f64);
    page.set(OBJECTS, &labels, storage.objects as f64);
    if let (Some(capacity), Some(free)) = (storage.capacity_bytes.filter(|bytes| *bytes > 0), storage.free_bytes) {
        page.set(CAPACITY, &labels, capacity as f64);
        page.set(FREE, &labels, free as f64);
    }
    storage.used_ratio().into_iter().for_each(|used| page.set(USED, &labels, used));
}

fn add_server(page: &mut Page, server: &Server) {
    let labels = [("cluster", server.cluster.as_str()), ("server", server.server.as_str())];
    page.set(FAILURES, &labels, server.archive_failures as f64);
    server.archive_failed_at.into_iter().for_each(|at| page.set(FAILED, &labels, seconds(at)));
    server.archived_at.into_iter().for_each(|at| page.set(ARCHIVED, &labels, seconds(at)));
    page.set(WAITING, &labels, server.waiting_segments as f64);
    page.set(WAL_BYTES, &labels, server.wal_bytes as f64);
    server.replayed_at.into_iter().for_each(|at| page.set(REPLAYED, &labels, seconds(at)));
    for replica in &server.replicas {
        // Several connections may have one name: the one that is farthest behind counts.
        page.raise(LAG, &[("cluster", &server.cluster), ("standby", &replica.name)], replica.lag_bytes as f64);
    }
    for slot in &server.slots {
        let labels = [("cluster", server.cluster.as_str()), ("slot", slot.name.as_str())];
        page.set(KEPT, &labels, slot.kept_bytes as f64);
        page.set(ACTIVE, &labels, f64::from(u8::from(slot.active)));
        page.set(LOST, &labels, f64::from(u8::from(slot.lost)));
    }
}
