//! Faults of backups, stores and jobs: each is made, seen in a check and in a metric, and gone again once it is mended.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use chrono::TimeDelta;
use dr_catalogue::drills::publish_drill;
use dr_pipe::record::{Drill, State};
use dr_store::{Store, StoreArgs};
use dr_testing::s3::Moto;
use serde_json::json;
use support::{World, output, rfc3339};

const NEAR: [&str; 2] = ["--from", "near"];
const BOTH: [&str; 2] = ["--from", "near,far"];

#[test]
fn a_young_backup_is_good_and_an_old_one_is_not_until_there_is_another() {
    let mut world = World::new();
    let dump = world.dump("near", 1, 1000);
    let said = world.check(&NEAR);
    said.assert("dump-age shop", State::Ok);
    said.assert("store near", State::Ok);
    said.assert("catalogue near", State::Ok);
    said.has(&format!(
        r#"pg_dr_last_success_timestamp_seconds{{cluster="main",kind="dump"}} {}"#,
        dump.stored_at.timestamp_millis() as f64 / 1000.0
    ));
    world.now += TimeDelta::hours(26);
    let said = world.check(&NEAR);
    said.assert("dump-age shop", State::Critical);
    let since = said.checks["dump-age shop"].since_at;
    world.now += TimeDelta::hours(1);
    assert_eq!(world.check(&NEAR).checks["dump-age shop"].since_at, since, "since when, is remembered");
    world.dump("near", 1, 1000);
    world.check(&NEAR).assert("dump-age shop", State::Ok);
}

