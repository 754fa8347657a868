//! Every check: as it should be, at its limit, beyond it, not known, and not watched.
#![allow(clippy::unwrap_used)]

use chrono::TimeDelta;
use dr_pipe::record::{Depth, Finding, Job, Kind, Severity, State};

use super::world::{World, replica, slot};
use State::{Critical, Ok, Unknown, Warning};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const LIMIT: i64 = 26 * HOUR;

fn world(objectives: &str) -> World {
    World::new(objectives)
}

#[test]
fn f95_a_dump_is_too_old_a_second_after_its_limit() {
    assert_eq!(world("").dump(LIMIT).state("dump-age shop"), Some(Ok));
    assert_eq!(world("").dump(LIMIT + 1).state("dump-age shop"), Some(Critical));
    assert_eq!(world("[age]\ndump = 0").dump(LIMIT + 1).state("dump-age shop"), None);
    assert_eq!(world("").state("dump-age"), None, "nobody asked for dumps");
    assert_eq!(world("[age]\ndump = \"1d\"").state("dump-age"), Some(Critical));
    assert_eq!(world("[age]\ndump = \"1d\"").silent("/far").state("dump-age"), Some(Unknown));
    let check = world("").dump(LIMIT + 1).check("dump-age shop").unwrap();
    assert_eq!((check.value, check.limit, check.unit.as_deref()), (Some(93_601.0), Some(93_600.0), Some("seconds")));
    assert!(check.hint.is_some());
}

#[test]
fn every_database_is_watched_and_one_that_was_dropped_is_forgotten() {
    let two = world("").dump(10).backup(Kind::Dump, Some("crm"), 27 * HOUR, 1);
    assert_eq!((two.state("dump-age shop"), two.state("dump-age crm")), (Some(Ok), Some(Critical)));
    let dropped = world("").dump(10).backup(Kind::Dump, Some("crm"), 31 * DAY, 1);
    assert_eq!(dropped.state("dump-age crm"), None);
    assert_eq!(world("").dump(31 * DAY).state("dump-age shop"), Some(Critical), "the last of all is never forgotten");
    let named = world("databases = [\"shop\", \"crm\"]").dump(10);
    assert_eq!((named.state("dump-age shop"), named.state("dump-age crm")), (Some(Ok), Some(Critical)));
    let mut part = world("").dump(27 * HOUR).dump(10);
    part.facts.backups[1].manifest.produced.only = Some("schema".into());
    assert_eq!(part.state("dump-age shop"), Some(Critical), "definitions alone are no backup of the data");
}

#[test]
fn bases_and_files_are_watched_where_there_are_any() {
    for (kind, check) in [(Kind::Base, "base-age"), (Kind::Files, "files-age")] {
        let at = |age| world("").backup(kind, None, age, 1).state(check);
        assert_eq!((at(LIMIT), at(LIMIT + 1)), (Some(Ok), Some(Critical)), "{check}");
        assert_eq!(world("").dump(1).state(check), None);
    }
    assert_eq!(world("[age]\nbase = \"8d\"").dump(1).state("base-age"), Some(Critical));
}

#[test]
fn no_backup_at_all_is_critical_and_not_known_where_a_store_is_silent() {
    assert_eq!(world("").dump(1).state("backups"), Some(Ok));
    assert_eq!(world("").storage("/near", None).state("backups"), Some(Critical));
    assert_eq!(world("").silent("/near").state("backups"), Some(Unknown));
    assert_eq!(world("").run(Job::Dump, 1, 0).state("backups"), None, "no store was asked");
}

#[test]
fn a_size_is_held_against_the_backup_before_it_of_the_same_database() {
    let sizes =
        |before, newest| world("").backup(Kind::Dump, Some("shop"), 20, before).backup(Kind::Dump, Some("shop"), 10, newest);
    for (before, newest, state) in
        [(1000, 1500, Ok), (1000, 1501, Warning), (1000, 500, Ok), (1000, 499, Warning), (0, 0, Ok), (0, 9, Warning)]
    {
        assert_eq!(sizes(before, newest).state("size shop"), Some(state), "{before} {newest}");
    }
    let other = world("").backup(Kind::Dump, Some("crm"), 20, 1).backup(Kind::Dump, Some("shop"), 10, 1000);
    assert_eq!((other.state("size shop"), other.state("size crm")), (None, None), "one alone cannot be compared");
    let mut off = sizes(1000, 9000);
    off.objectives.size_change = 0.0;
    assert_eq!(off.state("size shop"), None);
    assert_eq!(sizes(1000, 250).check("size shop").unwrap().value, Some(75.0));
}

