//! Every kind of target, to the row.

use dr_wal::SegmentSize;

use crate::fixture::{Source, run};

#[test]
fn f83_every_target_is_reached_to_the_row() {
    for major in dr_testing::postgres::usual_majors() {
        let source = Source::start(major);
        let base = source.base();
        source.row(1);
        let (xid, at) = (source.row(2), source.now());
        let third = source.row(3);
        let lsn = source.sql("SELECT pg_current_wal_insert_lsn()");
        source.row(4);
        source.sql("SELECT pg_create_restore_point('before the release')");
        source.row(5);
        source.archived();
        source.row(6);
        source.archived();
        let end = source.sql("SELECT pg_current_wal_lsn()");
        let cases: [(&str, &[&str], &str); 8] = [
            ("time", &["--target-time", &at], "1 2"),
            ("xid", &["--target-xid", &xid], "1 2"),
            ("before", &["--target-xid", &third, "--exclusive"], "1 2"),
            ("lsn", &["--target-lsn", &lsn, "--exclusive"], "1 2 3"),
            ("name", &["--target-name", "before the release"], "1 2 3 4"),
            ("immediate", &["--target", "immediate"], ""),
            ("latest", &[], "1 2 3 4 5 6"),
            ("end", &["--target-lsn", &end], "1 2 3 4 5 6"),
        ];
        for (name, args, rows) in cases {
            let (recovered, record) = source.arrive(name, args);
            assert_eq!(recovered.rows(), rows, "{major} {name} {record}");
            assert_eq!(record["state"], "promoted");
            assert_eq!((record["timeline"].as_u64(), record["backup"].as_str()), (Some(2), Some(&*base)));
            assert!(record["reached_lsn"].is_string(), "{record}");
            // Its place in the archive is that of the source.
            assert_eq!(recovered.sql("SHOW archive_mode"), "off");
        }
    }
}

#[test]
fn a_server_pauses_or_stops_at_the_target_if_it_is_told_so() {
    let source = Source::start(18);
    source.base();
    let xid = source.row(1);
    source.row(2);
    source.archived();
    let (recovered, record) = source.arrive("paused", &["--target-xid", &xid, "--target-action", "pause"]);
    assert_eq!((record["state"].as_str(), recovered.sql("SELECT pg_is_in_recovery()").as_str()), (Some("paused"), "t"));
    assert_eq!(recovered.rows(), "1");
    assert!(record["reached_lsn"].is_string());
    let (recovered, record) = source.arrive("all", &["--target-action", "pause"]);
    assert_eq!((record["state"].as_str(), recovered.rows().as_str()), (Some("paused"), "1 2"));
    let (_recovered, record) = source.arrive("shut", &["--target-xid", &xid, "--target-action", "shutdown"]);
    assert_eq!(record["state"], "shutdown");
}

#[test]
fn an_idle_database_is_recovered_to_a_moment_after_its_last_commit() {
    for major in dr_testing::postgres::usual_majors() {
        let source = Source::start(major);
        source.base();
        source.row(1);
        let at = source.now();
        // Nothing is committed after it; the server says itself that it lived on.
        source.sql("CHECKPOINT");
        source.archived();
        let ran = run(&mut source.recover("x", &["--preflight", "--target-time", &at]));
        assert!(ran.ends(0).contains("no transaction after"), "{}", ran.stderr);
        assert!(ran.record()["target_value"].as_str().unwrap().starts_with("recovery_target_lsn"));
        // What is archived from now on is not replayed.
        source.row(2);
        source.archived();
        let (recovered, _) = source.arrive("idle", &["--target-time", &at]);
        assert_eq!(recovered.rows(), "1");
    }
}

#[test]
fn a_last_commit_that_goes_on_in_the_next_segment_is_seen() {
    const SEGMENT: u64 = 16 << 20;
    let source = Source::start(15);
    source.base();
    let position = || source.sql("SELECT pg_current_wal_insert_lsn() - '0/0'").parse::<u64>().unwrap();
    // A transaction that ends with a commit of some 200 kB.
    let make = "CREATE SCHEMA many; DO $$ BEGIN FOR k IN 1..200 LOOP EXECUTE format('CREATE TABLE many.t%s (n int PRIMARY KEY)', k); END LOOP; END $$";
    let undo = || {
        let begins = position();
        source.sql("DROP SCHEMA many CASCADE");
        (begins, position())
    };
    // How much it writes is seen at the second time; the first one takes pages along. The third begins so far from the end of the
    // segment that its last 50 kB go on in the next one.
    source.sql(make);
    undo();
    source.sql(make);
    let (begins, ends) = undo();
    source.sql(make);
    let here = position();
    let there = here.next_multiple_of(SEGMENT) + SEGMENT - (ends - begins) + 50_000;
    // Each page has a header.
    source.sql(&format!("SELECT pg_logical_emit_message(false, 'far', repeat('x', {}))", (there - here) / 8192 * 8168));
    let at = source.now();
    let (begins, ends) = undo();
    assert!(begins / SEGMENT < ends / SEGMENT && ends % SEGMENT < 150_000, "{begins} {ends}");
    source.archived();
    let ran = run(&mut source.recover("x", &["--preflight", "--target-time", &at]));
    assert!(!ran.ends(0).contains("no transaction after"), "{}", ran.stderr);
    assert!(ran.record()["target_value"].as_str().unwrap().starts_with("recovery_target_time"), "{:?}", ran.record());
}

