//! The pieces that a member is cut into: one for each of its frames, filled by any thread.

use std::io::{Read, Write};
use std::ops::Range;
use std::sync::Arc;

use dr_pipe::stream::fill;

use crate::emitter::Filled;
use crate::frame::Packed;
use crate::layout::Layout;
use crate::toc::Member;
use crate::writer::{Options, Writer};
use crate::{Error, tar_header};

/// The pieces of one member, in order; see [`Writer::reserve`].
///
/// Each must be filled. Where one thread has several, it fills them in rising order, as the others wait for the lowest.
/// Dropping pieces unfilled, by an error or a panic, fails the writer for all threads.
pub struct Pieces<'w, W: Write + Send> {
    writer: &'w Writer<W>,
    layout: Layout,
    tickets: Range<u64>,
    first_ticket: u64,
    path: Arc<str>,
    rows: Option<u64>,
    bytes: u64,
}

impl<'w, W: Write + Send> Pieces<'w, W> {
    pub(crate) fn new(
        writer: &'w Writer<W>,
        layout: Layout,
        tickets: Range<u64>,
        path: &str,
        rows: Option<u64>,
        bytes: u64,
    ) -> Self {
        Pieces { writer, layout, first_ticket: tickets.start, tickets, path: path.into(), rows, bytes }
    }
}

impl<'w, W: Write + Send> Iterator for Pieces<'w, W> {
    type Item = Piece<'w, W>;

    fn next(&mut self) -> Option<Piece<'w, W>> {
        let ticket = self.tickets.next()?;
        let number = ticket - self.first_ticket;
        let mut member = None;
        if number == 0 {
            let offset = tar_header::encoded_bytes(&self.path, self.bytes);
            member = Some(Member { path: self.path.to_string(), frame: ticket, offset, bytes: self.bytes, rows: self.rows });
        }
        let padding = if self.tickets.is_empty() { tar_header::padding_bytes(self.bytes) } else { 0 };
        let ticket = Ticket { writer: self.writer, number: ticket, delivered: false };
        Some(Piece { ticket, path: Arc::clone(&self.path), range: self.layout.range(number), member, padding })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.tickets.end - self.tickets.start) as usize;
        (left, Some(left))
    }
}

impl<W: Write + Send> ExactSizeIterator for Pieces<'_, W> {}

impl<W: Write + Send> Drop for Pieces<'_, W> {
    fn drop(&mut self) {
        if !self.tickets.is_empty() {
            self.writer.turnstile.fail(&Error::Abandoned);
        }
    }
}

/// One piece of a member: the bytes of one frame.
pub struct Piece<'w, W: Write + Send> {
    ticket: Ticket<'w, W>,
    path: Arc<str>,
    range: Range<u64>,
    /// Only the first piece has it: then its frame begins with the member's header.
    member: Option<Member>,
    /// Only the last piece has any.
    padding: u64,
}

impl<W: Write + Send> Piece<'_, W> {
    /// The bytes of the member that go here.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Compresses the piece's bytes and delivers them.
    ///
    /// # Errors
    /// If `bytes` are not as many as [`Piece::range`] says, or any thread failed.
    pub fn deposit(self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() as u64 != self.range.end - self.range.start {
            let error = Error::SourceChanged { path: self.path.to_string() };
            return Err(self.ticket.give_up(error));
        }
        let packed = self.whole(bytes);
        self.deliver(packed)
    }

    /// Reads, compresses and delivers the piece's bytes; reads no more of `source` than these.
    ///
    /// # Errors
    /// If `source` fails or has less, or any thread failed.
    pub fn deposit_from(self, mut source: &mut dyn Read) -> Result<(), Error> {
        let packed = self.pack(&mut source);
        self.deliver(packed)
    }

    fn deliver(self, packed: Result<Packed, Error>) -> Result<(), Error> {
        match packed {
            Ok(frame) => self.ticket.deliver(Filled { frame, members: self.member.into_iter().collect() }),
            Err(error) => Err(self.ticket.give_up(error)),
        }
    }

    fn header(&self) -> Vec<u8> {
        let Options { taken_at_unix_seconds, .. } = self.ticket.writer.options;
        let header = self.member.as_ref().map(|member| tar_header::encode(&member.path, member.bytes, taken_at_unix_seconds));
        header.unwrap_or_default()
    }

    fn whole(&self, bytes: &[u8]) -> Result<Packed, Error> {
        let (header, padding) = (self.header(), &[0; 512][..self.padding as usize]);
        let press = &self.ticket.writer.press;
        match (header.is_empty(), padding.is_empty()) {
            (true, true) => press.frame(bytes.len() as u64)?.whole(bytes),
            _ => press.parts(&[&header, bytes, padding]),
        }
    }

    fn pack(&self, source: &mut impl Read) -> Result<Packed, Error> {
        let header = self.header();
        let bytes = self.range.end - self.range.start;
        let frame = self.ticket.writer.press.frame(header.len() as u64 + bytes + self.padding)?;
        frame.gathered(|raw| {
            raw.extend_from_slice(&header);
            let start = raw.len();
            raw.resize(start + bytes as usize, 0);
            if fill(source, &mut raw[start..]).map_err(|error| Error::io(&*self.path, error))? < bytes as usize {
                return Err(Error::SourceChanged { path: self.path.to_string() });
            }
            raw.extend_from_slice(&[0; 512][..self.padding as usize]);
            Ok(())
        })
    }
}

/// The right, and the duty, to deliver one frame.
pub(crate) struct Ticket<'w, W: Write + Send> {
    pub writer: &'w Writer<W>,
    pub number: u64,
    pub delivered: bool,
}

impl<W: Write + Send> Ticket<'_, W> {
    /// Delivers the frame.
    ///
    /// # Errors
    /// The first error of any thread.
    pub fn deliver(mut self, filled: Filled) -> Result<(), Error> {
        let press = &self.writer.press;
        self.writer.turnstile.deposit(self.number, filled, |emitter, filled| emitter.emit(filled).map(|room| press.reuse(room)))?;
        self.delivered = true;
        Ok(())
    }

    /// Fails all threads with `error`, and gives it back.
    pub fn give_up(self, error: Error) -> Error {
        self.writer.turnstile.fail(&error);
        error
    }
}

impl<W: Write + Send> Drop for Ticket<'_, W> {
    fn drop(&mut self) {
        if !self.delivered {
            self.writer.turnstile.fail(&Error::Abandoned);
        }
    }
}
