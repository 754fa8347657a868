//! What goes wrong, and what is left behind.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::moment::wait_for;
use crate::*;

fn with_rows(major: u32) -> Server {
    let server = Server::start(major);
    server.psql("postgres", "CREATE TABLE t AS SELECT n, repeat(md5(n::text), 20) AS x FROM generate_series(1, 300000) AS n");
    server
}

/// A dump that has begun to write, and waits for its reader.
fn stalled(server: &Server, receipt: &Path) -> std::process::Child {
    let mut child = dr_dump(server)
        .args(["-j", "2", "postgres"])
        .env("DR_RECEIPT", receipt)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 1];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    child
}

fn receipts(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap().matches("\"type\":\"receipt\"").count()
}

#[test]
fn f55_a_server_that_crashes_mid_dump_ends_it_without_a_receipt() {
    let server = with_rows(majors()[0]);
    let directory = TempDir::new().unwrap();
    let receipt = directory.path().join("receipt");
    let mut child = stalled(&server, &receipt);
    server.stop(true);
    let mut rest = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", text(&output));
    assert_eq!(receipts(&receipt), 0);
}

#[test]
fn f56_a_backend_that_is_terminated_mid_copy_ends_it_without_a_receipt() {
    let server = with_rows(*majors().last().unwrap());
    let directory = TempDir::new().unwrap();
    let receipt = directory.path().join("receipt");
    let mut child = stalled(&server, &receipt);
    wait_for(&server, "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'dr-dump' AND query ~ '^COPY'", "t");
    server.psql(
        "postgres",
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'dr-dump' AND query ~ '^COPY'",
    );
    let started = Instant::now();
    let mut rest = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", text(&output));
    assert!(started.elapsed() < Duration::from_secs(60));
    assert_eq!(receipts(&receipt), 0);
}

#[test]
fn f03_a_reader_that_goes_away_ends_the_dump_and_its_sessions() {
    let server = with_rows(majors()[0]);
    for bytes in ["0", "1", "65536"] {
        let script = format!("{} postgres | head -c {bytes} > /dev/null; exit ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_dr-dump"));
        let output =
            Command::new("bash").args(["-c", &script]).envs(server.env()).env("DR_PG_BINDIRS", server.bin_dir()).output().unwrap();
        let said = text(&output);
        assert_eq!((output.status.code(), said.lines().count(), said.contains("panicked")), (Some(74), 2, false), "{said}");
        wait_for(&server, "SELECT count(*) FROM pg_stat_activity WHERE application_name IN ('dr-dump', 'pg_dump')", "0");
    }
}

#[test]
fn f11_standard_output_that_is_full_or_closed_is_an_error_of_two_lines() {
    let server = with_rows(majors()[0]);
    for redirection in [">/dev/full", ">&-"] {
        let script = format!("{} postgres {redirection}", env!("CARGO_BIN_EXE_dr-dump"));
        let output =
            Command::new("sh").args(["-c", &script]).envs(server.env()).env("DR_PG_BINDIRS", server.bin_dir()).output().unwrap();
        assert_eq!((output.status.code(), text(&output).lines().count()), (Some(74), 2), "{}", text(&output));
    }
}

#[test]
fn f05_a_signal_ends_the_dump_at_once_and_leaves_nothing_behind() {
    let server = with_rows(majors()[0]);
    for signal in ["TERM", "INT", "HUP"] {
        let directory = TempDir::new().unwrap();
        let receipt = directory.path().join("receipt");
        let mut command = dr_dump(&server);
        command
            .args(["postgres"])
            .env("TMPDIR", directory.path())
            .env("DR_RECEIPT", &receipt)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let started = Instant::now();
        assert!(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(75), "{}", text(&output));
        assert!(started.elapsed() < Duration::from_secs(5));
        assert_eq!(receipts(&receipt), 0);
        let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["receipt"], "{signal}");
    }
}

#[test]
fn f60_a_pg_dump_older_than_the_server_is_refused() {
    let all = majors();
    let (old, new) = (all[0], *all.last().unwrap());
    let server = Server::start(new);
    server.psql("postgres", "CREATE TABLE t AS SELECT 1 AS n");
    let older = dr_testing::postgres::bin_dir(old).unwrap().join("pg_dump");
    let output = dr_dump(&server).arg("--pg-dump").arg(older).arg("postgres").output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", text(&output));
}

