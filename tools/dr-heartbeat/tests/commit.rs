//! Commits make the moments of an idle database reachable, over restarts and failovers.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};

use dr_testing::postgres::{Server, own};
use support::{Rig, code, eventually, stderr};

/// The service, until it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn service(rig: &Rig, server: &Server) -> Running {
    let log = fs::File::create(rig.path("log")).unwrap();
    let arguments = ["commit", "--cluster", "main", "--every", "1s", "--dbname", &server.conninfo("postgres")];
    let mut command = rig.command(&arguments);
    command.env("NOTIFY_SOCKET", rig.path("notify")).env("WATCHDOG_USEC", "1000000");
    Running(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
}

/// How many beats are younger than a moment that the server has named.
fn younger(server: &Server, than: &str) -> bool {
    let beats = server.try_psql("postgres", &format!("SELECT count(*) FROM dr.heartbeat WHERE at > '{than}'"));
    beats.is_ok_and(|beats| beats == "1")
}

#[test]
fn a_moment_after_the_last_commit_of_an_idle_database_becomes_reachable() {
    let (rig, server) = (Rig::new(), Server::start(15));
    let heard = UnixDatagram::bind(rig.path("notify")).unwrap();
    heard.set_nonblocking(true).unwrap();
    server.psql("postgres", "CREATE TABLE t AS SELECT 1");
    // Nobody commits after this moment, but for us: a recovery to it would end in an error.
    let moment = server.psql("postgres", "SELECT clock_timestamp()");
    let from = server.psql("postgres", "SELECT pg_current_wal_lsn()");
    let mut said = String::new();
    let commits = |server: &Server| {
        server.psql("postgres", "SELECT pg_switch_wal()");
        let output = Command::new(server.bin("pg_waldump"))
            .args(["--rmgr=Transaction", "--start", &from, "--path"])
            .arg(server.data_dir().join("pg_wal"))
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap().matches("desc: COMMIT ").count()
    };
    assert_eq!(commits(&server), 0, "the log has no moment yet");
    let running = service(&rig, &server);
    eventually("a commit after that moment", || younger(&server, &moment));
    eventually("its commits are in the log", || commits(&server) > 1);
    eventually("systemd is told", || {
        let mut piece = [0; 200];
        while let Ok(n) = heard.recv(&mut piece) {
            said.push_str(std::str::from_utf8(&piece[..n]).unwrap());
        }
        said.contains("READY=1") && said.contains("WATCHDOG=1") && said.contains("STATUS=commits")
    });

    // A crash of the server, and its return.
    server.kill();
    server.restart();
    let moment = server.psql("postgres", "SELECT clock_timestamp()");
    eventually("it commits again", || younger(&server, &moment));

    // The server becomes a standby, and the primary again.
    server.stop(false);
    fs::write(server.data_dir().join("standby.signal"), "").unwrap();
    own(&server.data_dir().join("standby.signal"));
    server.restart();
    eventually("it waits", || fs::read_to_string(rig.path("log")).unwrap().contains("the server is a standby"));
    let once = ["commit", "--once", "--cluster", "main", "--dbname", &server.conninfo("postgres")];
    assert_eq!(code(&rig.command(&once).output().unwrap()), 75);
    assert_eq!(server.psql("postgres", "SELECT pg_promote()"), "t");
    let moment = server.psql("postgres", "SELECT clock_timestamp()");
    eventually("it commits to the new primary", || younger(&server, &moment));
    drop(running);
    assert_eq!(server.psql("postgres", "SELECT count(*) FROM dr.heartbeat"), "1");
}

#[test]
fn rights_are_asked_for_and_no_stranger_s_table_is_written_to() {
    let (rig, server) = (Rig::new(), Server::start(18));
    server.psql("postgres", "CREATE ROLE beat LOGIN; CREATE ROLE stranger LOGIN");
    let commit = |user: &str| {
        let conn = server.conninfo("postgres").replace("user=postgres", &format!("user={user}"));
        let output = rig.command(&["commit", "--once", "--cluster", "main", "--dbname", &conn]).output().unwrap();
        (code(&output), stderr(&output))
    };
    let (denied, said) = commit("beat");
    assert_eq!(denied, 77, "{said}");
    assert!(said.contains("CREATE TABLE IF NOT EXISTS dr.heartbeat (cluster text PRIMARY KEY"), "{said}");
    server.psql("postgres", "CREATE SCHEMA dr AUTHORIZATION stranger; SET ROLE stranger; CREATE TABLE dr.heartbeat (cluster text PRIMARY KEY, at timestamptz, pid int, host text)");
    let (refused, said) = commit("postgres");
    assert_eq!(refused, 80, "{said}");
    assert_eq!(server.psql("postgres", "SELECT count(*) FROM dr.heartbeat"), "0");
    server.psql("postgres", "ALTER SCHEMA dr OWNER TO postgres; ALTER TABLE dr.heartbeat OWNER TO beat");
    // The schema is the superuser's.
    server.psql("postgres", "GRANT USAGE ON SCHEMA dr TO beat");
    assert_eq!(commit("beat"), (0, String::new()));
    assert_eq!(server.psql("postgres", "SELECT cluster FROM dr.heartbeat"), "main");
    let nobody = rig.command(&["commit", "--once", "--cluster", "main", "--dbname", "host=/nowhere"]).output().unwrap();
    assert_eq!(code(&nobody), 69, "{}", stderr(&nobody));
}
