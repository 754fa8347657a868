//! WAL as real servers stream it: who they are, slots, histories, both ways of a COPY, and how a stream ends.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use dr_pipe::Exit;
use dr_postgres::wire::{Slot, Streamed, Streaming, WalStream};
use dr_postgres::{ConnInfo, Environment, Error, Session};
use dr_testing::postgres::{Server, majors, usual_majors};

const SEGMENT: u64 = 16 << 20;

fn connect(server: &Server, more: &str) -> Result<Session, Error> {
    let conn = ConnInfo::resolve(&format!("{} {more}", server.conninfo("postgres")), &Environment::default()).unwrap();
    Session::connect_replication(&conn, "receiver")
}

fn open(server: &Server) -> Session {
    connect(server, "").unwrap()
}

fn number(server: &Server, sql: &str) -> u64 {
    server.psql("postgres", &format!("SELECT ({sql} - '0/0')::bigint")).parse().unwrap()
}

/// Receives up to `end` at least; what came, and where it began.
fn receive(stream: &mut WalStream<'_>, from: u64, end: u64) -> Vec<u8> {
    let (mut bytes, deadline) = (Vec::new(), Instant::now() + Duration::from_secs(60));
    while from + (bytes.len() as u64) < end {
        assert!(Instant::now() < deadline, "{} of {}", bytes.len(), end - from);
        match stream.next(Duration::from_millis(200)).unwrap() {
            Streamed::Wal { start, bytes: new, .. } => {
                assert_eq!(start, from + bytes.len() as u64);
                bytes.extend_from_slice(new);
            }
            Streamed::TimelineEnd => panic!("the timeline ended"),
            Streamed::Nothing | Streamed::Keepalive { .. } => {}
        }
    }
    bytes
}

fn start<'a>(session: &'a mut Session, slot: Option<&str>, timeline: u32, from: u64) -> WalStream<'a> {
    match session.stream_wal(slot, timeline, from).unwrap() {
        Streaming::Started(stream) => stream,
        Streaming::Ended(next) => panic!("{next:?}"),
    }
}

/// What stands in the server's own files from `from` on, within one segment.
fn on_disk(server: &Server, timeline: u32, from: u64, length: usize) -> Vec<u8> {
    let name = format!("{timeline:08X}{:08X}{:08X}", (from / SEGMENT) >> 8, (from / SEGMENT) & 0xff);
    let at = usize::try_from(from % SEGMENT).unwrap();
    std::fs::read(server.data_dir().join("pg_wal").join(name)).unwrap()[at..at + length].to_vec()
}

#[test]
fn every_major_streams_what_stands_in_its_own_files_and_hears_what_is_safe() {
    for major in majors() {
        let server = Server::start(major);
        let mut session = open(&server);
        let identity = session.identify_system().unwrap();
        let control = server.psql("postgres", "SELECT system_identifier FROM pg_control_system()");
        assert_eq!((identity.system_identifier.to_string(), identity.timeline), (control, 1));
        assert_eq!(session.wal_segment_bytes().unwrap(), SEGMENT);
        assert_eq!(session.read_slot("dr_main").unwrap(), None);
        session.create_slot("dr_main").unwrap();
        assert!(matches!(session.create_slot("dr_main"), Err(Error::Server(error)) if error.code == "42710"));
        let Some(Slot { physical: true, restart: Some((restart, 1)) }) = session.read_slot("dr_main").unwrap() else { panic!() };
        let from = restart / SEGMENT * SEGMENT;
        server.psql("postgres", "CREATE TABLE t AS SELECT generate_series(1, 20000) AS x");
        let end = number(&server, "pg_current_wal_flush_lsn()");

        let mut stream = start(&mut session, Some("dr_main"), 1, from);
        let bytes = receive(&mut stream, from, end);
        assert_eq!(bytes, on_disk(&server, 1, from, bytes.len()));
        stream.report(end, end, true).unwrap();
        let mut answered = false;
        while !answered {
            answered = matches!(stream.next(Duration::from_secs(60)).unwrap(), Streamed::Keepalive { .. });
        }
        let said = "SELECT (flush_lsn - '0/0')::bigint, (replay_lsn - '0/0')::bigint FROM pg_stat_replication WHERE application_name = 'receiver'";
        assert_eq!(server.psql("postgres", said), format!("{end}|{end}"));
        assert_eq!(stream.finish().unwrap(), None);
        // The session is as good as new.
        assert_eq!(session.read_slot("dr_main").unwrap(), Some(Slot { physical: true, restart: Some((end, 1)) }));
        // What the server does not have yet it refuses only once the stream has begun.
        let mut stream = start(&mut session, None, 1, 100 * SEGMENT);
        assert!(matches!(stream.next(Duration::from_secs(60)), Err(Error::Server(_))));
        drop(stream);
        session.drop_slot("dr_main").unwrap();
        assert_eq!(session.read_slot("dr_main").unwrap(), None);
    }
}

