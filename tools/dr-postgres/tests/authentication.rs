//! Getting in: every way a server may ask who we are, TLS in every mode, and all the ways of not getting in.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use dr_pipe::{Exit, Failure};
use dr_postgres::{ConnInfo, Environment, Error, Session};
use dr_testing::postgres::{Server, free_port, usual_majors};

fn connect_with(text: &str, variables: &[(&str, &str)]) -> Result<Session, Error> {
    let environment = Environment::new(variables.iter().copied(), None, Some("root"));
    Session::connect(&ConnInfo::resolve(text, &environment)?, "test")
}

fn connect(text: &str) -> Result<Session, Error> {
    connect_with(text, &[])
}

/// The exit code and the message of a connection that must not succeed.
fn refusal(text: &str) -> (Exit, String) {
    let failure = Failure::from(connect(text).expect_err(text));
    assert!(!failure.hint.is_empty() && !failure.message.contains("hunter2"), "{failure:?}");
    (failure.exit, failure.message)
}

#[track_caller]
fn refused(text: &str, exit: Exit, words: &str) {
    let (was, message) = refusal(text);
    assert!(was == exit && message.contains(words), "{text}: {was:?}: {message}");
}

#[test]
fn every_password_method_lets_us_in_with_the_right_password_only() {
    for major in usual_majors() {
        let server = Server::start(major);
        let roles = "SET password_encryption = 'md5'; CREATE ROLE m LOGIN PASSWORD 'hunter2'; \
                     SET password_encryption = 'scram-sha-256'; CREATE ROLE s LOGIN PASSWORD 'hunter2'; CREATE ROLE c LOGIN PASSWORD 'hünter:2\\'; \
                     CREATE ROLE nobody LOGIN; CREATE ROLE root LOGIN";
        server.psql("postgres", roles);
        server.authenticate(&[
            "local all m md5",
            "local all s scram-sha-256",
            "local all c password",
            "local all nobody reject",
            "local all postgres trust",
            "local all all peer",
        ]);
        let base = format!("host={} dbname=postgres", server.socket_dir().display());
        for (user, password) in [("m", "hunter2"), ("s", "hunter2"), ("c", "hünter:2\\\\")] {
            let mut session = connect(&format!("{base} user={user} password='{password}'")).unwrap();
            assert_eq!(session.query("SELECT current_user").unwrap().value().unwrap(), user);
            refused(&format!("{base} user={user} password=wrong"), Exit::Denied, "password authentication failed");
            refused(&format!("{base} user={user}"), Exit::Denied, "no password supplied");
        }
        refused(&format!("{base} user=nobody"), Exit::Denied, "pg_hba.conf rejects connection");
        refused(&format!("{base} user=stranger"), Exit::Denied, "authentication failed");
        refused(&format!("{base} user=postgres dbname=absent"), Exit::Missing, "database \"absent\" does not exist");
        refused(&format!("{base} user=postgres require_auth=scram-sha-256"), Exit::Denied, "requirement");
        connect(&format!("{base} user=s password=hunter2 require_auth=md5,scram-sha-256")).unwrap();
        connect(&format!("{base} user=postgres require_auth=none requirepeer=postgres")).unwrap();
        refused(&format!("{base} user=postgres requirepeer=nobody"), Exit::Denied, "requirepeer");
        // Tests may run as another user than root, whom peer authentication then refuses.
        assert_eq!(connect(&format!("{base} user=root")).is_ok(), rustix::process::geteuid().is_root());
    }
}

