//! dr-pull from directories that hold good, damaged and missing objects.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dr_catalogue::{SigningKey, manifest, signature};
use dr_pipe::Sha256;
use dr_pipe::record::{Kind, Manifest, Produced};
use dr_testing::proxy::{Fault, Proxy};
use dr_testing::s3::{BUCKET, S3sFs, environment};

const NAME: &str = "main_dump_20260125T020000Z_7f3a";

/// Two stores that hold one backup.
struct World {
    scratch: tempfile::TempDir,
    bytes: Vec<u8>,
}

impl World {
    fn new() -> World {
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let world = World { scratch: tempfile::tempdir().unwrap(), bytes };
        let seal = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dr-seal/tests");
        fs::copy(seal.join("main.pub"), world.path("main.pub")).unwrap();
        fs::copy(seal.join("main.key"), world.path("main.key")).unwrap();
        fs::set_permissions(world.path("main.key"), fs::Permissions::from_mode(0o600)).unwrap();
        let manifest = manifest::to_bytes(&world.manifest());
        let key = SigningKey::load(world.path("main.key").to_str().unwrap()).unwrap();
        let signature = signature::sign(&key, &manifest, NAME);
        for store in ["near", "far"] {
            let folder = world.path(store).join("main/dump");
            fs::create_dir_all(&folder).unwrap();
            fs::write(world.path(store).join("dr-store.json"), format!("{{\"format\":1,\"id\":\"{store}\"}}")).unwrap();
            fs::write(folder.join(format!("{NAME}.json")), &manifest).unwrap();
            fs::write(folder.join(format!("{NAME}.json.minisig")), &signature).unwrap();
            fs::write(world.object(store), &world.bytes).unwrap();
        }
        world
    }

