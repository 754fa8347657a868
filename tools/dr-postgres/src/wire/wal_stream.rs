//! Receiving WAL as the server writes it: `START_REPLICATION`, the one COPY that goes both ways.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use postgres_protocol::message::backend::{COPY_DATA_TAG, ERROR_RESPONSE_TAG, Message};

use super::replication::{position, quoted};
use super::session::Session;
use crate::Error;

/// What answers a `START_REPLICATION`, which postgres-protocol does not know.
const COPY_BOTH_RESPONSE_TAG: u8 = b'W';

/// The server sends 128 KiB of WAL at once at most (`MAX_SEND_SIZE`); a message longer than this is not believed.
const LONGEST: usize = 1 << 20;

/// How long a server may be silent when asked to end a stream.
const PATIENCE: Duration = Duration::from_secs(10);

/// From 1970, where Unix counts from, to 2000, where PostgreSQL does.
const EPOCH: Duration = Duration::from_secs(946_684_800);

/// What became of [`Session::stream_wal`].
#[derive(Debug)]
pub enum Streaming<'a> {
    /// WAL comes.
    Started(WalStream<'a>),
    /// The timeline ends just where it was asked for; it goes on as this one.
    Ended(NextTimeline),
}

/// The timeline that follows one that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextTimeline {
    /// Its number.
    pub timeline: u32,
    /// Where it begins, and the one before ends.
    pub from: u64,
}

/// A running stream of WAL. One that is dropped before its end breaks its session.
#[must_use = "a stream that is not ended breaks its session"]
pub struct WalStream<'a> {
    session: &'a mut Session,
    finished: bool,
}

/// What a server says while it streams.
#[derive(Debug, PartialEq, Eq)]
pub enum Streamed<'s> {
    /// Nothing came in time.
    Nothing,
    /// A stretch of WAL. It may cross the end of a segment.
    Wal {
        /// Where it begins.
        start: u64,
        /// How far the server's WAL goes.
        server_end: u64,
        /// When the server sent it, by its clock.
        sent_at: DateTime<Utc>,
        /// The bytes.
        bytes: &'s [u8],
    },
    /// A sign of life.
    Keepalive {
        /// How far the server's WAL goes.
        server_end: u64,
        /// When the server sent it, by its clock.
        sent_at: DateTime<Utc>,
        /// Whether the server wants to hear from us at once: it hangs up if it does not.
        reply_wanted: bool,
    },
    /// The timeline has ended: [`WalStream::finish`] says which comes next.
    TimelineEnd,
}

impl Session {
    /// Has the server stream the WAL of a timeline from `from` on, by way of a slot or none (`START_REPLICATION … PHYSICAL`).
    ///
    /// # Errors
    /// [`Error::Server`] where it cannot: 58P01 if that WAL is gone, 55006 if another uses the slot, 55000 if the slot was
    /// invalidated; and as any call on a broken connection.
    pub fn stream_wal(&mut self, slot: Option<&str>, timeline: u32, from: u64) -> Result<Streaming<'_>, Error> {
        let by_slot = slot.map(|name| format!("SLOT {} ", quoted(name))).unwrap_or_default();
        let (high, low) = (from >> 32, from & 0xffff_ffff);
        self.start(&format!("START_REPLICATION {by_slot}PHYSICAL {high:X}/{low:X} TIMELINE {timeline}"))?;
        loop {
            let header = self.guard(|session| session.wire.peek())?;
            if header.tag == COPY_BOTH_RESPONSE_TAG && header.length <= LONGEST {
                self.wire.skip_header();
                self.guard(|session| session.wire.hold(header.length))?;
                self.wire.take_held(header.length);
                return Ok(Streaming::Started(WalStream { session: self, finished: false }));
            }
            if header.tag == b'T' {
                let next = self.next_timeline()?;
                return next.map(Streaming::Ended).ok_or_else(|| Error::protocol("a stream ended before it began"));
            }
            // A notice, or the error why not: nothing else is an answer.
            let message = self.guard(|session| session.wire.message())?;
            match self.aside(message)? {
                None => {}
                Some(Message::ErrorResponse(body)) => {
                    let error = self.sound(crate::error::ServerError::read(body.fields()))?;
                    return Err(self.recover(error));
                }
                Some(other) => return Err(self.refuse(other, "START_REPLICATION")),
            }
        }
    }

    /// What follows the end of a stream, until the server is ready again: a row where the timeline has ended.
    fn next_timeline(&mut self) -> Result<Option<NextTimeline>, Error> {
        let mut next = None;
        loop {
            match self.answer()? {
                Message::DataRow(body) => {
                    let ranges: Vec<_> = self.sound(fallible_iterator::FallibleIterator::collect(body.ranges()))?;
                    let text = |at: usize| {
                        let range = ranges.get(at).cloned().flatten()?;
                        std::str::from_utf8(&body.buffer()[range]).ok()
                    };
                    let timeline = text(0).and_then(|text| text.parse().ok()).ok_or("the next timeline has no number");
                    let row = timeline
                        .map_err(Error::protocol)
                        .and_then(|timeline| Ok(NextTimeline { timeline, from: position(text(1).unwrap_or_default())? }));
                    next = Some(self.guard(|_| row)?);
                }
                Message::ReadyForQuery(body) => {
                    self.ready(body.status());
                    return Ok(next);
                }
                // The server says twice that the command is complete.
                Message::RowDescription(_) | Message::CommandComplete(_) => {}
                other => return Err(self.refuse(other, "START_REPLICATION")),
            }
        }
    }
}

