//! Where in the log is a segment? The arithmetic of `src/include/access/xlog_internal.h` of PostgreSQL, no more of it than needed.

/// Sizes that a segment can have, in bytes: powers of two in this range.
const SIZES: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 30;

/// Whether segments can be of so many bytes.
pub(crate) fn is_size(bytes: u64) -> bool {
    bytes.is_power_of_two() && SIZES.contains(&bytes)
}

/// Timeline and number, counted from the beginning of the log, of a segment such as `000000010000000A000000FE`.
pub(crate) fn parse(name: &str, size: u64) -> Option<(u32, u64)> {
    if name.len() != 24 || !name.is_ascii() {
        return None;
    }
    let (timeline, log, number) = (digits(&name[..8])?, digits(&name[8..16])?, digits(&name[16..])?);
    let per_log = (1 << 32) / size;
    (timeline > 0 && u64::from(number) < per_log).then(|| (timeline, u64::from(log) * per_log + u64::from(number)))
}

/// The name of a segment.
pub(crate) fn name(timeline: u32, number: u64, size: u64) -> String {
    let per_log = (1 << 32) / size;
    format!("{timeline:08X}{:08X}{:08X}", number / per_log, number % per_log)
}

/// A position in the log as PostgreSQL prints it, such as `16/B374D848`, in bytes from its beginning.
pub(crate) fn lsn(text: &str) -> Option<u64> {
    let half = |text: &str| {
        let hex = (1..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if hex { u64::from_str_radix(text, 16).ok() } else { None }
    };
    let (high, low) = text.split_once('/')?;
    Some(half(high)? << 32 | half(low)?)
}

/// Eight hexadecimal digits in upper case, as PostgreSQL writes them.
fn digits(text: &str) -> Option<u32> {
    let legal = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
    if text.bytes().all(legal) { u32::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const SIXTEEN_MIB: u64 = 16 << 20;

    proptest! {
        #[test]
        fn f48_a_segment_is_read_as_it_is_written_on_any_timeline(timeline in 1u32.., log: u32, bits in 20u32..=30, place: u64) {
            let size = 1 << bits;
            let number = u64::from(log) * ((1 << 32) / size) + place % ((1 << 32) / size);
            prop_assert_eq!(parse(&name(timeline, number, size), size), Some((timeline, number)));
            prop_assert!(number.checked_mul(size).is_some());
        }
    }

    #[test]
    fn names_and_positions_are_those_of_postgresql() {
        assert_eq!(parse("0000000100000002000000FF", SIXTEEN_MIB), Some((1, 0x2FF)));
        assert_eq!(name(1, 0x300, SIXTEEN_MIB), "000000010000000300000000");
        assert_eq!(parse("00000010000000000000000A", SIXTEEN_MIB), Some((16, 10)));
        assert_eq!(parse("0000000100000002000000FF", 1 << 30), None);
        for wrong in
            ["", "000000000000000000000001", "00000001000000000000000a", "000000010000000000000001.gz", "00000001000000000000000é"]
        {
            assert_eq!(parse(wrong, SIXTEEN_MIB), None, "{wrong}");
        }
        assert_eq!(lsn("16/B374D848"), Some(0x16_B374_D848));
        for wrong in ["", "/", "1", "1/", "/1", "+1/1", "1/123456789", "g/1", "1/1/1", " 1/1"] {
            assert_eq!(lsn(wrong), None, "{wrong}");
        }
        assert!((20..=30).all(|bits| is_size(1 << bits)) && !is_size(1 << 19) && !is_size(1 << 31) && !is_size(3 << 20));
    }
}