    fn manifest(&self) -> Manifest {
        let at = "2026-01-25T02:00:00Z".parse().unwrap();
        Manifest {
            format: 1,
            cluster: "main".into(),
            kind: Kind::Dump,
            name: NAME.into(),
            object: format!("{NAME}.tar.zst.age"),
            bytes: self.bytes.len() as u64,
            sha256: Sha256::of(&self.bytes),
            taken_at: at,
            stored_at: at,
            sequence: 1,
            recipients: vec!["age1recipient".into()],
            tags: Vec::new(),
            stores: Vec::new(),
            produced: Produced::new(Kind::Dump, at, "tar.zst"),
            tools: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn object(&self, store: &str) -> PathBuf {
        self.path(store).join("main/dump").join(format!("{NAME}.tar.zst.age"))
    }

    /// Runs dr-pull in the scratch directory, with both stores unless `from` names others.
    fn pull(&self, arguments: &str) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dr-pull"));
        command.env_clear().env("HOME", self.scratch.path()).env("DR_STATE", self.path("state"));
        command.env("DR_FROM", "near,far").env("DR_PUBLIC_KEY", "main.pub").current_dir(self.scratch.path());
        command.args(arguments.split_whitespace());
        command
    }
}

fn stderr_of(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    stderr
}

#[test]
fn a_backup_comes_back_by_name_by_its_beginning_and_as_latest() {
    let world = World::new();
    for name in [NAME, "main_dump_2026", "latest", "--cluster main latest", "--verify-first latest"] {
        let output = world.pull(name);
        assert_eq!(stderr_of(&output, 0), "");
        assert!(output.stdout == world.bytes, "{name}");
    }
}

#[test]
fn a_part_of_it_comes_by_range() {
    let world = World::new();
    for (range, part) in
        [("0-9", 0..10), ("1000+5", 1000..1005), ("399990-", 399_990..400_000), ("0+0", 0..0), ("400000-", 400_000..400_000)]
    {
        let output = world.pull(&format!("--range {range} latest"));
        stderr_of(&output, 0);
        assert_eq!(output.stdout, world.bytes[part], "{range}");
    }
    let stderr = stderr_of(&world.pull("--range 399990+11 latest"), 66);
    assert!(stderr.contains("has 400000 bytes"), "{stderr}");
    stderr_of(&world.pull("--range 9-1 latest"), 64);
}

#[test]
fn an_object_comes_by_its_key_without_manifest() {
    let world = World::new();
    let output = world.pull(&format!("--object main/dump/{NAME}.json"));
    stderr_of(&output, 0);
    assert_eq!(output.stdout, manifest::to_bytes(&world.manifest()));
    stderr_of(&world.pull("--object main/dump/absent"), 66);
    stderr_of(&world.pull("--object ../main.key"), 64);
}

#[test]
fn f68_a_damaged_object_ends_with_65_and_no_receipt() {
    let world = World::new();
    let mut bytes = world.bytes.clone();
    bytes[200_000] ^= 1;
    fs::write(world.object("near"), &bytes).unwrap();
    let stderr = stderr_of(&world.pull("--receipt receipts latest"), 65);
    assert!(stderr.contains("its manifest says") && stderr.contains("must not be used"), "{stderr}");
    assert!(!fs::read_to_string(world.path("receipts")).unwrap().contains("\"receipt\""));
    let output = world.pull("--verify-first latest");
    stderr_of(&output, 65);
    assert!(output.stdout.is_empty(), "nothing is written before it is verified");
}

#[test]
fn an_object_that_is_missing_or_cut_short_is_taken_from_the_next_store() {
    let world = World::new();
    fs::write(world.object("near"), &world.bytes[..1000]).unwrap();
    let output = world.pull("latest");
    let stderr = stderr_of(&output, 0);
    assert!(stderr.starts_with("dr-pull: warning: near: "), "{stderr}");
    assert!(output.stdout == world.bytes);
    fs::remove_file(world.object("near")).unwrap();
    assert!(world.pull("latest").stdout == world.bytes);
    fs::remove_file(world.object("far")).unwrap();
    stderr_of(&world.pull("latest"), 66);
}

#[test]
fn f29_an_answer_that_breaks_off_is_asked_for_again_and_at_last_of_the_next_store() {
    let world = World::new();
    let server = S3sFs::start();
    let copied =
        Command::new("cp").arg("-r").arg(world.path("near/main")).arg(server.directory().join("data").join(BUCKET)).status();
    assert!(copied.unwrap().success());
    for (cuts, warned) in [(1, false), (4, false), (9, true)] {
        let proxy = Proxy::start(server.address(), &vec![("GET tar.zst.age", Fault::CutReply(5000)); cuts]);
        let mut command = world.command("--from s3://dr-test --from far latest");
        let output = command.envs(environment(&proxy.url())).output().unwrap();
        let stderr = stderr_of(&output, 0);
        assert_eq!(stderr.contains("breaks off") && stderr.contains("going on with far"), warned, "{stderr}");
        assert!(output.stdout == world.bytes, "{cuts} cuts");
    }
}

#[test]
fn f22_a_store_that_is_not_mounted_is_said_to_be() {
    let world = World::new();
    fs::remove_file(world.path("near/dr-store.json")).unwrap();
    let stderr = stderr_of(&world.pull("--from near latest"), 78);
    assert!(stderr.contains("not mounted?"), "{stderr}");
}

#[test]
fn a_whole_backup_leaves_a_receipt_with_which_it_can_be_sealed_elsewhere() {
    let world = World::new();
    let output = world.pull("--receipt receipts latest");
    stderr_of(&output, 0);
    let receipts = fs::read_to_string(world.path("receipts")).unwrap();
    let lines: Vec<_> = receipts.lines().collect();
    assert!(lines[0].contains(r#""kind":"dump","suffix":"tar.zst.age""#), "{receipts}");
    for part in [r#""out":{"bytes":400000,"#, r#""produced":{"kind":"dump""#, r#""recipients":["age1recipient"]"#] {
        assert!(lines[1].contains(part), "{part} in {receipts}");
    }
    assert_eq!(lines.len(), 2);
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    let world = World::new();
    for arguments in ["", "latest --object x", "--range x latest", "--verify-first --range 0-1 latest"] {
        let stderr = stderr_of(&world.pull(arguments), 64);
        assert_eq!(stderr.lines().count(), 2, "{stderr}");
    }
}
