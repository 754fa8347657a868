//! What does a drill prove, and what does it never pass?
#![allow(clippy::unwrap_used)]

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use dr_pipe::record::{self, Drill, Record, Step};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

const RESTORED: &str = r#"{"type":"restored","database":"drill","backup":"main_dump_1","taken_at":"TAKEN","started_at":"2026-01-25T03:00:00Z","finished_at":"2026-01-25T03:00:01Z","duration_seconds":1.0,"proved":PROVED}"#;

/// The notes of one drill.
struct Notes(TempDir);

impl Notes {
    fn new() -> Self {
        Notes(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("notes")
    }

    fn tool(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dr-drill"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("DR_DRILL_RECORD", self.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a shell's line as a step, and gives what is seen of it.
    fn step(&self, phase: &str, name: &str, line: &str) -> Output {
        self.tool().args(["--phase", phase, name, "--", "sh", "-c", line]).output().unwrap()
    }

    /// A restore that says so, and a check.
    fn good(&self) {
        self.restored(&ago(3600), true);
        assert_eq!(self.step("check", "fingerprint", "echo equal").status.code(), Some(0));
    }

    fn restored(&self, taken_at: &str, proved: bool) {
        let record = RESTORED.replace("TAKEN", taken_at).replace("PROVED", &proved.to_string());
        assert_eq!(self.step("restore", "restore", &format!("echo '{record}'")).status.code(), Some(0));
    }

    /// The verdict: the exit code, and the record.
    fn finish(&self, arguments: &[&str]) -> (i32, Drill) {
        let output = self.finished(arguments);
        let records = record::read(&mut &output.stdout[..]).unwrap();
        let [Record::Drill(drill)] = &records[..] else { panic!("{records:?}, {}", said(&output)) };
        assert_eq!(output.status.code() == Some(0), drill.passed);
        assert_eq!(drill.issues.is_empty(), drill.passed);
        (output.status.code().unwrap(), (**drill).clone())
    }

    fn finished(&self, arguments: &[&str]) -> Output {
        let mut command = self.tool();
        command.args(["--finish", "--drill", "restore-test", "--cluster", "main"]).args(arguments).output().unwrap()
    }

    /// The steps as the verdict has them.
    fn steps(&self) -> Vec<Step> {
        self.finish(&[]).1.steps
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn ago(seconds: i64) -> String {
    (chrono::Utc::now() - chrono::TimeDelta::seconds(seconds)).to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

#[test]
fn a_drill_whose_steps_all_pass_has_passed() {
    let notes = Notes::new();
    notes.good();
    let (code, drill) =
        notes.finish(&["--require", "fingerprint", "--require=restore", "--rto", "1h", "--rpo", "1d", "--operator", "kim"]);
    assert_eq!((code, drill.passed, drill.backup.as_deref()), (0, true, Some("main_dump_1")));
    assert_eq!((drill.operator.as_str(), drill.environment.as_str(), drill.drill.as_str()), ("kim", "throw-away", "restore-test"));
    assert!(
        drill.name.starts_with("main_drill_2") && drill.name.len() == "main_drill_20260125T030000Z_7f3a".len(),
        "{}",
        drill.name
    );
    assert_eq!((drill.rto_objective_seconds, drill.rpo_objective_seconds), (Some(3600.0), Some(86400.0)));
    assert!((3600.0..3700.0).contains(&drill.rpo_seconds.unwrap()), "{:?}", drill.rpo_seconds);
    assert!((drill.rto_seconds - drill.restore_seconds - drill.check_seconds).abs() < 1e-9, "{drill:?}");
    assert!(drill.restore_seconds > 0.0 && drill.check_seconds > 0.0 && drill.finished_at > drill.started_at);
    let said: Vec<_> = drill.steps.iter().map(|step| (step.name.as_str(), step.exit_code, step.output.as_deref())).collect();
    assert_eq!(said, [("restore", Some(0), None), ("fingerprint", Some(0), Some("equal"))], "a record is no output");
}

#[test]
fn f85_a_drill_without_a_required_step_has_not_passed() {
    let notes = Notes::new();
    notes.good();
    let (code, drill) = notes.finish(&["--require", "fingerprint", "--require", "amcheck"]);
    assert_eq!((code, drill.issues), (1, vec!["required step amcheck did not run".to_owned()]));
    let notes = Notes::new();
    notes.good();
    let mut command = notes.tool();
    let output =
        command.args(["--finish", "--drill", "x", "--cluster", "main"]).env("DR_DRILL_REQUIRE", "marker,amcheck").output().unwrap();
    assert!(output.status.code() == Some(1) && said(&output).contains("required step marker did not run"), "{}", said(&output));
}

#[test]
fn f85_a_drill_that_did_or_checked_nothing_has_not_passed() {
    let notes = Notes::new();
    assert_eq!(notes.finish(&[]).1.issues, ["no step was run"]);
    let notes = Notes::new();
    notes.restored(&ago(60), false);
    assert_eq!(notes.finish(&[]).1.issues, ["nothing that was restored was checked"]);
    // What proved itself is checked.
    let notes = Notes::new();
    notes.restored(&ago(60), true);
    assert_eq!(notes.finish(&[]).0, 0);
}

#[test]
fn f85_a_step_that_fails_is_never_forgotten() {
    for (line, code, how) in [
        ("exit 3", 3, "step bad failed: exit code 3"),
        ("kill -SEGV $$", 139, "step bad failed: its command was killed by SIGSEGV"),
        ("exit 1", 1, "step bad failed: exit code 1"),
    ] {
        let notes = Notes::new();
        notes.good();
        let output = notes.step("check", "bad", line);
        assert_eq!(output.status.code(), Some(code), "{line}");
        assert!(said(&output).starts_with("dr-drill: warning: step bad failed: its command "), "{}", said(&output));
        // Tried again until it passes, it has failed all the same.
        assert_eq!(notes.step("check", "bad", "true").status.code(), Some(0));
        assert_eq!(notes.finish(&[]).1.issues, [how]);
    }
}

#[test]
fn f85_a_command_that_is_not_there_is_a_failed_step() {
    let notes = Notes::new();
    notes.good();
    let output = notes.tool().args(["--phase", "check", "amcheck", "--", "no-such-program"]).output().unwrap();
    assert_eq!(output.status.code(), Some(66));
    assert!(said(&output).starts_with("dr-drill: error: step amcheck: no-such-program: no such program\n"), "{}", said(&output));
    assert_eq!(notes.finish(&["--require", "amcheck"]).1.issues, ["step amcheck failed: no-such-program: no such program"]);
}

#[test]
fn f85_a_step_that_takes_too_long_is_ended_with_all_its_children() {
    let notes = Notes::new();
    notes.good();
    let begun = Instant::now();
    let mut command = notes.tool();
    // The child does not listen to SIGTERM; the shell exits with 0 when it gets it.
    let line = "trap 'exit 0' TERM; (trap '' TERM; echo $$; exec sleep 60) & echo pid $!; wait";
    let output = command.args(["--timeout", "1", "--phase", "check", "slow", "--", "sh", "-c", line]).output().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        said(&output).starts_with("dr-drill: error: step slow: its command still ran after 1 s, and was ended\n"),
        "{}",
        said(&output)
    );
    let stdout = String::from_utf8(output.stdout).unwrap();
    let child = stdout.lines().find_map(|line| line.strip_prefix("pid ")).unwrap().parse().unwrap();
    until_gone(Pid::from_raw(child).unwrap());
    let (_, drill) = notes.finish(&[]);
    assert_eq!(drill.issues, ["step slow failed: its command still ran after 1 s, and was ended"]);
    assert_eq!((drill.steps[2].passed, drill.steps[2].exit_code), (false, None));
}

/// Waits for a process that is nobody's child any more.
fn until_gone(pid: Pid) {
    let begun = Instant::now();
    let zombie = || fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).is_ok_and(|stat| stat.contains(") Z "));
    while test_kill_process(pid).is_ok() && !zombie() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{pid:?} lives on");
        std::thread::yield_now();
    }
}

#[test]
fn f85_a_step_that_is_killed_with_dr_drill_has_failed() {
    // The last one ends well when it is asked to: but not because it was done.
    let lines = ["echo $$; exec sleep 60", "echo $$; exec sleep 60", "trap 'exit 0' TERM; echo $$; while :; do sleep 0.05; done"];
    for (signal, line) in [Signal::KILL, Signal::TERM, Signal::TERM].into_iter().zip(lines) {
        let notes = Notes::new();
        notes.good();
        let mut child = notes.tool().args(["--phase", "check", "cut", "--", "sh", "-c", line]).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), if signal == Signal::TERM { Some(75) } else { None });
        let command = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
        // Nobody was left to end the command.
        if signal == Signal::KILL {
            kill_process(command, Signal::KILL).unwrap();
        }
        until_gone(command);
        let (code, drill) = notes.finish(&["--require", "fingerprint"]);
        let unknown = "step cut failed: it began, and nobody has noted its end";
        // Where there was time to, it is said.
        let ended = signal == Signal::TERM && drill.issues == ["step cut failed: it was ended by a signal to dr-drill"];
        assert!(code == 1 && (ended || drill.issues == [unknown]), "{:?}", drill.issues);
    }
}

