//! Rows on their way out of a server: fingerprinted one by one, and cut into pieces at row boundaries.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use dr_pipe::{Exit, Failure};
use sha2::Digest;

use crate::Error;
use crate::binary::{LineDigest, Lines};
use crate::fingerprint::RowSum;
use crate::relations::Relation;
use crate::wire::{CopyOut, WHOLE_BODY_MAX};

/// The form rows are copied in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// COPY's text format: lasts, and every release reads it.
    Text,
    /// COPY's binary format: for values that have no text form below 1 GB, and for speed.
    Binary,
}

impl Format {
    /// The file name suffix of pieces in this format.
    pub fn suffix(self) -> &'static str {
        match self {
            Format::Text => "copy",
            Format::Binary => "bin",
        }
    }
}

/// What rows belong to.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// A table.
    Table(&'a Relation),
    /// The large objects of the database.
    LargeObjects,
}

/// Takes the pieces that rows are cut into. Called by many threads at once.
pub trait Sink: Sync {
    /// How many bytes a piece should have; none where nobody wants the rows themselves.
    fn piece_bytes(&self) -> Option<usize>;

    /// Takes a piece of whole rows, complete in itself: binary ones have their header and trailer.
    ///
    /// # Errors
    /// Whatever keeps it from being taken; the reading stops then.
    fn piece(&self, origin: Origin<'_>, format: Format, rows: u64, bytes: &[u8]) -> Result<(), Failure>;

    /// Takes a piece of one row that is too large to be held in memory: exactly `bytes` bytes come from `source`.
    ///
    /// # Errors
    /// As [`Sink::piece`].
    fn huge(&self, origin: Origin<'_>, format: Format, bytes: u64, source: &mut dyn Read) -> Result<(), Failure>;
}

/// Wants no rows, only their fingerprint.
pub struct NoSink;

impl Sink for NoSink {
    fn piece_bytes(&self) -> Option<usize> {
        None
    }

    fn piece(&self, _: Origin<'_>, _: Format, _: u64, _: &[u8]) -> Result<(), Failure> {
        Ok(())
    }

    fn huge(&self, _: Origin<'_>, _: Format, _: u64, _: &mut dyn Read) -> Result<(), Failure> {
        Ok(())
    }
}

/// A row beyond this size is streamed instead of held, in bytes.
const HELD_ROW_BYTES: usize = 8 << 20;

/// Signature, flags and length of header extension (PostgreSQL manual, COPY, Binary Format).
pub const BINARY_HEADER: [u8; 19] = *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The count of columns that ends all rows.
pub const BINARY_TRAILER: [u8; 2] = [0xff, 0xff];

/// Why a copy ended early.
pub(crate) enum Interruption {
    /// The server's side.
    Server(Error),
    /// Ours.
    Failure(Failure),
}

impl From<Error> for Interruption {
    fn from(error: Error) -> Self {
        Interruption::Server(error)
    }
}

impl From<Failure> for Interruption {
    fn from(failure: Failure) -> Self {
        Interruption::Failure(failure)
    }
}

/// Reads rows of one origin and hands their pieces on.
pub(crate) struct RowReader<'a, S: Sink> {
    pub sink: &'a S,
    pub origin: Origin<'a>,
    /// Set when another worker has failed.
    pub stop: &'a AtomicBool,
    /// Told of every byte that was read.
    pub progress: &'a dr_pipe::progress::Progress,
    piece: Vec<u8>,
    piece_rows: u64,
}

impl<'a, S: Sink> RowReader<'a, S> {
    pub fn new(
        sink: &'a S,
        origin: Origin<'a>,
        stop: &'a AtomicBool,
        progress: &'a dr_pipe::progress::Progress,
        buffer: Vec<u8>,
    ) -> Self {
        RowReader { sink, origin, stop, progress, piece: buffer, piece_rows: 0 }
    }

    /// Gives the piece buffer back for the next reader.
    pub fn into_buffer(mut self) -> Vec<u8> {
        self.piece.clear();
        self.piece
    }

    /// Reads text rows to the end. What `sum` and `taken` say is true also where it ends early: so many rows, in the
    /// server's order, were read whole and handed on.
    pub fn text(&mut self, copy: &mut CopyOut<'_>, sum: &mut RowSum) -> Result<(), Interruption> {
        let result = self.text_rows(copy, sum);
        // Rows that came before the server's error are good rows: they are kept, and reading goes on behind them.
        if !matches!(result, Err(Interruption::Failure(_))) {
            self.flush(Format::Text)?;
        }
        result
    }