#[test]
fn f67_a_size_that_jumps_is_told_until_it_is_the_usual_one() {
    let world = World::new();
    world.dump("near", 3, 1000);
    world.dump("near", 2, 400);
    let said = world.check(&NEAR);
    said.assert("size shop", State::Warning);
    said.has(r#"pg_dr_backup_size_change_ratio{cluster="main",subject="shop"} 0.6"#);
    world.dump("near", 1, 420);
    world.check(&NEAR).assert("size shop", State::Ok);
}

#[test]
fn a_second_copy_that_is_missing_is_told_until_it_is_there() {
    let world = World::new();
    world.store("far", 'b');
    world.dump("near", 27, 10);
    let said = world.check(&BOTH);
    said.assert("copies", State::Warning);
    said.has(r#"pg_dr_backup_copies{cluster="main"} 1"#);
    world.dump("far", 27, 10);
    let said = world.check(&BOTH);
    said.assert("copies", State::Ok);
    said.has(r#"pg_dr_backup_copies{cluster="main"} 2"#);
}

#[test]
fn a_store_that_is_gone_is_a_check_and_the_others_are_judged() {
    let world = World::new();
    world.store("far", 'b');
    world.dump("near", 30, 10);
    world.dump("far", 30, 10);
    world.move_away("far", "away");
    let said = world.check(&BOTH);
    said.assert("store far", State::Critical);
    said.assert("store near", State::Ok);
    said.assert("dump-age shop", State::Critical);
    said.assert("copies", State::Unknown);
    world.move_away("away", "far");
    let said = world.check(&BOTH);
    said.assert("store far", State::Ok);
    said.assert("copies", State::Ok);
    // Not one is left.
    world.move_away("far", "away");
    let said = world.check(&["--from", "far"]);
    said.assert("store far", State::Critical);
    said.assert("backups", State::Unknown);
}

#[test]
fn f71_a_manifest_that_was_changed_is_told() {
    let world = World::new();
    let dump = world.dump("near", 1, 10);
    world.dump("near", 2, 10);
    let path = world.path(&format!("near/main/dump/{}.json", dump.name));
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("shop", "shut")).unwrap();
    world.check(&NEAR).assert("catalogue near", State::Critical);
    fs::write(&path, text).unwrap();
    world.check(&NEAR).assert("catalogue near", State::Ok);
}

#[test]
fn f47_a_segment_that_is_missing_is_told_until_it_is_there() {
    let world = World::new();
    world.base("near", 1);
    (2..=5).for_each(|number| world.wal("near", number));
    let said = world.check(&NEAR);
    said.assert("wal-gap", State::Ok);
    said.assert("wal-lag", State::Ok);
    fs::remove_file(world.segment("near", 4)).unwrap();
    let said = world.check(&NEAR);
    said.assert("wal-gap", State::Critical);
    said.has(r#"pg_dr_wal_gap_segments{cluster="main"} 1"#);
    // Another store that has it will do.
    world.store("far", 'b');
    world.wal("far", 4);
    world.check(&BOTH).assert("wal-gap", State::Ok);
    world.wal("near", 4);
    world.check(&NEAR).assert("wal-gap", State::Ok);
}

#[test]
fn wal_that_does_not_come_any_more_is_told_by_a_host_that_sees_the_store_alone() {
    let mut world = World::new();
    world.base("near", 1);
    (2..=3).for_each(|number| world.wal("near", number));
    world.now += TimeDelta::seconds(601);
    let said = world.check(&NEAR);
    said.assert("wal-lag", State::Critical);
    assert!(said.metrics.iter().any(|line| line.starts_with(r#"pg_dr_wal_lag_seconds{cluster="main"} 60"#)), "{:?}", said.metrics);
    world.now -= TimeDelta::seconds(601);
    world.wal("near", 4);
    world.check(&NEAR).assert("wal-lag", State::Ok);
}

#[test]
fn a_run_that_fails_is_told_until_one_succeeds() {
    let world = World::new();
    world.dump("near", 1, 10);
    world.run("dump", 69);
    world.run("copy", 77);
    let said = world.check(&NEAR);
    said.assert("job dump", State::Critical);
    said.assert("job copy", State::Warning);
    said.has(r#"backup_last_status{cluster="main",kind="dump"} 0"#);
    said.has(r#"pg_dr_last_attempt_exit_code{cluster="main",kind="copy"} 77"#);
    world.run("dump", 0);
    world.run("copy", 0);
    // One that only looked, and found something, has done its work.
    world.run("check", 1);
    let said = world.check(&NEAR);
    said.assert("job dump", State::Ok);
    said.assert("job copy", State::Ok);
    said.assert("job check", State::Ok);
    said.has(r#"backup_last_status{cluster="main",kind="dump"} 1"#);
}

#[test]
fn a_run_history_that_is_damaged_is_told_and_the_stores_are_judged() {
    let world = World::new();
    world.dump("near", 1, 10);
    world.run("dump", 0);
    let file = world.path("state/runs-main.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{{}}\n{text}")).unwrap();
    let said = world.check(&NEAR);
    said.assert("history", State::Critical);
    said.assert("dump-age shop", State::Ok);
    fs::write(&file, text).unwrap();
    let said = world.check(&NEAR);
    assert_eq!(said.state("history"), None);
    said.assert("job dump", State::Ok);
}

#[test]
fn f87_a_clock_that_went_wrong_is_told() {
    let mut world = World::new();
    world.dump("near", 1, 10);
    world.now -= TimeDelta::hours(2);
    world.check(&NEAR).assert("clock", State::Critical);
    world.now += TimeDelta::hours(2);
    world.check(&NEAR).assert("clock", State::Ok);
}

#[test]
fn a_store_that_is_full_is_told() {
    let world = World::new();
    world.dump("near", 1, 10);
    world.promise("storage_used = 0.000001");
    world.check(&NEAR).assert("storage-used near", State::Warning);
    world.promise("storage_used = 100");
    let said = world.check(&NEAR);
    said.assert("storage-used near", State::Ok);
    assert!(said.metrics.iter().any(|line| line.starts_with("pg_dr_storage_used_ratio{")));
}

/// Stores a drill of a sort, and of a database, that is over so many seconds from now.
fn drill(world: &World, number: u32, (sort, database): (&str, Option<&str>), passed: bool, seconds: f64) {
    let at = world.now + TimeDelta::seconds(i64::from(number));
    let drill: Drill = serde_json::from_value(json!({
        "name": format!("main_drill_20260125T030000Z_{number:04}"), "drill": sort, "cluster": "main", "database": database, "passed": passed,
        "started_at": rfc3339(at), "finished_at": rfc3339(at), "operator": "root", "host": "h", "environment": "throw-away",
        "recipients": [], "rto_seconds": seconds, "fetch_seconds": 0.0, "restore_seconds": seconds, "replay_seconds": 0.0, "check_seconds": 0.0,
        "steps": [], "issues": if passed { json!([]) } else { json!(["the marker is missing"]) }, "next_actions": [],
    }))
    .unwrap();
    let near = world.path("near").display().to_string().parse().unwrap();
    publish_drill(&Store::open_for_read(&near, &StoreArgs::default()).unwrap(), &drill, "report", &world.key()).unwrap();
}

#[test]
fn a_drill_that_fails_or_is_slow_is_told_until_one_passes() {
    let world = World::new();
    world.dump("near", 1, 10);
    world.check(&NEAR).assert("drill-age", State::Warning);
    let drill = |number, passed, seconds| drill(&world, number, ("pitr", None), passed, seconds);
    world.promise("rto = \"10m\"");
    drill(1, false, 5.0);
    let said = world.check(&NEAR);
    said.assert("drill pitr", State::Critical);
    said.has(r#"pg_dr_drill_passed{cluster="main",drill="pitr"} 0"#);
    drill(2, true, 601.0);
    let said = world.check(&NEAR);
    said.assert("drill pitr", State::Ok);
    said.assert("drill-age", State::Ok);
    said.assert("drill-rto pitr", State::Critical);
    drill(3, true, 599.0);
    let said = world.check(&NEAR);
    said.assert("drill-rto pitr", State::Ok);
    said.has(r#"pg_dr_drill_rto_seconds{cluster="main",drill="pitr"} 599"#);
}

#[test]
fn f85_with_many_databases_the_drill_of_the_first_is_read_too() {
    let world = World::new();
    let names: Vec<String> = (0..31).map(|number| format!("db{number}")).collect();
    for (number, name) in (0..).zip(&names) {
        world.dump_of(name, "near", 1, 10);
        drill(&world, number, ("restore-test", Some(name)), number > 0, 5.0);
    }
    let said = world.check(&NEAR);
    // The eldest of 31.
    said.assert("drill restore-test of db0", State::Critical);
    said.assert("drill restore-test of db30", State::Ok);
    said.has(r#"pg_dr_drill_passed{cluster="main",drill="restore-test",database="db0"} 0"#);
}

#[test]
fn a_lock_is_read_back_from_the_store() {
    let (mut world, moto) = (World::new(), Moto::start());
    world.environment = moto.environment().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let push = |world: &World, options: &str| {
        let receipt = world.path("receipt").display().to_string();
        drop(fs::remove_file(&receipt));
        let key = world.path("main.key").display().to_string();
        let from = |tool: &str| world.tool(tool).get_program().to_string_lossy().into_owned();
        let (run, push, seal) = (from("dr-run"), from("dr-push"), from("dr-seal"));
        let line =
            format!("{run} --database shop -- echo dump | {push} --to s3://dr-test/pg {options} && {seal} -s {key} < {receipt}");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &line]).current_dir(world.path("")).env_clear().env("PATH", "/usr/bin:/bin");
        command.env("DR_CLUSTER", "main").env("DR_RECEIPT", &receipt).env("DR_STATE", world.path("state"));
        let output = output(command.envs(moto.environment()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    world.promise("lock = \"30d\"");
    push(&world, "");
    world.now = chrono::Utc::now();
    let args = ["--from", "s3://dr-test/pg"];
    let said = world.check(&args);
    said.assert("lock s3://dr-test/pg", State::Critical);
    said.has(r#"pg_dr_lock_verified{cluster="main",store="s3://dr-test/pg"} 0"#);
    push(&world, "--lock-until +30d");
    world.now = chrono::Utc::now();
    let said = world.check(&args);
    said.assert("lock s3://dr-test/pg", State::Ok);
    said.has(r#"pg_dr_lock_verified{cluster="main",store="s3://dr-test/pg"} 1"#);
}

#[test]
fn as_a_plugin_it_answers_in_one_line_and_exits_as_they_do() {
    let world = World::new();
    // How full this disk is, is not what is tested.
    world.promise("storage_used = 0");
    let plugin = |args: &[&str]| {
        let output = output(world.tool("dr-check").args(["--nagios", "--now", &rfc3339(world.now)]).args(args));
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = plugin(&NEAR);
    assert!(code == 2 && text.starts_with("DR CRITICAL - main: 1 of "), "{code} {text}");
    world.dump("near", 1, 10);
    world.promise("recipients = 0\nstorage_used = 0\n[age]\nverify = 0");
    let (code, text) = plugin(&NEAR);
    assert!(code == 1 && text.starts_with("DR WARNING - main: 1 of ") && text.contains("drill-age"), "{code} {text}");
    world.promise("recipients = 0\nstorage_used = 0\n[age]\nverify = 0\ndrill = 0");
    let (code, text) = plugin(&NEAR);
    assert!(
        code == 0 && text.starts_with("DR OK - main: ") && text.contains(" | 'backups'=1;;1: 'dump-age shop'=3600s;;93600"),
        "{code} {text}"
    );
    assert_eq!(text.lines().count(), 1);
    world.promise("wrong = 1");
    assert_eq!(plugin(&NEAR), (3, String::new()), "what it cannot find out is unknown");
    assert_eq!(plugin(&["--from", "near", "--nonsense"]).0, 3);
}

#[test]
fn a_call_that_is_wrong_is_no_answer() {
    let world = World::new();
    let code = |args: &[&str]| output(world.tool("dr-check").args(args)).status.code().unwrap();
    assert_eq!(code(&[]), 66, "nothing is named, and nothing comes in");
    assert_eq!(code(&["--from", "near", "--as-of", "2026-01-25T02:00:00Z"]), 64);
    assert_eq!(code(&["--from", "near", "--public-key", "nonsense"]), 66);
    assert_eq!(code(&["nowhere.jsonl"]), 66);
    assert_eq!(code(&["--cluster", "-"]), 64);
    fs::write(world.path("facts"), "{}\n").unwrap();
    assert_eq!(code(&["facts"]), 65);
    world.promise("rpo = \"soon\"");
    assert_eq!(code(&NEAR), 78);
}
