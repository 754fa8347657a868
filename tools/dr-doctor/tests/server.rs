//! Is what is wrong with a real server found, and found to be right again once the hint was followed?
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dr_pipe::record::State::{self, Critical, Ok, Warning};
use dr_testing::postgres::{Server, as_server_user, usual_majors};
use support::{Host, chmod, finds, run};

/// dr-doctor for one check on this server.
fn checking(host: &Host, server: &Server, check: &str) -> Command {
    let mut command = host.checking(check);
    command.envs(server.env()).env("DR_PG_BINDIRS", server.bin_dir());
    command
}

fn check(host: &Host, server: &Server, name: &str, state: State, part: &str) {
    finds(&mut checking(host, server, name), name, state, part);
}

/// Makes the check until it comes to this, for what the server does in its own time.
fn until(host: &Host, server: &Server, name: &str, state: State) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let found = run(&mut checking(host, server, name));
        if found.state(name) == Some(state) {
            return;
        }
        assert!(Instant::now() < deadline, "{}\n{}", found.words(name), server.log());
    }
}

#[test]
fn a_server_is_named_with_its_version_or_it_is_critical_where_it_is_to_be_backed_up() {
    let host = Host::new();
    for major in usual_majors() {
        let server = Server::start(major);
        check(&host, &server, "server", Ok, &format!("PostgreSQL {major}."));
        check(&host, &server, "clock", Ok, "seconds apart");
        server.stop(false);
        check(&host, &server, "server", Critical, "No such file");
        // Whoever asks for something else is not told that all is well.
        assert_eq!(run(&mut checking(&host, &server, "archiver")).state("server"), Some(Critical));
        let mut restoring = host.command();
        restoring.envs(server.env()).args(["--from", "/store", "--check", "server", "-i"]).arg(host.path("main.key"));
        // Where backups are only restored, the server may be what was lost.
        finds(&mut restoring, "server", Warning, "No such file");
    }
}

#[test]
fn f97_a_line_that_somebody_could_tap_is_critical() {
    let host = Host::new();
    let server = Server::initialise(15, &[("listen_addresses", "127.0.0.1"), ("ssl", "on")]);
    let (certificate, key) = (server.file("server.crt", ""), server.file("server.key", ""));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=dr-test", "-addext", "subjectAltName=IP:0.0.0.0", "-addext", "basicConstraints=critical,CA:FALSE"]);
    assert!(openssl.arg("-out").arg(&certificate).arg("-keyout").arg(&key).stderr(Stdio::null()).status().unwrap().success());
    server.configure(&[("ssl_cert_file", certificate.to_str().unwrap()), ("ssl_key_file", key.to_str().unwrap())]);
    server.authenticate(&["host all all 127.0.0.1/32 trust", "local all all trust"]);
    server.restart();
    let over = |mode: &str, state, part: &str| {
        let mut command = checking(&host, &server, "transport");
        // Linux takes it for this host; we do not.
        command.env("PGHOST", "0.0.0.0").env("PGSSLMODE", mode).env("PGSSLROOTCERT", &certificate);
        finds(&mut command, "transport", state, part);
    };
    over("disable", Critical, "not encrypted");
    over("verify-ca", Warning, "whichever server");
    over("verify-full", Ok, "proved its name");
    let mut weak = checking(&host, &server, "transport,server");
    weak.env("PGHOST", "0.0.0.0").env("PGSSLMODE", "prefer");
    finds(&mut weak, "server", Critical, "lets anyone in between read everything");
    let mut unproved = checking(&host, &server, "transport");
    unproved.env("PGHOST", "0.0.0.0").env("PGSSLMODE", "require");
    finds(&mut unproved, "transport", Critical, "encrypts to whoever answers");
    check(&host, &server, "transport", Ok, "on this host");
}