impl WalStream<'_> {
    /// The next thing the server says, waiting for it at most `limit`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the server ends the stream, as it does when it is shut down; [`Error::Server`] with what it
    /// says before it hangs up; [`Error::Protocol`].
    pub fn next(&mut self, limit: Duration) -> Result<Streamed<'_>, Error> {
        self.session.check()?;
        let Some(length) = self.data(limit)? else { return Ok(Streamed::Nothing) };
        let Some(length) = length else { return Ok(Streamed::TimelineEnd) };
        let place = self.session.wire.place.clone();
        self.session.wire.skip_header();
        let body = self.session.wire.take_held(length);
        let parsed = parse(body);
        if parsed.is_none() {
            self.session.broken = true;
        }
        parsed.ok_or_else(|| Error::protocol(format!("{place}: an unexpected message in a stream of WAL")))
    }

    /// Waits for a whole message of data: the length of its body. The inner none is the end of the timeline.
    fn data(&mut self, limit: Duration) -> Result<Option<Option<usize>>, Error> {
        let mut waited = false;
        loop {
            let session = &mut *self.session;
            let header = session.guard(|session| session.wire.peek_held())?;
            let Some(header) = header.filter(|header| session.wire.held() >= 5 + header.length || header.length > LONGEST) else {
                let wait = if waited { Duration::ZERO } else { limit };
                waited = true;
                match session.guard(|session| session.wire.listen(wait)) {
                    Ok(true) => continue,
                    Ok(false) => return Ok(None),
                    Err(error) => return Err(self.last_words(error)),
                }
            };
            if header.length > LONGEST {
                session.broken = true;
                return Err(Error::protocol(format!("{}: a message of {} bytes", session.wire.place, header.length)));
            }
            if header.tag == COPY_DATA_TAG {
                return Ok(Some(Some(header.length)));
            }
            let message = session.guard(|session| session.wire.message())?;
            match session.aside(message)? {
                None => {}
                Some(Message::CopyDone) => {
                    self.finished = true;
                    return Ok(Some(None));
                }
                Some(Message::ErrorResponse(body)) => {
                    let error = session.sound(crate::error::ServerError::read(body.fields()))?;
                    self.finished = true;
                    return Err(session.recover(error));
                }
                // "COPY 0" without CopyDone before it: what a server that shuts down says.
                Some(Message::CommandComplete(_)) => {
                    session.broken = true;
                    let message = format!("{}: the server ended the stream", session.wire.place);
                    return Err(Error::Unavailable { message, hint: "it was shut down, most likely: its log says why" });
                }
                Some(_) => {
                    session.broken = true;
                    return Err(Error::protocol(format!("{}: an unexpected message in a stream of WAL", session.wire.place)));
                }
            }
        }
    }

    /// What the server has said before it hung up, or else `error`.
    fn last_words(&mut self, error: Error) -> Error {
        while let Ok(Some(header)) = self.session.wire.peek_held() {
            if self.session.wire.held() < 5 + header.length {
                break;
            }
            if header.tag == COPY_DATA_TAG {
                self.session.wire.skip_header();
                self.session.wire.take_held(header.length);
                continue;
            }
            match self.session.wire.message() {
                Ok(Message::ErrorResponse(body)) if header.tag == ERROR_RESPONSE_TAG => {
                    return crate::error::ServerError::read(body.fields()).map_or(error, |said| Error::Server(Box::new(said)));
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        error
    }

    /// Tells the server how far WAL is written here, and how far it is safe; what is safe counts as applied, too. With
    /// `reply_wanted` the server answers at once.
    ///
    /// # Errors
    /// As any call on a broken connection.
    pub fn report(&mut self, written: u64, flushed: u64, reply_wanted: bool) -> Result<(), Error> {
        self.session.check()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH + EPOCH).unwrap_or_default();
        let mut message = vec![COPY_DATA_TAG];
        message.extend(38_i32.to_be_bytes());
        message.push(b'r');
        for number in [written, flushed, flushed, u64::try_from(now.as_micros()).unwrap_or(u64::MAX)] {
            message.extend(number.to_be_bytes());
        }
        message.push(reply_wanted.into());
        self.session.guard(|session| session.wire.send(&message)).map_err(|error| self.last_words(error))
    }

    /// Ends the stream from our side, or answers its end; WAL that still comes is thrown away. The next timeline, where this
    /// one has ended.
    ///
    /// # Errors
    /// As [`WalStream::next`].
    pub fn finish(mut self) -> Result<Option<NextTimeline>, Error> {
        self.session.check()?;
        let over = std::mem::replace(&mut self.finished, true);
        self.session.guard(|session| session.wire.send(b"c\0\0\0\x04"))?;
        if !over {
            loop {
                match self.next(PATIENCE)? {
                    Streamed::TimelineEnd => break,
                    Streamed::Nothing => {
                        self.session.broken = true;
                        return Err(self.session.wire.lost(&std::io::ErrorKind::TimedOut.into()));
                    }
                    Streamed::Wal { .. } | Streamed::Keepalive { .. } => {}
                }
            }
        }
        self.session.next_timeline()
    }
}

impl Drop for WalStream<'_> {
    fn drop(&mut self) {
        self.session.broken |= !self.finished;
    }
}

