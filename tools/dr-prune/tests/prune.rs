//! dr-prune as it is called: records in, decisions out.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use dr_pipe::record::{Action, Decision, Record};
use serde_json::{Value, json};

const NOW: &str = "2026-01-31T12:00:00Z";

fn prune(args: &[&str], input: &str) -> Output {
    run(command(args), input)
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dr-prune"));
    command.env_clear().args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(mut command: Command, input: &str) -> Output {
    let mut child = command.spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
    // Who refuses the first line reads no further.
    let feeding = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    output
}

/// A verified dump of a night of January.
fn verified(day: u32) -> Value {
    json!({
        "type": "verified", "store": "s3://acme-dr/pg", "signature": "good", "format": 1, "cluster": "main", "kind": "dump",
        "name": format!("main_dump_202601{day:02}T020000Z_7f3a"), "object": "x.tar.zst.age", "bytes": 1 << 20,
        "sha256": format!("{day:064}"), "taken_at": format!("2026-01-{day:02}T02:00:00Z"),
        "stored_at": format!("2026-01-{day:02}T02:10:00.000500Z"),
        "sequence": 1_767_233_400_000_u64 + u64::from(day - 1) * 86_400_000, "recipients": [], "tags": ["run=nightly"],
        "stores": [{"store": "s3://acme-dr/pg"}], "tools": [],
        "produced": {"kind": "dump", "taken_at": format!("2026-01-{day:02}T02:00:00Z"), "suffix": "tar.zst", "database": "shop"},
        "good": true, "depth": "bytes", "verified_at": "2026-01-31T03:00:00Z", "findings": 0, "later": {"unknown": [1, 2]},
    })
}

fn base(day: u32, segment: u32) -> Value {
    let mut base = verified(day);
    base["kind"] = "base".into();
    base["name"] = format!("main_base_202601{day:02}T020000Z_7f3a").into();
    base["produced"] = json!({"kind": "base", "taken_at": base["taken_at"], "suffix": "tar.zst", "base": {
        "timeline": 1, "start_lsn": format!("0/{:X}", segment << 24 | 40), "stop_lsn": format!("0/{:X}", segment << 24 | 300),
        "stopped_at": base["taken_at"], "wal": "archived", "page_bytes": 8192,
    }});
    base
}

fn wal(first: u32, last: u32) -> Value {
    json!({
        "type": "wal", "store": "s3://acme-dr/pg", "cluster": "main", "timeline": 1, "first": format!("0000000100000000{first:08X}"),
        "last": format!("0000000100000000{last:08X}"), "segments": last - first + 1, "wal_segment_bytes": 16 << 20,
        "stored_bytes": 1 << 20, "stored_at": "2026-01-31T02:00:00Z",
    })
}

fn lines(records: impl IntoIterator<Item = Value>) -> String {
    records.into_iter().map(|record| format!("{record}\n")).collect()
}

fn decisions(output: &Output) -> Vec<Decision> {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let records = dr_pipe::record::read(&mut &output.stdout[..]).unwrap();
    let decision = |record| match record {
        Record::Decision(decision) => *decision,
        other => panic!("{other:?}"),
    };
    records.into_iter().map(decision).collect()
}

fn refusal(output: &Output) -> (i32, String) {
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(said.lines().count(), 2, "{said}");
    (output.status.code().unwrap(), said.lines().next().unwrap().to_owned())
}

#[test]
fn every_backup_is_decided_about_in_the_order_in_which_it_came() {
    let output = prune(&["--keep-daily", "3", "--keep-weekly", "2", "--now", NOW], &lines((1..=31).rev().map(verified)));
    let decisions = decisions(&output);
    assert_eq!(decisions.len(), 31);
    assert!(decisions.windows(2).all(|pair| pair[0].name > pair[1].name));
    let kept: Vec<_> =
        decisions.iter().filter(|decision| decision.action == Action::Keep).map(|decision| decision.reasons.join(", ")).collect();
    assert_eq!(kept, ["floor, keep-daily 3, keep-weekly 2", "floor, keep-daily 3", "keep-daily 3", "keep-weekly 2"]);
    let gone = &decisions[30];
    assert_eq!((gone.action, &gone.reasons[..]), (Action::Delete, &["no rule keeps it".to_owned()][..]));
    assert_eq!((gone.store.as_str(), gone.cluster.as_str(), gone.verified), ("s3://acme-dr/pg", "main", Some(true)));
    assert_eq!(gone.sha256.unwrap().to_string(), format!("{:064}", 1));
    assert_eq!(gone.decided_at.to_rfc3339(), "2026-01-31T12:00:00+00:00");
    assert!(output.stderr.is_empty());
}

#[test]
fn f86_what_is_not_known_to_be_good_stays() {
    let mut records: Vec<Value> = (1..=10).map(verified).collect();
    records[0]["type"] = "backup".into();
    records[1]["good"] = false.into();
    records[2]["depth"] = "manifest".into();
    records[3]["signature"] = "unchecked".into();
    records[4]["tags"] = json!(["pin=audit"]);
    records[5]["format"] = 2.into();
    records[6]["sequence"] = 7.into();
    let decisions = decisions(&prune(&["--keep-last", "1", "--now", NOW], &lines(records)));
    let why: Vec<_> = decisions.iter().map(|decision| (decision.reasons.join(", "), decision.verified.unwrap())).collect();
    let expected = [
        ("not verified", false),
        ("not verified", false),
        ("not verified", false),
        ("signature not checked", false),
        ("pinned", true),
        ("not understood", false),
        ("clock", false),
        ("no rule keeps it", true),
        ("floor", true),
        ("floor, keep-last 1", true),
    ];
    assert_eq!(why, expected.map(|(why, verified)| (why.to_owned(), verified)));
}

#[test]
fn f87_a_clock_that_is_behind_decides_nothing() {
    let output = prune(&["--keep-last", "1", "--now", "2026-01-20T02:05:00Z"], &lines((1..=31).map(verified)));
    assert!(decisions(&output).iter().all(|decision| decision.action == Action::Keep && decision.reasons[0] == "clock"));
    // The clock of this machine is later than all of them.
    assert_eq!(
        decisions(&prune(&["--keep-last", "1"], &lines((1..=31).map(verified))))
            .iter()
            .filter(|one| one.action == Action::Keep)
            .count(),
        2
    );
}

#[test]
fn wal_goes_as_far_as_no_kept_base_needs_it() {
    let records = [base(1, 10), base(15, 20), base(25, 30), base(31, 40), wal(5, 45), wal(50, 60)];
    let args = ["--keep-monthly", "1", "--keep-last", "3", "--keep-wal", "7d", "--pin", "main_base_20260101", "--now", NOW];
    let decisions = decisions(&prune(&args, &lines(records)));
    assert!(decisions[..4].iter().all(|decision| decision.action == Action::Keep));
    let wal: Vec<_> = decisions[4..]
        .iter()
        .map(|decision| {
            let number = |name: &Option<String>| u32::from_str_radix(&name.as_ref().unwrap()[16..], 16).unwrap();
            assert_eq!((decision.timeline, &decision.name, decision.verified), (Some(1), &None, None));
            (number(&decision.first), number(&decision.last), decision.action == Action::Keep, decision.reasons.join(", "))
        })
        .collect();
    let none = "no kept base needs it".to_owned();
    let own = "main_base_20260101T020000Z_7f3a needs it".to_owned();
    // The 25th is of the window; the 15th is the last before it, from which its beginning is reached.
    let window = "recovery from main_base_20260115T020000Z_7f3a on".to_owned();
    let expected = [
        (5, 9, false, none.clone()),
        (10, 10, true, own),
        (11, 19, false, none),
        (20, 45, true, window.clone()),
        (50, 60, true, window),
    ];
    assert_eq!(wal, expected);
}

#[test]
fn the_environment_says_what_flags_say() {
    let mut command = command(&["--now", NOW]);
    command
        .env("DR_KEEP_DAILY", "dump:4,store=s3://acme-dr/pg+base:1")
        .env("DR_PIN", "main_dump_20260105T020000Z_7f3a")
        .env("DR_FLOOR", "3");
    let output = run(command, &lines((1..=31).map(verified)));
    let kept: Vec<_> = decisions(&output).into_iter().filter(|decision| decision.action == Action::Keep).collect();
    assert_eq!(kept.len(), 5);
    assert_eq!(kept[4].reasons, ["floor", "keep-daily dump:4"]);
}

#[test]
fn a_pin_that_keeps_nothing_is_told() {
    let output = prune(&["--keep-last", "1", "--pin", "main_dump_2025", "--now", NOW], &lines((1..=3).map(verified)));
    assert_eq!(decisions(&output).len(), 3);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("dr-prune: warning: no backup is named main_dump_2025"), "{said}");
}

