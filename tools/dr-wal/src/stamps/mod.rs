//! Which moments does a segment hold? Walks its records, and gives the time of every one that recovery can stop at; and every
//! tablespace that replay makes where it was.
//!
//! Layouts are those of PostgreSQL 13 to 18: `src/include/access/xlog_internal.h`, `xlogrecord.h`, `xact.h`,
//! `catalog/pg_control.h` and `commands/tablespace.h`. Of what is read here, only the items of dropped statistics in commits differ between them.

mod crossing;
mod record;
mod walk;

use std::path::PathBuf;

use chrono::{DateTime, Utc};

pub use crossing::{Begun, Rest};

use crate::{Error, Lsn, SegmentName, header};

/// A moment in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Where its record begins.
    pub lsn: Lsn,
    /// What happened.
    pub what: What,
    /// When, by the server's clock: to the microsecond; to the second for a checkpoint.
    pub at: DateTime<Utc>,
}

/// What happened at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A transaction was committed, perhaps one that had been prepared.
    Commit {
        /// Its number.
        xid: u32,
    },
    /// A transaction was rolled back, perhaps one that had been prepared.
    Abort {
        /// Its number.
        xid: u32,
    },
    /// A checkpoint was begun.
    Checkpoint,
    /// `pg_create_restore_point` was called with this name.
    RestorePoint(String),
}

/// A tablespace was made (`CREATE TABLESPACE`): replay makes it again, in the same directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creation {
    /// Where its record begins.
    pub lsn: Lsn,
    /// Its OID.
    pub oid: u32,
    /// Its directory; empty where it lies in the data directory itself.
    pub path: PathBuf,
}

/// What a segment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Its moments, in the order of the log. Clocks may go back.
    pub stamps: Vec<Stamp>,
    /// Where the last record begins that is whole; none if no record both begins and ends in the segment.
    pub last: Option<Lsn>,
    /// Where that record ends, rounded up to the eight bytes at which the next one begins; the segment's beginning if there is
    /// none. A record from the segment before, which ends in this one, is not looked at: see [`Scan::completed`].
    pub end: Lsn,
    /// Why the scan ended there.
    pub ended: Ended,
    /// What it begins with of a record from the segment before.
    pub rest: Option<Rest>,
    /// The record that began in it, and goes on in the next one.
    pub begun: Option<Begun>,
}

/// Why a scan ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The next record begins in the next segment, or goes on there.
    Full,
    /// The server switched to the next segment (`XLOG_SWITCH`): what follows is no log.
    Switched,
    /// Nothing more has been written: zeros follow, or no bytes at all.
    Unwritten,
    /// What follows is no record: damage, or what a recycled segment held before. The text says what is wrong.
    Invalid(String),
}

/// Walks the records of a segment, or of its beginning, and checks the CRC of each.
///
/// # Errors
/// [`Error::Damaged`] where the bytes are not the beginning of that segment. Records that are wrong are no error: see [`Ended`].
pub fn scan(segment: &[u8], name: &SegmentName) -> Result<Scan, Error> {
    scan_for_tablespaces(segment, name).map(|(scan, _)| scan)
}

