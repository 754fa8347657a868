//! Dumps of dr-dump that are damaged, and restores that are disturbed.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dr_testing::postgres::Server;

use crate::fixture::{Place, run};

#[test]
fn f68_f69_nothing_is_left_of_a_damaged_archive() {
    let place = Place::new(15);
    place.server.psql("postgres", "CREATE DATABASE small");
    place.server.psql("small", "CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 3000) n");
    let archive = place.dr_dump(&["small"]);
    let restore = |bytes: &[u8]| run(&mut place.restore(&["--into", "new"]), bytes);
    for part in 1..20 {
        let mut damaged = archive.clone();
        damaged[archive.len() * part / 20] ^= 0x10;
        let ran = restore(&damaged);
        assert_eq!(ran.code, Some(65), "byte {}: {}", archive.len() * part / 20, ran.stderr);
        let cut = restore(&archive[..archive.len() * part / 20]);
        assert!(matches!(cut.code, Some(65 | 66)), "cut at {}: {}", archive.len() * part / 20, cut.stderr);
    }
    let mut longer = archive.clone();
    longer.push(0);
    assert!(matches!(restore(&longer).code, Some(65 | 66)));
    assert_eq!(place.databases("new%"), "", "each part is proved before it is used, and what was made is dropped");
    let file = place.file("damaged", [&archive[..archive.len() / 2], b"x", &archive[archive.len() / 2 + 1..]].concat());
    assert_eq!(run(&mut place.restore(&[&file, "--into", "new"]), b"").code, Some(65));
    assert_eq!(place.databases("new%"), "", "a file, too");
    restore(&archive).record();
}

/// A database whose restore waits while somebody is connected as `blocker`.
const SLOW: &str = "
    CREATE DATABASE slow TEMPLATE template0;
    \\connect slow
    CREATE FUNCTION wait() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN
        WHILE EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE application_name = 'blocker') LOOP
            PERFORM pg_catalog.pg_sleep(0.01), pg_catalog.pg_stat_clear_snapshot();
        END LOOP;
        RETURN 1;
    END $$;
    CREATE TABLE t AS SELECT n FROM generate_series(1, 100) n;
    CREATE MATERIALIZED VIEW v AS SELECT public.wait();";

