//! Where a timeline was left, two of them have a state of one moment.

use crate::fixture::{Ran, Source, run};

/// A server with the rows 1 to 3 on its timeline, which a second one left before row 2.
struct Left {
    source: Source,
    /// Before row 2.
    at: String,
    /// Before row 3.
    between: String,
}

impl Left {
    fn start() -> Left {
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
    let (recovered, _) = source.arrive("fork", &["--timeline", "1", "--target-lsn", fork, "--exclusive"]);
    assert_eq!(recovered.rows(), "1");
}

/// Recovers with the script of RECOVERY.txt and nothing of ours.
fn with_stock_tools(source: &Source, into: &str, settings: &str) -> Ran {
    let bin = source.server.bin_dir().display().to_string();
    run(source.tool("/bin/bash").arg("-ec").arg(format!(
        "export PATH={bin}:/usr/bin:/bin; sed -n '/^--8<-- restore-base.sh$/,/^-->8--$/p' store/main/RECOVERY.txt | sed '1d;$d' > script
         export OBJECT=$(echo store/main/base/*.age) WAL=store/main/wal KEY=identity PUBLIC_KEY=main.pub PGDATA={into} WORK=work_{into}
         {settings} sh script 2>&1"
    )))
}

/// The same, where it succeeds; gives what it printed, and the rows.
fn stock(source: &Source, into: &str, settings: &str) -> (String, String) {
    let bin = source.server.bin_dir().display().to_string();
    let ran = with_stock_tools(source, into, settings);
    let printed = ran.stdout;
    assert_eq!(ran.code, Some(0), "{printed}");
    let rows = source.sql("SELECT string_agg(n::text, ' ' ORDER BY n) FROM t");
    source.shell(&format!("{bin}/pg_ctl stop -s -D {into} -m fast"));
    (printed, rows)
}

#[test]
fn f48_stock_tools_come_to_a_later_moment_of_a_timeline_that_was_left() {
    let Left { source, between, .. } = Left::start();
    let target = format!("TARGET='{}'", between.replace('T', " ").replace('Z', " UTC"));
    let (printed, rows) = stock(&source, "latest", &target);
    assert!(printed.contains("\ntimeline 2 left timeline 1 at 0/") && printed.contains("\nTIMELINE is latest"), "{printed}");
    assert_eq!(rows, "1");
    let (_, rows) = stock(&source, "older", &format!("{target} TIMELINE=1"));
    assert_eq!(rows, "1 2");
    let refused = run(source.tool("/bin/sh").arg("script").envs([("TIMELINE", "'x"), ("PATH", "/usr/bin:/bin")]));
    assert!(refused.stderr.contains("STOP: TIMELINE is a number, current or latest"), "{}", refused.stderr);
}

#[test]
fn f47_stock_tools_take_no_hole_for_the_end_of_the_wal() {
    let Left { source, between, .. } = Left::start();
    let first = source.shell("cd store/main/wal/00000002 && ls 000000020* | cut -c 1-24 | uniq | head -n 2");
    let (lost, next) = first.trim_end().split_once('\n').unwrap();
    source.lose(lost);
    let stopped = with_stock_tools(&source, "hole", "");
    assert_eq!(stopped.code, Some(1), "{}", stopped.stdout);
    assert!(stopped.stdout.contains(&format!("{next}: the segment before this one is missing\nSTOP: what follows a hole")));
    // It is none of the timeline that is followed here.
    let target = format!("TARGET='{}' TIMELINE=1 PORT=5432", between.replace('T', " ").replace('Z', " UTC"));
    let (printed, rows) = stock(&source, "older", &target);
    assert!(!printed.contains("missing\n"), "{printed}");
    assert_eq!(rows, "1 2");
    source.shell("grep -x 'port = 5432' older/postgresql.auto.conf");
}