/// As [`scan`], with the tablespaces that were made, in the order of the log.
///
/// # Errors
/// As [`scan`].
pub fn scan_for_tablespaces(segment: &[u8], name: &SegmentName) -> Result<(Scan, Vec<Creation>), Error> {
    let header = header::check_beginning(segment, name)?;
    let start = name.start(header.segment_size);
    let mut walk = walk::Walk::new(segment, &header);
    let mut creations = Vec::new();
    let mut scan = Scan { stamps: Vec::new(), last: None, end: start, ended: Ended::Full, rest: None, begun: None };
    loop {
        let next = walk.next();
        scan.rest = scan.rest.or_else(|| walk.rest.take());
        match next {
            Ok(record) => {
                scan.stamps.extend(record.stamp(header.major));
                creations.extend(record.creation());
                scan.last = Some(record.lsn());
                scan.end = walk.position();
                if record.switches() {
                    scan.ended = Ended::Switched;
                    return Ok((scan, creations));
                }
            }
            Err(ended) => {
                scan.ended = ended;
                scan.begun = walk.begun.take();
                return Ok((scan, creations));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const PAGE: usize = 8192;
    const SEGMENT: usize = 1 << 20;

    /// Writes records as a server does: across pages, at multiples of eight bytes.
    struct Writer {
        bytes: Vec<u8>,
        last: u64,
        records: Vec<u64>,
    }

    impl Writer {
        fn new() -> Writer {
            let mut writer = Writer { bytes: Vec::new(), last: 0, records: Vec::new() };
            writer.page(0);
            writer
        }

        fn page(&mut self, rem: usize) {
            let address = (SEGMENT + self.bytes.len()) as u64;
            let first = self.bytes.len().is_multiple_of(SEGMENT);
            let flags = if first { 2_u16 } else { 0 } | u16::from(rem > 0);
            let header = [&0xD118_u16.to_ne_bytes()[..], &flags.to_ne_bytes(), &1_u32.to_ne_bytes(), &address.to_ne_bytes()];
            self.bytes.extend(header.concat());
            self.bytes.extend((rem as u32).to_ne_bytes());
            self.bytes.extend([0; 4]);
            if first {
                self.bytes.extend(7_u64.to_ne_bytes());
                self.bytes.extend((SEGMENT as u32).to_ne_bytes());
                self.bytes.extend((PAGE as u32).to_ne_bytes());
            }
        }

        fn write(&mut self, rmid: u8, info: u8, xid: u32, headers: &[u8], data: &[u8]) {
            if self.bytes.len().is_multiple_of(PAGE) {
                self.page(0);
            }
            let lsn = (SEGMENT + self.bytes.len()) as u64;
            let rest = [headers, data].concat();
            let mut record = ((24 + rest.len()) as u32).to_ne_bytes().to_vec();
            record.extend(xid.to_ne_bytes());
            record.extend(self.last.to_ne_bytes());
            record.extend([info, rmid, 0, 0]);
            let mut crc = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
            crc.update(&rest);
            crc.update(&record);
            record.extend((crc.finalize() as u32).to_ne_bytes());
            record.extend(rest);
            let mut rest = &record[..];
            while !rest.is_empty() {
                if self.bytes.len().is_multiple_of(PAGE) {
                    self.page(rest.len());
                }
                let (now, later) = rest.split_at(rest.len().min(PAGE - self.bytes.len() % PAGE));
                self.bytes.extend(now);
                rest = later;
            }
            self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
            self.last = lsn;
            self.records.push(lsn);
        }

        fn long(&mut self, rmid: u8, info: u8, xid: u32, data: &[u8]) {
            let headers = [&[254][..], &(data.len() as u32).to_ne_bytes()].concat();
            self.write(rmid, info, xid, &headers, data);
        }

        fn segment(mut self) -> Vec<u8> {
            self.bytes.resize(SEGMENT, 0);
            self.bytes
        }
    }

    fn name() -> SegmentName {
        "000000010000000000000001".parse().unwrap()
    }

    fn time() -> [u8; 8] {
        // One second after PostgreSQL's epoch.
        1_000_000_i64.to_ne_bytes()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn records_of_any_size_are_walked_to_the_last(sizes in prop::collection::vec(0..40_000usize, 0..24)) {
            let mut writer = Writer::new();
            for size in &sizes {
                writer.long(10, 0, 5, &vec![0xAB; *size]);
            }
            let (records, end) = (writer.records.clone(), (SEGMENT + writer.bytes.len()) as u64);
            let scan = scan(&writer.segment(), &name()).unwrap();
            prop_assert_eq!(scan.last, records.last().map(|lsn| Lsn(*lsn)));
            prop_assert_eq!(scan.end, if sizes.is_empty() { Lsn(SEGMENT as u64) } else { Lsn(end) });
            prop_assert_eq!(scan.ended, Ended::Unwritten);
        }

        /// F68: no byte of a record can change without the scan ending before it.
        #[test]
        fn f68_a_changed_byte_ends_the_scan_before_its_record(place: prop::sample::Index, bit in 0..8u8) {
            let mut writer = Writer::new();
            for xid in 0..200 {
                writer.long(1, 0x80, xid, &[&time()[..], &[0; 93]].concat());
            }
            let mut bytes = writer.bytes.clone();
            let place = 40 + place.index(bytes.len() - 40);
            bytes[place] ^= 1 << bit;
            let whole = scan(&writer.bytes, &name()).unwrap();
            let scan = scan(&bytes, &name()).unwrap();
            prop_assert!(scan.stamps.len() <= whole.stamps.len());
            prop_assert_eq!(&scan.stamps[..], &whole.stamps[..scan.stamps.len()]);
        }

        #[test]
        fn hostile_bytes_never_panic(
            noise in prop::collection::vec(any::<u8>(), 0..3 * PAGE),
            at in prop::collection::vec((any::<prop::sample::Index>(), any::<[u8; 4]>()), 0..16),
            keep in 0..5 * PAGE,
        ) {
            let mut writer = Writer::new();
            for xid in 0..30 {
                writer.long(1, (xid as u8) << 4, xid, &noise[..noise.len() * xid as usize / 30]);
                writer.long(0, (xid as u8) << 4, xid, &noise[..noise.len() * xid as usize / 30]);
            }
            let mut bytes = writer.bytes.clone();
            bytes.truncate(keep.max(40));
            for (index, value) in at {
                let place = index.index(bytes.len() - 4);
                bytes[place..place + 4].copy_from_slice(&value);
            }
            drop(scan(&bytes, &name()));
            drop(scan(&[&writer.bytes[..40], &noise].concat(), &name()));
            drop(scan(&noise, &name()));
        }
    }

    #[test]
    fn moments_are_read_with_what_may_stand_before_them() {
        let mut writer = Writer::new();
        writer.write(1, 0x00, 7, &[255, 8], &time());
        let origin_and_top = [253, 1, 0, 252, 9, 0, 0, 0, 255, 8];
        writer.write(1, 0x20, 8, &origin_and_top, &time());
        // A prepared transaction with two subtransactions: its number stands behind them.
        let info = [(1_u32 << 1 | 1 << 4).to_ne_bytes(), 2_u32.to_ne_bytes(), [1; 4], [2; 4], 99_u32.to_ne_bytes()].concat();
        writer.long(1, 0xB0, 0, &[&time()[..], &info].concat());
        writer.long(1, 0xC0, 0, &[&time()[..], &(1_u32 << 4).to_ne_bytes(), &98_u32.to_ne_bytes()].concat());
        writer.long(1, 0x10, 6, &time());
        writer.long(0, 0x70, 0, &[&time()[..], b"before the change", &[0; 47]].concat());
        writer.long(0, 0x10, 0, &[&[0; 64][..], &946_684_801_i64.to_ne_bytes(), &[0; 16]].concat());
        writer.write(0, 0x40, 0, &[], &[]);
        let end = writer.bytes.len();
        writer.bytes.extend([0xFF; 100]);
        let scan = scan(&writer.segment(), &name()).unwrap();
        let expected = [
            What::Commit { xid: 7 },
            What::Abort { xid: 8 },
            What::Commit { xid: 99 },
            What::Abort { xid: 98 },
            What::RestorePoint("before the change".into()),
            What::Checkpoint,
        ];
        assert_eq!(scan.stamps.iter().map(|stamp| stamp.what.clone()).collect::<Vec<_>>(), expected);
        assert!(scan.stamps.iter().all(|stamp| stamp.at.to_rfc3339() == "2000-01-01T00:00:01+00:00"));
        assert_eq!((scan.ended, scan.end), (Ended::Switched, Lsn((SEGMENT + end) as u64)));
    }

    #[test]
    fn tablespaces_that_were_made_are_read_and_dropped_ones_are_not() {
        let mut writer = Writer::new();
        let made = |oid: u32, path: &[u8]| [&oid.to_ne_bytes()[..], path, b"\0"].concat();
        writer.long(5, 0x00, 7, &made(16400, b"/ts/a b"));
        writer.long(5, 0x10, 7, &16400_u32.to_ne_bytes());
        writer.long(5, 0x00, 8, &made(16401, b""));
        writer.long(5, 0x00, 8, &[1, 2]);
        writer.long(6, 0x00, 8, &made(16402, b"/not of this manager"));
        let lsns = writer.records.clone();
        let (scan, creations) = scan_for_tablespaces(&writer.segment(), &name()).unwrap();
        let read: Vec<_> = creations.iter().map(|made| (made.lsn.0, made.oid, made.path.to_str().unwrap())).collect();
        assert_eq!(read, [(lsns[0], 16400, "/ts/a b"), (lsns[2], 16401, "")]);
        assert_eq!(scan.stamps, []);
    }

    #[test]
    fn a_record_that_goes_on_in_the_next_segments_is_whole_with_them() {
        let mut writer = Writer::new();
        writer.long(10, 0, 5, &vec![1; SEGMENT / 2]);
        let begins = writer.bytes.len();
        // A commit that goes on in two more segments, and what comes after it.
        writer.long(1, 0x80, 9, &[&time()[..], &vec![0; 2 * SEGMENT]].concat());
        let ends = writer.bytes.len();
        writer.long(1, 0x00, 10, &time());
        let lsns = writer.records.clone();
        let bytes = writer.bytes;
        let name = |number: usize| format!("0000000100000000{:08X}", number + 1).parse::<SegmentName>().unwrap();
        let scans: Vec<_> =
            (0..3).map(|at| scan(&bytes[at * SEGMENT..bytes.len().min((at + 1) * SEGMENT)], &name(at)).unwrap()).collect();
        assert_eq!(scans[0].begun.as_ref().map(|begun| begun.lsn), Some(Lsn((SEGMENT + begins) as u64)));
        let left = scans[0].leaves(None);
        assert!(scans[1].completed(left.as_ref().unwrap()).is_none(), "it does not end there");
        let left = scans[1].leaves(left.as_ref());
        let (whole, creations) = scans[2].completed(left.as_ref().unwrap()).unwrap();
        let told: Vec<_> = whole.stamps.iter().map(|stamp| (stamp.lsn.0, stamp.what.clone())).collect();
        assert_eq!(told, [(lsns[1], What::Commit { xid: 9 }), (lsns[2], What::Commit { xid: 10 })]);
        assert_eq!((creations, whole.last), (vec![], Some(Lsn(lsns[2]))));
        assert_eq!(scans[2].leaves(left.as_ref()), None);
        // Where nothing comes after it, it is the last one. And what does not fit is no record.
        let alone = scan(&bytes[2 * SEGMENT..ends], &name(2)).unwrap();
        let (whole, _) = alone.completed(left.as_ref().unwrap()).unwrap();
        assert_eq!((whole.last, whole.end), (Some(Lsn(lsns[1])), Lsn((SEGMENT + ends) as u64)));
        assert!(alone.completed(scans[0].begun.as_ref().unwrap()).is_none());
        let cut = scan(&bytes[2 * SEGMENT..ends - 8], &name(2)).unwrap();
        assert!(cut.completed(left.as_ref().unwrap()).is_none());
        let mut changed = bytes[2 * SEGMENT..ends].to_vec();
        changed[100] ^= 1;
        assert!(scan(&changed, &name(2)).unwrap().completed(left.as_ref().unwrap()).is_none());
    }

    #[test]
    fn a_record_that_goes_on_in_the_next_segment_ends_the_scan() {
        let mut writer = Writer::new();
        writer.long(10, 0, 5, &vec![1; SEGMENT / 2]);
        let end = writer.bytes.len();
        writer.long(10, 0, 5, &vec![2; SEGMENT]);
        writer.bytes.truncate(SEGMENT);
        let scan = scan(&writer.bytes, &name()).unwrap();
        assert_eq!((scan.ended, scan.end), (Ended::Full, Lsn((SEGMENT + end) as u64)));
        let cut = super::scan(&writer.bytes[..SEGMENT / 4 * 3], &name()).unwrap();
        assert_eq!((cut.ended, cut.end), (Ended::Unwritten, scan.end), "what is not there yet is not damage");
    }
}
