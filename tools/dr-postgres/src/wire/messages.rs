//! Messages over a [`Plug`]: a window of received bytes, cut into messages; and sending that never deadlocks.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::backend::Message;

use super::plug::Plug;
use crate::Error;

/// Room for received bytes that is kept; larger messages grow it, and it shrinks back.
const WINDOW: usize = 256 * 1024;

/// A message other than CopyData that says it is longer than this is not believed: no value exceeds 1 GiB.
const LONGEST: usize = (1 << 30) + (1 << 20);

/// How long a stream of rows may gather before it is read: what a server sends in that time fits into the socket's buffer, and
/// it sends 8 KiB at a time, each of which would wake us up.
const REST: Duration = Duration::from_micros(500);

/// While a server that does not read lets us read, at most so much is put by.
const SPILL: usize = 64 * 1024 * 1024;

/// Type byte and body length of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub tag: u8,
    pub length: usize,
}

/// A connection that speaks in messages.
#[derive(Debug)]
pub(super) struct Wire {
    plug: Plug,
    window: Vec<u8>,
    start: usize,
    end: usize,
    /// Whether more comes soon, so that it pays to let it gather.
    pub unhurried: bool,
    /// How the server is called in messages.
    pub place: String,
}

impl Wire {
    pub(super) fn new(plug: Plug, place: String) -> Self {
        Wire { plug, window: vec![0; WINDOW], start: 0, end: 0, unhurried: false, place }
    }

    pub(super) fn plug(&self) -> &Plug {
        &self.plug
    }

    pub(super) fn plug_mut(&mut self) -> &mut Plug {
        &mut self.plug
    }

    /// How many bytes have arrived and were not taken.
    pub(super) fn held(&self) -> usize {
        self.end - self.start
    }

