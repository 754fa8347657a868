//! Sessions with real servers: queries, COPY both ways, cancelling, and servers that die.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::time::{Duration, Instant};

use dr_pipe::Exit;
use dr_postgres::wire::{TransactionStatus, WHOLE_BODY_MAX};
use dr_postgres::{ConnInfo, Environment, Error, Session, settings};
use dr_testing::postgres::{Server, majors, usual_majors};

fn open_database(server: &Server, database: &str) -> Session {
    let conn = ConnInfo::resolve(&server.conninfo(database), &Environment::default()).unwrap();
    Session::connect(&conn, "test").unwrap()
}

fn open(server: &Server) -> Session {
    open_database(server, "postgres")
}

fn value(session: &mut Session, sql: &str) -> String {
    session.query(sql).unwrap().value().unwrap().to_owned()
}

/// All data of a COPY, and its row count.
fn copied(session: &mut Session, sql: &str) -> Result<(Vec<u8>, u64), Error> {
    let mut copy = session.copy_out(sql)?;
    let mut seen = Vec::new();
    while let Some(length) = copy.next_message()? {
        let body = copy.body()?;
        assert_eq!(body.len(), length);
        seen.extend_from_slice(body);
    }
    Ok((seen, copy.rows()))
}

#[test]
fn a_slot_of_a_full_server_is_waited_for() {
    let server = Server::start_with(usual_majors()[0], &[("max_connections", "5")]);
    let conn = ConnInfo::resolve(&server.conninfo("postgres"), &Environment::default()).unwrap();
    let mut sessions: Vec<Session> = (0..5).map(|_| open(&server)).collect();
    let started = Instant::now();
    let error = Session::connect(&conn, "test").unwrap_err();
    assert!(error.exit() == Exit::Unavailable && started.elapsed() > Duration::from_secs(4), "{error}");
    let refused = || server.log().matches("too many clients").count();
    let before = refused();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Session::connect(&conn, "test").map(drop));
        let deadline = Instant::now() + Duration::from_secs(4);
        while refused() == before && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(50));
        }
        assert!(refused() > before, "{}", server.log());
        sessions.pop();
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn queries_and_copies_go_through_on_every_major() {
    for major in majors() {
        let server = Server::start(major);
        let mut session = open(&server);
        assert_eq!(session.server_major(), major);
        assert_eq!(session.parameter("server_encoding"), Some("UTF8"));
        let rows = session.query("SELECT 'é' AS a, NULL AS b, 42 AS c, true AS d UNION ALL SELECT '', 'x', -1, false").unwrap();
        assert_eq!((rows.len(), rows.columns().len()), (2, 4));
        let row = rows.iter().next().unwrap();
        assert_eq!((row.get("a"), row.get(1), row.parse::<i64>("c").unwrap(), row.flag("d").unwrap()), (Some("é"), None, 42, true));
        assert!(matches!(row.text("b"), Err(Error::Protocol { .. })));
        assert_eq!(session.execute("CREATE TABLE t(x int); INSERT INTO t SELECT generate_series(1,5)").unwrap(), "INSERT 0 5");
        assert_eq!(copied(&mut session, "COPY t TO STDOUT").unwrap(), (b"1\n2\n3\n4\n5\n".to_vec(), 5));
        let mut copy = session.copy_in("COPY t FROM STDIN").unwrap();
        for _ in 0..100_000 {
            copy.write_all(b"1\n2\n3\n4\n5\n").unwrap();
        }
        assert_eq!(copy.finish().unwrap(), 500_000);
        assert_eq!(value(&mut session, "SELECT count(*) FROM t"), "500005");
    }
}