#[test]
fn what_is_missing_at_the_end_of_a_younger_copy_is_not_taken_for_idleness() {
    let source = Source::start(15);
    source.base();
    source.row(1);
    source.archived();
    let between = source.now();
    source.row(2);
    let last = source.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    let at = source.now();
    source.archived();
    // The database was idle then: no server has said so, but that nothing was written to the segment before it was closed.
    let (recovered, _) = source.arrive("idle", &["--target-time", &at]);
    assert_eq!(recovered.rows(), "1 2");
    // A copy that has not got the last segment yet, and all of which is younger than the moment.
    source.lose(&last);
    source.shell("find store -type f -exec touch {} +");
    let ran = run(&mut source.recover("short", &["--preflight", "--target-time", &at]));
    assert!(ran.ends(66).contains("is not reached: the WAL ends at"), "{}", ran.stderr);
    let ran = run(&mut source.recover("short", &["--preflight", "--target-time", &between]));
    assert!(ran.ends(66).contains("is not reached: the WAL ends at"), "{}", ran.stderr);
}

#[test]
fn the_last_base_before_the_target_is_chosen_by_when_it_ended() {
    let source = Source::start(15);
    let first = source.base();
    source.row(1);
    let at = source.now();
    source.row(2);
    let second = source.base();
    source.row(3);
    source.archived();
    let plan = |args: &[&str]| run(source.recover("x", &["--preflight"]).args(args)).record();
    assert_eq!(plan(&["--target-time", &at])["backup"].as_str(), Some(&*first));
    assert_eq!(plan(&[])["backup"].as_str(), Some(&*second));
    assert_eq!(plan(&["--backup", &first])["backup"].as_str(), Some(&*first));
    let xid = source.row(4);
    source.archived();
    assert_eq!(plan(&["--target-xid", &xid])["backup"].as_str(), Some(&*second));
    assert!(!source.path("x").exists());
}

#[test]
fn timelines_are_followed() {
    let source = Source::start(15);
    source.base();
    source.row(1);
    source.archived();
    let at = source.now();
    source.row(2);
    source.archived();
    // A second timeline, which forks before row 2, and archives into the same place.
    source.branch(&at, 20);
    let (recovered, record) = source.arrive("latest", &[]);
    assert_eq!((recovered.rows().as_str(), record["target_timeline"].as_u64()), ("1 20", Some(2)));
    let (recovered, record) = source.arrive("current", &["--timeline", "current"]);
    assert_eq!((recovered.rows().as_str(), record["target_timeline"].as_u64()), ("1 2", Some(1)));
    let ran = run(&mut source.recover("none", &["--preflight", "--timeline", "7"]));
    assert!(ran.ends(66).contains("timeline 7 is not known"), "{}", ran.stderr);
    // F48: without its history PostgreSQL would follow the older timeline in silence.
    source.lose("00000002.history");
    let ran = run(&mut source.recover("none", &["--preflight"]));
    assert!(ran.ends(66).contains("00000002.history is missing"), "{}", ran.stderr);
    run(&mut source.recover("none", &["--preflight", "--timeline", "1"])).ends(0);
}

#[test]
fn the_beginning_of_a_segment_that_was_streamed_is_replayed() {
    let source = Source::start(18);
    source.base();
    source.row(1);
    source.archived();
    source.row(2);
    let (segment, lsn) = source.streamed("store");
    let reached = lsn.0 % SegmentSize::DEFAULT.bytes();
    let plan = |args: &[&str]| run(source.recover("x", &["--preflight"]).args(args)).record()["latest_lsn"].clone();
    assert_eq!(plan(&[]), lsn.to_string());
    assert_eq!(plan(&["--no-partial"]), segment.start(SegmentSize::DEFAULT).to_string());
    let (recovered, record) = source.arrive("x", &[]);
    assert_eq!(recovered.rows(), "1 2", "{record}");
    let (recovered, _) = source.arrive("whole", &["--no-partial"]);
    assert_eq!(recovered.rows(), "1");
    // What lies in it is reached, too, where the rest of the segment was lost, and more follows.
    source.archived();
    source.row(3);
    source.archived();
    source.lose(&segment.to_string());
    let said = run(&mut source.recover("y", &[])).ends(66).to_owned();
    assert!(said.contains("the WAL has a hole") && said.contains(&format!("to {lsn} ")), "{said}");
    let (recovered, _) = source.arrive("y", &["--target-lsn", &lsn.to_string()]);
    assert_eq!(recovered.rows(), "1 2");
    let settings = std::fs::read_to_string(source.path("y/postgresql.auto.conf")).unwrap();
    assert!(settings.contains(&format!("--planned {segment}:{reached}")), "{settings}");
}