#[test]
fn passwords_come_from_the_password_file_unless_others_can_read_it() {
    let server = Server::start(18);
    server.psql("postgres", "CREATE ROLE s LOGIN PASSWORD 'hunter2'; CREATE DATABASE other");
    server.authenticate(&["local all s scram-sha-256", "local all all trust"]);
    let passfile = server.file("passfile", format!("{}:5432:postgres:s:hunter2\n", server.socket_dir().display()));
    let base = format!("host={} user=s passfile={}", server.socket_dir().display(), passfile.display());
    let session = connect(&format!("{base} dbname=postgres")).unwrap();
    // Another database needs another line.
    let other = session.conninfo().with_database("other").unwrap();
    assert_eq!(Session::connect(&other, "test").unwrap_err().exit(), Exit::Denied);
    std::fs::set_permissions(&passfile, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused(&format!("{base} dbname=postgres"), Exit::Denied, "no password supplied");
    let environment = Environment::new([("PGPASSFILE", passfile.to_str().unwrap())], None, Some("root"));
    let conn = ConnInfo::resolve("dbname=postgres", &environment).unwrap();
    assert!(conn.warnings()[0].contains("permissions should be u=rw (0600) or less"), "{:?}", conn.warnings());
}

#[test]
fn a_server_that_is_not_there_is_unavailable() {
    let directory = tempfile::tempdir().unwrap();
    refused(&format!("host={}", directory.path().display()), Exit::Unavailable, "No such file or directory");
    refused(&format!("host=127.0.0.1 port={}", free_port()), Exit::Unavailable, "Connection refused");
    refused("host=no-such-host.invalid sslmode=disable", Exit::Unavailable, "could not translate host name");
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let started = Instant::now();
    let port = silent.local_addr().unwrap().port();
    refused(&format!("host=127.0.0.1 port={port} connect_timeout=2"), Exit::Unavailable, "timeout expired");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn what_is_no_postgres_breaks_the_protocol() {
    for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", "R\0\0\0\x03", "R\x7f\x7f\x7f\x7f\0\0\0\0", "Z\0\0\0\x05I"] {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                drop(stream.read_to_end(&mut Vec::new()));
            });
            let error = connect(&format!("host={}", directory.path().display())).unwrap_err();
            assert!(matches!(error.exit(), Exit::Protocol | Exit::Unavailable), "{answer:?}: {error}");
        });
    }
}

#[test]
fn of_several_hosts_the_first_that_suits_is_taken() {
    let server = Server::start(15);
    let hosts = format!("host=/nowhere,{} port=1,5432 user=postgres dbname=postgres", server.socket_dir().display());
    for target in ["any", "read-write", "primary", "prefer-standby"] {
        let session = connect(&format!("{hosts} target_session_attrs={target}")).unwrap();
        assert_eq!(session.conninfo().hosts().len(), 1);
    }
    for (target, words) in [("standby", "server is not in hot standby mode"), ("read-only", "session is not read-only")] {
        refused(&format!("{hosts} target_session_attrs={target}"), Exit::Unavailable, words);
    }
}

#[test]
fn f12_one_byte_at_a_time_is_as_good_as_any() {
    let server = Server::start(18);
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).unwrap();
    let upstream = server.socket_dir().join(".s.PGSQL.5432");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (client, _) = listener.accept().unwrap();
            let server = UnixStream::connect(upstream).unwrap();
            let (client_too, server_too) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let there = std::thread::spawn(move || trickle(client_too, server_too));
            trickle(server, client);
            there.join().unwrap();
        });
        let mut session = connect(&format!("host={} user=postgres dbname=postgres", directory.path().display())).unwrap();
        session.execute("CREATE TABLE t(x text)").unwrap();
        let mut copy = session.copy_in("COPY t FROM STDIN").unwrap();
        copy.write_all(&"some wörds\n".repeat(100).into_bytes()).unwrap();
        assert_eq!(copy.finish().unwrap(), 100);
        let mut copy = session.copy_out("COPY t TO STDOUT").unwrap();
        while copy.next_message().unwrap().is_some() {
            assert_eq!(copy.body().unwrap(), "some wörds\n".as_bytes());
        }
        assert_eq!(copy.rows(), 100);
    });
}

fn trickle(mut from: UnixStream, mut to: UnixStream) {
    let mut byte = [0];
    while from.read(&mut byte).is_ok_and(|read| read == 1) {
        if to.write_all(&byte).is_err() {
            break;
        }
    }
    drop(to.shutdown(std::net::Shutdown::Write));
}

#[test]
fn f96_a_child_gets_the_same_connection_and_no_secret_shows() {
    let server = Server::start(18);
    server.psql("postgres", r"CREATE ROLE s LOGIN PASSWORD 'hun:ter\2'; CREATE DATABASE odd");
    server.authenticate(&["local all s scram-sha-256", "local all all trust"]);
    let environment = Environment::new([], None, Some("root"));
    let text = format!(r"host={} user=s password='hun:ter\\2' dbname=odd", server.socket_dir().display());
    let conn = ConnInfo::resolve(&text, &environment).unwrap();
    assert!(conn.warnings()[0].contains("ps(1)"));
    for program in [server.bin("psql"), PathBuf::from("/usr/lib/postgresql/15/bin/psql")] {
        let mut command = Command::new(program);
        command
            .args(["-XAtwc", "SELECT current_user || ' ' || current_database()"])
            .env("PGUSER", "wrong")
            .env("PGPASSWORD", "wrong");
        let guard = conn.child(&mut command).unwrap();
        let shown = format!("{command:?}");
        assert!(!shown.contains("ter") || !shown.contains("hun"), "{shown}");
        let output = command.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "s odd\n", "{}", String::from_utf8_lossy(&output.stderr));
        let passfile = command.get_envs().find(|(name, _)| *name == "PGPASSFILE").unwrap().1.unwrap().to_owned();
        assert_eq!(std::fs::metadata(&passfile).unwrap().permissions().mode() & 0o777, 0o600);
        drop(guard);
        assert!(!Path::new(&passfile).exists());
    }
}