#[test]
fn verified_backups_are_counted_where_that_is_known() {
    let two = || world("").dump(10).dump(20);
    assert_eq!(two().state("verified dump"), None);
    assert_eq!(two().verified(true, Depth::Bytes, 1).state("verified dump"), Some(Ok));
    assert_eq!(two().verified(true, Depth::Manifest, 1).state("verified dump"), Some(Warning), "a listing verifies nothing");
    assert_eq!(two().verified(false, Depth::Content, 1).state("verified dump"), Some(Warning));
    assert_eq!(world("").dump(10).verified(true, Depth::Bytes, 1).state("verified dump"), Some(Warning));
    assert_eq!(world("verified = 3").dump(10).state("verified"), Some(Unknown));
    assert_eq!(world("verified = 0").dump(10).verified(false, Depth::Bytes, 1).state("verified dump"), None);
}

#[test]
fn one_key_alone_is_a_warning() {
    let with = |count: usize, objectives| {
        let mut world = world(objectives).dump(10);
        world.facts.backups[0].manifest.recipients.truncate(count);
        world.state("recipients dump")
    };
    assert_eq!((with(2, ""), with(1, ""), with(0, "")), (Some(Ok), Some(Warning), Some(Warning)));
    assert_eq!((with(1, "recipients = 1"), with(0, "recipients = 0")), (Some(Ok), None));
}

#[test]
fn f87_a_backup_from_the_future_is_critical() {
    assert_eq!(world("").dump(0).state("clock"), Some(Ok));
    assert_eq!(world("").dump(-300).state("clock"), Some(Ok));
    assert_eq!(world("").dump(-301).state("clock"), Some(Critical));
    assert_eq!(world("").run(Job::Wal, -301, 0).state("clock"), Some(Critical));
    assert_eq!(world("clock = 0").dump(-999).state("clock"), None);
    assert_eq!(world("").dump(-301).state("dump-age shop"), Some(Ok), "its age is none");
}

#[test]
fn f87_whatever_is_from_the_future_is_told_and_what_is_remembered_of_it_counts_as_now() {
    assert_eq!(world("").wal(1, 3, -301).state("clock"), Some(Critical), "the clock of a store hides how late WAL is");
    assert_eq!(world("").drill(-301, |_| {}).state("clock"), Some(Critical));
    assert_eq!(world("").dump(1).verified(true, Depth::Bytes, -301).state("clock"), Some(Critical));
    let hidden = world("").run(Job::Dump, 10, 1).run(Job::Dump, -301, 0);
    assert_eq!((hidden.state("job dump"), hidden.state("clock")), (Some(Critical), Some(Critical)));
    let mut later = world("standbys = [\"b\"]").wal(1, 3, DAY).server("0/4000028", |_| {});
    later.now += TimeDelta::days(300);
    later.memory = later.judged().memory;
    later.now -= TimeDelta::days(300);
    later.facts.servers[0].written_lsn = Some("0/9000000".into());
    later.memory = later.judged().memory;
    later.now += TimeDelta::seconds(601);
    assert_eq!((later.state("wal-lag"), later.state("standby b")), (Some(Critical), Some(Critical)));
}

#[test]
fn what_was_said_long_ago_is_not_known_now() {
    for mut world in [world("").server("0/1", |_| {}), world("").storage("/near", None)] {
        world.now += TimeDelta::hours(1);
        assert_eq!(world.state("facts-age"), Some(Ok));
        world.now += TimeDelta::seconds(1);
        assert_eq!(world.state("facts-age"), Some(Unknown));
        world.objectives.facts.0 = 0.0;
        assert_eq!(world.state("facts-age"), None);
    }
    assert_eq!(world("").dump(DAY).state("facts-age"), None, "a list of backups has no age");
}

