//! What is written, how, and where: as Prometheus reads it.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use assert_cmd::Command;

/// One of each record that says something.
const EVERYTHING: &str = include_str!("everything.jsonl");

fn metrics(input: &str, args: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dr-metrics"));
    command.env_clear().args(["--now", "2026-01-25T12:00:00Z"]).args(args).write_stdin(input).assert()
}

fn page(input: &str) -> String {
    String::from_utf8(metrics(input, &[]).success().get_output().stdout.clone()).unwrap()
}

#[test]
fn promtool_finds_nothing_to_say_about_the_page() {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).write_stdin(page(EVERYTHING)).assert().success().stdout("").stderr("");
}

#[test]
fn every_value_is_where_it_belongs() {
    let page = page(EVERYTHING);
    for line in [
        r#"pg_dr_last_success_timestamp_seconds{cluster="main",kind="dump"} 1769306400"#,
        r#"pg_dr_last_success_timestamp_seconds{cluster="main",kind="base"} 1769310000"#,
        r#"pg_dr_last_success_timestamp_seconds{cluster="main",kind="wal"} 1769342340"#,
        r#"pg_dr_last_success_timestamp_seconds{cluster="main",kind="verify"} 1769313600"#,
        r#"pg_dr_last_success_timestamp_seconds{cluster="main",kind="drill"} 1769325000"#,
        r#"pg_dr_last_success_timestamp_seconds{cluster="main",kind="prune"} 1769320800"#,
        r#"pg_dr_last_success_timestamp_seconds{cluster="main",kind="check"} 1769342100"#,
        r#"pg_dr_last_attempt_exit_code{cluster="main",kind="copy"} 77"#,
        r#"pg_dr_last_attempt_exit_code{cluster="main",kind="base"} 75"#,
        r#"pg_dr_last_duration_seconds{cluster="main",kind="dump"} 300"#,
        r#"backup_last_success_timestamp{cluster="main",kind="dump"} 1769306400"#,
        r#"backup_last_status{cluster="main",kind="dump"} 1"#,
        r#"backup_last_status{cluster="main",kind="base"} 0"#,
        r#"pg_dr_backup_size_bytes{cluster="main",kind="dump",database="shop",stage="stored"} 1600"#,
        r#"pg_dr_backup_size_bytes{cluster="main",kind="dump",database="shop",stage="plain"} 6400"#,
        r#"pg_dr_backups{cluster="main",state="complete"} 3"#,
        r#"pg_dr_backups{cluster="main",state="locked"} 1"#,
        r#"pg_dr_backups{cluster="main",state="verified"} 1"#,
        r#"pg_dr_backups{cluster="main",state="drilled"} 1"#,
        r#"pg_dr_first_recoverable_timestamp_seconds{cluster="main"} 1769220000"#,
        r#"pg_dr_wal_gap_segments{cluster="main"} 2"#,
        r#"pg_dr_lock_verified{cluster="main",store="s3://acme-dr/pg"} 1"#,
        r#"pg_dr_backup_size_change_ratio{cluster="main",subject="shop"} 0.6"#,
        r#"pg_dr_storage_used_ratio{cluster="main",store="/var/backups/dr"} 0.85"#,
        r#"pg_dr_replication_lag_bytes{cluster="main",standby="b \"2\""} 4096"#,
        r#"pg_dr_archive_failures_total{cluster="main",server="db1.example"} 4"#,
        r#"pg_dr_check_state{cluster="main",check="store",subject="s3://far/pg"} 3"#,
        r#"pg_dr_check_state{cluster="main",check="wal-gap",subject=""} 2"#,
        r#"pg_dr_drill_rto_seconds{cluster="main",drill="pitr"} 540.5"#,
    ] {
        assert!(page.lines().any(|other| other == line), "{line}\n{page}");
    }
    // No name of a backup: each would be a series of its own, for ever.
    assert!(!page.contains("7f3a"), "{page}");
}

