//! Decimal numbers: digits to the base of 10,000, and how many decimals to show.

use super::WRONG_LENGTH;
use super::digits::{Digits, four, parse_few};

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

/// Decimal digits in one digit of the base.
const GROUP: usize = 4;

/// The bytes before the digits.
const HEADER: usize = 8;

/// The most decimals there are.
const MAX_DECIMALS: u16 = 0x3FFF;

/// The size of the longest numeric: the header, and as many digits as it can count.
pub const MAX_BYTES: usize = HEADER + 2 * u16::MAX as usize;

/// Appends a numeric: four numbers of 16 bits (count of digits, weight of the first, sign, decimals), then the digits.
pub fn append(value: &[u8], to: &mut Vec<u8>) -> Result<(), &'static str> {
    let (words, odd) = value.as_chunks::<2>();
    let [count, weight, sign, decimals, digits @ ..] = words else { return Err(WRONG_LENGTH) };
    if !odd.is_empty() || usize::from(u16::from_be_bytes(*count)) != digits.len() {
        return Err(WRONG_LENGTH);
    }
    match u16::from_be_bytes(*sign) {
        POSITIVE => {}
        NEGATIVE => to.push(b'-'),
        NAN => return special(b"NaN", to),
        INFINITY => return special(b"Infinity", to),
        NEGATIVE_INFINITY => return special(b"-Infinity", to),
        _ => return Err("a numeric of an unknown sign"),
    }
    if digits.iter().any(|digit| u16::from_be_bytes(*digit) >= 10_000) {
        return Err("a numeric with a digit beyond its base");
    }
    let decimals = u16::from_be_bytes(*decimals);
    if decimals > MAX_DECIMALS {
        return Err("a numeric with too many decimals");
    }
    let number = Number { digits, weight: i16::from_be_bytes(*weight).into() };
    number.append_whole(to);
    number.append_decimals(decimals.into(), to);
    Ok(())
}

/// Appends the binary form of a numeric's text; none where PostgreSQL does not write it so.
pub fn parse(field: &[u8], to: &mut Vec<u8>) -> Option<()> {
    let (sign, number) = match field {
        b"NaN" => return header([0, 0, NAN, 0], to),
        b"Infinity" => return header([0, 0, INFINITY, 0], to),
        b"-Infinity" => return header([0, 0, NEGATIVE_INFINITY, 0], to),
        [b'-', number @ ..] => (NEGATIVE, number),
        number => (POSITIVE, number),
    };
    let point = memchr::memchr(b'.', number);
    let (whole, decimals) = point.map_or((number, &[][..]), |point| (&number[..point], &number[point + 1..]));
    let is_written_so = !whole.is_empty() && (whole[0] != b'0' || whole.len() == 1) && point.is_none_or(|_| !decimals.is_empty());
    if !is_written_so || decimals.len() > MAX_DECIMALS.into() {
        return None;
    }
    let start = to.len();
    header([0; 4], to)?;
    let mut weight = -1;
    if whole != b"0" {
        let (first, groups) = whole.split_at(whole.len() % GROUP);
        weight = i16::try_from(whole.len().div_ceil(GROUP) - 1).ok()?;
        push_group(first, 0, to)?;
        groups.chunks(GROUP).try_for_each(|group| push_group(group, 0, to))?;
    }
    for group in decimals.chunks(GROUP) {
        push_group(group, GROUP - group.len(), to)?;
        // A number below one begins where its first digit is.
        if weight < 0 && to.len() == start + HEADER + 2 && to.ends_with(&[0, 0]) {
            to.truncate(start + HEADER);
            weight -= 1;
        }
    }
    while to.len() > start + HEADER && to.ends_with(&[0, 0]) {
        to.truncate(to.len() - 2);
    }
    let count = u16::try_from((to.len() - start - HEADER) / 2).ok()?;
    if count == 0 {
        // PostgreSQL has no negative zero.
        (sign == POSITIVE).then_some(())?;
        weight = 0;
    }
    let words = [count, weight as u16, sign, decimals.len() as u16];
    to[start..start + HEADER].copy_from_slice(words.map(u16::to_be_bytes).as_flattened());
    Some(())
}

fn header(words: [u16; 4], to: &mut Vec<u8>) -> Option<()> {
    to.extend_from_slice(words.map(u16::to_be_bytes).as_flattened());
    Some(())
}

/// Appends up to four decimal digits as one digit of the base, with so many zeroes behind them; nothing where there are none.
fn push_group(digits: &[u8], zeroes: usize, to: &mut Vec<u8>) -> Option<()> {
    if digits.is_empty() {
        return Some(());
    }
    let group = parse_few(digits)? * [1, 10, 100, 1000][zeroes];
    to.extend_from_slice(&(group as u16).to_be_bytes());
    Some(())
}

fn special(name: &[u8], to: &mut Vec<u8>) -> Result<(), &'static str> {
    to.extend_from_slice(name);
    Ok(())
}

struct Number<'a> {
    digits: &'a [[u8; 2]],
    /// The power of the base that the first digit stands for.
    weight: i32,
}

impl Number<'_> {
    /// The digit of the base at `place`, counted from the first one; 0 where there is none.
    fn digit(&self, place: i32) -> u32 {
        let digit = usize::try_from(place).ok().and_then(|place| self.digits.get(place));
        digit.map_or(0, |digit| u16::from_be_bytes(*digit).into())
    }

    fn append_whole(&self, to: &mut Vec<u8>) {
        if self.weight < 0 {
            to.push(b'0');
            return;
        }
        to.extend_from_slice(Digits::of(self.digit(0).into()).as_bytes());
        for place in 1..=self.weight {
            to.extend_from_slice(&four(self.digit(place)));
        }
    }

    fn append_decimals(&self, decimals: usize, to: &mut Vec<u8>) {
        if decimals == 0 {
            return;
        }
        to.push(b'.');
        let end = to.len() + decimals;
        let first = self.weight + 1;
        for place in first..first + decimals.div_ceil(GROUP) as i32 {
            to.extend_from_slice(&four(self.digit(place)));
        }
        to.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(words: &[u16]) -> Result<String, &'static str> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let mut text = Vec::new();
        append(&bytes, &mut text).map(|()| String::from_utf8(text).unwrap())
    }

    #[test]
    fn numerics_are_written_with_all_their_decimals() {
        for (words, expected) in [
            (&[0, 0, 0, 0][..], "0"),
            (&[0, 0, 0, 5], "0.00000"),
            (&[1, 1, 0, 0, 12], "120000"),
            (&[2, 0, NEGATIVE, 3, 7, 1200], "-7.120"),
            (&[1, (-3_i16) as u16, 0, 14, 5670], "0.00000000567000"),
            (&[2, (-1_i16) as u16, 0, 2, 1234, 5600], "0.12"),
            (&[0, 0, NAN, 0], "NaN"),
            (&[0, 0, INFINITY, 0], "Infinity"),
            (&[0, 0, NEGATIVE_INFINITY, 0], "-Infinity"),
        ] {
            assert_eq!(text(words).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_numeric_is_refused() {
        for words in [&[0, 0, 0][..], &[1, 0, 0, 0], &[1, 0, 0, 0, 10_000], &[0, 0, 1, 0], &[0, 0, 0, 0x4000], &[0, 0, 0, 0, 1]] {
            assert!(text(words).is_err(), "{words:?}");
        }
        assert_eq!(append(&[0; 9], &mut Vec::new()), Err(WRONG_LENGTH));
    }
}