#[test]
fn where_nothing_can_be_remembered_who_is_away_is_not_known() {
    let slots = |server: &mut dr_pipe::record::Server| server.slots = vec![slot(false, 0, false)];
    let mut world = world("standbys = [\"b\"]").server("0/1", slots);
    world.forgets = true;
    assert_eq!((world.state("standby b"), world.state("slot s")), (Some(Unknown), Some(Unknown)));
    world.facts.servers[0].replicas = vec![replica("b", "streaming", 0)];
    world.facts.servers[0].slots[0].active = true;
    assert_eq!((world.state("standby b"), world.state("slot s")), (Some(Ok), Some(Ok)));
}

#[test]
fn what_is_promised_of_a_store_that_was_not_asked_is_not_kept() {
    let locked = "[[store]]\nname = \"s3://b/pg/\"\nlock = \"30d\"";
    assert_eq!(world(locked).dump(1).storage("s3://b/pg", None).state("lock s3://b/pg/"), Some(Unknown));
    assert_eq!(world(locked).server("0/1", |_| {}).state("lock s3://b/pg/"), None, "no store was asked at all");
    let mut part = world("[[store]]\nname = \"/near\"\ndump = \"1h\"").dump(1);
    assert_eq!(part.state("store-dump-age /near"), Some(Ok));
    part.facts.backups[0].manifest.produced.only = Some("schema".into());
    assert_eq!(part.state("store-dump-age /near"), Some(Critical), "definitions alone are no backup of the data");
}

#[test]
fn copies_are_counted_between_two_ages() {
    let two_stores = |age: i64| world("").dump(age).storage("/near", None).storage("s3://far/pg", None);
    assert_eq!(two_stores(LIMIT).state("copies"), Some(Warning));
    assert_eq!(two_stores(LIMIT - 1).state("copies"), Some(Ok), "it is still to be copied");
    assert_eq!(two_stores(7 * DAY).state("copies"), Some(Warning));
    assert_eq!(two_stores(7 * DAY + 1).state("copies"), Some(Ok), "a near store may keep for longer");
    assert_eq!(two_stores(LIMIT).copied("s3://far/pg").state("copies"), Some(Ok));
    assert_eq!(world("").dump(LIMIT).storage("/near", None).state("copies"), Some(Ok), "one store is all there is");
    assert_eq!(world("copies = 2").dump(LIMIT).storage("/near", None).state("copies"), Some(Warning));
    assert_eq!(world("").dump(LIMIT).storage("/near", None).silent("s3://far/pg").state("copies"), Some(Unknown));
    assert_eq!(world("copies = 0").dump(LIMIT).state("copies"), None);
    assert_eq!(world("copies = 3").dump(LIMIT).copied("b").check("copies").unwrap().value, Some(2.0));
}

#[test]
fn a_lock_is_believed_as_the_store_reads_it_back() {
    let locked = |objectives: &str, seconds: Option<i64>| {
        let mut world = world(objectives).dump(HOUR).copied("s3://far/pg").storage("s3://far/pg", None).storage("/near", None);
        world.facts.storage[0].locked_until = seconds.map(|seconds| world.now + TimeDelta::seconds(seconds - HOUR));
        (world.state("lock s3://far/pg"), world.state("lock /near"))
    };
    assert_eq!(locked("lock = \"30d\"", Some(30 * DAY)), (Some(Ok), None));
    assert_eq!(locked("lock = \"30d\"", Some(30 * DAY - 60)), (Some(Ok), None), "clocks differ");
    assert_eq!(locked("lock = \"30d\"", Some(30 * DAY - 61)), (Some(Critical), None));
    assert_eq!(locked("lock = \"30d\"", None), (Some(Critical), None));
    assert_eq!(locked("", None), (None, None));
    assert_eq!(locked("lock = \"30d\"\n[[store]]\nname = \"s3://far/pg\"\nlock = 0", None), (None, None));
    assert_eq!(locked("[[store]]\nname = \"/near\"\nlock = \"1d\"", None), (None, Some(Critical)));
}

#[test]
fn a_store_is_full_above_its_limit() {
    let used = |free| world("").storage("/near", Some((1000, free))).state("storage-used /near");
    assert_eq!((used(200), used(199), used(0)), (Some(Ok), Some(Warning), Some(Warning)));
    assert_eq!(world("").storage("s3://far/pg", None).state("storage-used s3://far/pg"), None);
    assert_eq!(world("storage_used = 0").storage("/near", Some((1000, 0))).state("storage-used /near"), None);
}

