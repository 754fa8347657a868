//! Which part of a database is dumped.

use std::collections::BTreeSet;

use crate::*;

/// Tables whose rows are in a dump, as folders.
fn folders(dump: &Dump) -> BTreeSet<String> {
    let script = format!("cd {}/data 2>/dev/null && ls", dump.directory.path().display());
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn patterns_choose_what_pg_dump_would() {
    let server = Server::start(*majors().last().unwrap());
    server.psql(
        "postgres",
        "CREATE SCHEMA crm; CREATE SCHEMA \"Crm\"; CREATE TABLE a (x int); CREATE TABLE ab (x int); CREATE TABLE crm.a (id serial);
         CREATE TABLE \"Crm\".\"A\" (x int); CREATE VIEW crm.v AS SELECT 1; INSERT INTO a VALUES (1)",
    );
    let chosen = |args: &[&str]| folders(&Dump::make(&server, &[args, &["--allow-empty", "postgres"]].concat()));
    assert_eq!(chosen(&[]), set(&["public.a", "public.ab", "crm.a", "Crm.A"]));
    assert_eq!(chosen(&["-n", "crm"]), set(&["crm.a"]));
    assert_eq!(chosen(&["-n", "\"Crm\""]), set(&["Crm.A"]));
    assert_eq!(chosen(&["-t", "a*"]), set(&["public.a", "public.ab"]));
    assert_eq!(chosen(&["-t", "*.a"]), set(&["public.a", "crm.a"]));
    assert_eq!(chosen(&["-T", "a", "-N", "c?m"]), set(&["public.ab", "Crm.A"]));
    assert_eq!(chosen(&["--exclude-table-data", "crm.*"]), set(&["public.a", "public.ab", "Crm.A"]));
    assert_eq!(chosen(&["--schema-only"]), set(&[]));
    // The system's own tables are visible, too, and never meant.
    assert_eq!(chosen(&["-t", "*"]), set(&["public.a", "public.ab"]));
    // What has no rows is not refreshed when it is restored: here that would fail.
    server.psql("postgres", "CREATE MATERIALIZED VIEW m AS SELECT 1 / count(*) AS x FROM a");
    for (args, refreshed) in [(&["-s"][..], false), (&["--exclude-table-data", "[am]"], false), (&[], true)] {
        let dump = Dump::make(&server, &[args, &["--allow-empty", "postgres"]].concat());
        assert_eq!(dump.read("post-data.sql").contains("REFRESH MATERIALIZED VIEW"), refreshed, "{args:?}");
    }
    assert!(Dump::make(&server, &["-t", "crm.a", "--allow-empty", "postgres"]).read("sequences.sql").contains("a_id_seq"));
}

#[test]
fn f59_a_role_that_may_not_read_everything_is_told_all_that_is_missing() {
    let server = Server::start(majors()[0]);
    server.psql(
        "postgres",
        "CREATE ROLE reader LOGIN; CREATE SCHEMA s; CREATE TABLE s.hidden (x int); CREATE TABLE closed (x int); CREATE TABLE open (x int);
         GRANT SELECT ON open TO reader; CREATE TABLE filtered (x int); INSERT INTO filtered VALUES (1); GRANT SELECT ON filtered TO reader;
         ALTER TABLE filtered ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON filtered USING (x > 5)",
    );
    let output = dr_dump(&server).args(["-U", "reader", "postgres"]).output().unwrap();
    assert_eq!(output.status.code(), Some(77), "{}", text(&output));
    let said = text(&output);
    for right in ["USAGE on schema s", "SELECT on public.closed", "BYPASSRLS for public.filtered"] {
        assert!(said.contains(right), "{right} in {said}");
    }
    assert!(!said.contains("public.open") && output.stdout.is_empty(), "{said}");
}

#[test]
fn a_database_may_be_called_like_a_connection_string() {
    let server = Server::start(*majors().last().unwrap());
    for (name, literal) in
        [("host=nowhere", "host=nowhere"), ("postgres://nowhere", "postgres://nowhere"), (r"it's\x", r"it\'s\\x")]
    {
        server.psql("postgres", &format!("CREATE DATABASE \"{name}\""));
        let dump = Dump::make(&server, &["--allow-empty", &format!("dbname='{literal}'")]);
        assert!(dump.read("globals.sql").contains("CREATE ROLE"), "{name}");
    }
}

#[test]
fn settings_of_the_role_do_not_bend_what_is_read() {
    let server = Server::start(*majors().last().unwrap());
    server.psql(
        "postgres",
        "CREATE TABLE t (x regclass, y bytea, z interval); INSERT INTO t VALUES ('pg_class', '\\x00', '1 day');
         CREATE ROLE odd SUPERUSER LOGIN; ALTER ROLE odd SET quote_all_identifiers = on; ALTER ROLE odd SET bytea_output = escape;
         ALTER ROLE odd SET intervalstyle = iso_8601; ALTER ROLE odd SET statement_timeout = '30s'",
    );
    let fingerprint = |args: &[&str]| Dump::make(&server, args).read("fingerprint.jsonl");
    assert_eq!(fingerprint(&["-U", "odd", "postgres"]), fingerprint(&["postgres"]));
}

#[test]
fn a_reading_role_with_bypassrls_needs_nothing_more() {
    let server = Server::start(*majors().last().unwrap());
    server.psql(
        "postgres",
        "CREATE ROLE reader LOGIN BYPASSRLS; GRANT pg_read_all_data TO reader; CREATE TABLE filtered (x serial);
         INSERT INTO filtered VALUES (1); ALTER TABLE filtered ENABLE ROW LEVEL SECURITY",
    );
    let dump = Dump::make(&server, &["-U", "reader", "postgres"]);
    assert!(dump.receipt.contains("\"rows\":1"));
    assert!(dump.read("globals.sql").contains("CREATE ROLE reader"), "roles come without passwords");
}

#[test]
fn a_database_without_tables_or_patterns_that_match_nothing_are_no_backup() {
    let server = Server::start(majors()[0]);
    for args in [vec!["postgres"], vec!["-t", "nothing", "postgres"], vec!["absent"]] {
        let output = dr_dump(&server).args(&args).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(66), 0), "{args:?}: {}", text(&output));
    }
    Dump::make(&server, &["--allow-empty", "postgres"]);
    // A sequence that is asked for is a backup of its value.
    server.psql("postgres", "CREATE SEQUENCE s; SELECT setval('s', 77)");
    assert!(Dump::make(&server, &["-t", "s", "postgres"]).read("sequences.sql").contains("77, true"));
    server.psql("postgres", "CREATE TABLE t AS SELECT 1 AS x; ANALYZE t; DELETE FROM t");
    let output = dr_dump(&server).arg("postgres").output().unwrap();
    assert_eq!(output.status.code(), Some(66), "{}", text(&output));
}