#[test]
fn f64_timeouts_of_the_role_do_not_end_the_dump() {
    let server = with_rows(*majors().last().unwrap());
    server.psql(
        "postgres",
        "CREATE ROLE hasty LOGIN SUPERUSER; ALTER ROLE hasty SET statement_timeout = '50ms'; ALTER ROLE hasty SET idle_in_transaction_session_timeout = '50ms';
         ALTER ROLE hasty SET lock_timeout = '10ms'; ALTER ROLE hasty SET datestyle = 'German'; ALTER ROLE hasty SET transaction_timeout = '90ms'",
    );
    let dump = Dump::make(&server, &["-U", "hasty", "postgres"]);
    assert!(dump.receipt.contains("\"rows\":300000"));
}

#[test]
fn f64_a_timeout_of_the_database_does_not_end_the_reading_of_roles() {
    let server = with_rows(majors()[0]);
    // So many that pg_dumpall cannot read them in a millisecond.
    server.psql("postgres", "DO $$ BEGIN FOR i IN 1..3000 LOOP EXECUTE 'CREATE ROLE many' || i; END LOOP; END $$");
    server.psql("postgres", "ALTER DATABASE postgres SET statement_timeout = '1ms'");
    let dump = Dump::make(&server, &["postgres"]);
    assert!(dump.read("globals.sql").contains("CREATE ROLE many3000;"));
}

#[test]
fn a_wrong_command_line_is_two_lines_and_64() {
    let server = Server::start(majors()[0]);
    for args in [&["--level", "99", "postgres"][..], &["--bogus"], &["-t", "a.b.c.d", "postgres"]] {
        let output = dr_dump(&server).args(args).output().unwrap();
        assert_eq!((output.status.code(), text(&output).lines().count()), (Some(64), 2), "{}", text(&output));
    }
}

#[test]
fn definitions_that_fail_end_the_reading_of_rows() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let server = with_rows(*majors().last().unwrap());
    let whole = dr_dump(&server).args(["-j", "2", "postgres"]).output().unwrap().stdout.len();
    let directory = TempDir::new().unwrap();
    for program in ["pg_dumpall", "pg_restore", "psql"] {
        symlink(server.bin_dir().join(program), directory.path().join(program)).unwrap();
    }
    let (stub, real) = (directory.path().join("pg_dump"), server.bin_dir().join("pg_dump"));
    let script = "case $* in *--version*) exec REAL --version ;; esac\ntouch FAILED; echo 'pg_dump: error: no space' >&2; exit 1\n";
    let failed = directory.path().join("failed");
    let script = script.replace("REAL", &real.display().to_string()).replace("FAILED", &failed.display().to_string());
    std::fs::write(&stub, format!("#!/bin/sh\n{script}")).unwrap();
    std::fs::set_permissions(&stub, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = dr_dump(&server);
    command.args(["-j", "2", "postgres", "--pg-dump"]).arg(&stub).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Nobody reads until it has failed, so that few rows are on their way by then.
    while !failed.exists() {
        std::thread::yield_now();
    }
    let mut rest = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(65), "{}", text(&output));
    assert!(
        text(&output).contains("dr-dump: error: pg_dump failed (exit status: 1): pg_dump: error: no space"),
        "{}",
        text(&output)
    );
    assert!(rest.len() < whole / 2, "{} of {whole} bytes", rest.len());
}

#[test]
fn f03_a_reader_that_goes_away_is_noticed_also_while_pg_dump_still_runs() {
    let server = with_rows(majors()[0]);
    let bin = TempDir::new().unwrap();
    for program in ["pg_restore", "pg_dumpall", "psql"] {
        std::os::unix::fs::symlink(server.bin(program), bin.path().join(program)).unwrap();
    }
    let slow = bin.path().join("pg_dump");
    let real = server.bin("pg_dump");
    let script = format!("#!/bin/sh\n[ \"$1\" = --version ] && exec {} --version\nexec tail -f /dev/null\n", real.display());
    std::fs::write(&slow, script).unwrap();
    std::fs::set_permissions(&slow, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let started = Instant::now();
    let line =
        format!("{} --pg-dump {} postgres | head -c 5; exit ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_dr-dump"), slow.display());
    let output = Command::new("bash").args(["-c", &line]).envs(server.env()).output().unwrap();
    assert_eq!(output.status.code(), Some(74), "{}", text(&output));
    assert!(started.elapsed() < Duration::from_secs(20), "it waited for pg_dump");
}

