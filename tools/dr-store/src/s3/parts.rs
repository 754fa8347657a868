//! How large are the parts of an upload whose length nobody knows?
//!
//! S3 takes at most 10,000 parts, each of 5 MiB to 5 GiB (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>),
//! and a part must lie in memory until it is acknowledged, as only then no retry can need it. Three parts of a store are
//! in memory: two on their way, one being filled.
//!
//! Parts have 16 MiB for the first 20 GiB (48 MiB of memory), and 1/1280 of what was sent from there on: 240 MiB of
//! memory at 100 GiB, 2.4 GiB at 1 TiB. So 10,000 parts hold 12.8 TiB. Whoever knows or guesses the length beforehand
//! gets 1/9000 of it as the size of every part: 336 MiB of memory for 1 TiB, and the whole 48.8 TiB that S3 takes.
//! More than one of both (small parts first, 48.8 TiB in the end) cannot be had: 10,000 parts of 5 GiB are 48.8 TiB.

/// S3's limit on the number of parts.
pub(super) const MAX_PARTS: i32 = 10_000;

const MIB: u64 = 1 << 20;
const FIRST: u64 = 16 * MIB;
const LARGEST: u64 = 5 << 30;

/// Size in bytes of the next part, after `sent` bytes in full parts, where `expected` bytes are expected to come in all.
///
/// A multiple of 1 MiB, from 16 MiB to 5 GiB, that never shrinks as `sent` grows.
pub(super) fn part_bytes(sent: u64, expected: Option<u64>) -> u64 {
    let planned = expected.unwrap_or(0).div_ceil(9000);
    let grown = sent / 1280;
    planned
        .max(if expected.is_some_and(|expected| sent < expected) { 0 } else { grown })
        .next_multiple_of(MIB)
        .clamp(FIRST, LARGEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIB: u64 = 1 << 40;
    /// The largest object S3 takes: 10,000 parts of 5 GiB, 48.8 TiB.
    const LARGEST_OBJECT: u64 = 10_000 * LARGEST;

    /// Number of parts of a stream of `bytes`, and the size of its largest part.
    fn parts(bytes: u64, expected: Option<u64>) -> (i32, u64) {
        let (mut sent, mut number, mut largest) = (0, 0, 0);
        while sent < bytes {
            let part = part_bytes(sent, expected);
            assert!(part >= largest, "parts never shrink");
            assert!((5 * MIB..=5 << 30).contains(&part), "a part of {part} bytes");
            (sent, number, largest) = (sent + part, number + 1, part);
        }
        (number, largest)
    }

    #[test]
    fn f33_a_stream_of_unknown_length_reaches_12_8_tib_within_10000_parts() {
        let (number, largest) = parts(128 * TIB / 10, None);
        assert!(number <= MAX_PARTS, "{number} parts");
        assert_eq!(largest, LARGEST);
        assert_eq!(parts(20 << 30, None).1, FIRST, "flat memory up to 20 GiB");
        assert!(3 * parts(100 << 30, None).1 <= 240 * MIB, "memory at 100 GiB");
    }

    proptest! {
        #[test]
        fn f33_any_expected_size_up_to_48_8_tib_fits_into_10000_equal_parts(bytes in 1..=LARGEST_OBJECT) {
            let (number, largest) = parts(bytes, Some(bytes));
            prop_assert!(number <= MAX_PARTS, "{} parts", number);
            prop_assert_eq!(largest, part_bytes(0, Some(bytes)), "all parts are equal, as some servers demand");
        }

        #[test]
        fn f33_any_unknown_size_up_to_12_8_tib_fits(bytes in 1..=(128 * TIB / 10)) {
            prop_assert!(parts(bytes, None).0 <= MAX_PARTS);
        }

        #[test]
        fn f33_a_guess_that_is_half_the_truth_still_fits(bytes in 1..=(4 * TIB)) {
            prop_assert!(parts(2 * bytes, Some(bytes)).0 <= MAX_PARTS);
        }
    }
}