#[test]
fn a_policy_is_needed_and_must_make_sense() {
    let input = lines([verified(1)]);
    assert_eq!(refusal(&prune(&[], &input)), (64, "dr-prune: error: no policy is given".into()));
    assert_eq!(refusal(&prune(&["--pin", "main_dump_2026", "--floor", "5"], &input)).0, 64);
    let many = ["dump:1"; 49].join(",");
    assert_eq!(refusal(&prune(&["--keep-last", &many], &input)), (64, "dr-prune: error: 49 rules are given, of at most 48".into()));
    for args in [
        ["--keep-last", "0"],
        ["--keep-last", "dumps:1"],
        ["--keep-within", "30"],
        ["--keep-wal", "base:7d"],
        ["--floor", "1"],
        ["--pin", "main"],
        ["--now", "yesterday"],
    ] {
        assert_eq!(refusal(&prune(&args, &input)).0, 64, "{args:?}");
    }
}

#[test]
fn what_is_no_record_is_refused_by_its_line() {
    let good = lines([verified(1), verified(2)]);
    let with = |last: &str| format!("{good}\n{last}");
    let without = |field: &str| {
        let mut record = verified(3);
        record.as_object_mut().unwrap().remove(field);
        record.to_string() + "\n"
    };
    let mut bad_run = wal(5, 9);
    bad_run["segments"] = 4.into();
    for (last, why) in [
        ("{\"type\":\"decision\"}\n".to_owned(), "unknown variant `decision`"),
        ("{\"type\":\"later\"}\n".into(), "unknown variant `later`"),
        ("{}\n".into(), "missing field `type`"),
        ("[]\n".into(), "invalid length 0"),
        ("no\n".into(), "expected"),
        (verified(3).to_string(), "cut short"),
        (verified(3).to_string()[..200].to_owned() + "\n", "EOF while parsing"),
        (without("taken_at"), "missing field `taken_at`"),
        (without("produced"), "missing field `produced`"),
        (without("good"), "missing field `good`"),
        (without("sha256"), "missing field `sha256`"),
        (verified(3).to_string().replace("s3://", "\u{e9}\\ud800") + "\n", "hex escape"),
        (bad_run.to_string() + "\n", "are not 4 segments"),
    ] {
        let (code, said) = refusal(&prune(&["--keep-last", "1"], &with(&last)));
        assert_eq!(code, 65, "{last}: {said}");
        assert!(said.starts_with("dr-prune: error: record line 4: ") && said.contains(why), "{last}: {said}");
    }
    let long = |bytes: usize| {
        let record = verified(3).to_string();
        record.clone() + &" ".repeat(bytes - record.len() - 1) + "\n"
    };
    assert_eq!(prune(&["--keep-last", "1"], &with(&long(1 << 20))).status.code(), Some(0));
    let (code, said) = refusal(&prune(&["--keep-last", "1"], &with(&long((1 << 20) + 1))));
    assert_eq!((code, said.as_str()), (65, "dr-prune: error: record line 4: longer than 1 MiB"));
}