#[test]
fn rights_that_are_missing_are_named_and_the_hints_give_them() {
    let host = Host::new();
    for major in usual_majors() {
        let server = Server::start(major);
        check(&host, &server, "rights", Ok, "superuser");
        server.psql("postgres", "CREATE ROLE \"back up\" LOGIN");
        let mut command = checking(&host, &server, "rights");
        let found = run(command.env("PGUSER", "back up"));
        assert_eq!((found.state("rights"), found.of("rights").count()), (Some(Critical), 6), "{}", found.words("rights"));
        for (number, lacking) in found.checks.iter().enumerate() {
            server.psql("postgres", lacking.hint.as_ref().unwrap());
            let rest = run(&mut command);
            let last = number + 1 == found.checks.len();
            let expected = if last { Ok } else { Warning };
            assert_eq!(rest.state("rights"), Some(expected), "{}", rest.words("rights"));
        }
        let mut restoring = host.command();
        restoring.envs(server.env()).env("PGUSER", "back up");
        restoring.args(["--from", "/store", "--check", "rights", "-i"]).arg(host.path("main.key"));
        finds(&mut restoring, "rights", Warning, "may not create a database");
        server.psql("postgres", "ALTER ROLE \"back up\" CREATEDB");
        finds(&mut restoring, "rights", Ok, "may create a database");
    }
}

#[test]
fn settings_of_wal_are_judged_as_they_are_now() {
    let host = Host::new();
    for major in usual_majors() {
        let server = Server::start_with(major, &[("wal_level", "minimal"), ("max_wal_senders", "0")]);
        check(&host, &server, "wal-level", Warning, "minimal");
        check(&host, &server, "wal-senders", Warning, "max_wal_senders is 0");
        check(&host, &server, "archiving", Warning, "archive_mode is off");
        assert_eq!(run(&mut checking(&host, &server, "archiver")).state("archiver"), None, "nothing is archived");
        check(&host, &server, "durability", Critical, "fsync is off");
        let hint = run(&mut checking(&host, &server, "durability")).checks[0].hint.clone().unwrap();
        server.psql("postgres", &hint);
        server.configure(&[("wal_level", "replica"), ("max_wal_senders", "10"), ("archive_mode", "on"), ("archive_command", "")]);
        server.restart();
        check(&host, &server, "wal-level", Ok, "replica");
        check(&host, &server, "wal-senders", Ok, "10");
        check(&host, &server, "durability", Ok, "are on");
        check(&host, &server, "archiving", Critical, "there is no archive_command");
        check(&host, &server, "wal-space", run(&mut checking(&host, &server, "wal-space")).checks[0].state, "free where pg_wal is");
    }
}

#[test]
fn f53_an_archiver_that_fails_is_critical_until_it_does_not() {
    let host = Host::new();
    for major in usual_majors() {
        let server = Server::start_with(major, &[("archive_mode", "on"), ("archive_command", "false # dr-wal-push")]);
        check(&host, &server, "archiving", Ok, "by dr-wal-push");
        check(&host, &server, "archiver", Ok, "");
        server.psql("postgres", "CREATE TABLE t (); SELECT pg_switch_wal()");
        until(&host, &server, "archiver", Critical);
        let found = run(&mut checking(&host, &server, "archiver"));
        assert!(found.words("archiver").contains("000000010000000000000001 last"), "{}", found.words("archiver"));
        server.configure(&[("archive_command", "true")]);
        server.reload();
        check(&host, &server, "archiving", Warning, "runs no dr-wal-push");
        until(&host, &server, "archiver", Ok);
        server.configure(&[("archive_command", ""), ("archive_library", "basic_archive")]);
        server.reload();
        check(&host, &server, "archiving", Warning, "archive_library basic_archive");
    }
}

