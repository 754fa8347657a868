//! The digest of the line of a row that comes in parts, as it is too large to be held.

use sha2::{Digest, Sha256};

use super::{Kind, Odd, WRONG_LENGTH, append_value, fixed, hold_count, length_of, numeric, text};

/// Takes a row part by part. Text and bytes are digested as they come, all else once a value is whole.
pub struct LineDigest<'k> {
    kinds: &'k [Kind],
    hash: Sha256,
    /// The column that is read, or comes next.
    column: usize,
    /// What is read now, and how much of it is still to come.
    state: State,
    left: usize,
    /// The parts so far of what must be whole.
    held: Vec<u8>,
    text: Vec<u8>,
}

#[derive(Clone, Copy)]
enum State {
    /// The count of columns.
    Count,
    /// The length of a value.
    Length,
    /// A value that must be whole.
    Value,
    /// The version of a jsonb, before its text of so many bytes.
    Version(usize),
    /// Text that is escaped.
    Text,
    /// Bytes that become hexadecimal.
    Bytes,
    /// Nothing: all columns are read.
    End,
}

impl<'k> LineDigest<'k> {
    /// Of nothing yet, for columns of these kinds.
    pub fn new(kinds: &'k [Kind]) -> Self {
        let (hash, held, text) = (Sha256::new(), Vec::new(), Vec::new());
        LineDigest { kinds, hash, column: 0, state: State::Count, left: 2, held, text }
    }

    /// Takes the next part of the row.
    ///
    /// # Errors
    /// What is not as PostgreSQL sends it.
    pub fn update(&mut self, mut part: &[u8]) -> Result<(), Odd> {
        while !part.is_empty() {
            if matches!(self.state, State::End) {
                return Err(Odd::row("it goes on behind its last column"));
            }
            let (now, later) = part.split_at(part.len().min(self.left));
            part = later;
            self.left -= now.len();
            self.text.clear();
            match self.state {
                State::Text => text::escape(now, &mut self.text),
                State::Bytes => text::hex(now, &mut self.text),
                _ => self.held.extend_from_slice(now),
            }
            self.hash.update(&self.text);
            // A value without bytes is at its end as soon as its length is read.
            while self.left == 0 && !matches!(self.state, State::End) {
                let column = (!matches!(self.state, State::Count)).then_some(self.column);
                self.step().map_err(|what| Odd { column, what })?;
            }
        }
        Ok(())
    }

    /// The digest of the line, once the row was whole.
    ///
    /// # Errors
    /// Where it was not.
    pub fn finish(self) -> Result<[u8; 32], Odd> {
        match self.state {
            State::End => Ok(self.hash.finalize().into()),
            _ => Err(Odd::row("it ends too early")),
        }
    }

    /// Goes on to what comes behind something whole.
    fn step(&mut self) -> Result<(), &'static str> {
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Count => {
                hold_count(fixed(&held)?, self.kinds).map_err(|odd| odd.what)?;
                self.expect_column();
                return Ok(());
            }
            State::Length => match length_of(fixed(&held)?)? {
                None => self.hash.update(text::NULL),
                Some(length) => {
                    self.begin(length)?;
                    return Ok(());
                }
            },
            State::Version(left) => {
                text::of_jsonb(&held)?;
                (self.state, self.left) = (State::Text, left);
                return Ok(());
            }
            State::Value => {
                self.text.clear();
                append_value(self.kinds[self.column], &held, &mut self.text)?;
                self.hash.update(&self.text);
            }
            State::Text | State::Bytes | State::End => {}
        }
        self.column += 1;
        self.expect_column();
        Ok(())
    }

    /// Begins a value of `length` bytes.
    fn begin(&mut self, length: usize) -> Result<(), &'static str> {
        (self.state, self.left) = match self.kinds[self.column] {
            Kind::Text | Kind::Name => (State::Text, length),
            Kind::Bytea => {
                self.hash.update(text::HEX);
                (State::Bytes, length)
            }
            Kind::Jsonb => (State::Version(length.checked_sub(1).ok_or(text::UNKNOWN_JSONB)?), 1),
            _ if length > numeric::MAX_BYTES => return Err(WRONG_LENGTH),
            _ => (State::Value, length),
        };
        Ok(())
    }

    fn expect_column(&mut self) {
        (self.state, self.left) = match self.column {
            end if end == self.kinds.len() => (State::End, 0),
            column => {
                if column > 0 {
                    self.hash.update(b"\t");
                }
                (State::Length, 4)
            }
        };
    }
}
