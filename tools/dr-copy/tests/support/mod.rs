//! Stores with backups that are signed, and dr-copy in a world of its own.
#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used)]

pub mod wal;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use dr_catalogue::{PublicKey, SigningKey, manifest, signature};
use dr_pipe::Sha256;
use dr_pipe::record::{Backup, Copied, Manifest, Record, SignatureState};

/// Some backups of the cluster `main`.
pub const NAMES: [&str; 2] = ["main_dump_20260125T020000Z_7f3a", "main_dump_20260126T020000Z_9b1c"];

/// A scratch directory in which the stores lie, named as directories below it.
pub struct World {
    scratch: tempfile::TempDir,
}

impl World {
    /// A world whose store `near` holds a backup of `bytes` bytes.
    pub fn new(bytes: usize) -> World {
        let world = World { scratch: tempfile::tempdir().unwrap() };
        let seal = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dr-seal/tests");
        fs::copy(seal.join("main.pub"), world.path("main.pub")).unwrap();
        fs::copy(seal.join("main.key"), world.path("main.key")).unwrap();
        fs::set_permissions(world.path("main.key"), fs::Permissions::from_mode(0o600)).unwrap();
        world.back_up("near", NAMES[0], &content(bytes));
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub fn key(&self) -> SigningKey {
        SigningKey::load(self.path("main.key").to_str().unwrap()).unwrap()
    }

    pub fn public_key(&self) -> PublicKey {
        self.key().public_key()
    }

    /// Makes a directory a store, if it is none.
    pub fn mark(&self, store: &str) {
        let marker = self.path(store).join("dr-store.json");
        if !marker.exists() {
            fs::create_dir_all(self.path(store)).unwrap();
            fs::write(marker, format!("{{\"format\":1,\"id\":\"{store}\"}}")).unwrap();
        }
    }

    /// Puts a backup into a store.
    pub fn back_up(&self, store: &str, name: &str, bytes: &[u8]) {
        self.seal(store, &manifest_of(name, bytes), bytes);
    }

    /// Puts a backup with this manifest into a store.
    pub fn seal(&self, store: &str, manifest: &Manifest, bytes: &[u8]) {
        self.mark(store);
        let folder = self.path(store).join("main").join(manifest.kind.to_string());
        fs::create_dir_all(&folder).unwrap();
        let (name, text) = (&manifest.name, manifest::to_bytes(manifest));
        fs::write(folder.join(format!("{name}.json.minisig")), signature::sign(&self.key(), &text, name)).unwrap();
        fs::write(folder.join(format!("{name}.json")), &text).unwrap();
        fs::write(folder.join(&manifest.object), bytes).unwrap();
    }

    /// A file of a backup.
    pub fn file(&self, store: &str, name: &str, suffix: &str) -> PathBuf {
        self.path(store).join("main/dump").join(format!("{name}{suffix}"))
    }

    /// Flips a bit in the middle of a file.
    pub fn damage(&self, file: &Path) {
        let mut bytes = fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(file, bytes).unwrap();
    }

    /// dr-copy from `near`, with nothing of this machine's settings.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dr-copy"));
        command.env_clear().env("HOME", self.scratch.path()).env("DR_STATE", self.path("state"));
        command.env("DR_FROM", "near").env("DR_PUBLIC_KEY", "main.pub").env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        command.current_dir(self.scratch.path()).args(arguments.split_whitespace());
        command
    }

    /// Runs dr-copy on records of these backups.
    pub fn copy(&self, names: &[&str], arguments: &str) -> Output {
        run(&mut self.command(arguments), &records(names))
    }

    /// A line of shell, with `$COPY` and its environment.
    pub fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        let ours = self.command("");
        command.args(["-c", line]).env_clear().current_dir(self.scratch.path());
        command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("COPY", env!("CARGO_BIN_EXE_dr-copy"));
        command
    }

    /// All files below a store but its marker, by name.
    pub fn files(&self, store: &str) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(&self.path(store), "", &mut files);
        files.remove("dr-store.json");
        files
    }

    /// The names of all files below a store but its marker.
    pub fn names(&self, store: &str) -> Vec<String> {
        self.files(store).into_keys().collect()
    }
}

fn collect(directory: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.map(Result::unwrap) {
        let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
        if entry.metadata().unwrap().is_dir() {
            collect(&entry.path(), &format!("{name}/"), files);
        } else {
            files.insert(name, fs::read(entry.path()).unwrap());
        }
    }
}

/// Bytes that tell where they are.
pub fn content(bytes: usize) -> Vec<u8> {
    (0..bytes.div_ceil(4)).flat_map(|n| u32::try_from(n).unwrap().to_le_bytes()).take(bytes).collect()
}

/// The manifest of a dump of these bytes.
pub fn manifest_of(name: &str, bytes: &[u8]) -> Manifest {
    let at = "2026-01-25T02:00:00Z";
    let fields = serde_json::json!({
        "format": 1, "cluster": "main", "kind": "dump", "name": name, "object": format!("{name}.tar.zst.age"),
        "bytes": bytes.len(), "sha256": Sha256::of(bytes).to_string(), "taken_at": at, "stored_at": at, "sequence": 1,
        "recipients": ["age1recipient"], "stores": [], "tools": [],
        "produced": { "kind": "dump", "taken_at": at, "suffix": "tar.zst", "database": "shop" },
    });
    serde_json::from_value(fields).unwrap()
}

/// What dr-list prints of backups; of what is in them, only the names count.
pub fn records(names: &[&str]) -> Vec<u8> {
    let mut lines = Vec::new();
    for name in names {
        let backup = Backup { store: "near".into(), signature: SignatureState::Good, manifest: manifest_of(name, b"x") };
        dr_pipe::record::write(&mut lines, &Record::Backup(Box::new(backup))).unwrap();
    }
    lines
}

/// Runs a command to its end on this input.
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // It may end before it has read everything, which its exit code tells.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    })
}

/// Its stderr, after its exit code was found to be `code`; without what is said of a new store.
pub fn stderr_of(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    stderr.split_inclusive('\n').filter(|line| !line.contains("was no store before")).collect()
}

/// The records that it printed.
pub fn copied(output: &Output) -> Vec<Copied> {
    let records = dr_pipe::record::read(&mut output.stdout.as_slice()).unwrap();
    let copied = |record| match record {
        Record::Copied(copied) => *copied,
        other => panic!("{other:?}"),
    };
    records.into_iter().map(copied).collect()
}

/// State and target of every record, such as `copied far`.
pub fn states(output: &Output) -> Vec<String> {
    let mut states: Vec<_> = copied(output).into_iter().map(|it| format!("{} {}", it.state, it.to)).collect();
    states.sort_unstable();
    states
}