#[test]
fn a_slot_is_missing_idle_in_use_or_lost() {
    let host = Host::new();
    for major in usual_majors() {
        let server = Server::start(major);
        check(&host, &server, "slots", Ok, "none");
        let named = |state, part: &str| finds(checking(&host, &server, "slots").args(["--slot", "dr_main"]), "slots", state, part);
        named(Critical, "there is no such slot");
        server.psql("postgres", "SELECT pg_create_physical_replication_slot('dr_main', true)");
        named(Warning, "nobody receives from it");
        named(Warning, "has no limit");
        server.configure(&[("max_slot_wal_keep_size", "16MB")]);
        server.reload();
        let directory = server.socket_dir().join("received");
        fs::create_dir(&directory).unwrap();
        dr_testing::postgres::own(&directory);
        let mut receiver = Command::new(server.bin("pg_receivewal"));
        receiver.envs(server.env()).args(["--no-loop", "-S", "dr_main", "-D"]).arg(&directory).stderr(Stdio::null());
        let mut receiver = as_server_user(&mut receiver).spawn().unwrap();
        until(&host, &server, "slots", Ok);
        receiver.kill().unwrap();
        receiver.wait().unwrap();
        until(&host, &server, "slots", Warning);
        for number in 0..6 {
            server.psql("postgres", &format!("CREATE TABLE t{number} (); SELECT pg_switch_wal()"));
            server.psql("postgres", "CHECKPOINT");
        }
        until(&host, &server, "slots", Critical);
        named(Critical, "lost");
        server.psql("postgres", "SELECT pg_drop_replication_slot('dr_main')");
        check(&host, &server, "slots", Ok, "none");
    }
}

#[test]
fn checksums_and_summaries_of_wal_are_advised() {
    let host = Host::new();
    for (major, first, second, way) in [(15, Warning, Ok, "--enable"), (18, Ok, Warning, "--disable")] {
        let server = Server::start(major);
        check(&host, &server, "checksums", first, "checksums");
        server.stop(false);
        let mut tool = Command::new(server.bin("pg_checksums"));
        let done = as_server_user(tool.arg(way).arg("-D").arg(server.data_dir())).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        server.restart();
        check(&host, &server, "checksums", second, "checksums");
        let summaries = run(&mut checking(&host, &server, "wal-summary"));
        if major < 17 {
            assert_eq!(summaries.state("wal-summary"), None, "there are none before 17");
            continue;
        }
        assert_eq!(summaries.state("wal-summary"), Some(Warning));
        server.psql("postgres", summaries.checks[0].hint.as_ref().unwrap());
        server.reload();
        check(&host, &server, "wal-summary", Ok, "is on");
    }
}

/// Programs that say they are of a version.
fn programs(directory: &Path, version: &str) {
    fs::create_dir_all(directory).unwrap();
    for name in ["pg_dump", "pg_dumpall", "pg_restore", "psql", "pg_basebackup", "pg_verifybackup", "pg_amcheck"] {
        let path = directory.join(name);
        fs::write(&path, format!("#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")).unwrap();
        chmod(&path, 0o755);
    }
}

#[test]
fn clients_are_of_the_servers_version_complete_and_without_known_flaws() {
    let host = Host::new();
    for major in usual_majors() {
        let server = Server::start(major);
        check(&host, &server, "clients", Ok, "pg_dump");
        let bin = host.path(&format!("bin-{major}"));
        let with = |check: &str| {
            let mut command = checking(&host, &server, check);
            command.env("DR_PG_BINDIRS", &bin);
            command
        };
        programs(&bin, &format!("{major}.0"));
        finds(&mut with("client-flaws"), "client-flaws", Warning, "CVE-2026-116314");
        programs(&bin, &format!("{major}.99"));
        finds(&mut with("client-flaws"), "client-flaws", Ok, "no known flaw");
        finds(&mut with("clients"), "clients", Ok, &format!("pg_dump {major}.99"));
    }
    let server = Server::start(18);
    let mut command = checking(&host, &server, "clients");
    // What Debian has here is older than this server.
    finds(command.env_remove("DR_PG_BINDIRS"), "clients", Critical, "no pg_dump for a PostgreSQL 18");
    programs(&host.path("bin-19"), "19.1");
    finds(command.env("DR_PG_BINDIRS", host.path("bin-19")), "clients", Warning, "newer than the server");
}
