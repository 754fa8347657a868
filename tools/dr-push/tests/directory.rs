//! dr-push into directories, with what can go wrong on a real file system.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "a test moves stores away, as umount does")]

mod support;

use std::fs;
use std::io::Write;
use std::process::Stdio;

use assert_cmd::Command;
use support::{World, stderr_of, until};

/// A command that gets `input`; its outcome.
fn run(command: std::process::Command, input: impl Into<Vec<u8>>) -> std::process::Output {
    Command::from_std(command).write_stdin(input).output().unwrap()
}

#[test]
fn a_stream_is_stored_and_the_receipt_says_where() {
    let world = World::new();
    let mut push = world.push();
    push.args(["--to", &world.store()]);
    let output = run(push, "PGDMP and more");
    let warning = stderr_of(&output, 0);
    assert!(warning.starts_with("dr-push: warning: ") && warning.contains("it is one now"), "{warning}");
    assert_eq!(world.object(), b"PGDMP and more");
    let receipt = String::from_utf8(output.stdout).unwrap();
    assert_eq!(receipt.lines().count(), 1);
    for part in [
        r#""type":"receipt","tool":"dr-push""#,
        r#""in":{"bytes":14,"sha256":""#,
        r#""cluster":"main","kind":"dump","name":"main_dump_2"#,
        r#".dump","stores":[{"store":""#,
        r#""stored":true,"confirmed":"fsync"}],"required":1"#,
    ] {
        assert!(receipt.contains(part), "{part} in {receipt}");
    }
    let file = &world.files()[0];
    assert!(file.starts_with("main/dump/main_dump_2") && file.ends_with(".dump 600"), "{file}");
}

#[test]
fn what_nothing_can_seal_is_said_to_be_no_backup() {
    let world = World::new();
    stderr_of(&run(world.shell("exec dr-push --init --to $STORE"), ""), 0);
    let output = run(world.shell("exec dr-push --to $STORE"), "age-encryption.org/v1\n");
    let object = world.files()[0].rsplit_once(' ').unwrap().0.to_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    let key = format!(
        "dr-push: warning: without a receipt file (DR_RECEIPT) nothing can seal {object}: it is stored, and never a backup\n"
    );
    assert_eq!((output.status.code(), &*said), (Some(0), &*key));
    let empty = run(world.shell("exec dr-push --to $STORE"), "");
    assert!(!String::from_utf8_lossy(&empty.stderr).contains("warning"), "nothing is stored of nothing");
    // A producer that leaves its receipt elsewhere is refused, not warned of.
    let output = run(world.shell("DR_RECEIPT=$HOME/receipts exec dr-push --to $STORE"), "x");
    let said = stderr_of(&output, 66);
    assert!(said.contains("no stage before this one") && !said.contains("warning"), "{said}");
}

#[test]
fn f04_an_empty_stream_is_refused_and_nothing_is_stored() {
    let world = World::new();
    let mut push = world.push();
    push.args(["--to", &world.store()]);
    let stderr = stderr_of(&run(push, ""), 66);
    assert!(stderr.contains("dr-push: error: standard input is empty\ndr-push: hint: "), "{stderr}");
    assert_eq!(world.files(), Vec::<String>::new());
}

#[test]
fn f24_files_and_directories_are_for_the_owner_alone_whatever_the_umask() {
    for umask in ["000", "022", "777"] {
        let world = World::new();
        let output = run(world.shell(&format!("mkdir -p $DR_STATE; umask {umask}; exec dr-push --to $STORE")), "x");
        stderr_of(&output, 0);
        assert!(world.files()[0].ends_with(" 600"), "{:?}", world.files());
    }
}

#[test]
fn f18_a_file_size_limit_is_an_error_and_leaves_nothing() {
    let world = World::new();
    let output = run(world.shell("ulimit -f 200; exec dr-push --to $STORE"), vec![1; 1 << 20]);
    let stderr = stderr_of(&output, 74);
    assert!(stderr.contains("File too large") && stderr.contains("ulimit -f"), "{stderr}");
    assert_eq!(world.files(), Vec::<String>::new());
}