#[test]
fn a_store_has_ages_of_its_own() {
    let tier = "[[store]]\nname = \"s3://far/pg\"\ndump = \"2d\"\nwal = \"1h\"\n";
    let check = "store-dump-age s3://far/pg";
    assert_eq!(world(tier).dump(2 * DAY).copied("s3://far/pg").state(check), Some(Ok));
    assert_eq!(world(tier).dump(2 * DAY + 1).copied("s3://far/pg").state(check), Some(Critical));
    assert_eq!(world(tier).dump(1).state(check), Some(Critical), "it lies in the other store alone");
    assert_eq!(world(tier).dump(1).silent("s3://far/pg").state(check), Some(Unknown));
    assert_eq!(world(tier).dump(1).state("store-base-age s3://far/pg"), None);
    assert_eq!(world(tier).wal(1, 2, 1).state("store-wal-age s3://far/pg"), Some(Critical));
}

#[test]
fn f47_what_dr_verify_has_found_is_told() {
    let mut world = world("").dump(10).verified(true, Depth::Bytes, 1);
    assert_eq!(world.state("findings /near"), Some(Ok));
    world.facts.findings.push(Finding {
        severity: Severity::Error,
        code: "digest".into(),
        store: "/near".into(),
        cluster: Some("main".into()),
        backup: Some("b".into()),
        object: None,
        offset_bytes: None,
        message: "it was changed".into(),
        hint: "take another".into(),
        found_at: world.now,
    });
    let check = world.check("findings /near").unwrap();
    assert_eq!((check.state, check.message.as_str()), (Critical, "b: it was changed"));
}

#[test]
fn wal_is_late_only_while_the_server_goes_on() {
    let stored = |age| world("").wal(1, 3, age);
    assert_eq!((stored(600).state("wal-lag"), stored(601).state("wal-lag")), (Some(Ok), Some(Critical)));
    // Idle: what was written since is less than a page.
    assert_eq!(stored(DAY).server("0/4002000", |_| {}).state("wal-lag"), Some(Ok));
    assert_eq!(stored(DAY).server("0/4002001", |_| {}).state("wal-lag"), Some(Critical));
    assert_eq!(stored(DAY).server("0/4000028", |server| server.waiting_segments = 1).state("wal-lag"), Some(Critical));
    assert_eq!(world("").state("wal-lag"), None);
    assert_eq!(world("[age]\nwal = \"5m\"").storage("/near", None).state("wal-lag"), Some(Critical));
    assert_eq!(world("[age]\nwal = \"5m\"").silent("/near").state("wal-lag"), Some(Unknown));
    assert_eq!(
        world("").storage("/near", None).server("0/1000000", |_| {}).state("wal-lag"),
        Some(Critical),
        "it archives to nowhere"
    );
    assert_eq!(world("[age]\nwal = 0").wal(1, 3, DAY).state("wal-lag"), None);
    let mut silent = stored(DAY);
    silent.facts.wal[0].stored_at = None;
    assert_eq!(silent.state("wal-lag"), Some(Unknown));
}

#[test]
fn wal_of_an_old_timeline_or_a_late_copy_makes_none_young() {
    let mut switched = world("").wal(1, 9, DAY).wal(4, 4, DAY).server("0/6000000", |_| {});
    let newest = &mut switched.facts.wal[1];
    (newest.timeline, newest.first, newest.last) = (2, "000000020000000000000004".into(), "000000020000000000000004".into());
    assert_eq!(switched.state("wal-lag"), Some(Critical), "timeline 1 went further, and is over");
    assert_eq!(world("").wal(1, 9, 601).wal(1, 3, 1).state("wal-lag"), Some(Critical), "an old piece came late");
    assert_eq!(world("").wal(1, 9, 601).wal(1, 9, 1).state("wal-lag"), Some(Critical), "a copy came late");
}

#[test]
fn after_a_quiet_night_the_time_counts_from_the_last_look() {
    let mut world = world("").wal(1, 3, DAY).server("0/4000028", |_| {});
    world.memory = world.judged().memory;
    world.now += TimeDelta::minutes(5);
    world.facts.servers[0].written_lsn = Some("0/4900000".into());
    let check = world.check("wal-lag").unwrap();
    assert_eq!((check.state, check.value), (Ok, Some(300.0)));
    world.now += TimeDelta::minutes(6);
    assert_eq!(world.state("wal-lag"), Some(Critical));
}

