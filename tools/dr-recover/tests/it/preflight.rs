//! What is told before, and after, anything is written.

use std::process::{Command, Stdio};

use dr_testing::postgres::bin_dir;
use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{Recovered, Source, run, wait_for};

#[test]
fn a_preflight_refuses_what_the_real_run_would() {
    let source = Source::start(15);
    source.base();
    source.row(1);
    source.archived();
    run(&mut source.recover("x", &["--preflight"])).ends(0);
    assert!(!source.path("x").exists() && source.shell("ls -A | grep dr-recover. || true").is_empty());
    if rustix::process::geteuid().is_root() {
        source.shell("mkdir -m 500 shut");
        let ran = run(&mut source.recover("shut/x", &["--preflight"]));
        assert!(ran.ends(77).contains("shut: ") && ran.stderr.contains("nothing was written"), "{}", ran.stderr);
        let mut command = Command::new(source.path("bin/dr-recover"));
        let args = ["--preflight", "--from", "store", "--cluster", "main", "-i", "identity", "-p", "main.pub", "--into", "x"];
        let ran = run(command.args(args).env("DR_STATE", source.path("roots")).current_dir(source.place.path()));
        assert!(ran.ends(78).contains("does not run as root"), "{}", ran.stderr);
    }
    let ran = run(&mut source.recover("x", &["-i", "nowhere"]));
    assert!(ran.ends(66).contains("name the file of the identity with -i FILE"), "{}", ran.stderr);
    let ran = run(&mut source.recover("x", &["--target-time", "2999-01-01T00:00:00Z"]));
    assert!(ran.ends(66).contains("hint: without --target-time it goes to the end of the WAL"), "{}", ran.stderr);
    // Once it is restored, the server is what goes on.
    run(&mut source.recover("x", &[])).ends(0);
    let ran = run(&mut source.recover("x", &[]));
    assert!(ran.ends(73).contains(&format!("hint: pg_ctl start -D {}", source.path("x").display())), "{}", ran.stderr);
    // Another kind of backup.
    let sealed = source.shell(
        "export DR_RECEIPT=$PWD/receipt; : > receipt; dr-run --kind dump --database shop -- echo rows | dr-encrypt -R recipients | \
         dr-push --to store --cluster main; dr-seal --cluster main -s main.key < receipt",
    );
    let record: serde_json::Value = serde_json::from_str(sealed.lines().next().unwrap()).unwrap();
    let dump = record["name"].as_str().unwrap();
    let ran = run(&mut source.recover("y", &["--backup", dump]));
    assert!(ran.ends(66).contains(&format!("hint: dr-restore {dump} restores it")), "{}", ran.stderr);
}

#[test]
fn programs_of_another_version_are_refused_before_anything_is_written() {
    let source = Source::start(15);
    source.base();
    source.row(1);
    source.archived();
    let other = bin_dir(18).unwrap().display().to_string();
    for more in [&["--preflight"][..], &["--preflight", "--start"], &[]] {
        let ran = run(source.recover("x", &["--bindir", &other]).args(more));
        assert!(ran.ends(78).contains("the backup is of PostgreSQL 15"), "{}", ran.stderr);
    }
    let ours = source.server.bin_dir().display().to_string();
    let ran = run(&mut source.recover("x", &["--preflight", "--start", "--wait", "--bindir", &ours]));
    assert_eq!(ran.record()["type"], "plan");
    // On a terminal.
    let told = source.shell(
        "script -qec 'dr-recover --from store --cluster main -i identity -p main.pub --into x --preflight' /dev/null < /dev/null",
    );
    assert!(told.contains("possible: main_base_") && told.contains("; latest_at, the last commit"), "{told}");
    assert!(!source.path("x").exists());
}

#[test]
fn a_signal_while_the_server_replays_leaves_it_alone_and_says_so() {
    let source = Source::start(15);
    source.base();
    source.row(1);
    source.archived();
    let mut child = source
        .recover("x", &["--start", "--wait", "--set", "recovery_end_command=sleep 5"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the server", || source.path("x/postmaster.pid").exists());
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(75), "{said}");
    assert!(said.contains("hint: the server goes on by itself"), "{said}");
    let recovered = Recovered { bin: source.server.bin_dir(), data: source.path("x") };
    wait_for("its end", || {
        std::fs::read_to_string(source.path("x/dr-recover.log")).unwrap().contains("ready to accept connections")
    });
    assert_eq!(recovered.rows(), "1");
}

#[test]
fn f47_a_segment_that_is_cut_off_or_that_nobody_trusted_has_signed_is_found_before_anything_is_written() {
    let source = Source::start(18);
    source.base();
    source.row(1);
    let before = source.now();
    source.row(2);
    source.archived();
    source.row(3);
    let segment = source.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
    source.archived();
    for row in 4..9 {
        source.row(row);
        source.archived();
    }
    let last = source.shell("cd store/main/wal/00000001 && ls *.zst.age | grep -v history | tail -n 1").trim()[..24].to_owned();
    source.server.stop(false);
    let folder = "cd store/main/wal/00000001 && chmod u+w *";
    let spoilt = |script: &str, segment: &str, code: i32| {
        source.shell(&format!("cp -a store kept && {folder} && {script}"));
        let ran = run(&mut source.recover("x", &[]));
        let said = ran.ends(code).to_owned();
        assert!(said.contains(&format!("{segment} is there, and cannot be used: ")), "{said}");
        assert!(said.contains("; main_base_") && said.contains(" reaches from "), "{said}");
        assert!(!source.path("x").exists());
        // What comes before is not touched by it.
        let (recovered, _) = source.arrive("y", &["--target-time", &before]);
        assert_eq!(recovered.rows(), "1");
        drop(recovered);
        // Nor is what is read ahead.
        let (recovered, record) = source.arrive("z", &["--target", "immediate"]);
        assert_eq!(record["state"], "promoted");
        drop(recovered);
        source.shell("rm -r y z");
        source.shell("chmod -R u+w store && rm -r store && mv kept store");
    };
    for segment in [&segment, &last] {
        spoilt(&format!("truncate -s -1 {segment}.zst.age"), segment, 65);
        spoilt(&format!("truncate -s 0 {segment}.zst.age"), segment, 65);
        spoilt(&format!("sed -i 's/\"bytes\":1/\"bytes\":2/' {segment}.*.claim"), segment, 81);
    }
}
