//! Receiving from real servers: what is stored is what they wrote, whatever is killed meanwhile.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::process::Command;
use std::time::Duration;

use dr_wal::{Lsn, SegmentName, Shelved, Timeline};
use support::{Rig, SIZE, archiving, end, eventually, load, now, on_server};

#[test]
fn under_load_every_segment_is_what_the_server_archives_and_pieces_are_what_it_has_written() {
    for major in dr_testing::postgres::usual_majors() {
        let (server, rig) = (archiving(major, &[]), Rig::new());
        let conn = server.conninfo("postgres");
        let receiver = rig.start(&conn, &[]);
        eventually("it streams", || server.psql("postgres", "SELECT count(*) FROM pg_stat_replication") == "1");
        load(&server, 0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| load(&server, 3));
            }
        });
        let end = load(&server, 1);
        eventually("all is stored", || rig.holds_without_a_gap(1, end));
        assert!(rig.equals_archive(&server, 1) >= 4);
        assert_eq!(rig.push(&server, rig.segments(1)[1]), Shelved::Same, "dr-wal-push finds what it would have stored");

        // Of a database that was idle for a while, the claim of the segment that ends then says so.
        let idle_from = now(&server);
        server.psql("postgres", "SELECT pg_sleep(1)");
        let idle: SegmentName = server.psql("postgres", "SELECT pg_walfile_name(pg_switch_wal())").parse().unwrap();
        let switched = now(&server);
        eventually("it is stored", || rig.segments(1).contains(&idle));
        let as_of = rig.claims(idle)[0].as_of.unwrap();
        assert!(idle_from < as_of && as_of < switched, "{idle_from} {as_of} {switched}");
        let end = load(&server, 0);

        // What is not a whole segment is there in pieces: as far as the server has written, byte by byte.
        let current = SegmentName::containing(Timeline(1), end, SIZE);
        let written = usize::try_from(end.0 - current.start(SIZE).0).unwrap();
        eventually("pieces reach the end", || {
            rig.read(current).is_some_and(|(_, partial)| partial.is_some_and(|bytes| bytes as usize >= written))
        });
        let (stored, partial) = rig.read(current).unwrap();
        assert_eq!(stored.len() as u64, SIZE.bytes());
        let partial = partial.unwrap() as usize;
        assert!(stored[..partial] == on_server(&server, current)[..partial] && stored[partial..].iter().all(|byte| *byte == 0));
        server.psql("postgres", "INSERT INTO t VALUES (7, 'seven')");
        let end = self::end(&server);
        let more = usize::try_from(end.0 - current.start(SIZE).0).unwrap();
        eventually("another piece", || rig.read(current).unwrap().1.is_some_and(|bytes| bytes as usize >= more));
        assert!(rig.inventory().pieces[&current].len() >= 2);
        eventually("whole files leave the own disk", || {
            let left = support::files(&rig.path("dir"));
            left.keys().filter(|name| name.len() == 24).count() == 0
        });

        server.psql("postgres", "INSERT INTO t VALUES (8, 'eight')");
        let last = usize::try_from(self::end(&server).0 - current.start(SIZE).0).unwrap();
        eventually("it has come", || rig.receiving(current).len() >= last);
        receiver.signal("USR1");
        eventually("a status line", || rig.log().contains("files wait for stores"));
        receiver.signal("TERM");
        assert_eq!(receiver.end(), Some(75), "{}", rig.log());
        assert!(rig.read(current).unwrap().1.unwrap() as usize >= last, "a last piece is stored on the way out");
        let kept = format!("what was received is kept in {}, and stored after the next start\n", rig.path("dir").display());
        let log = rig.log();
        assert!(log.ends_with(&format!("error: stopped by SIGTERM\ndr-wal-receive: hint: {kept}")), "{log}");
    }
}

