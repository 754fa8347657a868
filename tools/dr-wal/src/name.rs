//! What are files of WAL called? (`src/include/access/xlog_internal.h` of PostgreSQL.) All numbers in names are hexadecimal.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Lsn, SegmentSize};

/// Largest history or backup file that makes sense, in bytes.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// A timeline: 1 at initdb, and a new number at every promotion. Displays as in names: eight hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timeline(pub u32);

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}", self.0)
    }
}

impl FromStr for Timeline {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match digits(text) {
            Some(timeline) if timeline > 0 => Ok(Timeline(timeline)),
            _ => Err(Error::Malformed(format!("{text:?} is no timeline: eight hexadecimal digits, from 00000001"))),
        }
    }
}

/// The name of a segment, such as `000000010000000A000000FE`: timeline, 4 GiB of log, number therein.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SegmentName {
    /// The timeline it was written on.
    pub timeline: Timeline,
    /// Which 4 GiB of the log.
    pub log: u32,
    /// Which segment of these; what it means depends on the size of segments.
    pub number: u32,
}

impl SegmentName {
    /// The segment of `timeline` that holds the byte at `lsn`.
    pub fn containing(timeline: Timeline, lsn: Lsn, size: SegmentSize) -> Self {
        let number = (lsn.0 & 0xFFFF_FFFF) / size.bytes();
        let (log, number) = (u32::try_from(lsn.0 >> 32), u32::try_from(number));
        SegmentName { timeline, log: log.expect("32 bits are left"), number: number.expect("less than 4096") }
    }

    /// The segments of `timeline` that hold the bytes from `start` to `stop`, in order; at least one.
    pub fn holding(timeline: Timeline, start: Lsn, stop: Lsn, size: SegmentSize) -> impl Iterator<Item = SegmentName> {
        let first = SegmentName::containing(timeline, start, size);
        let last = SegmentName::containing(timeline, Lsn(stop.0.saturating_sub(1).max(start.0)), size);
        std::iter::successors(Some(first), move |segment| (*segment != last).then(|| segment.next(size)))
    }

    /// Whether a log of segments of `size` has such a name.
    pub fn fits(&self, size: SegmentSize) -> bool {
        u64::from(self.number) < size.per_log()
    }

    /// Where its first byte lies.
    pub fn start(&self, size: SegmentSize) -> Lsn {
        Lsn((u64::from(self.log) << 32).saturating_add(u64::from(self.number) * size.bytes()))
    }

    /// Where the segment after it begins.
    pub fn end(&self, size: SegmentSize) -> Lsn {
        Lsn(self.start(size).0.saturating_add(size.bytes()))
    }

    /// The segment after it, on the same timeline.
    pub fn next(&self, size: SegmentSize) -> Self {
        SegmentName::containing(self.timeline, self.end(size), size)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:08X}{:08X}", self.timeline, self.log, self.number)
    }
}

impl FromStr for SegmentName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Malformed(format!("{text:?} is no segment of WAL: 24 hexadecimal digits"));
        if text.len() != 24 || !text.is_ascii() {
            return Err(wrong());
        }
        let timeline = text[..8].parse().map_err(|_| wrong())?;
        let (log, number) = digits(&text[8..16]).zip(digits(&text[16..])).ok_or_else(wrong)?;
        Ok(SegmentName { timeline, log, number })
    }
}

impl From<SegmentName> for String {
    fn from(name: SegmentName) -> String {
        name.to_string()
    }
}

impl TryFrom<String> for SegmentName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

/// Segments of one timeline that follow each other, both ends among them. Displays as `FIRST..LAST`, which is also how it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRange {
    first: SegmentName,
    last: SegmentName,
}

impl SegmentRange {
    /// Whether a segment is one of them.
    pub fn contains(&self, name: &SegmentName) -> bool {
        (self.first..=self.last).contains(name)
    }

