//! One session with a server: queries, COPY, and what the server says of itself.

use std::collections::BTreeMap;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;

use super::cancel::Canceller;
use super::copy_in::CopyIn;
use super::copy_out::CopyOut;
use super::messages::Wire;
use super::rows::Rows;
use crate::error::ServerError;
use crate::{ConnInfo, Error};

type OnNotice = Box<dyn FnMut(&ServerError) + Send>;

/// An open session. Dropping it ends it.
///
/// After an error of [`Error::Server`] the session goes on, unless the server ended it (severity `FATAL`); after any other
/// error, and after a [`CopyOut`] that was dropped before its end, it is broken: every further call fails.
pub struct Session {
    pub(super) wire: Wire,
    pub(super) parameters: BTreeMap<String, String>,
    pub(super) backend: Backend,
    pub(super) status: TransactionStatus,
    pub(super) broken: bool,
    pub(super) conninfo: ConnInfo,
    pub(super) on_notice: Option<OnNotice>,
    pub(super) copy_encoding: Option<String>,
}

/// What a CancelRequest needs to name a session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backend {
    pub process_id: i32,
    pub secret_key: i32,
}

/// Where a session stands between two commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// In no transaction.
    Idle,
    /// In a transaction.
    Open,
    /// In a transaction that has failed, and can only be rolled back.
    Failed,
}

impl Session {
    /// The server's version as a number: 150018 is 15.18.
    pub fn server_version(&self) -> u32 {
        let text = self.parameter("server_version").unwrap_or_default();
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
        let major = numbers.next().unwrap_or(0);
        // "18beta1" and "19devel" have no minor yet.
        let minor = numbers.next().filter(|_| text.contains('.')).unwrap_or(0);
        if major >= 10 { major * 10_000 + minor } else { major * 10_000 + minor * 100 + numbers.next().unwrap_or(0) }
    }

    /// The server's major version: 15.
    pub fn server_major(&self) -> u32 {
        self.server_version() / 10_000
    }

    /// A setting that the server reports by itself (`server_encoding`, `client_encoding`, `is_superuser`, …), as it is now.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// The process id of the session's server process, as in pg_stat_activity; 0 if a pooler does not say.
    pub fn backend_pid(&self) -> i32 {
        self.backend.process_id
    }

    /// Where the session stands.
    pub fn transaction_status(&self) -> TransactionStatus {
        self.status
    }

    /// Whether a transaction is open, failed or not.
    pub fn is_in_transaction(&self) -> bool {
        self.status != TransactionStatus::Idle
    }

    /// How to reach this very server again: of several hosts and addresses the one that was reached.
    pub fn conninfo(&self) -> &ConnInfo {
        &self.conninfo
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.wire.plug().tls().is_some()
    }

    /// Has `listener` called with each notice of the server; else they are ignored.
    pub fn on_notice(&mut self, listener: impl FnMut(&ServerError) + Send + 'static) {
        self.on_notice = Some(Box::new(listener));
    }

    /// Has the data of every later COPY come and go in this encoding, as PostgreSQL names it, while queries stay in
    /// `client_encoding`: text then passes byte by byte where both are the server's own, and queries are still UTF-8.
    pub fn encode_copies_as(&mut self, encoding: &str) {
        let usual = self.parameter("client_encoding") == Some(encoding);
        self.copy_encoding = (!usual).then(|| encoding.to_owned());
    }

    /// What can cancel this session's command from another thread.
    pub fn canceller(&self) -> Canceller {
        Canceller::new(self.conninfo.clone(), self.is_encrypted(), self.backend)
    }

    /// Runs one or several statements, and returns the last command tag: `INSERT 0 5`; rows are thrown away. Several statements
    /// are one transaction, unless they say otherwise.
    ///
    /// # Errors
    /// [`Error::Server`] if a statement fails, and as any call on a broken connection.
    pub fn execute(&mut self, sql: &str) -> Result<String, Error> {
        Ok(self.run(sql)?.0)
    }

