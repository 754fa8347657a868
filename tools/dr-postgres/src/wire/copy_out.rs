//! Receiving a `COPY … TO STDOUT`, message by message: in text format the server sends one row a message.

use postgres_protocol::message::backend::{COPY_DATA_TAG, Message};

use super::session::Session;
use crate::Error;
use crate::error::ServerError;

/// The longest message body that [`CopyOut::body`] gives in one piece: 1 MiB.
pub const WHOLE_BODY_MAX: usize = 1 << 20;

/// A stream that has come so far is read as it gathers, no longer as it comes.
const HURRIED_BYTES: u64 = 1 << 20;

/// A running `COPY … TO STDOUT`. One that is dropped before its end breaks its session, which costs nothing but the
/// connection, while reading to the end could take hours; cancel it first where that matters to the server.
#[must_use = "a COPY that is not read to its end breaks its session"]
pub struct CopyOut<'a> {
    session: &'a mut Session,
    binary: bool,
    /// How much of the current body has not been taken.
    left: usize,
    /// How much has come, in bytes.
    came: u64,
    rows: Option<u64>,
    finished: bool,
}

impl<'a> CopyOut<'a> {
    pub(super) fn new(session: &'a mut Session, binary: bool) -> Self {
        CopyOut { session, binary, left: 0, came: 0, rows: None, finished: false }
    }

    /// Whether the data comes in the binary format.
    pub fn is_binary(&self) -> bool {
        self.binary
    }

    /// Goes on to the next message, skipping what was not taken of the current one: the length of its body in bytes. None at the
    /// end, when the server has said how many rows there were and that it is ready again.
    ///
    /// # Errors
    /// [`Error::Server`] if the command fails on the way (the session goes on); else the session is broken.
    pub fn next_message(&mut self) -> Result<Option<usize>, Error> {
        if self.finished {
            return Ok(None);
        }
        self.session.check()?;
        self.skip_rest()?;
        loop {
            let header = self.session.guard(|session| session.wire.peek())?;
            if header.tag == COPY_DATA_TAG {
                self.session.wire.skip_header();
                self.left = header.length;
                self.came += header.length as u64;
                self.session.wire.unhurried = self.came > HURRIED_BYTES;
                return Ok(Some(header.length));
            }
            if self.ends()? {
                return Ok(None);
            }
        }
    }

    /// The whole body of the current message, as long as it is no longer than [`WHOLE_BODY_MAX`] and none of it was taken.
    ///
    /// # Errors
    /// [`Error::Protocol`] if it is longer; and as any call on a broken connection.
    pub fn body(&mut self) -> Result<&[u8], Error> {
        let length = std::mem::take(&mut self.left);
        if length > WHOLE_BODY_MAX {
            self.session.broken = true;
            return Err(Error::protocol(format!("a body of {length} bytes was asked for in one piece")));
        }
        self.session.guard(|session| session.wire.hold(length))?;
        Ok(self.session.wire.take_held(length))
    }

    /// Reads some of the current body into `buffer`, which is not empty: how many bytes, 0 at the body's end.
    ///
    /// # Errors
    /// As any call on a broken connection.
    pub fn read_body(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let length = buffer.len().min(self.left);
        if length == 0 {
            return Ok(0);
        }
        let read = self.session.guard(|session| session.wire.read_some(&mut buffer[..length]))?;
        self.left -= read;
        Ok(read)
    }

    /// How many rows the server says it has sent; 0 before the end.
    pub fn rows(&self) -> u64 {
        self.rows.unwrap_or(0)
    }

    fn skip_rest(&mut self) -> Result<(), Error> {
        // Most bodies are taken whole: then there is nothing to clear room for.
        if self.left == 0 {
            return Ok(());
        }
        let mut scratch = [0; 16 * 1024];
        while self.read_body(&mut scratch)? > 0 {}
        Ok(())
    }

    /// Deals with a message that is not data: whether it was the end.
    fn ends(&mut self) -> Result<bool, Error> {
        self.session.wire.unhurried = false;
        let message = self.session.guard(|session| session.wire.message())?;
        match self.session.aside(message)? {
            None => Ok(false),
            Some(Message::CopyDone) => {
                self.rows = Some(self.session.copy_tag()?);
                self.finished = true;
                Ok(true)
            }
            Some(Message::ErrorResponse(body)) => {
                let error = self.session.sound(ServerError::read(body.fields()))?;
                self.finished = true;
                Err(self.session.recover(error))
            }
            Some(_) => {
                self.session.broken = true;
                Err(Error::protocol(format!("{}: an unexpected message in a COPY", self.session.wire.place)))
            }
        }
    }
}

impl Drop for CopyOut<'_> {
    fn drop(&mut self) {
        self.session.broken |= !self.finished;
    }
}

impl Session {
    /// After CopyDone, of either side: the rows of `COPY n`, and the server ready again.
    pub(super) fn copy_tag(&mut self) -> Result<u64, Error> {
        let rows = match self.answer()? {
            Message::CommandComplete(body) => self.sound(body.tag())?.strip_prefix("COPY ").and_then(|rows| rows.parse().ok()),
            _ => None,
        };
        // An error still counts here: committing may fail.
        loop {
            match self.answer()? {
                Message::CommandComplete(_) => {}
                Message::ReadyForQuery(body) => break self.ready(body.status()),
                other => return Err(self.refuse(other, "a COPY by itself")),
            }
        }
        rows.ok_or_else(|| {
            self.broken = true;
            Error::protocol(format!("{}: a COPY ended without its row count", self.wire.place))
        })
    }
}