#[test]
fn what_is_streamed_counts_as_far_as_it_goes() {
    let mut world = world("").base(HOUR, 2).wal(1, 3, HOUR).wal(4, 4, DAY).server("0/4300000", |_| {});
    world.facts.wal[1].segments = 0;
    world.facts.wal[1].until_lsn = Some("0/4300000".into());
    assert_eq!((world.state("wal-lag"), world.state("wal-gap")), (Some(Ok), Some(Ok)));
    world.facts.servers[0].written_lsn = Some("0/4400000".into());
    world.memory = world.judged().memory;
    assert_eq!(world.state("wal-lag"), Some(Critical));
}

#[test]
fn f47_a_gap_is_critical_with_the_number_of_segments() {
    let whole = world("").base(HOUR, 2).wal(1, 9, 1);
    assert_eq!(whole.state("wal-gap"), Some(Ok));
    let gap = world("").base(HOUR, 2).wal(1, 3, 1).wal(6, 9, 1).check("wal-gap").unwrap();
    assert_eq!((gap.state, gap.value), (Critical, Some(2.0)));
    assert!(gap.message.contains("000000010000000000000004 to 000000010000000000000005"), "{}", gap.message);
    assert_eq!(world("").base(HOUR, 2).state("wal-gap"), None, "nobody has asked for WAL");
    assert_eq!(world("").base(HOUR, 2).storage("/near", None).state("wal-gap"), Some(Critical), "there is none");
    assert_eq!(world("").base(HOUR, 2).wal(5, 9, 1).state("wal-gap"), Some(Critical), "its own WAL is not there");
    assert_eq!(world("").base(HOUR, 2).wal(1, 3, 1).wal(6, 9, 1).silent("/far").state("wal-gap"), Some(Unknown));
    assert_eq!(world("").wal(1, 3, 1).wal(6, 9, 1).state("wal-gap"), None, "no base needs it");
    let pruned = world("").base(DAY, 2).base(HOUR, 7).wal(2, 2, 1).wal(7, 9, 1);
    assert_eq!(pruned.state("wal-gap"), Some(Ok), "from the end of one base to the beginning of another");
}

#[test]
fn what_would_be_lost_is_what_no_backup_shows() {
    assert_eq!(world("rpo = \"5m\"").base(DAY, 2).wal(1, 9, 300).state("rpo"), Some(Ok));
    assert_eq!(world("rpo = \"5m\"").base(DAY, 2).wal(1, 9, 301).state("rpo"), Some(Critical));
    assert_eq!(world("rpo = \"5m\"").base(DAY, 2).wal(1, 9, DAY).server("0/A000028", |_| {}).state("rpo"), Some(Ok), "idle");
    assert_eq!(world("rpo = \"5m\"").base(DAY, 2).wal(1, 3, 1).wal(5, 9, 1).state("rpo"), Some(Critical), "a gap before the end");
    assert_eq!(world("rpo = \"5m\"").wal(1, 9, 1).state("rpo"), Some(Critical), "without a base WAL brings nothing back");
    assert_eq!(world("rpo = \"1d\"").dump(DAY).state("rpo"), Some(Ok));
    let two = world("rpo = \"1d\"").dump(1).backup(Kind::Dump, Some("crm"), DAY + 1, 1);
    assert_eq!(two.state("rpo"), Some(Critical), "of the databases the worst counts");
    assert_eq!(world("rpo = \"1d\"").silent("/near").state("rpo"), Some(Unknown));
    assert_eq!(world("rpo = \"1d\"").server("0/1", |_| {}).state("rpo"), Some(Unknown), "no store was asked");
    assert_eq!(world("").dump(DAY).state("rpo"), None);
}

