//! Dumps of dr-dump.

use dr_testing::postgres::{Server, usual_majors};

use crate::fixture::{Place, hotel, run};

/// Fingerprints by other means than ours: every table's rows as text, sorted. Left out are the table whose columns
/// pg_dump puts into another order, as it does with a column that a parent got after its child, and partitions by the hash
/// of an enum, whose rows lie elsewhere in every database.
fn rows(server: &Server, database: &str) -> String {
    server.psql(
        database,
        "SELECT format('SELECT %L, count(*), md5(string_agg(t::text, E''\\n'' ORDER BY t::text COLLATE \"C\")) FROM %s t', c.oid::regclass, c.oid::regclass) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE relkind IN ('r', 'm') AND relispopulated AND relname !~ '^(child|moody_.)$' AND nspname !~ '^(pg_|information_schema)' \
         ORDER BY c.oid::regclass::text COLLATE \"C\" \\gexec",
    )
}

/// What belongs to a database as a whole.
fn properties(server: &Server, database: &str) -> String {
    server.psql(
        "postgres",
        &format!(
            "SELECT pg_get_userbyid(datdba), encoding, datcollate, datconnlimit, ARRAY(SELECT unnest(datacl)::text ORDER BY 1), shobj_description(oid, 'pg_database'), \
             (SELECT string_agg(setrole::regrole || array_to_string(ARRAY(SELECT unnest(setconfig) ORDER BY 1), '|'), ';' ORDER BY setrole) FROM pg_db_role_setting WHERE setdatabase = d.oid) \
             FROM pg_database d WHERE datname = '{database}'"
        ),
    )
}

const LARGE_OBJECTS: &str = "SELECT oid, lomowner::regrole, ARRAY(SELECT unnest(lomacl)::text ORDER BY 1), obj_description(oid, 'pg_largeobject'), md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY 1";
const SEQUENCES: &str = "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2";

#[test]
fn a_whole_database_comes_back_as_it_was() {
    for major in usual_majors() {
        let place = Place::new(major);
        hotel(&place.server);
        let archive = place.file("hotel.tar.zst", place.dr_dump(&["hotel"]));
        let record = run(&mut place.restore(&[&archive, "--into", "again"]), b"").record();
        assert_eq!((record["type"].as_str(), record["proved"].as_bool()), (Some("restored"), Some(true)));
        assert_eq!((record["source_database"].as_str(), record["database"].as_str()), (Some("hotel"), Some("again")));
        assert_eq!(place.definitions("again"), place.definitions("hotel"));
        assert_eq!(rows(&place.server, "again"), rows(&place.server, "hotel"));
        assert_eq!(properties(&place.server, "again"), properties(&place.server, "hotel"));
        for sql in [LARGE_OBJECTS, SEQUENCES] {
            assert_eq!(place.server.psql("again", sql), place.server.psql("hotel", sql));
        }
        let analyzed = "SELECT count(*) FROM pg_stats WHERE schemaname = 'hotel' AND tablename = 'reservation'";
        assert_ne!(place.server.psql("again", analyzed), "0");
        // The same through a pipe, under its own name, the old one kept.
        let bytes = std::fs::read(&archive).expect("the archive");
        let record = run(&mut place.restore(&["--swap", "--no-analyze", "-j1"]), &bytes).record();
        assert!(record["kept"].as_str().is_some_and(|kept| kept.starts_with("hotel_before_")));
        assert_eq!(rows(&place.server, "hotel"), rows(&place.server, "again"));
    }
}

