//! What dr-encrypt does when the pipe around it fails. Names are those of the faults they are about.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use dr_pipe::Sha256;
use dr_pipe::record::{self, Extent, Kind, Receipt, Record, Start};
use rustix::process::{Pid, Signal, kill_process};

/// From age(1); nobody needs its identity here.
const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

fn dr_encrypt() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dr-encrypt"));
    command.env_clear().args(["-r", RECIPIENT, "--single-recipient"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end with `input`, which it may refuse to read.
fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    output
}

/// The code, and that stderr has exactly the two lines.
fn code(output: &Output) -> i32 {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<_> = said.lines().collect();
    assert!(
        matches!(lines[..], [error, hint] if error.starts_with("dr-encrypt: error: ") && hint.starts_with("dr-encrypt: hint: ")),
        "{said}"
    );
    output.status.code().unwrap()
}

fn receipts(path: &Path) -> Vec<Record> {
    record::read(&mut std::io::BufReader::new(File::open(path).unwrap())).unwrap()
}

/// A receipt file with what a producer leaves there; its receipt only if `wrote` says what of.
fn receipt_file(directory: &Path, wrote: Option<&[u8]>) -> PathBuf {
    let path = directory.join("receipts");
    let mut file = File::create(&path).unwrap();
    let started_at = chrono::Utc::now();
    let start = Start { tool: "dr-dump".into(), started_at, kind: Some(Kind::Dump), suffix: "tar.zst".into() };
    record::write(&mut file, &Record::Start(start)).unwrap();
    if let Some(bytes) = wrote {
        let receipt = Receipt {
            tool: "dr-dump".into(),
            version: "0".into(),
            started_at,
            finished_at: started_at,
            input: None,
            output: Some(Extent { bytes: bytes.len() as u64, sha256: Sha256::of(bytes) }),
            produced: None,
            encrypted: None,
            pushed: None,
        };
        record::write(&mut file, &Record::Receipt(Box::new(receipt))).unwrap();
    }
    path
}

/// Starts with more input than fits any buffer between, and its output read up to the first byte.
fn under_way(receipt: Option<&Path>) -> Child {
    let mut command = dr_encrypt();
    if let Some(path) = receipt {
        command.arg("--receipt").arg(path);
    }
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(&[7; 1 << 20]).unwrap_or_default();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    child
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn f02_a_producer_without_receipt_is_named_and_the_stream_gets_no_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = receipt_file(directory.path(), None);
    let output = run(dr_encrypt().arg("--receipt").arg(&path).stdout(Stdio::piped()), &[1; 100_000]);
    assert_eq!(code(&output), 66);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with("dr-encrypt: error: dr-dump has left no receipt"), "{said}");
    assert!(matches!(receipts(&path)[..], [Record::Start(_), Record::Start(_)]), "no receipt of ours");
    assert!(output.stdout.len() < 100_000, "the last chunk is held back");
}

#[test]
fn f02_an_input_that_never_came_leaves_its_trace_behind_an_earlier_run() {
    let directory = tempfile::tempdir().unwrap();
    let path = receipt_file(directory.path(), Some(b"of an earlier run"));
    let output = run(dr_encrypt().arg("--receipt").arg(&path).stdout(Stdio::piped()), b"");
    assert_eq!(code(&output), 66);
    assert!(output.stdout.is_empty());
    let all = receipts(&path);
    assert!(matches!(&all[..], [_, _, Record::Start(start)] if start.tool == "dr-encrypt"), "{all:?}");
}

#[test]
fn an_argument_that_is_no_text_is_a_usage_error() {
    let argument = std::ffi::OsStr::from_bytes(b"--bad\xff");
    assert_eq!(code(&run(dr_encrypt().arg(argument).stdout(Stdio::piped()), b"x")), 64);
}

