//! Dumps that pg_dump wrote.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::fixture::{Place, run};

/// A database with what dumps trip over, of its own small size.
const SHOP: &str = "
    CREATE ROLE \"shop owner\";
    CREATE DATABASE shop TEMPLATE template0;
    \\connect shop
    CREATE TABLE guest (id integer PRIMARY KEY, name text, mail text UNIQUE);
    ALTER TABLE guest OWNER TO \"shop owner\";
    CREATE TABLE stay (id bigserial PRIMARY KEY, guest integer REFERENCES guest, note text);
    CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT ';\\! id' $$;
    CREATE VIEW v AS SELECT count(*) FROM stay;
    INSERT INTO guest SELECT n, E'Gu\\\\est\\t' || n, n || '@example.org' FROM generate_series(1, 500) n;
    INSERT INTO stay (guest, note) SELECT 1 + n % 500, repeat('x', n % 90) FROM generate_series(1, 2000) n;";

const SUM: &str = "SELECT count(*), sum(hashtext(g::text)), (SELECT sum(hashtext(s::text)) FROM stay s) FROM guest g";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).expect("memory");
    gzip.finish().expect("memory")
}

#[test]
fn dumps_of_every_format_come_back_from_files_and_pipes() {
    for major in dr_testing::postgres::usual_majors() {
        let place = Place::new(major);
        place.server.psql("postgres", SHOP);
        let expected = (place.definitions("shop"), place.server.psql("shop", SUM));
        let (plain, custom, tar) = (place.pg_dump(&["shop"]), place.pg_dump(&["-Fc", "shop"]), place.pg_dump(&["-Ft", "shop"]));
        let directory = place.path("directory").display().to_string();
        place.pg_dump(&["-Fd", "-f", &directory, "shop"]);
        let files = [
            directory,
            place.file("shop.sql", &plain),
            place.file("shop.sql.gz", gzip(&plain)),
            place.file("shop.dump", &custom),
            place.file("shop.tar", &tar),
        ];
        for (number, file) in files.iter().enumerate() {
            let name = format!("copy{number}");
            let record = run(&mut place.restore(&[file, "--into", &name, "-j2"]), b"").record();
            assert_eq!((record["database"].as_str(), record["proved"].as_bool()), (Some(&*name), Some(false)));
            assert_eq!((place.definitions(&name), place.server.psql(&name, SUM)), expected, "{file}");
        }
        for (number, bytes) in [plain.clone(), gzip(&plain), custom].iter().enumerate() {
            let name = format!("pipe{number}");
            run(&mut place.restore(&["--into", &name]), bytes).record();
            assert_eq!((place.definitions(&name), place.server.psql(&name, SUM)), expected, "{name}");
        }
        assert_eq!(place.databases("%restoring%"), "");
        let left: Vec<_> =
            std::fs::read_dir(place.dir.path()).expect("the directory").map(|entry| entry.expect("an entry").file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("dr-")), "{left:?}");
    }
}

#[test]
fn missing_roles_are_told_before_anything_is_written() {
    for major in dr_testing::postgres::usual_majors() {
        let place = Place::new(major);
        place.server.psql("postgres", SHOP);
        place.server.psql("shop", "CREATE ROLE reader; GRANT SELECT ON guest TO reader");
        let files = [place.file("shop.sql", place.pg_dump(&["shop"])), place.file("shop.dump", place.pg_dump(&["-Fc", "shop"]))];
        place.server.psql("postgres", "DROP DATABASE shop");
        place.server.psql("postgres", "DROP ROLE \"shop owner\", reader");
        for file in &files {
            for args in [&["--preflight"][..], &[]] {
                let ran = run(place.restore(&[file, "--into", "new"]).args(args), b"");
                let said = ran.ends(66);
                assert!(said.contains("2 things are missing on the server: role reader; role shop owner"), "{said}");
            }
        }
        assert_eq!(place.databases("new%"), "");
        run(&mut place.restore(&[&files[1], "--into", "new", "--no-owner", "--no-privileges"]), b"").record();
        assert_eq!(place.server.psql("new", "SELECT count(*) FROM guest"), "500");
        run(&mut place.restore(&[&files[0], "--into", "other", "--no-owner"]), b"").ends(64);
    }
}

#[test]
fn f77_a_client_with_a_known_flaw_reads_no_dump_that_nobody_vouches_for() {
    let place = Place::new(15);
    place.server.psql("postgres", SHOP);
    for (program, file) in [
        ("psql", place.file("shop.sql", place.pg_dump(&["shop"]))),
        ("pg_restore", place.file("shop.dump", place.pg_dump(&["-Fc", "shop"]))),
    ] {
        let mut command = place.restore(&[&file, "--into", "new"]);
        command.env_remove("DR_TRUST_ARCHIVE").env("DR_PG_BINDIRS", place.stub(program, "15.2"));
        let ran = run(&mut command, b"");
        let said = ran.ends(80);
        assert!(said.contains("15.2 must not read a dump") && said.contains("CVE-") && said.contains("--trust-archive"), "{said}");
    }
    assert_eq!(place.databases("new%"), "");
}