#[test]
fn f17_a_full_file_system_is_an_error_and_leaves_what_was_there() {
    let world = World::new();
    fs::create_dir(world.path("mount")).unwrap();
    let mounted = world.shell("mount -t tmpfs -o size=1m,mode=700 none $HOME/mount").output().unwrap();
    if !mounted.status.success() {
        println!("skipped: this user may not mount a tmpfs");
        return;
    }
    let listed = || run(world.shell("find $HOME/mount -type f ! -name dr-store.json | sort"), "").stdout;
    let push = || world.shell("exec dr-push --to $HOME/mount/store");
    stderr_of(&run(push(), vec![1; 100_000]), 0);
    let before = listed();
    let outcomes: Vec<_> = (12..=18).map(|step| run(push(), vec![1; step << 16])).collect();
    let after = listed();
    stderr_of(&world.shell("umount $HOME/mount").output().unwrap(), 0);
    let mut full = 0;
    for output in &outcomes {
        if output.status.code() != Some(0) {
            let stderr = stderr_of(output, 74);
            assert!(stderr.contains("No space left on device") && stderr.contains("nothing was published"), "{stderr}");
            full += 1;
        }
    }
    assert!(full >= 3, "{full} of the streams did not fit");
    let (before, after) = (String::from_utf8(before).unwrap(), String::from_utf8(after).unwrap());
    assert!(before.lines().all(|line| after.contains(line)), "{before}\n{after}");
    assert!(!after.contains(".tmp-"), "{after}");
    assert_eq!(after.lines().count(), before.lines().count() + outcomes.len() - full);
}

#[test]
fn f22_a_store_that_is_not_mounted_is_refused() {
    let world = World::new();
    let mount =
        || world.shell("mkdir -p $STORE && mount -t tmpfs -o size=1m,mode=700 none $STORE").output().unwrap().status.success();
    if !mount() {
        println!("skipped: this user may not mount a tmpfs");
        return;
    }
    let push = || world.shell("exec dr-push --to $STORE");
    stderr_of(&run(push(), "x"), 0);
    assert_eq!(stderr_of(&run(push(), "x"), 0), "");
    assert!(world.shell("umount $STORE").output().unwrap().status.success());
    let stderr = stderr_of(&run(push(), "x"), 78);
    assert!(stderr.contains("not mounted?"), "{stderr}");
    assert_eq!(fs::read_dir(world.path("store")).unwrap().count(), 0, "nothing was written into the mount point");
    fs::remove_dir(world.path("store")).unwrap();
    stderr_of(&run(push(), "x"), 78);
    stderr_of(&run(world.shell("exec dr-push --init --to $STORE"), ""), 0);
    assert_eq!(stderr_of(&run(push(), "x"), 0), "");
}

#[test]
fn f22_where_the_stores_are_forgotten_none_is_made_until_somebody_has_looked() {
    let world = World::new();
    let push = |store: &str| run(world.shell(&format!("exec dr-push --to ${{STORE}}{store}")), "x");
    stderr_of(&push(""), 0);
    let memory = world.path("state/stores.json");
    assert!(memory.exists());
    for rubbish in ["", "{", "[]"] {
        fs::write(&memory, rubbish).unwrap();
        // What is marked is a store.
        let stderr = stderr_of(&push(""), 0);
        assert!(stderr.contains("stores.json cannot be read any more (") && stderr.contains("it is passed over"), "{stderr}");
        fs::create_dir(world.path("store2")).unwrap();
        let stderr = stderr_of(&push("2"), 78);
        assert!(stderr.contains("nobody knows") && stderr.contains("dr-push --init"), "{stderr}");
        assert_eq!(fs::read_dir(world.path("store2")).unwrap().count(), 0, "nothing was written into what may be a mount point");
        fs::remove_dir(world.path("store2")).unwrap();
        stderr_of(&push("2"), 78);
        assert_eq!(fs::read_to_string(&memory).unwrap(), rubbish, "what it was to guard against is guarded against still");
    }
    stderr_of(&run(world.shell("exec dr-push --init --to ${STORE}2"), ""), 0);
    stderr_of(&push("2"), 0);
    fs::remove_file(&memory).unwrap();
    stderr_of(&push("3"), 0);
    assert_eq!(stderr_of(&push("3"), 0), "");
}

