//! No backup counts whose WAL may be lost.

use dr_pipe::record::WalKept;
use dr_store::{Location, Store, StoreArgs};
use dr_wal::{Packed, Packing, Shelf};

use crate::*;

#[test]
fn f52_wal_that_nobody_archives_is_refused_at_the_start() {
    let server = Server::start(majors()[0]);
    let taken = Taken::attempt(&server, &[]);
    let said = text(&taken.output);
    assert_eq!((taken.code(), taken.has_receipt()), (Some(78), false), "{said}");
    assert!(said.contains("--with-wal") && said.contains("--from"), "{said}");
    let on = Server::start_with(majors()[0], &[("archive_mode", "on"), ("archive_command", "")]);
    assert_eq!(Taken::attempt(&on, &[]).code(), Some(78), "an archiver without a command archives nothing");
}

#[test]
fn f52_a_backup_whose_wal_is_not_archived_in_time_counts_for_nothing() {
    for (major, remote) in [(majors()[0], None), (*majors().last().unwrap(), None), (majors()[0], Some("--remote"))] {
        let server = Server::start_with(major, &[("archive_mode", "on"), ("archive_command", "false")]);
        let mut command = dr_base(&server);
        let taken = Taken::of(command.args(["--wal-timeout", "3"]).args(remote));
        assert_eq!((taken.code(), taken.has_receipt()), (Some(69), false), "{}", text(&taken.output));
    }
}

#[test]
fn f52_an_archiver_is_waited_for() {
    for (major, remote) in [(majors()[0], None), (*majors().last().unwrap(), None), (majors()[0], Some("--remote"))] {
        let archive = TempDir::new_in("/tmp").unwrap();
        own(archive.path());
        let command = format!("sleep 1; cp %p {}/%f", archive.path().display());
        let server = Server::start_with(major, &[("archive_mode", "on"), ("archive_command", &command)]);
        let mut command = dr_base(&server);
        let taken = Taken::of(command.args(remote));
        assert!(taken.output.status.success(), "{}", text(&taken.output));
        assert_eq!(taken.base().wal, WalKept::Archived);
        let pgdata = taken.unpack();
        for entry in archive.path().read_dir().unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), pgdata.join("pg_wal").join(entry.file_name())).unwrap();
        }
        pg_verifybackup(&server, &[], &pgdata);
    }
}

#[test]
fn f52_wal_is_looked_for_in_every_store() {
    let server = Server::start(majors()[0]);
    let scratch = TempDir::new_in("/tmp").unwrap();
    let open = |name: &str| {
        let location: Location = scratch.path().join(name).to_str().unwrap().parse().unwrap();
        Store::init(&location, &StoreArgs::default()).unwrap()
    };
    let stores = [open("near"), open("far")];
    let from = ["near", "far"].map(|name| scratch.path().join(name).display().to_string()).join(",");
    let missing = Taken::attempt(&server, &["--from", &from, "--cluster", "main", "--wal-timeout", "1"]);
    assert_eq!((missing.code(), missing.has_receipt()), (Some(69), false), "{}", text(&missing.output));

    // What a receiver would do, as soon as the segment is whole.
    let current = server.psql("postgres", "SELECT pg_walfile_name(pg_switch_wal())");
    let mut running = dr_base(&server);
    let directory = TempDir::new_in("/tmp").unwrap();
    let receipt = directory.path().join("receipt");
    running.args(["--from", &from, "--cluster", "main", "--receipt"]).arg(&receipt);
    let mut child = running.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let wal = server.data_dir().join("pg_wal");
    let mut shelved = Vec::new();
    wait_for("the backup", || {
        let past = server.psql("postgres", "SELECT pg_walfile_name(pg_current_wal_lsn())");
        let names = wal.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let whole = names.filter(|name| name.len() == 24 && **name > *current && **name < *past && !shelved.contains(name));
        for name in whole.collect::<Vec<_>>() {
            let bytes = std::fs::read(wal.join(&name)).unwrap();
            let packing = Packing { cluster: "main", recipients: None, level: 1, signing_key: None, system_identifier: None };
            let packed = Packed::new(name.parse().unwrap(), &bytes, &packing).unwrap();
            stores.iter().for_each(|store| drop(Shelf::new(store, "main").put(&packed).unwrap()));
            shelved.push(name);
        }
        child.try_wait().unwrap().is_some()
    });
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let records = dr_pipe::record::read(&mut &std::fs::read(receipt).unwrap()[..]).unwrap();
    let Some(Record::Receipt(receipt)) = records.last() else { panic!("no receipt") };
    assert_eq!(receipt.produced.clone().unwrap().base.unwrap().wal, WalKept::Verified);
}