#[test]
fn bad_dumps_are_refused_before_anything_is_written() {
    let place = Place::new(15);
    place.server.psql("postgres", SHOP);
    let (plain, custom) = (place.pg_dump(&["shop"]), place.pg_dump(&["-Fc", "shop"]));
    let mut damaged_gzip = gzip(&plain);
    let middle = damaged_gzip.len() / 2;
    damaged_gzip[middle] ^= 1;
    let hostile = String::from_utf8_lossy(&plain).replacen("-- Name: guest;", "-- Name: guest\n\\! touch /tmp/dr-owned\n;", 1);
    let cases: [(&str, &[u8], i32); 9] = [
        ("empty", b"", 66),
        ("no backup", b"hello, world", 65),
        ("cut SQL", &plain[..plain.len() / 2], 66),
        ("cut at the last line", &plain[..plain.len() - 150], 66),
        ("damaged gzip", &damaged_gzip, 65),
        ("cut gzip", &gzip(&plain)[..2000], 66),
        ("a command for psql", hostile.as_bytes(), 80),
        ("another database", b"\\connect postgres\nCREATE TABLE owned ();\n", 80),
        ("cut custom header", &custom[..40], 65),
    ];
    for (what, bytes, code) in cases {
        let mut command = place.restore(&["--into", "new"]);
        let ran = run(&mut command, bytes);
        assert_eq!(ran.code, Some(code), "{what}: {}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 2, "{what}: {}", ran.stderr);
    }
    assert_eq!(place.databases("new%"), "");
    assert!(!std::path::Path::new("/tmp/dr-owned").exists());
}

#[test]
fn f77_psql_takes_no_command_from_a_script_however_it_is_hidden() {
    let place = Place::new(15);
    let owned = place.path("owned");
    let run_it = format!("\\! touch {}", owned.display());
    let sjis: &[u8] = b"SET client_encoding = 'SJIS';\nSELECT '\x83' , '\n";
    let scripts: [(&str, Vec<u8>); 5] = [
        (
            "a setting ends strings elsewhere",
            format!("SET standard_conforming_strings = off;\nSELECT 'a\\', '\n{run_it}\n;--'\n;\n").into(),
        ),
        ("parentheses", format!("SELECT (1;copy t from stdin;\n{run_it}\n\\.\n);\n").into()),
        (
            "a body",
            format!("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC; SELECT 1; copy t from stdin;\n{run_it}\n\\.\nEND;\n").into(),
        ),
        ("an encoding", [sjis, run_it.as_bytes(), b"\n;--'\n;\n"].concat()),
        (
            "its own key",
            format!("\\restrict a\n\\unrestrict a\nSET standard_conforming_strings = off;\nSELECT 'a\\', '\n{run_it}\n;--'\n;\n")
                .into(),
        ),
    ];
    for (what, script) in scripts {
        let ran = run(&mut place.restore(&["--into", "new"]), &script);
        assert!(ran.ends(80).contains("backslash commands are restricted"), "{what}: {}", ran.stderr);
        assert!(!owned.exists(), "{what}");
        assert_eq!(place.databases("new%"), "", "{what}");
    }
}

#[test]
fn a_dump_that_fails_midway_leaves_nothing_unless_it_is_to_be_kept() {
    for major in dr_testing::postgres::usual_majors() {
        let place = Place::new(major);
        let file =
            place.file("bad.sql", "CREATE TABLE t (id integer);\nINSERT INTO t VALUES (1);\nINSERT INTO nowhere VALUES (1);\n");
        let ran = run(&mut place.restore(&[&file, "--into", "new"]), b"");
        let said = ran.ends(65);
        assert!(
            said.contains("relation \"nowhere\" does not exist") && said.contains("the half-made database was dropped"),
            "{said}"
        );
        assert_eq!(place.databases("new%"), "");
        let ran = run(&mut place.restore(&[&file, "--into", "new", "--keep-failed"]), b"");
        assert!(ran.ends(65).contains("was kept"), "{}", ran.stderr);
        let kept = place.databases("new%");
        assert!(kept.starts_with("new_restoring_"), "{kept}");
        assert_eq!(place.server.psql(&kept, "SELECT count(*) FROM t"), "1");
        let warned = run(&mut place.restore(&[&file, "--into", "other"]), b"");
        assert!(warned.stderr.contains(&format!("database {kept} is left by another restore")), "{}", warned.stderr);
    }
}

#[test]
fn no_server_and_no_name_are_told_apart() {
    let place = Place::new(15);
    let file = place.file("t.sql", "CREATE TABLE t ();\n");
    run(&mut place.restore(&[&file]), b"").ends(64);
    run(place.restore(&[&file, "--into", "new"]).env("PGHOST", place.dir.path()), b"").ends(69);
    run(&mut place.restore(&["/nowhere/t.sql", "--into", "new"]), b"").ends(66);
    run(&mut place.restore(&["--into", "new"]), b"").ends(66);
}