#[test]
fn f85_an_objective_that_is_missed_or_not_proved_is_an_issue() {
    let notes = Notes::new();
    notes.restored(&ago(7200), true);
    notes.step("check", "slow", "sleep 1.1");
    let (_, drill) = notes.finish(&["--rto", "1", "--rpo", "1h"]);
    assert_eq!(drill.issues.len(), 2, "{:?}", drill.issues);
    assert!(drill.issues[0].starts_with("RTO objective missed: 1.") && drill.issues[1].starts_with("RPO objective missed: 72"));
    let notes = Notes::new();
    notes.step("check", "look", "true");
    assert_eq!(notes.finish(&["--rpo", "1h"]).1.issues, ["RPO objective not proved: no step has said which moment was restored"]);
}

#[test]
fn f85_another_backup_than_the_one_that_was_meant_is_an_issue() {
    let notes = Notes::new();
    notes.good();
    assert_eq!(notes.finish(&["--backup", "main_dump_2"]).1.issues, ["backup main_dump_1 was used, and not main_dump_2"]);
    let notes = Notes::new();
    notes.good();
    assert_eq!(notes.finish(&["--backup", "main_dump_1"]).0, 0);
}

#[test]
fn f85_what_a_failed_step_says_it_restored_was_not_restored() {
    let notes = Notes::new();
    let record = RESTORED.replace("TAKEN", &ago(60)).replace("PROVED", "true");
    notes.step("restore", "restore", &format!("echo '{record}'; exit 1"));
    let (_, drill) = notes.finish(&[]);
    assert_eq!((drill.backup, drill.reached_at, drill.rpo_seconds), (None, None, None));
    assert_eq!(drill.issues, ["step restore failed: exit code 1", "nothing that was restored was checked"]);
}

