//! One store with its own retention, and the tools that work on it at a given moment.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use chrono::{DateTime, TimeDelta, Utc};
use tempfile::TempDir;

/// Bytes of a segment: the smallest there are.
const SEGMENT_BYTES: usize = 1 << 20;

/// A store, its keys, and all that was ever stored in it.
pub struct Tier {
    scratch: TempDir,
    tools: PathBuf,
    /// Backups made, by name: what they hold.
    pub made: BTreeMap<String, String>,
}

impl Tier {
    pub fn new() -> Tier {
        let tools = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
        let tier = Tier { scratch: tempfile::tempdir().unwrap(), tools, made: BTreeMap::new() };
        fs::create_dir_all(tier.path("data/pg_wal/archive_status")).unwrap();
        // Who deletes has a key of his own.
        for name in ["main", "delete"] {
            let mut minisign = Command::new("minisign");
            let (public, secret) = (tier.path(&format!("{name}.pub")), tier.path(&format!("{name}.key")));
            good(&fed(minisign.args(["-GW", "-p"]).arg(public).arg("-s").arg(secret), b""));
        }
        tier
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The store as it is named to the tools.
    pub fn store(&self) -> String {
        self.path("store").to_str().unwrap().into()
    }

    /// Backs up `what` (kind, database) as it is at `moment`, with these tags: a producer's receipts, dr-push and dr-seal.
    pub fn back_up(&mut self, moment: DateTime<Utc>, kind: &str, tag: &str, base: Option<u64>) {
        let content = format!("{kind} {tag} {moment}");
        let receipts = self.path("receipts");
        fs::write(&receipts, receipt(moment, kind, &content, base)).unwrap();
        let tag = format!("run={tag}");
        let mut push = self.tool("dr-push", moment, &["--to", &self.store(), "--tag", &tag]);
        good(&fed(push.env("DR_RECEIPT", &receipts), content.as_bytes()));
        let sealed = good(&fed(&mut self.tool("dr-seal", moment, &[]), &fs::read(&receipts).unwrap()));
        let manifest: serde_json::Value = serde_json::from_str(&sealed).unwrap();
        self.made.insert(manifest["name"].as_str().unwrap().to_owned(), content);
    }

    /// Archives segment `number`.
    pub fn archive(&self, moment: DateTime<Utc>, number: u64) {
        let name = segment_name(number);
        fs::write(self.path("data/pg_wal").join(&name), segment(number)).unwrap();
        let pushed =
            self.tool("dr-wal-push", moment, &["--to", &self.store(), "--ahead", "0", "--unencrypted", &format!("pg_wal/{name}")]);
        good(&fed(&mut { pushed }, b""));
        fs::remove_file(self.path("data/pg_wal").join(&name)).unwrap();
    }

    /// What scripts/prune does: proves what is new, decides, and deletes.
    pub fn prune(&self, moment: DateTime<Utc>, policy: &[String]) {
        let from = ["--from", &self.store()];
        let verified = good(&fed(&mut self.tool("dr-verify", moment, &[&from[..], &["--every", "1000d", "--json"]].concat()), b""));
        let wal = good(&fed(&mut self.tool("dr-list", moment, &[&from[..], &["--wal", "--json"]].concat()), b""));
        let policy: Vec<_> = policy.iter().map(String::as_str).collect();
        let decided = good(&fed(&mut self.tool("dr-prune", moment, &policy), (verified + &wal).as_bytes()));
        let mut delete = self.tool("dr-delete", moment, &from);
        good(&fed(delete.env("DR_SIGNING_KEY", self.path("delete.key")), decided.as_bytes()));
    }

    /// The names that are listed, oldest first.
    pub fn listed(&self, moment: DateTime<Utc>) -> Vec<String> {
        let listed = good(&fed(&mut self.tool("dr-list", moment, &["--from", &self.store(), "--json"]), b""));
        let name = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["name"].as_str().unwrap().to_owned();
        listed.lines().map(name).collect()
    }

    /// What a backup gives when it is read back, proved.
    pub fn pulled(&self, moment: DateTime<Utc>, name: &str) -> String {
        good(&fed(&mut self.tool("dr-pull", moment, &["--from", &self.store(), name]), b""))
    }

    /// The numbers of the segments that are there.
    pub fn segments(&self) -> Vec<u64> {
        let folder = self.path("store/main/wal/00000001");
        let name = |file: fs::DirEntry| file.file_name().into_string().unwrap();
        let mut found: Vec<_> = fs::read_dir(folder).unwrap().map(|file| name(file.unwrap())).collect();
        found.retain(|name| name.ends_with(".zst"));
        let mut numbers: Vec<_> = found.iter().map(|name| number_of(&name[..24])).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Every file of the store that is left of backup `name`.
    pub fn files_of(&self, name: &str) -> Vec<String> {
        let kind = name.split('_').nth(1).unwrap();
        let files = fs::read_dir(self.path(&format!("store/main/{kind}"))).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).filter(|file| file.starts_with(name)).collect()
    }

    fn public_keys(&self) -> String {
        format!("{},{}", self.path("main.pub").display(), self.path("delete.pub").display())
    }

    fn tool(&self, name: &str, moment: DateTime<Utc>, args: &[&str]) -> Command {
        let mut command = Command::new(self.tools.join(name));
        dr_testing::clock::set(command.env_clear().env("TZ", "UTC"), &format!("@{}", moment.format("%Y-%m-%d %H:%M:%S")));
        command.env("DR_STATE", self.path("state")).env("DR_CLUSTER", "main").env("HOME", self.scratch.path());
        command.env("DR_SIGNING_KEY", self.path("main.key")).env("DR_PUBLIC_KEY", self.public_keys());
        command.current_dir(self.path("data")).args(args);
        command
    }
}

/// The name of segment `number` of timeline 1, of segments of 1 MiB.
pub fn segment_name(number: u64) -> String {
    format!("00000001{:08X}{:08X}", number >> 12, number & 0xFFF)
}

fn number_of(name: &str) -> u64 {
    u64::from_str_radix(&name[8..16], 16).unwrap() << 12 | u64::from_str_radix(&name[16..24], 16).unwrap()
}

/// A segment as PostgreSQL 18 begins it, and nothing in it.
fn segment(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; SEGMENT_BYTES];
    bytes[..2].copy_from_slice(&0xD118_u16.to_ne_bytes());
    bytes[2..4].copy_from_slice(&2_u16.to_ne_bytes());
    bytes[4..8].copy_from_slice(&1_u32.to_ne_bytes());
    bytes[8..16].copy_from_slice(&(number * SEGMENT_BYTES as u64).to_ne_bytes());
    bytes[24..32].copy_from_slice(&7_u64.to_ne_bytes());
    bytes[32..36].copy_from_slice(&(SEGMENT_BYTES as u32).to_ne_bytes());
    bytes[36..40].copy_from_slice(&8192_u32.to_ne_bytes());
    bytes
}

