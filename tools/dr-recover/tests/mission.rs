//! The bad day from end to end: base, archive and stream into S3 under load; a dropped table, a killed server, a deleted data
//! directory; and back to the moment before, from S3 alone, with our tools and without.
#![allow(clippy::unwrap_used, missing_docs)]

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use dr_testing::postgres::Server;
use dr_testing::s3::{BUCKET, Moto};

/// The programs that the scripts call, and that the tests do.
const TOOLS: [&str; 11] = [
    "dr-base",
    "dr-doctor",
    "dr-encrypt",
    "dr-fingerprint",
    "dr-list",
    "dr-push",
    "dr-recover",
    "dr-seal",
    "dr-wal-fetch",
    "dr-wal-push",
    "dr-wal-receive",
];

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(180);

/// Makes copies of all objects of a bucket, with a stock client.
const FETCH: &str = "
import boto3, os, sys
bucket = boto3.resource('s3', endpoint_url=os.environ['DR_ENDPOINT_URL']).Bucket(sys.argv[1])
for found in bucket.objects.filter(Prefix='pg/main/'):
    os.makedirs(os.path.dirname(found.key), exist_ok=True)
    bucket.download_file(found.key, found.key)
";

/// A program that is ended with the test.
struct Running(Child);

impl Running {
    fn end(&mut self, signal: &str) {
        drop(Command::new("kill").args([signal, &self.0.id().to_string()]).stderr(Stdio::null()).status());
        drop(self.0.wait());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end("-KILL");
    }
}

/// A host with a server that is backed up, its keys, and the store: one that keeps two who create the same object apart, as the
/// archiver and the receiver do all the time, and s3s-fs does not.
struct Host {
    server: Server,
    s3: Moto,
}

impl Host {
    fn new(major: u32) -> Self {
        let host = Host { server: Server::start(major), s3: Moto::start() };
        let built = Path::new(env!("CARGO_BIN_EXE_dr-recover")).parent().unwrap();
        for directory in ["bin", "lib/dr", "etc", "state", "keys"] {
            fs::create_dir_all(host.path(directory)).unwrap();
        }
        for tool in TOOLS {
            let program = built.join(tool);
            let there = host.path("bin").join(tool);
            fs::hard_link(&program, &there).or_else(|_| fs::copy(&program, &there).map(drop)).unwrap_or_else(|error| {
                panic!("{}: {error}; is it built? (cargo build --bins)", program.display());
            });
        }
        for script in ["backup-base", "recover"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts").join(script);
            fs::copy(from, host.path("lib/dr").join(script)).unwrap();
        }
        host.keys();
        host.settings();
        host.own("");
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.server.socket_dir().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn keys(&self) {
        let keys = "age-keygen -o identity; age-keygen -o safe; (age-keygen -y identity; age-keygen -y safe) > recipients
            minisign -GW -p signs.pub -s signs.key";
        let made = Command::new("bash").args(["-euc", keys]).current_dir(self.path("keys")).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    }

    /// `/etc/dr/main.env`, here of one host that both backs up and recovers.
    fn settings(&self) {
        let mut lines = vec![
            ("DR_TO", format!("s3://{BUCKET}/pg")),
            ("DR_FROM", format!("s3://{BUCKET}/pg")),
            ("DR_RECIPIENTS", self.text("keys/recipients")),
            ("DR_SIGNING_KEY", self.text("keys/signs.key")),
            ("DR_PUBLIC_KEY", self.text("keys/signs.pub")),
            ("DR_IDENTITY", self.text("keys/identity")),
            ("DR_STATE", self.text("state")),
            ("PGHOST", self.text("")),
            ("PGUSER", "postgres".into()),
        ];
        lines.extend(self.s3.environment());
        let text: String = lines.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect();
        fs::write(self.path("etc/main.env"), text).unwrap();
    }

    /// Gives a directory with all in it to the server's user.
    fn own(&self, name: &str) {
        let data = fs::metadata(self.server.socket_dir()).unwrap();
        own(&self.path(name), data.uid(), data.gid());
    }

    /// A command of the server's user, with nothing of the test's environment but the path to the programs.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let owner = fs::metadata(self.path("state")).unwrap();
        if rustix::process::geteuid().is_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        let path = format!("{}:{}:/usr/bin:/bin", self.text("bin"), self.server.bin_dir().display());
        command.env_clear().env("PATH", path).env("HOME", self.path("")).env("DR_ETC", self.path("etc")).current_dir(self.path(""));
        command.stdin(Stdio::null());
        command
    }

    /// Runs a line of shell with the settings of the cluster.
    fn shell(&self, line: &str) -> Output {
        let settings = self.text("etc/main.env");
        self.command("bash").args(["-c", &format!("set -a; . {settings}; DR_CLUSTER=main; {line}")]).output().unwrap()
    }

    /// As [`Host::shell`], for what must succeed; gives what it printed.
    fn succeed(&self, line: &str) -> String {
        let output = self.shell(line);
        assert!(output.status.success(), "{line}: {}\n{}", said(&output), self.server.log());
        String::from_utf8(output.stdout).unwrap()
    }

    /// Two sessions that write, until they or the server are ended.
    fn load(&self) -> [Running; 2] {
        ["1", "2"].map(|id| {
            let mut psql = self.command(self.server.bin("psql"));
            psql.args(["-XAtq", "-d", &self.server.conninfo("shop")]).stdin(Stdio::piped());
            let mut child = psql.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let sql =
                format!("INSERT INTO load SELECT {id}, g, repeat(md5(g::text), 20) FROM generate_series(1, 20) g \\watch 0.01\n");
            child.stdin.as_mut().unwrap().write_all(sql.as_bytes()).unwrap();
            Running(child)
        })
    }

