//! A world with stores, keys and backups of any age, in which dr-delete and its neighbours run.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use dr_catalogue::{SigningKey, manifest, signature};
use dr_pipe::Sha256;
use dr_pipe::record::{Base, Deleted, Kind, Manifest, Produced, Record, Settings, WalKept};
use dr_testing::clock;

/// A scratch directory with the store `store`, the key of the host that backs up, and that of whoever deletes.
pub struct World {
    scratch: tempfile::TempDir,
    key: SigningKey,
}

/// A backup to be made.
#[derive(Clone)]
pub struct Made {
    pub manifest: Manifest,
    pub bytes: Vec<u8>,
}

/// A dump of database `shop`, taken so many hours ago.
pub fn dump(hours_ago: i64) -> Made {
    let at = Utc::now() - TimeDelta::hours(hours_ago);
    let bytes = format!("a dump of {at}").into_bytes();
    let name = format!("main_dump_{}_{:04x}", at.format("%Y%m%dT%H%M%SZ"), hours_ago & 0xffff);
    let produced = Produced { database: Some("shop".into()), ..Produced::new(Kind::Dump, at, "bin") };
    let manifest = Manifest {
        format: 1,
        cluster: "main".into(),
        kind: Kind::Dump,
        object: format!("{name}.bin"),
        name,
        bytes: bytes.len() as u64,
        sha256: Sha256::of(&bytes),
        taken_at: at,
        stored_at: at,
        sequence: at.timestamp_millis() as u64,
        recipients: Vec::new(),
        tags: Vec::new(),
        stores: Vec::new(),
        produced,
        tools: Vec::new(),
    };
    Made { manifest, bytes }
}

/// A base of timeline 1, taken so many hours ago, that needs the WAL from one segment of 1 MiB to another.
pub fn base(hours_ago: i64, start: u64, stop: u64) -> Made {
    let mut made = dump(hours_ago);
    let manifest = &mut made.manifest;
    manifest.kind = Kind::Base;
    manifest.name = manifest.name.replace("_dump_", "_base_");
    manifest.object = format!("{}.bin", manifest.name);
    manifest.produced.kind = Kind::Base;
    manifest.produced.database = None;
    manifest.produced.base = Some(Base {
        timeline: 1,
        start_lsn: format!("0/{:X}", (start << 20) + 40),
        stop_lsn: format!("0/{:X}", (stop << 20) + 80),
        started_at: manifest.taken_at,
        stopped_at: manifest.taken_at,
        wal_segment_bytes: 1 << 20,
        page_bytes: 8192,
        page_checksums: true,
        from_standby: false,
        tablespaces: Vec::new(),
        settings: Settings {
            max_connections: 1,
            max_worker_processes: 1,
            max_wal_senders: 1,
            max_prepared_transactions: 1,
            max_locks_per_transaction: 1,
        },
        wal: WalKept::Verified,
        damaged_pages: 0,
        catalog_version: 1,
        files: 1,
    });
    made
}

/// The name of a segment of 1 MiB of timeline 1.
pub fn segment(number: u64) -> String {
    format!("0000000100000000{number:08X}")
}