#[test]
fn f53_archiving_that_fails_is_told_at_once() {
    let failing = |archived: Option<i64>, failed: Option<i64>| {
        let world = world("");
        let (archived, failed) = (archived.map(|age| world.ago(age)), failed.map(|age| world.ago(age)));
        let world = world.server("0/1000000", |server| {
            server.archived_at = archived;
            server.archive_failed = failed.map(|_| "000000010000000000000001".into());
            server.archive_failed_at = failed;
        });
        world.state("archive-failure")
    };
    assert_eq!(failing(None, None), Some(Ok));
    assert_eq!(failing(None, Some(DAY)), Some(Critical));
    assert_eq!(failing(Some(10), Some(10)), Some(Critical));
    assert_eq!(failing(Some(9), Some(300)), Some(Warning));
    assert_eq!(failing(Some(9), Some(301)), Some(Ok));
    assert_eq!(world("").server("0/1", |server| server.archiving = false).state("archive-failure"), None);
    assert_eq!(world("archive_failure = 0").server("0/1", |_| {}).state("archive-failure"), None);
}

#[test]
fn f53_segments_that_wait_are_counted() {
    let waiting =
        |count, objectives| world(objectives).server("0/1", |server| server.waiting_segments = count).state("archive-waiting");
    assert_eq!((waiting(16, ""), waiting(17, ""), waiting(99, "waiting_segments = 0")), (Some(Ok), Some(Critical), None));
}

#[test]
fn a_standby_is_behind_above_its_limit() {
    let lag = |state, bytes, objectives| {
        let check = |server: &mut dr_pipe::record::Server| server.replicas = vec![replica("b", state, bytes)];
        world(objectives).server("0/1", check).state("replication-lag b")
    };
    assert_eq!(lag("streaming", 100 << 20, ""), Some(Ok));
    assert_eq!(lag("streaming", (100 << 20) + 1, ""), Some(Critical));
    assert_eq!(lag("backup", 1 << 40, ""), None, "a base is read through it");
    assert_eq!(lag("streaming", 1 << 40, "replication_lag = 0"), None);
}

#[test]
fn a_standby_that_is_expected_may_be_away_for_a_while() {
    let mut world = world("standbys = [\"b\"]").server("0/1", |_| {});
    assert_eq!(world.state("standby b"), Some(Ok), "nobody knows for how long it has been away");
    world.memory = world.judged().memory;
    world.now += TimeDelta::seconds(300);
    assert_eq!(world.state("standby b"), Some(Ok));
    world.now += TimeDelta::seconds(1);
    assert_eq!(world.state("standby b"), Some(Critical));
    world.facts.servers[0].replicas = vec![replica("b", "streaming", 0)];
    assert_eq!(world.state("standby b"), Some(Ok));
    world.facts.servers[0].replicas = vec![replica("b", "catchup", 0)];
    assert_eq!(world.state("standby b"), Some(Critical), "it does not follow yet");
    world.objectives.standby_away.0 = 0.0;
    assert_eq!(world.state("standby b"), None);
}

#[test]
fn a_slot_that_nobody_uses_or_that_is_lost_is_critical() {
    let with = |slot| world("").server("0/1", |server| server.slots = vec![slot]);
    assert_eq!(with(slot(true, 1 << 40, false)).state("slot s"), Some(Ok));
    assert_eq!(with(slot(false, 0, true)).state("slot s"), Some(Critical));
    let mut idle = with(slot(false, 0, false));
    assert_eq!(idle.state("slot s"), Some(Ok));
    idle.memory = idle.judged().memory;
    idle.now += TimeDelta::seconds(301);
    assert_eq!(idle.state("slot s"), Some(Critical));
    let mut kept = with(slot(true, (1 << 30) + 1, false));
    kept.objectives.slot_kept.0 = 1 << 30;
    assert_eq!(kept.state("slot s"), Some(Critical));
}

#[test]
fn where_no_store_is_asked_the_last_success_must_be_young() {
    let at = |age| world("[age]\ndump = \"26h\"").run(Job::Dump, age, 0);
    assert_eq!((at(LIMIT).state("job dump"), at(LIMIT + 1).state("job dump")), (Some(Ok), Some(Critical)));
    assert_eq!(at(LIMIT + 1).state("dump-age"), None, "nobody has looked whether there is one");
    assert_eq!(at(LIMIT + 1).dump(10).storage("/near", None).state("job dump"), Some(Ok), "what is stored says it");
    assert_eq!(world("[age]\ndump = \"26h\"").state("dump-age"), Some(Critical));
    assert_eq!(world("[age]\nbase = \"8d\"").run(Job::Base, 8 * DAY, 0).state("job base"), Some(Ok));
}