    /// As few ranges as possible, of segments of `size` that are sorted by where they begin.
    pub fn of(segments: impl IntoIterator<Item = SegmentName>, size: SegmentSize) -> Vec<Self> {
        let mut ranges: Vec<SegmentRange> = Vec::new();
        for name in segments {
            match ranges.last_mut() {
                Some(range) if range.last.next(size) == name => range.last = name,
                _ => ranges.push(SegmentRange { first: name, last: name }),
            }
        }
        ranges
    }
}

impl fmt::Display for SegmentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.first, self.last)
    }
}

impl FromStr for SegmentRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Malformed(format!("{text:?} are no segments of WAL: FIRST..LAST, of one timeline"));
        let (first, last) = text.split_once("..").ok_or_else(wrong)?;
        let (first, last): (SegmentName, SegmentName) = (first.parse()?, last.parse()?);
        if first.timeline == last.timeline && first <= last { Ok(SegmentRange { first, last }) } else { Err(wrong()) }
    }
}

/// The name of any file that PostgreSQL archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum WalName {
    /// A whole segment.
    Segment(SegmentName),
    /// The last, unfinished segment of a timeline that ended with a promotion.
    Partial(SegmentName),
    /// Where a timeline came from.
    History(Timeline),
    /// Where a base backup began and ended.
    Backup {
        /// The segment in which it began.
        segment: SegmentName,
        /// The offset in that segment.
        offset: u32,
    },
}

impl WalName {
    /// The timeline that the name begins with.
    pub fn timeline(&self) -> Timeline {
        match self {
            WalName::Segment(segment) | WalName::Partial(segment) | WalName::Backup { segment, .. } => segment.timeline,
            WalName::History(timeline) => *timeline,
        }
    }

    /// How many bytes such a file has at most.
    pub(crate) fn most_bytes(&self) -> u64 {
        match self {
            WalName::Segment(_) | WalName::Partial(_) => SegmentSize::LARGEST.bytes(),
            WalName::History(_) | WalName::Backup { .. } => MAX_TEXT_BYTES,
        }
    }

    /// The segment that the name begins with; none for a history.
    pub fn segment(&self) -> Option<SegmentName> {
        match self {
            WalName::Segment(segment) | WalName::Partial(segment) | WalName::Backup { segment, .. } => Some(*segment),
            WalName::History(_) => None,
        }
    }
}

impl fmt::Display for WalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WalName::Segment(segment) => write!(f, "{segment}"),
            WalName::Partial(segment) => write!(f, "{segment}.partial"),
            WalName::History(timeline) => write!(f, "{timeline}.history"),
            WalName::Backup { segment, offset } => write!(f, "{segment}.{offset:08X}.backup"),
        }
    }
}

impl FromStr for WalName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |_| Error::Malformed(format!("{text:?} is no name of WAL: a segment, .partial, .history or .backup"));
        if let Some(timeline) = text.strip_suffix(".history") {
            return timeline.parse().map(WalName::History).map_err(wrong);
        }
        if let Some(segment) = text.strip_suffix(".partial") {
            return segment.parse().map(WalName::Partial).map_err(wrong);
        }
        if let Some((segment, offset)) = text.strip_suffix(".backup").and_then(|rest| rest.split_once('.')) {
            let segment = segment.parse().map_err(wrong)?;
            let offset = digits(offset).ok_or_else(|| wrong(Error::Malformed(String::new())))?;
            return Ok(WalName::Backup { segment, offset });
        }
        text.parse().map(WalName::Segment).map_err(wrong)
    }
}

impl From<SegmentName> for WalName {
    fn from(segment: SegmentName) -> WalName {
        WalName::Segment(segment)
    }
}

impl From<WalName> for String {
    fn from(name: WalName) -> String {
        name.to_string()
    }
}

impl TryFrom<String> for WalName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

