//! Text and bytes as COPY writes them.

/// What stands for NULL.
pub const NULL: &[u8] = b"\\N";

/// What a bytea begins with: its text begins with `\x`, and COPY doubles the backslash.
pub const HEX: &[u8] = b"\\\\x";

/// The version that PostgreSQL puts before a jsonb's text.
pub const JSONB_VERSION: u8 = 1;

/// What is said of another.
pub const UNKNOWN_JSONB: &str = "a jsonb of an unknown version";

/// The two hexadecimal digits of every byte.
const DIGITS: [[u8; 2]; 256] = {
    let letters = b"0123456789abcdef";
    let mut digits = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        digits[byte] = [letters[byte >> 4], letters[byte & 15]];
        byte += 1;
    }
    digits
};

/// What every byte stands for as a hexadecimal digit; 16 where it is none.
const VALUES: [u8; 256] = {
    let mut values = [16; 256];
    let mut digit = 0;
    while digit < 16 {
        values[b"0123456789abcdef"[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

/// Looked at together, so that the compiler makes vectors of them.
const LANES: usize = 32;

/// Appends text as COPY escapes it (PostgreSQL manual, COPY, Text Format). It may come in parts.
pub fn escape(text: &[u8], to: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = first_special(rest) {
        to.extend_from_slice(&rest[..at]);
        to.extend_from_slice(&[b'\\', letter(rest[at])]);
        rest = &rest[at + 1..];
    }
    to.extend_from_slice(rest);
}

fn first_special(text: &[u8]) -> Option<usize> {
    let (lanes, rest) = text.as_chunks::<LANES>();
    for (number, lane) in lanes.iter().enumerate() {
        if lane.iter().fold(false, |any, byte| any | is_special(*byte)) {
            return lane.iter().position(|byte| is_special(*byte)).map(|at| number * LANES + at);
        }
    }
    rest.iter().position(|byte| is_special(*byte)).map(|at| lanes.len() * LANES + at)
}

/// Backspace, tab, newline, vertical tab, form feed and carriage return follow each other.
fn is_special(byte: u8) -> bool {
    byte.wrapping_sub(0x08) < 6 || byte == b'\\'
}

fn letter(byte: u8) -> u8 {
    match byte {
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0b => b'v',
        0x0c => b'f',
        b'\r' => b'r',
        other => other,
    }
}

/// Appends bytes in hexadecimal.
pub fn hex(bytes: &[u8], to: &mut Vec<u8>) {
    let start = to.len();
    to.resize(start + 2 * bytes.len(), 0);
    let (pairs, _) = to[start..].as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = DIGITS[usize::from(*byte)];
    }
}

/// The text of a jsonb.
pub fn of_jsonb(value: &[u8]) -> Result<&[u8], &'static str> {
    match value {
        [JSONB_VERSION, text @ ..] => Ok(text),
        _ => Err(UNKNOWN_JSONB),
    }
}

/// Appends a uuid.
pub fn uuid(bytes: [u8; 16], to: &mut Vec<u8>) {
    for (number, part) in [&bytes[..4], &bytes[4..6], &bytes[6..8], &bytes[8..10], &bytes[10..]].into_iter().enumerate() {
        if number > 0 {
            to.push(b'-');
        }
        hex(part, to);
    }
}

/// Appends the text that COPY has escaped as [`escape`] does; what it would have written in another way is an error.
pub fn unescape(field: &[u8], to: &mut Vec<u8>) -> Result<(), &'static str> {
    let mut rest = field;
    while let Some(at) = first_special(rest) {
        to.extend_from_slice(&rest[..at]);
        to.push(match rest.get(at..at + 2) {
            Some(b"\\\\") => b'\\',
            Some(b"\\b") => 0x08,
            Some(b"\\t") => b'\t',
            Some(b"\\n") => b'\n',
            Some(b"\\v") => 0x0b,
            Some(b"\\f") => 0x0c,
            Some(b"\\r") => b'\r',
            _ => return Err("an escape that PostgreSQL does not write"),
        });
        rest = &rest[at + 2..];
    }
    to.extend_from_slice(rest);
    Ok(())
}

/// Appends the bytes that hexadecimal digits stand for; none where they are no such digits.
pub fn unhex(digits: &[u8], to: &mut Vec<u8>) -> Option<()> {
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let start = to.len();
    to.resize(start + pairs.len(), 0);
    let mut odd = 0;
    for (byte, [high, low]) in to[start..].iter_mut().zip(pairs) {
        let (high, low) = (VALUES[usize::from(*high)], VALUES[usize::from(*low)]);
        odd |= high | low;
        *byte = high << 4 | low & 15;
    }
    (odd < 16).then_some(())
}

/// Appends the 16 bytes of a uuid.
pub fn parse_uuid(field: &[u8], to: &mut Vec<u8>) -> Option<()> {
    let parts: [&[u8]; 5] = [field.get(..8)?, field.get(9..13)?, field.get(14..18)?, field.get(19..23)?, field.get(24..36)?];
    let dashed = field.len() == 36 && [8, 13, 18, 23].iter().all(|at| field[*at] == b'-');
    dashed.then_some(())?;
    parts.iter().try_for_each(|part| unhex(part, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_as_copy_does() {
        let mut line = Vec::new();
        escape(b"a\tb\\c\nd\x08\x0b\x0c\r\xff\x01\x0e\x07", &mut line);
        assert_eq!(line, b"a\\tb\\\\c\\nd\\b\\v\\f\\r\xff\x01\x0e\x07");
    }

    #[test]
    fn every_byte_is_escaped_at_every_place() {
        for byte in 0..=255_u8 {
            let escaped = if b"\\\x08\t\n\x0b\x0c\r".contains(&byte) { vec![b'\\', letter(byte)] } else { vec![byte] };
            for before in 0..3 * LANES {
                let mut text = vec![b'x'; 4 * LANES];
                text[before] = byte;
                let mut line = Vec::new();
                escape(&text, &mut line);
                assert_eq!(line, [&text[..before], &escaped, &text[before + 1..]].concat(), "{byte} at {before}");
            }
        }
    }
}
