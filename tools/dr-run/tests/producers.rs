//! For which commands does dr-run vouch?
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use dr_pipe::Sha256;
use dr_pipe::record::{self, Kind, Receipt, Record};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

fn dr_run(receipt: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dr-run"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("DR_RECEIPT", receipt);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a shell's command under dr-run.
fn shell(receipt: &Path, line: &str) -> Output {
    dr_run(receipt).args(["--", "sh", "-c", line]).output().unwrap()
}

/// The code, and the error line; stderr must be exactly the two lines.
fn failure(output: &Output) -> (i32, String) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<_> = said.lines().collect();
    let [error, hint] = lines[..] else { panic!("{said}") };
    assert!(hint.starts_with("dr-run: hint: "), "{said}");
    (output.status.code().unwrap(), error.strip_prefix("dr-run: error: ").unwrap().into())
}

fn records(path: &Path) -> Vec<Record> {
    record::read(&mut BufReader::new(File::open(path).unwrap())).unwrap()
}

/// The one receipt of a run that was vouched for.
fn receipt(path: &Path) -> Receipt {
    match records(path).pop() {
        Some(Record::Receipt(receipt)) => *receipt,
        other => panic!("{other:?}"),
    }
}

fn assert_only_announced(path: &Path) {
    assert!(matches!(records(path)[..], [Record::Start(_)]), "{:?}", records(path));
}

#[test]
fn a_command_that_exits_0_is_vouched_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("receipts");
    let output = dr_run(&path).args(["--database", "shop", "--", "sh", "-c", "printf 'one two'"]).output().unwrap();
    assert!(output.status.success() && output.stdout == b"one two" && output.stderr.is_empty());
    let receipt = receipt(&path);
    let (out, produced) = (receipt.output.unwrap(), receipt.produced.unwrap());
    assert_eq!((out.bytes, out.sha256), (7, Sha256::of(b"one two")));
    assert_eq!((produced.kind, produced.suffix.as_str(), produced.database.as_deref()), (Kind::Dump, "bin", Some("shop")));
    assert_eq!(produced.command.unwrap(), ["sh", "-c", "printf 'one two'"]);
    assert_eq!(produced.taken_at, receipt.started_at);
    assert!(receipt.input.is_none());
    let [Record::Start(start), _] = &records(&path)[..] else { panic!() };
    assert_eq!((start.kind, start.suffix.as_str()), (Some(Kind::Dump), "bin"));
}

#[test]
fn a_large_output_passes_through_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("receipts");
    let output = dr_run(&path).args(["--kind", "files", "--suffix", "tar.gz", "--", "seq", "1", "500000"]).output().unwrap();
    assert!(output.status.success());
    let receipt = receipt(&path);
    let produced = receipt.produced.unwrap();
    assert_eq!((produced.kind, produced.suffix.as_str()), (Kind::Files, "tar.gz"));
    assert_eq!(receipt.output.unwrap().sha256, Sha256::of(&output.stdout));
    assert!(output.stdout.ends_with(b"\n500000\n"));
}

#[test]
fn f02_a_command_that_fails_after_its_last_byte_is_not_vouched_for() {
    let directory = tempfile::tempdir().unwrap();
    for (number, (line, error)) in (0..).zip([
        ("printf all; exit 3", "sh exited with 3"),
        ("printf half; kill -KILL $$", "sh was killed by SIGKILL"),
        ("printf half; kill -SEGV $$", "sh was killed by SIGSEGV"),
        ("exit 1", "sh exited with 1"),
    ]) {
        let path = directory.path().join(format!("{number}"));
        assert_eq!(failure(&shell(&path, line)), (66, error.into()), "{line}");
        assert_only_announced(&path);
    }
}

#[test]
fn f04_a_command_that_writes_nothing_is_not_vouched_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("receipts");
    assert_eq!(failure(&shell(&path, "exit 0")), (66, "sh wrote nothing".into()));
    assert_only_announced(&path);
}

#[test]
fn standard_input_and_error_are_the_commands() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("receipts");
    let given = directory.path().join("given");
    std::fs::write(&given, "from outside").unwrap();
    let mut command = dr_run(&path);
    let output = command.stdin(File::open(&given).unwrap()).args(["--", "sh", "-c", "cat; echo aside >&2"]).output().unwrap();
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"from outside"[..], &b"aside\n"[..]));
}

