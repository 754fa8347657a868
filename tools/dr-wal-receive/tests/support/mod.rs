//! A receiver with its stores and directories, and servers to receive from.
#![allow(clippy::unwrap_used, clippy::print_stderr, dead_code, reason = "no file of tests needs all of it")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use dr_crypt::{Identities, IdentityArgs, RecipientArgs, Recipients};
use dr_store::{Store, StoreArgs};
use dr_testing::postgres::Server;
use dr_wal::{Claim, Inventory, Lsn, Opening, Packed, Packing, SegmentName, SegmentSize, Shelf, Shelved, Timeline, WalName};
use tempfile::TempDir;

pub const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
const IDENTITY: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
pub const SIZE: SegmentSize = SegmentSize::DEFAULT;

/// Polls until it is so, for a minute.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !so() {
        assert!(Instant::now() < deadline, "it does not come to this: {what}");
        std::thread::park_timeout(Duration::from_millis(30));
    }
}

/// A scratch directory with a store, a receiver's own directory and its state.
pub struct Rig {
    pub scratch: TempDir,
}

/// A receiver that runs until this is dropped.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Rig {
    pub fn new() -> Rig {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("identity"), IDENTITY).unwrap();
        fs::set_permissions(scratch.path().join("identity"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        Rig { scratch }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The receiver with what every call has; `conn` is a connection string.
    pub fn command(&self, conn: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dr-wal-receive"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.scratch.path()).env("DR_STATE", self.path("state"));
        command.args(["--dbname", conn, "--cluster", "main", "--create-slot", "--every", "1", "--recipient", RECIPIENT]);
        command.arg("--dir").arg(self.path("dir")).arg("--to").arg(self.path("store")).args(more);
        command.stdin(Stdio::null());
        command
    }

    pub fn start(&self, conn: &str, more: &[&str]) -> Running {
        self.start_command(self.command(conn, more))
    }

    pub fn start_command(&self, mut command: Command) -> Running {
        let log = self.path("log");
        let file = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        Running { child: command.stdout(Stdio::null()).stderr(file).spawn().unwrap(), log }
    }

    /// Runs until it ends by itself.
    pub fn run(&self, conn: &str, more: &[&str]) -> Output {
        self.command(conn, more).output().unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub fn inventory(&self) -> Inventory {
        self.inventory_of("store")
    }

    /// What a store has; nothing where it is not even there.
    pub fn inventory_of(&self, store: &str) -> Inventory {
        let location = self.path(store).display().to_string().parse().unwrap();
        let Ok(store) = Store::open_for_read(&location, &StoreArgs::default()) else { return Inventory::default() };
        Shelf::new(&store, "main").inventory().unwrap()
    }

    /// The whole segments of a timeline in the store.
    pub fn segments(&self, timeline: u32) -> Vec<SegmentName> {
        self.inventory().segments(Timeline(timeline)).collect()
    }

    /// A file of the store, decrypted, and proved; with how much of it came from pieces, where it did.
    pub fn read(&self, name: impl Into<WalName>) -> Option<(Vec<u8>, Option<u32>)> {
        let location = self.path("store").display().to_string().parse().unwrap();
        let store = Store::open_for_read(&location, &StoreArgs::default()).unwrap();
        let args = IdentityArgs { identities: vec![self.path("identity").display().to_string()] };
        let identities = Identities::read(&args, "test").unwrap();
        let opening = Opening { identities: Some(&identities), ..Opening::default() };
        let got = Shelf::new(&store, "main").get(&name.into(), &opening).unwrap()?;
        Some((got.bytes, got.partial))
    }

    /// What is said of a file in the store.
    pub fn claims(&self, name: impl Into<WalName>) -> Vec<Claim> {
        let location = self.path("store").display().to_string().parse().unwrap();
        let store = Store::open_for_read(&location, &StoreArgs::default()).unwrap();
        let (shelf, name) = (Shelf::new(&store, "main"), name.into());
        shelf.claims_of(&shelf.inventory().unwrap().files[&name], &name, &[]).unwrap()
    }

    /// The store holds the whole WAL of a timeline from its first segment there up to, and without, that of `end`.
    pub fn holds_without_a_gap(&self, timeline: u32, end: Lsn) -> bool {
        let segments = self.segments(timeline);
        let contiguous = segments.windows(2).all(|pair| pair[0].next(SIZE) == pair[1]);
        assert!(contiguous, "{segments:?}");
        segments.last().is_some_and(|last| last.end(SIZE).0 + SIZE.bytes() > end.0)
    }

    /// Every whole segment of the store is what the server has archived itself, or still has in pg_wal.
    pub fn equals_archive(&self, server: &Server, timeline: u32) -> usize {
        let segments = self.segments(timeline);
        for segment in &segments {
            let archived = fs::read(archive(server).join(segment.to_string()));
            let expected = archived.or_else(|_| fs::read(server.data_dir().join("pg_wal").join(segment.to_string()))).unwrap();
            let (stored, partial) = self.read(*segment).unwrap();
            assert!(partial.is_none() && stored == expected, "{segment}");
        }
        segments.len()
    }

    /// Pushes what the server has archived itself, as dr-wal-push would.
    pub fn push(&self, server: &Server, name: impl Into<WalName>) -> Shelved {
        let name = name.into();
        let plain = fs::read(archive(server).join(name.to_string())).unwrap();
        let args = RecipientArgs { recipients: vec![RECIPIENT.into()], recipients_files: Vec::new() };
        let recipients = Recipients::read(&args, "test").unwrap();
        let packing =
            Packing { cluster: "main", recipients: Some(&recipients), level: 1, signing_key: None, system_identifier: None };
        let location = self.path("store").display().to_string().parse().unwrap();
        let store = Store::open_for_read(&location, &StoreArgs::default()).unwrap();
        Shelf::new(&store, "main").put(&Packed::new(name, &plain, &packing).unwrap()).unwrap()
    }

    /// What is on the own disk of the segment that is being received.
    pub fn receiving(&self, segment: SegmentName) -> Vec<u8> {
        fs::read(self.path("dir").join(format!("{segment}.receiving"))).unwrap_or_default()
    }
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap().success());
    }

    /// Ends it with SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends; its exit code.
    pub fn end(mut self) -> Option<i32> {
        eventually("the receiver ends", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let mut text = String::new();
            fs::File::open(&self.log).unwrap().read_to_string(&mut text).unwrap();
            eprintln!("{text}");
        }
    }
}

