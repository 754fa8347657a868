//! The line of COPY text that a row of COPY binary stands for, and the way back: reading binary costs the server less, and the
//! fingerprint is that of the text all the same.
//!
//! Only for types whose binary form is the same in every release and names no OID, and whose text depends on nothing but the
//! settings that [`crate::settings`] makes. Every byte that is not as expected is an error: a wrong line would make a wrong
//! fingerprint, and a good backup would be taken for a bad one.

mod digits;
mod float;
mod moment;
mod numeric;
mod parse;
mod streamed;
#[cfg(test)]
mod tests;
pub(crate) mod text;

use dr_pipe::{Exit, Failure};
use sha2::Digest;

use crate::fingerprint::RowSum;
pub use parse::Parser;
pub use streamed::LineDigest;

/// How a column's binary form becomes text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `oid`: a number that means something in its own database only, as in text.
    Oid,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `numeric`
    Numeric,
    /// Whatever goes as its text in binary too: `text`, `varchar`, `char(n)`, `json`, enums.
    Text,
    /// `name`: text of 63 bytes at most.
    Name,
    /// `jsonb`: a version, then its text.
    Jsonb,
    /// `bytea`
    Bytea,
    /// `uuid`
    Uuid,
    /// `date`
    Date,
    /// `time`
    Time,
    /// `timestamp`
    Timestamp,
    /// `timestamptz`, in UTC.
    TimestampTz,
}

impl Kind {
    /// The kind of a type, domains resolved; none for a type that is read as text. The OIDs are those of `pg_type.dat`, the
    /// same in every release.
    pub fn of(oid: u32, is_enum: bool) -> Option<Kind> {
        Some(match oid {
            _ if is_enum => Kind::Text,
            16 => Kind::Bool,
            17 => Kind::Bytea,
            20 => Kind::Int8,
            21 => Kind::Int2,
            23 => Kind::Int4,
            26 => Kind::Oid,
            19 => Kind::Name,
            // text, json, char(n), varchar
            25 | 114 | 1042 | 1043 => Kind::Text,
            700 => Kind::Float4,
            701 => Kind::Float8,
            1082 => Kind::Date,
            1083 => Kind::Time,
            1114 => Kind::Timestamp,
            1184 => Kind::TimestampTz,
            1700 => Kind::Numeric,
            2950 => Kind::Uuid,
            3802 => Kind::Jsonb,
            _ => return None,
        })
    }
}

/// What is not as PostgreSQL sends it, and in which column, counted from 0; none for a row as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Odd {
    /// The column.
    pub column: Option<usize>,
    /// What is not as it should be.
    pub what: &'static str,
}

impl Odd {
    fn row(what: &'static str) -> Odd {
        Odd { column: None, what }
    }

    /// The failure of a table with these columns.
    pub fn failure(self, columns: &[String]) -> Failure {
        let whose =
            self.column.and_then(|column| columns.get(column)).map_or("a row".to_owned(), |name| format!("column {name:?}"));
        Failure::new(
            Exit::Protocol,
            format!("{whose} in binary format is not as PostgreSQL sends it: {}", self.what),
            "dump without --binary, and please report this; nothing was published",
        )
    }
}

const WRONG_LENGTH: &str = "a value of another length than its type has";

/// A row beyond this size is digested part by part, so that the line needs no memory of its own.
const LINE_ROW_BYTES: usize = 256 << 10;

/// The fingerprint of rows that come in binary.
pub struct Lines<'k> {
    /// The kinds of the columns.
    pub kinds: &'k [Kind],
    line: Vec<u8>,
    /// The sum so far.
    pub sum: RowSum,
}

impl<'k> Lines<'k> {
    /// Of no row yet, for columns of these kinds.
    pub fn new(kinds: &'k [Kind]) -> Self {
        Lines { kinds, line: Vec::new(), sum: RowSum::default() }
    }

