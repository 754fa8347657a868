//! One moment, whatever happens beside the dump.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::*;

#[test]
fn f58_a_storm_of_ddl_gives_a_consistent_dump_or_none() {
    let server = Server::start(*majors().last().unwrap());
    server.psql("postgres", "CREATE TABLE kept AS SELECT generate_series(1, 5000) AS n; CREATE TABLE moving (n int); INSERT INTO moving SELECT generate_series(1, 2000)");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = End(&over);
        scope.spawn(|| {
            // Whatever the moment, `moving` has 2000 rows: it is replaced, rewritten, truncated and refilled in transactions.
            for round in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let storm = format!(
                    "BEGIN; ALTER TABLE moving RENAME TO gone_{round}; CREATE TABLE moving AS TABLE gone_{round}; DROP TABLE gone_{round}; COMMIT;
                     BEGIN; TRUNCATE moving; INSERT INTO moving SELECT generate_series(1, 2000); COMMIT;
                     ALTER TABLE moving ALTER n TYPE bigint; ALTER TABLE moving ALTER n TYPE int; CREATE TABLE IF NOT EXISTS extra_{round} (x int)"
                );
                server.psql("postgres", &storm);
            }
        });
        let mut dumps = 0;
        for _ in 0..4 {
            let output = dr_dump(&server).args(["--lock-wait-timeout", "2", "--no-globals", "postgres"]).output().unwrap();
            match output.status.code() {
                Some(0) => {
                    dumps += 1;
                    let listing = fingerprints(&output.stdout);
                    assert!(listing.contains("\"\\\"public\\\".\\\"moving\\\"\",\"rows\":2000"), "{listing}");
                    assert!(listing.contains("\"\\\"public\\\".\\\"kept\\\"\",\"rows\":5000"), "{listing}");
                }
                Some(75) => {}
                _ => panic!("{}", text(&output)),
            }
        }
        assert!(dumps > 0, "some moment is found between two changes");
    });
}

/// A dump in which `meanwhile` is done after the snapshot, and before pg_dump reads any definition.
fn dump_while(server: &Server, meanwhile: impl FnOnce()) -> Output {
    dump_only(server, "pg_dump", &["--no-globals"], meanwhile)
}

/// A dump with these arguments, and what happens while `program` waits.
fn dump_only(server: &Server, program: &str, args: &[&str], meanwhile: impl FnOnce()) -> Output {
    let directory = TempDir::new().unwrap();
    let (begun, go, pg_dump) = (directory.path().join("begun"), directory.path().join("go"), directory.path().join("pg_dump"));
    let waits = directory.path().join(program);
    let script = format!(
        "#!/bin/bash\nif [[ $* != *--version* ]]; then touch {}; until [ -e {} ]; do sleep 0.05; done; fi\nexec {} \"$@\"\n",
        begun.display(),
        go.display(),
        server.bin(program).display()
    );
    std::fs::write(&waits, script).unwrap();
    std::fs::set_permissions(&waits, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for sibling in ["pg_dump", "pg_dumpall", "pg_restore", "psql"].into_iter().filter(|sibling| *sibling != program) {
        std::os::unix::fs::symlink(server.bin(sibling), directory.path().join(sibling)).unwrap();
    }
    std::thread::scope(|scope| {
        let dump = scope.spawn(|| dr_dump(server).arg("--pg-dump").arg(&pg_dump).args(args).arg("postgres").output().unwrap());
        while !begun.exists() {
            assert!(!dump.is_finished(), "{}", text(&dump.join().unwrap()));
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        meanwhile();
        std::fs::write(&go, "").unwrap();
        dump.join().unwrap()
    })
}

#[test]
fn f57_who_asks_for_a_table_behind_our_lock_waits_for_the_dump_and_not_the_dump_for_him() {
    for major in majors() {
        let server = Server::start(major);
        server.psql("postgres", "CREATE TABLE t AS SELECT generate_series(1, 100) AS n; CREATE VIEW v AS SELECT n FROM t");
        std::thread::scope(|scope| {
            let output = dump_while(&server, || {
                scope.spawn(|| server.psql("postgres", "TRUNCATE t"));
                wait_for(&server, "SELECT count(*) FROM pg_locks WHERE NOT granted", "1");
            });
            assert!(output.status.success(), "{}", text(&output));
            assert!(fingerprints(&output.stdout).contains("\"rows\":100"), "{}", fingerprints(&output.stdout));
        });
        assert_eq!(server.psql("postgres", "SELECT count(*) FROM t").trim(), "0", "he was let in then");
    }
}

/// Ends the other thread of a test, also when an assertion fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn fingerprints(archive: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), archive).unwrap();
    let script = format!("zstd -qdc {} | tar -xO fingerprint.jsonl", file.path().display());
    String::from_utf8(Command::new("bash").args(["-o", "pipefail", "-c", &script]).output().unwrap().stdout).unwrap()
}

#[test]
fn writes_during_the_dump_are_not_in_it() {
    let server = Server::start(majors()[0]);
    server.psql("postgres", "CREATE TABLE a (n int); CREATE TABLE b (n int)");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = End(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                server.psql("postgres", "BEGIN; INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); COMMIT");
            }
        });
        for _ in 0..10 {
            let output = dr_dump(&server).args(["--allow-empty", "--no-globals", "postgres"]).output().unwrap();
            assert!(output.status.success(), "{}", text(&output));
            let prints = fingerprints(&output.stdout);
            let rows: Vec<_> = prints.lines().map(|line| line.split("\"rows\":").nth(1).unwrap().to_owned()).collect();
            assert_eq!(rows[0], rows[1], "both tables have the same rows at every moment");
        }
    });
}