fn blocker(place: &Place) -> Child {
    let mut psql = Command::new(place.server.bin("psql"));
    psql.env_clear().env("PGAPPNAME", "blocker").args([
        "-XAt",
        "-c",
        "SELECT pg_sleep(600)",
        "-d",
        &place.server.conninfo("postgres"),
    ]);
    psql.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("psql")
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn f81_a_restore_that_is_killed_leaves_no_database_of_that_name_and_can_be_run_again() {
    for major in dr_testing::postgres::usual_majors() {
        let place = Place::new(major);
        place.server.psql("postgres", SLOW);
        let archive = place.file("slow.tar.zst", place.dr_dump(&["slow"]));
        let refreshing = "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'new_restoring_%' AND query LIKE 'REFRESH%'";
        let blocked_by = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'blocker'";
        for (signal, left) in [(15, 0), (9, 1)] {
            let mut blocker = blocker(&place);
            until("the blocker connects", || place.server.psql("postgres", blocked_by) == "1");
            let mut command = place.restore(&[&archive, "--into", "new"]);
            let mut restore = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("dr-restore");
            until("it refreshes the view", || place.server.psql("postgres", refreshing) == "1");
            std::process::Command::new("kill").args([format!("-{signal}"), restore.id().to_string()]).status().expect("kill");
            let status = restore.wait().expect("its end");
            assert!(status.code() == Some(75) || status.signal() == Some(signal), "{status}");
            assert_eq!(place.databases("new"), "");
            assert_eq!(place.databases("new_restoring_%").lines().count(), left, "signal {signal}");
            blocker.kill().expect("its end");
            blocker.wait().expect("its end");
            place
                .server
                .psql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'blocker'");
            until("the blocker goes", || place.server.psql("postgres", blocked_by) == "0");
        }
        let ran = run(&mut place.restore(&[&archive, "--into", "new"]), b"");
        assert_eq!(ran.record()["proved"].as_bool(), Some(true));
        assert!(ran.stderr.contains("is left by another restore"), "{}", ran.stderr);
    }
}

#[test]
fn f81_a_database_that_the_server_is_still_creating_is_not_left_behind() {
    let place = Place::new(15);
    place.server.psql("postgres", "CREATE DATABASE mine TEMPLATE template0");
    place.server.psql("mine", "CREATE TABLE t AS SELECT n FROM generate_series(1, 9) n");
    let archive = place.file("mine.tar.zst", place.dr_dump(&["mine"]));
    let creating = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'CREATE DATABASE \"new%'";
    for _ in 0..5 {
        let mut command = place.restore(&[&archive, "--into", "new"]);
        let mut restore = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("dr-restore");
        until("the server creates it, or has done so", || {
            place.server.psql("postgres", creating) == "1" || !place.databases("new%").is_empty()
        });
        std::process::Command::new("kill").arg(restore.id().to_string()).status().expect("kill");
        let code = restore.wait().expect("its end").code();
        until("the server has done", || place.server.psql("postgres", creating) == "0");
        if code == Some(75) {
            assert_eq!(place.databases("new%"), "");
        } else {
            place.server.psql("postgres", "DROP DATABASE new");
        }
    }
}

#[test]
fn settings_of_a_role_keep_no_half_made_database_alive() {
    let place = Place::new(15);
    place.server.psql(
        "postgres",
        "CREATE ROLE timid SUPERUSER LOGIN; ALTER ROLE timid SET default_transaction_read_only = on; ALTER ROLE timid SET statement_timeout = 1;
         ALTER ROLE timid SET lock_timeout = 1; ALTER ROLE timid SET array_nulls = off",
    );
    place.server.psql("postgres", "CREATE DATABASE mine TEMPLATE template0");
    place.server.psql("mine", "CREATE TABLE t AS SELECT n, ARRAY['a', NULL] AS a FROM generate_series(1, 9) n");
    let good = place.file("mine.tar.zst", place.dr_dump(&["mine"]));
    let bad = place.file("bad.sql", "SELECT 1 / 0;\n");
    run(place.restore(&[&good, "--into", "new"]).env("PGUSER", "timid"), b"").record();
    let ran = run(place.restore(&[&bad, "--into", "other"]).env("PGUSER", "timid"), b"");
    assert!(ran.ends(65).contains("the half-made database was dropped"), "{}", ran.stderr);
    assert_eq!(place.databases("other%"), "");
}

#[test]
fn a_server_that_goes_away_midway_is_told_with_what_may_be_left() {
    let place = Place::new(15);
    place.server.psql("postgres", SLOW);
    let archive = place.file("slow.tar.zst", place.dr_dump(&["slow"]));
    let mut blocker = blocker(&place);
    let mut command = place.restore(&[&archive, "--into", "new"]);
    let restore = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("dr-restore");
    let refreshing = "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'new_restoring_%' AND query LIKE 'REFRESH%'";
    until("it refreshes the view", || place.server.psql("postgres", refreshing) == "1");
    place.server.kill();
    let output = restore.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("may be left"), "{said}");
    blocker.wait().expect("its end");
    place.server.restart();
    assert_eq!(place.databases("new"), "");
    run(&mut place.restore(&[&archive, "--into", "new"]), b"").record();
}

#[test]
fn f85_the_proof_finds_rows_that_code_in_the_dump_has_changed() {
    for major in dr_testing::postgres::usual_majors() {
        let place = Place::new(major);
        place.server.psql(
            "postgres",
            "CREATE DATABASE sly TEMPLATE template0;
             \\connect sly
             CREATE TABLE t AS SELECT n, 'row ' || n AS text FROM generate_series(1, 100) n;
             CREATE TABLE u AS TABLE t;
             CREATE FUNCTION sly() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN
                 IF pg_catalog.current_database() <> 'sly' THEN UPDATE public.t SET text = 'changed' WHERE n = 7; END IF;
                 RETURN 1;
             END $$;
             CREATE MATERIALIZED VIEW v AS SELECT public.sly();",
        );
        let archive = place.dr_dump(&["sly"]);
        let ran = run(&mut place.restore(&["--into", "new"]), &archive);
        let said = ran.ends(1);
        assert!(
            said.contains("\"public\".\"t\" has the same number of rows, 100, with other content") && !said.contains("\"u\""),
            "{said}"
        );
        assert!(said.contains("the restored database is kept as new_restoring_"), "{said}");
        assert_eq!(place.databases("new"), "");
        assert_eq!(place.databases("new_restoring%").lines().count(), 1);
        run(&mut place.restore(&["--into", "new", "--no-prove"]), &archive).record();
        assert_eq!(place.server.psql("new", "SELECT text FROM t WHERE n = 7"), "changed");
    }
}

