//! Backups and the stores that hold them.

use super::*;

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
