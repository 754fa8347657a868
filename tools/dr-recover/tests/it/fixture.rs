//! A server that archives its WAL, base backups of it, and recoveries, all by the programs that an operator runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dr_catalogue::SigningKey;
use dr_store::{Store, StoreArgs};
use dr_testing::postgres::{Server, as_server_user, bin_dir, own};
use dr_wal::{Lsn, Packing, SegmentName, SegmentSize, Shelf, Timeline};
use serde_json::Value;
use tempfile::TempDir;

const PROGRAMS: [&str; 8] = ["dr-base", "dr-encrypt", "dr-push", "dr-run", "dr-seal", "dr-wal-push", "dr-wal-fetch", "dr-recover"];

/// A server whose WAL goes to a directory store.
pub struct Source {
    pub server: Server,
    pub place: TempDir,
}

/// What a program did.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    #[track_caller]
    pub fn ends(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        &self.stderr
    }

    /// The only record that it wrote.
    #[track_caller]
    pub fn record(&self) -> Value {
        self.ends(0);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

pub fn run(command: &mut Command) -> Ran {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waiting for {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

impl Source {
    /// A server with a table `t`, and a first base backup.
    pub fn start(major: u32) -> Source {
        Source::start_with(major, &[])
    }

    pub fn start_with(major: u32, settings: &[(&str, &str)]) -> Source {
        let place = tempfile::Builder::new().prefix("drrec").tempdir_in("/tmp").unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        own(place.path());
        let path = |name: &str| place.path().join(name);
        fs::create_dir(path("bin")).unwrap();
        for program in PROGRAMS {
            let built = Path::new(env!("CARGO_BIN_EXE_dr-recover")).with_file_name(program);
            assert!(built.exists(), "build {program} first: cargo build -p {program}");
            // The server's user may not look into the directory of whoever builds.
            fs::hard_link(&built, path("bin").join(program))
                .or_else(|_| fs::copy(&built, path("bin").join(program)).map(drop))
                .unwrap();
        }
        let archive = archive_command(place.path());
        let mut all = vec![("archive_mode", "on"), ("archive_command", archive.as_str()), ("wal_level", "replica")];
        all.extend(settings);
        let server = Server::initialise(major, &all);
        let source = Source { server, place };
        source.shell("age-keygen -o identity 2> key && sed -n 's/^Public key: //p' key > recipients && minisign -GW -p main.pub -s main.key > key");
        source.server.restart();
        source.sql("CREATE TABLE t (n int)");
        source
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub fn sql(&self, sql: &str) -> String {
        self.server.psql("postgres", sql)
    }

    /// A program, or a shell, as the user of the server.
    pub fn tool(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.env_clear().env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display())).env("LC_ALL", "C.UTF-8");
        command.env("DR_STATE", self.path("state")).env("HOME", self.place.path()).current_dir(self.place.path());
        command.env("DR_PG_BINDIRS", self.server.bin_dir()).envs(self.server.env());
        as_server_user(&mut command);
        command
    }

    #[track_caller]
    pub fn shell(&self, script: &str) -> String {
        let ran = run(self.tool("/bin/bash").args(["-o", "pipefail", "-ec", script]));
        ran.ends(0);
        ran.stdout
    }

    /// Takes a base backup, and gives its name.
    #[track_caller]
    pub fn base(&self) -> String {
        self.base_with("")
    }

    #[track_caller]
    pub fn base_with(&self, args: &str) -> String {
        let made = self.shell(&format!(
            "export DR_RECEIPT=$PWD/receipt; : > receipt; dr-base {args} postgres | dr-encrypt -R recipients | dr-push --to store --cluster main; \
             dr-seal --cluster main -s main.key < receipt"
        ));
        let record: Value = serde_json::from_str(made.lines().next().unwrap()).unwrap();
        record["name"].as_str().unwrap().to_owned()
    }

    /// Ends the segment, and waits until all of it is in the store.
    pub fn archived(&self) {
        let segment = self.sql("SELECT pg_walfile_name(pg_switch_wal())");
        let folder = self.path("store/main/wal").join(&segment[..8]);
        wait_for(&segment, || folder.join(format!("{segment}.zst.age")).exists());
    }

    /// Stores the beginning of the segment that is written now as a piece; says of which, and up to where.
    pub fn streamed(&self, store: &str) -> (SegmentName, Lsn) {
        let lsn: Lsn = self.sql("SELECT pg_current_wal_flush_lsn()").parse().unwrap();
        let segment = SegmentName::containing(Timeline(1), lsn, SegmentSize::DEFAULT);
        let bytes = fs::read(self.server.data_dir().join("pg_wal").join(segment.to_string())).unwrap();
        let location = self.path(store).display().to_string().parse().unwrap();
        let opened = Store::open_for_write(&location, &StoreArgs::default()).unwrap();
        let key = SigningKey::load(&self.path("main.key").display().to_string()).unwrap();
        let packing = Packing { cluster: "main", recipients: None, level: 3, signing_key: Some(&key), system_identifier: None };
        let reached = (lsn.0 % SegmentSize::DEFAULT.bytes()) as usize;
        Shelf::new(&opened, "main").put_piece(segment, 0, &bytes[..reached], &packing).unwrap();
        assert!(Command::new("chmod").args(["-R", "a+rX"]).arg(self.path(store)).status().unwrap().success());
        (segment, lsn)
    }

    /// Adds a row, and gives the number of its transaction.
    pub fn row(&self, n: u32) -> String {
        self.sql(&format!("BEGIN; INSERT INTO t VALUES ({n}); SELECT txid_current() % 4294967296; COMMIT"))
    }

    pub fn now(&self) -> String {
        self.sql("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
    }

    pub fn recover(&self, into: &str, args: &[&str]) -> Command {
        let mut command = self.tool(self.path("bin/dr-recover"));
        command.args(["--from", "store", "--cluster", "main", "-i", "identity", "-p", "main.pub", "--into", into]).args(args);
        command
    }

    /// Recovers, starts, and waits for the target.
    pub fn arrive(&self, into: &str, args: &[&str]) -> (Recovered, Value) {
        let ran = run(self.recover(into, &["--start", "--wait", "--no-sync"]).args(args));
        let recovered = Recovered { bin: bin_dir(self.server.major()).unwrap(), data: self.path(into) };
        assert_eq!(
            ran.code,
            Some(0),
            "{}\n{}",
            ran.stderr,
            fs::read_to_string(self.path(into).join("dr-recover.log")).unwrap_or_default()
        );
        (recovered, ran.record())
    }

    /// Makes a second timeline that leaves the first at `at`, adds a row to it, and archives it into the same place. Both servers
    /// have stopped then.
    pub fn branch(&self, at: &str, row: u32) {
        self.branch_to(2, &["--target-time", at], row);
    }

    /// Makes a timeline of that number, out of what `args` recover; else as [`Source::branch`].
    pub fn branch_to(&self, timeline: u32, args: &[&str], row: u32) {
        let name = format!("branch{timeline}");
        let (recovered, _) = self.arrive(&name, args);
        recovered.sql(&format!("INSERT INTO t VALUES ({row})"));
        let archive = fs::read_to_string(self.server.data_dir().join("postgresql.conf")).unwrap();
        let archive: String = archive.lines().filter(|line| line.starts_with("archive_")).map(|line| format!("{line}\n")).collect();
        self.server.stop(false);
        drop(recovered);
        let auto = self.path(&name).join("postgresql.auto.conf");
        fs::write(&auto, fs::read_to_string(&auto).unwrap() + &archive).unwrap();
        let (bin, place) = (self.server.bin("pg_ctl").display().to_string(), self.path(&name).display().to_string());
        let options = format!("-c port=5432 -c unix_socket_directories={place}");
        self.shell(&format!("{bin} start -w -s -D {name} -l {name}/log -o '{options}'"));
        // Two segments, so that the first can be lost.
        let switch = "-c 'SELECT pg_switch_wal()'";
        self.shell(&format!("psql -Xq -h {place} -U postgres -d postgres {switch} -c 'CREATE TABLE more{timeline} ()' {switch}"));
        wait_for(&name, || {
            let names = fs::read_dir(self.path("store/main/wal").join(format!("{timeline:08X}")));
            let is_object = |name: &fs::DirEntry| name.path().extension().is_some_and(|end| end == "age");
            names.is_ok_and(|names| names.filter(|name| is_object(name.as_ref().unwrap())).count() >= 3)
        });
        self.shell(&format!("{bin} stop -s -D {name} -m fast"));
    }

    /// The object of a segment, and all that is said of it; not what was streamed.
    pub fn lose(&self, segment: &str) {
        let folder = self.path("store/main/wal").join(&segment[..8]);
        let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let lost: Vec<_> =
            names.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(segment) && path.is_file()).collect();
        assert!(!lost.is_empty(), "{segment}");
        lost.iter().for_each(|path| fs::remove_file(path).unwrap());
    }
}

fn archive_command(place: &Path) -> String {
    let place = place.display();
    format!(
        "DR_STATE={place}/state {place}/bin/dr-wal-push %p --to {place}/store --cluster main -R {place}/recipients -s {place}/main.key"
    )
}

/// A server that dr-recover has started.
pub struct Recovered {
    pub bin: PathBuf,
    pub data: PathBuf,
}

impl Recovered {
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        let mut command = Command::new(self.bin.join("psql"));
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres", "-c", sql, "-h"]).arg(&self.data);
        let ran = run(&mut command);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran.stdout.trim_end().to_owned()
    }

    pub fn rows(&self) -> String {
        self.sql("SELECT coalesce(string_agg(n::text, ' ' ORDER BY n), '') FROM t")
    }
}

impl Drop for Recovered {
    fn drop(&mut self) {
        let mut command = Command::new(self.bin.join("pg_ctl"));
        command.args(["stop", "-s", "-w", "-m", "immediate", "-D"]).arg(&self.data).stderr(Stdio::null());
        drop(as_server_user(&mut command).status());
    }
}