/// A standby of `primary`, and the primary's own promise to send it everything.
fn standby(primary: &Server) -> Server {
    let standby = Server::initialise(primary.major(), &[]);
    std::fs::remove_dir_all(standby.data_dir()).unwrap();
    let mut copy = Command::new(primary.bin("pg_basebackup"));
    copy.args(["-c", "fast", "-R", "-X", "stream", "-D"]).arg(standby.data_dir()).args(["-d", &primary.conninfo("")]);
    let copied = as_server_user(&mut copy).current_dir("/").output().unwrap();
    assert!(copied.status.success(), "{}", text(&copied));
    standby.configure(&[("unix_socket_directories", &standby.socket_dir().display().to_string())]);
    standby.restart();
    standby
}

#[test]
fn a_standby_is_backed_up_with_the_wal_it_has() {
    for major in majors() {
        let primary = Server::start(major);
        primary.psql("postgres", "CREATE TABLE t AS SELECT generate_series(1, 10000) AS n");
        let standby = standby(&primary);
        let taken = Taken::make(&standby, &["--with-wal"]);
        assert!(taken.base().from_standby);
        let pgdata = taken.unpack();
        pg_verifybackup(&standby, &[], &pgdata);
        std::fs::remove_file(pgdata.join("standby.signal")).unwrap();
        let restored = Restored::start(&standby, &pgdata);
        assert_eq!(restored.psql("SELECT count(*) FROM t"), "10000");
        let refused = Taken::attempt(&standby, &[]);
        assert_eq!(refused.code(), Some(78), "{}", text(&refused.output));
    }
}

#[test]
fn f66_a_standby_that_is_promoted_meanwhile_gives_no_backup() {
    for (major, remote) in [(majors()[0], None), (*majors().last().unwrap(), None), (majors()[0], Some("--remote"))] {
        let primary = Server::start(major);
        primary.psql("postgres", "CREATE TABLE t AS SELECT md5(n::text) AS x FROM generate_series(1, 200000) AS n");
        let standby = standby(&primary);
        let promoted = std::thread::scope(|scope| {
            let mut command = dr_base(&standby);
            command.args(["--with-wal", "--max-rate", "8M"]).args(remote);
            let taking = scope.spawn(move || Taken::of(&mut command));
            let begun = match remote {
                Some(_) => "SELECT count(*) > 0 FROM pg_stat_progress_basebackup WHERE phase = 'streaming database files'",
                None => READS_FILES,
            };
            wait_for("the backup to begin", || standby.psql("postgres", begun) == "t");
            standby.psql("postgres", "SELECT pg_promote()");
            taking.join().unwrap()
        });
        assert_eq!((promoted.code(), promoted.has_receipt()), (Some(75), false), "{}", text(&promoted.output));
    }
}

#[test]
fn stores_without_a_cluster_say_nothing() {
    let server = Server::start(majors()[0]);
    let taken = Taken::attempt(&server, &["--from", "/nowhere"]);
    assert_eq!((taken.code(), taken.has_receipt()), (Some(64), false), "{}", text(&taken.output));
}
