//! Where a timeline was left, two of them have a state of one moment.

use crate::fixture::{Source, run};

/// A server with the rows 1 to 3 on its timeline, which a second one left before row 2.
pub struct Left {
    pub source: Source,
    /// Before row 2.
    at: String,
    /// Before row 3.
    pub between: String,
}

impl Left {
    pub fn start() -> Left {
        let source = Source::start(18);
        source.base();
        source.row(1);
        source.archived();
        let at = source.now();
        source.row(2);
        let between = source.now();
        source.archived();
        source.row(3);
        source.archived();
        source.branch(&at, 20);
        Left { source, at, between }
    }
}

#[test]
fn f48_a_moment_between_a_fork_and_what_came_after_it_is_told() {
    let Left { source, at, between } = Left::start();
    let ran = run(&mut source.recover("x", &["--preflight", "--target-time", &between]));
    let said = ran.ends(0);
    assert!(said.contains("timeline 2 left timeline 1 at ") && said.contains("--timeline 1 has what was done"), "{said}");
    let (recovered, record) = source.arrive("newest", &["--target-time", &between]);
    assert_eq!((recovered.rows().as_str(), record["target_timeline"].as_u64()), ("1", Some(2)));
    let (socket, port) = (&record["socket_dir"], &record["port"]);
    assert_eq!((socket.as_str(), port.as_u64()), (source.path("newest").to_str(), Some(5432)));
    let (recovered, _) = source.arrive("older", &["--target-time", &between, "--timeline", "1"]);
    assert_eq!(recovered.rows(), "1 2");
    // Of a moment before the fork, and of one that the newer timeline has lived, there is nothing to tell.
    for args in [&["--target-time", at.as_str()][..], &[]] {
        let ran = run(source.recover("x", &["--preflight"]).args(args));
        assert!(!ran.ends(0).contains("left timeline"), "{}", ran.stderr);
    }
    // Where the newer one has a hole, the older one goes on farther.
    let first = source.shell("cd store/main/wal/00000002 && ls 000000020* | head -n 1");
    source.lose(&first[..24]);
    let ran = run(&mut source.recover("x", &["--preflight"]));
    let said = ran.ends(66);
    assert!(said.contains("the WAL has a hole") && said.contains("; --timeline 1 goes on to "), "{said}");
    run(&mut source.recover("x", &["--preflight", "--timeline", "1"])).ends(0);
    // Where it has nothing but its history, as just after a promotion, the older one has what came right before the fork.
    let rest = source.shell("cd store/main/wal/00000002 && ls 000000020* | cut -c 1-24 | uniq");
    rest.lines().for_each(|segment| source.lose(segment));
    let ran = run(&mut source.recover("x", &["--preflight"]));
    let said = ran.ends(0);
    let (_, hint) = said.split_once("of timeline 2 only the history is there").expect("a warning");
    let fork = hint.split_once("--target-lsn ").and_then(|(_, rest)| rest.split_once(' ')).expect("where the fork is").0;
    let (recovered, _) = source.arrive("history", &[]);
    assert_eq!(recovered.rows(), "1", "what the newer one was to undo stays undone");
    let (recovered, _) = source.arrive("fork", &["--timeline", "1", "--target-lsn", fork, "--exclusive"]);
    assert_eq!(recovered.rows(), "1");
    // Of a history that was claimed and never stored, nobody knows what it was to undo.
    source.shell("rm -f store/main/wal/00000002/00000002.history.zst.age");
    let ran = run(&mut source.recover("x", &["--preflight"]));
    assert!(ran.ends(66).contains("timeline 2 began, and its 00000002.history is in no store"), "{}", ran.stderr);
    run(&mut source.recover("x", &["--preflight", "--timeline", "1"])).ends(0);
}

#[test]
fn f48_a_history_that_is_damaged_is_in_the_way_only_where_it_is_needed() {
    let source = Source::start(15);
    source.base();
    source.row(1);
    source.archived();
    let at = source.now();
    source.row(2);
    source.archived();
    source.branch(&at, 20);
    source.branch_to(3, &[], 30);
    let damaged = "00000002.history";
    source.shell(&format!("cd store/main/wal/00000002 && chmod u+w {damaged}.zst.age && echo x >> {damaged}.zst.age"));
    // A server asks for all histories from its base's on, and those of all newer ones when it ends.
    for timeline in ["1", "2", "3"] {
        let ran = run(&mut source.recover("x", &["--preflight", "--timeline", timeline]));
        assert!(ran.ends(65).contains(damaged), "{}", ran.stderr);
    }
    // But for none that comes before.
    let bin = source.server.bin("pg_ctl").display().to_string();
    source.shell(&format!("{bin} start -w -s -D branch3 -l branch3/log -o '-c port=5432 -c unix_socket_directories='$PWD/branch3"));
    source.base_with("-h $PWD/branch3 -p 5432 -U postgres");
    source.shell(&format!("{bin} stop -s -D branch3 -m fast"));
    let (recovered, record) = source.arrive("latest", &[]);
    assert_eq!((recovered.rows().as_str(), record["target_timeline"].as_u64()), ("1 20 30", Some(3)));
    let ran = run(&mut source.recover("x", &["--preflight"]));
    let said = ran.ends(0);
    assert!(said.contains(damaged) && said.contains("; it is not needed here"), "{said}");
}