/// The receipts that a producer leaves; a base begins and ends in the segment `base`.
fn receipt(moment: DateTime<Utc>, kind: &str, content: &str, base: Option<u64>) -> String {
    let at = |seconds| (moment + TimeDelta::seconds(seconds)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let digest = String::from_utf8(fed(&mut Command::new("sha256sum"), content.as_bytes()).stdout).unwrap();
    let mut produced = serde_json::json!({"kind": kind, "taken_at": at(0), "suffix": "txt", "database": "shop"});
    if let Some(segment) = base {
        let lsn = |offset: u64| format!("{:X}/{:X}", segment >> 12, (segment & 0xFFF) << 20 | offset);
        produced["base"] = serde_json::json!({
            "timeline": 1, "start_lsn": lsn(0x28), "stop_lsn": lsn(0x100), "started_at": at(-60), "stopped_at": at(0),
            "wal_segment_bytes": SEGMENT_BYTES, "page_bytes": 8192, "page_checksums": true, "from_standby": false,
            "tablespaces": [], "wal": "archived", "damaged_pages": 0, "catalog_version": 1, "files": 1,
            "settings": {"max_connections": 1, "max_worker_processes": 1, "max_wal_senders": 1,
                "max_prepared_transactions": 0, "max_locks_per_transaction": 64},
        });
        produced["database"].take();
    }
    let start = serde_json::json!({"type": "start", "tool": "dr-run", "started_at": at(0), "kind": kind, "suffix": "txt"});
    let receipt = serde_json::json!({
        "type": "receipt", "tool": "dr-run", "version": "0.1.0", "started_at": at(0), "finished_at": at(0),
        "out": {"bytes": content.len(), "sha256": &digest[..64]}, "produced": produced,
    });
    format!("{start}\n{receipt}\n")
}

fn fed(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
    let feeding = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    // A tool that reads nothing may close its input.
    feeding.join().unwrap().unwrap_or_default();
    output
}

/// Standard output of a program that has succeeded.
fn good(output: &Output) -> String {
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let found: Vec<_> = stdout.lines().filter(|line| line.contains("\"finding\"")).collect();
    assert_eq!(output.status.code(), Some(0), "{said}{}", found.join("\n"));
    stdout
}
