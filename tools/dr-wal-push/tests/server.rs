//! Real servers archive with dr-wal-push.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use dr_testing::postgres::{Server, usual_majors};

const SETTINGS: [(&str, &str); 5] = [
    ("archive_mode", "on"),
    ("archive_command", "/bin/false"),
    ("wal_keep_size", "8GB"),
    ("wal_init_zero", "off"),
    ("wal_recycle", "off"),
];

/// Waits until a server's answer to `sql` is `expected`.
fn until(server: &Server, sql: &str, expected: &str) {
    let deadline = Instant::now() + Duration::from_secs(300);
    let sql = &format!("do $$ begin perform pg_sleep(0.1); end $$; {sql}");
    while server.psql("postgres", sql) != expected {
        assert!(Instant::now() < deadline, "{sql}: {}\n{}", server.psql("postgres", sql), server.log());
    }
}

/// Where a server's user finds our program, which lies in a home that it may not enter.
fn program(server: &Server) -> String {
    let program = server.socket_dir().join("dr-wal-push");
    fs::copy(env!("CARGO_BIN_EXE_dr-wal-push"), &program).unwrap();
    program.display().to_string()
}

/// Every segment that the server has archived lies in the store, byte for byte.
fn compare(server: &Server, store: &Path) -> usize {
    let mut compared = 0;
    for entry in fs::read_dir(server.data_dir().join("pg_wal/archive_status")).unwrap() {
        let marker = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = marker.strip_suffix(".done") else { continue };
        let object = store.join(format!("main/wal/{}/{name}.zst", &name[..8]));
        let plain = zstd::decode_all(fs::File::open(object).unwrap()).unwrap();
        assert!(plain == fs::read(server.data_dir().join("pg_wal").join(name)).unwrap(), "{name}");
        compared += 1;
    }
    compared
}

#[test]
fn f53_a_backlog_of_100_segments_is_archived_identically_under_load() {
    for major in usual_majors() {
        let server = Server::start_with(major, &SETTINGS);
        let home = server.socket_dir().display().to_string();
        server.psql("postgres", "create table t (i int, x text)");
        let fill = "insert into t select 1, repeat(md5(i::text), 20) from generate_series(1, 50) i; select pg_switch_wal();\n";
        server.psql("postgres", &fill.repeat(100));
        let push = format!("DR_STATE={home}/state {} %p --to {home}/store --cluster main --unencrypted", program(&server));
        server.configure(&[("archive_command", &push)]);
        server.reload();
        // The load goes on while the archiver works off the backlog.
        let load = "insert into t select 2, repeat(md5(random()::text), 100) from generate_series(1, 100);\n";
        server.psql("postgres", &load.repeat(200));
        let last = server.psql("postgres", "select pg_walfile_name(pg_switch_wal())");
        until(&server, &format!("select last_archived_wal >= '{last}' from pg_stat_archiver"), "t");
        assert!(compare(&server, &Path::new(&home).join("store")) > 100);
        let log = server.log();
        assert!(log.contains("wait to be archived"), "{log}");
    }
}

#[test]
fn histories_and_partial_segments_of_a_promotion_are_archived() {
    for major in usual_majors() {
        let server = Server::start_with(major, &SETTINGS);
        let home = server.socket_dir().display().to_string();
        let push = format!("DR_STATE={home}/state {} %p --to {home}/store --cluster main --unencrypted", program(&server));
        server.configure(&[("archive_command", &push)]);
        server.psql("postgres", "create table t (i int); insert into t values (1)");
        // Recovery from its own pg_wal to the end makes a new timeline, as a promotion does.
        server.configure(&[("restore_command", "/bin/false")]);
        server.stop(true);
        Command::new("touch").arg(server.data_dir().join("recovery.signal")).status().unwrap();
        server.restart();
        until(&server, "select pg_is_in_recovery()", "f");
        until(
            &server,
            "select last_archived_wal ~ '^0000000[12]' and pg_walfile_name(pg_current_wal_lsn()) ~ '^00000002' from pg_stat_archiver",
            "t",
        );
        let last = server.psql("postgres", "insert into t values (2); select pg_walfile_name(pg_switch_wal())");
        until(&server, &format!("select last_archived_wal = '{last}' from pg_stat_archiver"), "t");
        let compared = compare(&server, &Path::new(&home).join("store"));
        assert!(compared >= 3, "{compared}");
        assert!(Path::new(&home).join("store/main/wal/00000002/00000002.history.zst").exists());
    }
}