#[test]
fn a_temporary_directory_of_a_long_name_holds_no_socket_and_is_no_trouble() {
    let server = Server::start(majors()[0]);
    server.psql("postgres", "CREATE TABLE t AS SELECT 1 AS n");
    let directory = TempDir::new().unwrap();
    let deep = directory.path().join("x".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    let output = dr_dump(&server).arg("postgres").env("TMPDIR", &deep).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn f14_a_full_temporary_directory_leaves_no_dump_without_its_roles() {
    let server = Server::start(majors()[0]);
    server.psql("postgres", "CREATE TABLE t AS SELECT 1 AS n");
    server.psql("postgres", "DO $$ BEGIN FOR n IN 1..300 LOOP EXECUTE format('CREATE ROLE role_%s', n); END LOOP; END $$");
    let directory = TempDir::new().unwrap();
    let mount = directory.path().join("mount");
    std::fs::create_dir(&mount).unwrap();
    for size in ["4k", "8k", "16k", "24k", "48k", "1m"] {
        let script = format!(
            "mount -t tmpfs -o size={size} none {0} || exit 99; export TMPDIR={0}; exec {1} postgres",
            mount.display(),
            env!("CARGO_BIN_EXE_dr-dump")
        );
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", &script]);
        let output = command.envs(server.env()).env("DR_PG_BINDIRS", server.bin_dir()).output().unwrap();
        match output.status.code() {
            Some(0) => {
                let archive = directory.path().join("dump");
                std::fs::write(&archive, &output.stdout).unwrap();
                let roles = format!("zstd -qdc {} | tar -xO globals.sql | grep -c 'CREATE ROLE role_'", archive.display());
                let counted = Command::new("bash").args(["-o", "pipefail", "-c", &roles]).output().unwrap();
                assert_eq!(String::from_utf8(counted.stdout).unwrap().trim(), "300", "{size}");
            }
            Some(74) => assert_ne!(size, "1m", "{}", text(&output)),
            _ => panic!("{size}: {}", text(&output)),
        }
    }
}

#[test]
fn f05_a_pg_dump_that_asks_to_have_its_statement_cancelled_is_not_waited_for() {
    let server = Server::start(majors()[0]);
    server.psql("postgres", "CREATE TABLE t AS SELECT 1 AS n");
    let directory = TempDir::new().unwrap();
    // A second connection to the socket, as pg_dump makes one when it is told to end.
    let pg_dump = server.bin("pg_dump").display().to_string();
    let script =
        format!("#!/bin/sh\ncase $* in *--version*) exec {pg_dump} --version ;; esac\n{pg_dump} \"$@\" && {pg_dump} \"$@\"\n");
    let twice = directory.path().join("pg_dump");
    std::fs::write(&twice, script).unwrap();
    std::fs::set_permissions(&twice, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for program in ["pg_dumpall", "pg_restore", "psql"] {
        std::os::unix::fs::symlink(server.bin(program), directory.path().join(program)).unwrap();
    }
    let started = Instant::now();
    let output = dr_dump(&server).args(["postgres", "--pg-dump"]).arg(&twice).output().unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", text(&output));
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn f56_a_session_that_is_ended_under_pg_dump_is_told_with_its_cause() {
    use std::io::Write;
    let server = Server::start(majors()[0]);
    server.psql("postgres", "CREATE TABLE t AS SELECT 1 AS n; CREATE VIEW v AS SELECT n FROM t");
    let mut holder = Command::new(server.bin("psql"));
    holder.envs(server.env()).args(["-X", "-d", "postgres"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut holder = holder.spawn().unwrap();
    holder.stdin.as_mut().unwrap().write_all(b"BEGIN; ALTER VIEW v ALTER n SET DEFAULT 1;\n").unwrap();
    wait_for(&server, "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'v'::regclass", "1");
    // pg_dump waits for the view, and we with it, until `end` is done to either.
    let waiting = "FROM pg_locks WHERE NOT granted AND relation = 'v'::regclass";
    let ended = |end: &dyn Fn()| {
        std::thread::scope(|scope| {
            let dump = scope.spawn(|| dr_dump(&server).args(["--no-globals", "postgres"]).output().unwrap());
            wait_for(&server, &format!("SELECT count(*) {waiting}"), "1");
            end();
            dump.join().unwrap()
        })
    };
    for (end, exit, cause) in
        [("pg_terminate_backend", 69, "terminating connection"), ("pg_cancel_backend", 75, "canceling statement")]
    {
        let output = ended(&|| drop(server.psql("postgres", &format!("SELECT {end}(pid) {waiting}"))));
        assert_eq!(output.status.code(), Some(exit), "{}", text(&output));
        assert!(text(&output).contains(cause), "{}", text(&output));
    }
    // A pg_dump that is gone needs no answer.
    let started = Instant::now();
    let pg_dump = format!("^{} .*--format=custom.*{}", server.bin("pg_dump").display(), "--section=pre-data");
    let output = ended(&|| assert!(Command::new("pkill").args(["-KILL", "-f", &pg_dump]).status().unwrap().success()));
    assert_eq!(output.status.code(), Some(75), "{}", text(&output));
    assert!(started.elapsed() < Duration::from_secs(20));
    holder.kill().unwrap();
    holder.wait().unwrap();
}
