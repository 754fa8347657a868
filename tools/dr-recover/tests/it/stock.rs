//! What RECOVERY.txt promises: a cluster comes back without any program of ours, and what cannot come back is told.

use crate::fixture::{Ran, Source, run};
use crate::forks::Left;
use crate::tablespaces::{make, state};

/// Recovers with the script of RECOVERY.txt, beside the source.
fn recover(source: &Source, into: &str, settings: &str) -> Ran {
    let bin = source.server.bin_dir().display().to_string();
    run(source.tool("/bin/bash").arg("-ec").arg(format!(
        "export PATH={bin}:/usr/bin:/bin; sed -n '/^--8<-- restore-base.sh$/,/^-->8--$/p' store/main/RECOVERY.txt | sed '1d;$d' > script
         export OBJECT=$(echo store/main/base/*.age) WAL=store/main/wal KEY=identity PUBLIC_KEY=main.pub PGDATA={into} WORK=work_{into}
         export PORT=5433; {settings} sh script 2>&1"
    )))
}

/// The same, where it succeeds; gives what it printed, and the rows.
#[track_caller]
fn back(source: &Source, into: &str, settings: &str) -> (String, String) {
    let printed = recover(source, into, settings).ends_well();
    let connects = printed.lines().find_map(|line| line.strip_prefix("Look at it: ")).expect("how to connect");
    let rows = source.shell(&format!("{connects} -U postgres -AtXc \"SELECT string_agg(n::text, ' ' ORDER BY n) FROM t\""));
    source.shell(&format!("{} stop -s -D {into} -m fast", source.server.bin("pg_ctl").display()));
    (printed, rows.trim_end().to_owned())
}

/// Where it stops, and with these words.
#[track_caller]
fn stops(source: &Source, into: &str, settings: &str, words: &str) {
    let ran = recover(source, into, settings);
    assert!(ran.code == Some(1) && ran.stdout.contains(words), "{}", ran.stdout);
}

impl Ran {
    #[track_caller]
    fn ends_well(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stdout);
        self.stdout
    }
}

fn target(moment: &str) -> String {
    format!("TARGET='{}'", moment.replace('T', " ").replace('Z', " UTC"))
}

#[test]
fn f48_a_later_moment_of_a_timeline_that_was_left_comes_back() {
    let Left { source, between, .. } = Left::start();
    let moment = target(&between);
    let (printed, rows) = back(&source, "latest", &moment);
    assert!(printed.contains("\ntimeline 2 left timeline 1 at 0/") && printed.contains("\nTIMELINE is latest"), "{printed}");
    assert_eq!(rows, "1");
    assert_eq!(back(&source, "older", &format!("{moment} TIMELINE=1")).1, "1 2");
    stops(&source, "x", "TIMELINE=x", "STOP: TIMELINE is a number, current or latest");
}

#[test]
fn f47_a_hole_is_not_taken_for_the_end_of_the_wal() {
    let Left { source, between, .. } = Left::start();
    let first = source.shell("cd store/main/wal/00000002 && ls 000000020* | cut -c 1-24 | uniq | head -n 2");
    let (lost, next) = first.trim_end().split_once('\n').unwrap();
    source.lose(lost);
    stops(&source, "hole", "", &format!("{next}: the segment before this one is missing\nSTOP: what follows a hole"));
    source.lose(next);
    stops(&source, "history", "", "STOP: of timeline 2 only the history is there");
    // It is none of the timeline that is followed here.
    let (printed, rows) = back(&source, "older", &format!("{} TIMELINE=1", target(&between)));
    assert!(!printed.contains("missing\n"), "{printed}");
    assert_eq!(rows, "1 2");
}

#[test]
fn f79_the_tablespace_of_a_living_server_is_left_alone() {
    let source = Source::start(15);
    source.base();
    source.row(1);
    make(&source, "later");
    source.sql("CHECKPOINT");
    source.archived();
    let before = state(&source, "later");
    stops(&source, "x", "", "could not create symbolic link \"pg_tblspc/");
    assert_eq!(state(&source, "later"), before);
    assert_eq!(source.sql("SELECT count(*) FROM in_later"), "5000");
}

#[test]
fn what_a_server_had_begun_of_a_segment_comes_back_by_any_of_several_keys() {
    let source = Source::start(18);
    source.row(1);
    source.base();
    source.row(2);
    source.archived();
    source.row(3);
    // As a standby stores it that takes over.
    let segment = source.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    source.sql("CHECKPOINT");
    let data = source.server.data_dir().display().to_string();
    source.shell(&format!("cp {data}/pg_wal/{segment} {segment}.partial"));
    let push = source.sql("SHOW archive_command").replace("%p", &format!("$PWD/{segment}.partial"));
    source.shell(&push);
    source.shell("minisign -GW -p other.pub -s other.key >/dev/null; cat other.pub main.pub >/dev/null");
    assert_eq!(back(&source, "begun", "PUBLIC_KEY=other.pub,main.pub").1, "1 2 3");
    assert_eq!(back(&source, "unproved", "PUBLIC_KEY=none").1, "1 2 3");
    stops(&source, "forged", "PUBLIC_KEY=other.pub", "STOP: no good signature: see 7");
    stops(&source, "early", "TARGET='2026-01-25 09:30:00 UTC'", ": take an older base");
}

#[test]
fn a_base_with_its_own_wal_comes_back_where_nothing_was_archived() {
    let source = Source::start(15);
    source.row(1);
    source.base_with("--with-wal");
    source.shell("mv store/main/wal store/main/gone");
    assert_eq!(back(&source, "alone", "WAL=").1, "1");
}