/// Certificates for one server: made by openssl(1), as an operator would.
struct Certificates(tempfile::TempDir);

impl Certificates {
    fn new() -> Self {
        let certificates = Certificates(tempfile::tempdir().unwrap());
        for ca in ["ca", "stranger"] {
            certificates
                .openssl(&format!("req -x509 -newkey rsa:2048 -nodes -keyout {ca}.key -out {ca}.crt -days 2 -subj /CN={ca}"));
        }
        certificates.sign("server", "/CN=server", "subjectAltName=DNS:localhost", "sha384");
        certificates.sign("client", "/CN=certified", "extendedKeyUsage=clientAuth", "sha256");
        let own = "-days 2 -subj /CN=own -addext subjectAltName=DNS:localhost";
        certificates.openssl(&format!("req -x509 -newkey rsa:2048 -nodes -keyout own.key -out own.crt {own}"));
        certificates
    }

    fn sign(&self, name: &str, subject: &str, extension: &str, digest: &str) {
        self.openssl(&format!("req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj {subject}"));
        std::fs::write(self.path("extensions"), extension).unwrap();
        let from = format!("x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial");
        self.openssl(&format!("{from} -out {name}.crt -days 2 -{digest} -extfile extensions"));
    }

    fn openssl(&self, words: &str) {
        let output = Command::new("openssl").args(words.split(' ')).current_dir(&self.0).output().expect("openssl is installed");
        assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A server of 15, as the builds of newer ones that tests use know no TLS.
    fn server(&self, name: &str) -> Server {
        let server = Server::initialise(15, &[("listen_addresses", "127.0.0.1"), ("ssl", "on")]);
        for (setting, kind, from) in [("ssl_cert_file", "crt", name), ("ssl_key_file", "key", name), ("ssl_ca_file", "crt", "ca")] {
            let file = server.file(&format!("{setting}.{kind}"), std::fs::read(self.path(&format!("{from}.{kind}"))).unwrap());
            server.configure(&[(setting, file.to_str().unwrap())]);
        }
        server.authenticate(&[
            "hostssl all certified 127.0.0.1/32 cert",
            "hostssl all s 127.0.0.1/32 scram-sha-256",
            "hostssl all open 127.0.0.1/32 trust",
            "hostnossl all clear 127.0.0.1/32 trust",
            "local all all trust",
        ]);
        server.restart();
        server.psql(
            "postgres",
            "CREATE ROLE certified LOGIN; CREATE ROLE s LOGIN PASSWORD 'hunter2'; CREATE ROLE open LOGIN; CREATE ROLE clear LOGIN",
        );
        server
    }
}

#[test]
fn f97_only_the_right_certificate_is_trusted() {
    let certificates = Certificates::new();
    let server = certificates.server("server");
    let path = |name: &str| certificates.path(name).display().to_string();
    let base = format!("port={} dbname=postgres", server.port());
    let (ca, stranger) = (path("ca.crt"), path("stranger.crt"));
    let open = |rest: &str| format!("{base} user=open {rest}");

    assert!(connect(&open(&format!("host=localhost sslmode=verify-full sslrootcert={ca}"))).unwrap().is_encrypted());
    assert!(connect(&open(&format!("host=127.0.0.1 sslmode=verify-ca sslrootcert={ca}"))).unwrap().is_encrypted());
    assert!(connect(&open("host=127.0.0.1 sslmode=require")).unwrap().is_encrypted());
    assert!(connect(&open("host=127.0.0.1")).unwrap().is_encrypted());
    assert!(connect(&open("host=127.0.0.1 sslmode=allow")).unwrap().is_encrypted());
    assert!(connect(&open("host=127.0.0.1 sslmode=require ssl_min_protocol_version=TLSv1.3")).unwrap().is_encrypted());
    assert!(connect(&open("host=127.0.0.1 sslmode=require ssl_max_protocol_version=TLSv1.2")).unwrap().is_encrypted());
    assert!(!connect(&format!("{base} user=clear host=127.0.0.1 sslmode=prefer")).unwrap().is_encrypted());

    refused(&open(&format!("host=127.0.0.1 sslmode=verify-full sslrootcert={ca}")), Exit::Config, "not valid for name");
    refused(&open(&format!("host=localhost sslmode=verify-full sslrootcert={stranger}")), Exit::Config, "UnknownIssuer");
    refused(&open(&format!("host=localhost sslmode=verify-ca sslrootcert={stranger}")), Exit::Config, "UnknownIssuer");
    refused(&open(&format!("host=localhost sslmode=require sslrootcert={stranger}")), Exit::Config, "UnknownIssuer");
    refused(&open("host=localhost sslmode=verify-full sslrootcert=/nowhere.crt"), Exit::Config, "/nowhere.crt");
    refused(&open("host=localhost sslmode=verify-ca"), Exit::Config, "needs a root certificate");
    refused(&open("host=localhost sslmode=verify-full"), Exit::Config, "UnknownIssuer");
    refused(&open("host=127.0.0.1 sslmode=disable"), Exit::Denied, "no encryption");
    refused(&format!("{base} user=clear host=127.0.0.1 sslmode=require"), Exit::Denied, "no pg_hba.conf entry");
}

#[test]
fn f97_a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let server = Server::start_with(18, &[("listen_addresses", "127.0.0.1")]);
    let base = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", server.port());
    assert!(!connect(&base).unwrap().is_encrypted());
    for mode in ["require", "verify-full"] {
        refused(&format!("{base} sslmode={mode}"), Exit::Config, "server does not support SSL");
    }
    refused(&format!("{base} channel_binding=require"), Exit::Denied, "channel binding required");
    // To anyone else than this host, what a man in the middle could turn off is not asked for politely.
    let other = |mode: &str| ConnInfo::resolve(&format!("host=db.example{mode}"), &Environment::new([], None, Some("root")));
    assert_eq!(other(" sslmode=prefer").unwrap_err().exit(), Exit::Config);
    assert_eq!(other(" sslmode=allow").unwrap_err().exit(), Exit::Config);
    assert!(other("").is_ok() && other(" sslmode=disable").is_ok());
}

