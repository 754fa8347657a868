//! A small world to be watched: stores with signed backups, and what this host remembers.
#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use dr_catalogue::{SigningKey, manifest, name, signature};
use dr_pipe::record::{self, Check, Manifest, Record, State};
use serde_json::{Value, json};
use tempfile::TempDir;

const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../dr-seal/tests");

pub struct World {
    root: TempDir,
    /// The moment at which the world is judged.
    pub now: DateTime<Utc>,
    /// What the environment says besides.
    pub environment: Vec<(String, String)>,
}

/// What dr-check has said.
pub struct Said {
    pub code: i32,
    pub checks: BTreeMap<String, Check>,
    /// The page of metrics that came of it, line by line.
    pub metrics: Vec<String>,
}

impl Said {
    /// The state of a check, named with its subject after a blank; none where it is not watched.
    pub fn state(&self, check: &str) -> Option<State> {
        self.checks.get(check).map(|check| check.state)
    }

    /// Holds a check against its state, in the record and in the metric.
    pub fn assert(&self, check: &str, state: State) {
        let found = self.checks.get(check).unwrap_or_else(|| panic!("no {check} in {:?}", self.checks.keys()));
        assert_eq!(found.state, state, "{found:?}");
        assert_eq!(found.hint.is_some(), state != State::Ok, "{found:?}");
        let (name, subject) = check.split_once(' ').unwrap_or((check, ""));
        let number = [State::Ok, State::Warning, State::Critical, State::Unknown].iter().position(|other| *other == state).unwrap();
        self.has(&format!(r#"pg_dr_check_state{{cluster="main",check="{name}",subject="{subject}"}} {number}"#));
        assert_eq!(self.code, i32::from(self.checks.values().any(|check| check.state != State::Ok)));
    }

    /// Holds a line against the metrics.
    pub fn has(&self, line: &str) {
        assert!(self.metrics.iter().any(|other| other == line), "no {line} in\n{}", self.metrics.join("\n"));
    }
}

impl World {
    /// A store `near` without backups.
    pub fn new() -> World {
        let root = tempfile::tempdir().unwrap();
        let world = World { root, now: Utc::now(), environment: Vec::new() };
        fs::write(world.path("main.key"), fs::read(format!("{KEYS}/main.key")).unwrap()).unwrap();
        fs::set_permissions(world.path("main.key"), fs::Permissions::from_mode(0o600)).unwrap();
        world.store("near", 'a');
        world
    }

    pub fn store(&self, name: &str, id: char) {
        fs::create_dir(self.path(name)).unwrap();
        let id: String = std::iter::repeat_n(id, 32).collect();
        fs::write(self.path(name).join("dr-store.json"), format!("{{\"format\":1,\"id\":\"{id}\"}}\n")).unwrap();
    }

    /// Gives a store another name.
    #[expect(clippy::disallowed_methods, reason = "nothing of the other name is there")]
    pub fn move_away(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn at(&self, hours: i64) -> DateTime<Utc> {
        self.now - TimeDelta::hours(hours)
    }

    /// Publishes a backup in a store, as dr-push and dr-seal leave it; gives its manifest.
    pub fn seal(&self, store: &str, fields: Value) -> Manifest {
        let mut record = json!({
            "format": 1, "cluster": "main", "sha256": "0".repeat(64), "sequence": 1, "recipients": ["age1a", "age1b"], "stores": [], "tools": [],
        });
        record.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let manifest: Manifest = serde_json::from_value(record).unwrap();
        let folder = self.path(store).join(name::folder("main", manifest.kind));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(&manifest.object), vec![b'x'; manifest.bytes as usize]).unwrap();
        let bytes = manifest::to_bytes(&manifest);
        fs::write(folder.join(format!("{}.json", manifest.name)), &bytes).unwrap();
        fs::write(folder.join(format!("{}.json.minisig", manifest.name)), signature::sign(&self.key(), &bytes, &manifest.name))
            .unwrap();
        manifest
    }

    pub fn key(&self) -> SigningKey {
        SigningKey::load(&self.path("main.key").display().to_string()).unwrap()
    }

    /// A dump of the database shop, so many hours old.
    pub fn dump(&self, store: &str, hours: i64, bytes: u64) -> Manifest {
        self.dump_of("shop", store, hours, bytes)
    }

    /// A dump of a database, so many hours old.
    pub fn dump_of(&self, database: &str, store: &str, hours: i64, bytes: u64) -> Manifest {
        let at = rfc3339(self.at(hours));
        let mark = if database == "shop" { "7f3a" } else { database };
        let name = format!("main_dump_{}_{mark}", self.at(hours).format("%Y%m%dT%H%M%SZ"));
        let produced = json!({"kind": "dump", "taken_at": at, "suffix": "tar.zst", "database": database});
        self.seal(store, json!({"kind": "dump", "name": name, "object": format!("{name}.tar.zst.age"), "bytes": bytes, "taken_at": at, "stored_at": at, "produced": produced}))
    }

    /// A base of segment 2 of timeline 1, so many hours old.
    pub fn base(&self, store: &str, hours: i64) {
        let at = rfc3339(self.at(hours));
        let name = format!("main_base_{}_7f3a", self.at(hours).format("%Y%m%dT%H%M%SZ"));
        let settings = json!({"max_connections": 100, "max_worker_processes": 8, "max_wal_senders": 10, "max_prepared_transactions": 0, "max_locks_per_transaction": 64});
        let base = json!({
            "timeline": 1, "start_lsn": "0/2000028", "stop_lsn": "0/2000100", "started_at": at, "stopped_at": at, "wal_segment_bytes": 16 << 20,
            "page_bytes": 8192, "page_checksums": true, "from_standby": false, "tablespaces": [], "settings": settings, "wal": "archived",
            "damaged_pages": 0, "catalog_version": 202_209_061, "files": 900,
        });
        let produced = json!({"kind": "base", "taken_at": at, "suffix": "tar.zst", "base": base});
        self.seal(store, json!({"kind": "base", "name": name, "object": format!("{name}.tar.zst.age"), "bytes": 900, "taken_at": at, "stored_at": at, "produced": produced}));
    }

    /// Where a segment of timeline 1 lies in a store.
    pub fn segment(&self, store: &str, number: u64) -> PathBuf {
        let name: dr_wal::SegmentName = format!("0000000100000000{number:08X}").parse().unwrap();
        self.path(store).join(dr_wal::layout::object("main", &name.into(), true))
    }

    /// Puts a segment there.
    pub fn wal(&self, store: &str, number: u64) {
        let path = self.segment(store, number);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }

    /// Notes a run, as dr-heartbeat does.
    pub fn run(&self, job: &str, exit_code: i32) {
        let at = rfc3339(self.now);
        let record = json!({
            "type": "run", "run": "00000000-0000-4000-8000-000000000001", "cluster": "main", "job": job, "host": "db1",
            "started_at": at, "finished_at": at, "succeeded": exit_code == 0, "exit_code": exit_code,
        });
        fs::create_dir_all(self.path("state")).unwrap();
        let file = self.path("state/runs-main.jsonl");
        let before = fs::read_to_string(&file).unwrap_or_default();
        fs::write(file, format!("{before}{record}\n")).unwrap();
    }

    /// Writes the objectives.
    pub fn promise(&self, text: &str) {
        fs::write(self.path("objectives.toml"), text).unwrap();
    }

    /// A tool of this project, in this world.
    pub fn tool(&self, name: &str) -> Command {
        let built = Path::new(env!("CARGO_BIN_EXE_dr-check")).with_file_name(name);
        assert!(built.exists(), "{name} is not built: cargo build --workspace makes it");
        let mut command = Command::new(built);
        command.current_dir(self.root.path()).env_clear().env("PATH", "/usr/bin:/bin").env("DR_STATE", self.path("state"));
        command.env("DR_CLUSTER", "main").env("DR_PUBLIC_KEY", format!("{KEYS}/main.pub"));
        if self.path("objectives.toml").exists() {
            command.env("DR_OBJECTIVES", self.path("objectives.toml"));
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        command
    }

    /// Runs dr-check, once for the facts and once to judge them, and makes metrics of both.
    pub fn check(&self, args: &[&str]) -> Said {
        let facts = output(self.tool("dr-check").args(["--facts", "--now", &rfc3339(self.now)]).args(args));
        assert!(facts.status.success(), "{}", String::from_utf8_lossy(&facts.stderr));
        fs::write(self.path("facts"), &facts.stdout).unwrap();
        let judged = output(self.tool("dr-check").args(["--json", "--now", &rfc3339(self.now), "facts"]));
        let said = |checks: &[u8]| match record::read(&mut &*checks) {
            Ok(records) => records
                .into_iter()
                .map(|record| match record {
                    Record::Check(check) => *check,
                    other => panic!("{other:?}"),
                })
                .collect::<Vec<_>>(),
            Err(failure) => panic!("{failure:?}"),
        };
        let checks = said(&judged.stdout);
        fs::write(self.path("all"), [facts.stdout, judged.stdout].concat()).unwrap();
        let page = output(self.tool("dr-metrics").stdin(fs::File::open(self.path("all")).unwrap()));
        assert!(page.status.success(), "{}", String::from_utf8_lossy(&page.stderr));
        let key = |check: &Check| {
            [Some(check.check.as_str()), check.subject.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ")
        };
        Said {
            code: judged.status.code().unwrap(),
            checks: checks.into_iter().map(|check| (key(&check), check)).collect(),
            metrics: String::from_utf8(page.stdout).unwrap().lines().map(Into::into).collect(),
        }
    }
}

pub fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

pub fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
