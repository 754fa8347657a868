//! What is backed up comes back: stock tools unpack it, PostgreSQL's own program proves it, and a server starts from it.

use std::sync::atomic::{AtomicBool, Ordering};

use dr_pipe::record::WalKept;

use crate::*;

/// Runs `sql` again and again beside `work`.
fn under_load<T>(server: &Server, sql: &str, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                server.psql("postgres", sql);
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        load.join().unwrap();
        result
    })
}

#[test]
fn a_cluster_that_is_written_to_comes_back_by_stock_tools() {
    for major in majors() {
        let server = Server::start_with(major, &[("full_page_writes", "on")]);
        server.psql("postgres", "CREATE TABLE t AS SELECT n, repeat(md5(n::text), 20) AS x FROM generate_series(1, 100000) AS n");
        server.psql(
            "postgres",
            "CREATE UNLOGGED TABLE u AS SELECT n FROM generate_series(1, 1000) AS n; CREATE TABLE log (n bigserial)",
        );
        let load =
            "INSERT INTO log SELECT FROM generate_series(1, 50); UPDATE t SET x = x || 'y' WHERE n % 97 = (random() * 96)::int";
        let taken = under_load(&server, load, || Taken::make(&server, &["--with-wal", "--jobs", "3"]));
        let finished = taken.proved();
        let base = taken.base();
        assert_eq!((base.wal, base.timeline, base.damaged_pages, base.from_standby), (WalKept::Inside, 1, 0, false));
        assert_eq!(base.page_checksums, server.psql("postgres", "SHOW data_checksums") == "on");
        assert_eq!(taken.produced().taken_at, base.stopped_at);
        assert!(finished.members > base.files && base.files > 900, "{} files", base.files);

        let pgdata = taken.unpack();
        pg_verifybackup(&server, &[], &pgdata);
        let restored = Restored::start(&server, &pgdata);
        assert_eq!(restored.psql("SELECT count(*), count(DISTINCT n) FROM t"), "100000|100000");
        assert_eq!(restored.psql("SELECT count(*) FROM u"), "0", "unlogged tables come back empty");
        assert_ne!(restored.psql("SELECT count(*) FROM log"), "0");
    }
}

#[test]
fn f65_files_that_vanish_grow_and_shrink_do_no_harm() {
    for major in majors() {
        let server = Server::start(major);
        server.psql("postgres", "CREATE TABLE t AS SELECT n, repeat(md5(n::text), 20) AS x FROM generate_series(1, 50000) AS n");
        let load = "VACUUM FULL t; CREATE TABLE gone AS SELECT repeat('x', 1000) FROM generate_series(1, 5000); DROP TABLE gone; \
                    CREATE TEMPORARY TABLE passing AS SELECT 1; DELETE FROM t WHERE n > 50000; VACUUM t; \
                    INSERT INTO t SELECT n, 'x' FROM generate_series(50001, 60000) AS n";
        let taken = under_load(&server, load, || Taken::make(&server, &["--with-wal"]));
        taken.proved();
        let pgdata = taken.unpack();
        pg_verifybackup(&server, &[], &pgdata);
        let restored = Restored::start(&server, &pgdata);
        assert_eq!(restored.psql("SELECT count(*) FROM t WHERE n <= 50000"), "50000");
    }
}

#[test]
fn a_database_that_moves_meanwhile_gives_no_backup() {
    let server = Server::start(majors()[0]);
    let _disk = tablespace(&server);
    server
        .psql("postgres", "CREATE DATABASE moved; CREATE TABLE t AS SELECT md5(n::text) AS x FROM generate_series(1, 200000) AS n");
    let taken = std::thread::scope(|scope| {
        let taking = scope.spawn(|| Taken::attempt(&server, &["--with-wal", "--max-rate", "8M"]));
        wait_for("the backup to begin", || server.psql("postgres", READS_FILES) == "t");
        server.psql("postgres", "ALTER DATABASE moved SET TABLESPACE fast");
        taking.join().unwrap()
    });
    let said = text(&taken.output);
    assert_eq!((taken.code(), taken.has_receipt()), (Some(75), false), "{said}");
    assert!(said.contains("database moved was moved to another tablespace"), "{said}");
}

#[test]
fn tablespaces_are_directories_whose_places_the_map_remembers() {
    for major in majors() {
        let server = Server::start(major);
        let disk = tablespace(&server);
        server.psql("postgres", "CREATE TABLE t TABLESPACE fast AS SELECT generate_series(1, 1000) AS n");
        let oid = server.psql("postgres", "SELECT oid FROM pg_tablespace WHERE spcname = 'fast'");
        let taken = Taken::make(&server, &["--with-wal"]);
        let base = taken.base();
        let place = (base.tablespaces[0].oid.to_string(), base.tablespaces[0].path.clone());
        assert_eq!(place, (oid.clone(), disk.path().display().to_string()));
        let pgdata = taken.unpack();
        pg_verifybackup(&server, &[], &pgdata);
        assert_eq!(std::fs::read_to_string(pgdata.join("tablespace_map")).unwrap(), format!("{oid} {}\n", disk.path().display()));

        // As dr-recovery(7) does it by hand: each to a place of its own, and the map says where.
        let moved = taken.directory.path().join("fast");
        assert!(Command::new("mv").arg(pgdata.join("pg_tblspc").join(&oid)).arg(&moved).status().unwrap().success());
        std::fs::write(pgdata.join("tablespace_map"), format!("{oid} {}\n", moved.display())).unwrap();
        assert!(Command::new("chown").args(["-R", "--reference"]).arg(disk.path()).arg(&moved).status().unwrap().success());
        let restored = Restored::start(&server, &pgdata);
        assert_eq!(restored.psql("SELECT sum(n) FROM t"), "500500");
    }
}

#[test]
fn configuration_outside_the_data_directory_comes_along() {
    let server = Server::start(majors()[0]);
    let outside = server.file("pg_hba.other", "local all all trust\n");
    server.configure(&[("hba_file", outside.to_str().unwrap())]);
    server.restart();
    let taken = Taken::make(&server, &["--with-wal"]);
    let pgdata = taken.unpack();
    assert_eq!(std::fs::read_to_string(pgdata.join("dr_config/pg_hba.other")).unwrap(), "local all all trust\n");
    pg_verifybackup(&server, &[], &pgdata);
}

#[test]
fn a_limit_is_kept_and_the_label_is_as_asked() {
    let server = Server::start(majors()[0]);
    let began = Instant::now();
    let taken = Taken::make(&server, &["--with-wal", "--max-rate", "8M", "--label", "nightly it is"]);
    assert!(began.elapsed() > Duration::from_secs(2), "some 20 MiB took {:?}", began.elapsed());
    assert!(std::fs::read_to_string(taken.unpack().join("backup_label")).unwrap().contains("\nLABEL: nightly it is\n"));
}
