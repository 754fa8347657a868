//! Are the printed lines those that a real server lacks?
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use dr_testing::postgres::{Server, usual_majors};

const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\n";

/// dr-doctor with dr-wal-push beside it, where the server's user can run both.
fn installed(server: &Server) -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_dr-doctor"));
    let bin = server.socket_dir().join("bin");
    fs::create_dir(&bin).unwrap();
    for tool in ["dr-doctor", "dr-wal-push"] {
        let program = built.with_file_name(tool);
        fs::copy(&program, bin.join(tool)).unwrap_or_else(|error| panic!("{}: {error}; is it built?", program.display()));
    }
    bin.join("dr-doctor")
}

fn dr_doctor(program: &Path, server: &Server, words: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.env_clear().envs(server.env()).args(["--archive-settings", "--cluster", "main"]).args(words);
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn append(server: &Server, text: &[u8]) {
    OpenOptions::new().append(true).open(server.data_dir().join("postgresql.conf")).unwrap().write_all(text).unwrap();
}

/// A directory that belongs to the server's user.
fn directory(server: &Server, name: &str) -> PathBuf {
    let path = server.socket_dir().join(name);
    let owner = fs::metadata(server.data_dir()).unwrap();
    fs::create_dir(&path).unwrap();
    chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path
}

/// Asks until the answer is `true`.
fn wait(server: &Server, sql: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while server.psql("postgres", sql) != "t" {
        assert!(Instant::now() < deadline, "{sql}:\n{}", server.log());
    }
}

#[test]
fn the_printed_lines_make_a_server_archive_and_a_second_call_content() {
    for major in usual_majors() {
        let server = Server::start_with(major, &[("wal_level", "minimal"), ("max_wal_senders", "0")]);
        let program = installed(&server);
        let recipients = server.file("main.recipients", RECIPIENT);
        let (store, state) = (directory(&server, "it's a 100 % store"), directory(&server, "state"));
        let settings = server.file(
            "main.env",
            format!("DR_TO=\"{}\"\nDR_RECIPIENTS={}\nDR_STATE={}\n", store.display(), recipients.display(), state.display()),
        );
        let words = ["--env-file", settings.to_str().unwrap()];

        let first = dr_doctor(&program, &server, &words);
        assert_eq!(first.status.code(), Some(0), "{}", said(&first));
        assert!(printed(&first).contains("\narchive_command = '"), "{}", printed(&first));
        let warned = said(&first);
        assert!(warned.contains("fsync is off") && warned.contains("wal_level is minimal"), "{warned}");
        append(&server, &first.stdout);
        server.restart();
        let second = dr_doctor(&program, &server, &words);
        let lines: Vec<_> =
            printed(&second).lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect();
        assert_eq!((second.status.code(), lines), (Some(0), vec![]), "{}", said(&second));

        server.psql("postgres", "CREATE TABLE t AS SELECT generate_series(1, 1000); SELECT pg_switch_wal()");
        wait(&server, "SELECT archived_count > 0 AND failed_count = 0 FROM pg_stat_archiver");
        let segment = server.psql("postgres", "SELECT last_archived_wal FROM pg_stat_archiver");
        let stored = store.join("main/wal").join(&segment[..8]).join(format!("{segment}.zst.age"));
        assert!(stored.is_file(), "{} of {}:\n{}", stored.display(), server.major(), server.log());
    }
}

#[test]
fn words_of_the_command_survive_postgresql_and_the_shell() {
    for major in usual_majors() {
        let server = Server::start(major);
        let bin = server.socket_dir().join("b in");
        fs::create_dir(&bin).unwrap();
        let program = bin.join("dr-doctor");
        fs::copy(env!("CARGO_BIN_EXE_dr-doctor"), &program).unwrap();
        let [recipients, key] = ["r s", "main.key"].map(|name| server.file(name, "").display().to_string());
        let words = ["--to", r"/back\ups/it's 5 %p", "--to", "s3://acme-dr/pg", "-R", &recipients, "-s", &key];
        let without = dr_doctor(&program, &server, &words);
        assert_eq!(without.status.code(), Some(1), "there is nothing that the command could run");
        assert!(said(&without).contains("b in/dr-wal-push: install it"), "{}", said(&without));
        // In its place: what tells which words arrived.
        fs::write(bin.join("dr-wal-push"), "#!/bin/sh\nprintf '%s\\n' \"$@\" > ../words.part && mv ../words.part ../words\n")
            .unwrap();
        fs::set_permissions(bin.join("dr-wal-push"), fs::Permissions::from_mode(0o755)).unwrap();
        let first = dr_doctor(&program, &server, &words);
        assert_eq!(first.status.code(), Some(0), "{}", said(&first));
        append(&server, &first.stdout);
        server.restart();
        assert_eq!(dr_doctor(&program, &server, &words).status.code(), Some(0));
        server.psql("postgres", "CREATE TABLE t (); SELECT pg_switch_wal()");
        wait(&server, "SELECT archived_count > 0 FROM pg_stat_archiver");
        let arrived = fs::read_to_string(server.socket_dir().join("words")).unwrap();
        let segment = server.psql("postgres", "SELECT last_archived_wal FROM pg_stat_archiver");
        let expected = format!(
            "--cluster\nmain\n--to\n/back\\ups/it's 5 %p\n--to\ns3://acme-dr/pg\n--recipients-file\n{recipients}\n--signing-key\n{key}\npg_wal/{segment}\n"
        );
        assert_eq!(arrived, expected);
        fs::remove_file(&recipients).unwrap();
        let output = dr_doctor(&program, &server, &words);
        assert_eq!(output.status.code(), Some(1), "a file that the command names is gone");
        assert!(said(&output).contains("there is no file"), "{}", said(&output));
    }
}

#[test]
fn what_alter_system_says_and_an_archiver_that_fails_are_warned_of() {
    let server = Server::start_with(18, &[("archive_mode", "on"), ("archive_command", "false")]);
    server.psql("postgres", "CREATE TABLE t (); SELECT pg_switch_wal()");
    server.psql("postgres", "ALTER SYSTEM SET archive_timeout = 0");
    server.psql("postgres", "SELECT pg_reload_conf()");
    wait(&server, "SELECT failed_count > 0 FROM pg_stat_archiver");
    let recipients = server.file("main.recipients", RECIPIENT).display().to_string();
    let words = ["--to", "/store", "-R", &recipients];
    let output = dr_doctor(&installed(&server), &server, &words);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let warned = said(&output);
    for part in ["archiving fails: 000000010000000000000001", "archive_timeout is set by ALTER SYSTEM"] {
        assert!(warned.contains(part), "{part} in {warned}");
    }
    // Both at once stop the archiver since 16; before, the library wins in silence.
    server.configure(&[("archive_command", ""), ("archive_library", "basic_archive")]);
    server.reload();
    let output = dr_doctor(Path::new(env!("CARGO_BIN_EXE_dr-doctor")), &server, &words);
    assert!(said(&output).contains("archive_library is basic_archive"), "{}", said(&output));
    assert!(printed(&output).contains("\narchive_library = ''\n"), "{}", printed(&output));
}

#[test]
fn usage_a_server_that_is_gone_and_a_reader_that_left_are_told_apart() {
    let server = Server::start(15);
    let call = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_dr-doctor")).env_clear().envs(server.env()).args(words).output().unwrap();
        assert!(said(&output).lines().count() == 2, "{}", said(&output));
        output.status.code().unwrap()
    };
    assert_eq!(call(&[]), 64);
    assert_eq!(call(&["--archive-settings", "--to", "/store"]), 64);
    assert_eq!(call(&["--archive-settings", "--cluster", "main"]), 64);
    assert_eq!(call(&["--archive-settings", "--cluster", "main", "--to", "/store"]), 64);
    assert_eq!(call(&["--archive-settings", "--cluster", "main", "--env-file", "/main.env", "--host", "/nowhere"]), 69);
}
