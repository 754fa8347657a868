//! What is in a dump.

use crate::*;

#[test]
fn every_kind_of_object_comes_back_with_psql_alone() {
    for major in majors() {
        let server = Server::start_with(major, &[("wal_level", "logical")]);
        server.psql("postgres", "CREATE DATABASE every");
        load(&server, "every", "every-object.sql");
        let dump = Dump::make(&server, &["every"]);
        server.psql("postgres", "CREATE DATABASE again TEMPLATE template0");
        let script = format!(
            "set -e; cd '{}'; P='{} -X -q -v ON_ERROR_STOP=1 -d again'; $P -f pre-data.sql
             for piece in data/*/*.copy; do dir=${{piece%/*}}; $P -c \"$(cat \"$dir/copy.sql\")\" < \"$piece\"; done
             for sql in largeobjects/metadata/*.sql; do $P -f \"$sql\" >&2; done
             {{ cat largeobjects/create.sql largeobjects/copy.sql largeobjects/*.copy; echo '\\.'; cat largeobjects/load.sql; }} | $P >&2
             $P -f sequences.sql >&2; $P -f post-data.sql",
            dump.directory.path().display(),
            server.bin("psql").display()
        );
        let output = Command::new("bash").args(["-o", "pipefail", "-c", &script]).envs(server.env()).output().unwrap();
        assert!(output.status.success(), "{major}: {}", text(&output));
        assert_eq!(schema(&server, "again"), schema(&server, "every"), "{major}");
        let again = Dump::make(&server, &["again"]);
        assert_eq!(again.read("fingerprint.jsonl"), dump.read("fingerprint.jsonl"), "{major}");
        assert_eq!(again.read("largeobjects/metadata/000001.sql"), dump.read("largeobjects/metadata/000001.sql"));
    }
}

/// `pg_dump --schema-only`, without the key that newer releases draw anew for each dump.
fn schema(server: &Server, database: &str) -> String {
    let output =
        Command::new(server.bin("pg_dump")).args(["--schema-only", "-B", "-d", database]).envs(server.env()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_large_table_is_read_by_all_workers_and_cut_into_pieces() {
    let server = Server::start(*majors().last().unwrap());
    server.psql("postgres", "CREATE TABLE t AS SELECT n, repeat(md5(n::text), 8) AS x FROM generate_series(1, 700000) AS n");
    let one = Dump::make(&server, &["-j", "1", "postgres"]);
    let four = Dump::make(&server, &["-j", "4", "postgres"]);
    assert_eq!(one.read("fingerprint.jsonl"), four.read("fingerprint.jsonl"));
    assert!(four.pieces("data/public.t").len() > 10);
    assert!(four.receipt.contains("\"rows\":700000"), "{}", four.receipt);
    assert!(four.read("toc.jsonl").contains("data/public.t/000001.copy"));
}

#[test]
fn f61_a_bytea_beyond_half_a_gigabyte_goes_in_binary_in_bounded_memory() {
    let server = Server::start_with(*majors().last().unwrap(), &[("autovacuum", "off")]);
    server.psql(
        "postgres",
        "CREATE TABLE huge (id int, note text, b bytea); ALTER TABLE huge ALTER b SET STORAGE EXTERNAL;
         INSERT INTO huge SELECT n, E'tab\\t and \\\\', 'small' FROM generate_series(1, 40) AS n;
         DO $$ DECLARE x bytea := decode(repeat('00ff10', 45000000), 'hex'); BEGIN INSERT INTO huge VALUES (41, NULL, x || x || x || x); END $$;
         INSERT INTO huge SELECT n, 'after', 'small' FROM generate_series(42, 60) AS n",
    );
    let directory = TempDir::new().unwrap();
    let prints = [&["-j", "2"][..], &["-j", "2", "--binary"]].map(|flags| {
        let file = std::fs::File::create(directory.path().join("dump")).unwrap();
        let peak = peak_memory(dr_dump(&server).args(flags).args(["--no-globals", "postgres"]).stdout(file));
        assert!(peak < 128 * 1024, "{flags:?}: peak memory {peak} KiB");
        let unpack = |tar: &str| {
            let script = format!("zstd -qdc {}/dump | tar {tar}", directory.path().display());
            let output = Command::new("bash").args(["-o", "pipefail", "-c", &script]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let listing = unpack("-tv");
        assert!(
            listing.lines().any(|line| line.contains(" 540") && line.contains("data/public.huge/") && line.ends_with(".bin")),
            "{listing}"
        );
        assert!(listing.contains("data/public.huge/copy-binary.sql"), "{listing}");
        unpack("-xO fingerprint.jsonl")
    });
    assert!(prints[0].contains("\"rows\":60"), "{}", prints[0]);
    assert_eq!(prints[0], prints[1]);
}

/// Runs a program to its good end: the most memory that it had, in KiB.
fn peak_memory(command: &mut Command) -> u64 {
    let mut child = command.spawn().unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0").trim().trim_end_matches(" kB").to_owned();
        peak = peak.max(line.parse::<u64>().unwrap_or(0));
        std::thread::yield_now();
    }
    assert!(child.wait().unwrap().success());
    peak
}

#[test]
fn binary_is_for_tables_whose_types_allow_it_and_changes_no_fingerprint() {
    for major in dr_testing::postgres::majors() {
        let server = Server::start(major);
        server.psql("postgres", "CREATE DATABASE every");
        load(&server, "every", "every-object.sql");
        server.psql(
            "every",
            "CREATE TABLE public.many (n int, x text, u uuid, at timestamptz, f float8, made int GENERATED ALWAYS AS (n + 1) STORED);
             INSERT INTO public.many SELECT n, repeat(md5(n::text), 8) || E'\\t', md5(n::text)::uuid, 'epoch'::timestamptz + n * interval '1.1 s', sqrt(n)
             FROM generate_series(1, 450000) AS n;
             CREATE TABLE public.wide (b bytea, t text, j jsonb, n numeric, c text);
             INSERT INTO public.wide SELECT decode(repeat('00ff5c', k), 'hex'), repeat(E'tab\\t', k), to_jsonb(repeat(E'\\\\', k)), 10.0 ^ (k % 1001), NULL
             FROM unnest(ARRAY[1, 100000, 600000, 6000000]) AS k; ALTER TABLE public.wide DROP c;
             CREATE TABLE public.empty (n int)",
        );
        let plain = Dump::make(&server, &["every"]);
        let binary = Dump::make(&server, &["--binary", "-j", "3", "every"]);
        assert_eq!(binary.read("fingerprint.jsonl"), plain.read("fingerprint.jsonl"), "{major}");
        assert_eq!(
            binary.read("data/public.many/copy-binary.sql"),
            "COPY \"public\".\"many\" (\"at\", \"f\", \"n\", \"u\", \"x\") FROM STDIN (FORMAT binary);\n"
        );
        for (folder, suffix) in
            [("public.many", "bin"), ("public.wide", "bin"), ("things.hen", "bin"), ("things.everything", "copy")]
        {
            let pieces = binary.pieces(&format!("data/{folder}"));
            assert!(!pieces.is_empty() && pieces.iter().all(|piece| piece.ends_with(suffix)), "{major}: {folder}: {pieces:?}");
        }
        assert!(binary.pieces("data/public.many").len() > 20, "it is read in parts, and cut into pieces");
        assert!(binary.pieces("data/public.empty").is_empty());
        assert!(plain.pieces("data").iter().all(|piece| piece.ends_with("copy")));
        let rooted = ["--load-via-partition-root", "every"];
        let print = |flags: &[&str]| Dump::make(&server, &[flags, &rooted].concat()).read("fingerprint.jsonl");
        assert_eq!(print(&["--binary", "-n", "things"]), print(&["-n", "things"]), "{major}");
    }
}

#[test]
fn the_receipt_is_the_last_word_and_says_what_was_written() {
    let server = Server::start(majors()[0]);
    server.psql("postgres", "CREATE TABLE t AS SELECT generate_series(1, 10) AS n");
    let dump = Dump::make(&server, &["postgres"]);
    let lines: Vec<serde_json::Value> = dump.receipt.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["type"], &lines[1]["type"]), (2, &"start".into(), &"receipt".into()));
    let archive = std::fs::read(dump.path("dump.tar.zst")).unwrap();
    assert_eq!(lines[1]["out"]["bytes"], archive.len());
    assert_eq!(lines[1]["out"]["sha256"], dr_pipe::Sha256::of(&archive).to_string());
    assert_eq!(lines[1]["produced"]["rows"], 10);
}

#[test]
fn roles_are_named_in_utf8_whatever_the_encoding_of_the_database() {
    let server = Server::start(majors()[0]);
    server.psql("postgres", "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
    server.psql("latin", "SET client_encoding = 'UTF8'; CREATE ROLE \"Jörg\"; CREATE TABLE t AS SELECT 'ä'::text AS a");
    let dump = Dump::make(&server, &["latin"]);
    assert!(dump.read("globals.sql").contains("\"Jörg\""));
    assert_eq!(
        std::fs::read(dump.path("data/public.t/000001.copy")).unwrap(),
        b"\xe4\n",
        "rows are in the database's own encoding"
    );
}