#[test]
fn f62_f63_every_kind_of_object_comes_back() {
    for major in usual_majors() {
        let place = Place::new(major);
        let sample = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sample/every-object.sql");
        place.server.psql("postgres", "CREATE DATABASE every TEMPLATE template0");
        place.server.psql("every", &std::fs::read_to_string(sample).expect("the sample"));
        let archive = place.dr_dump(&["every"]);
        let ran = run(&mut place.restore(&["--into", "again"]), &archive);
        assert_eq!(ran.record()["proved"].as_bool(), Some(true), "{}", ran.stderr);
        assert_eq!(place.definitions("again"), place.definitions("every"));
        assert_eq!(rows(&place.server, "again"), rows(&place.server, "every"));
        assert_eq!(properties(&place.server, "again"), properties(&place.server, "every"));
        assert_eq!(place.server.psql("again", LARGE_OBJECTS), place.server.psql("every", LARGE_OBJECTS));
        assert_eq!(place.server.psql("again", SEQUENCES), place.server.psql("every", SEQUENCES));
        assert_eq!(place.server.psql("postgres", "SELECT DISTINCT subenabled FROM pg_subscription"), "f");
    }
}

#[test]
fn rows_in_binary_come_back_as_they_were() {
    let majors = dr_testing::postgres::majors();
    let newest = Place::new(*majors.last().expect("one"));
    hotel(&newest.server);
    for major in majors {
        let place = Place::new(major);
        hotel(&place.server);
        // More than one piece in a run, and more than one run.
        place.server.psql(
            "hotel",
            "CREATE TABLE many AS SELECT n, md5(n::text) AS x, md5(n::text)::uuid AS u, 'epoch'::timestamptz + n * interval '1.1 s' AS at, sqrt(n) AS f
             FROM generate_series(1, 220000) AS n",
        );
        let archive = place.file("hotel.tar.zst", place.dr_dump(&["--binary", "hotel"]));
        let record = run(&mut place.restore(&[&archive, "--into", "again", "--no-analyze"]), b"").record();
        assert_eq!(record["proved"].as_bool(), Some(true));
        assert_eq!(rows(&place.server, "again"), rows(&place.server, "hotel"));
        assert_eq!(place.definitions("again"), place.definitions("hotel"));
        let name = format!("of_{major}");
        run(&mut newest.restore(&[&archive, "--into", &name, "--no-analyze"]), b"").record();
        assert_eq!(rows(&newest.server, &name), rows(&place.server, "hotel"));
    }
    let rooted = newest.dr_dump(&["--binary", "--load-via-partition-root", "hotel"]);
    run(&mut newest.restore(&["--swap", "--no-analyze"]), &rooted).record();
    assert_eq!(newest.databases("hotel_before%").lines().count(), 1);
}

#[test]
fn several_pieces_in_binary_are_one_copy() {
    let place = Place::new(15);
    place.server.psql("postgres", "CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 150000) n");
    let archive = place.dr_dump(&["--binary", "postgres"]);
    run(&mut place.restore(&["--into", "new"]), &archive).record();
    // Only what goes in by one COPY is frozen.
    assert_eq!(place.server.psql("new", "ANALYZE t; SELECT relallvisible = relpages FROM pg_class WHERE relname = 't'"), "t");
}

#[test]
fn indexes_of_a_big_table_are_built_side_by_side_and_b_trees_sorted_with_little_memory() {
    for major in usual_majors() {
        let place = Place::new(major);
        // 42 MB of rows. Those of the indexes that lock the table in the end would wait for each other for ever.
        place.server.psql(
            "postgres",
            "CREATE TABLE big AS SELECT n, repeat(md5(n::text), 32) AS filler, int4range(n, n + 1) AS room FROM generate_series(1, 40000) n;
             ALTER TABLE big ADD PRIMARY KEY (n), ADD EXCLUDE USING gist (room WITH &&) WHERE (n < 100);
             ALTER TABLE big ADD CONSTRAINT late UNIQUE (n, room) DEFERRABLE; CREATE INDEX a ON big (md5(filler));
             CREATE INDEX \"gin of it\" ON big USING gin ((n::text::tsvector)); CREATE INDEX ON big USING hash (n);
             CREATE INDEX ON big USING brin (n); CREATE INDEX named ON big (filler); CREATE UNIQUE INDEX known ON big (n);
             CREATE UNIQUE INDEX part ON big (n DESC) INCLUDE (room) WHERE n > 100;
             COMMENT ON INDEX part IS 'a part'; COMMENT ON CONSTRAINT late ON big IS 'later'; ALTER TABLE big CLUSTER ON named;
             ALTER TABLE big ALTER n SET NOT NULL, REPLICA IDENTITY USING INDEX known;
             CREATE TABLE small (n int PRIMARY KEY REFERENCES big); INSERT INTO small VALUES (1);
             ALTER ROLE postgres SET trace_sort = on",
        );
        let archive = place.file("dump", place.dr_dump(&["postgres"]));
        for jobs in ["1", "2", "5"] {
            let before = place.server.log().len();
            run(&mut place.restore(&[&archive, "--into", "new", "--jobs", jobs, "--no-analyze"]), b"").record();
            let said = place.server.log().split_off(before);
            assert!(said.contains("begin index sort: unique = f, workMem = 16384"), "{said}");
            assert_eq!(place.definitions("new"), place.definitions("postgres"));
            assert_eq!(place.server.psql("new", "SELECT count(*) FROM pg_index WHERE NOT indisvalid"), "0");
            place.server.psql("postgres", "DROP DATABASE new");
        }
    }
}