#[test]
fn once_stores_what_there_is_and_ends() {
    let (server, rig) = (archiving(18, &[]), Rig::new());
    let conn = server.conninfo("postgres");
    let end = load(&server, 2);
    let output = rig.run(&conn, &["--once"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.lines().count() == 1 && said.contains("was no store before"), "{said}");
    assert!(rig.holds_without_a_gap(1, end));
    let current = SegmentName::containing(Timeline(1), end, SIZE);
    let known = rig.read(current).unwrap().1.unwrap();
    assert!(current.start(SIZE).0 + u64::from(known) >= end.0);
    // Again, with nothing new: equal where it overlaps, and pieces begin anew.
    let until = end.to_string();
    let output = rig.run(&conn, &["--until", &until]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(rig.equals_archive(&server, 1), rig.segments(1).len());
}

#[test]
fn f20_a_full_disk_empties_itself_into_stores_that_are_back() {
    let (server, rig) = (archiving(15, &[]), Rig::new());
    let conn = server.conninfo("postgres");
    let whole = || support::files(&rig.path("dir")).into_keys().filter(|name| name.len() == 24).count();
    assert!(rig.run(&conn, &["--once"]).status.success());
    let marker = rig.path("store/dr-store.json");
    let ours = fs::read(&marker).unwrap();
    fs::write(&marker, "another's").unwrap();
    let receiver = rig.start(&conn, &[]);
    load(&server, 2);
    eventually("segments wait", || whole() >= 2);
    receiver.kill();
    fs::write(&marker, ours).unwrap();
    // Nothing more can be written or created in the own directory, and all can in the store.
    let mut command = Command::new("strace");
    let given = rig.command(&conn, &[]);
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=pwrite64:error=ENOSPC"]).arg(given.get_program());
    command.args(given.get_args()).envs(given.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(74) && said.contains("No space left on device"), "{said}");
    assert_eq!(whole(), 0, "{said}");
}

#[test]
fn one_store_under_two_names_is_refused_also_where_it_becomes_one_later() {
    let (server, rig) = (archiving(15, &[]), Rig::new());
    let (conn, far) = (server.conninfo("postgres"), rig.path("far"));
    let more = ["--to", far.to_str().unwrap()];
    fs::write(&far, "a file where the store will be").unwrap();
    let receiver = rig.start(&conn, &more);
    load(&server, 1);
    eventually("it is waited for", || rig.log().contains("far: "));
    fs::remove_file(&far).unwrap();
    std::os::unix::fs::symlink(rig.path("store"), &far).unwrap();
    assert_eq!(receiver.end(), Some(64), "{}", rig.log());
    let output = rig.run(&conn, &[&more[..], &["--once"]].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    let two = format!("{} is the same store as --to", far.display());
    let either = |text: &str| text.contains(&two) || text.contains(&format!("is the same store as --to {}", far.display()));
    assert!(output.status.code() == Some(64) && either(&said) && rig.log().contains(&two), "{said}{}", rig.log());
}

#[test]
fn a_segment_that_lacks_only_its_name_is_not_passed_over() {
    let (server, rig) = (archiving(18, &[]), Rig::new());
    let conn = server.conninfo("postgres");
    assert!(rig.run(&conn, &["--once"]).status.success());
    let current = SegmentName::containing(Timeline(1), end(&server), SIZE);
    let end = load(&server, 1);
    // What kill -9 leaves between the last write and the new name.
    fs::write(rig.path("dir").join(format!("{current}.receiving")), on_server(&server, current)).unwrap();
    assert!(rig.run(&conn, &["--once"]).status.success());
    assert!(rig.segments(1).contains(&current) && rig.holds_without_a_gap(1, end));
}

#[test]
fn systemd_hears_when_it_is_up_and_that_it_lives() {
    let (server, rig) = (archiving(15, &[]), Rig::new());
    let path = rig.path("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut command = rig.command(&server.conninfo("postgres"), &[]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    let receiver = rig.start_command(command);
    let hear = |word: &str| {
        let mut buffer = [0; 4096];
        loop {
            let n = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{word}: {error}"));
            let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
            if text.starts_with(word) {
                return text;
            }
        }
    };
    hear("READY=1");
    hear("WATCHDOG=1");
    assert!(hear("STATUS=received to ").contains("of timeline 1, safe to "));
    receiver.signal("TERM");
    hear("STOPPING=1");
    assert_eq!(receiver.end(), Some(75));
}

#[test]
fn kill_9_at_any_moment_leaves_no_gap() {
    for major in dr_testing::postgres::usual_majors() {
        let (server, rig) = (archiving(major, &[]), Rig::new());
        let conn = server.conninfo("postgres");
        for round in 0..5 {
            let receiver = rig.start(&conn, &[]);
            let before = support::files(&rig.path("dir"));
            std::thread::scope(|scope| {
                scope.spawn(|| load(&server, 2));
                eventually("something has come", || support::files(&rig.path("dir")) != before);
                // A little later every time.
                std::thread::park_timeout(Duration::from_millis(60 * round));
                receiver.kill();
            });
        }
        let end = load(&server, 0);
        let output = rig.run(&conn, &["--once"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(rig.holds_without_a_gap(1, end));
        assert!(rig.equals_archive(&server, 1) >= 8);
    }
}

#[test]
fn a_server_that_restarts_or_crashes_is_connected_to_again() {
    for major in dr_testing::postgres::usual_majors() {
        let (server, rig) = (archiving(major, &[]), Rig::new());
        let receiver = rig.start(&server.conninfo("postgres"), &[]);
        load(&server, 1);
        eventually("it has a segment", || !rig.segments(1).is_empty());
        server.restart();
        load(&server, 1);
        server.stop(true);
        server.restart();
        let end = load(&server, 1);
        eventually("all is stored", || rig.holds_without_a_gap(1, end));
        rig.equals_archive(&server, 1);
        receiver.signal("TERM");
        assert_eq!(receiver.end(), Some(75));
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the place is free both times")]
fn a_store_that_is_away_for_a_while_gets_all_of_it_later() {
    let (server, rig) = (archiving(18, &[]), Rig::new());
    let far = rig.path("far").display().to_string();
    let mut receiver = rig.start(&server.conninfo("postgres"), &["--to", &far]);
    load(&server, 1);
    eventually("both have a segment", || ["store", "far"].iter().all(|store| !rig.inventory_of(store).files.is_empty()));
    fs::rename(rig.path("far"), rig.path("away")).unwrap();
    fs::write(rig.path("far"), "a file where the store was").unwrap();
    let end = load(&server, 3);
    eventually("the other one goes on", || rig.holds_without_a_gap(1, end));
    eventually("it is said", || rig.log().contains("it is tried again"));
    assert!(receiver.is_running());
    let waiting = || support::files(&rig.path("dir")).keys().filter(|name| name.len() == 24).count();
    assert!(waiting() >= 3, "what a required store lacks stays on the own disk");
    fs::remove_file(rig.path("far")).unwrap();
    fs::rename(rig.path("away"), rig.path("far")).unwrap();
    eventually("nothing waits", || waiting() == 0);
    let names = |store: &str| rig.inventory_of(store).segments(Timeline(1)).collect::<Vec<_>>();
    assert_eq!(names("store"), names("far"));
}

#[test]
fn a_slot_that_was_given_up_as_it_was_idle_is_made_anew() {
    let (server, rig) = (archiving(18, &[("idle_replication_slot_timeout", "1s")]), Rig::new());
    let conn = server.conninfo("postgres");
    let receiver = rig.start(&conn, &[]);
    let end = load(&server, 1);
    eventually("it is stored", || rig.holds_without_a_gap(1, end));
    receiver.kill();
    let slot = "SELECT invalidation_reason FROM pg_replication_slots";
    eventually("it is given up", || server.psql("postgres", &format!("CHECKPOINT; {slot}")) == "idle_timeout");
    let receiver = rig.start(&conn, &[]);
    let end = load(&server, 1);
    eventually("it goes on", || rig.holds_without_a_gap(1, end));
    assert!(rig.log().contains("was given up by the server, and is made anew"), "{}", rig.log());
    receiver.kill();
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test moves stores away, as umount does")]
fn what_an_earlier_run_has_left_is_stored_where_the_server_is_gone() {
    let (server, rig) = (archiving(18, &[]), Rig::new());
    let conn = server.conninfo("postgres");
    let receiver = rig.start(&conn, &[]);
    load(&server, 1);
    let before = rig.path("store");
    eventually("something is stored", || !rig.segments(1).is_empty());
    fs::rename(&before, rig.path("away")).unwrap();
    let end = load(&server, 2);
    let last = SegmentName::containing(Timeline(1), end, SIZE);
    let reached = usize::try_from(end.0 - last.start(SIZE).0).unwrap();
    eventually("it has come", || {
        rig.path("dir").join(format!("{last}.receiving")).metadata().is_ok_and(|file| file.len() >= reached as u64)
    });
    receiver.kill();
    drop(server);
    fs::rename(rig.path("away"), &before).unwrap();
    let output = rig.run(&conn, &["--once"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(rig.holds_without_a_gap(1, end), "{said}");
}

#[test]
fn s3_that_dies_stops_nothing_where_one_store_is_enough() {
    let (server, rig) = (archiving(18, &[]), Rig::new());
    let s3 = dr_testing::s3::S3sFs::start();
    let to = format!("s3://{}/wal", dr_testing::s3::BUCKET);
    let mut command = rig.command(&server.conninfo("postgres"), &["--to", &to, "--require", "1"]);
    command.envs(s3.environment());
    let receiver = rig.start_command(command);
    load(&server, 1);
    let objects = || support::files(&s3.directory().join("data"));
    eventually("S3 has a segment", || objects().keys().any(|name| name.ends_with(".zst.age")));
    s3.kill();
    let end = load(&server, 2);
    eventually("the directory has all", || rig.holds_without_a_gap(1, end));
    assert_eq!(rig.equals_archive(&server, 1), rig.segments(1).len());
    drop(receiver);
}

#[test]
fn a_commit_waits_until_its_wal_is_on_the_own_disk() {
    for major in dr_testing::postgres::usual_majors() {
        let (server, rig) = (archiving(major, &[]), Rig::new());
        let conn = server.conninfo("postgres");
        let receiver = rig.start(&conn, &["--synchronous", "--name", "safe"]);
        server.psql("postgres", "CREATE TABLE t(x int)");
        eventually("it streams", || server.psql("postgres", "SELECT count(*) FROM pg_stat_replication") == "1");
        server.configure(&[("synchronous_standby_names", "safe")]);
        server.reload();
        let mode = "SELECT sync_state FROM pg_stat_replication WHERE application_name = 'safe'";
        eventually("it counts", || server.psql("postgres", mode) == "sync");
        for n in 0..20 {
            server.psql("postgres", &format!("INSERT INTO t VALUES ({n})"));
        }
        // From the outside, as a query would write nothing that waits.
        let committed: Lsn = server.psql("postgres", "SELECT flush_lsn FROM pg_stat_replication").parse().unwrap();
        receiver.kill();
        let current = SegmentName::containing(Timeline(1), committed, SIZE);
        let own = rig.receiving(current);
        assert!(current.start(SIZE).0 + own.len() as u64 >= committed.0);
        assert!(own == on_server(&server, current)[..own.len()]);

        std::thread::scope(|scope| {
            let commit = scope.spawn(|| server.psql("postgres", "INSERT INTO t VALUES (100)"));
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
            eventually("a commit waits", || server.psql("postgres", waits) == "1");
            assert!(!commit.is_finished());
            let receiver = rig.start(&conn, &["--synchronous", "--name", "safe"]);
            eventually("it returns", || commit.is_finished());
            receiver.signal("TERM");
            assert_eq!(receiver.end(), Some(75));
        });
        server.configure(&[("synchronous_standby_names", "")]);
        server.reload();
    }
}