#[test]
fn f17_completions_that_cannot_be_written_are_an_error() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dr-encrypt"));
    command.args(["--completions", "bash"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    assert_eq!(code(&run(command.stdout(File::create("/dev/full").unwrap()), b"")), 74);
}

#[test]
fn f02_a_producer_that_wrote_something_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = receipt_file(directory.path(), Some(b"more than arrived"));
    let output = run(dr_encrypt().arg("--receipt").arg(&path).stdout(Stdio::piped()), b"more than");
    assert_eq!(code(&output), 65);
    assert_eq!(receipts(&path).len(), 3);
}

#[test]
fn a_finished_producer_gets_a_receipt_that_fits_both_ends() {
    let directory = tempfile::tempdir().unwrap();
    let plain = [5; 300_000];
    let path = receipt_file(directory.path(), Some(&plain));
    let output = run(dr_encrypt().env("DR_RECEIPT", &path).stdout(Stdio::piped()), &plain);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all = receipts(&path);
    let [_, _, Record::Start(start), Record::Receipt(receipt)] = &all[..] else { panic!("{all:?}") };
    assert_eq!((start.suffix.as_str(), start.kind), ("age", None));
    assert_eq!(receipt.input, Some(Extent { bytes: plain.len() as u64, sha256: Sha256::of(&plain) }));
    assert_eq!(receipt.output, Some(Extent { bytes: output.stdout.len() as u64, sha256: Sha256::of(&output.stdout) }));
    assert_eq!(receipt.encrypted.as_ref().unwrap().recipients, [RECIPIENT]);
}

#[test]
fn f01_f03_a_killed_or_unread_encryption_has_announced_itself_but_leaves_no_receipt() {
    let directory = tempfile::tempdir().unwrap();
    let path = receipt_file(directory.path(), Some(&[7; 1 << 20]));
    let mut child = under_way(Some(&path));
    // Its input has ended; what it still has to write does not fit the pipe.
    drop(child.stdin.take());
    let before = receipts(&path);
    assert!(matches!(before.last(), Some(Record::Start(start)) if start.tool == "dr-encrypt"), "announced before the first byte");
    signal(&child, Signal::KILL);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert_eq!(receipts(&path), before);
}

#[test]
fn f03_a_reader_that_goes_away_ends_it_with_74() {
    for unread in ["nothing", "a byte"] {
        let mut child = if unread == "a byte" { under_way(None) } else { dr_encrypt().stdout(Stdio::piped()).spawn().unwrap() };
        drop(child.stdout.take());
        child.stdin.as_mut().unwrap().write_all(&[7; 1 << 20]).unwrap_or_default();
        let output = child.wait_with_output().unwrap();
        assert_eq!(code(&output), 74, "{unread}");
    }
}

#[test]
fn f04_an_empty_input_is_66_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = receipt_file(directory.path(), Some(b""));
    let output = run(dr_encrypt().env("DR_RECEIPT", &path).stdout(Stdio::piped()), b"");
    assert_eq!(code(&output), 66);
    assert!(output.stdout.is_empty());
    assert_eq!(receipts(&path).len(), 3, "a start, and no receipt");
    let null = dr_encrypt().stdin(Stdio::null()).output().unwrap();
    assert_eq!(code(&null), 66);
}

#[test]
fn f05_a_signal_that_asks_to_stop_ends_it_with_75_and_no_receipt() {
    let directory = tempfile::tempdir().unwrap();
    for asked in [Signal::TERM, Signal::INT, Signal::HUP] {
        let path = receipt_file(directory.path(), None);
        let mut child = under_way(Some(&path));
        // Its input does not end before it does.
        let input = child.stdin.take();
        signal(&child, asked);
        let output = child.wait_with_output().unwrap();
        drop(input);
        assert_eq!(code(&output), 75, "{asked:?}");
        assert_eq!(receipts(&path).len(), 2);
    }
}

