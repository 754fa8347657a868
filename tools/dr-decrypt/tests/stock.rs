//! What stock age writes, dr-decrypt reads; what is not such a stream, it refuses.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn run(program: &str, args: &[&str], stdin: &[u8]) -> Vec<u8> {
    let output = assert_cmd::Command::new(program).args(args).write_stdin(stdin).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn dr_decrypt(identities: &[&Path], stream: &[u8]) -> Output {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dr-decrypt"));
    command.env_clear();
    for identity in identities {
        command.arg("-i").arg(identity);
    }
    command.write_stdin(stream).output().unwrap()
}

/// The code, and that stderr has exactly the two lines.
fn code(output: &Output) -> i32 {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<_> = said.lines().collect();
    assert!(
        matches!(lines[..], [error, hint] if error.starts_with("dr-decrypt: error: ") && hint.starts_with("dr-decrypt: hint: ")),
        "{said}"
    );
    output.status.code().unwrap()
}

/// An age identity, and its recipient.
fn age_key(directory: &Path, name: &str) -> (PathBuf, String) {
    let path = directory.join(name);
    assert!(Command::new("age-keygen").arg("-o").arg(&path).output().unwrap().status.success());
    let recipient = run("age-keygen", &["-y", path.to_str().unwrap()], b"");
    (path, String::from_utf8(recipient).unwrap().trim().into())
}

/// An ssh private key, and its public key.
fn ssh_key(directory: &Path, name: &str, kind: &str, passphrase: &str) -> (PathBuf, String) {
    let path = directory.join(name);
    let made = Command::new("ssh-keygen").args(["-q", "-N", passphrase, "-t", kind, "-f"]).arg(&path).output();
    assert!(made.unwrap().status.success());
    (path.clone(), std::fs::read_to_string(path.with_extension("pub")).unwrap().trim().into())
}

fn sample(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

#[test]
fn streams_of_stock_age_of_any_length_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let (identity, recipient) = age_key(directory.path(), "key");
    for len in [0, 1, 65_535, 65_536, 65_537, 262_144, 1_000_000] {
        for arguments in [&["-r", &recipient][..], &["-a", "-r", &recipient]] {
            let output = dr_decrypt(&[&identity], &run("age", arguments, &sample(len)));
            assert!(output.status.success() && output.stdout == sample(len), "{len} bytes, age {arguments:?}");
        }
    }
}

#[test]
fn each_kind_of_key_opens_what_was_encrypted_to_several() {
    let directory = tempfile::tempdir().unwrap();
    let keys = [
        age_key(directory.path(), "one"),
        ssh_key(directory.path(), "ed25519", "ed25519", ""),
        ssh_key(directory.path(), "rsa", "rsa", ""),
    ];
    let arguments: Vec<_> = keys.iter().flat_map(|(_, public)| ["-r", public]).collect();
    let stream = run("age", &arguments, &sample(70_000));
    for (identity, public) in &keys {
        let output = dr_decrypt(&[identity], &stream);
        assert!(
            output.status.success() && output.stdout == sample(70_000),
            "{public}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn f73_a_foreign_key_is_refused_while_the_body_is_still_to_come() {
    let directory = tempfile::tempdir().unwrap();
    let ((_, ours), (_, ssh), (theirs, _)) =
        (age_key(directory.path(), "ours"), ssh_key(directory.path(), "ssh", "ed25519", ""), age_key(directory.path(), "theirs"));
    let stream = run("age", &["-r", &ours, "-r", &ssh], &sample(3_000_000));
    let mut child = Command::new(env!("CARGO_BIN_EXE_dr-decrypt"))
        .env_clear()
        .arg("-i")
        .arg(&theirs)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Standard input stays open: whoever waited for its end would wait for good.
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, &stream[..300_000]).unwrap_or_default();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(code(&output), 77);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("it is encrypted to 1 age key (X25519), ssh-ed25519 "), "{said}");
}

#[test]
fn one_of_several_identities_is_enough() {
    let directory = tempfile::tempdir().unwrap();
    let ((ours, recipient), (other, _)) = (age_key(directory.path(), "ours"), age_key(directory.path(), "other"));
    let stream = run("age", &["-r", &recipient], b"text");
    assert_eq!(dr_decrypt(&[&other, &ours], &stream).stdout, b"text");
    assert_eq!(code(&dr_decrypt(&[&other], &stream)), 77);
}

#[test]
fn an_ssh_key_under_a_passphrase_is_refused_with_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let (identity, public) = ssh_key(directory.path(), "ssh", "ed25519", "a passphrase");
    let output = dr_decrypt(&[&identity], &run("age", &["-r", &public], b"text"));
    assert_eq!(code(&output), 77);
    assert!(String::from_utf8_lossy(&output.stderr).contains("ssh-keygen -p"));
}

