//! The row of COPY binary that a line of COPY text stands for: the way back, as taking binary in costs the server less, too.
//!
//! Only lines that PostgreSQL itself writes under [`crate::settings`] are understood, so that no row can come to mean another
//! thing than the server would read: for all that is odd, its text is what should be sent.

use memchr::{memchr, memrchr};

use super::{Kind, Odd, digits, float, moment, numeric, text};

/// Lines beyond this size are not held in memory, as a value's size comes before it: they stay text.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// What a name may have (`NAMEDATALEN`, less its end).
const MAX_NAME_BYTES: usize = 63;

const NO_NUMBER: &str = "a number that PostgreSQL does not write so";

/// Lines of COPY text on their way to rows of COPY binary.
pub struct Parser<'k> {
    kinds: &'k [Kind],
    /// The line that has begun.
    begun: Vec<u8>,
    rows: Vec<u8>,
    /// Where it begins, or the next one will.
    at: u64,
}

impl<'k> Parser<'k> {
    /// For lines of columns of these kinds.
    pub fn new(kinds: &'k [Kind]) -> Self {
        Parser { kinds, begun: Vec::new(), rows: Vec::new(), at: 0 }
    }

    /// The rows whose lines end in `text`, which goes on where the last one ended; without header and trailer. Where a line is odd,
    /// those before it, and why: [`Parser::at`] says where it begins.
    pub fn rows(&mut self, text: &[u8]) -> (&[u8], Result<(), Odd>) {
        self.rows.clear();
        let parsed = self.parse(text);
        (&self.rows, parsed)
    }

    /// Where the first line begins whose row was not given yet, in bytes from the beginning of the text.
    pub fn at(&self) -> u64 {
        self.at
    }

    fn parse(&mut self, text: &[u8]) -> Result<(), Odd> {
        let (mut lines, begun) = text.split_at(memrchr(b'\n', text).map_or(0, |end| end + 1));
        while let Some(end) = memchr(b'\n', lines) {
            let (line, behind) = (&lines[..end], &lines[end + 1..]);
            let whole = if self.begun.is_empty() {
                line
            } else {
                self.begin(line)?;
                &self.begun
            };
            append_row(whole, self.kinds, &mut self.rows)?;
            self.at += whole.len() as u64 + 1;
            self.begun.clear();
            lines = behind;
        }
        self.begin(begun)
    }

    fn begin(&mut self, part: &[u8]) -> Result<(), Odd> {
        if self.begun.len() + part.len() > MAX_LINE_BYTES {
            return Err(Odd::row("its line is too long"));
        }
        self.begun.extend_from_slice(part);
        Ok(())
    }

    /// Here no line may be left begun; another text follows.
    ///
    /// # Errors
    /// Where one is.
    pub fn end(&mut self) -> Result<(), Odd> {
        if !self.begun.is_empty() {
            return Err(Odd::row("its line has no end"));
        }
        self.at = 0;
        Ok(())
    }
}

/// Appends the row of a line, which comes without its newline; nothing where it is odd.
fn append_row(line: &[u8], kinds: &[Kind], to: &mut Vec<u8>) -> Result<(), Odd> {
    let before = to.len();
    append_fields(line, kinds, to).inspect_err(|_| to.truncate(before))
}

