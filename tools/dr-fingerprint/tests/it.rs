//! dr-fingerprint against real servers.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use dr_testing::postgres::{Server, majors};

fn dr_fingerprint(server: &Server, args: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dr-fingerprint"));
    command.envs(server.env()).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A tool that fails early does not read.
    child.stdin.take().unwrap().write_all(input).unwrap_or_default();
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_same_rows_have_the_same_fingerprint_on_every_major_and_with_any_number_of_readers() {
    let sample =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sample/every-object.sql")).unwrap();
    let prints: Vec<String> = [majors()[0], *majors().last().unwrap()]
        .into_iter()
        .map(|major| {
            let server = Server::start_with(major, &[("wal_level", "logical")]);
            server.psql("postgres", &sample);
            // What a server built without libxml cannot hold.
            server.psql("postgres", "UPDATE things.everything SET note = NULL");
            let one = dr_fingerprint(&server, &["-j", "1", "postgres"], b"");
            let many = dr_fingerprint(&server, &["-j", "7", "postgres"], b"");
            assert!(one.status.success() && one.stdout == many.stdout, "{}", said(&one));
            String::from_utf8(one.stdout).unwrap()
        })
        .collect();
    assert_eq!(prints[0], prints[1]);
}

#[test]
fn differences_are_named_and_exit_1() {
    let server = Server::start(majors()[0]);
    server.psql("postgres", "CREATE TABLE a (n int); CREATE TABLE b (n int); CREATE SEQUENCE s; INSERT INTO a VALUES (1), (2)");
    let before = dr_fingerprint(&server, &["postgres"], b"").stdout;
    let same = dr_fingerprint(&server, &["postgres", "--against", "-"], &before);
    assert_eq!((same.status.code(), same.stdout.len(), said(&same)), (Some(0), 0, String::new()));
    server.psql(
        "postgres",
        "UPDATE a SET n = 3 WHERE n = 2; DROP TABLE b; CREATE TABLE c (n int); SELECT nextval('s'), nextval('s')",
    );
    let other = dr_fingerprint(&server, &["postgres", "--against", "-"], &before);
    assert_eq!(other.status.code(), Some(1));
    let words = said(&other);
    for part in [
        "4 of 4 fingerprints differ",
        "\"public\".\"a\" has the same number of rows, 2",
        "\"public\".\"b\" is missing",
        "\"public\".\"c\" is unexpected",
        "\"public\".\"s\"",
    ] {
        assert!(words.contains(part), "{part} in {words}");
    }
}

#[test]
fn an_empty_or_broken_fingerprint_file_is_no_proof() {
    let server = Server::start(majors()[0]);
    server.psql("postgres", "CREATE TABLE a (n int)");
    let before = dr_fingerprint(&server, &["postgres"], b"").stdout;
    for (input, code) in [(&b""[..], 66), (&before[..before.len() - 1], 65), (b"{\"type\":\"unknown\"}\n", 65), (b"\xff\xfe\n", 65)]
    {
        let output = dr_fingerprint(&server, &["postgres", "--against", "-"], input);
        assert_eq!((output.status.code(), said(&output).lines().count()), (Some(code), 2), "{}", said(&output));
    }
}
