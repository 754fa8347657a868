//! A cluster that is backed up as it is meant to be, and lost: its base and its WAL are in S3.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use dr_testing::postgres::{Server, as_server_user, own};
use dr_testing::programs;
use dr_testing::proxy::Proxy;
use dr_testing::s3::{self, BUCKET, S3sFs};
use tempfile::TempDir;

use super::trial::{PATIENCE, Recovery};

/// What is run.
const TOOLS: [&str; 7] = ["dr-base", "dr-encrypt", "dr-push", "dr-seal", "dr-wal-push", "dr-wal-fetch", "dr-recover"];

/// Batches of rows, each in WAL of its own.
const BATCHES: u64 = 6;
/// Rows of a batch.
const BATCH_ROWS: u64 = 1000;

/// The backups, and what a recovery needs to reach them.
pub struct Cluster {
    pub major: u32,
    /// How many rows a whole recovery brings back.
    pub rows: u64,
    /// How many requests a recovery makes that meets no fault.
    pub requests: usize,
    pub s3: S3sFs,
    /// Keys.
    pub keys: TempDir,
    /// The tools, where the server's user can run them.
    pub bin: TempDir,
}

impl Cluster {
    /// Makes it, and recovers it once without a fault.
    ///
    /// # Panics
    /// If any of it fails.
    pub fn new(major: u32) -> Cluster {
        let built = std::env::current_exe().expect("we run").parent().expect("a directory").to_owned();
        let bin = programs::reachable(&built, &TOOLS);
        let keys = tempfile::Builder::new().prefix("drkeys").tempdir_in("/tmp").expect("a scratch directory");
        fs::set_permissions(keys.path(), fs::Permissions::from_mode(0o700)).expect("its mode");
        own(keys.path());
        let mut cluster = Cluster { major, rows: BATCHES * BATCH_ROWS, requests: 0, s3: S3sFs::start(), keys, bin };
        cluster.make_keys();
        cluster.back_up();
        cluster.requests = cluster.recover_once();
        cluster
    }

    /// A key's file.
    pub fn key(&self, name: &str) -> PathBuf {
        self.keys.path().join(name)
    }

    /// What every tool is told by its environment; S3 is reached at `url`.
    pub fn environment(&self, url: &str, state: &Path) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.display().to_string();
        let mut environment = s3::environment(url);
        environment.extend([
            ("PATH", format!("{}:/usr/bin:/bin", text(self.bin.path()))),
            ("DR_CLUSTER", "main".into()),
            ("DR_TO", format!("s3://{BUCKET}")),
            ("DR_FROM", format!("s3://{BUCKET}")),
            ("DR_STATE", text(state)),
            ("DR_RECIPIENTS", text(&self.key("recipients"))),
            ("DR_SIGNING_KEY", text(&self.key("main.key"))),
            ("DR_PUBLIC_KEY", text(&self.key("main.pub"))),
            ("DR_IDENTITY", text(&self.key("identity"))),
            ("DR_SINGLE_RECIPIENT", "1".into()),
        ]);
        environment
    }

    fn make_keys(&self) {
        let script = "age-keygen -o identity 2> log && age-keygen -y identity > recipients && \
                      minisign -G -W -p main.pub -s main.key > log";
        shell(self.keys.path(), script, &[]);
    }

    /// A base, then batches of rows, each in WAL that is archived before the server dies.
    fn back_up(&self) {
        let state = self.key("state");
        let environment = self.environment(&self.s3.url(), &state);
        let server = Server::initialise(self.major, &[("archive_mode", "on"), ("wal_level", "replica")]);
        let exports: String = environment.iter().map(|(name, value)| format!("export {name}='{value}'\n")).collect();
        let script = server.file("archive", format!("{exports}exec dr-wal-push \"$1\"\n"));
        server.configure(&[("archive_command", &format!("sh {} %p", script.display()))]);
        server.restart();
        server.psql("postgres", "CREATE TABLE t (batch bigint, n bigint)");
        let mut settings = environment;
        settings.extend(server.env());
        settings.push(("PGDATABASE", "postgres".into()));
        settings.push(("DR_RECEIPT", self.key("receipts").display().to_string()));
        settings.push(("DR_PG_BINDIRS", server.bin_dir().display().to_string()));
        shell(self.keys.path(), "dr-base | dr-encrypt | dr-push && dr-seal < \"$DR_RECEIPT\" > sealed", &settings);
        for batch in 0..BATCHES {
            let sql = format!("INSERT INTO t SELECT {batch}, n FROM generate_series(1, {BATCH_ROWS}) n");
            server.psql("postgres", &sql);
            let switched = "SELECT pg_walfile_name(pg_switch_wal())";
            let segment = server.psql("postgres", switched);
            let archived = format!("SELECT 1 FROM pg_stat_archiver WHERE last_archived_wal >= '{segment}'");
            while server.psql("postgres", &archived).is_empty() {
                assert!(!server.log().contains("archive command failed"), "{}", server.log());
                std::thread::park_timeout(std::time::Duration::from_millis(20));
            }
        }
        server.kill();
    }

    /// Recovers without a fault; gives the number of requests that took.
    fn recover_once(&self) -> usize {
        let proxy = Proxy::choosing(self.s3.address(), |_, _| None);
        let recovery = Recovery::begin(self, &proxy, PATIENCE);
        let ended = recovery.recover();
        assert_eq!(ended.code, Some(0), "a recovery without a fault: {}", ended.said);
        assert_eq!(recovery.rows(), Some(self.rows), "a recovery without a fault: {}", ended.said);
        proxy.seen().len()
    }
}

/// Runs a script as the user that runs the servers.
fn shell(directory: &Path, script: &str, settings: &[(&str, String)]) {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).current_dir(directory).envs(settings.iter().map(|(name, value)| (*name, value)));
    let output = as_server_user(&mut command).output().expect("sh");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}
