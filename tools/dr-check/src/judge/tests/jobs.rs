//! Jobs and drills, and what becomes of a verdict.

use super::*;

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
