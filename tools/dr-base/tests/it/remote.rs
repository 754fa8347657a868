//! Backups that pg_basebackup reads.

use std::os::unix::fs::{FileExt, PermissionsExt};

use dr_pipe::record::WalKept;

use crate::*;

#[test]
fn what_pg_basebackup_reads_comes_back() {
    for major in majors() {
        let server = Server::start(major);
        server.psql("postgres", "CREATE TABLE t AS SELECT n, repeat(md5(n::text), 20) AS x FROM generate_series(1, 100000) AS n");
        let taken = Taken::make(&server, &["--remote", "--with-wal", "--jobs", "3"]);
        taken.proved();
        let base = taken.base();
        assert_eq!((base.wal, base.timeline, base.damaged_pages), (WalKept::Inside, 1, 0));
        let pgdata = taken.unpack();
        pg_verifybackup(&server, &[], &pgdata);
        let manifest = std::fs::read_to_string(pgdata.join("backup_manifest")).unwrap();
        assert_eq!(base.files, manifest.matches("\"Path\"").count() as u64);
        assert!(manifest.contains(&format!("\"Start-LSN\": \"{}\", \"End-LSN\": \"{}\"", base.start_lsn, base.stop_lsn)));
        let restored = Restored::start(&server, &pgdata);
        assert_eq!(restored.psql("SELECT count(*), count(DISTINCT n) FROM t"), "100000|100000");
    }
}

#[test]
fn a_role_that_may_not_know_where_files_are_falls_back_with_a_note() {
    let server = Server::start(majors()[0]);
    server.psql("postgres", "CREATE ROLE backup LOGIN REPLICATION");
    let taken = Taken::of(dr_base(&server).args(["--with-wal", "-U", "backup"]));
    assert!(taken.output.status.success(), "{}", text(&taken.output));
    let said = text(&taken.output);
    assert!(said.contains("warning: the role may not know where the data directory is; pg_basebackup reads the files"), "{said}");
    pg_verifybackup(&server, &[], &taken.unpack());
}

#[test]
fn tablespaces_are_refused_before_anything_is_written() {
    let server = Server::start(majors()[0]);
    let _disk = tablespace(&server);
    let taken = Taken::attempt(&server, &["--remote", "--with-wal"]);
    assert_eq!(taken.code(), Some(78), "{}", text(&taken.output));
    assert_eq!(taken.directory.path().join("base.tar.zst").metadata().unwrap().len(), 0);
    assert!(!taken.has_receipt());
}

#[test]
fn f65_damage_that_the_server_finds_is_counted() {
    for major in majors() {
        let server = crate::faults::with_checksums(major);
        let (file, _) = crate::faults::damage(&server);
        let taken = Taken::attempt(&server, &["--remote", "--with-wal"]);
        assert_eq!(taken.code(), Some(65), "{}", text(&taken.output));
        assert_eq!(taken.base().damaged_pages, 1);
        assert!(text(&taken.output).contains(&file), "{}", text(&taken.output));
        taken.proved();
    }
}

#[test]
fn a_role_without_the_right_is_refused_in_the_words_of_the_server() {
    let server = Server::start(majors()[0]);
    server.psql("postgres", "CREATE ROLE nobody LOGIN");
    let taken = Taken::of(dr_base(&server).args(["--remote", "--with-wal", "-U", "nobody"]));
    assert_eq!(taken.code(), Some(77), "{}", text(&taken.output));
    assert!(!taken.has_receipt());
}

#[test]
fn a_pg_basebackup_that_dies_midway_leaves_no_receipt() {
    let server = Server::start(majors()[0]);
    let real = server.bin("pg_basebackup");
    let bin = TempDir::new_in("/tmp").unwrap();
    let fake = bin.path().join("pg_basebackup");
    let script = format!(
        "#!/bin/bash\n[ \"$1\" = --version ] && exec {0} --version\n{0} \"$@\" | head -c 5000000\nexit 1\n",
        real.display()
    );
    std::fs::write(&fake, script).unwrap();
    std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).unwrap();
    let taken = Taken::of(dr_base(&server).args(["--remote", "--with-wal"]).env("DR_PG_BINDIRS", bin.path()));
    assert_eq!((taken.code(), taken.has_receipt()), (Some(74), false), "{}", text(&taken.output));
    let file = std::fs::File::open(taken.directory.path().join("base.tar.zst")).unwrap();
    assert!(file.read_at(&mut [0; 1], 0).is_ok());
}