#[test]
fn after_an_error_of_the_server_the_session_goes_on() {
    let server = Server::start(18);
    let mut session = open(&server);
    session.execute("CREATE TABLE t(x int)").unwrap();
    assert!(matches!(session.execute("SELECT 1/0"), Err(Error::Server(error)) if error.code == "22012"));
    assert!(matches!(copied(&mut session, "COPY (SELECT 1/(3-g) FROM generate_series(1,5) g) TO STDOUT"), Err(Error::Server(_))));
    assert!(matches!(session.copy_out("COPY nowhere TO STDOUT"), Err(Error::Server(error)) if error.code == "42P01"));
    assert!(matches!(session.copy_out("SELECT 1"), Err(Error::Protocol { .. })));
    assert_eq!(value(&mut session, "SELECT 'well'"), "well");
    let mut copy = session.copy_in("COPY t FROM STDIN").unwrap();
    copy.write_all(b"x\n").unwrap();
    assert!(matches!(copy.finish(), Err(Error::Server(error)) if error.code == "22P02"));
    let mut copy = session.copy_in("COPY t FROM STDIN").unwrap();
    copy.write_all(b"7\n").unwrap();
    drop(copy);
    assert_eq!(value(&mut session, "SELECT count(*) FROM t"), "0");
    session.execute("BEGIN").unwrap();
    assert_eq!(session.transaction_status(), TransactionStatus::Open);
    session.execute("SELECT 1/0").unwrap_err();
    assert_eq!(session.transaction_status(), TransactionStatus::Failed);
    session.execute("ROLLBACK").unwrap();
    assert!(!session.is_in_transaction());
}

#[test]
fn a_copy_that_breaks_a_constraint_at_commit_fails() {
    let server = Server::start(15);
    let mut session = open(&server);
    session.execute("CREATE TABLE t(x int, UNIQUE (x) DEFERRABLE INITIALLY DEFERRED)").unwrap();
    for encoding in ["UTF8", "LATIN1"] {
        session.encode_copies_as(encoding);
        let mut copy = session.copy_in("COPY t FROM STDIN").unwrap();
        copy.write_all(b"1\n1\n").unwrap();
        assert!(matches!(copy.finish(), Err(Error::Server(error)) if error.code == "23505"));
    }
    assert_eq!(value(&mut session, "SELECT count(*) FROM t"), "0");
}

#[test]
fn data_the_server_refuses_early_is_not_sent_to_the_end() {
    let server = Server::start(18);
    let mut session = open(&server);
    session.execute("CREATE TABLE t(x int)").unwrap();
    let mut copy = session.copy_in("COPY t FROM STDIN").unwrap();
    let rows = b"wrong\n".repeat(200_000);
    let sent = (0..1000).take_while(|_| copy.write_all(&rows).is_ok()).count();
    assert!(sent < 100, "{sent} MB were sent in vain");
    assert!(matches!(copy.finish(), Err(Error::Server(error)) if error.code == "22P02"));
    assert_eq!(value(&mut session, "SELECT 'well'"), "well");
}

