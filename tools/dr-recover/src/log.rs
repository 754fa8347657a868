//! Which moments does the WAL hold? Segments are read back from the end, several at once, only as far as a question needs.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use dr_pipe::{Exit, Failure, workers};
use dr_wal::stamps::{self, Begun, Scan, Stamp, What};
use dr_wal::{Lsn, SegmentName};

use crate::survey::Survey;

/// Scans of segments, each made once.
pub struct Log<'s> {
    survey: &'s Survey<'s>,
    jobs: usize,
    known: Mutex<HashMap<SegmentName, Arc<Scan>>>,
    creations: Mutex<Vec<Lsn>>,
    spoilt: Mutex<BTreeMap<SegmentName, Failure>>,
}

/// The last moments of a row of segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Last {
    /// The end of the last transaction: the latest moment, not the last record, as clocks go back.
    pub ended: Option<DateTime<Utc>>,
    /// The latest moment at which the server said anything, such as a checkpoint.
    pub sign: Option<DateTime<Utc>>,
    /// Where the last whole record begins, and where it ends.
    pub record: Option<(Lsn, Lsn)>,
}

impl<'s> Log<'s> {
    /// Nothing is read yet.
    pub fn new(survey: &'s Survey<'s>, jobs: usize) -> Self {
        Log { survey, jobs, known: Mutex::default(), creations: Mutex::default(), spoilt: Mutex::default() }
    }

    /// The last moments of `segments`, read back to the last one in which a transaction ended.
    ///
    /// # Errors
    /// As reading them.
    pub fn last(&self, segments: &[SegmentName]) -> Result<Last, Failure> {
        let mut last = Last::default();
        // The last one is enough where anything happens at all.
        let mut end = segments.len();
        for step in std::iter::once(1).chain(std::iter::repeat(self.jobs)) {
            let begin = end.saturating_sub(step);
            for scan in self.scans(segments, begin..end)?.iter().rev() {
                if let (None, Some(begins)) = (last.record, scan.last) {
                    last.record = Some((begins, scan.end));
                }
                last.sign = last.sign.max(scan.stamps.iter().map(|stamp| stamp.at).max());
                last.ended = scan.stamps.iter().filter(|stamp| ends_transaction(stamp)).map(|stamp| stamp.at).max();
                if last.ended.is_some() {
                    return Ok(last);
                }
            }
            end = begin;
            if end == 0 {
                break;
            }
        }
        Ok(last)
    }

    /// The last record of `segments` that `wanted` knows, and how many there are of them in the segment where it lies.
    ///
    /// # Errors
    /// As reading them.
    pub fn find(&self, segments: &[SegmentName], wanted: impl Fn(&What) -> bool) -> Result<Option<(SegmentName, Stamp)>, Failure> {
        let mut end = segments.len();
        while end > 0 {
            let begin = end.saturating_sub(self.jobs);
            for (name, scan) in segments[begin..end].iter().zip(self.scans(segments, begin..end)?).rev() {
                if let Some(stamp) = scan.stamps.iter().rev().find(|stamp| wanted(&stamp.what)) {
                    return Ok(Some((*name, stamp.clone())));
                }
            }
            end = begin;
        }
        Ok(None)
    }

    /// When the first transaction of `segments` ended whose end begins at `from` or behind it.
    ///
    /// # Errors
    /// As reading them.
    pub fn first_end(&self, segments: &[SegmentName], from: Lsn) -> Result<Option<DateTime<Utc>>, Failure> {
        // The first one is enough where anything happens at all.
        let (mut begin, mut step) = (0, 1);
        while begin < segments.len() {
            let end = segments.len().min(begin + step);
            let scans = self.scans(segments, begin..end)?;
            (begin, step) = (end, self.jobs);
            for scan in scans {
                if let Some(stamp) = scan.stamps.iter().find(|stamp| stamp.lsn >= from && ends_transaction(stamp)) {
                    return Ok(Some(stamp.at));
                }
            }
        }
        Ok(None)
    }

