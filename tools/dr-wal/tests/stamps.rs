//! What is read out of segments, held against pg_waldump of the server that wrote them.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use chrono::{DateTime, NaiveDateTime, Utc};
use dr_testing::postgres::{Server, majors};
use dr_wal::stamps::{Ended, Scan, Stamp, What, scan};
use dr_wal::{Lsn, SegmentName, SegmentSize};

/// Every kind of end that a transaction can have, restore points, checkpoints, and records larger than a page or a segment.
const LOAD: &str = r#"
create table t (i int primary key, x text);
insert into t select i, repeat('x', i % 3000) from generate_series(1, 2000) i;
begin; savepoint a; insert into t values (-1, 'a'); rollback to a; insert into t values (-2, 'b'); commit;
do $$ begin for i in 1..200 loop begin insert into t values (-i - 10, 'sub'); exception when others then null; end; end loop; end $$;
begin; insert into t values (-300, 'gone'); rollback;
begin; create table u (i int); insert into u select generate_series(1, 1000); rollback;
create table d (i serial primary key, x text); begin; drop table d; insert into t values (-301, 'with files and statistics'); commit;
create table e (i serial primary key, x text);
begin; savepoint a; drop table e; savepoint b; insert into t values (-302, 'p'); prepare transaction 'one';
begin; savepoint a; insert into t values (-303, 'p'); create table f (i serial primary key); prepare transaction 'two';
begin; insert into t values (-304, 'p'); prepare transaction 'three';
commit prepared 'one'; rollback prepared 'two';
select pg_create_restore_point('before the change');
select pg_create_restore_point('Übergabe; ' || repeat('y', 50));
checkpoint;
select pg_logical_emit_message(true, 'dr', repeat('z', 5000000));
select pg_logical_emit_message(false, 'dr', repeat('z', 20000000));
select pg_replication_origin_create('elsewhere');
select pg_replication_origin_session_setup('elsewhere');
begin; select pg_replication_origin_xact_setup('0/1234', '2026-01-25 02:00:00+00'); insert into t values (-305, 'o'); commit;
select pg_replication_origin_session_reset();
select pg_switch_wal();
commit prepared 'three';
truncate t;
checkpoint;
select pg_switch_wal();
insert into t values (1, 'the last, in a segment that is not full');
"#;

/// What pg_waldump says of one record: where, how long, and the moment if it tells one.
struct Line {
    lsn: Lsn,
    manager: String,
    xid: u32,
    text: String,
}

