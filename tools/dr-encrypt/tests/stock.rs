//! What dr-encrypt writes, stock age reads.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

fn run(program: &str, args: &[&str], stdin: &[u8]) -> Vec<u8> {
    let mut command = assert_cmd::Command::new(program);
    if program.starts_with('/') {
        command.env_clear();
    }
    let output = command.args(args).write_stdin(stdin).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn dr_encrypt(args: &[&str], stdin: &[u8]) -> Vec<u8> {
    run(env!("CARGO_BIN_EXE_dr-encrypt"), args, stdin)
}

fn age(identity: &Path, stream: &[u8]) -> Vec<u8> {
    run("age", &["-d", "-i", identity.to_str().unwrap()], stream)
}

/// An age identity, and its recipient.
fn age_key(directory: &Path, name: &str) -> (PathBuf, String) {
    let path = directory.join(name);
    assert!(Command::new("age-keygen").arg("-o").arg(&path).output().unwrap().status.success());
    let recipient = run("age-keygen", &["-y", path.to_str().unwrap()], b"");
    (path, String::from_utf8(recipient).unwrap().trim().into())
}

/// An ssh private key without a passphrase, and its public key.
fn ssh_key(directory: &Path, kind: &str) -> (PathBuf, String) {
    let path = directory.join(kind);
    let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-C", "somebody@somewhere", "-t", kind, "-f"]).arg(&path).output();
    assert!(made.unwrap().status.success());
    let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
    (path, public.trim().into())
}

fn sample(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

#[test]
fn stock_age_decrypts_streams_of_any_length() {
    let directory = tempfile::tempdir().unwrap();
    let (identity, recipient) = age_key(directory.path(), "key");
    for len in [1, 65_535, 65_536, 65_537, 262_144, 1_000_000] {
        let plain = sample(len);
        assert!(age(&identity, &dr_encrypt(&["-r", &recipient], &plain)) == plain, "{len} bytes");
    }
}

#[test]
fn every_recipient_of_a_file_with_comments_can_decrypt() {
    let directory = tempfile::tempdir().unwrap();
    let keys = [
        age_key(directory.path(), "one"),
        age_key(directory.path(), "two"),
        ssh_key(directory.path(), "ed25519"),
        ssh_key(directory.path(), "rsa"),
    ];
    let list = directory.path().join("recipients");
    let [one, two, ed25519, rsa] = keys.each_ref().map(|(_, public)| public);
    std::fs::write(&list, format!("# operations\n{one}\n\n# escrow, in the safe\n{ed25519}\n{rsa}\n")).unwrap();
    let plain = sample(100_000);
    let stream = dr_encrypt(&["-R", list.to_str().unwrap(), "-r", two], &plain);
    for (identity, public) in &keys {
        assert!(age(identity, &stream) == plain, "{public}");
    }
}

#[test]
fn stock_age_decrypts_armored_streams() {
    let directory = tempfile::tempdir().unwrap();
    let (identity, recipient) = age_key(directory.path(), "key");
    for len in [1, 48, 49, 200_000] {
        let text = dr_encrypt(&["--armor", "-r", &recipient], &sample(len));
        assert!(text.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----\n") && text.is_ascii());
        assert!(age(&identity, &text) == sample(len), "{len} bytes");
    }
}

#[test]
fn the_environment_names_recipients_too() {
    let directory = tempfile::tempdir().unwrap();
    let (identity, recipient) = age_key(directory.path(), "key");
    let list = directory.path().join("recipients");
    std::fs::write(&list, &recipient).unwrap();
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dr-encrypt"));
    let output = command.env_clear().env("DR_RECIPIENTS", &list).env("DR_SINGLE_RECIPIENT", "1").write_stdin("text").output();
    let output = output.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "one recipient, and told not to warn");
    assert_eq!(age(&identity, &output.stdout), b"text");
}