impl World {
    pub fn new() -> World {
        let scratch = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("main.key", include_str!("../main.key")),
            ("main.pub", include_str!("../main.pub")),
            ("delete.key", include_str!("../delete.key")),
            ("delete.pub", include_str!("../delete.pub")),
        ] {
            fs::write(scratch.path().join(name), text).unwrap();
            fs::set_permissions(scratch.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let key = SigningKey::load(scratch.path().join("main.key").to_str().unwrap()).unwrap();
        let world = World { scratch, key };
        world.store("store");
        world
    }

    /// A world with a dump of every day, the newest an hour old: oldest first.
    pub fn daily(days: i64) -> (World, Vec<Made>) {
        let world = World::new();
        let dumps: Vec<Made> = (0..days).rev().map(|day| dump(1 + 24 * day)).collect();
        dumps.iter().for_each(|made| world.put("store", made));
        (world, dumps)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub fn store(&self, store: &str) {
        fs::create_dir_all(self.path(store)).unwrap();
        fs::write(self.path(store).join("dr-store.json"), format!("{{\"format\":1,\"id\":\"{:032x}\"}}\n", store.len())).unwrap();
    }

    /// Writes a file into a store.
    pub fn write(&self, store: &str, key: &str, bytes: &[u8]) {
        let path = self.path(store).join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Puts a backup into a store, signed by the host that backs up.
    pub fn put(&self, store: &str, Made { manifest, bytes }: &Made) {
        let folder = format!("main/{}", manifest.kind);
        let text = manifest::to_bytes(manifest);
        self.write(store, &format!("{folder}/{}", manifest.object), bytes);
        let signature = signature::sign(&self.key, &text, &manifest.name);
        self.write(store, &format!("{folder}/{}.json.minisig", manifest.name), &signature);
        self.write(store, &format!("{folder}/{}.json", manifest.name), &text);
    }

    /// Puts segments of timeline 1 into a store, each with its claim.
    pub fn put_wal(&self, store: &str, numbers: impl IntoIterator<Item = u64>) {
        for name in numbers.into_iter().map(segment) {
            self.write(store, &format!("main/wal/00000001/{name}.zst"), b"segment");
            self.write(store, &format!("main/wal/00000001/{name}.{}.claim", "ab".repeat(16)), b"claim");
        }
    }

    /// A tool of ours, with nothing of this machine's settings, that trusts both keys and reads `store`.
    pub fn tool(&self, tool: &str) -> Command {
        self.settled(Command::new(bin().join(tool)))
    }

    /// As [`World::tool`], by a clock that is off.
    pub fn tool_at(&self, off: &str, tool: &str) -> Command {
        let mut command = self.tool(tool);
        clock::set(&mut command, off);
        command
    }

    pub fn settled(&self, mut command: Command) -> Command {
        let path = format!("{}:/usr/bin:/bin", bin().display());
        command.env_clear().env("PATH", path).env("HOME", self.scratch.path()).env("DR_STATE", self.path("state"));
        command.env("DR_FROM", "store").env("DR_CLUSTER", "main").env("DR_PUBLIC_KEY", "main.pub,delete.pub");
        command.current_dir(self.scratch.path()).stdin(Stdio::null());
        command
    }

    pub fn delete(&self, arguments: &str) -> Command {
        with(self.tool("dr-delete"), arguments)
    }

    pub fn delete_at(&self, off: &str, arguments: &str) -> Command {
        with(self.tool_at(off, "dr-delete"), arguments)
    }

    /// Runs dr-delete on these decisions.
    pub fn decide(&self, arguments: &str, decisions: &str) -> Output {
        fed(self.delete(arguments), decisions)
    }

    /// What dr-list shows: the names, oldest first.
    pub fn listed(&self) -> Vec<String> {
        let output = self.tool("dr-list").output().unwrap();
        stderr_of(&output, 0);
        names(&output)
    }

    /// What dr-list shows while it warns of this.
    pub fn listed_with_warning(&self, warning: &str) -> Vec<String> {
        let output = self.tool("dr-list").output().unwrap();
        let said = stderr_of(&output, 0);
        assert!(said.contains(warning), "{said}");
        names(&output)
    }

    /// Every file of a store, and its bytes.
    pub fn files(&self, store: &str) -> BTreeMap<String, Vec<u8>> {
        let root = self.path(store);
        let walk = walkdir::WalkDir::new(&root).into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file());
        let key = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        walk.map(|entry| (key(entry.path()), fs::read(entry.path()).unwrap())).collect()
    }

    /// Runs dr-delete, which must refuse with this exit code, say so, and change nothing; gives what it says.
    pub fn refuses(&self, mut command: Command, decisions: &str, code: i32) -> String {
        let before = self.files("store");
        command.stdin(Stdio::piped());
        let output = fed(command, decisions);
        let stderr = stderr_of(&output, code);
        assert!(stderr.ends_with("nothing was deleted\n"), "{stderr}");
        assert!(output.stdout.is_empty());
        assert!(self.files("store") == before, "it has changed the store");
        stderr
    }
}

fn with(mut command: Command, arguments: &str) -> Command {
    command.env("DR_SIGNING_KEY", "delete.key").args(arguments.split_whitespace());
    command
}

pub fn bin() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_dr-delete")).parent().unwrap().into()
}

/// Runs a command with this on its standard input.
pub fn fed(mut command: Command, input: &str) -> Output {
    use std::io::Write;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that refuses its arguments reads nothing.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

pub fn stderr_of(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    stderr
}

/// The names in the records that were printed.
pub fn names(output: &Output) -> Vec<String> {
    let name = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["name"].as_str().unwrap().to_owned();
    String::from_utf8_lossy(&output.stdout).lines().map(name).collect()
}

/// The records that were printed.
pub fn deleted(output: &Output) -> Vec<Deleted> {
    let records = dr_pipe::record::read(&mut output.stdout.as_slice()).unwrap();
    let deleted = |record| match record {
        Record::Deleted(deleted) => *deleted,
        other => panic!("{other:?}"),
    };
    records.into_iter().map(deleted).collect()
}

/// Their states.
pub fn states(output: &Output) -> Vec<String> {
    deleted(output).into_iter().map(|deleted| deleted.state).collect()
}

/// A decision made now about a backup in `store`.
pub fn decision(action: &str, Made { manifest, .. }: &Made, verified: bool) -> String {
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    format!(
        "{{\"type\":\"decision\",\"action\":\"{action}\",\"reasons\":[\"a test\"],\"store\":\"store\",\"cluster\":\"main\",\
         \"kind\":\"{}\",\"name\":\"{}\",\"sha256\":\"{}\",\"verified\":{verified},\"decided_at\":\"{now}\"}}\n",
        manifest.kind, manifest.name, manifest.sha256
    )
}

/// The first `count` go, the others stay, verified.
pub fn delete_first(count: usize, made: &[Made]) -> String {
    let action = |place| if place < count { "delete" } else { "keep" };
    made.iter().enumerate().map(|(place, made)| decision(action(place), made, true)).collect()
}

/// A decision made now about WAL in `store`.
pub fn wal_decision(action: &str, first: &str, last: &str) -> String {
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    let timeline = u32::from_str_radix(&first[..8], 16).unwrap();
    format!(
        "{{\"type\":\"decision\",\"action\":\"{action}\",\"reasons\":[\"a test\"],\"store\":\"store\",\"cluster\":\"main\",\
         \"timeline\":{timeline},\"first\":\"{first}\",\"last\":\"{last}\",\"decided_at\":\"{now}\"}}\n"
    )
}

pub fn now() -> DateTime<Utc> {
    Utc::now()
}