#[test]
fn f77_an_unsigned_archive_is_not_read_by_a_client_with_a_known_flaw() {
    let place = Place::new(15);
    place.server.psql("postgres", "CREATE DATABASE small; \\connect small\nCREATE TABLE t AS SELECT 1 AS n");
    let archive = place.dr_dump(&["small"]);
    let mut command = place.restore(&["--into", "new"]);
    command.env_remove("DR_TRUST_ARCHIVE").env("DR_PG_BINDIRS", place.stub("pg_restore", "15.2"));
    assert!(run(&mut command, &archive).ends(80).contains("--trust-archive"));
    assert_eq!(place.databases("new%"), "");
}

#[test]
fn a_half_made_database_with_a_subscription_is_dropped_all_the_same() {
    let place = Place::new(15);
    place.server.psql(
        "postgres",
        "CREATE DATABASE subscribed; \\connect subscribed\nCREATE TABLE t AS SELECT 1 AS n;
         CREATE SUBSCRIPTION s CONNECTION 'host=/nonexistent' PUBLICATION p WITH (connect = false);
         CREATE MATERIALIZED VIEW v AS SELECT n / n AS one FROM t; UPDATE t SET n = 0",
    );
    let dump = place.dr_dump(&["subscribed"]);
    let ran = run(&mut place.restore(&["--into", "new", "-j", "1"]), &dump);
    assert!(ran.ends(65).contains("division by zero"), "{}", ran.stderr);
    assert!(ran.stderr.contains("the half-made database was dropped"), "{}", ran.stderr);
    assert_eq!(place.databases("new%"), "");
}