    /// Adds a row without header and trailer.
    ///
    /// # Errors
    /// What is not as PostgreSQL sends it.
    pub fn add(&mut self, row: &[u8]) -> Result<(), Odd> {
        if row.len() > LINE_ROW_BYTES {
            let mut digest = LineDigest::new(self.kinds);
            row.chunks(dr_pipe::stream::CHUNK_BYTES).try_for_each(|part| digest.update(part))?;
            self.sum.add_digest(digest.finish()?);
            return Ok(());
        }
        self.line.clear();
        append_line(row, self.kinds, &mut self.line)?;
        self.sum.add_digest(sha2::Sha256::digest(&self.line).into());
        Ok(())
    }
}

/// Appends the line of a row, without a newline.
fn append_line(row: &[u8], kinds: &[Kind], to: &mut Vec<u8>) -> Result<(), Odd> {
    let (count, mut rest) = row.split_first_chunk().ok_or(Odd::row("it is shorter than a count of columns"))?;
    hold_count(*count, kinds)?;
    for (column, kind) in kinds.iter().enumerate() {
        let odd = |what| Odd { column: Some(column), what };
        if column > 0 {
            to.push(b'\t');
        }
        let (length, values) = rest.split_first_chunk().ok_or(odd("the row ends before it"))?;
        rest = values;
        let Some(length) = length_of(*length).map_err(odd)? else {
            to.extend_from_slice(text::NULL);
            continue;
        };
        let (value, behind) = rest.split_at_checked(length).ok_or(odd("the row ends within it"))?;
        rest = behind;
        append_value(*kind, value, to).map_err(odd)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(Odd::row("it goes on behind its last column")) }
}

fn hold_count(count: [u8; 2], kinds: &[Kind]) -> Result<(), Odd> {
    let is_right = usize::from(u16::from_be_bytes(count)) == kinds.len();
    if is_right { Ok(()) } else { Err(Odd::row("it has another number of columns than its table")) }
}

/// The length of a value; none for NULL.
fn length_of(bytes: [u8; 4]) -> Result<Option<usize>, &'static str> {
    match i32::from_be_bytes(bytes) {
        -1 => Ok(None),
        length => usize::try_from(length).map(Some).map_err(|_| "its length is negative"),
    }
}

/// Appends the text of a value that is not NULL, as its output function and COPY's escaping make it.
fn append_value(kind: Kind, value: &[u8], to: &mut Vec<u8>) -> Result<(), &'static str> {
    match kind {
        Kind::Text | Kind::Name => text::escape(value, to),
        Kind::Int4 => digits::signed(i32::from_be_bytes(fixed(value)?).into(), to),
        Kind::Int8 => digits::signed(i64::from_be_bytes(fixed(value)?), to),
        Kind::Int2 => digits::signed(i16::from_be_bytes(fixed(value)?).into(), to),
        Kind::Oid => digits::unsigned(u32::from_be_bytes(fixed(value)?).into(), to),
        Kind::Bool => match value {
            [0] => to.push(b'f'),
            [1] => to.push(b't'),
            _ => return Err("a boolean that is neither true nor false"),
        },
        Kind::Numeric => return numeric::append(value, to),
        Kind::Float4 => float::append_float4(u32::from_be_bytes(fixed(value)?), to),
        Kind::Float8 => float::append_float8(u64::from_be_bytes(fixed(value)?), to),
        Kind::Jsonb => text::escape(text::of_jsonb(value)?, to),
        Kind::Bytea => {
            to.extend_from_slice(text::HEX);
            text::hex(value, to);
        }
        Kind::Uuid => text::uuid(fixed(value)?, to),
        Kind::Date => return moment::date(i32::from_be_bytes(fixed(value)?), to),
        Kind::Time => return moment::time(i64::from_be_bytes(fixed(value)?), to),
        Kind::Timestamp => return moment::timestamp(i64::from_be_bytes(fixed(value)?), b"", to),
        Kind::TimestampTz => return moment::timestamp(i64::from_be_bytes(fixed(value)?), b"+00", to),
    }
    Ok(())
}

fn fixed<const N: usize>(value: &[u8]) -> Result<[u8; N], &'static str> {
    value.try_into().map_err(|_| WRONG_LENGTH)
}