    fn text_rows(&mut self, copy: &mut CopyOut<'_>, sum: &mut RowSum) -> Result<(), Interruption> {
        let target = self.sink.piece_bytes();
        while let Some(bytes) = copy.next_message()? {
            self.step(bytes)?;
            if bytes > HELD_ROW_BYTES {
                self.flush(Format::Text)?;
                let mut row = HugeRow::new(copy, bytes, Form::Line(sha2::Sha256::new()));
                match target {
                    Some(_) => {
                        self.sink.huge(self.origin, Format::Text, bytes as u64, &mut row).map_err(|failure| row.failure(failure))?
                    }
                    None => row.drain()?,
                }
                sum.add_digest(row.digest()?);
                continue;
            }
            let before = self.piece.len();
            append_body(copy, bytes, &mut self.piece)?;
            let line = &self.piece[before..];
            sum.add_row(line.strip_suffix(b"\n").unwrap_or(line));
            match target {
                None => self.piece.clear(),
                Some(target) => {
                    self.piece_rows += 1;
                    if self.piece.len() >= target {
                        self.flush(Format::Text)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads binary rows to the end; gives their number. With `lines` the lines of their text are digested.
    pub fn binary(&mut self, copy: &mut CopyOut<'_>, mut lines: Option<&mut Lines<'_>>) -> Result<u64, Interruption> {
        let mut rows = 0;
        let (mut header, mut ended) = (true, false);
        while let Some(mut bytes) = copy.next_message()? {
            self.step(bytes)?;
            if std::mem::take(&mut header) {
                take_header(copy, bytes)?;
                bytes -= BINARY_HEADER.len();
            }
            if bytes == 0 {
                continue;
            }
            if ended {
                return Err(malformed("goes on behind its end").into());
            }
            if bytes > HELD_ROW_BYTES {
                self.huge_binary(copy, bytes, lines.as_deref_mut())?;
                rows += 1;
                continue;
            }
            let before = self.piece.len();
            append_body(copy, bytes, &mut self.piece)?;
            let row = &self.piece[before..];
            if row == BINARY_TRAILER {
                self.piece.truncate(before);
                ended = true;
                continue;
            }
            if let Some(lines) = &mut lines {
                lines.add(row).map_err(|odd| odd.failure(self.columns()))?;
            }
            if before == 0 {
                self.piece.splice(0..0, BINARY_HEADER);
            }
            rows += 1;
            self.piece_rows += 1;
            if self.piece.len() >= self.sink.piece_bytes().unwrap_or(0) {
                self.flush(Format::Binary)?;
            }
        }
        if !ended {
            return Err(malformed("has no end").into());
        }
        self.flush(Format::Binary)?;
        Ok(rows)
    }

    fn huge_binary(&mut self, copy: &mut CopyOut<'_>, bytes: usize, lines: Option<&mut Lines<'_>>) -> Result<(), Interruption> {
        self.flush(Format::Binary)?;
        let total = BINARY_HEADER.len() + bytes + BINARY_TRAILER.len();
        let form = lines.as_ref().map_or(Form::Any, |lines| Form::Binary(Box::new(LineDigest::new(lines.kinds)), self.columns()));
        let mut row = HugeRow::new(copy, bytes, form);
        if self.sink.piece_bytes().is_some() {
            let mut whole = BINARY_HEADER.chain(&mut row).chain(&BINARY_TRAILER[..]);
            let taken = self.sink.huge(self.origin, Format::Binary, total as u64, &mut whole);
            taken.map_err(|failure| row.failure(failure))?;
        } else {
            row.drain()?;
        }
        if let Some(lines) = lines {
            lines.sum.add_digest(row.digest()?);
        }
        Ok(())
    }

    fn columns(&self) -> &'a [String] {
        if let Origin::Table(relation) = self.origin { &relation.columns } else { &[] }
    }

    fn flush(&mut self, format: Format) -> Result<(), Failure> {
        if self.piece_rows > 0 {
            if format == Format::Binary {
                self.piece.extend_from_slice(&BINARY_TRAILER);
            }
            self.sink.piece(self.origin, format, self.piece_rows, &self.piece)?;
        }
        self.piece.clear();
        self.piece_rows = 0;
        Ok(())
    }

    fn step(&self, bytes: usize) -> Result<(), Failure> {
        self.progress.add(bytes as u64);
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failure::new(Exit::Bug, "stopped, as another worker failed", "the other failure is the one to look at"));
        }
        Ok(())
    }
}

/// What a row is digested as, on its way through.
enum Form<'k> {
    /// A line of text: all of it but its newline.
    Line(sha2::Sha256),
    /// Binary: the line of text that it stands for. The names of the columns, too.
    Binary(Box<LineDigest<'k>>, &'k [String]),
    /// Whatever it is: nothing.
    Any,
}

/// A row streamed out of the current message.
struct HugeRow<'c, 's, 'k> {
    copy: &'c mut CopyOut<'s>,
    left: usize,
    form: Form<'k>,
    error: Option<Interruption>,
}

impl<'c, 's, 'k> HugeRow<'c, 's, 'k> {
    fn new(copy: &'c mut CopyOut<'s>, bytes: usize, form: Form<'k>) -> Self {
        HugeRow { copy, left: bytes, form, error: None }
    }