#[test]
fn a_stream_under_a_passphrase_is_refused_by_its_kind() {
    let directory = tempfile::tempdir().unwrap();
    let (identity, _) = age_key(directory.path(), "key");
    // As `age -p` writes it; stock age asks a terminal, so the header is written out here.
    let stream = "age-encryption.org/v1\n-> scrypt bBjlhJVYZeE4aqUdmtRHfw 18\nZV/AhotwSGqaPCU43cepl4WYUouAa17a3xpu4G2yi5k\n\
                  --- fgMiVLJHMlg9fW7CVG/hPS5EAU4Zeg19LyCP7SoH5nA\n0123456789abcdef";
    let output = dr_decrypt(&[&identity], stream.as_bytes());
    assert_eq!(code(&output), 77);
    assert!(String::from_utf8_lossy(&output.stderr).contains("encrypted to a passphrase (scrypt)"));
}

#[test]
fn damage_is_65_and_only_whole_true_chunks_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let (identity, recipient) = age_key(directory.path(), "key");
    let plain = sample(3 * 65_536 + 100);
    let stream = run("age", &["-r", &recipient], &plain);
    for (place, chunks) in [(stream.len() - 1, 3), (stream.len() - 200, 2), (stream.len() - 3 * 65_552, 0)] {
        let mut flipped = stream.clone();
        flipped[place] ^= 4;
        let output = dr_decrypt(&[&identity], &flipped);
        assert_eq!(code(&output), 65, "flip at {place}");
        assert!(output.stdout == plain[..chunks * 65_536], "flip at {place}: {} bytes", output.stdout.len());
        let output = dr_decrypt(&[&identity], &stream[..place]);
        assert_eq!(code(&output), 65, "cut at {place}");
        assert!(plain.starts_with(&output.stdout) && output.stdout.len().is_multiple_of(65_536));
    }
    assert_eq!(code(&dr_decrypt(&[&identity], &[&stream[..], b"x"].concat())), 65);
    assert_eq!(code(&dr_decrypt(&[&identity], b"")), 66);
    assert_eq!(code(&dr_decrypt(&[&identity], &plain)), 65);
}

#[test]
fn f75_a_hostile_header_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let (identity, _) = age_key(directory.path(), "key");
    for hostile in [
        format!("age-encryption.org/v1\n{}", "-> X25519 a\nAAAA\n".repeat(100_000)),
        format!("age-encryption.org/v1\n-> X25519 {}", "A".repeat(10_000_000)),
        format!("age-encryption.org/v1\n-> X25519 a\n{}", format!("{}\n", "A".repeat(64)).repeat(100_000)),
        format!("-----BEGIN AGE ENCRYPTED FILE-----\n{}", "A".repeat(10_000_000)),
        "age-encryption.org/v1".into(),
        "age-encryption.org/v9\n".into(),
    ] {
        let output = dr_decrypt(&[&identity], hostile.as_bytes());
        assert_eq!(code(&output), 65, "{:.60}", hostile);
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn f11_a_full_or_closed_standard_output_is_74() {
    let directory = tempfile::tempdir().unwrap();
    let (identity, recipient) = age_key(directory.path(), "key");
    let stream = directory.path().join("stream");
    std::fs::write(&stream, run("age", &["-r", &recipient], b"text")).unwrap();
    for redirect in [">/dev/full", ">&-"] {
        let line = format!("{} -i {} {redirect}", env!("CARGO_BIN_EXE_dr-decrypt"), identity.display());
        let mut shell = Command::new("sh");
        shell.env_clear().args(["-c", &line]).stdin(std::fs::File::open(&stream).unwrap());
        assert_eq!(code(&shell.output().unwrap()), 74, "{redirect}");
    }
}

#[test]
fn a_receipt_tells_what_went_in_and_what_came_out() {
    use dr_pipe::record::{Extent, Record};
    let directory = tempfile::tempdir().unwrap();
    let (identity, recipient) = age_key(directory.path(), "key");
    let receipts = directory.path().join("receipts");
    let (plain, stream) = (sample(100_000), run("age", &["-r", &recipient], &sample(100_000)));
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dr-decrypt"));
    command.env_clear().env("DR_RECEIPT", &receipts).env("DR_IDENTITY", &identity).write_stdin(&stream[..]).assert().success();
    let all = dr_pipe::record::read(&mut std::io::BufReader::new(std::fs::File::open(&receipts).unwrap())).unwrap();
    let [Record::Start(_), Record::Receipt(receipt)] = &all[..] else { panic!("{all:?}") };
    let extent = |bytes: &[u8]| Some(Extent { bytes: bytes.len() as u64, sha256: dr_pipe::Sha256::of(bytes) });
    assert_eq!((receipt.input, receipt.output), (extent(&stream), extent(&plain)));
}