    /// The ends of transactions in the last `most` of `segments`, in their order.
    ///
    /// # Errors
    /// As reading them.
    pub fn last_ends(&self, segments: &[SegmentName], most: usize) -> Result<Vec<Stamp>, Failure> {
        let scans = self.scans(segments, segments.len().saturating_sub(most)..segments.len())?;
        Ok(scans.iter().flat_map(|scan| &scan.stamps).filter(|stamp| ends_transaction(stamp)).cloned().collect())
    }

    /// Where tablespaces were made, in what has been read so far.
    pub fn creations(&self) -> Vec<Lsn> {
        self.creations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Segments that are there and cannot be used, as far as anybody has noticed; and why.
    pub fn spoilt(&self) -> BTreeMap<SegmentName, Failure> {
        self.spoilt.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that a segment cannot be used, where that is why: whoever does not answer today may do so tomorrow.
    pub fn spoil(&self, name: SegmentName, why: Failure) -> Failure {
        if matches!(why.exit, Exit::Damaged | Exit::Untrusted) {
            self.spoilt.lock().unwrap_or_else(PoisonError::into_inner).insert(name, why.clone());
        }
        why
    }

    /// The scans of a few of these segments, which follow each other, made at once.
    fn scans(&self, segments: &[SegmentName], which: Range<usize>) -> Result<Vec<Arc<Scan>>, Failure> {
        let scans = workers::map(which.len(), &segments[which.clone()], |name| self.scan(name));
        let scans: Result<Vec<_>, Failure> = scans.into_iter().collect();
        which.zip(scans?).map(|(at, scan)| self.completed(&segments[..at], scan)).collect()
    }

    /// A scan with the record that began in the segments `before`, if it ends there.
    fn completed(&self, before: &[SegmentName], scan: Arc<Scan>) -> Result<Arc<Scan>, Failure> {
        if scan.rest.is_none() {
            return Ok(scan);
        }
        let Some((whole, creations)) = self.left(before)?.and_then(|begun| scan.completed(&begun)) else { return Ok(scan) };
        self.creations.lock().unwrap_or_else(PoisonError::into_inner).extend(creations.iter().map(|creation| creation.lsn));
        Ok(Arc::new(whole))
    }

    /// The record that is unfinished where these segments end; one of hundreds of megabytes goes through several.
    fn left(&self, segments: &[SegmentName]) -> Result<Option<Begun>, Failure> {
        let Some((last, before)) = segments.split_last() else { return Ok(None) };
        let scan = self.scan(last)?;
        let goes_through = scan.begun.is_none() && scan.rest.is_some();
        let left = if goes_through { self.left(before)? } else { None };
        Ok(scan.leaves(left.as_ref()))
    }

    fn scan(&self, name: &SegmentName) -> Result<Arc<Scan>, Failure> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scan) = known().get(name) {
            return Ok(Arc::clone(scan));
        }
        let scan = self.read(name).map_err(|why| self.spoil(*name, why))?;
        known().insert(*name, Arc::clone(&scan));
        Ok(scan)
    }

    fn read(&self, name: &SegmentName) -> Result<Arc<Scan>, Failure> {
        let bytes = self.survey.read(&(*name).into())?;
        // It was listed a moment ago: who deletes it now is at work on the same archive.
        let gone = || dr_wal::Error::Damaged { object: name.to_string(), why: "it was listed, and is not there any more".into() };
        let (scan, creations) = stamps::scan_for_tablespaces(&bytes.ok_or_else(gone)?, name)?;
        self.creations.lock().unwrap_or_else(PoisonError::into_inner).extend(creations.iter().map(|creation| creation.lsn));
        Ok(Arc::new(scan))
    }
}

/// Whether PostgreSQL looks at the time of this record when it recovers to a time: the end of a transaction.
pub fn ends_transaction(stamp: &Stamp) -> bool {
    matches!(stamp.what, What::Commit { .. } | What::Abort { .. })
}
