//! Running dr-wal-push in a world of its own, on segments that look like a server's.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The system identifier of segments made here.
pub const SYSTEM: u64 = 7_000_000_000_000_000_001;

/// Bytes of a segment made here: the smallest there are.
pub const BYTES: usize = 1 << 20;

/// A scratch directory with a data directory, a state and a store.
pub struct World {
    scratch: tempfile::TempDir,
}

impl World {
    pub fn new() -> World {
        let world = World { scratch: tempfile::tempdir().unwrap() };
        fs::create_dir_all(world.path("data/pg_wal/archive_status")).unwrap();
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub fn store(&self) -> String {
        self.path("store").to_str().unwrap().into()
    }

    /// dr-wal-push of cluster `main` in the data directory, with nothing of this machine's settings, unencrypted.
    pub fn push(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dr-wal-push"));
        self.settle(&mut command);
        command.arg(format!("pg_wal/{name}"));
        command
    }

    /// As [`World::push`], into the directory store.
    pub fn push_here(&self, name: &str) -> Command {
        let mut command = self.push(name);
        command.args(["--to", &self.store()]);
        command
    }

    /// A line of shell in the data directory, in which `dr-wal-push` is ours.
    pub fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", line]);
        self.settle(&mut command);
        command
    }

    fn settle(&self, command: &mut Command) {
        let bin = Path::new(env!("CARGO_BIN_EXE_dr-wal-push")).parent().unwrap().display().to_string();
        command.env_clear().env("PATH", format!("{bin}:/usr/bin:/bin:/usr/sbin:/sbin")).env("HOME", self.scratch.path());
        command.env("DR_STATE", self.path("state")).env("DR_CLUSTER", "main").env("DR_UNENCRYPTED", "1");
        command.env("STORE", self.store()).current_dir(self.path("data"));
    }

    /// Writes a file into pg_wal, marked as ready.
    pub fn ready(&self, name: &str, bytes: &[u8]) {
        fs::write(self.wal(name), bytes).unwrap();
        fs::write(self.path("data/pg_wal/archive_status").join(format!("{name}.ready")), "").unwrap();
    }

    pub fn wal(&self, name: &str) -> PathBuf {
        self.path("data/pg_wal").join(name)
    }

    /// What archive_status holds, in order: names, sizes and times.
    pub fn markers(&self) -> Vec<String> {
        let line = "stat -c '%n %s %y %i' pg_wal/archive_status/*";
        String::from_utf8(self.shell(line).output().unwrap().stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// Every object below the store's `main/wal/`, sorted.
    pub fn objects(&self) -> Vec<String> {
        let line = "cd $STORE/main/wal 2> /dev/null && find . -type f | sed 's/..//' | sort";
        String::from_utf8(self.shell(line).output().unwrap().stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// The plain bytes of an unencrypted object, by its key below `main/wal/`.
    pub fn plain(&self, key: &str) -> Vec<u8> {
        zstd::decode_all(fs::File::open(self.path("store/main/wal").join(key)).unwrap()).unwrap()
    }

    /// The journal's entries.
    pub fn journal(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("state/wal/main/pushed")).into_iter().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }
}

/// The name of segment `number` of timeline 1.
pub fn name(number: u32) -> String {
    format!("0000000100000000{number:08X}")
}

/// A segment of 1 MiB as PostgreSQL 18 begins it, filled with what `seed` gives.
pub fn segment(number: u32, seed: u8) -> Vec<u8> {
    segment_of(SYSTEM, 1, number, seed)
}

pub fn segment_of(system: u64, timeline: u32, number: u32, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; BYTES];
    bytes[..2].copy_from_slice(&0xD118_u16.to_ne_bytes());
    bytes[2..4].copy_from_slice(&2_u16.to_ne_bytes());
    bytes[4..8].copy_from_slice(&timeline.to_ne_bytes());
    bytes[8..16].copy_from_slice(&(u64::from(number) * BYTES as u64).to_ne_bytes());
    bytes[24..32].copy_from_slice(&system.to_ne_bytes());
    bytes[32..36].copy_from_slice(&(BYTES as u32).to_ne_bytes());
    bytes[36..40].copy_from_slice(&8192_u32.to_ne_bytes());
    for (place, byte) in bytes.iter_mut().enumerate().skip(40).take(BYTES / 2) {
        *byte = (place as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3] ^ seed;
    }
    bytes
}

/// Its stderr, after its exit code was found to be `code`.
pub fn stderr_of(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(output.stdout.is_empty(), "nothing belongs on standard output");
    stderr
}