/// The drill of the records, as a restore test of a database that was over in that minute of the hour.
fn tested(database: &str, minute: u32, passed: bool) -> String {
    let drill = EVERYTHING.lines().find(|line| line.contains(r#""type":"drill""#)).unwrap();
    let of = if database.is_empty() { String::new() } else { format!(r#","database":"{database}""#) };
    let drill = drill.replace(r#""drill":"pitr","cluster":"main""#, &format!(r#""drill":"restore-test","cluster":"main"{of}"#));
    drill.replace(r#""passed":true"#, &format!(r#""passed":{passed}"#)).replace("T07:10:00Z", &format!("T08:{minute:02}:00Z"))
        + "\n"
}

#[test]
fn f85_a_failed_drill_of_one_database_is_not_hidden_by_a_good_one_of_another() {
    let dumps = EVERYTHING.lines().filter(|line| line.contains(r#""database":"shop""#)).map(|line| format!("{line}\n"));
    let shop: String = dumps.collect();
    let crm = shop.replace(r#""database":"shop""#, r#""database":"crm""#).replace("main_dump_", "main_dump_crm");
    let drills = tested("", 0, false) + &tested("crm", 1, true) + &tested("crm", 2, false) + &tested("shop", 3, true);
    let values = |records: &str| -> Vec<String> {
        let page = page(records);
        let drills = page.lines().filter(|line| line.starts_with("pg_dr_drill_passed") || line.starts_with("pg_dr_drill_rto"));
        drills.map(|line| line.replace(r#"cluster="main",drill="restore-test""#, "")).collect()
    };
    let shops = [r#"pg_dr_drill_passed{,database="shop"} 1"#, r#"pg_dr_drill_rto_seconds{,database="shop"} 540.5"#];
    let crms = [r#"pg_dr_drill_passed{,database="crm"} 0"#, r#"pg_dr_drill_rto_seconds{,database="crm"} 540.5"#];
    assert_eq!(values(&(drills.clone() + &shop + &crm)), [crms[0], shops[0], crms[1], shops[1]]);
    assert_eq!(values(&drills), [crms[0], shops[0], crms[1], shops[1]], "nothing is known of dumps");
    assert_eq!(values(&(drills.clone() + &shop)), shops, "the other was dropped");
    let old = crm.replace("2026-01-2", "2025-11-2");
    assert_eq!(values(&(drills + &shop + &old)), shops, "long ago, and some of its dumps are kept");
    assert_eq!(values(&tested("", 0, false)), ["pg_dr_drill_passed{} 0"]);
}

#[test]
fn a_success_is_absent_until_there_is_one() {
    let failed: String =
        EVERYTHING.lines().filter(|line| line.contains(r#""job":"copy""#)).map(|line| format!("{line}\n")).collect();
    let page = page(&failed);
    assert!(page.contains(r#"pg_dr_last_attempt_exit_code{cluster="main",kind="copy"} 77"#), "{page}");
    assert!(!page.contains("pg_dr_last_success_timestamp_seconds"), "{page}");
}

#[test]
fn the_file_is_replaced_as_a_whole_and_may_be_read_by_all() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dr.prom");
    fs::write(&file, "old\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let output = file.display().to_string();
    metrics(EVERYTHING, &["-o", &output]).success().stdout("");
    assert_eq!(fs::read_to_string(&file).unwrap(), page(EVERYTHING));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn what_fails_leaves_the_file_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dr.prom");
    fs::write(&file, "old\n").unwrap();
    let output = file.display().to_string();
    metrics("", &["-o", &output]).code(66);
    metrics("{\"type\":\"check\"\n", &["-o", &output]).code(65);
    metrics(EVERYTHING.trim_end(), &["-o", &output]).code(65);
    assert_eq!(fs::read_to_string(&file).unwrap(), "old\n");
    metrics(EVERYTHING, &["-o", "/nowhere/dr.prom"]).code(66);
    assert!(!Path::new("/nowhere").exists());
}