#[test]
fn text_goes_in_as_binary_unless_only_the_server_can_read_it() {
    for major in usual_majors() {
        let place = Place::new(major);
        // `runs` comes in several portions; of `long`, one line in the middle is not held in memory.
        place.server.psql(
            "postgres",
            "CREATE DOMAIN \"Preis ä\" AS numeric(9, 2) CHECK (VALUE >= 0); CREATE TYPE mood AS ENUM ('glad', E'so\\tso');
             CREATE TABLE plain AS SELECT n, E'a\\tb\\\\' || n AS \"a b\", (n * 0.37)::\"Preis ä\" AS \"Preis\", now() + n * interval '1 s' AS at,
                 CASE WHEN n % 3 = 0 THEN 'glad' ELSE E'so\\tso' END::mood AS mood, jsonb_build_object('n', E'\\n' || n) AS j FROM generate_series(1, 20000) n;
             ALTER TABLE plain ADD twice int GENERATED ALWAYS AS (n * 2) STORED;
             CREATE TABLE runs AS SELECT n, repeat(md5(n::text), 32) AS filler FROM generate_series(1, 40000) n;
             CREATE TABLE long AS SELECT n, repeat('x', CASE n WHEN 700 THEN 12000000 ELSE 3000 END) AS filler FROM generate_series(1, 1000) n;
             CREATE TABLE spans AS SELECT n * interval '1 s' AS span, repeat('x', 100) AS filler FROM generate_series(1, 20000) n;
             CREATE TABLE small AS SELECT 1 AS n; ALTER ROLE postgres SET log_statement = 'all'",
        );
        let archive = place.file("dump", place.dr_dump(&["postgres"]));
        let before = place.server.log().len();
        run(&mut place.restore(&[&archive, "--into", "new"]), b"").record();
        let said = place.server.log().split_off(before);
        let ways = |table: &str| {
            let copies = said
                .lines()
                .filter(|line| line.contains("LOG:  statement:"))
                .filter_map(|line| line.split_once(&format!("COPY \"public\".\"{table}\" ("))?.1.split_once(") FROM STDIN"));
            copies.map(|(_, way)| way.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ways("plain"), [" WITH (FORMAT binary, FREEZE)"]);
        assert!(ways("runs").len() > 1 && ways("runs").iter().all(|way| way == " WITH (FORMAT binary)"), "{:?}", ways("runs"));
        assert_eq!(ways("long"), [" WITH (FORMAT binary, FREEZE)", " WITH (FREEZE)"]);
        assert_eq!(
            place.server.psql("new", "SELECT sum(n_tup_ins) FROM pg_stat_user_tables WHERE relname = 'long'"),
            "1000",
            "nothing goes in twice"
        );
        assert_eq!((ways("spans"), ways("small")), (vec![" WITH (FREEZE)".to_owned()], vec![String::new()]));
        assert_eq!(place.definitions("new"), place.definitions("postgres"));
    }
}

#[test]
fn an_index_over_code_is_built_when_all_rows_are_in() {
    let place = Place::new(15);
    // Big enough to be loaded first; and what cannot be built ends it in words, whatever the others are at.
    place.server.psql(
        "postgres",
        "CREATE TABLE names AS SELECT n AS id, 'name ' || n AS name FROM generate_series(1, 1000) n;
         CREATE FUNCTION name_of(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN (SELECT name FROM public.names WHERE id = $1); END';
         CREATE TABLE big AS SELECT n % 1000 + 1 AS of, repeat(md5(n::text), 32) AS filler FROM generate_series(1, 40000) n;
         CREATE INDEX by_name ON big (name_of(of)); CREATE INDEX ON big (of)",
    );
    let archive = place.file("dump", place.dr_dump(&["postgres"]));
    for jobs in ["1", "3"] {
        run(&mut place.restore(&[&archive, "--into", "new", "--jobs", jobs]), b"").record();
        let found = "SET enable_seqscan = off; SELECT count(*) FROM big WHERE name_of(of) = 'name 7'";
        assert_eq!(place.server.psql("new", found), "40");
        place.server.psql("postgres", "DROP DATABASE new");
    }
    place
        .server
        .psql("postgres", "CREATE OR REPLACE FUNCTION name_of(int) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT 1 / ($1 - $1)'");
    let archive = place.file("dump", place.dr_dump(&["postgres"]));
    let ran = run(&mut place.restore(&[&archive, "--into", "new", "--jobs", "3"]), b"");
    assert!(ran.ends(65).contains("division by zero"), "{}", ran.stderr);
    assert_eq!(place.databases("new%"), "");
}

#[test]
fn what_pg_restore_alone_would_make_in_the_wrong_order_comes_back() {
    for major in usual_majors() {
        let place = Place::new(major);
        place.server.psql("postgres", "CREATE DATABASE odd TEMPLATE template0");
        // pg_dump puts the function before the rows, though it needs the primary key by way of the view; and pg_restore refreshes
        // the view while the trigger forbids that. The settings would bend what is written on the way.
        place.server.psql(
            "odd",
            "CREATE TABLE t (id integer PRIMARY KEY, name text); INSERT INTO t VALUES (1, '表');
             CREATE MATERIALIZED VIEW m AS SELECT id, name FROM t GROUP BY id;
             CREATE FUNCTION f() RETURNS SETOF m LANGUAGE sql AS 'SELECT * FROM m'; COMMENT ON FUNCTION f() IS '表';
             CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'forbidden'; END $$;
             CREATE EVENT TRIGGER forbids ON ddl_command_start EXECUTE FUNCTION forbid();
             COMMENT ON EVENT TRIGGER forbids IS 'forbids all';
             ALTER DATABASE odd SET search_path = '', \"a, \"\"b\", public; ALTER DATABASE odd SET client_encoding = 'LATIN1'",
        );
        let archive = place.dr_dump(&["odd"]);
        run(&mut place.restore(&["--into", "again"]), &archive).record();
        assert_eq!(place.definitions("again"), place.definitions("odd"));
        assert_eq!(rows(&place.server, "again"), rows(&place.server, "odd"));
        assert_eq!(properties(&place.server, "again"), properties(&place.server, "odd"));
    }
}

#[test]
fn f62_a_database_in_another_encoding_comes_back_with_its_names() {
    let place = Place::new(15);
    place.server.psql("postgres", "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'");
    place.server.psql("latin", "CREATE TABLE \"Übel\" (\"naïf\" text); INSERT INTO \"Übel\" VALUES ('façade'), ('é\t'); COMMENT ON TABLE \"Übel\" IS 'für'");
    let archive = place.dr_dump(&["latin"]);
    let record = run(&mut place.restore(&["--into", "again"]), &archive).record();
    assert_eq!(record["proved"].as_bool(), Some(true));
    assert_eq!(place.server.psql("again", "SHOW server_encoding"), "LATIN1");
    assert_eq!(rows(&place.server, "again"), rows(&place.server, "latin"));
    assert_eq!(place.definitions("again"), place.definitions("latin"));
}

#[test]
fn a_role_that_is_no_superuser_restores_what_is_its_own() {
    let place = Place::new(15);
    place.server.psql("postgres", "CREATE ROLE plain LOGIN; CREATE DATABASE mine TEMPLATE template0 OWNER plain; \\connect mine\nSET ROLE plain; CREATE TABLE t AS SELECT n FROM generate_series(1, 9) n; SELECT lo_from_bytea(77, '\\x00ff')");
    let archive = place.dr_dump(&["mine"]);
    let ran = run(place.restore(&["--into", "new"]).env("PGUSER", "plain"), &archive);
    assert!(ran.ends(77).contains("CREATEDB for role plain"), "{}", ran.stderr);
    place.server.psql("postgres", "ALTER ROLE plain CREATEDB");
    run(place.restore(&["--into", "new"]).env("PGUSER", "plain"), &archive).record();
    assert_eq!(place.server.psql("new", "SELECT count(*), (SELECT lo_get(77)) FROM t"), "9|\\x00ff");
    place
        .server
        .psql("mine", "ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (n > 1)");
    let forced = place.dr_dump(&["mine"]);
    let ran = run(place.restore(&["--into", "forced"]).env("PGUSER", "plain"), &forced);
    assert!(ran.ends(77).contains("BYPASSRLS for role plain"), "{}", ran.stderr);
    run(place.restore(&["--into", "forced", "--no-prove"]).env("PGUSER", "plain"), &forced).record();
    assert_eq!(place.server.psql("forced", "SELECT count(*) FROM t"), "9");
    place.server.psql(
        "mine",
        "CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN NULL; END $$; CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION f()",
    );
    let ran = run(place.restore(&["--into", "other"]).env("PGUSER", "plain"), &place.dr_dump(&["mine"]));
    assert!(ran.ends(77).contains("superuser to create event triggers"), "{}", ran.stderr);
}

#[test]
fn an_older_dump_goes_into_a_newer_server_and_not_the_other_way() {
    let (old, new) = (Place::new(15), Place::new(18));
    hotel(&old.server);
    let archive = old.dr_dump(&["hotel"]);
    let ran = run(&mut new.restore(&[]), &archive);
    let said = ran.ends(66);
    for role in ["hotel_owner", "hotel_app", "hotel_report", "hotel desk"] {
        assert!(said.contains(&format!("role {role}")), "{said}");
    }
    assert_eq!(new.databases("hotel%"), "");
    run(&mut new.restore(&["--preflight", "--globals"]), &archive).ends(0);
    assert_eq!(new.server.psql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'hotel%'"), "0");
    run(&mut new.restore(&["--globals"]), &archive).record();
    assert_eq!(rows(&new.server, "hotel"), rows(&old.server, "hotel"));
    let roles = "SELECT rolname, rolcanlogin, rolconnlimit, rolconfig, shobj_description(oid, 'pg_authid'), \
                 (SELECT string_agg(roleid::regrole::text, ',') FROM pg_auth_members WHERE member = r.oid) \
                 FROM pg_roles r WHERE rolname LIKE 'hotel%' ORDER BY 1";
    assert_eq!(new.server.psql("postgres", roles), old.server.psql("postgres", roles));
    let newer = new.dr_dump(&["hotel"]);
    let ran = run(&mut old.restore(&["--into", "back"]), &newer);
    assert!(ran.stderr.contains("18"), "{}", ran.stderr);
    assert_eq!(ran.code, Some(78), "{}", ran.stderr);
    assert_eq!(old.databases("back%"), "");
}

#[test]
fn owners_rights_and_proof_can_be_left_out() {
    let (old, new) = (Place::new(18), Place::new(18));
    hotel(&old.server);
    let archive = old.dr_dump(&["hotel"]);
    let ran = run(&mut new.restore(&["--no-owner", "--no-privileges"]), &archive);
    assert!(ran.ends(66).contains("1 thing is missing on the server: role hotel_app"), "a policy names it: {}", ran.stderr);
    new.server.psql("postgres", "CREATE ROLE hotel_app");
    let record = run(&mut new.restore(&["--no-owner", "--no-privileges", "--no-prove"]), &archive).record();
    assert_eq!(record["proved"].as_bool(), Some(false));
    assert_eq!(
        new.server.psql("hotel", "SELECT DISTINCT relowner::regrole FROM pg_class WHERE relnamespace = 'hotel'::regnamespace"),
        "postgres"
    );
    assert_eq!(rows(&new.server, "hotel"), rows(&old.server, "hotel"));
}

#[test]
fn a_setting_that_a_newer_server_does_not_know_is_left_out_with_a_warning() {
    let (old, new) = (Place::new(15), Place::new(18));
    old.server.psql("postgres", "CREATE DATABASE mine TEMPLATE template0; ALTER DATABASE mine SET force_parallel_mode = off; ALTER DATABASE mine SET work_mem = '7MB'");
    old.server.psql("mine", "CREATE TABLE t AS SELECT n FROM generate_series(1, 9) n");
    let ran = run(&mut new.restore(&[]), &old.dr_dump(&["mine"]));
    assert_eq!(ran.record()["proved"].as_bool(), Some(true));
    assert!(ran.stderr.contains("warning: left out, as this server does not know it: ALTER DATABASE"), "{}", ran.stderr);
    assert_eq!(new.server.psql("mine", "SHOW work_mem"), "7MB");
}

#[test]
fn a_table_that_a_script_of_an_extension_fills_holds_what_the_dump_held() {
    // PostgreSQL 18 finds extensions outside of its own directories.
    let server = Server::initialise(18, &[]);
    let directory = server.socket_dir().join("extension");
    std::fs::create_dir(&directory).expect("a directory");
    server.configure(&[("extension_control_path", &format!("{}:$system", server.socket_dir().display()))]);
    server.restart();
    let place = Place { server, dir: tempfile::TempDir::new().expect("a scratch directory") };
    let control = directory.join("dr_test.control");
    std::fs::write(&control, "comment = 'test'\ndefault_version = '1.0'\nrelocatable = false\nschema = public\n")
        .expect("a control file");
    std::fs::write(
        directory.join("dr_test--1.0.sql"),
        "CREATE TABLE kind (id integer PRIMARY KEY, own boolean NOT NULL);
         CREATE TABLE thing (id integer PRIMARY KEY, kind integer REFERENCES kind);
         INSERT INTO kind VALUES (1, false), (2, true), (3, true);
         INSERT INTO thing VALUES (10, 2);
         SELECT pg_catalog.pg_extension_config_dump('thing', '');
         SELECT pg_catalog.pg_extension_config_dump('kind', 'WHERE own');
         CREATE TABLE \"größe\" (own boolean, x integer);
         INSERT INTO \"größe\" VALUES (false, 1), (true, 2);
         SELECT pg_catalog.pg_extension_config_dump('\"größe\"', 'WHERE own');
         CREATE SEQUENCE number; SELECT pg_catalog.pg_extension_config_dump('number', '');",
    )
    .expect("a script");
    place.server.psql(
        "postgres",
        "CREATE DATABASE extended TEMPLATE template0;
         \\connect extended
         CREATE EXTENSION dr_test;
         DELETE FROM thing; DELETE FROM kind WHERE id = 3; INSERT INTO kind VALUES (4, true); INSERT INTO thing VALUES (11, 4), (12, 2);
         UPDATE \"größe\" SET x = 3 WHERE own;
         SELECT setval('number', 7)",
    );
    let archive = place.dr_dump(&["extended"]);
    let ran = run(&mut place.restore(&["--into", "new"]), &archive);
    let binary = place.dr_dump(&["--binary", "extended"]);
    run(&mut place.restore(&["--into", "binary"]), &binary).record();
    assert_eq!(rows(&place.server, "binary"), rows(&place.server, "extended"));
    assert_eq!(place.server.psql("new", "SELECT string_agg(x::text, ' ' ORDER BY x) FROM \"größe\""), "1 3");
    std::fs::remove_file(&control).expect("it is there");
    let missing = run(&mut place.restore(&["--into", "other"]), &archive);
    assert_eq!(ran.record()["proved"].as_bool(), Some(true));
    assert_eq!(rows(&place.server, "new"), rows(&place.server, "extended"));
    assert!(missing.ends(78).contains("extension dr_test 1.0"), "{}", missing.stderr);
}

#[test]
fn any_part_of_a_database_makes_a_database_of_its_own() {
    let place = Place::new(15);
    place.server.psql("postgres", "CREATE DATABASE parts");
    place.server.psql("parts", include_str!("../../../../tests/sample/every-object.sql"));
    let parts: [(&str, &[&str], &str); 5] = [
        ("one", &["-t", "things.hen", "-t", "things.egg"], "SELECT count(*) FROM things.hen JOIN things.egg ON hen.egg = egg.id"),
        ("schema", &["-n", "\"Odd schema\""], "SELECT count(*) FROM \"Odd schema\".\"select\""),
        (
            "hollow",
            &["--exclude-table-data", "things.tree"],
            "SELECT count(*) + (SELECT count(*) FROM things.hen) FROM things.tree",
        ),
        ("logged", &["--no-unlogged-table-data"], "SELECT count(*) + 2 FROM things.unlogged"),
        ("rooted", &["--load-via-partition-root"], "SELECT count(*) / 450 FROM things.measured"),
    ];
    for ((name, flags, check), expected) in parts.into_iter().zip(["2", "3", "2", "2", "2"]) {
        let dump = place.dr_dump(&[flags, &["parts"]].concat());
        let ran = run(&mut place.restore(&["--into", name]), &dump);
        assert_eq!(ran.record()["proved"], true, "{name}");
        assert_eq!(place.server.psql(name, check).trim(), expected, "{name}");
    }
}

#[test]
fn foreign_tables_come_back_without_asking_their_server_unless_their_rows_were_dumped() {
    let place = Place::new(15);
    let socket = place.server.socket_dir().display().to_string();
    place.server.psql("postgres", "CREATE DATABASE far; CREATE DATABASE near");
    place.server.psql("far", "CREATE TABLE t (a int)");
    place.server.psql(
        "near",
        &format!(
            "CREATE EXTENSION postgres_fdw; CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{socket}', dbname 'far');
             CREATE USER MAPPING FOR postgres SERVER s OPTIONS (user 'postgres'); CREATE FOREIGN TABLE f (a int) SERVER s OPTIONS (table_name 't');
             INSERT INTO f SELECT generate_series(1, 50); CREATE TABLE tree (a int, at date) PARTITION BY RANGE (at);
             CREATE FOREIGN TABLE leaf PARTITION OF tree FOR VALUES FROM ('2000-01-01') TO ('2001-01-01') SERVER s OPTIONS (table_name 'absent');
             CREATE TABLE own PARTITION OF tree DEFAULT; INSERT INTO own VALUES (1, '2020-02-02')"
        ),
    );
    let (without, with) = (place.dr_dump(&["near"]), place.dr_dump(&["--include-foreign-data", "s", "-T", "leaf", "near"]));
    place.server.psql("far", "DROP TABLE t");
    let ran = run(&mut place.restore(&["--into", "without"]), &without);
    assert_eq!((ran.record()["rows"].clone(), ran.ends(0)), (1.into(), ""));
    place.server.psql("far", "CREATE TABLE t (a int)");
    run(&mut place.restore(&["--into", "with"]), &with).ends(0);
    assert_eq!(place.server.psql("far", "SELECT count(*) FROM t").trim(), "50");
}