#[test]
fn f57_a_table_that_is_locked_by_others_ends_the_dump_in_time() {
    let server = Server::start(majors()[0]);
    server.psql("postgres", "CREATE TABLE t (n int)");
    let mut holder = Command::new(server.bin("psql"))
        .envs(server.env())
        .args(["-X", "-d", "postgres"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    use std::io::Write;
    holder.stdin.as_mut().unwrap().write_all(b"BEGIN; LOCK TABLE t;\n").unwrap();
    wait_for(
        &server,
        "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 't'::regclass",
        "1",
    );
    let output = dr_dump(&server).args(["--lock-wait-timeout", "1", "postgres"]).output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{}", text(&output));
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[test]
fn f58_what_is_dropped_before_pg_dump_describes_it_ends_the_dump() {
    let server = Server::start(*majors().last().unwrap());
    server.psql("postgres", "CREATE TABLE t AS SELECT 1 AS n; CREATE SCHEMA elsewhere");
    for (made, dropped) in [
        ("CREATE FUNCTION gone(a int, b text) RETURNS int LANGUAGE sql AS 'SELECT 1'", "DROP FUNCTION gone"),
        ("CREATE PROCEDURE gone(x int) LANGUAGE sql AS ''", "DROP PROCEDURE gone; CREATE PROCEDURE gone(x int) LANGUAGE sql AS ''"),
        (
            "CREATE FUNCTION gone(a bigint) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE OR REPLACE FUNCTION gone(a bigint DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT 2'",
        ),
        ("CREATE TYPE gone AS ENUM ('a'); CREATE TYPE uses AS (b gone)", "DROP TYPE gone CASCADE"),
        ("CREATE STATISTICS gone ON n, (n + 1) FROM t", "DROP STATISTICS gone"),
        ("CREATE INDEX gone ON t (n)", "ALTER INDEX gone RENAME TO other"),
        ("CREATE ROLE gone", "ALTER ROLE gone RENAME TO other"),
        ("CREATE TYPE other2 AS ENUM ('gone', 'x')", "ALTER TYPE other2 RENAME VALUE 'gone' TO 'new'"),
        ("CREATE TYPE gone AS (a int)", "ALTER TYPE gone RENAME ATTRIBUTE a TO z"),
        ("DROP TYPE gone; CREATE VIEW gone AS SELECT n FROM t", "ALTER VIEW gone RENAME COLUMN n TO m"),
        ("DROP VIEW gone; CREATE SEQUENCE gone", "ALTER SEQUENCE gone RENAME TO other3"),
        (
            "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
            "ALTER OPERATOR === (int, int) SET SCHEMA elsewhere",
        ),
        ("CREATE TEXT SEARCH CONFIGURATION gone (COPY = english)", "ALTER TEXT SEARCH CONFIGURATION gone RENAME TO other4"),
        ("CREATE COLLATION gone FROM \"C\"", "ALTER COLLATION gone RENAME TO other5"),
        (
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER gone AFTER INSERT ON t EXECUTE FUNCTION f()",
            "CREATE OR REPLACE TRIGGER gone BEFORE DELETE ON t EXECUTE FUNCTION f()",
        ),
        ("ALTER TABLE t ADD CONSTRAINT gone CHECK (n > 0) NOT VALID", "ALTER TABLE t VALIDATE CONSTRAINT gone"),
    ] {
        server.psql("postgres", made);
        let output = dump_while(&server, || drop(server.psql("postgres", dropped)));
        assert_eq!(output.status.code(), Some(75), "{dropped}: {}", text(&output));
        let named = ["\"gone\" changed", "role \"", "pg_dump failed", "a sequence changed", "operator \"===\" changed"]
            .iter()
            .any(|words| text(&output).contains(words));
        assert!(named, "{}", text(&output));
    }
    // A new body is none of that: it is read as the snapshot shows it.
    server.psql("postgres", "CREATE FUNCTION kept() RETURNS int LANGUAGE sql AS 'SELECT 1'");
    let replace = "CREATE OR REPLACE FUNCTION kept() RETURNS int LANGUAGE sql AS 'SELECT 2'";
    let output = dump_while(&server, || drop(server.psql("postgres", replace)));
    assert!(output.status.success(), "{}", text(&output));
    // Nor is the index of a table that is not dumped.
    server.psql("postgres", "CREATE SCHEMA other; CREATE TABLE other.staged (n int PRIMARY KEY)");
    let output = dump_only(&server, "pg_dump", &["-n", "public"], || drop(server.psql("postgres", "DROP TABLE other.staged")));
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn f58_a_label_that_changes_after_definitions_were_read_ends_the_dump() {
    let server = Server::start(majors()[0]);
    server.psql("postgres", "CREATE TYPE e AS ENUM ('a', 'b'); CREATE TABLE t AS SELECT 'a'::e AS n");
    // Rows may be read until the end; roles are written out last.
    let output = dump_only(&server, "pg_dumpall", &[], || drop(server.psql("postgres", "ALTER TYPE e RENAME VALUE 'a' TO 'c'")));
    assert_eq!(output.status.code(), Some(75), "{}", text(&output));
    assert!(text(&output).contains("label \"a\" changed while the database was read"), "{}", text(&output));
    // A new one changes nothing of what was there.
    let output = dump_only(&server, "pg_dumpall", &[], || drop(server.psql("postgres", "ALTER TYPE e ADD VALUE 'd' BEFORE 'b'")));
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn f57_who_wants_two_tables_and_a_dump_are_not_in_each_others_way() {
    use std::io::Write;
    let server = Server::start(majors()[0]);
    server.psql("postgres", "CREATE TABLE a AS SELECT 1 AS n; CREATE TABLE b AS SELECT 1 AS n");
    let mut migration = Command::new(server.bin("psql"))
        .envs(server.env())
        .args(["-X", "-v", "ON_ERROR_STOP=1", "-d", "postgres"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = migration.stdin.take().unwrap();
    stdin.write_all(b"BEGIN; LOCK TABLE b;\n").unwrap();
    wait_for(&server, "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'b'::regclass", "1");
    std::thread::scope(|scope| {
        let dump = scope.spawn(|| dr_dump(&server).args(["--no-globals", "postgres"]).output().unwrap());
        wait_for(&server, "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'b'::regclass", "1");
        // With the lock of `a`, the dump would wait for who waits for it now.
        stdin.write_all(b"LOCK TABLE a; SELECT pg_sleep(2); COMMIT;\n").unwrap();
        drop(stdin);
        let output = dump.join().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    });
    assert!(migration.wait().unwrap().success() && !server.log().contains("deadlock"), "{}", server.log());
}

#[test]
fn a_dump_works_on_a_serializable_deferrable_snapshot() {
    let server = Server::start(majors()[0]);
    server.psql("postgres", "CREATE TABLE t AS SELECT 1 AS n");
    assert!(Dump::make(&server, &["--serializable-deferrable", "postgres"]).receipt.contains("\"rows\":1"));
}

/// Polls until a query answers so.
pub fn wait_for(server: &Server, sql: &str, answer: &str) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while server.psql("postgres", sql).trim() != answer {
        assert!(std::time::Instant::now() < deadline, "{sql} never gave {answer}");
    }
}