#[test]
fn a_server_that_talks_while_we_send_does_not_block_us() {
    let server = Server::start(15);
    let mut session = open(&server);
    session
        .execute(
            "CREATE TABLE t(x int); CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS \
             $$BEGIN RAISE NOTICE '%', repeat('x', 200); RETURN new; END$$; \
             CREATE TRIGGER loud BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION loud()",
        )
        .unwrap();
    let heard = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&heard);
    session.on_notice(move |notice| {
        assert_eq!(notice.severity, "NOTICE");
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    let mut copy = session.copy_in("COPY t FROM STDIN").unwrap();
    for _ in 0..20 {
        copy.write_all(&b"1\n".repeat(10_000)).unwrap();
    }
    assert_eq!(copy.finish().unwrap(), 200_000);
    assert_eq!(heard.load(std::sync::atomic::Ordering::Relaxed), 200_000);
}

#[test]
fn a_huge_row_goes_through_in_bounded_memory_both_ways() {
    const SIZE: u64 = 200 << 20;
    let server = Server::start(18);
    let mut session = open(&server);
    session.execute("CREATE TABLE t(x bytea); ALTER TABLE t ALTER x SET STORAGE EXTERNAL").unwrap();
    session.execute(&format!("INSERT INTO t SELECT repeat('x', {SIZE})::bytea")).unwrap();
    let mut second = open(&server);
    session.execute("CREATE TABLE u(x bytea); ALTER TABLE u ALTER x SET STORAGE EXTERNAL").unwrap();
    let before = peak_memory();
    let mut from = session.copy_out("COPY t TO STDOUT (FORMAT binary)").unwrap();
    let mut into = second.copy_in("COPY u FROM STDIN (FORMAT binary)").unwrap();
    assert!(from.is_binary() && into.is_binary());
    let mut buffer = vec![0; 1 << 20];
    let mut longest = 0;
    while let Some(length) = from.next_message().unwrap() {
        longest = longest.max(length);
        loop {
            match from.read_body(&mut buffer).unwrap() {
                0 => break,
                read => into.write_all(&buffer[..read]).unwrap(),
            }
        }
    }
    assert!(u64::try_from(longest).unwrap() > SIZE);
    assert_eq!((from.rows(), into.finish().unwrap()), (1, 1));
    assert!(peak_memory() - before < 16 << 20, "{} bytes more", peak_memory() - before);
    drop(from);
    assert_eq!(value(&mut session, "SELECT t.x = u.x FROM t, u"), "t");
}

#[test]
fn a_body_too_long_to_be_held_is_refused_in_one_piece() {
    let server = Server::start(15);
    let mut session = open(&server);
    let mut copy = session.copy_out(&format!("COPY (SELECT repeat('x', {})) TO STDOUT", WHOLE_BODY_MAX)).unwrap();
    assert_eq!(copy.next_message().unwrap(), Some(WHOLE_BODY_MAX + 1));
    assert!(matches!(copy.body(), Err(Error::Protocol { .. })));
    let mut session = open(&server);
    let sql = format!("COPY (SELECT repeat('x', {}) FROM generate_series(1, 3)) TO STDOUT", WHOLE_BODY_MAX - 1);
    let (data, rows) = copied(&mut session, &sql).unwrap();
    assert_eq!((data.len(), rows), (3 * WHOLE_BODY_MAX, 3));
}

/// The most memory that this process has had resident, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn f55_a_server_that_dies_in_a_copy_is_unavailable_at_once() {
    for major in usual_majors() {
        let server = Server::start(major);
        for immediate in [true, false] {
            let mut session = open(&server);
            let mut copy =
                session.copy_out("COPY (SELECT repeat('x', 1000) FROM pg_class, pg_class a, pg_class b) TO STDOUT").unwrap();
            copy.next_message().unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| if immediate { server.stop(true) } else { server.kill() });
                let started = Instant::now();
                let error = loop {
                    match copy.next_message() {
                        Ok(Some(_)) => drop(copy.body()),
                        Ok(None) => panic!("it cannot end well"),
                        Err(error) => break error,
                    }
                };
                assert_eq!(error.exit(), Exit::Unavailable, "{error}");
                assert!(started.elapsed() < Duration::from_secs(10));
            });
            drop(copy);
            assert_eq!(session.execute("SELECT 1").unwrap_err().exit(), Exit::Unavailable);
            server.restart();
        }
    }
}

#[test]
fn f56_a_session_that_is_terminated_is_unavailable() {
    let server = Server::start(18);
    let mut session = open(&server);
    let pid = session.backend_pid();
    let mut copy = session.copy_out("COPY (SELECT pg_sleep(0.01) FROM pg_class, pg_class a) TO STDOUT").unwrap();
    copy.next_message().unwrap();
    server.psql("postgres", &format!("SELECT pg_terminate_backend({pid})"));
    let error = loop {
        if let Err(error) = copy.next_message() {
            break error;
        }
    };
    assert_eq!((error.exit(), error.sqlstate()), (Exit::Unavailable, Some("57P01")));
    let mut session = open(&server);
    server.psql("postgres", &format!("SELECT pg_terminate_backend({}, 10000)", session.backend_pid()));
    assert_eq!(session.execute("SELECT 1").unwrap_err().sqlstate(), Some("57P01"));
}

#[test]
fn f56_a_peer_that_falls_silent_is_probed_within_20_seconds() {
    let server = Server::start_with(18, &[("listen_addresses", "127.0.0.1")]);
    let text = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", server.port());
    let conn = ConnInfo::resolve(&text, &Environment::default()).unwrap();
    let session = Session::connect(&conn, "test").unwrap();
    // proc_net_tcp(5): our end is the one with the server's port as its peer; timer 02 is keepalive, in hundredths of a second.
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let peer = format!("0100007F:{:04X}", server.port());
    let line = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|fields| fields[2] == peer).unwrap();
    let (timer, when) = line[5].split_once(':').unwrap();
    assert_eq!(timer, "02", "{line:?}");
    assert!(u32::from_str_radix(when, 16).unwrap() <= 2000, "{line:?}");
    drop(session);
}

