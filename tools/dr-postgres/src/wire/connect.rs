//! Opening a session: every host and address in turn, with TLS as asked, until one takes us.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;

use super::auth::authenticate;
use super::dial::{Endpoint, dial, endpoints, place};
use super::messages::Wire;
use super::session::{Backend, Session, TransactionStatus};
use super::tls;
use crate::conninfo::{Host, SslMode, SslNegotiation, Target};
use crate::error::ServerError;
use crate::{ConnInfo, Error};

/// The SQLSTATE too_many_connections.
const NO_SLOT: &str = "53300";

/// How long a slot of the server is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

impl Session {
    /// Opens a session. `application_name` is what pg_stat_activity shows, unless the connection string says otherwise. Session
    /// settings stay the server's; see [`Session::read_settings`].
    ///
    /// # Errors
    /// [`Error::Unavailable`] if no host can be reached, [`Error::Denied`] or [`Error::Server`] if one refuses us,
    /// [`Error::Config`] if a certificate or key is wrong. Where the server has no slot left, one is waited for, some seconds long: that
    /// of a session that was closed is free once its process has ended.
    pub fn connect(conn: &ConnInfo, application_name: &str) -> Result<Session, Error> {
        Session::connect_with(conn, application_name, &[])
    }

    /// As [`Session::connect`], with more startup parameters: server settings, or `replication`.
    ///
    /// # Errors
    /// As [`Session::connect`].
    pub fn connect_with(conn: &ConnInfo, application_name: &str, parameters: &[(&str, &str)]) -> Result<Session, Error> {
        let target = conn.target()?;
        let first = if target == Target::PreferStandby { Target::Standby } else { target };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let connected = match connect_any(conn, application_name, parameters, first) {
                Err(Error::Unavailable { .. }) if target == Target::PreferStandby => {
                    connect_any(conn, application_name, parameters, Target::Any)
                }
                other => other,
            };
            match connected {
                Err(error) if error.sqlstate() == Some(NO_SLOT) && Instant::now() < deadline => std::thread::park_timeout(PAUSE),
                other => return other,
            }
        }
    }
}

fn connect_any(conn: &ConnInfo, name: &str, parameters: &[(&str, &str)], target: Target) -> Result<Session, Error> {
    let mut failures = Vec::new();
    for host in conn.hosts() {
        let endpoints = match endpoints(host) {
            Ok(endpoints) => endpoints,
            Err(error) => {
                failures.push(error);
                continue;
            }
        };
        for endpoint in endpoints {
            let attempt = Attempt { conn, host, endpoint, name, parameters };
            match attempt.run().and_then(|session| suits(session, target)) {
                Ok(session) => return Ok(session),
                Err(error) if error.exit() == dr_pipe::Exit::Unavailable => failures.push(error),
                Err(error) => return Err(error),
            }
        }
    }
    // One failure is given as it is; of several, all that was said.
    let Some(last) = failures.pop() else { return Err(Error::config("no host to connect to")) };
    Err(failures.into_iter().rev().fold(last, |error, earlier| error.within(earlier)))
}

/// Holds a session against `target_session_attrs`.
fn suits(mut session: Session, target: Target) -> Result<Session, Error> {
    if target == Target::Any {
        return Ok(session);
    }
    let (standby, read_only) = state(&mut session)?;
    let (suits, message) = match target {
        Target::ReadWrite => (!read_only, "session is read-only"),
        Target::ReadOnly => (read_only, "session is not read-only"),
        Target::Primary => (!standby, "server is in hot standby mode"),
        Target::Standby => (standby, "server is not in hot standby mode"),
        Target::Any | Target::PreferStandby => (true, ""),
    };
    if suits {
        return Ok(session);
    }
    Err(Error::Unavailable {
        message: format!("{}: {message}", session.wire.place),
        hint: "no other host suits target_session_attrs either",
    })
}

/// Whether the server is a standby, and whether sessions are read-only: as it reports by itself (a replication connection cannot
/// ask), else as it answers.
fn state(session: &mut Session) -> Result<(bool, bool), Error> {
    if let (Some(standby), Some(read_only)) =
        (session.parameter("in_hot_standby"), session.parameter("default_transaction_read_only"))
    {
        return Ok((standby == "on", standby == "on" || read_only == "on"));
    }
    let rows =
        session.query("SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only') = 'on'")?;
    let row = rows.one()?;
    Ok((row.flag(0)?, row.flag(1)?))
}

/// One attempt at one address.
struct Attempt<'a> {
    conn: &'a ConnInfo,
    host: &'a Host,
    endpoint: Endpoint,
    name: &'a str,
    parameters: &'a [(&'a str, &'a str)],
}

