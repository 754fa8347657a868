//! Where in the log is something? A byte position, and the size of the files that the log is cut into.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// A position in the write-ahead log, in bytes from its beginning; written as PostgreSQL does, such as `16/B374D848`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let half = |text: &str| {
            let hex = (1..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            if hex { u64::from_str_radix(text, 16).ok() } else { None }
        };
        let halves = text.split_once('/').and_then(|(high, low)| Some((half(high)?, half(low)?)));
        let (high, low) = halves.ok_or_else(|| Error::Malformed(format!("{text:?} is no LSN")))?;
        Ok(Lsn(high << 32 | low))
    }
}

impl From<Lsn> for String {
    fn from(lsn: Lsn) -> String {
        lsn.to_string()
    }
}

impl TryFrom<String> for Lsn {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

/// How large the segments of a cluster are (`wal_segment_size`), in bytes: a power of two from 1 MiB to 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct SegmentSize(u64);

impl SegmentSize {
    /// What initdb chooses: 16 MiB.
    pub const DEFAULT: SegmentSize = SegmentSize(16 << 20);
    /// The largest there is.
    pub const LARGEST: SegmentSize = SegmentSize(1 << 30);

    /// The size in bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// How many segments share the first 16 digits of their names: those of 4 GiB of log.
    pub fn per_log(self) -> u64 {
        (1 << 32) / self.0
    }
}

impl Default for SegmentSize {
    fn default() -> Self {
        SegmentSize::DEFAULT
    }
}

impl TryFrom<u64> for SegmentSize {
    type Error = Error;

    fn try_from(bytes: u64) -> Result<Self, Error> {
        if bytes.is_power_of_two() && (1 << 20..=1 << 30).contains(&bytes) {
            return Ok(SegmentSize(bytes));
        }
        Err(Error::Malformed(format!("{bytes} bytes is no size of WAL segments: a power of two from 1 MiB to 1 GiB")))
    }
}

impl From<SegmentSize> for u64 {
    fn from(size: SegmentSize) -> u64 {
        size.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_lsn_is_read_as_it_is_written(position: u64) {
            prop_assert_eq!(Lsn(position).to_string().parse::<Lsn>().unwrap(), Lsn(position));
        }

        #[test]
        fn a_size_is_a_power_of_two_within_limits(bytes: u64) {
            prop_assert_eq!(SegmentSize::try_from(bytes).is_ok(), (20..=30).any(|bits| bytes == 1 << bits));
        }
    }

    #[test]
    fn an_lsn_looks_as_postgresql_writes_it() {
        assert_eq!(Lsn(0x16_B374_D848).to_string(), "16/B374D848");
        assert_eq!("0/0".parse::<Lsn>().unwrap(), Lsn(0));
        assert_eq!(serde_json::to_string(&Lsn(1)).unwrap(), "\"0/1\"");
        for wrong in ["", "/", "1", "1/", "/1", "+1/1", "1/123456789", "g/1", "1/1/1", " 1/1"] {
            assert!(wrong.parse::<Lsn>().is_err(), "{wrong}");
        }
        assert!((20..=30).all(|bits| SegmentSize::try_from(1 << bits).is_ok()));
    }
}
