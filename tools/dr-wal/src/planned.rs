//! What a recovery has seen of the WAL that it will ask for, in words that its server hands on.

use std::fmt;
use std::str::FromStr;

use crate::{Error, SegmentName, SegmentRange};

/// Segments that were seen in the stores when a recovery was planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planned {
    /// They are whole: `FIRST..LAST`.
    Whole(SegmentRange),
    /// So many bytes of one were streamed, and the target lies in them: `NAME:BYTES`.
    Beginning(SegmentName, u32),
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Planned::Whole(range) => range.fmt(f),
            Planned::Beginning(name, bytes) => write!(f, "{name}:{bytes}"),
        }
    }
}

impl FromStr for Planned {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let Some((name, bytes)) = text.split_once(':') else { return text.parse().map(Planned::Whole) };
        match (name.parse(), bytes.parse()) {
            (Ok(name), Ok(bytes)) => Ok(Planned::Beginning(name, bytes)),
            _ => Err(Error::Malformed(format!("{text:?} is no beginning of a segment of WAL: NAME:BYTES"))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_planned_is_read_as_it_is_written() {
        for text in ["000000010000000000000002..000000010000000000000007", "000000010000000000000008:81920"] {
            assert_eq!(text.parse::<Planned>().unwrap().to_string(), text);
        }
        for text in ["", "000000010000000000000008", "000000010000000000000008:", "8:1", "000000010000000000000008:-1"] {
            assert!(text.parse::<Planned>().is_err(), "{text}");
        }
    }
}