    /// Runs one or several statements, and returns the rows of the last that has any, as text.
    ///
    /// # Errors
    /// [`Error::Server`] if a statement fails; [`Error::Config`] if a value is not UTF-8; and as any call on a broken connection.
    pub fn query(&mut self, sql: &str) -> Result<Rows, Error> {
        Ok(self.run(sql)?.1)
    }

    /// Starts a `COPY … TO STDOUT`.
    ///
    /// # Errors
    /// [`Error::Server`] if it fails; [`Error::Protocol`] if it is no such statement; and as any call on a broken connection.
    pub fn copy_out(&mut self, sql: &str) -> Result<CopyOut<'_>, Error> {
        match self.start_copy(sql)? {
            Message::CopyOutResponse(body) => Ok(CopyOut::new(self, body.format() == 1)),
            other => Err(self.refuse(other, "COPY … TO STDOUT")),
        }
    }

    /// Starts a `COPY … FROM STDIN`.
    ///
    /// # Errors
    /// [`Error::Server`] if it fails; [`Error::Protocol`] if it is no such statement; and as any call on a broken connection.
    pub fn copy_in(&mut self, sql: &str) -> Result<CopyIn<'_>, Error> {
        match self.start_copy(sql)? {
            Message::CopyInResponse(body) => Ok(CopyIn::new(self, body.format() == 1)),
            other => Err(self.refuse(other, "COPY … FROM STDIN")),
        }
    }

    fn run(&mut self, sql: &str) -> Result<(String, Rows), Error> {
        self.start(sql)?;
        let (mut tag, mut rows, mut unusable) = (String::new(), Rows::default(), None);
        loop {
            match self.answer()? {
                Message::CommandComplete(body) => tag = self.sound(body.tag())?.to_owned(),
                Message::RowDescription(body) => {
                    let names = body.fields().map(|field| Ok(field.name().to_owned())).collect();
                    rows = Rows::new(self.sound(names)?);
                }
                Message::DataRow(body) => {
                    let ranges: Vec<_> = self.sound(body.ranges().collect())?;
                    if let Err(error) = rows.push(body.buffer(), ranges.into_iter()) {
                        // The session is fine: only this answer cannot be used.
                        unusable = Some(error);
                    }
                }
                Message::ReadyForQuery(body) => {
                    self.ready(body.status());
                    return unusable.map_or(Ok((tag, rows)), Err);
                }
                Message::EmptyQueryResponse => {}
                other => return Err(self.refuse(other, "a query")),
            }
        }
    }

    /// Sends a COPY, and returns the answer to it. Another encoding is set and reset around it within the one message, whose text
    /// the server has read in the session's encoding by then; the `ENCODING` option does not hold for binary data.
    fn start_copy(&mut self, sql: &str) -> Result<Message, Error> {
        let Some(encoding) = &self.copy_encoding else {
            self.start(sql)?;
            return self.answer();
        };
        let usual = self.parameter("client_encoding").unwrap_or("UTF8");
        self.start(&format!("SET client_encoding = '{encoding}'; {sql}; SET client_encoding = '{usual}'"))?;
        match self.answer()? {
            Message::CommandComplete(_) => self.answer(),
            other => Ok(other),
        }
    }

    /// Sends a query.
    pub(super) fn start(&mut self, sql: &str) -> Result<(), Error> {
        self.check()?;
        let mut bytes = BytesMut::with_capacity(sql.len() + 6);
        if frontend::query(sql, &mut bytes).is_err() {
            return Err(Error::protocol("a statement with a zero byte, or longer than 1 GiB, cannot be sent"));
        }
        self.send(&bytes)
    }

    /// Sends a message.
    pub(super) fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        let sent = self.guard(|session| session.wire.send(message));
        sent.map_err(|error| self.last_words(error))
    }

    /// What the server said before it hung up, or else `error`, which says less.
    fn last_words(&mut self, error: Error) -> Error {
        // It has hung up, but perhaps not without a word.
        drop(self.wire.put_by());
        while let Ok(Some(message)) = self.wire.message_held() {
            if let Message::ErrorResponse(body) = message {
                return ServerError::read(body.fields()).map_or(error, |said| Error::Server(Box::new(said)));
            }
        }
        error
    }

    /// Refuses to go on with a broken session.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.broken {
            let message = format!("{}: the session broke earlier", self.wire.place);
            return Err(Error::Unavailable { message, hint: "its first error says why" });
        }
        Ok(())
    }

    /// Marks the session broken if `step` fails.
    pub(super) fn guard<T>(&mut self, step: impl FnOnce(&mut Session) -> Result<T, Error>) -> Result<T, Error> {
        let result = step(self);
        self.broken |= result.is_err();
        result
    }

    /// A part of a message that does not parse breaks the session.
    pub(super) fn sound<T>(&mut self, part: std::io::Result<T>) -> Result<T, Error> {
        part.map_err(|error| {
            self.broken = true;
            Error::protocol(format!("{}: {error}", self.wire.place))
        })
    }

    /// Takes the next message that belongs to a command: what comes at any time is dealt with here, and so are errors, after
    /// which the session is ready again.
    pub(super) fn answer(&mut self) -> Result<Message, Error> {
        loop {
            let message = self.guard(|session| session.wire.message())?;
            match self.aside(message)? {
                Some(Message::ErrorResponse(body)) => {
                    let error = self.sound(ServerError::read(body.fields()))?;
                    return Err(self.recover(error));
                }
                Some(message) => return Ok(message),
                None => {}
            }
        }
    }

    /// Deals with a message that may come at any time; returns any other.
    pub(super) fn aside(&mut self, message: Message) -> Result<Option<Message>, Error> {
        match message {
            Message::NoticeResponse(body) => {
                let notice = self.sound(ServerError::read(body.fields()))?;
                if let Some(listener) = &mut self.on_notice {
                    listener(&notice);
                }
            }
            Message::ParameterStatus(body) => {
                let (name, value) = (self.sound(body.name().map(Into::into))?, self.sound(body.value().map(Into::into))?);
                self.parameters.insert(name, value);
            }
            Message::NotificationResponse(_) => {}
            other => return Ok(Some(other)),
        }
        Ok(None)
    }

    /// After the server's error: reads on until it is ready again; after a fatal one the session is broken.
    pub(super) fn recover(&mut self, error: ServerError) -> Error {
        self.broken |= error.is_fatal() || self.await_ready().is_err();
        Error::Server(Box::new(error))
    }

    /// Reads on, whatever comes, until the server is ready again.
    pub(super) fn await_ready(&mut self) -> Result<(), Error> {
        loop {
            let message = self.guard(|session| session.wire.message())?;
            if let Some(Message::ReadyForQuery(body)) = self.aside(message)? {
                self.ready(body.status());
                return Ok(());
            }
        }
    }

    pub(super) fn ready(&mut self, status: u8) {
        self.status = match status {
            b'T' => TransactionStatus::Open,
            b'E' => TransactionStatus::Failed,
            _ => TransactionStatus::Idle,
        };
    }

    /// What the server sent is no answer to `what`.
    pub(super) fn refuse(&mut self, message: Message, what: &str) -> Error {
        if !matches!(message, Message::CommandComplete(_) | Message::RowDescription(_) | Message::EmptyQueryResponse) {
            // A COPY, most likely, that now waits for us.
            self.broken = true;
        } else if let Err(error) = self.await_ready() {
            return error;
        }
        Error::protocol(format!("{}: the statement was not {what}", self.wire.place))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.broken {
            let mut bytes = BytesMut::new();
            frontend::terminate(&mut bytes);
            // A good-bye: a server that is gone does not need it.
            drop(self.wire.send(&bytes));
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("conninfo", &self.conninfo)
            .field("backend_pid", &self.backend.process_id)
            .finish_non_exhaustive()
    }
}