#[test]
fn a_timeline_that_has_ended_says_which_comes_next() {
    for major in usual_majors() {
        let server = Server::start_with(major, &[("wal_keep_size", "1GB")]);
        server.psql("postgres", "CREATE TABLE t(x int)");
        server.stop(false);
        std::fs::write(server.data_dir().join("standby.signal"), "").unwrap();
        server.restart();
        let mut session = open(&server);
        let from = session.identify_system().unwrap().flushed / SEGMENT * SEGMENT;
        let mut stream = start(&mut session, None, 1, from);
        server.psql("postgres", "SELECT pg_promote()");
        let mut end = from;
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            assert!(Instant::now() < deadline);
            match stream.next(Duration::from_millis(200)).unwrap() {
                Streamed::Wal { start, bytes, .. } => end = start + bytes.len() as u64,
                Streamed::TimelineEnd => break,
                _ => {}
            }
        }
        let next = stream.finish().unwrap().unwrap();
        assert_eq!((next.timeline, next.from), (2, end));
        let history = session.timeline_history(2).unwrap();
        assert_eq!(history.name, "00000002.history");
        assert_eq!(history.content, std::fs::read(server.data_dir().join("pg_wal/00000002.history")).unwrap());
        assert!(matches!(session.timeline_history(3), Err(Error::Server(error)) if error.code == "58P01"));
        // Asked for just its end, there is nothing to stream.
        assert!(matches!(session.stream_wal(None, 1, end).unwrap(), Streaming::Ended(again) if again == next));
        let stream = start(&mut session, None, 2, from);
        assert_eq!(stream.finish().unwrap(), None);
    }
}

#[test]
fn a_server_that_stops_says_so_and_one_that_dies_is_noticed() {
    let server = Server::start(18);
    for immediate in [false, true] {
        let mut session = open(&server);
        let from = session.identify_system().unwrap().flushed / SEGMENT * SEGMENT;
        let mut stream = start(&mut session, None, 1, from);
        let mut end = from;
        std::thread::scope(|scope| {
            scope.spawn(|| server.stop(immediate));
            let error = loop {
                match stream.next(Duration::from_millis(100)) {
                    Ok(Streamed::Wal { start, bytes, .. }) => end = start + bytes.len() as u64,
                    Ok(_) => {}
                    Err(error) => break error,
                }
                // A server waits with its shutdown until all is safe here.
                stream.report(end, end, false).unwrap_or_default();
            };
            assert_eq!(error.exit(), Exit::Unavailable, "{error}");
        });
        drop(stream);
        assert!(session.identify_system().is_err());
        server.restart();
    }
}

#[test]
fn target_session_attrs_hold_for_replication_too() {
    let server = Server::start(15);
    for (target, suits) in [("primary", true), ("read-write", true), ("standby", false), ("read-only", false)] {
        let connected = connect(&server, &format!("target_session_attrs={target}"));
        assert_eq!(connected.is_ok(), suits, "{target}");
        assert!(connected.is_ok() || connected.is_err_and(|error| error.exit() == Exit::Unavailable));
    }
}

/// What TLS holds back must not wait for what comes next. On 15, as the builds of newer ones that tests use know no TLS.
#[test]
fn wal_comes_through_tls_as_it_is_written() {
    let server = Server::initialise(15, &[("listen_addresses", "127.0.0.1"), ("ssl", "on")]);
    let scratch = tempfile::tempdir().unwrap();
    let words = "req -x509 -newkey rsa:2048 -nodes -keyout own.key -out own.crt -days 2 -subj /CN=localhost";
    let made = std::process::Command::new("openssl").args(words.split(' ')).current_dir(&scratch).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for (setting, name) in [("ssl_cert_file", "own.crt"), ("ssl_key_file", "own.key")] {
        let path = server.file(name, std::fs::read(scratch.path().join(name)).unwrap());
        server.configure(&[(setting, &path.display().to_string())]);
    }
    server.restart();
    server.authenticate(&["local all all trust", "hostssl replication all 127.0.0.1/32 trust"]);
    let conn = format!("host=127.0.0.1 port={} user=postgres sslmode=require", server.port());
    let conn = ConnInfo::resolve(&conn, &Environment::default()).unwrap();
    let mut session = Session::connect_replication(&conn, "receiver").unwrap();
    assert!(session.is_encrypted());
    let from = session.identify_system().unwrap().flushed / SEGMENT * SEGMENT;
    let mut stream = start(&mut session, None, 1, from);
    let mut bytes = Vec::new();
    for rows in [1, 20_000, 1, 1, 3_000, 1] {
        server.psql("postgres", &format!("CREATE TABLE IF NOT EXISTS t(x int); INSERT INTO t SELECT generate_series(1, {rows})"));
        let end = number(&server, "pg_current_wal_flush_lsn()");
        let at = from + bytes.len() as u64;
        bytes.extend(receive(&mut stream, at, end));
        stream.report(end, end, false).unwrap();
    }
    assert_eq!(bytes, on_disk(&server, 1, from, bytes.len()));
    assert_eq!(stream.finish().unwrap(), None);
}