#[test]
fn what_dr_verify_says_besides_is_passed_over() {
    let finding = json!({"type": "finding", "severity": "error", "code": "digest", "store": "a", "message": "m", "hint": "h",
        "found_at": "2026-01-31T03:00:00Z", "backup": "main_dump_20260101T020000Z_7f3a"});
    assert_eq!(decisions(&prune(&["--keep-last", "1"], &lines([finding.clone(), verified(1), finding]))).len(), 1);
}

#[test]
fn an_empty_catalogue_is_suspicious() {
    for input in ["", "\n\n", &lines([wal(1, 9)])] {
        assert_eq!(refusal(&prune(&["--keep-last", "1"], input)), (66, "dr-prune: error: no backup came".into()));
    }
}

#[test]
fn records_that_disagree_about_one_backup_are_refused() {
    let mut other = verified(1);
    other["sha256"] = format!("{:064}", 7).into();
    let (code, said) = refusal(&prune(&["--keep-last", "1"], &lines([verified(1), verified(2), other])));
    assert_eq!(
        (code, said.as_str()),
        (65, "dr-prune: error: two records of main_dump_20260101T020000Z_7f3a in s3://acme-dr/pg disagree")
    );
}

/// More than one block for each worker: all is decided about, in order.
#[test]
fn many_records_are_read_in_order() {
    let records = |count: u32| {
        (0..count).map(|number| {
            let mut record = verified(1 + number % 28);
            record["name"] = format!("main_dump_20260101T020000Z_{number:05}").into();
            record
        })
    };
    let input = lines(records(5000));
    assert!(input.len() > 3 << 20);
    let decisions = decisions(&prune(&["--keep-last", "1", "--now", NOW], &input));
    assert_eq!(decisions.len(), 5000);
    assert!(decisions.windows(2).all(|pair| pair[0].name < pair[1].name));
    let (code, said) = refusal(&prune(&["--keep-last", "1"], &format!("{input}x\n")));
    assert_eq!(code, 65);
    assert!(said.starts_with("dr-prune: error: record line 5001: "), "{said}");
}

