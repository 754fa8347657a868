//! One record of the log: what it says, if recovery can stop at it.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use chrono::{DateTime, Utc};
use crc_fast::{CrcAlgorithm, Digest};

use super::walk::RECORD_HEADER_BYTES;
use super::{Creation, Stamp, What};
use crate::Lsn;

/// Resource managers (`rmgrlist.h`).
const XLOG: u8 = 0;
const XACT: u8 = 1;
const TABLESPACE: u8 = 5;

/// Kinds of record of XLOG.
const CHECKPOINT_SHUTDOWN: u8 = 0x00;
const CHECKPOINT_ONLINE: u8 = 0x10;
const SWITCH: u8 = 0x40;
const RESTORE_POINT: u8 = 0x70;

/// The kind of record of TABLESPACE by which one is made.
const TABLESPACE_CREATE: u8 = 0x00;

/// Kinds of record of XACT, below the flag that more than the time follows.
const KIND: u8 = 0x70;
const COMMIT: u8 = 0x00;
const ABORT: u8 = 0x20;
const COMMIT_PREPARED: u8 = 0x30;
const ABORT_PREPARED: u8 = 0x40;
const HAS_INFO: u8 = 0x80;

/// What follows the time of the end of a transaction, in this order.
const HAS_DATABASE: u32 = 1;
const HAS_SUBTRANSACTIONS: u32 = 1 << 1;
const HAS_FILES: u32 = 1 << 2;
const HAS_DROPPED_STATISTICS: u32 = 1 << 8;
const HAS_INVALIDATIONS: u32 = 1 << 3;
const HAS_PREPARED: u32 = 1 << 4;

/// Where the time stands in a checkpoint (`CheckPoint` of `pg_control.h`), in bytes.
const CHECKPOINT_TIME_AT: usize = 64;

/// 2000-01-01 in seconds since 1970: where PostgreSQL's time stamps begin.
const EPOCH_SECONDS: i64 = 946_684_800;

/// A record whose length has been read, and no more.
pub(super) struct Record<'a> {
    lsn: Lsn,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Record<'a> {
    /// The record at `lsn`: its header, at least.
    pub(super) fn new(lsn: Lsn, bytes: Cow<'a, [u8]>) -> Self {
        assert!(bytes.len() >= RECORD_HEADER_BYTES, "the walk has looked at its length");
        Record { lsn, bytes }
    }

    /// Where it begins.
    pub(super) fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Where the record before it begins.
    pub(super) fn previous(&self) -> Lsn {
        Lsn(u64_at(&self.bytes, 8).unwrap_or_default())
    }

    /// Whether its CRC-32C, which stands at `at` of its header, is that of the rest and of the header before it.
    pub(super) fn fits_its_crc(&self, at: usize) -> bool {
        let mut crc = Digest::new(CrcAlgorithm::Crc32Iscsi);
        crc.update(&self.bytes[RECORD_HEADER_BYTES..]);
        crc.update(&self.bytes[..at]);
        u32_at(&self.bytes, at).is_some_and(|expected| u64::from(expected) == crc.finalize())
    }

    /// Whether the log goes on in the next segment.
    pub(super) fn switches(&self) -> bool {
        self.manager() == XLOG && self.info() & 0xF0 == SWITCH
    }

    /// The moment it tells. None for most records, and where the time is not one.
    pub(super) fn stamp(&self, major: u32) -> Option<Stamp> {
        let (what, at) = match self.manager() {
            XLOG => self.of_xlog()?,
            XACT => self.of_xact(major)?,
            _ => return None,
        };
        Some(Stamp { lsn: self.lsn, what, at })
    }

    /// The tablespace it makes, if it makes one.
    pub(super) fn creation(&self) -> Option<Creation> {
        if self.manager() != TABLESPACE || self.info() & 0xF0 != TABLESPACE_CREATE {
            return None;
        }
        let data = self.data()?;
        let (oid, path) = (u32_at(data, 0)?, data.get(4..)?);
        let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(Creation { lsn: self.lsn, oid, path: OsStr::from_bytes(path).into() })
    }

    fn of_xlog(&self) -> Option<(What, DateTime<Utc>)> {
        let data = || self.data();
        match self.info() & 0xF0 {
            CHECKPOINT_SHUTDOWN | CHECKPOINT_ONLINE => {
                let seconds = i64_at(data()?, CHECKPOINT_TIME_AT)?;
                Some((What::Checkpoint, DateTime::from_timestamp(seconds, 0)?))
            }
            RESTORE_POINT => {
                let name = data()?.get(8..)?;
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                Some((What::RestorePoint(String::from_utf8_lossy(name).into_owned()), time(data()?)?))
            }
            _ => None,
        }
    }

    fn of_xact(&self, major: u32) -> Option<(What, DateTime<Utc>)> {
        let own = u32_at(&self.bytes, 4).unwrap_or_default();
        let data = || self.data();
        let prepared = || prepared(data()?, self.info(), major);
        let what = match self.info() & KIND {
            COMMIT => What::Commit { xid: own },
            ABORT => What::Abort { xid: own },
            COMMIT_PREPARED => What::Commit { xid: prepared().unwrap_or(own) },
            ABORT_PREPARED => What::Abort { xid: prepared().unwrap_or(own) },
            _ => return None,
        };
        Some((what, time(data()?)?))
    }

    fn info(&self) -> u8 {
        self.bytes[16]
    }

    fn manager(&self) -> u8 {
        self.bytes[17]
    }

    /// The record's own data. None where it has pages, as none of the records has that are read here.
    fn data(&self) -> Option<&[u8]> {
        let mut rest = &self.bytes[RECORD_HEADER_BYTES..];
        loop {
            let (kind, after) = rest.split_first()?;
            rest = after;
            let (length, data) = match kind {
                255 => (usize::from(*rest.first()?), rest.get(1..)?),
                254 => (u32_at(rest, 0)? as usize, rest.get(4..)?),
                // The replication origin, and the transaction above a subtransaction.
                253 => {
                    rest = rest.get(2..)?;
                    continue;
                }
                252 => {
                    rest = rest.get(4..)?;
                    continue;
                }
                _ => return None,
            };
            return (data.len() == length).then_some(data);
        }
    }
}

/// The number of the prepared transaction that has ended; it stands behind lists that are passed over.
fn prepared(data: &[u8], info: u8, major: u32) -> Option<u32> {
    if info & HAS_INFO == 0 {
        return None;
    }
    let flags = u32_at(data, 8)?;
    let mut at = 12;
    if flags & HAS_DATABASE != 0 {
        at += 8;
    }
    let statistics = if major >= 18 { 16 } else { 12 };
    let lists = [(HAS_SUBTRANSACTIONS, 4), (HAS_FILES, 12), (HAS_DROPPED_STATISTICS, statistics), (HAS_INVALIDATIONS, 16)];
    for (flag, item_bytes) in lists {
        if flags & flag != 0 {
            let items = u32_at(data, at)? as usize;
            at = items.checked_mul(item_bytes)?.checked_add(at + 4)?;
        }
    }
    if flags & HAS_PREPARED != 0 { u32_at(data, at) } else { None }
}

/// The time at the beginning of a record's data.
fn time(data: &[u8]) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(i64_at(data, 0)?.checked_add(EPOCH_SECONDS * 1_000_000)?)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_ne_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}
