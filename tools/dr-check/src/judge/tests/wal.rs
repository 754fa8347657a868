//! The log, the server, and those that follow it.

use super::*;

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
fn f47_a_hole_between_streamed_pieces_is_critical() {
    let streamed = |until: &str, resumes: Option<&str>| {
        let mut world = world("").base(HOUR, 2).wal(1, 3, HOUR).wal(4, 4, HOUR);
        world.facts.wal[1].segments = 0;
        (world.facts.wal[1].until_lsn, world.facts.wal[1].resumes_lsn) = (Some(until.into()), resumes.map(str::to_owned));
        world
    };
    assert_eq!(streamed("0/4300000", None).state("wal-gap"), Some(Ok));
    for until in ["0/4300000", "0/4000000"] {
        let check = streamed(until, Some("0/4400000")).check("wal-gap").unwrap();
        assert_eq!((check.state, check.value), (Critical, Some(1.0)), "{until}");
        assert!(check.message.contains("000000010000000000000004"), "{}", check.message);
    }
    // Another store has all of it, or what is missing.
    assert_eq!(streamed("0/4300000", Some("0/4400000")).wal(4, 4, HOUR).state("wal-gap"), Some(Ok));
    let mut both = streamed("0/4300000", Some("0/4400000")).wal(4, 4, HOUR);
    (both.facts.wal[2].segments, both.facts.wal[2].until_lsn) = (0, Some("0/4500000".into()));
    assert_eq!(both.state("wal-gap"), Some(Ok));
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