    /// Waits until so many more rows have been written.
    fn wait_for_rows(&self, more: u64) {
        let rows = || self.server.psql("shop", "SELECT count(*) FROM load").parse::<u64>().unwrap();
        let wanted = rows() + more;
        wait("rows", || rows() >= wanted);
    }
}

fn own(path: &Path, uid: u32, gid: u32) {
    chown(path, Some(uid), Some(gid)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            // Programs are links to those that were built, which stay whose they are.
            if metadata.is_dir() || metadata.is_file() && metadata.nlink() == 1 {
                own(&entry.path(), uid, gid);
            }
        }
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "no {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Archives, streams and backs up under load; gives the moment before the accident. Its fingerprint is in `before.jsonl`.
fn until_the_accident(host: &Host) -> String {
    let server = &host.server;
    host.succeed("dr-doctor --archive-settings --env-file etc/main.env > lines");
    let lines = fs::read(host.path("lines")).unwrap();
    OpenOptions::new().append(true).open(server.data_dir().join("postgresql.conf")).unwrap().write_all(&lines).unwrap();
    server.restart();
    server.psql("postgres", "CREATE DATABASE shop");
    for file in ["1-roles.sql", "2-schema.sql", "3-rows.sql", "4-around.sql"] {
        let sql = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sample/hotel").join(file)).unwrap();
        server.psql("shop", &format!("\\set rows 2000\n{sql}"));
    }
    server.psql("shop", "CREATE TABLE load (id int, n int, text text)");
    let line = "exec dr-wal-receive --create-slot --every 1";
    let settings = host.text("etc/main.env");
    let mut receiver = host.command("bash");
    receiver.args(["-c", &format!("set -a; . {settings}; DR_CLUSTER=main; {line}")]);
    let log = fs::File::create(host.path("receiver.log")).unwrap();
    let receiver = Running(receiver.stderr(log).spawn().unwrap());
    wait("receiver", || server.psql("postgres", "SELECT count(*) FROM pg_stat_replication") == "1");

    let load = host.load();
    host.succeed("lib/dr/backup-base main");
    host.wait_for_rows(2000);
    server.psql("postgres", "SELECT pg_switch_wal()");
    host.wait_for_rows(1000);
    drop(load);
    wait("rest", || server.psql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'psql'") == "1");
    host.succeed("dr-fingerprint --no-unlogged-table-data shop > before.jsonl");
    let moment = server.psql("postgres", "SELECT clock_timestamp() AT TIME ZONE 'UTC' || ' UTC'");

    let load = host.load();
    host.wait_for_rows(500);
    server.psql("shop", "DROP TABLE hotel.reservation CASCADE");
    host.wait_for_rows(500);
    // What the stores have by now reaches beyond the moment: a matter of seconds.
    let plan = format!("dr-recover --preflight --into back --target-time '{moment}'");
    wait(&format!("WAL in the store: {}", said(&host.shell(&plan))), || host.shell(&plan).status.success());
    server.kill();
    drop((load, receiver));
    fs::remove_dir_all(server.data_dir()).unwrap();
    moment
}

fn recovered_with_our_tools(host: &Host, moment: &str) {
    let recovered = host.succeed(&format!("lib/dr/recover main back '{moment}' --socket-dir {}", host.text("")));
    assert!(recovered.contains("\"state\":\"promoted\""), "{recovered}");
    host.succeed("dr-fingerprint --no-unlogged-table-data shop --against before.jsonl");
    host.succeed("pg_ctl stop -s -w -m fast -D back");
    assert_eq!(host.shell("grep -q . back/postmaster.pid").status.code(), Some(2));
}

fn recovered_with_stock_tools(host: &Host, moment: &str) {
    let python = dr_testing::s3::tool("python").unwrap();
    let fetched = Command::new(python).args(["-c", FETCH, BUCKET]).envs(host.s3.environment()).current_dir(host.path("")).output();
    let fetched = fetched.unwrap();
    assert!(fetched.status.success(), "{}", said(&fetched));
    host.own("pg");
    host.s3.kill();
    let script = "cd pg/main; sed -n '/^--8<-- restore-base.sh$/,/^-->8--$/p' RECOVERY.txt | sed '1d;$d' > restore-base.sh
        OBJECT=$(echo base/*.age) WAL=wal KEY=../../keys/identity PUBLIC_KEY=../../keys/signs.pub \
        PGDATA=../../stock WORK=../../work sh restore-base.sh >&2";
    let mut stock = host.command("sh");
    stock.env("PATH", format!("{}:/usr/bin:/bin", host.server.bin_dir().display())).env("TARGET", moment);
    let restored = stock.args(["-c", script]).output().unwrap();
    assert!(restored.status.success(), "{}", said(&restored));
    let said = said(&restored);
    let connects = said.lines().find_map(|line| line.strip_prefix("Look at it: ")).unwrap_or_else(|| panic!("{said}"));
    let directory = host.succeed(&format!("env -u PGHOST -u PGPORT {connects} -AtXc 'SHOW data_directory'"));
    assert!(directory.trim_end().ends_with("/stock"), "{connects}: {directory}");
    host.succeed("dr-fingerprint --no-unlogged-table-data shop --against before.jsonl");
    host.succeed("pg_ctl stop -s -w -m fast -D stock");
}

fn mission(major: u32) {
    let host = Host::new(major);
    let moment = until_the_accident(&host);
    recovered_with_our_tools(&host, &moment);
    recovered_with_stock_tools(&host, &moment);
}

#[test]
fn f99_a_dropped_table_and_a_lost_disk_are_undone_from_s3_alone_on_15() {
    mission(15);
}

#[test]
fn f99_a_dropped_table_and_a_lost_disk_are_undone_from_s3_alone_on_18() {
    mission(18);
}
