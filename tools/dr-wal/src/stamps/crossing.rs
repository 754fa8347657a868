//! Records that begin in one segment and end in another: a scan of one alone does not see them.

use std::borrow::Cow;

use super::record::Record;
use super::walk::CRC_AT;
use super::{Creation, Ended, Scan};
use crate::Lsn;

/// A record that has begun, and its bytes so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Where it begins.
    pub lsn: Lsn,
    pub(super) bytes: Vec<u8>,
    /// Its length, whole.
    pub(super) length: usize,
}

/// What a segment begins with of a record from before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    pub(super) bytes: Vec<u8>,
    /// How many bytes of the record were left when the segment began: more than these where it goes on in the next one.
    pub(super) left: usize,
    /// Where the next record begins, where it ends here.
    pub(super) end: Lsn,
    /// The version that wrote it.
    pub(super) major: u32,
}

impl Begun {
    /// Whether it goes on so.
    fn fits(&self, rest: &Rest) -> bool {
        self.length - self.bytes.len() == rest.left
    }

    fn with(&self, rest: &Rest) -> Vec<u8> {
        [self.bytes.as_slice(), &rest.bytes].concat()
    }
}

impl Scan {
    /// The record that is unfinished at its end, where the segment before has left `before` unfinished.
    pub fn leaves(&self, before: Option<&Begun>) -> Option<Begun> {
        let goes_on = |rest: &&Rest| self.ended == Ended::Full && rest.bytes.len() < rest.left;
        self.begun.clone().or_else(|| {
            let (rest, before) = (self.rest.as_ref().filter(goes_on)?, before?);
            before.fits(rest).then(|| Begun { bytes: before.with(rest), ..*before })
        })
    }

    /// The scan with the record that the segment before has left unfinished, and what that makes. None where it does not end here,
    /// or is not this record.
    pub fn completed(&self, before: &Begun) -> Option<(Scan, Vec<Creation>)> {
        let rest = self.rest.as_ref().filter(|rest| rest.bytes.len() == rest.left && before.fits(rest))?;
        let record = Record::new(before.lsn, Cow::Owned(before.with(rest)));
        if !record.fits_its_crc(CRC_AT) {
            return None;
        }
        let mut scan = self.clone();
        scan.stamps.splice(0..0, record.stamp(rest.major));
        if scan.last.is_none() {
            (scan.last, scan.end) = (Some(before.lsn), rest.end);
        }
        Some((scan, record.creation().into_iter().collect()))
    }
}