#[test]
fn a_store_that_was_removed_from_the_same_file_system_is_made_anew_with_a_warning() {
    let world = World::new();
    let push = || world.shell("exec dr-push --to $STORE");
    stderr_of(&run(push(), "x"), 0);
    fs::remove_dir_all(world.path("store")).unwrap();
    let stderr = stderr_of(&run(push(), "x"), 0);
    assert!(stderr.contains("warning") && stderr.contains("it is one now"), "{stderr}");
    assert_eq!(stderr_of(&run(push(), "x"), 0), "");
}

#[test]
fn f13_f14_bytes_are_durable_before_their_name_and_the_name_before_success() {
    let world = World::new();
    let line = "strace -f -y -s 300 -o $HOME/trace -e trace=fsync,linkat,exit_group dr-push --to $STORE";
    stderr_of(&run(world.shell("exec dr-push --init --to $STORE"), ""), 0);
    stderr_of(&run(world.shell(line), "PGDMP"), 0);
    let trace = fs::read_to_string(world.path("trace")).unwrap();
    let store = fs::canonicalize(world.path("store")).unwrap().display().to_string();
    let place = |what: &str| trace.lines().position(|line| line.contains(what)).unwrap_or_else(|| panic!("{what} in {trace}"));
    let fsync = |path: &str| {
        trace.lines().position(|line| line.contains("fsync(") && line.contains(&format!("<{path}>")) && line.ends_with("= 0"))
    };
    let link = place("linkat(");
    let bytes = trace.lines().position(|line| line.contains("fsync(") && line.contains("/main/dump/.tmp-")).unwrap();
    assert!(bytes < link, "{trace}");
    for directory in ["/main/dump", "/main", ""] {
        let synced = fsync(&format!("{store}{directory}")).unwrap_or_else(|| panic!("{directory} is synced: {trace}"));
        assert!(link < synced && synced < place("exit_group("), "{trace}");
    }
}

#[test]
fn f15_an_fsync_that_fails_once_is_fatal_and_never_repeated() {
    let world = World::new();
    stderr_of(&run(world.shell("exec dr-push --init --to $STORE"), ""), 0);
    let line = "exec strace -f -y -o $HOME/trace -e trace=fsync -e inject=fsync:error=EIO:when=1 dr-push --to $STORE";
    let stderr = stderr_of(&run(world.shell(line), "x"), 74);
    assert!(stderr.contains("Input/output error"), "{stderr}");
    assert_eq!(world.files(), Vec::<String>::new());
    let trace = fs::read_to_string(world.path("trace")).unwrap();
    assert_eq!(trace.matches("fsync(").count(), 1, "{trace}");
}

#[test]
fn f15_a_name_that_cannot_be_made_durable_is_taken_back() {
    let world = World::new();
    stderr_of(&run(world.shell("exec dr-push --init --to $STORE"), ""), 0);
    let line = "exec strace -f -o $HOME/trace -e trace=fsync -e inject=fsync:error=EIO:when=2 dr-push --to $STORE";
    stderr_of(&run(world.shell(line), "x"), 74);
    assert_eq!(world.files(), Vec::<String>::new());
}

