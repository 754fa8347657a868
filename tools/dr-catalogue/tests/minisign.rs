//! Do we and stock minisign(1) agree on keys and signatures?
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use dr_catalogue::{Error, PublicKey, SigningKey, signature};
use dr_pipe::Exit;

const NAME: &str = "main_dump_20260125T020000Z_7f3a";
const KEY: &str = "main/dump/main_dump_20260125T020000Z_7f3a.json";
const MANIFEST: &[u8] = b"{\n  \"type\": \"manifest\"\n}\n";

fn minisign(directory: &Path, args: &[&str]) -> Output {
    Command::new("minisign").current_dir(directory).args(args).stdin(Stdio::null()).output().unwrap()
}

/// A pair of keys made by `minisign -GW`.
fn pair(directory: &Path) -> (SigningKey, PublicKey) {
    assert!(minisign(directory, &["-GW", "-f", "-p", "k.pub", "-s", "k.key"]).status.success());
    let path = |name: &str| directory.join(name).display().to_string();
    (SigningKey::load(&path("k.key")).unwrap(), PublicKey::load(&path("k.pub")).unwrap())
}

fn verify(key: &PublicKey, signature: &[u8]) -> Result<(), Error> {
    signature::verify(&[*key], KEY, MANIFEST, signature, NAME)
}

#[test]
fn minisign_accepts_our_signatures_made_with_its_keys() {
    let directory = tempfile::tempdir().unwrap();
    let (secret, public) = pair(directory.path());
    assert_eq!(secret.public_key(), public);
    let signature = signature::sign(&secret, MANIFEST, NAME);
    verify(&public, &signature).unwrap();
    fs::write(directory.path().join("m.json"), MANIFEST).unwrap();
    fs::write(directory.path().join("m.json.minisig"), &signature).unwrap();
    let by_file = minisign(directory.path(), &["-V", "-p", "k.pub", "-m", "m.json"]);
    assert!(by_file.status.success(), "{by_file:?}");
    assert!(String::from_utf8_lossy(&by_file.stdout).contains(&format!("Trusted comment: dr manifest {NAME}")), "{by_file:?}");
    assert!(minisign(directory.path(), &["-V", "-P", &public.to_string(), "-m", "m.json"]).status.success());
    fs::write(directory.path().join("m.json"), b"{}").unwrap();
    assert!(!minisign(directory.path(), &["-V", "-p", "k.pub", "-m", "m.json"]).status.success());
}

#[test]
fn we_accept_signatures_of_minisign_with_our_comment() {
    let directory = tempfile::tempdir().unwrap();
    let (_, public) = pair(directory.path());
    fs::write(directory.path().join("m.json"), MANIFEST).unwrap();
    let sign = |comment: &str| {
        assert!(minisign(directory.path(), &["-S", "-s", "k.key", "-t", comment, "-m", "m.json"]).status.success());
        fs::read(directory.path().join("m.json.minisig")).unwrap()
    };
    verify(&public, &sign(&format!("dr manifest {NAME}"))).unwrap();
    assert_eq!(verify(&public, &sign("dr manifest another")).unwrap_err().exit(), Exit::Untrusted);
}

#[test]
fn f07_the_same_manifest_gets_the_same_signature() {
    let directory = tempfile::tempdir().unwrap();
    let (secret, _) = pair(directory.path());
    assert_eq!(signature::sign(&secret, MANIFEST, NAME), signature::sign(&secret, MANIFEST, NAME));
}

#[test]
fn f71_no_changed_swapped_or_cut_signature_is_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let (secret, public) = pair(directory.path());
    let good = signature::sign(&secret, MANIFEST, NAME);
    let first_line = good.iter().position(|byte| *byte == b'\n').unwrap();
    for place in first_line..good.len() {
        let mut changed = good.clone();
        changed[place] ^= 1;
        assert!(verify(&public, &changed).is_err(), "byte {place} changed");
    }
    // Without the last newline it is still whole.
    for length in 0..good.len() - 1 {
        assert!(verify(&public, &good[..length]).is_err(), "cut to {length} bytes");
    }
    assert!(signature::verify(&[public], KEY, b"{}", &good, NAME).is_err(), "another manifest");
    assert!(signature::verify(&[public], KEY, MANIFEST, &good, "another").is_err(), "another name");
    assert!(verify(&public, &[good.as_slice(), b"more\n"].concat()).is_err(), "lines after the signature");
}

#[test]
fn f71_a_signature_of_another_key_is_refused_and_both_keys_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let (_, trusted) = pair(directory.path());
    let (forger, forged) = pair(directory.path());
    let signature = signature::sign(&forger, MANIFEST, NAME);
    let error = verify(&trusted, &signature).unwrap_err();
    assert_eq!(error.exit(), Exit::Untrusted);
    assert!(error.to_string().contains("signed with key"), "{error}");
    signature::verify(&[trusted, forged], KEY, MANIFEST, &signature, NAME).expect("any trusted key will do");
}

#[test]
fn a_secret_key_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    pair(directory.path());
    let path = directory.path().join("k.key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(SigningKey::load(&path.display().to_string()).unwrap_err().exit(), Exit::Denied);
}