/// Eight hexadecimal digits in upper case, as PostgreSQL writes them; it takes no other for its own.
fn digits(text: &str) -> Option<u32> {
    let legal = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
    if text.len() == 8 && text.bytes().all(legal) { u32::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_hold_what_follows_each_other_on_one_timeline() {
        let size = SegmentSize::try_from(16 << 20).unwrap();
        let names =
            ["0000000100000000000000FE", "0000000100000000000000FF", "000000010000000100000000", "000000020000000100000001"];
        let names = names.map(|name| name.parse::<SegmentName>().unwrap());
        let ranges = SegmentRange::of(names, size);
        let shown: Vec<_> = ranges.iter().map(ToString::to_string).collect();
        let last = names[3];
        assert_eq!(shown, ["0000000100000000000000FE..000000010000000100000000".to_owned(), format!("{last}..{last}")]);
        assert_eq!(shown.iter().map(|text| text.parse().unwrap()).collect::<Vec<SegmentRange>>(), ranges);
        assert!(names.iter().all(|name| ranges.iter().filter(|range| range.contains(name)).count() == 1));
        assert!(!ranges.iter().any(|range| range.contains(&names[2].next(size)) || range.contains(&last.next(size))));
        for wrong in [format!("{last}"), format!("{last}..{}", names[0]), format!("{}..{}", names[1], names[0])] {
            assert!(wrong.parse::<SegmentRange>().is_err(), "{wrong}");
        }
    }

    fn any_name() -> impl Strategy<Value = WalName> {
        (1u32.., any::<u32>(), any::<u32>(), any::<u32>(), 0..4).prop_map(|(timeline, log, number, offset, kind)| {
            let timeline = Timeline(timeline);
            let segment = SegmentName { timeline, log, number };
            match kind {
                0 => WalName::Segment(segment),
                1 => WalName::Partial(segment),
                2 => WalName::History(timeline),
                _ => WalName::Backup { segment, offset },
            }
        })
    }

    proptest! {
        #[test]
        fn f48_a_name_is_read_as_it_is_written_on_any_timeline(name in any_name()) {
            let text = name.to_string();
            prop_assert_eq!(text.parse::<WalName>().unwrap(), name);
            prop_assert_eq!(&text[..8], format!("{:08X}", name.timeline().0));
            prop_assert!(text.len() <= 64);
        }

        #[test]
        fn names_sort_as_the_log_goes(timeline in 1u32.., lsn in 0..u64::MAX - (1 << 31), bits in 20u32..=30) {
            let size = SegmentSize::try_from(1 << bits).unwrap();
            let name = SegmentName::containing(Timeline(timeline), Lsn(lsn), size);
            prop_assert!(name.fits(size) && name.start(size) <= Lsn(lsn) && Lsn(lsn) < name.end(size));
            let next = name.next(size);
            prop_assert_eq!(next.start(size), name.end(size));
            prop_assert!(next.to_string() > name.to_string());
        }

        #[test]
        fn no_text_is_taken_for_a_name_that_it_is_not(text in "[0-9A-Fa-f.+ ]{0,3}[0-9A-F]{16,24}(\\.[0-9A-F]{8})?(\\.(partial|history|backup))?") {
            if let Ok(name) = text.parse::<WalName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }

    #[test]
    fn f48_timelines_are_hexadecimal() {
        assert_eq!("0000000A.history".parse::<WalName>().unwrap(), WalName::History(Timeline(10)));
        assert_eq!("00000010000000000000000A".parse::<SegmentName>().unwrap().timeline, Timeline(16));
        assert_eq!(Timeline(31).to_string(), "0000001F");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let tmp = ".tmp-000000010000000000000001";
        for wrong in [
            "",
            "0",
            "00000000.history",
            "000000010000000000000001.gz",
            "00000001000000000000000a",
            tmp,
            "RECOVERYXLOG",
            "../000000010000000000000001",
            "00000001000000000000000é",
        ] {
            assert!(wrong.parse::<WalName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_number_of_a_segment_depends_on_their_size() {
        let name: SegmentName = "0000000100000002000000FF".parse().unwrap();
        assert_eq!(name.start(SegmentSize::DEFAULT), Lsn(0x2_FF00_0000));
        assert_eq!(name.next(SegmentSize::DEFAULT).to_string(), "000000010000000300000000");
        assert!(!name.fits(SegmentSize::try_from(1 << 30).unwrap()));
    }
}