#[test]
fn people_get_a_table() {
    let output = prune(
        &["--keep-last", "1", "--table", "--now", NOW],
        &lines([verified(1), verified(2), verified(3), base(2, 10), wal(5, 12)]),
    );
    let table = String::from_utf8(output.stdout).unwrap();
    let expected = "\
ACTION  NAME                                                  TAKEN (UTC)          KIND  STORE            VERIFIED  WHY
delete  main_dump_20260101T020000Z_7f3a                       2026-01-01 02:00:00  dump  s3://acme-dr/pg  yes       no rule keeps it
keep    main_dump_20260102T020000Z_7f3a                       2026-01-02 02:00:00  dump  s3://acme-dr/pg  yes       floor
keep    main_dump_20260103T020000Z_7f3a                       2026-01-03 02:00:00  dump  s3://acme-dr/pg  yes       floor, keep-last 1
keep    main_base_20260102T020000Z_7f3a                       2026-01-02 02:00:00  base  s3://acme-dr/pg  yes       floor, keep-last 1
delete  000000010000000000000005 to 000000010000000000000009  -                    wal   s3://acme-dr/pg  -         no kept base needs it
keep    00000001000000000000000A to 00000001000000000000000C  -                    wal   s3://acme-dr/pg  -         recovery from main_base_20260102T020000Z_7f3a on
";
    assert_eq!(table, expected);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child = command(&["--keep-last", "1", "--now", NOW]).spawn().unwrap();
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(lines((1..=31).map(verified)).as_bytes()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn what_no_backup_fits_is_told_and_so_is_that_nothing_is_verified() {
    let all = lines((1..=5).map(verified));
    let told = |args: &[&str], input: &str| {
        let output = prune(&[args, &["--now", NOW]].concat(), input);
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(told(&["--keep-daily", "tag=run=nightly+dump:3"], &all), "");
    for rule in ["tag=rnu=nightly:3", "base:3", "store=s3://acme-dr:3"] {
        let stderr = told(&["--keep-last", "2", "--keep-daily", rule], &all);
        assert!(stderr.contains(&format!("--keep-daily {rule} is about no backup")), "{stderr}");
    }
    let stderr = told(&["--keep-last", "1"], &all.replace("\"type\":\"verified\"", "\"type\":\"backup\""));
    assert!(stderr.contains("none of 5 backups is verified"), "{stderr}");
}