#[test]
fn extension_tables_come_as_far_as_they_are_registered() {
    let server = Server::start(15);
    let extensions = String::from_utf8(Command::new("pg_config").arg("--sharedir").output().unwrap().stdout).unwrap();
    let control = format!("{}/extension/dr_test_ext", extensions.trim());
    std::fs::write(format!("{control}.control"), "default_version = '1'\nrelocatable = false\nschema = public\n").unwrap();
    std::fs::write(
        format!("{control}--1.sql"),
        "CREATE TABLE public.dr_conf (k int, own boolean); CREATE TABLE public.dr_plain (k int); INSERT INTO public.dr_conf VALUES (1, false);
         SELECT pg_catalog.pg_extension_config_dump('public.dr_conf', 'WHERE own');",
    )
    .unwrap();
    server.psql("postgres", "CREATE EXTENSION dr_test_ext; INSERT INTO dr_conf VALUES (2, true), (3, true); INSERT INTO dr_plain VALUES (9); ANALYZE dr_plain");
    let output = dr_dump(&server).arg("postgres").output().unwrap();
    assert!(output.status.success() && text(&output).contains("public.dr_plain"), "{}", text(&output));
    let dump = Dump::make(&server, &["postgres"]);
    assert_eq!(dump.read("data/public.dr_conf/000001.copy"), "2\tt\n3\tt\n");
    assert!(!dump.path("data/public.dr_plain").exists());
    std::fs::remove_file(format!("{control}.control")).unwrap();
    std::fs::remove_file(format!("{control}--1.sql")).unwrap();
}