#[test]
fn f03_a_reader_that_goes_away_ends_the_command() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("receipts");
    let mut child = dr_run(&path).args(["--", "sh", "-c", "echo $$; while :; do echo more; done"]).spawn().unwrap();
    let pid = first_number(child.stdout.as_mut().unwrap());
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(failure(&output).0, 74);
    assert!(test_kill_process(pid).is_err(), "the command is gone");
    assert_only_announced(&path);
}

#[test]
fn f05_a_signal_that_asks_to_stop_ends_the_command_too() {
    let directory = tempfile::tempdir().unwrap();
    for (asked, stubborn) in [(Signal::TERM, false), (Signal::INT, false), (Signal::HUP, false), (Signal::TERM, true)] {
        let path = directory.path().join(format!("{asked:?}{stubborn}"));
        let trap = if stubborn { "trap '' TERM;" } else { "" };
        // Written in one piece that is large enough to be passed on before the end.
        let line = format!("{trap} echo $$; seq 1 100000; while :; do read nothing || exec sleep 1000; done");
        let mut child = dr_run(&path).args(["--", "sh", "-c", &line]).spawn().unwrap();
        let pid = first_number(child.stdout.as_mut().unwrap());
        kill_process(Pid::from_child(&child), asked).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(failure(&output).0, 75, "{asked:?}");
        assert_only_announced(&path);
        if !stubborn {
            assert!(gone(pid), "{asked:?}: the command is gone");
        }
    }
}

/// Reads the process number that the command writes first.
fn first_number(output: &mut impl Read) -> Pid {
    let mut digits = String::new();
    let mut byte = [0];
    while output.read_exact(&mut byte).is_ok() && byte[0] != b'\n' {
        digits.push(byte[0].into());
    }
    Pid::from_raw(digits.parse().unwrap()).unwrap()
}

/// Whether a process has ended; one that nobody reaps (its parent has ended first) is a zombie for a moment.
fn gone(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

#[test]
fn f11_a_full_or_closed_standard_output_is_74() {
    let directory = tempfile::tempdir().unwrap();
    for redirect in [">/dev/full", ">&-"] {
        let path = directory.path().join(redirect.len().to_string());
        let line = format!("{} -- echo text {redirect}", env!("CARGO_BIN_EXE_dr-run"));
        let mut command = Command::new("sh");
        command.env("DR_RECEIPT", &path).args(["-c", &line]);
        assert_eq!(failure(&command.output().unwrap()).0, 74, "{redirect}");
    }
}

#[test]
fn f96_a_password_on_the_command_line_is_not_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("receipts");
    let secrets = ["postgresql://app:canary@db/shop", "host=db password=canary", "--token", "canary"];
    let output = dr_run(&path).args(["--", "echo"]).args(secrets).output().unwrap();
    assert!(output.status.success());
    assert!(!std::fs::read_to_string(&path).unwrap().contains("canary"));
}

#[test]
fn a_command_that_leaves_somebody_behind_does_not_hold_up_the_pipe() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("receipts");
    // The one left behind keeps every descriptor but standard output: a copy of ours would keep `output()` waiting.
    let line = "sleep 1000 >/dev/null 2>&1 & echo $!";
    let output = shell(&path, line);
    assert!(output.status.success());
    let left = first_number(&mut &output.stdout[..]);
    kill_process(left, Signal::KILL).unwrap();
}

#[test]
fn f23_a_file_that_its_file_system_cannot_sync_is_not_vouched_for_and_a_pipe_needs_no_sync() {
    let directory = tempfile::tempdir().unwrap();
    let line = "strace -f -qq -o trace -e trace=fsync -e inject=fsync:error=EINVAL:when=2 \"$TOOL\" -- echo x";
    for (to, code) in [("> file", 74), ("| cat", 0)] {
        let mut command = Command::new("bash");
        command.args(["-o", "pipefail", "-c", &format!("{line} {to}")]).current_dir(directory.path());
        command.env("TOOL", env!("CARGO_BIN_EXE_dr-run")).env("DR_RECEIPT", format!("receipts{code}"));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{to}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_only_announced(&directory.path().join("receipts74"));
}