#[test]
fn f11_a_full_or_closed_standard_output_is_74() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    assert_eq!(code(&run(dr_encrypt().stdout(full), b"text")), 74);

    let line = format!("{} -r {RECIPIENT} --single-recipient >&-", env!("CARGO_BIN_EXE_dr-encrypt"));
    let mut closed = Command::new("sh");
    closed.env_clear().args(["-c", &line]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    assert_eq!(code(&run(&mut closed, b"text")), 74);
}

#[test]
fn f11_a_closed_or_full_standard_error_changes_nothing() {
    for redirect in ["2>&-", "2>/dev/full"] {
        let line = format!("{} -r {RECIPIENT} {redirect}", env!("CARGO_BIN_EXE_dr-encrypt"));
        let mut command = Command::new("sh");
        command.env_clear().args(["-c", &line]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = run(&mut command, b"text");
        assert!(output.status.success() && output.stdout.starts_with(b"age-encryption.org/v1\n"), "{redirect}");
    }
}

#[test]
fn f10_too_few_descriptors_for_signals_are_no_bug() {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=socketpair", "-e", "inject=socketpair:error=EMFILE"]);
    command.arg(env!("CARGO_BIN_EXE_dr-encrypt")).args(["-r", RECIPIENT]).stdin(Stdio::piped()).stdout(Stdio::null());
    let output = run(command.stderr(Stdio::piped()), b"text");
    assert_eq!(code(&output), 74);
    assert!(String::from_utf8_lossy(&output.stderr).contains("installing signal handlers"));
}

#[test]
fn a_regular_file_as_output_is_whole_before_the_receipt() {
    let directory = tempfile::tempdir().unwrap();
    let path = receipt_file(directory.path(), Some(b"text"));
    let out = directory.path().join("out.age");
    let output = run(dr_encrypt().env("DR_RECEIPT", &path).stdout(File::create(&out).unwrap()), b"text");
    assert!(output.status.success());
    let written = std::fs::read(&out).unwrap();
    let last = receipts(&path).pop();
    assert!(matches!(last, Some(Record::Receipt(receipt)) if receipt.output.unwrap().sha256 == Sha256::of(&written)));
}

#[test]
fn f74_a_recipient_whose_key_no_drill_has_proved_is_warned_of() {
    let state = tempfile::tempdir().unwrap();
    let encrypt = |age: &[&str]| {
        let output = run(dr_encrypt().args(age).env("DR_STATE", state.path()).stdout(Stdio::piped()), b"x");
        assert!(output.status.success() && !output.stdout.is_empty(), "it only warns");
        String::from_utf8(output.stderr).unwrap()
    };
    let seen = |ago: chrono::TimeDelta, key: &str| {
        let at = (chrono::Utc::now() - ago).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        std::fs::write(state.path().join("drills.json"), format!("{{\"{key}\":\"{at}\"}}")).unwrap();
    };
    let within = ["--drilled-within", "30d"];
    assert_eq!(encrypt(&[]), "", "nobody has asked");
    let unknown = format!("dr-encrypt: warning: recipient {RECIPIENT}: no drill is known to have restored what it can decrypt; ");
    assert!(encrypt(&within).starts_with(&unknown), "{}", encrypt(&within));
    seen(chrono::TimeDelta::days(1), "age1another");
    assert!(encrypt(&within).starts_with(&unknown), "{}", encrypt(&within));
    seen(chrono::TimeDelta::days(29), RECIPIENT);
    assert_eq!(encrypt(&within), "");
    seen(chrono::TimeDelta::days(31), RECIPIENT);
    assert!(encrypt(&within).contains("the last drill that proved it ended at 20"), "{}", encrypt(&within));
    seen(chrono::TimeDelta::days(-1), RECIPIENT);
    assert!(encrypt(&within).contains("ended in the future"), "{}", encrypt(&within));
    std::fs::write(state.path().join("drills.json"), "damaged").unwrap();
    assert!(encrypt(&within).starts_with(&unknown), "{}", encrypt(&within));
}
