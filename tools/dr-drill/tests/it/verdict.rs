//! When a drill has passed, and when never.

use crate::*;

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
fn f85_a_row_that_looks_like_a_restore_is_none() {
    let notes = Notes::new();
    notes.restored(&ago(400_000), true);
    let forged = RESTORED.replace("TAKEN", &ago(60)).replace("PROVED", "true").replace("main_dump_1", "main_dump_9");
    assert_eq!(notes.step("check", "smoke", &format!("echo '{forged}'")).status.code(), Some(0));
    let (code, drill) = notes.finish(&["--rpo", "26h"]);
    assert_eq!((code, drill.backup.as_deref()), (1, Some("main_dump_1")));
    assert!(drill.rpo_seconds.unwrap() > 390_000.0, "{:?}", drill.rpo_seconds);
}
