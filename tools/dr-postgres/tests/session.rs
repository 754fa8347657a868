//! Sessions with real servers.
#![allow(clippy::unwrap_used)]

use std::io::Write;

use dr_postgres::{ConnInfo, Environment, Error, Session};
use dr_testing::postgres::Server;

fn open(server: &Server) -> Session {
    let conn = ConnInfo::resolve(&server.conninfo("postgres"), &Environment::default()).unwrap();
    Session::connect(&conn, "test").unwrap()
}

#[test]
fn queries_and_copies_go_through() {
    for major in [15, 18] {
        let server = Server::start(major);
        let mut session = open(&server);
        assert_eq!(session.server_version() / 10_000, major);
        assert_eq!(session.query("SELECT 'é' AS a, NULL AS b, 42 AS c").unwrap().one().unwrap().get("a"), Some("é"));
        assert_eq!(session.execute("CREATE TABLE t(x int); INSERT INTO t SELECT generate_series(1,5)").unwrap(), "INSERT 0 5");
        let mut copy = session.copy_out("COPY t TO STDOUT").unwrap();
        let mut seen = Vec::new();
        while let Some(length) = copy.next_message().unwrap() {
            let body = copy.body().unwrap();
            assert_eq!(body.len(), length);
            seen.extend_from_slice(body);
        }
        assert_eq!(copy.rows(), 5);
        drop(copy);
        assert_eq!(seen, b"1\n2\n3\n4\n5\n");
        let mut copy = session.copy_in("COPY t FROM STDIN").unwrap();
        for _ in 0..100_000 {
            copy.write_all(&seen).unwrap();
        }
        assert_eq!(copy.finish().unwrap(), 500_000);
        let mut copy = session.copy_in("COPY t FROM STDIN").unwrap();
        copy.write_all(b"x\n").unwrap();
        assert!(matches!(copy.finish(), Err(Error::Server(error)) if error.code == "22P02"));
        let mut copy = session.copy_in("COPY t FROM STDIN").unwrap();
        copy.write_all(b"7\n").unwrap();
        drop(copy);
        assert_eq!(session.query("SELECT count(*) FROM t").unwrap().value().unwrap(), "500005");
    }
}
