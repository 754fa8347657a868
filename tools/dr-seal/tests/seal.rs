//! When does a backup come to exist, and when not? With directory stores, and receipts as a pipe leaves them.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use tempfile::TempDir;

const NAME: &str = "main_dump_20260125T020000Z_7f3a";
const OBJECT: &str = "main/dump/main_dump_20260125T020000Z_7f3a.tar.zst.age";
/// What lies in the stores: the receipts hold its size and digest.
const BYTES: &[u8] = b"0123456789abcdef";

/// Two stores that hold an object as dr-push leaves it, its receipts, and a signing key.
struct Pipe(TempDir);

impl Pipe {
    fn new() -> Self {
        let pipe = Pipe(tempfile::tempdir().unwrap());
        for store in ["near", "far"] {
            let id = if store == "near" { "a" } else { "b" }.repeat(32);
            fs::create_dir_all(pipe.path(&format!("{store}/main/dump"))).unwrap();
            fs::write(pipe.path(&format!("{store}/dr-store.json")), format!("{{\"format\":1,\"id\":\"{id}\"}}\n")).unwrap();
            fs::write(pipe.path(&format!("{store}/{OBJECT}")), BYTES).unwrap();
        }
        fs::write(pipe.path("receipts"), include_str!("../../dr-catalogue/tests/receipts.jsonl")).unwrap();
        fs::write(pipe.path("main.key"), include_str!("main.key")).unwrap();
        fs::set_permissions(pipe.path("main.key"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(pipe.path("main.pub"), include_str!("main.pub")).unwrap();
        pipe
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn seal(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dr-seal"));
        command.current_dir(self.0.path()).env_clear().env("DR_STATE", self.path("state"));
        command.args(["--cluster", "main", "--signing-key", "main.key"]).pipe_stdin(self.path("receipts")).unwrap();
        command
    }

    fn manifest(&self, store: &str) -> PathBuf {
        self.path(&format!("{store}/main/dump/{NAME}.json"))
    }

    fn signature(&self, store: &str) -> PathBuf {
        self.path(&format!("{store}/main/dump/{NAME}.json.minisig"))
    }

    fn nothing_is_visible(&self) {
        assert!(!self.manifest("near").exists() && !self.manifest("far").exists());
    }

    fn edit(&self, from: &str, to: &str) {
        let receipts = fs::read_to_string(self.path("receipts")).unwrap();
        assert!(receipts.contains(from), "{from}");
        fs::write(self.path("receipts"), receipts.replace(from, to)).unwrap();
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_complete_chain_is_published_signed_in_every_store() {
    let pipe = Pipe::new();
    let sealed = pipe.seal().assert().code(0).stderr("");
    let record = String::from_utf8(sealed.get_output().stdout.clone()).unwrap();
    assert!(record.starts_with(r#"{"type":"manifest","format":1,"cluster":"main""#) && record.lines().count() == 1, "{record}");
    for store in ["near", "far"] {
        assert!(read(&pipe.manifest(store)).contains(&format!("  \"name\": \"{NAME}\",\n")));
        assert!(read(&pipe.path(&format!("{store}/main/RECOVERY.txt"))).contains("restore-dump.sh"));
        let by_minisign =
            Command::new("minisign").args(["-VQ", "-p"]).arg(pipe.path("main.pub")).arg("-m").arg(pipe.manifest(store)).assert();
        by_minisign.code(0).stdout(format!("dr manifest {NAME}\n"));
    }
}

#[test]
fn f02_a_stage_without_receipt_is_named_and_nothing_is_visible() {
    for tool in ["dr-dump", "dr-encrypt", "dr-push"] {
        let pipe = Pipe::new();
        let missing = format!(r#""type":"receipt","tool":"{tool}""#);
        let left: String = read(&pipe.path("receipts")).split_inclusive('\n').filter(|line| !line.contains(&missing)).collect();
        fs::write(pipe.path("receipts"), left).unwrap();
        pipe.seal().assert().code(66).stdout("").stderr(format!(
            "dr-seal: error: {tool} has begun and left no receipt\n\
             dr-seal: hint: the message of {tool} says why; wait for the pipe to end, or run it again; nothing was published\n"
        ));
        pipe.nothing_is_visible();
    }
}

#[test]
fn f04_no_receipts_publish_nothing() {
    let pipe = Pipe::new();
    fs::write(pipe.path("receipts"), "").unwrap();
    pipe.seal().assert().code(66).stdout("");
    fs::write(pipe.path("receipts"), "{\"type\":\"receipt\"").unwrap();
    pipe.seal().assert().code(65).stdout("");
    pipe.nothing_is_visible();
}

#[test]
fn f06_killed_before_the_manifest_the_backup_is_not_there_and_a_second_run_completes_it() {
    let pipe = Pipe::new();
    pipe.seal().assert().code(0);
    let (manifest, signature) = (read(&pipe.manifest("near")), read(&pipe.signature("near")));
    // What a kill between signature and manifest leaves.
    fs::remove_file(pipe.manifest("near")).unwrap();
    fs::remove_file(pipe.manifest("far")).unwrap();
    fs::remove_file(pipe.signature("far")).unwrap();
    pipe.seal().assert().code(0).stderr("");
    assert_eq!((read(&pipe.manifest("near")), read(&pipe.signature("near"))), (manifest.clone(), signature.clone()));
    assert_eq!((read(&pipe.manifest("far")), read(&pipe.signature("far"))), (manifest, signature));
}

#[test]
fn f07_a_second_run_finds_its_own_manifest_and_succeeds() {
    let pipe = Pipe::new();
    let first = pipe.seal().assert().code(0);
    pipe.seal().assert().code(0).stderr("").stdout(first.get_output().stdout.clone());
    let files = fs::read_dir(pipe.path("near/main/dump")).unwrap().count();
    assert_eq!(files, 3, "object, manifest and signature, and nothing twice");
}

#[test]
fn a_manifest_of_other_content_is_never_overwritten() {
    let pipe = Pipe::new();
    fs::write(pipe.manifest("near"), "{}").unwrap();
    pipe.seal().assert().code(73).stdout("");
    assert_eq!(read(&pipe.manifest("near")), "{}");
}

#[test]
fn f24_what_is_published_is_for_the_owner_alone() {
    let pipe = Pipe::new();
    pipe.seal().assert().code(0);
    for file in [pipe.manifest("near"), pipe.signature("near"), pipe.path("near/main/RECOVERY.txt")] {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
}

#[test]
fn an_object_that_is_gone_or_cut_is_not_published() {
    for change in [(|path: &Path| fs::remove_file(path).unwrap()) as fn(&Path), |path| fs::write(path, "short").unwrap()] {
        let pipe = Pipe::new();
        change(&pipe.path(&format!("near/{OBJECT}")));
        pipe.seal().assert().code(66).stdout("");
        pipe.nothing_is_visible();
    }
}

#[test]
fn one_store_too_many_may_fail_with_a_warning() {
    let pipe = Pipe::new();
    pipe.edit(r#""required":2"#, r#""required":1"#);
    fs::remove_dir_all(pipe.path("far")).unwrap();
    let sealed = pipe.seal().assert().code(0);
    let stderr = String::from_utf8(sealed.get_output().stderr.clone()).unwrap();
    assert!(stderr.starts_with("dr-seal: warning: not published there: far") && stderr.lines().count() == 1, "{stderr}");
    assert!(pipe.manifest("near").exists());
}

#[test]
fn one_required_store_that_fails_leaves_nothing_visible_anywhere() {
    let pipe = Pipe::new();
    fs::remove_dir_all(pipe.path("far")).unwrap();
    let sealed = pipe.seal().assert().failure().stdout("");
    let stderr = String::from_utf8(sealed.get_output().stderr.clone()).unwrap();
    assert!(stderr.ends_with("nothing was published; run dr-seal again with the same receipts\n"), "{stderr}");
    pipe.nothing_is_visible();
}

#[test]
fn another_cluster_than_was_pushed_is_refused() {
    let pipe = Pipe::new();
    let mut other = pipe.seal();
    other.args(["--cluster", "other"]);
    other.assert().code(64);
    let mut other = Command::new(env!("CARGO_BIN_EXE_dr-seal"));
    other.current_dir(pipe.0.path()).env_clear().env("DR_STATE", pipe.path("state"));
    other.args(["--cluster", "other", "-s", "main.key"]).pipe_stdin(pipe.path("receipts")).unwrap();
    other.assert().code(78);
    pipe.nothing_is_visible();
}

#[test]
fn an_encrypted_signing_key_is_refused_with_what_to_do() {
    let pipe = Pipe::new();
    // "Sc" for the password's function, in base64 over the key's third to fifth byte.
    let key = read(&pipe.path("main.key")).replacen("RWQAAEIy", "RWRTY0Iy", 1);
    fs::write(pipe.path("main.key"), key).unwrap();
    pipe.seal().assert().code(78).stdout("").stderr(
        "dr-seal: error: main.key: the signing key is encrypted with a password\n\
         dr-seal: hint: make a signing key without a password: minisign -GW -p CLUSTER.pub -s CLUSTER.key, and keep it 0600; nothing was published\n",
    );
    pipe.nothing_is_visible();
}

#[test]
fn f02_an_earlier_run_is_not_taken_for_one_whose_producer_never_began() {
    let pipe = Pipe::new();
    let receipts = read(&pipe.path("receipts"));
    let trace = r#"{"type":"start","tool":"dr-push","started_at":"2026-01-26T02:00:00Z","suffix":""}"#;
    fs::write(pipe.path("receipts"), format!("{receipts}{trace}\n")).unwrap();
    let refused = pipe.seal().assert().code(66).stdout("");
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(said.contains("dr-push has begun and left no receipt"), "{said}");
    pipe.nothing_is_visible();
}

#[test]
fn a_store_that_is_gone_since_is_not_made_anew() {
    let pipe = Pipe::new();
    fs::remove_dir_all(pipe.path("near")).unwrap();
    fs::remove_dir_all(pipe.path("far")).unwrap();
    pipe.seal().assert().code(78).stdout("");
    assert!(!pipe.path("near").exists() && !pipe.path("far").exists());
}
