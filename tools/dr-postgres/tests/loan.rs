//! Programs that take our session for their server.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::AtomicBool;

use dr_postgres::loan::Loan;
use dr_postgres::{ConnInfo, Environment, Error, Session, settings};
use dr_testing::postgres::{Server, majors};

fn open(server: &Server) -> Session {
    let conn = ConnInfo::resolve(&server.conninfo("postgres"), &Environment::default()).unwrap();
    let mut session = Session::connect(&conn, "test").unwrap();
    settings::for_reading(&mut session, false).unwrap();
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; LOCK TABLE public.t IN ACCESS SHARE MODE").unwrap();
    session
}

fn server(major: u32) -> Server {
    let server = Server::start(major);
    server.psql("postgres", "CREATE TABLE t AS SELECT generate_series(1, 100000) AS n, repeat('x', 100) AS s");
    server
}

fn value(session: &mut Session, sql: &str) -> String {
    session.query(sql).unwrap().value().unwrap().to_owned()
}

/// Runs psql on `session`.
fn psql(server: &Server, session: &mut Session, sql: &[&str]) -> Output {
    let loan = Loan::open().unwrap();
    let mut command = Command::new(server.bin("psql"));
    command.args(["-XAtq"]).args(sql.iter().flat_map(|sql| ["-c", sql])).stdin(Stdio::null());
    // None of these is for the socket: what leads to the server must not be asked of us.
    command.envs([("PGREQUIREPEER", "nobody"), ("PGCHANNELBINDING", "require"), ("PGSSLMODE", "require"), ("PGPASSWORD", "x")]);
    command.envs([("PGTARGETSESSIONATTRS", "standby"), ("PGHOSTADDR", "127.0.0.1"), ("PGSERVICE", "none"), ("PGOPTIONS", "-c x")]);
    loan.child(session.conninfo(), &mut command);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let output = command.output().unwrap();
            loan.end();
            output
        });
        loan.serve(session, &AtomicBool::new(false)).unwrap();
        running.join().unwrap()
    })
}

/// What `session` makes of a program that says `said`, and dies.
fn told(session: &mut Session, said: &[&[u8]]) -> Result<(), Error> {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    said.iter().for_each(|said| theirs.write_all(said).unwrap());
    drop(theirs);
    session.lend(ours, "SET LOCAL work_mem = '1MB'", &|_| true)
}

const HELLO: &[u8] = b"\0\0\0\x0e\0\x03\0\0user\0\0";

fn query(sql: &str) -> Vec<u8> {
    let length = u32::try_from(sql.len() + 5).unwrap().to_be_bytes();
    [b"Q", &length[..], sql.as_bytes(), b"\0"].concat()
}

#[test]
fn a_program_runs_in_our_transaction_and_leaves_nothing_behind() {
    for major in majors() {
        let server = server(major);
        let mut session = open(&server);
        let (pid, encoding) = (session.backend_pid().to_string(), session.parameter("client_encoding").map(str::to_owned));
        let statements = [
            "SET work_mem = '3MB'; SET client_encoding = 'LATIN1'",
            "BEGIN",
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            "PREPARE mine AS SELECT pg_backend_pid()",
            "EXECUTE mine",
            "SHOW enable_indexscan",
            "LOCK TABLE pg_catalog.pg_class IN ACCESS SHARE MODE",
            "SELECT count(*), count(s) FROM (SELECT * FROM public.t) AS t",
        ];
        let output = psql(&server, &mut session, &statements);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{pid}\non\n100000|100000\n"), "{:?}", output.stderr);
        assert!(output.status.success() && session.is_in_transaction());
        assert_eq!(
            (value(&mut session, "SHOW work_mem"), value(&mut session, "SHOW enable_indexscan")),
            ("4MB".into(), "off".into())
        );
        assert_eq!(session.parameter("client_encoding"), encoding.as_deref());
        assert_eq!(value(&mut session, "SELECT count(*) FROM pg_prepared_statements"), "0");
    }
}

#[test]
fn an_error_of_a_program_is_its_own() {
    let server = server(majors()[0]);
    let mut session = open(&server);
    let output = psql(&server, &mut session, &["SELECT 1/0"]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("division by zero"));
    let large = psql(&server, &mut session, &["SELECT * FROM public.t"]);
    assert_eq!(large.stdout.iter().filter(|byte| **byte == b'\n').count(), 100_000);
    assert_eq!(value(&mut session, "SELECT count(*) FROM public.t"), "100000");
}

#[test]
fn rubbish_and_programs_that_die_leave_the_session_as_it_was() {
    let server = server(majors()[0]);
    let mut session = open(&server);
    let huge = query("SELECT * FROM public.t");
    let cases: [&[&[u8]]; 9] = [
        &[],
        &[b"\0\0"],
        &[b"GET / HTTP/1.1\r\n\r\n"],
        &[b"\0\0\0\x08\x04\xd2\x16\x2f", HELLO],
        &[b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02"],
        &[HELLO, b"X\0\0\0\x04"],
        &[HELLO, b"Q\xff\xff\xff\xffSELECT"],
        &[HELLO, b"P\0\0\0\x08\0\0\0\0", &huge],
        &[HELLO, &huge, &huge],
    ];
    for said in cases {
        told(&mut session, said).unwrap();
        assert_eq!(value(&mut session, "SELECT count(*) FROM public.t"), "100000", "{said:?}");
        assert_eq!(value(&mut session, "SHOW work_mem"), "4MB");
    }
}

#[test]
fn a_program_that_ends_our_transaction_or_wants_to_write_is_a_failure() {
    let server = server(majors()[0]);
    let error = told(&mut open(&server), &[HELLO, &query("COMMIT")]).unwrap_err();
    assert!(error.to_string().contains("ROLLBACK TO SAVEPOINT"), "{error}");
    let mut session = open(&server);
    session.execute("ROLLBACK; BEGIN").unwrap();
    let error = told(&mut session, &[HELLO, &query("COPY public.t FROM STDIN")]).unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}

#[test]
fn a_program_is_left_once_nobody_wants_it_and_one_that_never_comes_is_not_waited_for() {
    let server = server(majors()[0]);
    let mut session = open(&server);
    let loan = Loan::open().unwrap();
    loan.end();
    loan.serve(&mut session, &AtomicBool::new(false)).unwrap();
    Loan::open().unwrap().serve(&mut session, &AtomicBool::new(true)).unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(&[HELLO, &query("SELECT 1")].concat()).unwrap();
    session.lend(ours, "SELECT 1", &|_| false).unwrap();
    let mut heard = Vec::new();
    // Its statement was not even read, which resets the connection once all that was said is read.
    theirs.read_to_end(&mut heard).unwrap_err();
    assert!(heard.ends_with(b"Z\0\0\0\x05T"), "welcomed, and then left");
    assert_eq!(value(&mut session, "SELECT 1"), "1");
}