#[test]
fn f05_a_signal_stops_within_five_seconds_and_leaves_nothing() {
    for signal in ["TERM", "INT", "HUP"] {
        let world = World::new();
        let mut push = world.push();
        let mut child = push.args(["--to", &world.store()]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(&vec![1; 1 << 20]).unwrap();
        until("a temporary file", || world.files().iter().any(|file| file.contains("/.tmp-")));
        let kill = world.shell(&format!("kill -{signal} {}", child.id())).status().unwrap();
        assert!(kill.success());
        let output = child.wait_with_output().unwrap();
        let stderr = stderr_of(&output, 75);
        assert!(stderr.contains(&format!("stopped by SIG{signal}")), "{stderr}");
        assert_eq!(world.files(), Vec::<String>::new());
        drop(input);
    }
}

#[test]
fn enough_stores_are_enough_and_the_receipt_names_the_one_that_failed() {
    let world = World::new();
    fs::write(world.path("file"), "").unwrap();
    let small = world.shell("mount -t tmpfs -o size=64k,mode=700 none $HOME/small 2>/dev/null || exit 1");
    fs::create_dir(world.path("small")).unwrap();
    if run(small, "").status.code() != Some(0) {
        println!("skipped: this user may not mount a tmpfs");
        return;
    }
    let push = |require: &str| world.shell(&format!("exec dr-push --to $HOME/small/store --to $STORE {require}"));
    let enough = run(push("--require 1"), vec![1; 1 << 20]);
    let too_few = run(push(""), vec![1; 1 << 20]);
    stderr_of(&world.shell("umount $HOME/small").output().unwrap(), 0);
    let stderr = stderr_of(&enough, 0);
    assert!(stderr.contains("small/store is left out: "), "{stderr}");
    let receipt = String::from_utf8(enough.stdout).unwrap();
    assert!(receipt.contains(r#"small/store","stored":false,"error":""#), "{receipt}");
    assert!(receipt.contains(r#""stored":true,"confirmed":"fsync"}],"required":1"#), "{receipt}");
    let stderr = stderr_of(&too_few, 74);
    assert!(stderr.contains("1 of 2 required stores are left"), "{stderr}");
    assert!(too_few.stdout.is_empty());
}

#[test]
fn a_store_that_cannot_be_opened_is_left_out_where_enough_others_are_left() {
    let world = World::new();
    let push = |flags: &str| world.shell(&format!("exec dr-push --to $HOME/not/mounted --to $STORE {flags}"));
    let too_few = run(push(""), "x");
    let stderr = stderr_of(&too_few, 78);
    assert!(stderr.contains("dr-push: error: 1 of 2 required stores are left: ") && stderr.contains("not mounted?"), "{stderr}");
    assert!(too_few.stdout.is_empty() && world.files().is_empty());
    let enough = run(push("--require 1"), "x");
    let stderr = stderr_of(&enough, 0);
    assert!(stderr.contains("dr-push: warning: ") && stderr.contains("/not/mounted is left out: "), "{stderr}");
    let receipt = String::from_utf8(enough.stdout).unwrap();
    assert!(receipt.contains(r#"/not/mounted","stored":false,"error":""#), "{receipt}");
    assert_eq!(world.object(), b"x");
}

#[test]
fn one_store_under_two_names_is_never_counted_twice() {
    let world = World::new();
    stderr_of(&run(world.shell("dr-push --init --to $STORE && ln -s $STORE $HOME/link"), ""), 0);
    for other in ["$STORE/", "$HOME/../${HOME##*/}/store", "$HOME/link"] {
        let stderr = stderr_of(&run(world.shell(&format!("exec dr-push --to $STORE --to {other} --require 1")), "x"), 64);
        assert!(stderr.contains("is the same store as --to "), "{other}: {stderr}");
    }
    let s3 = "AWS_REGION=x exec dr-push --to s3://bucket/p --to s3://bucket/p/";
    let stderr = stderr_of(&run(world.shell(s3), "x"), 64);
    assert!(stderr.contains("--to s3://bucket/p/ is the same store as --to s3://bucket/p\n"), "{stderr}");
    assert_eq!(world.files(), Vec::<String>::new());
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    let world = World::new();
    for (flags, why) in [
        ("--to $STORE --to $STORE", "is given twice"),
        ("--to $STORE --require 2", "--require 2 with 1 stores"),
        ("--to $STORE --lock-until +30d", "no store that could lock"),
        ("--to s3://b --lock-until 2001-01-01T00:00:00Z", "in the past"),
        ("--to s3://b/../c", "the prefix has"),
        ("--to $STORE --cluster a/b", "letters, digits"),
        ("--to $STORE --tag x", "KEY=VALUE"),
        ("", "--to"),
    ] {
        let stderr = stderr_of(&run(world.shell(&format!("exec dr-push {flags}")), "x"), 64);
        assert!(stderr.contains(why), "{flags}: {stderr}");
        assert_eq!(stderr.lines().count(), 2, "{stderr}");
    }
    assert_eq!(world.files(), Vec::<String>::new());
}

/// What a producer leaves in a receipt file, with and without its end.
const START: &str = r#"{"type":"start","tool":"dr-dump","started_at":"2026-01-25T02:00:00Z","kind":"files","suffix":"tar.zst"}"#;
const AGE: &str = r#"{"type":"start","tool":"dr-encrypt","started_at":"2026-01-25T02:00:01Z","suffix":"age"}"#;

fn ended(tool: &str, out: &str) -> String {
    let sha256 = dr_pipe::Sha256::of(out.as_bytes());
    format!(
        r#"{{"type":"receipt","tool":"{tool}","version":"0","started_at":"2026-01-25T02:00:00Z","finished_at":"2026-01-25T02:00:02Z","out":{{"bytes":{},"sha256":"{sha256}"}}}}"#,
        out.len()
    )
}

#[test]
fn the_receipt_file_names_the_object_and_gets_our_receipt() {
    let world = World::new();
    fs::write(world.path("receipts"), format!("{START}\n{AGE}\n{}\n{}\n", ended("dr-dump", "plain"), ended("dr-encrypt", "x")))
        .unwrap();
    let output = run(world.shell("exec dr-push --to $STORE --receipt $HOME/receipts"), "x");
    stderr_of(&output, 0);
    assert!(output.stdout.is_empty(), "stdout stays empty where a receipt file is kept");
    assert!(
        world.files()[0].starts_with("main/files/main_files_") && world.files()[0].ends_with(".tar.zst.age 600"),
        "{:?}",
        world.files()
    );
    let receipts = fs::read_to_string(world.path("receipts")).unwrap();
    let ours: Vec<_> = receipts.lines().skip(4).collect();
    assert!(ours[0].starts_with(r#"{"type":"start","tool":"dr-push""#), "{ours:?}");
    assert!(ours[1].contains(r#""tool":"dr-push""#) && ours[1].contains(r#""kind":"files""#), "{ours:?}");
    assert_eq!(ours.len(), 2);
}

#[test]
fn f02_a_stream_that_never_came_leaves_its_trace_behind_an_earlier_run() {
    let world = World::new();
    fs::write(world.path("receipts"), format!("{START}\n{}\n", ended("dr-dump", "x"))).unwrap();
    stderr_of(&run(world.shell("exec dr-push --to $STORE --receipt $HOME/receipts"), ""), 66);
    let receipts = fs::read_to_string(world.path("receipts")).unwrap();
    let last = receipts.lines().next_back().unwrap();
    assert!(last.starts_with(r#"{"type":"start","tool":"dr-push""#), "{receipts}");
}

#[test]
fn f02_a_stage_that_died_or_wrote_something_else_is_noticed_and_nothing_is_stored() {
    for (ends, code, why) in [
        (ended("dr-dump", "x"), 66, "dr-encrypt has left no receipt"),
        (format!("{}\n{}", ended("dr-dump", "x"), ended("dr-encrypt", "xyz")), 65, "dr-encrypt wrote 3 bytes"),
    ] {
        let world = World::new();
        fs::write(world.path("receipts"), format!("{START}\n{AGE}\n{ends}\n")).unwrap();
        let stderr = stderr_of(&run(world.shell("exec dr-push --to $STORE --receipt $HOME/receipts"), "x"), code);
        assert!(stderr.contains(why), "{stderr}");
        assert_eq!(world.files(), Vec::<String>::new());
        assert!(!fs::read_to_string(world.path("receipts")).unwrap().contains("pushed"));
    }
}

#[test]
fn f11_a_receipt_that_cannot_be_written_is_an_error() {
    let world = World::new();
    stderr_of(&run(world.shell("exec dr-push --to $STORE > /dev/full"), "x"), 74);
}