impl Attempt<'_> {
    /// Tries with and without TLS, in the order that `sslmode` gives.
    fn run(&self) -> Result<Session, Error> {
        let (first, second) = match self.host.ssl_mode {
            SslMode::Disable => (Tls::Never, None),
            SslMode::Allow => (Tls::Never, Some(Tls::Always)),
            SslMode::Prefer => (Tls::IfOffered, Some(Tls::Never)),
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => (Tls::Always, None),
        };
        match (self.once(first), second) {
            (Err(error), Some(second)) if worth_another(&error) => self.once(second).map_err(|_| error),
            (result, _) => result,
        }
    }

    fn once(&self, tls: Tls) -> Result<Session, Error> {
        let mut wire = open(self.conn, self.host, &self.endpoint, tls)?;
        self.start(&mut wire)?;
        authenticate(&mut wire, self.conn, self.host)?;
        let place = std::mem::take(&mut wire.place);
        wire.place = place.trim_end_matches(" failed").to_owned();
        let mut session = Session {
            wire,
            parameters: BTreeMap::new(),
            backend: Backend::default(),
            status: TransactionStatus::Idle,
            broken: false,
            conninfo: self.conn.pinned(self.host, self.endpoint.ip()),
            on_notice: None,
            copy_encoding: None,
        };
        settle(&mut session)?;
        let kept = session.wire.plug_mut().set_deadline(None);
        kept.map_err(|error| session.wire.lost(&error))?;
        Ok(session)
    }

    fn start(&self, wire: &mut Wire) -> Result<(), Error> {
        let name = Some(self.conn.application_name(self.name)).filter(|name| !name.is_empty());
        let optional = ["options", "replication"].into_iter().filter_map(|keyword| Some((keyword, self.conn.setting(keyword)?)));
        let encoding = self.conn.setting("client_encoding").filter(|encoding| *encoding != "auto");
        let pairs = [("user", self.conn.user()), ("database", self.conn.database())];
        let pairs = pairs.into_iter().chain(name.map(|name| ("application_name", name)));
        let pairs = pairs.chain(optional).chain(encoding.map(|encoding| ("client_encoding", encoding)));
        let mut bytes = BytesMut::new();
        frontend::startup_message(pairs.chain(self.parameters.iter().copied()), &mut bytes)
            .map_err(|error| Error::config(format!("a setting cannot be sent: {error}")))?;
        wire.send(&bytes)
    }
}

/// Whether the other way, with or without TLS, may help: as libpq, where TLS itself fails, or pg_hba.conf rejects this way.
fn worth_another(error: &Error) -> bool {
    matches!(error, Error::Config { .. }) || error.sqlstate().is_some_and(|code| code == "28000")
}

/// Reads on after authentication until the server is ready.
fn settle(session: &mut Session) -> Result<(), Error> {
    loop {
        match session.answer() {
            Ok(Message::BackendKeyData(body)) => {
                session.backend = Backend { process_id: body.process_id(), secret_key: body.secret_key() };
            }
            Ok(Message::ReadyForQuery(body)) => {
                session.ready(body.status());
                return Ok(());
            }
            Ok(_) => return Err(Error::protocol(format!("{}: an unexpected message at startup", session.wire.place))),
            Err(error) => return Err(error.within(&session.wire.place)),
        }
    }
}

/// Whether to encrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    Never,
    IfOffered,
    Always,
}

/// Connects, and encrypts if so told; nothing else was said yet.
pub(super) fn open(conn: &ConnInfo, host: &Host, endpoint: &Endpoint, tls: Tls) -> Result<Wire, Error> {
    let place = place(host, endpoint);
    let deadline = conn.connect_timeout().map(|timeout| Instant::now() + timeout);
    let plug = dial(conn, endpoint, deadline).map_err(|error| unreachable(&place, &error))?;
    let mut wire = Wire::new(plug, place);
    if tls != Tls::Never {
        encrypt(&mut wire, conn, host, tls)?;
    }
    Ok(wire)
}

fn encrypt(wire: &mut Wire, conn: &ConnInfo, host: &Host, tls: Tls) -> Result<(), Error> {
    let connection = tls::client(conn.ssl(), host)?;
    if conn.ssl().negotiation == SslNegotiation::Postgres {
        let mut bytes = BytesMut::new();
        frontend::ssl_request(&mut bytes);
        wire.send(&bytes)?;
        match wire.lone_byte()? {
            b'S' => {}
            b'N' if tls == Tls::IfOffered => return Ok(()),
            b'N' => {
                return Err(Error::Config {
                    message: format!("{}: server does not support SSL, but SSL was required", wire.place),
                    hint: "turn ssl on in the server, or say sslmode=disable if the network is safe",
                });
            }
            b'E' => return Err(refusal(wire)),
            other => {
                return Err(Error::protocol(format!("{}: received invalid response to SSL negotiation: {other:#04x}", wire.place)));
            }
        }
    }
    let place = wire.place.clone();
    wire.plug_mut().start_tls(connection).map_err(|error| tls::failure(&place, &error))
}

/// The error message that a server sent instead of an answer.
fn refusal(wire: &mut Wire) -> Error {
    match wire.message() {
        Ok(Message::ErrorResponse(body)) => match ServerError::read(body.fields()) {
            Ok(error) => Error::Server(Box::new(error)).within(&wire.place),
            Err(error) => Error::protocol(error.to_string()),
        },
        Ok(_) => Error::protocol(format!("{}: an unexpected message at startup", wire.place)),
        Err(error) => error,
    }
}

/// Why there is no connection.
fn unreachable(place: &str, error: &io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => "is the server running, and is this its socket directory (-h) and port (-p)?",
        io::ErrorKind::ConnectionRefused => "is the server running there and accepting connections on that port?",
        io::ErrorKind::TimedOut => "is the server's host up, and no firewall in between?",
        io::ErrorKind::PermissionDenied => {
            return Error::Denied { message: format!("{place}: {error}"), hint: "check the socket's mode, and requirepeer" };
        }
        _ => "see the network, and the server's log",
    };
    Error::Unavailable { message: format!("{place}: {error}"), hint }
}