fn waldump(server: &Server, pg_wal: &Path, first: &str, last: &str) -> Vec<Line> {
    let mut command = Command::new(server.bin("pg_waldump"));
    let output = command.env("TZ", "UTC").arg("-p").arg(pg_wal).args([first, last]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    text.lines().map(line).collect()
}

/// `rmgr: Transaction len (rec/tot): 34/34, tx: 735, lsn: 0/01500028, prev 0/01500000, desc: COMMIT 2026-…`
fn line(text: &str) -> Line {
    let field = |name: &str| text.split_once(name).unwrap().1.split([',', ' ']).find(|word| !word.is_empty()).unwrap();
    Line {
        lsn: field("lsn: ").parse().unwrap(),
        manager: field("rmgr: ").into(),
        xid: field("tx: ").parse().unwrap(),
        text: text.split_once("desc: ").unwrap().1.into(),
    }
}

/// The moment that a line tells; without time where pg_waldump does not show it.
fn moment(line: &Line) -> Option<(What, Option<DateTime<Utc>>)> {
    let (kind, rest) = line.text.split_once(' ').unwrap_or((&line.text, ""));
    let numbered = |rest: &str| rest.split_once(':').map(|(xid, rest)| (xid.parse().unwrap(), time(rest.trim_start())));
    let what = match (line.manager.as_str(), kind) {
        ("Transaction", "COMMIT") => (What::Commit { xid: line.xid }, Some(time(rest))),
        ("Transaction", "ABORT") => (What::Abort { xid: line.xid }, Some(time(rest))),
        ("Transaction", "COMMIT_PREPARED") => numbered(rest).map(|(xid, at)| (What::Commit { xid }, Some(at))).unwrap(),
        ("Transaction", "ABORT_PREPARED") => numbered(rest).map(|(xid, at)| (What::Abort { xid }, Some(at))).unwrap(),
        ("XLOG", "CHECKPOINT_ONLINE" | "CHECKPOINT_SHUTDOWN") => (What::Checkpoint, None),
        ("XLOG", "RESTORE_POINT") => (What::RestorePoint(rest.into()), None),
        _ => return None,
    };
    Some(what)
}

fn time(text: &str) -> DateTime<Utc> {
    let text = text.split(" UTC").next().unwrap();
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").unwrap_or_else(|error| panic!("{text}: {error}")).and_utc()
}

fn segments(pg_wal: &Path) -> BTreeMap<SegmentName, Vec<u8>> {
    let files = std::fs::read_dir(pg_wal).unwrap().map(|file| file.unwrap().path());
    let named = files.filter_map(|path| Some((path.file_name()?.to_str()?.parse().ok()?, std::fs::read(&path).ok()?)));
    named.collect()
}

fn hold(stamp: &Stamp, line: &Line) {
    let (what, at) = moment(line).unwrap();
    assert_eq!((stamp.lsn, &stamp.what), (line.lsn, &what), "{}", line.text);
    match at {
        Some(at) => assert_eq!(stamp.at, at, "{}", line.text),
        None => assert!((Utc::now() - stamp.at).num_minutes().abs() < 10, "{stamp:?}"),
    }
}

/// Commits of some ten kilobytes, one of which goes on in the next segment: they are written at distances from its beginning that differ
/// by less.
const CROSSING: &str = "
    CREATE PROCEDURE cross() LANGUAGE plpgsql AS $$
    DECLARE far bigint;
    BEGIN
        FOR i IN 1..12 LOOP
            EXECUTE 'CREATE SCHEMA many';
            FOR k IN 1..60 LOOP EXECUTE format('CREATE TABLE many.t%s (n integer PRIMARY KEY)', k); END LOOP;
            COMMIT;
            far := 16777216 - mod(pg_current_wal_insert_lsn() - '0/0'::pg_lsn, 16777216)::bigint - i * 40000;
            IF far > 0 THEN PERFORM pg_logical_emit_message(false, 'far', repeat('x', far::integer)); END IF;
            EXECUTE 'DROP SCHEMA many CASCADE';
            COMMIT;
        END LOOP;
    END $$";

#[test]
fn every_moment_that_pg_waldump_shows_is_found_and_no_other() {
    for major in majors() {
        let settings = [("max_prepared_transactions", "10"), ("wal_level", "logical"), ("wal_keep_size", "1GB")];
        let server = Server::start_with(major, &settings);
        server.psql("postgres", LOAD);
        server.psql("postgres", CROSSING);
        server.psql("postgres", "CALL cross()");
        let now: Lsn = server.psql("postgres", "select pg_current_wal_flush_lsn()").parse().unwrap();
        let current = server.psql("postgres", "select pg_walfile_name(pg_current_wal_flush_lsn())");
        let pg_wal = server.data_dir().join("pg_wal");
        let segments = segments(&pg_wal);
        let first = segments.keys().next().unwrap().to_string();
        let lines = waldump(&server, &pg_wal, &first, &current);
        let mut told = lines.iter().filter(|line| moment(line).is_some() && line.lsn < now);
        let (mut ends, mut begun, mut crossed) = (Vec::new(), None, 0);
        for (name, bytes) in segments.iter().filter(|(name, _)| name.to_string() <= current) {
            let alone = scan(bytes, name).unwrap();
            let left = alone.leaves(begun.as_ref());
            let whole = begun.and_then(|begun| alone.completed(&begun)).map(|(whole, _)| whole);
            crossed += usize::from(whole.as_ref().is_some_and(|whole| whole.stamps.len() > alone.stamps.len()));
            let Scan { stamps, last, end, ended, .. } = whole.unwrap_or(alone);
            begun = left;
            // The server goes on meanwhile.
            stamps.iter().filter(|stamp| stamp.lsn < now).for_each(|stamp| hold(stamp, told.next().unwrap()));
            let range = name.start(SegmentSize::DEFAULT)..name.end(SegmentSize::DEFAULT);
            let inside: Vec<_> = lines.iter().filter(|line| range.contains(&line.lsn)).map(|line| line.lsn).collect();
            if name.to_string() < current {
                // The last one may go on in the next segment.
                let whole = last.is_none_or(|last| inside.iter().rev().take(2).any(|lsn| *lsn == last));
                assert!(whole && last.is_some() || inside.len() < 2, "PostgreSQL {major} {name}: {last:?} of {:?}", inside.last());
                assert!(matches!(ended, Ended::Full | Ended::Switched), "PostgreSQL {major} {name}: {ended:?}");
            } else {
                assert!(end >= now, "PostgreSQL {major} {name}: {end} {ended:?}, and {now} is written");
            }
            ends.push(ended);
        }
        assert!(told.next().is_none(), "PostgreSQL {major}: not all were found");
        assert!(ends.iter().filter(|ended| **ended == Ended::Switched).count() >= 2, "{ends:?}");
        assert!(ends.contains(&Ended::Full), "{ends:?}");
        assert!(crossed > 0, "PostgreSQL {major}: no commit went on in the next segment");
    }
}