#[test]
fn channel_binding_client_certificates_and_cancelling_work_over_tls() {
    let certificates = Certificates::new();
    for name in ["server", "own"] {
        let server = certificates.server(name);
        let path = |name: &str| certificates.path(name).display().to_string();
        let root = if name == "own" { path("own.crt") } else { path("ca.crt") };
        let base = format!("host=localhost port={} dbname=postgres sslmode=verify-full sslrootcert={root}", server.port());
        let mut session = connect(&format!("{base} user=s password=hunter2 channel_binding=require")).unwrap();
        refused(&format!("{base} user=open channel_binding=require"), Exit::Denied, "channel binding required");
        refused(&format!("{base} user=certified"), Exit::Denied, "certificate");
        let identity = format!("user=certified sslcert={} sslkey={}", path("client.crt"), path("client.key"));
        std::fs::set_permissions(path("client.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
        connect(&format!("{base} {identity}")).unwrap();
        std::fs::set_permissions(path("client.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
        refused(&format!("{base} {identity}"), Exit::Config, "group or world access");
        let canceller = session.canceller();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while server.psql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "0" {}
                canceller.cancel().unwrap();
            });
            assert_eq!(session.execute("SELECT pg_sleep(100)").unwrap_err().sqlstate(), Some("57014"));
        });
        copy_much(&mut session);
    }
}

/// Some megabytes in and out again.
fn copy_much(session: &mut Session) {
    session.execute("CREATE TEMP TABLE t(x text)").unwrap();
    let row = [b"x".repeat(999), b"\n".to_vec()].concat();
    let mut copy = session.copy_in("COPY t FROM STDIN").unwrap();
    for _ in 0..20 {
        copy.write_all(&row.repeat(1000)).unwrap();
    }
    assert_eq!(copy.finish().unwrap(), 20_000);
    let mut copy = session.copy_out("COPY t TO STDOUT").unwrap();
    while copy.next_message().unwrap().is_some() {
        assert_eq!(copy.body().unwrap(), row);
    }
    assert_eq!(copy.rows(), 20_000);
}

#[test]
fn f97_bytes_slipped_in_before_the_handshake_are_refused() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _): (TcpStream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 8]).unwrap();
            stream.write_all(b"SR\0\0\0\x08\0\0\0\0").unwrap();
            drop(stream.read_to_end(&mut Vec::new()));
        });
        refused(&format!("host=127.0.0.1 port={port} sslmode=require"), Exit::Protocol, "unencrypted data after SSL response");
    });
}
