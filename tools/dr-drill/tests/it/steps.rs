//! What a step runs, what is seen of it, and what is noted.

use crate::*;

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