/// Where a server puts what it archives.
pub fn archive(server: &Server) -> PathBuf {
    server.socket_dir().join("archive")
}

/// A server that archives by cp beside its data directory.
pub fn archiving(major: u32, more: &[(&str, &str)]) -> Server {
    let server = Server::initialise(major, &[("archive_mode", "on"), ("wal_level", "replica")]);
    let archive = archive(&server).display().to_string();
    server.configure(&[(
        "archive_command",
        &format!("mkdir -p {archive} && cp %p {archive}/tmp.%f && mv {archive}/tmp.%f {archive}/%f"),
    )]);
    server.configure(more);
    server.restart();
    server
}

/// Writes about so many segments, the last one unfinished.
pub fn load(server: &Server, segments: usize) -> Lsn {
    server.psql("postgres", "CREATE TABLE IF NOT EXISTS t(x int, y text)");
    for _ in 0..segments {
        server.psql(
            "postgres",
            "INSERT INTO t SELECT g, repeat(md5(g::text), 8) FROM generate_series(1, 12000) g; SELECT pg_switch_wal()",
        );
    }
    server.psql("postgres", "INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 100) g");
    end(server)
}

/// Where the server's WAL ends.
pub fn end(server: &Server) -> Lsn {
    server.psql("postgres", "SELECT pg_current_wal_flush_lsn()").parse().unwrap()
}

/// What time it is for the server.
pub fn now(server: &Server) -> DateTime<Utc> {
    let micros = server.psql("postgres", "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint");
    DateTime::from_timestamp_micros(micros.parse().unwrap()).unwrap()
}

/// The bytes of a segment as the server has it.
pub fn on_server(server: &Server, segment: SegmentName) -> Vec<u8> {
    fs::read(server.data_dir().join("pg_wal").join(segment.to_string())).unwrap()
}

/// Files below a directory, as paths from it, with their sizes.
pub fn files(root: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let mut next = vec![root.to_owned()];
    while let Some(path) = next.pop() {
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                next.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(root).unwrap().display().to_string();
                found.insert(name, entry.metadata().map(|metadata| metadata.len()).unwrap_or_default());
            }
        }
    }
    found
}