    /// Sends all of `bytes`; puts by what arrives meanwhile.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut rest = bytes;
        loop {
            let step = if rest.is_empty() { self.plug.try_flush().map(|()| 0) } else { self.plug.try_write(rest) };
            match step {
                Ok(_) if rest.is_empty() => return Ok(()),
                Ok(0) | Err(_) if step.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) => {
                    return Err(self.lost(&step.expect_err("just seen")));
                }
                Ok(sent) if sent > 0 => rest = &rest[sent..],
                _ => {
                    self.plug.wait_writable_or_readable().map_err(|error| self.lost(&error))?;
                    self.put_by()?;
                }
            }
        }
    }

    /// Takes in what has arrived, without waiting; whether anything has.
    pub(super) fn put_by(&mut self) -> Result<bool, Error> {
        if self.held() >= SPILL {
            return Err(Error::protocol(format!("{} talks without listening", self.place)));
        }
        self.make_room(WINDOW / 2);
        match self.plug.try_read(&mut self.window[self.end..]) {
            Ok(0) => Err(self.hung_up()),
            Ok(received) => {
                self.end += received;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// Waits for something to arrive, at most `limit`, and takes it in; whether anything has arrived.
    pub(super) fn listen(&mut self, limit: Duration) -> Result<bool, Error> {
        // TLS may hold what the socket does not show any more: so reading comes first.
        let came = self.put_by()?;
        if came || limit.is_zero() {
            return Ok(came);
        }
        match self.plug.wait_readable(limit) {
            Ok(true) => self.put_by(),
            Ok(false) => Ok(false),
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// Waits until `wanted` bytes are held.
    fn fill(&mut self, wanted: usize) -> Result<(), Error> {
        while self.held() < wanted {
            // Grows with what really arrives, not with what is announced.
            self.make_room((wanted - self.held()).min(WINDOW));
            if self.unhurried && self.put_by()? {
                continue;
            }
            if self.unhurried {
                std::thread::park_timeout(REST);
            }
            match self.plug.read(&mut self.window[self.end..]) {
                Ok(0) => return Err(self.hung_up()),
                Ok(received) => self.end += received,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(&error)),
            }
        }
        Ok(())
    }

    /// Makes room for at least `wanted` more bytes.
    fn make_room(&mut self, wanted: usize) {
        if self.held() == 0 {
            (self.start, self.end) = (0, 0);
            if self.window.len() > 8 * WINDOW {
                self.window = vec![0; WINDOW];
            }
        }
        if self.window.len() - self.end >= wanted {
            return;
        }
        self.window.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.held());
        if self.window.len() - self.end < wanted {
            let size = (self.end + wanted).next_power_of_two();
            self.window.resize(size, 0);
        }
    }

    /// Waits for the next message's header; it stays in place.
    pub(super) fn peek(&mut self) -> Result<Header, Error> {
        self.fill(5)?;
        self.peek_held().map(|header| header.expect("five bytes are held"))
    }

    /// The next message's header, if it has arrived; it stays in place.
    pub(super) fn peek_held(&self) -> Result<Option<Header>, Error> {
        let held = &self.window[self.start..self.end];
        let Some((head, _)) = held.split_first_chunk::<5>() else { return Ok(None) };
        let [tag, length @ ..] = *head;
        match usize::try_from(i32::from_be_bytes(length)).ok().and_then(|length| length.checked_sub(4)) {
            Some(length) => Ok(Some(Header { tag, length })),
            None => Err(Error::protocol(format!("{}: a message of impossible length", self.place))),
        }
    }

    /// Skips the header that [`Wire::peek`] has shown.
    pub(super) fn skip_header(&mut self) {
        self.start += 5;
    }

    /// Waits until all `length` bytes of a body are held.
    pub(super) fn hold(&mut self, length: usize) -> Result<(), Error> {
        self.fill(length)
    }

    /// The next `length` bytes that are held; they stay in place.
    pub(super) fn show_held(&self, length: usize) -> &[u8] {
        &self.window[self.start..self.start + length]
    }

    /// Takes `length` bytes that are held, where they lie.
    pub(super) fn take_held(&mut self, length: usize) -> &[u8] {
        self.start += length;
        &self.window[self.start - length..self.start]
    }

    /// Reads some of a body straight into `buffer`, at least one byte.
    pub(super) fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        if self.held() == 0 && buffer.len() < WINDOW {
            self.fill(1)?;
        }
        if self.held() > 0 {
            let length = self.held().min(buffer.len());
            buffer[..length].copy_from_slice(&self.window[self.start..self.start + length]);
            self.start += length;
            return Ok(length);
        }
        match self.plug.read(buffer) {
            Ok(0) => Err(self.hung_up()),
            Ok(received) => Ok(received),
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// Waits for the next message and takes it.
    pub(super) fn message(&mut self) -> Result<Message, Error> {
        let header = self.peek()?;
        if header.length > LONGEST {
            return Err(Error::protocol(format!("{}: a message of {} bytes", self.place, header.length)));
        }
        self.fill(5 + header.length)?;
        self.take(header)
    }

    /// Takes the next message if all of it has arrived.
    pub(super) fn message_held(&mut self) -> Result<Option<Message>, Error> {
        match self.peek_held()? {
            Some(header) if self.held() >= 5 + header.length => self.take(header).map(Some),
            _ => Ok(None),
        }
    }

    fn take(&mut self, header: Header) -> Result<Message, Error> {
        let end = self.start + 5 + header.length;
        let mut bytes = BytesMut::from(&self.window[self.start..end]);
        self.start = end;
        match Message::parse(&mut bytes) {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(Error::protocol(format!("{}: a message without its end", self.place))),
            Err(error) => Err(Error::protocol(format!("{}: {error}", self.place))),
        }
    }

    /// One byte that is no message: the answer to an SSLRequest. Nothing may follow it (CVE-2021-23222).
    pub(super) fn lone_byte(&mut self) -> Result<u8, Error> {
        self.fill(1)?;
        let byte = self.window[self.start];
        self.start += 1;
        if byte == b'S' && self.held() > 0 {
            return Err(Error::protocol(format!("{}: received unencrypted data after SSL response", self.place)));
        }
        // An error message from a server too old to know, or too busy: put back.
        if byte == b'E' {
            self.start -= 1;
        }
        Ok(byte)
    }

    pub(super) fn lost(&self, error: &io::Error) -> Error {
        let (what, hint) = match error.kind() {
            io::ErrorKind::TimedOut => ("timeout expired", "is the server's host up, and no firewall in between?"),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => return self.hung_up(),
            _ => ("the connection broke", "see the network, and the server's log"),
        };
        Error::Unavailable { message: format!("{}: {what}: {error}", self.place), hint }
    }

    pub(super) fn hung_up(&self) -> Error {
        Error::Unavailable {
            message: format!("{}: server closed the connection unexpectedly", self.place),
            hint: "the server was stopped or crashed, or someone ended the session: its log says which",
        }
    }
}