#[test]
fn f85_a_verdict_is_final() {
    let notes = Notes::new();
    notes.good();
    let (_, first) = notes.finish(&["--require", "amcheck"]);
    let output = notes.step("check", "amcheck", "true");
    assert!(
        output.status.code() == Some(73) && said(&output).contains("the drill that is noted there is over"),
        "{}",
        said(&output)
    );
    let output = notes.finished(&[]);
    assert!(said(&output).contains("its record is printed again"), "{}", said(&output));
    assert_eq!(notes.finish(&[]), (1, first));
}

#[test]
fn notes_that_are_cut_short_or_of_others_give_no_verdict() {
    let notes = Notes::new();
    notes.good();
    let whole = fs::read(notes.path()).unwrap();
    let lines = whole.split_inclusive(|byte| *byte == b'\n').collect::<Vec<_>>();
    assert_eq!(lines.len(), 5, "begun, restored, ended; begun, ended");
    // Anywhere but between whole notes; what a step said belongs to its end.
    let between = |cut: usize| whole[cut - 1] == b'\n' && !whole[..cut].ends_with(lines[1]);
    let after_record = lines[0].len() + lines[1].len();
    for cut in (1..whole.len()).step_by(29).filter(|cut| !between(*cut)).chain([after_record, after_record - 1, whole.len() - 1]) {
        fs::write(notes.path(), &whole[..cut]).unwrap();
        let output = notes.finished(&[]);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(65), &b""[..]), "{cut}");
        let output = notes.step("check", "more", "echo ran");
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(65), &b""[..]), "{cut}: no step after it, either");
    }
    fs::write(notes.path(), &whole[..whole.len() - lines[4].len()]).unwrap();
    assert_eq!(notes.finish(&[]).1.issues, ["step fingerprint failed: it began, and nobody has noted its end"]);

    for stray in ["{\"type\":\"start\",\"tool\":\"dr-dump\",\"suffix\":\"\",\"started_at\":\"2026-01-25T03:00:00Z\"}\n", "hello\n"]
    {
        fs::write(notes.path(), [&whole, stray.as_bytes()].concat()).unwrap();
        let output = notes.finished(&[]);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(65), &b""[..]), "{stray}");
    }
}