#[test]
fn a_file_on_standard_input_is_read_where_it_lies_and_a_stream_is_kept_in_a_file() {
    let place = Place::new(15);
    place.server.psql("postgres", "CREATE DATABASE small");
    place.server.psql("small", "CREATE TABLE t AS SELECT n FROM generate_series(1, 100) n");
    let archive = place.dr_dump(&["small"]);
    let file = place.file("small.dump", &archive);
    let nowhere = ["--into", "new", "--spool-dir", "/nowhere"];
    run(place.restore(&nowhere).stdin(File::open(&file).unwrap()), b"").record();
    let streamed = run(&mut place.restore(&["--into", "other", "--spool-dir", "/nowhere"]), &archive);
    assert_eq!(streamed.code, Some(66), "{}", streamed.stderr);
    // A file of which somebody has read some is a stream.
    let line = format!("{{ head -c 100 >read; exec \"$@\" --into other; }} <{file}");
    let restore = place.restore(&[]);
    let mut begun = place.tool(std::path::Path::new("bash"));
    begun.envs(restore.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(place.path(""));
    let begun = run(begun.args(["-c", &line, "bash"]).arg(restore.get_program()), b"");
    assert!(matches!(begun.code, Some(65 | 66)), "{}", begun.stderr);
    assert_eq!(place.databases("other%"), "");
}

/// A database that its own server would not take back: an index looks up a table by a name that only a search_path finds, and a row
/// breaks a foreign key.
const UNLOADABLE: &str = "
    CREATE DATABASE odd TEMPLATE template0;
    \\connect odd
    CREATE TABLE rate AS SELECT 7 AS percent;
    CREATE FUNCTION taxed(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT $1 * percent FROM rate); END';
    CREATE TABLE item (id integer PRIMARY KEY, price integer);
    CREATE TABLE sold (item integer REFERENCES item ON DELETE CASCADE, at date);
    CREATE INDEX item_taxed ON item (taxed(price));
    INSERT INTO item SELECT n, n FROM generate_series(1, 100) n;
    SET session_replication_role = replica;
    INSERT INTO sold VALUES (0, '2026-01-01');";

#[test]
fn what_the_server_refuses_ends_a_restore_unless_it_is_to_keep_going() {
    for major in dr_testing::postgres::usual_majors() {
        let place = Place::new(major);
        place.server.psql("postgres", UNLOADABLE);
        let dumps = [place.file("odd.tar.zst", place.dr_dump(&["odd"])), place.file("odd.dump", place.pg_dump(&["-Fc", "odd"]))];
        for dump in &dumps {
            let ran = run(&mut place.restore(&[dump, "--into", "new"]), b"");
            assert!(ran.ends(65).contains("--keep-going restores what it does not refuse"), "{}", ran.stderr);
            assert_eq!(place.databases("new%"), "");
            let ran = run(&mut place.restore(&[dump, "--into", "new", "--keep-going"]), b"");
            let said = ran.ends(1);
            for refused in ["CREATE INDEX item_taxed ON public.item", "ALTER TABLE ONLY public.sold ADD CONSTRAINT sold_item_fkey"]
            {
                assert_eq!(said.matches(&format!("warning: left out: {refused}")).count(), 1, "{said}");
            }
            let record: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("a record");
            assert_eq!((record["refused"].as_u64(), record["proved"].as_bool()), (Some(2), Some(dump.contains(".tar."))));
            let there = "SELECT (SELECT count(*) FROM item), (SELECT count(*) FROM sold), (SELECT count(*) FROM pg_index WHERE indrelid = 'item'::regclass)";
            assert_eq!(place.server.psql("new", there), "100|1|1");
            place.server.psql("postgres", "DROP DATABASE new");
        }
        place.server.psql("odd", "DROP INDEX item_taxed; DELETE FROM sold");
        let whole = place.file("whole", place.dr_dump(&["odd"]));
        assert_eq!(run(&mut place.restore(&[&whole, "--into", "new", "--keep-going"]), b"").record()["refused"], 0);
    }
}

#[test]
fn a_server_without_an_extension_gets_what_does_not_need_it_where_it_is_to_keep_going() {
    let (place, other) = (Place::new(15), Place::new(16));
    let database = "CREATE DATABASE odd TEMPLATE template0; \\connect odd\n
        CREATE EXTENSION hstore; CREATE EXTENSION fuzzystrmatch;
        CREATE TABLE plain (id serial PRIMARY KEY, x text);
        INSERT INTO plain (x) SELECT n FROM generate_series(1, 50) n;
        CREATE SCHEMA \"größe\";
        CREATE TABLE \"größe\".bags (id serial PRIMARY KEY, bag public.hstore, plain integer REFERENCES plain);
        CREATE INDEX ON \"größe\".bags USING gin (bag);
        INSERT INTO \"größe\".bags (bag, plain) SELECT 'a=>1', n FROM generate_series(1, 40) n;
        CREATE VIEW told AS SELECT bag -> 'a' FROM \"größe\".bags;
        CREATE TABLE far (x text) PARTITION BY RANGE (levenshtein(x, 'abc'));
        CREATE TABLE near PARTITION OF far FOR VALUES FROM (0) TO (9);
        INSERT INTO far VALUES ('abd');";
    place.server.psql("postgres", database);
    for dump in [place.file("odd.tar.zst", place.dr_dump(&["odd"])), place.file("odd.dump", place.pg_dump(&["-Fc", "odd"]))] {
        let ran = run(&mut other.restore(&[&dump, "--into", "new"]), b"");
        assert!(ran.ends(78).contains("--keep-going leaves out what needs them; nothing was written"), "{}", ran.stderr);
        let ran = run(&mut other.restore(&[&dump, "--into", "new", "--keep-going"]), b"");
        let said = ran.ends(1);
        assert!(said.contains("left out: CREATE TABLE \"größe\".bags"), "{said}");
        let there = "SELECT (SELECT count(*) FROM plain), (SELECT count(*) FROM near), nextval('plain_id_seq'), to_regclass('far')";
        assert_eq!(other.server.psql("new", there), "50|1|51|");
        if dump.ends_with(".zst") {
            assert!(said.contains("left out: the 40 rows of \"größe\".\"bags\", which is not there"), "{said}");
            let record: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("a record");
            assert_eq!(
                (record["tables"].as_u64(), record["rows"].as_u64(), record["proved"].as_bool()),
                (Some(2), Some(51), Some(true))
            );
        }
        other.server.psql("postgres", "DROP DATABASE new");
    }
}

#[test]
fn every_one_of_many_refusals_is_told_by_itself() {
    let place = Place::new(15);
    let mut database = String::from(
        "CREATE DATABASE many TEMPLATE template0; \\connect many\nCREATE SCHEMA p; CREATE TABLE p.t (id int PRIMARY KEY);",
    );
    for n in 1..=60 {
        database += &format!(
            "CREATE TABLE child_table_with_a_long_name_{n} (id int PRIMARY KEY, t int CONSTRAINT child_{n}_t_fkey REFERENCES p.t);"
        );
    }
    place.server.psql("postgres", &database);
    let dump = place.file("many", place.dr_dump(&["-N", "p", "--allow-empty", "many"]));
    let ran = run(&mut place.restore(&[&dump, "--into", "new", "--keep-going", "-j", "4"]), b"");
    let told = ran
        .ends(1)
        .lines()
        .filter(|line| line.starts_with("dr-restore: warning: left out: ALTER TABLE ONLY public.child_table_with"));
    assert_eq!(told.filter(|line| line.ends_with("schema \"p\" does not exist")).count(), 60, "{}", ran.stderr);
}

#[test]
fn rows_that_are_refused_end_a_restore_that_keeps_going() {
    let place = Place::new(15);
    let database = "CREATE DATABASE odd TEMPLATE template0; \\connect odd\n
        CREATE FUNCTION even(integer) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT true';
        CREATE TABLE t (n integer CHECK (public.even(n)));
        INSERT INTO t SELECT generate_series(1, 9);
        CREATE OR REPLACE FUNCTION even(integer) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT $1 % 2 = 0';";
    place.server.psql("postgres", database);
    for dump in [place.file("odd.tar.zst", place.dr_dump(&["odd"])), place.file("odd.dump", place.pg_dump(&["-Fc", "odd"]))] {
        run(&mut place.restore(&[&dump, "--into", "new", "--keep-going"]), b"").ends(65);
        assert_eq!(place.databases("new%"), "", "{dump}");
    }
    run(&mut place.restore(&["odd.dump", "--into", "new", "--keep-going", "--swap"]), b"").ends(64);
}

/// A directory that is a small disk.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Puts a directory as it is on a disk of a GiB, of which `left` MiB are left. None where this user may not mount one.
    fn below(directory: &Path, left: u32) -> Option<Self> {
        let script = "mv $0 $0.all && mkdir $0 && mount -t tmpfs -o size=1g none $0 && cp -a $0.all/. $0 && \
                      fallocate -l $((`df --output=avail -k $0 | tail -n 1` - $1 * 1024))K $0/ballast";
        let made = Command::new("sh").args(["-c", script]).arg(directory).arg(left.to_string()).status();
        made.is_ok_and(|made| made.success()).then(|| SmallDisk(directory.into()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

#[test]
fn f17_a_restore_ends_before_the_server_has_no_room_for_its_log() {
    let place = Place::new(15);
    place.server.psql("postgres", "CREATE DATABASE big");
    place.server.psql("big", "CREATE TABLE t AS SELECT n, repeat(md5(n::text), 4) AS x FROM generate_series(1, 1000000) AS n");
    let big = place.file("big.dump", place.dr_dump(&["big"]));
    let server = Server::initialise(15, &[]);
    let Some(disk) = SmallDisk::below(&server.data_dir(), 200) else {
        println!("skipped: this user may not mount a tmpfs");
        return;
    };
    server.restart();
    let small = Place { server, dir: place.dir };
    let ran = run(&mut small.restore(&[&big, "--into", "new"]), b"");
    let stderr = ran.ends(74);
    assert!(stderr.contains(" MiB are left in ") && stderr.contains("the half-made database was dropped"), "{stderr}");
    assert_eq!((small.databases("new%").as_str(), small.server.psql("postgres", "SELECT 1").as_str()), ("", "1"));
    assert!(!small.server.log().contains("PANIC"), "{}", small.server.log());
    std::fs::File::create(small.server.data_dir().join("more")).unwrap().write_all(&vec![0; 120 << 20]).unwrap();
    for arguments in [&["--preflight"][..], &[]] {
        let ran = run(&mut small.restore(&[&["--into", "new", &*big], arguments].concat()), b"");
        assert!(ran.ends(74).contains("; nothing was written"), "{}", ran.stderr);
    }
    drop((small, disk));
}
