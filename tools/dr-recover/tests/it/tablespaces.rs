//! Tablespaces that were made after the backup: PostgreSQL makes them again where they were.

use std::fs;
use std::path::Path;

use crate::fixture::{Recovered, Source, run};

/// Adds a tablespace with a table in it.
pub fn make(source: &Source, name: &str) -> String {
    source.shell(&format!("mkdir -m 700 {name}"));
    let path = source.path(name).display().to_string();
    source.sql(&format!("CREATE TABLESPACE {name} LOCATION '{path}'"));
    source.sql(&format!("CREATE TABLE in_{name} (n int) TABLESPACE {name}; INSERT INTO in_{name} SELECT generate_series(1, 5000)"));
    path
}

/// Every file there, and what is in it.
pub fn state(source: &Source, name: &str) -> String {
    source.shell(&format!("cd {name} && find . -type f -exec md5sum {{}} + | sort"))
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn f79_a_tablespace_of_a_living_server_is_never_replayed_into() {
    for major in dr_testing::postgres::usual_majors() {
        let source = Source::start(major);
        source.base();
        source.row(1);
        let path = make(&source, "later");
        source.sql("CHECKPOINT");
        source.archived();
        let before = state(&source, "later");
        // It is in the WAL that is read for the end: nothing is written.
        let ran = run(&mut source.recover("x", &["--start", "--wait"]));
        let said = ran.ends(80);
        assert!(said.contains(&format!(" in {path}, and the replay would write into it: it has PG_{major}_")), "{said}");
        assert!(said.contains("or a point before it (--target-lsn 0/") && said.contains("nothing was written"), "{said}");
        assert!(!source.path("x").exists());
        let lsn = said.split("--target-lsn ").nth(1).unwrap().split(' ').next().unwrap();
        let (recovered, _) = source.arrive("point", &["--target-lsn", lsn, "--exclusive"]);
        assert_eq!(recovered.rows(), "1");
        drop(recovered);
        // Nobody reads so far back: the server stops before it touches anything.
        source.row(2);
        source.archived();
        let ran = run(&mut source.recover("y", &["--start", "--wait"]));
        let said = ran.ends(80);
        assert!(said.contains("the replay would write into it") && said.contains("its server ended before it"), "{said}");
        assert!(!source.path("y/postmaster.pid").exists());
        assert_eq!(mode(&source.path("y/pg_tblspc")), 0o500);
        assert_eq!(state(&source, "later"), before);
        assert_eq!(source.sql("SELECT count(*) FROM in_later"), "5000");
        // A later base has it, and names it.
        source.base();
        source.row(3);
        source.archived();
        let ran = run(&mut source.recover("z", &["--backup", &first(&source)]));
        assert!(ran.ends(80).contains("the replay would write into it"), "{}", ran.stderr);
        assert!(!source.path("z").exists());
        // Once the place is free, the same goes on.
        source.server.stop(false);
        source.shell("mv later gone");
        let (recovered, _) = source.arrive("y", &["--delta", "--backup", &first(&source)]);
        assert_eq!((recovered.rows(), recovered.sql("SELECT count(*) FROM in_later")), ("1 2 3".into(), "5000".into()));
        check(&recovered, "y", &source);
    }
}

/// The name of the oldest base.
fn first(source: &Source) -> String {
    let names = source.shell("ls store/main/base/*.json");
    Path::new(names.lines().next().unwrap()).file_stem().unwrap().to_str().unwrap().to_owned()
}

/// Whether tablespaces can be made again in a server that was recovered.
fn check(recovered: &Recovered, into: &str, source: &Source) {
    assert_eq!(mode(&source.path(into).join("pg_tblspc")), 0o700);
    source.shell(&format!("mkdir -m 700 new_{into}"));
    recovered.sql(&format!("CREATE TABLESPACE new LOCATION '{}'", source.path(&format!("new_{into}")).display()));
}

#[test]
fn tablespaces_that_are_made_by_the_replay_find_their_directories() {
    for major in dr_testing::postgres::usual_majors() {
        let source = Source::start(major);
        make(&source, "known");
        source.base_with("--with-wal");
        source.row(1);
        make(&source, "later");
        make(&source, "last");
        source.archived();
        source.row(2);
        source.archived();
        source.server.stop(false);
        source.shell("mv known a; mv later b; mv last c; mkdir -m 755 later last");
        let at_its_own = format!("{}={}", source.path("known").display(), source.path("here").display());
        // They are found by the server that is held up.
        let (recovered, _) = source.arrive("x", &["--tablespace", &at_its_own, "--set", "recovery_end_command=touch ended"]);
        for name in ["known", "later", "last"] {
            assert_eq!(recovered.sql(&format!("SELECT count(*) FROM in_{name}")), "5000", "{major}");
        }
        assert_eq!(recovered.rows(), "1 2");
        check(&recovered, "x", &source);
        drop(recovered);
        // Without one the guard goes by itself.
        let (recovered, _) =
            source.arrive("y", &["--target", "immediate", "--tablespaces-below", &source.path("below").display().to_string()]);
        assert_eq!(recovered.sql("SELECT count(*) FROM in_known"), "5000");
        check(&recovered, "y", &source);
    }
}