    fn digest(self) -> Result<[u8; 32], Failure> {
        match self.form {
            Form::Line(hash) => Ok(hash.finalize().into()),
            Form::Binary(line, columns) => line.finish().map_err(|odd| odd.failure(columns)),
            Form::Any => Ok([0; 32]),
        }
    }

    fn drain(&mut self) -> Result<(), Interruption> {
        let mut buf = vec![0; dr_pipe::stream::CHUNK_BYTES];
        loop {
            match self.read(&mut buf) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(self.failure(Failure::io("reading a row", &error))),
            }
        }
    }

    /// What stopped the reading: what is wrong on the server's side where there was something, else the sink's failure.
    fn failure(&mut self, failure: Failure) -> Interruption {
        self.error.take().unwrap_or(Interruption::Failure(failure))
    }

    fn take(&mut self, buf: &mut [u8]) -> Result<usize, Interruption> {
        let n = self.copy.read_body(buf)?;
        self.left -= n;
        match &mut self.form {
            // The newline that ends the line is no part of the row.
            Form::Line(hash) => hash.update(&buf[..if self.left == 0 { n - 1 } else { n }]),
            Form::Binary(line, columns) => line.update(&buf[..n]).map_err(|odd| odd.failure(columns))?,
            Form::Any => {}
        }
        Ok(n)
    }
}

impl Read for HugeRow<'_, '_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(self.left);
        if want == 0 {
            return Ok(0);
        }
        self.take(&mut buf[..want]).map_err(|interruption| {
            let text = match &interruption {
                Interruption::Server(error) => error.to_string(),
                Interruption::Failure(failure) => failure.message.clone(),
            };
            self.error = Some(interruption);
            io::Error::other(text)
        })
    }
}

/// Takes the header of a binary COPY off its first message, which has `bytes` bytes.
pub(crate) fn take_header(copy: &mut CopyOut<'_>, bytes: usize) -> Result<(), Interruption> {
    let mut found = [0; BINARY_HEADER.len()];
    if bytes >= found.len() {
        read_exact(copy, &mut found)?;
    }
    if found == BINARY_HEADER { Ok(()) } else { Err(malformed("has an unknown header").into()) }
}

fn malformed(how: &str) -> Failure {
    Failure::new(Exit::Protocol, format!("COPY in binary format {how}"), "is the server a fork of PostgreSQL?")
}

/// Appends the rest of the current body, `bytes` long, to `to`.
fn append_body(copy: &mut CopyOut<'_>, bytes: usize, to: &mut Vec<u8>) -> Result<(), Error> {
    if bytes <= WHOLE_BODY_MAX {
        to.extend_from_slice(copy.body()?);
        return Ok(());
    }
    let before = to.len();
    to.resize(before + bytes, 0);
    read_exact(copy, &mut to[before..])
}

/// Fills `buf` from the current body.
pub(crate) fn read_exact(copy: &mut CopyOut<'_>, mut buf: &mut [u8]) -> Result<(), Error> {
    while !buf.is_empty() {
        let n = copy.read_body(buf)?;
        if n == 0 {
            return Err(Error::Protocol { message: "a COPY message is shorter than its content says".into() });
        }
        buf = &mut buf[n..];
    }
    Ok(())
}
