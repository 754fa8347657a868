//! A store that is well, and what is needed to read it and to write another one like it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dr_testing::programs;
use dr_testing::s3::{self, BUCKET, S3sFs};
use tempfile::TempDir;

/// What is run.
const TOOLS: [&str; 10] =
    ["dr-run", "dr-push", "dr-seal", "dr-list", "dr-pull", "dr-verify", "dr-copy", "dr-wal-push", "dr-wal-fetch", "dr-delete"];

/// Bytes of a segment of WAL: the smallest there are.
const SEGMENT_BYTES: usize = 1 << 20;
/// The system identifier of the segments.
const SYSTEM: u64 = 7_000_000_000_000_000_001;

/// The prefix of the store that is well.
pub const WELL: &str = "well";

/// The server, the store on it, and a directory with the rest.
pub struct Well {
    pub s3: S3sFs,
    scratch: TempDir,
    /// The tools.
    bin: TempDir,
    /// What dr-list says of it.
    pub listed: String,
}

impl Well {
    /// Makes it: two backups, three segments of WAL, and a copy of the newer backup in a directory.
    ///
    /// # Panics
    /// If any of it fails.
    pub fn new() -> Well {
        let built = std::env::current_exe().expect("we run").parent().expect("a directory").to_owned();
        let bin = programs::reachable(&built, &TOOLS);
        let scratch = tempfile::Builder::new().prefix("drhostile").tempdir_in("/tmp").expect("a scratch directory");
        let mut well = Well { s3: S3sFs::start(), scratch, bin, listed: String::new() };
        for (name, bytes) in [("older", 3_000), ("newer", 700_000), ("small", 3_000), ("large", (17 << 20) + 5)] {
            fs::write(well.path(name), noise(name.len() as u64 + bytes as u64, bytes)).expect("a payload");
        }
        fs::create_dir_all(well.path("pg_wal/archive_status")).expect("pg_wal");
        for number in 1..=3 {
            fs::write(well.path("pg_wal").join(segment_name(number)), segment(number)).expect("a segment");
        }
        well.script(
            "minisign -G -W -p main.pub -s main.key > log\n\
             for it in older newer; do\n\
                 # Names are in the order of their seconds.\n\
                 now=$(date +%s) && until test $(date +%s) -gt $now; do :; done\n\
                 export DR_RECEIPT=receipts.$it\n\
                 dr-run --kind files --suffix bin -- cat $it | dr-push && dr-seal < $DR_RECEIPT > sealed || exit\n\
             done\n\
             for it in small large; do\n\
                 DR_RECEIPT=receipts.$it dr-run --kind files --suffix bin -- cat $it > log || exit\n\
             done\n\
             unset DR_RECEIPT\n\
             for it in pg_wal/0*; do dr-wal-push $it || exit; done\n\
             mkdir near && DR_TO=near dr-copy --kind files latest > log 2>&1 && dr-verify > log && dr-list --json > listed",
        );
        well.listed = well.read("listed");
        well
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn read(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).expect("text")
    }

    /// Where the server keeps a store's objects.
    pub fn objects(&self, prefix: &str) -> PathBuf {
        self.bucket().join(prefix)
    }

    /// Where the server keeps all objects.
    pub fn bucket(&self) -> PathBuf {
        self.s3.directory().join("data").join(BUCKET)
    }

    /// The name of a file below the store's backups that ends so, of the newer backup.
    pub fn newer(&self, suffix: &str) -> String {
        let files = files(&self.objects(WELL).join("main/files"));
        files.into_keys().filter(|name| name.ends_with(suffix)).max().expect("the newer backup")
    }

    /// A tool of ours that reaches S3 at `url`, reads and writes the store `prefix`, and has nothing of this machine's settings.
    pub fn command(&self, program: &str, url: &str, prefix: &str) -> Command {
        let mut command = Command::new(self.bin.path().join(program));
        self.settle(&mut command, url, prefix);
        command
    }

    fn settle(&self, command: &mut Command, url: &str, prefix: &str) {
        let store = format!("s3://{BUCKET}/{prefix}");
        let tools = s3::tool("minisign").and_then(|tool| tool.parent().map(Path::to_owned)).unwrap_or_default();
        command.env_clear().envs(s3::environment(url)).current_dir(self.scratch.path());
        command.env("PATH", format!("{}:/usr/bin:/bin:{}", self.bin.path().display(), tools.display()));
        command.env("HOME", self.scratch.path()).env("DR_STATE", self.path("state")).env("DR_CLUSTER", "main");
        command.env("DR_TO", &store).env("DR_FROM", &store).env("DR_UNENCRYPTED", "1").env("DR_AHEAD", "0");
        command.env("DR_SIGNING_KEY", self.path("main.key")).env("DR_PUBLIC_KEY", self.path("main.pub"));
    }

    fn script(&self, script: &str) {
        let mut command = Command::new("bash");
        command.args(["-o", "pipefail", "-c", script]);
        self.settle(&mut command, &self.s3.url(), WELL);
        let output = command.output().expect("bash");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Copies what readers remember, as if they had met this store at `url`.
    pub fn copy_state(&self, to: &Path, url: &str) {
        fs::create_dir_all(to).expect("a state");
        for name in ["seen.json", "verified.json"] {
            let text = self.read(&format!("state/{name}")).replace(&self.s3.url(), url);
            fs::write(to.join(name), text).expect("a state");
        }
    }
}

/// The files below a directory, by their paths from it.
pub fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    collect(directory, "", &mut found);
    found
}

fn collect(directory: &Path, prefix: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match fs::read(entry.path()) {
            Ok(bytes) => drop(found.insert(name, bytes)),
            Err(_) => collect(&entry.path(), &format!("{name}/"), found),
        }
    }
}

/// Bytes that no compression or coincidence makes equal.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33).to_le_bytes()[0]
    };
    std::iter::repeat_with(&mut next).take(bytes).collect()
}

/// The name of segment `number` of timeline 1.
pub fn segment_name(number: u32) -> String {
    format!("0000000100000000{number:08X}")
}

/// A segment as PostgreSQL 18 begins it.
fn segment(number: u32) -> Vec<u8> {
    let mut bytes = noise(u64::from(number), SEGMENT_BYTES / 4);
    bytes.resize(SEGMENT_BYTES, 0);
    bytes[..2].copy_from_slice(&0xD118_u16.to_ne_bytes());
    bytes[2..4].copy_from_slice(&2_u16.to_ne_bytes());
    bytes[4..8].copy_from_slice(&1_u32.to_ne_bytes());
    bytes[8..16].copy_from_slice(&(u64::from(number) * SEGMENT_BYTES as u64).to_ne_bytes());
    bytes[16..24].fill(0);
    bytes[24..32].copy_from_slice(&SYSTEM.to_ne_bytes());
    bytes[32..36].copy_from_slice(&(SEGMENT_BYTES as u32).to_ne_bytes());
    bytes[36..40].copy_from_slice(&8192_u32.to_ne_bytes());
    bytes
}