#[test]
fn f55_a_server_that_dies_while_we_send_is_unavailable() {
    let server = Server::start(15);
    let mut session = open(&server);
    session.execute("CREATE TABLE t(x text)").unwrap();
    let mut copy = session.copy_in("COPY t FROM STDIN").unwrap();
    let rows = b"some words\n".repeat(10_000);
    copy.write_all(&rows).unwrap();
    server.kill();
    let sent = (0..1000).take_while(|_| copy.write_all(&rows).is_ok()).count();
    assert!(sent < 1000);
    assert_eq!(copy.finish().unwrap_err().exit(), Exit::Unavailable);
}

#[test]
fn a_command_is_cancelled_from_another_thread() {
    for major in usual_majors() {
        let server = Server::start(major);
        let mut session = open(&server);
        let canceller = session.canceller();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut watcher = open(&server);
                while value(&mut watcher, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "0" {}
                canceller.cancel().unwrap();
            });
            let error = session.execute("SELECT pg_sleep(100)").unwrap_err();
            assert_eq!((error.exit(), error.sqlstate()), (Exit::Busy, Some("57014")));
        });
        assert_eq!(value(&mut session, "SELECT 'well'"), "well");
    }
}

#[test]
fn f64_timeouts_of_the_role_do_not_hold_for_us() {
    for major in majors() {
        let server = Server::start(major);
        let mut timeouts = vec!["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"];
        timeouts.extend((major >= 17).then_some("transaction_timeout"));
        for name in &timeouts {
            server.psql("postgres", &format!("ALTER ROLE postgres SET {name} = '1min'"));
        }
        server.psql("postgres", "ALTER ROLE postgres SET search_path = 'evil'; ALTER ROLE postgres SET datestyle = 'SQL, DMY'");
        let reading = |session: &mut Session| settings::for_reading(session, false);
        let restoring = |session: &mut Session| settings::for_restoring(session);
        for (prepare, restricted) in [(reading as fn(&mut Session) -> _, "view, foreign-table"), (restoring, "view")] {
            let mut session = open(&server);
            prepare(&mut session).unwrap();
            for name in &timeouts {
                assert_eq!(value(&mut session, &format!("SHOW {name}")), "0", "{name} of {major}");
            }
            assert_eq!(value(&mut session, "SHOW search_path"), "");
            assert_eq!(value(&mut session, "SHOW datestyle"), "ISO, DMY");
            assert_eq!(value(&mut session, "SHOW restrict_nonsystem_relation_kind"), restricted);
        }
    }
}

#[test]
fn names_are_utf8_and_rows_are_bytes_in_any_encoding() {
    let server = Server::start(18);
    for encoding in ["LATIN1", "SQL_ASCII", "UTF8"] {
        let database = encoding.to_lowercase();
        server.psql("postgres", &format!("CREATE DATABASE {database} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'"));
        let mut session = open_database(&server, &database);
        settings::for_reading(&mut session, false).unwrap();
        session.execute("CREATE TABLE public.\"straße\" AS SELECT 'é'::text AS x").unwrap();
        assert_eq!(value(&mut session, "SELECT relname FROM pg_class WHERE relname LIKE 'stra%'"), "straße");
        let stored = if encoding == "LATIN1" { b"\xe9\n".to_vec() } else { "é\n".as_bytes().to_vec() };
        assert_eq!(copied(&mut session, "COPY public.\"straße\" TO STDOUT").unwrap(), (stored.clone(), 1));
        let (binary, _) = copied(&mut session, "COPY public.\"straße\" TO STDOUT (FORMAT binary)").unwrap();
        let field = &stored[..stored.len() - 1];
        assert!(binary.windows(field.len()).any(|window| window == field));
        let mut copy = session.copy_in("COPY public.\"straße\" FROM STDIN").unwrap();
        copy.write_all(&stored).unwrap();
        assert_eq!(copy.finish().unwrap(), 1);
        assert_eq!(value(&mut session, "SELECT count(DISTINCT x) FROM public.\"straße\""), "1");
    }
    let mut session = open_database(&server, "sql_ascii");
    settings::for_reading(&mut session, false).unwrap();
    session.execute("CREATE TABLE public.t AS SELECT convert_from('\\xff'::bytea, 'SQL_ASCII') AS x").unwrap();
    assert_eq!(copied(&mut session, "COPY public.t TO STDOUT").unwrap(), (b"\xff\n".to_vec(), 1));
    assert!(session.query("SELECT x FROM public.t").is_err());
    assert_eq!(value(&mut session, "SELECT 'well'"), "well");
}