#[test]
fn a_job_is_as_its_last_run() {
    for (job, state) in [(Job::Dump, Critical), (Job::Drill, Critical), (Job::Copy, Warning), (Job::Prune, Warning)] {
        let name = format!("job {job}");
        assert_eq!(world("").run(job, 20, 1).run(job, 10, 0).state(&name), Some(Ok));
        assert_eq!(world("").run(job, 20, 0).run(job, 10, 69).state(&name), Some(state), "{name}");
    }
    let check = world("").run(Job::Dump, 30, 0).run(Job::Dump, 20, 1).run(Job::Dump, 10, 75).check("job dump").unwrap();
    assert_eq!(check.value, Some(2.0));
    assert!(
        check.message.starts_with("it exited with 75 at ") && check.message.ends_with(", 2 times in a row"),
        "{}",
        check.message
    );
    assert_eq!(world("").state("job dump"), None);
    let check = |exit_code| world("[age]\ncheck = \"1h\"").run(Job::Check, 10, exit_code);
    assert_eq!((check(1).state("job check"), check(1).state("check-age")), (Some(Ok), Some(Ok)), "it found something, and is over");
    assert_eq!((check(69).state("job check"), check(69).state("check-age")), (Some(Warning), Some(Warning)));
}

#[test]
fn what_was_never_done_is_told_where_there_is_something_to_do_it_with() {
    for (job, check) in [(Job::Verify, "verify-age"), (Job::Drill, "drill-age")] {
        assert_eq!(world("").state(check), None);
        assert_eq!(world("").dump(1).state(check), Some(Warning), "{check}");
        assert_eq!(world("").dump(1).run(job, 8 * DAY, 0).state(check), Some(Ok));
        assert_eq!(world("").dump(1).run(job, 8 * DAY + 1, 0).state(check), Some(Warning));
        assert_eq!(world("").dump(1).run(job, 8 * DAY + 1, 0).run(job, 1, 1).state(check), Some(Warning), "it failed");
        assert_eq!(world("[age]\nverify = 0\ndrill = 0").dump(1).state(check), None);
    }
    assert_eq!(world("").dump(1).verified(true, Depth::Bytes, DAY).state("verify-age"), Some(Ok));
    assert_eq!(world("").dump(1).drill(DAY, |_| {}).state("drill-age"), Some(Ok));
    assert_eq!(world("").dump(1).drill(DAY, |drill| drill.passed = false).state("drill-age"), Some(Warning));
    for (job, check) in [(Job::Prune, "prune-age"), (Job::Copy, "copy-age"), (Job::Check, "check-age")] {
        assert_eq!(world("").dump(1).state(check), None);
        let asked = format!("[age]\n{job} = \"1d\"");
        assert_eq!(world(&asked).state(check), Some(Warning));
        assert_eq!(
            (world(&asked).run(job, DAY, 0).state(check), world(&asked).run(job, DAY + 1, 0).state(check)),
            (Some(Ok), Some(Warning))
        );
    }
}

#[test]
fn the_newest_drill_of_each_sort_must_pass_within_the_objectives() {
    let failed = world("").drill(20, |_| {}).drill(10, |drill| {
        drill.passed = false;
        drill.issues = vec!["the marker is missing".into()];
    });
    let check = failed.check("drill pitr").unwrap();
    assert_eq!(check.state, Critical);
    assert!(check.message.ends_with(": the marker is missing"), "{}", check.message);
    assert_eq!(world("").drill(20, |drill| drill.passed = false).drill(10, |_| {}).state("drill pitr"), Some(Ok));
    let took = |objectives: &str| world(objectives).drill(10, |_| {}).state("drill-rto pitr");
    assert_eq!((took("rto = \"10m\""), took("rto = \"599s\""), took("")), (Some(Ok), Some(Critical), None));
    let lost = |objectives: &str| world(objectives).drill(10, |_| {}).state("drill-rpo pitr");
    assert_eq!((lost("rpo = \"1m\""), lost("rpo = \"59s\""), lost("")), (Some(Ok), Some(Critical), None));
    let restored = world("rpo = \"59s\"").drill(10, |drill| drill.target = None);
    assert_eq!(restored.state("drill-rpo pitr"), None, "a dump cannot keep what WAL is to keep");
    let own = world("").drill(10, |drill| drill.rto_objective_seconds = Some(599.0));
    assert_eq!(own.state("drill-rto pitr"), Some(Critical));
}