fn append_fields(line: &[u8], kinds: &[Kind], to: &mut Vec<u8>) -> Result<(), Odd> {
    let count = i16::try_from(kinds.len()).map_err(|_| Odd::row("it has too many columns"))?;
    to.extend_from_slice(&count.to_be_bytes());
    let mut rest = Some(line);
    for (column, kind) in kinds.iter().enumerate() {
        let odd = |what| Odd { column: Some(column), what };
        let fields = rest.ok_or(odd("the line ends before it"))?;
        let (field, behind) = match memchr(b'\t', fields) {
            Some(end) => (&fields[..end], Some(&fields[end + 1..])),
            None => (fields, None),
        };
        rest = behind;
        if field == text::NULL {
            to.extend_from_slice(&(-1_i32).to_be_bytes());
            continue;
        }
        let start = to.len();
        to.extend_from_slice(&[0; 4]);
        append_value(*kind, field, to).map_err(odd)?;
        let length = i32::try_from(to.len() - start - 4).map_err(|_| odd("it is too long"))?;
        to[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
    if rest.is_none() { Ok(()) } else { Err(Odd::row("it goes on behind its last column")) }
}

/// Appends the binary form of a value that is not NULL.
fn append_value(kind: Kind, field: &[u8], to: &mut Vec<u8>) -> Result<(), &'static str> {
    match kind {
        Kind::Text => return text::unescape(field, to),
        // Text that is longer the server cuts off, binary it refuses. With escapes, the field is longer than the name.
        Kind::Name if field.len() > MAX_NAME_BYTES => return Err("a name that is too long, perhaps"),
        Kind::Name => return text::unescape(field, to),
        Kind::Int4 => to.extend_from_slice(&narrow::<i32>(digits::parse_signed(field))?.to_be_bytes()),
        Kind::Int8 => to.extend_from_slice(&digits::parse_signed(field).ok_or(NO_NUMBER)?.to_be_bytes()),
        Kind::Int2 => to.extend_from_slice(&narrow::<i16>(digits::parse_signed(field))?.to_be_bytes()),
        Kind::Oid => to.extend_from_slice(&narrow::<u32>(digits::parse_signed(field))?.to_be_bytes()),
        Kind::Bool => match field {
            b"f" => to.push(0),
            b"t" => to.push(1),
            _ => return Err("a boolean that is neither true nor false"),
        },
        Kind::Numeric => return numeric::parse(field, to).ok_or(NO_NUMBER),
        Kind::Float4 => {
            to.extend_from_slice(&float::parse(field, [f32::NAN, f32::INFINITY, f32::NEG_INFINITY]).ok_or(NO_NUMBER)?.to_be_bytes())
        }
        Kind::Float8 => {
            to.extend_from_slice(&float::parse(field, [f64::NAN, f64::INFINITY, f64::NEG_INFINITY]).ok_or(NO_NUMBER)?.to_be_bytes())
        }
        Kind::Jsonb => {
            to.push(text::JSONB_VERSION);
            return text::unescape(field, to);
        }
        Kind::Bytea => {
            return field
                .strip_prefix(text::HEX)
                .and_then(|digits| text::unhex(digits, to))
                .ok_or("bytes that are not in hexadecimal");
        }
        Kind::Uuid => return text::parse_uuid(field, to).ok_or("no uuid"),
        Kind::Date => to.extend_from_slice(&moment::parse_date(field).ok_or("no date")?.to_be_bytes()),
        Kind::Time => to.extend_from_slice(&moment::parse_time(field).ok_or("no time")?.to_be_bytes()),
        Kind::Timestamp => to.extend_from_slice(&moment::parse_timestamp(field, b"").ok_or("no timestamp")?.to_be_bytes()),
        Kind::TimestampTz => {
            to.extend_from_slice(&moment::parse_timestamp(field, b"+00").ok_or("no timestamp in UTC")?.to_be_bytes());
        }
    }
    Ok(())
}

fn narrow<N: TryFrom<i64>>(number: Option<i64>) -> Result<N, &'static str> {
    number.and_then(|number| N::try_from(number).ok()).ok_or(NO_NUMBER)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Nothing is understood that PostgreSQL would write in another way; but many decimals are one floating point number.
        #[test]
        fn a_row_that_is_made_of_a_line_has_that_line(
            number in "-?[0-9]{1,20}", decimal in "-?[0-9]{1,9}(\\.[0-9]{0,9})?", text in "(\\\\[btnvfr\\\\NaX.]|[a\r\u{8}é])*",
            digits in "\\\\\\\\x[0-9a-fA]{0,9}", date in "[0-9]{4,8}-[0-3][0-9]-[0-3][0-9]( BC)?", zone in "(\\+0[0-9])?",
            time in "[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,7})?",
        ) {
            let fields = [
                (Kind::Int2, number.clone()), (Kind::Int4, number.clone()), (Kind::Int8, number.clone()), (Kind::Oid, number.clone()),
                (Kind::Numeric, number), (Kind::Numeric, decimal), (Kind::Text, text.clone()), (Kind::Jsonb, text), (Kind::Bytea, digits),
                (Kind::Date, date.clone()), (Kind::Time, time.clone()), (Kind::Timestamp, format!("{date} {time}")),
                (Kind::TimestampTz, format!("{date} {time}{zone}")),
            ];
            for (kind, field) in fields {
                let mut row = Vec::new();
                if append_row(field.as_bytes(), &[kind], &mut row).is_ok() {
                    let mut line = Vec::new();
                    super::super::append_line(&row, &[kind], &mut line).unwrap();
                    prop_assert_eq!(String::from_utf8(line).unwrap(), field);
                }
            }
        }
    }

    fn rows(parser: &mut Parser<'_>, text: &[u8]) -> Result<Vec<u8>, Odd> {
        let (rows, parsed) = parser.rows(text);
        parsed.map(|()| rows.to_vec())
    }

    #[test]
    fn what_comes_before_an_odd_line_is_good_and_it_is_told_where_that_begins() {
        let text = b"1\n22\nx3\n4\n";
        let two = rows(&mut Parser::new(&[Kind::Int4]), b"1\n22\n").unwrap();
        for cut in 0..text.len() {
            let mut parser = Parser::new(&[Kind::Int4]);
            let (first, parsed) = parser.rows(&text[..cut]);
            let mut rows = first.to_vec();
            if parsed.is_ok() {
                let (more, parsed) = parser.rows(&text[cut..]);
                rows.extend_from_slice(more);
                assert!(parsed.is_err());
            }
            assert!(rows == two && parser.at() == 5, "cut at {cut}");
        }
    }

    fn row(line: &str, kinds: &[Kind]) -> Result<Vec<u8>, Odd> {
        let mut parser = Parser::new(kinds);
        let whole = rows(&mut parser, format!("{line}\n").as_bytes())?;
        // However the text is cut, the rows are the same.
        let text = format!("{line}\n{line}\n");
        for cut in 0..text.len() {
            let mut parser = Parser::new(kinds);
            let first = rows(&mut parser, &text.as_bytes()[..cut])?;
            let rows = [first, rows(&mut parser, &text.as_bytes()[cut..])?].concat();
            assert_eq!(parser.at(), text.len() as u64);
            assert!(rows == [&whole[..], &whole].concat() && parser.end().is_ok(), "{line} cut at {cut}");
        }
        Ok(whole)
    }

    #[test]
    fn a_line_becomes_its_row_and_the_row_its_line() {
        let kinds = [Kind::Int4, Kind::Text, Kind::Jsonb, Kind::Bool, Kind::Bytea];
        for line in ["256\t\\N\t{}\tt\t\\\\x", "-7\ta\\tb\\\\N\\n\t\\N\tf\t\\\\x00ff", "0\t\t{\"a\": \"\\\\\\\\\"}\t\\N\t\\N"] {
            let mut back = Vec::new();
            super::super::append_line(&row(line, &kinds).unwrap(), &kinds, &mut back).unwrap();
            assert_eq!(String::from_utf8(back).unwrap(), line);
        }
    }

    #[test]
    fn what_postgresql_does_not_write_is_left_to_it() {
        let odd = |kind: Kind, fields: &[&str]| {
            for field in fields {
                assert_eq!(row(field, &[kind]).map_err(|odd| odd.column), Err(Some(0)), "{kind:?} {field:?}");
            }
        };
        odd(Kind::Int2, &["", "32768", "-32769", "+1", "01", "-0", " 1", "1 ", "1.0", "0x1"]);
        odd(Kind::Int4, &["2147483648", "9999999999999999999", "-", "1_000"]);
        odd(Kind::Int8, &["9223372036854775808", "-9223372036854775809", "+9223372036854775807", "--922337203685477580"]);
        odd(Kind::Oid, &["-1", "4294967296"]);
        odd(Kind::Bool, &["", "true", "T", "0"]);
        odd(Kind::Float8, &["", "nan", "inf", "1e400", "-1e-400", "1e", " 1", "0x1p3", "1_0"]);
        odd(Kind::Float4, &["1e39", "1e-60", "infinity"]);
        odd(Kind::Numeric, &["", ".5", "5.", "01", "-0", "-0.00", "1e3", "+1", "nan", "1.2.3", "--1", "1,5"]);
        odd(Kind::Text, &["a\\", "\\x41", "\\101", "\\.", "\\a", "a\rb", "\x08", "\x0b"]);
        odd(Kind::Name, &["n".repeat(64).as_str(), "é".repeat(32).as_str()]);
        assert!(row(&"n".repeat(63), &[Kind::Name]).is_ok());
        odd(Kind::Bytea, &["", "\\\\x0", "\\\\xAB", "\\\\xgg", "abc", "\\x00"]);
        odd(
            Kind::Uuid,
            &[
                "",
                "123e4567e89b12d3a456426614174000",
                "123E4567-e89b-12d3-a456-426614174000",
                "123e4567-e89b-12d3-a456-42661417400",
            ],
        );
        odd(
            Kind::Date,
            &["", "2026-02-29", "2026-13-01", "2026-1-01", "26-01-01", "02026-01-01", "0000-01-01", "2026-01-01 ", "01/02/2026"],
        );
        odd(
            Kind::Date,
            &["5874898-01-01", "4714-11-23 BC", "4715-01-01 BC", "2026-01-01 AD", "Infinity", "today", "99999999999-01-01"],
        );
        odd(
            Kind::Time,
            &[
                "",
                "24:00:01",
                "23:60:00",
                "23:59:60",
                "1:00:00",
                "10:00",
                "10:00:00.",
                "10:00:00.1234567",
                "10:00:00+00",
                "10:00:00.10",
            ],
        );
        odd(Kind::Timestamp, &["", "2026-01-01", "2026-01-01 10:00:00+00", "2026-01-01T10:00:00", "294277-01-01 00:00:00", "now"]);
        odd(
            Kind::TimestampTz,
            &["2026-01-01 10:00:00", "2026-01-01 10:00:00+01", "2026-01-01 10:00:00+00:00", "2026-01-01 24:00:00+00"],
        );
        assert_eq!(row("1\t2", &[Kind::Int4]).unwrap_err().column, None);
        assert_eq!(row("1", &[Kind::Int4, Kind::Int4]).unwrap_err().column, Some(1));
    }

    #[test]
    fn a_line_too_long_to_be_held_stays_text() {
        let mut parser = Parser::new(&[Kind::Text]);
        let half = vec![b'x'; MAX_LINE_BYTES / 2];
        assert!(parser.rows(&half).1.is_ok() && parser.rows(&half).1.is_ok());
        assert!(parser.end().is_err() && parser.rows(b"x\n").1.is_err());
    }
}