#[test]
fn a_file_that_cannot_be_written_stops_the_step_before_it_begins() {
    let notes = Notes::new();
    fs::create_dir(notes.path()).unwrap();
    let output = notes.step("check", "look", "echo ran");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(74), &b""[..]), "{}", said(&output));
    let notes = Notes::new();
    let line = format!("ulimit -f 0; exec {} --phase check look -- echo ran", env!("CARGO_BIN_EXE_dr-drill"));
    let mut full = Command::new("sh");
    let output = full.args(["-c", &line]).env("DR_DRILL_RECORD", notes.path()).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(74), &b""[..]), "{}", said(&output));
}

#[test]
fn input_and_both_outputs_are_those_of_the_command() {
    let notes = Notes::new();
    let mut command = notes.tool();
    command.args(["--phase", "check", "cat", "--", "sh", "-c", "cat; echo aside >&2; seq 100000"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"from \xff outside\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success()
            && output.stdout.starts_with(b"from \xff outside\n1\n2\n")
            && output.stdout.ends_with(b"\n100000\n")
    );
    assert_eq!(output.stderr, b"aside\n");
    let text = notes.steps()[0].output.clone().unwrap();
    assert!(text.ends_with("99999\n100000") && text.lines().count() <= 20, "{text}");
}

#[test]
fn f96_no_secret_of_the_environment_or_the_output_is_noted() {
    let notes = Notes::new();
    let line = "echo $PGPASSWORD; echo postgresql://a:other-canary@h/d >&2; echo AGE-SECRET-KEY-1CANARY; exit 1";
    let mut command = notes.tool();
    let output = command.env("PGPASSWORD", "the-canary").args(["--phase", "check", "x", "--", "sh", "-c", line]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("the-canary"), "it is passed on as it is");
    let noted = fs::read_to_string(notes.path()).unwrap();
    assert!(!noted.to_lowercase().contains("canary") && noted.contains("postgresql://a:***@h/d"), "{noted}");
}

#[test]
fn a_server_that_a_step_leaves_running_is_not_waited_for() {
    let notes = Notes::new();
    let begun = Instant::now();
    let output = notes.step("prepare", "server", "sleep 60 & echo $!");
    assert!(output.status.success() && begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let pid = Pid::from_raw(String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

#[test]
fn a_reader_that_goes_away_fails_the_step() {
    let notes = Notes::new();
    let mut child = notes.tool().args(["--phase", "check", "flood", "--", "yes"]).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(74));
    assert_eq!(notes.finish(&[]).1.issues[0], "step flood failed: passing on what the command says: Broken pipe (os error 32)");
}

#[test]
fn what_a_recovery_says_is_split_into_restore_and_replay() {
    let notes = Notes::new();
    let target_at = ago(90);
    let record = serde_json::json!({
        "type": "recovered", "summary": "s", "backup": "main_base_1", "cluster": "main", "directory": "/d", "target": "time",
        "target_value": "0/3000000", "target_at": target_at, "target_timeline": 1, "start_lsn": "0/1", "earliest_lsn": "0/2",
        "earliest_at": ago(9000), "latest_lsn": "0/4", "segments": 7, "stored_bytes": 100, "restored_bytes": 200, "files": 3,
        "state": "promoted", "reached_at": ago(5000), "written_bytes": 200, "kept_bytes": 0, "started_at": ago(2),
        "finished_at": ago(1), "plan_seconds": 0.1, "restore_seconds": 0.2, "replay_seconds": 0.5
    });
    notes.step("restore", "recover", &format!("sleep 1; echo '{record}'"));
    notes.step("check", "marker", "true");
    let (code, drill) = notes.finish(&["--rpo", "5m", "--recipient", "age1x"]);
    assert_eq!(
        (code, drill.backup.as_deref(), drill.stored_bytes, drill.restored_bytes),
        (0, Some("main_base_1"), Some(100), Some(200))
    );
    assert!(drill.replay_seconds == 0.5 && (0.5..5.0).contains(&drill.restore_seconds), "{drill:?}");
    assert!((90.0..100.0).contains(&drill.rpo_seconds.unwrap()), "the moment that was asked for: {:?}", drill.rpo_seconds);
    assert_eq!((drill.target.as_deref(), drill.segments, drill.recipients), (Some("time"), Some(7), vec!["age1x".to_owned()]));
}

#[test]
fn a_record_of_the_backup_tells_its_size_and_who_can_decrypt_it() {
    let notes = Notes::new();
    let backup = |name: &str, kind: &str| {
        serde_json::json!({
            "type": "backup", "store": "near", "signature": "good", "format": 1, "cluster": "main", "kind": kind, "name": name,
            "object": "o", "bytes": 1234, "sha256": "00".repeat(32), "taken_at": ago(60), "stored_at": ago(60), "sequence": 1,
            "recipients": ["age1a", "age1b"], "stores": [], "tools": [],
            "produced": {"kind": kind, "taken_at": ago(60), "suffix": "tar.zst", "plain_bytes": 99999}
        })
    };
    notes.step("fetch", "list", &format!("echo '{}'; echo '{}'", backup("main_dump_1", "dump"), backup("main_files_1", "files")));
    notes.good();
    let (_, drill) = notes.finish(&[]);
    assert_eq!((drill.stored_bytes, drill.restored_bytes, drill.files.as_deref()), (Some(1234), Some(99999), Some("main_files_1")));
    assert_eq!(drill.recipients, ["age1a", "age1b"]);
    assert!(drill.fetch_seconds > 0.0);
}

/// A record of a dump, or of a base, as dr-list prints it.
fn listed(name: &str, database: Option<&str>) -> String {
    let kind = if database.is_some() { "dump" } else { "base" };
    let produced = serde_json::json!({"kind": kind, "taken_at": ago(60), "suffix": "tar.zst", "database": database});
    let record = serde_json::json!({
        "type": "backup", "store": "near", "signature": "good", "format": 1, "cluster": "main", "kind": kind, "name": name,
        "object": "o", "bytes": 1, "sha256": "00".repeat(32), "taken_at": ago(60), "stored_at": ago(60), "sequence": 1,
        "recipients": [], "stores": [], "tools": [], "produced": produced
    });
    format!("echo '{record}';")
}

#[test]
fn f85_a_drill_knows_its_database_even_where_nothing_was_restored() {
    let drilled = |list: &str, restore: &str, asked: Option<&str>| {
        let notes = Notes::new();
        notes.step("prepare", "backup", list);
        notes.step("restore", "restore", restore);
        let mut command = notes.tool();
        command.args(["--finish", "--drill", "x", "--cluster", "main"]).envs(asked.map(|name| ("DR_DATABASE", name)));
        let records = record::read(&mut &command.output().unwrap().stdout[..]).unwrap();
        let [Record::Drill(drill)] = &records[..] else { panic!("{records:?}") };
        drill.database.clone()
    };
    let database = |name: &str| Some(name.to_owned());
    let (shop, crm) = (listed("main_dump_1", Some("shop")), listed("main_dump_2", Some("crm")));
    let restored = RESTORED.replace("TAKEN", &ago(60)).replace("PROVED", "true");
    let named = restored.replace(r#""database":"drill""#, r#""database":"drill","source_database":"archive""#);
    let (restored, named) = (format!("echo '{restored}'"), format!("echo '{named}'"));
    // What was restored tells it best: the archive itself, or the manifest of its backup.
    assert_eq!(drilled(&crm, &named, Some("asked")), database("archive"));
    assert_eq!(drilled(&format!("{shop}{crm}"), &restored, Some("asked")), database("shop"));
    assert_eq!(drilled("true", &restored, Some("asked")), database("asked"));
    // Nothing was.
    assert_eq!(drilled(&shop, "exit 1", Some("asked")), database("shop"));
    assert_eq!(drilled(&format!("{shop}{crm}"), "exit 1", None), None, "one of several");
    assert_eq!(drilled(&format!("{shop}{crm}"), "exit 1", Some("asked")), database("asked"));
    assert_eq!(drilled("exit 69", "exit 1", Some("asked")), database("asked"));
    assert_eq!((drilled("exit 69", "exit 1", None), drilled("exit 69", "exit 1", Some(""))), (None, None));
    // A base is of all.
    assert_eq!(drilled(&listed("main_base_1", None), "exit 1", Some("asked")), None);
}

#[test]
fn f74_only_the_key_that_was_used_is_proved_where_the_script_says_which() {
    let notes = Notes::new();
    notes.good();
    assert_eq!(notes.finish(&["--recipient", "age1b"]).1.recipients, ["age1b"]);
}

#[test]
fn words_of_the_script_are_in_the_record() {
    let notes = Notes::new();
    notes.good();
    let words =
        ["--issue", "standby was down", "--next-action", "repair it", "--next-action", "tell kim", "--environment", "staging 2"];
    let (code, drill) = notes.finish(&words);
    assert_eq!((code, drill.issues, drill.environment.as_str()), (1, vec!["standby was down".to_owned()], "staging 2"));
    assert_eq!(drill.next_actions, ["repair it", "tell kim"]);
}

#[test]
fn what_is_typed_wrong_is_refused() {
    let notes = Notes::new();
    for arguments in [
        &["--finish"][..],
        &["--finish", "--drill", "x"],
        &["--finish", "--drill", "x", "--cluster", "../etc"],
        &["--finish", "--drill", "x", "--cluster", "main", "name", "--", "true"],
        &["--finish", "--drill", "a b", "--cluster", "main"],
        &["--phase", "check", "name"],
        &["--phase", "check", "--", "true"],
        &["name", "--", "true"],
        &["--phase", "check", "a,b", "--", "true"],
        &["--phase", "check", "--timeout", "0", "name", "--", "true"],
        &["--phase", "check", "--issue", "x", "name", "--", "true"],
    ] {
        let output = notes.tool().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {}", said(&output));
    }
    assert!(!notes.path().exists());
    let output =
        Command::new(env!("CARGO_BIN_EXE_dr-drill")).env_clear().args(["--phase", "check", "a", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64), "no file is named");
}

#[test]
fn the_notes_are_for_their_owner_alone_and_only_ever_grow() {
    use std::os::unix::fs::PermissionsExt;
    let notes = Notes::new();
    let mut before = Vec::new();
    for _ in 0..3 {
        notes.step("check", "look", "true");
        let now = fs::read(notes.path()).unwrap();
        assert!(now.starts_with(&before) && now.len() > before.len());
        before = now;
    }
    assert_eq!(fs::metadata(notes.path()).unwrap().permissions().mode() & 0o777, 0o600);
    let mut file = OpenOptions::new().append(true).open(notes.path()).unwrap();
    file.write_all(b"\n\n").unwrap();
    assert_eq!(notes.steps().len(), 3, "empty lines are nothing");
}

#[test]
fn f85_a_row_that_looks_like_a_restore_is_none() {
    let notes = Notes::new();
    notes.restored(&ago(400_000), true);
    let forged = RESTORED.replace("TAKEN", &ago(60)).replace("PROVED", "true").replace("main_dump_1", "main_dump_9");
    assert_eq!(notes.step("check", "smoke", &format!("echo '{forged}'")).status.code(), Some(0));
    let (code, drill) = notes.finish(&["--rpo", "26h"]);
    assert_eq!((code, drill.backup.as_deref()), (1, Some("main_dump_1")));
    assert!(drill.rpo_seconds.unwrap() > 390_000.0, "{:?}", drill.rpo_seconds);
}
