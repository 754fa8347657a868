//! Sending a `COPY … FROM STDIN`: whatever is written becomes its data.

use std::io::{self, Write};

use bytes::BytesMut;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;

use super::session::Session;
use crate::Error;
use crate::error::ServerError;

/// How much is gathered before it is sent: a CopyData message of this size, header included.
const FRAME: usize = 256 * 1024;

/// A write of at least this size goes out without being copied first.
const LARGE: usize = 64 * 1024;

/// The largest CopyData message that is sent.
const FRAME_MAX: usize = 1 << 20;

const HEADER: usize = 5;

/// A running `COPY … FROM STDIN`. Only [`CopyIn::finish`] makes it good; dropped before, it fails, and the rows are not there.
///
/// Writing fails with [`io::ErrorKind::Other`] once the server has refused the data; [`CopyIn::finish`] says why.
#[must_use = "a COPY that is not finished fails"]
pub struct CopyIn<'a> {
    session: &'a mut Session,
    binary: bool,
    /// The message being gathered: room for its header, then data.
    frame: Vec<u8>,
    failed: Option<Error>,
    ended: bool,
}

impl<'a> CopyIn<'a> {
    pub(super) fn new(session: &'a mut Session, binary: bool) -> Self {
        let mut frame = Vec::with_capacity(FRAME);
        frame.resize(HEADER, 0);
        CopyIn { session, binary, frame, failed: None, ended: false }
    }

    /// Whether the server expects the binary format.
    pub fn is_binary(&self) -> bool {
        self.binary
    }

    /// Sends what is left, and the end: how many rows the server has taken in.
    ///
    /// # Errors
    /// [`Error::Server`] if the server refuses the data, now or earlier (the session goes on); and as any call on a broken
    /// connection.
    pub fn finish(mut self) -> Result<u64, Error> {
        // What went wrong is kept, and said below.
        let sent = self.send_frame();
        self.ended = true;
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        sent.map_err(|error| Error::protocol(error.to_string()))?;
        let mut bytes = BytesMut::new();
        frontend::copy_done(&mut bytes);
        self.session.guard(|session| session.wire.send(&bytes))?;
        self.session.copy_tag()
    }

    fn fail(&mut self, reason: &str) -> Result<(), Error> {
        if std::mem::replace(&mut self.ended, true) || self.failed.is_some() {
            return Ok(());
        }
        self.session.check()?;
        let mut bytes = BytesMut::new();
        let said = frontend::copy_fail(&reason.replace('\0', " "), &mut bytes);
        self.session.sound(said)?;
        self.session.guard(|session| session.wire.send(&bytes))?;
        match self.session.answer() {
            // It says that we failed, which we know.
            Err(Error::Server(error)) if error.code == "57014" => Ok(()),
            Err(error) => Err(error),
            Ok(_) => {
                self.session.broken = true;
                Err(Error::protocol(format!("{}: a failed COPY went on", self.session.wire.place)))
            }
        }
    }

    /// Sends the message gathered so far, if it holds anything.
    fn send_frame(&mut self) -> io::Result<()> {
        if self.frame.len() == HEADER {
            return self.well();
        }
        let mut frame = std::mem::take(&mut self.frame);
        let head = header(frame.len() - HEADER);
        frame[..HEADER].copy_from_slice(&head);
        let sent = self.send(&frame);
        frame.truncate(HEADER);
        self.frame = frame;
        sent
    }

    /// Sends bytes, then hears whether the server has objections.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.well()?;
        let sent = self.session.guard(|session| session.wire.send(bytes));
        // Even where sending broke: the server's last words say more than "connection reset".
        let took = self.session.guard(|session| session.wire.put_by());
        let heard = self.listen();
        let sent = sent.and(took);
        self.failed = self.failed.take().or(heard.err()).or(sent.err());
        self.well()
    }

    /// Takes what the server has said so far.
    fn listen(&mut self) -> Result<(), Error> {
        while let Some(message) = self.session.wire.message_held()? {
            match self.session.aside(message)? {
                None => {}
                Some(Message::ErrorResponse(body)) => {
                    let error = self.session.sound(ServerError::read(body.fields()))?;
                    return Err(self.session.recover(error));
                }
                Some(_) => {
                    self.session.broken = true;
                    return Err(Error::protocol(format!("{}: an unexpected message in a COPY", self.session.wire.place)));
                }
            }
        }
        Ok(())
    }

    fn well(&self) -> io::Result<()> {
        match &self.failed {
            Some(error) => Err(io::Error::other(error.to_string())),
            None if self.session.broken => Err(io::Error::other("the session is broken")),
            None => Ok(()),
        }
    }
}

impl Write for CopyIn<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() >= LARGE {
            self.send_frame()?;
            let piece = &bytes[..bytes.len().min(FRAME_MAX)];
            self.send(&header(piece.len()))?;
            self.send(piece)?;
            return Ok(piece.len());
        }
        if self.frame.len() + bytes.len() > FRAME {
            self.send_frame()?;
        }
        self.frame.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// Sends what was gathered to the server.
    fn flush(&mut self) -> io::Result<()> {
        self.send_frame()
    }
}

impl Drop for CopyIn<'_> {
    fn drop(&mut self) {
        if self.fail("abandoned").is_err() {
            self.session.broken = true;
        }
    }
}

/// The header of a CopyData message whose body has `length` bytes.
fn header(length: usize) -> [u8; HEADER] {
    let [a, b, c, d] = i32::try_from(length + 4).expect("a frame is small").to_be_bytes();
    [b'd', a, b, c, d]
}