/// With a restore test of a database that was over that many seconds ago.
fn tested(world: World, database: Option<&str>, age: i64, passed: bool) -> World {
    world.drill(age, |drill| {
        (drill.drill, drill.passed, drill.target) = ("restore-test".into(), passed, None);
        drill.database = database.map(Into::into);
    })
}

#[test]
fn f85_a_failed_drill_of_one_database_is_not_hidden_by_a_good_one_of_another() {
    let both = || world("").dump(10).backup(Kind::Dump, Some("crm"), 10, 1);
    let night = tested(tested(both(), Some("crm"), 20, false), Some("shop"), 10, true);
    let states = |world: &World| (world.state("drill restore-test of crm"), world.state("drill restore-test of shop"));
    assert_eq!(states(&night), (Some(Critical), Some(Ok)));
    assert_eq!(states(&tested(night, Some("crm"), 5, true)), (Some(Ok), Some(Ok)));
    let slow = tested(both(), Some("crm"), 20, true);
    assert_eq!(slow.state("drill-rto restore-test of crm"), None);
    let slow = tested(world("rto = \"1m\"").dump(10).backup(Kind::Dump, Some("crm"), 10, 1), Some("crm"), 20, true);
    assert_eq!(slow.state("drill-rto restore-test of crm"), Some(Critical));
}

#[test]
fn a_drill_that_knows_no_database_counts_until_there_is_a_newer_one_of_its_sort() {
    let unknown = tested(world("").dump(10), None, 20, false);
    assert_eq!(unknown.state("drill restore-test"), Some(Critical));
    let later = tested(unknown, Some("shop"), 10, true);
    assert_eq!((later.state("drill restore-test"), later.state("drill restore-test of shop")), (None, Some(Ok)));
    let other = tested(later, None, 5, true).drill(4, |drill| drill.passed = false);
    assert_eq!((other.state("drill restore-test"), other.state("drill pitr")), (Some(Ok), Some(Critical)), "of another sort");
}

#[test]
fn drills_of_a_database_that_was_dropped_are_forgotten_with_its_dumps() {
    let check = "drill restore-test of crm";
    let failed = |objectives: &str| tested(world(objectives), Some("crm"), 20, false);
    let dumped = |age: i64| failed("").dump(10).backup(Kind::Dump, Some("crm"), age, 1);
    assert_eq!((dumped(30 * DAY).state(check), dumped(30 * DAY + 1).state(check)), (Some(Critical), None));
    assert_eq!(failed("").dump(10).state(check), None, "none of its dumps is left");
    assert_eq!(failed("databases = [\"crm\"]").dump(10).state(check), Some(Critical), "it is expected");
    let kept = failed("forget = 0").dump(10).backup(Kind::Dump, Some("crm"), 300 * DAY, 1);
    assert_eq!(kept.state(check), Some(Critical));
    let last = failed("").backup(Kind::Dump, Some("crm"), 300 * DAY, 1);
    assert_eq!(last.state(check), Some(Critical), "the last of all is never forgotten");
    assert_eq!(failed("").state(check), Some(Critical), "nothing is known of dumps");
    assert_eq!(failed("").dump(10).silent("/far").state(check), Some(Critical), "its dumps may be there");
    assert_eq!(dumped(31 * DAY).silent("/far").state(check), None, "they are known");
}

#[test]
fn since_when_is_remembered_until_the_state_changes() {
    let mut world = world("").dump(LIMIT + 1);
    let first = world.now;
    world.memory = world.judged().memory;
    world.now += TimeDelta::hours(1);
    assert_eq!(world.check("dump-age shop").unwrap().since_at, Some(first));
    world.memory = world.judged().memory;
    world = world.dump(0);
    assert_eq!(world.check("dump-age shop").unwrap().since_at, Some(world.now));
}

#[test]
fn what_others_have_checked_is_passed_on() {
    let check = world("").silent("/near").check("store /near").unwrap();
    assert_eq!((check.state, check.message.as_str()), (Critical, "connection refused"));
    assert!(check.since_at.is_some());
}
