//! Is a file of WAL what its name says? The header of a segment's first page knows (`XLogLongPageHeaderData` of PostgreSQL's
//! `src/include/access/xlog_internal.h`), in the byte order of the host that wrote it.

use crate::{Error, Lsn, SegmentName, SegmentSize, Timeline};

/// Size of the header of a segment's first page, in bytes.
pub const LONG_HEADER_BYTES: usize = 40;

/// The flag of a page that has the long header.
const LONG: u16 = 0x0002;

/// The magic number of every major version's pages, newest first.
const MAGIC: [(u16, u32); 6] = [(0xD118, 18), (0xD116, 17), (0xD113, 16), (0xD110, 15), (0xD10D, 14), (0xD106, 13)];

/// What the first page of a segment says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The major version of the server that wrote it.
    pub major: u32,
    /// The system identifier of its cluster.
    pub system_identifier: u64,
    /// The cluster's size of segments.
    pub segment_size: SegmentSize,
    /// Size of a page of WAL, in bytes.
    pub page_bytes: u32,
    /// The timeline of the first page: that of the segment's name, or an older one where the segment was copied when the
    /// timeline was switched.
    pub timeline: Timeline,
    /// Where the page begins.
    pub page_address: Lsn,
}

/// Reads the header at the beginning of a segment.
///
/// # Errors
/// [`Error::Damaged`] where there is none, or it is of a version or byte order that is not known here.
pub fn read(first: &[u8]) -> Result<Header, Error> {
    parse(first).map_err(|why| Error::damaged("a segment of WAL", why))
}

/// Holds a segment of `bytes` bytes, of which the first are given, against its name.
///
/// # Errors
/// [`Error::Damaged`] where it is not that segment, whole.
pub fn check_segment(first: &[u8], bytes: u64, name: &SegmentName) -> Result<Header, Error> {
    let header = check_beginning(first, name)?;
    let expected = header.segment_size.bytes();
    if bytes != expected {
        return Err(Error::damaged(name, format!("{bytes} bytes, and segments of this cluster have {expected}")));
    }
    Ok(header)
}

/// Holds the beginning of a segment, whole or not, against its name.
///
/// # Errors
/// [`Error::Damaged`] where it is not the beginning of that segment.
pub fn check_beginning(first: &[u8], name: &SegmentName) -> Result<Header, Error> {
    let damaged = |why: String| Error::damaged(name, why);
    let header = parse(first).map_err(damaged)?;
    if !name.fits(header.segment_size) {
        let size = header.segment_size.bytes();
        return Err(damaged(format!("no segment of a cluster with segments of {size} bytes has such a name")));
    }
    let start = name.start(header.segment_size);
    if header.page_address != start {
        return Err(damaged(format!("its first page is that of {}, and its name says {start}", header.page_address)));
    }
    if header.timeline > name.timeline {
        return Err(damaged(format!("it was written on timeline {}, which is newer than its name", header.timeline)));
    }
    Ok(header)
}

fn parse(first: &[u8]) -> Result<Header, String> {
    if first.len() < LONG_HEADER_BYTES {
        return Err(format!("{} bytes are no segment of WAL", first.len()));
    }
    let first = &first[..LONG_HEADER_BYTES];
    if first.iter().all(|byte| *byte == 0) {
        return Err("it begins with zeros: no WAL was written to it, or it was lost".into());
    }
    let major = major(u16_at(first, 0))?;
    if u16_at(first, 2) & LONG == 0 {
        return Err("its first page is not the first of a segment".into());
    }
    let segment_size = SegmentSize::try_from(u64::from(u32_at(first, 32))).map_err(|error| error.to_string())?;
    let page_bytes = u32_at(first, 36);
    if !page_bytes.is_power_of_two() || !(1024..=65536).contains(&page_bytes) {
        return Err(format!("pages of {page_bytes} bytes"));
    }
    let timeline = match u32_at(first, 4) {
        0 => return Err("its first page is of timeline 0".into()),
        timeline => Timeline(timeline),
    };
    let (page_address, system_identifier) = (Lsn(u64_at(first, 8)), u64_at(first, 24));
    Ok(Header { major, system_identifier, segment_size, page_bytes, timeline, page_address })
}

fn major(magic: u16) -> Result<u32, String> {
    let known = |magic: u16| MAGIC.iter().find(|(known, _)| *known == magic).map(|(_, major)| *major);
    match (known(magic), known(magic.swap_bytes())) {
        (Some(major), _) => Ok(major),
        (None, Some(major)) => Err(format!("WAL of PostgreSQL {major} on a machine of another byte order")),
        (None, None) if magic > MAGIC[0].0 && magic < 0xD200 => {
            Err(format!("WAL of a newer PostgreSQL than {} (magic {magic:04X}): upgrade dr", MAGIC[0].1))
        }
        (None, None) => Err(format!("no WAL: its magic number is {magic:04X}")),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The first page of a segment of PostgreSQL 18, at 0/1000000.
    fn page(magic: u16, timeline: u32) -> Vec<u8> {
        let mut page = vec![0; 8192];
        page[..2].copy_from_slice(&magic.to_ne_bytes());
        page[2..4].copy_from_slice(&LONG.to_ne_bytes());
        page[4..8].copy_from_slice(&timeline.to_ne_bytes());
        page[8..16].copy_from_slice(&0x100_0000_u64.to_ne_bytes());
        page[24..32].copy_from_slice(&7_u64.to_ne_bytes());
        page[32..36].copy_from_slice(&(16_u32 << 20).to_ne_bytes());
        page[36..40].copy_from_slice(&8192_u32.to_ne_bytes());
        page
    }

    fn why(first: &[u8], bytes: u64, name: &str) -> String {
        check_segment(first, bytes, &name.parse().unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn a_header_is_held_against_the_name() {
        let name = "000000020000000000000001".parse().unwrap();
        let header = check_segment(&page(0xD118, 1), 16 << 20, &name).unwrap();
        assert_eq!((header.major, header.system_identifier, header.timeline), (18, 7, Timeline(1)));
        assert_eq!((header.page_address, header.segment_size), (Lsn(0x100_0000), SegmentSize::DEFAULT));
    }

    #[test]
    fn f46_what_is_not_that_segment_is_refused() {
        let good = page(0xD118, 1);
        let name = "000000010000000000000001";
        assert!(why(&good, 16 << 19, name).ends_with("8388608 bytes, and segments of this cluster have 16777216"));
        assert!(why(&good, 16 << 20, "000000010000000000000002").contains("its first page is that of 0/1000000"));
        assert!(why(&page(0xD118, 3), 16 << 20, "000000020000000000000001").contains("newer than its name"));
        assert!(why(&[0; 8192], 16 << 20, name).contains("begins with zeros"));
        assert!(why(&good[..39], 39, name).contains("39 bytes are no segment"));
        assert!(why(&page(0xD118_u16.swap_bytes(), 1), 16 << 20, name).contains("another byte order"));
        assert!(why(&page(0xD119, 1), 16 << 20, name).contains("newer PostgreSQL than 18"));
        assert!(why(&page(0x1234, 1), 16 << 20, name).contains("no WAL"));
        assert!(why(&good, 16 << 20, "000000010000000000000101").contains("has such a name"));
    }
}