impl std::fmt::Debug for WalStream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WalStream").field("session", &self.session).finish_non_exhaustive()
    }
}

/// Reads the body of a CopyData message: `w` is WAL, `k` a sign of life.
fn parse(body: &[u8]) -> Option<Streamed<'_>> {
    let number = |at: usize| body.get(at..at + 8)?.try_into().map(u64::from_be_bytes).ok();
    // Microseconds since 2000, and negative before.
    let moment = |at: usize| {
        let epoch = i64::try_from(EPOCH.as_micros()).ok()?;
        number(at)?.cast_signed().checked_add(epoch).and_then(DateTime::from_timestamp_micros)
    };
    match body.first()? {
        b'w' => Some(Streamed::Wal { start: number(1)?, server_end: number(9)?, sent_at: moment(17)?, bytes: body.get(25..)? }),
        b'k' => Some(Streamed::Keepalive { server_end: number(1)?, sent_at: moment(9)?, reply_wanted: *body.get(17)? != 0 }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_read_and_what_is_cut_short_is_not() {
        let mut wal = vec![b'w'];
        wal.extend([1_u64, 2, 3].map(u64::to_be_bytes).concat());
        assert_eq!(parse(&wal[..24]), None);
        let sent_at = "2000-01-01T00:00:00.000003Z".parse().expect("a moment");
        assert_eq!(parse(&wal), Some(Streamed::Wal { start: 1, server_end: 2, sent_at, bytes: b"" }));
        wal.extend(b"xy");
        assert_eq!(parse(&wal), Some(Streamed::Wal { start: 1, server_end: 2, sent_at, bytes: b"xy" }));
        let mut alive = vec![b'k'];
        alive.extend([7_u64, 3].map(u64::to_be_bytes).concat());
        assert_eq!(parse(&alive), None);
        alive.push(1);
        assert_eq!(parse(&alive), Some(Streamed::Keepalive { server_end: 7, sent_at, reply_wanted: true }));
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"z"), None);
    }
}
