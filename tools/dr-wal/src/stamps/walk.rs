//! From one record to the next, across pages.

use std::borrow::Cow;

use super::record::Record;
use super::{Begun, Ended, Rest};
use crate::Lsn;
use crate::header::{Header, LONG_HEADER_BYTES};

/// Size of the header of a page that is not a segment's first, in bytes.
const SHORT_HEADER_BYTES: usize = 24;
/// Size of a record's header, in bytes.
pub(super) const RECORD_HEADER_BYTES: usize = 24;
/// Where a record's CRC stands in its header.
pub(super) const CRC_AT: usize = 20;
/// Records begin at multiples of this.
const ALIGNMENT: usize = 8;

/// The page begins in the middle of a record.
const CONTINUES: u16 = 0x0001;
/// The page begins with a new record, although one was unfinished: the server had crashed, and never wrote the rest.
const OVERWRITES: u16 = 0x0008;

/// Where the scan of a segment is.
pub(super) struct Walk<'a> {
    bytes: &'a [u8],
    page_bytes: usize,
    segment_bytes: usize,
    start: Lsn,
    major: u32,
    /// Offset of what comes next; none before the first record has been looked for.
    next: Option<usize>,
    /// The record before it, in this segment.
    previous: Option<Lsn>,
    /// What the segment begins with of a record from before, once that was passed over.
    pub(super) rest: Option<Rest>,
    /// The record that goes on in the next segment, once it was come to.
    pub(super) begun: Option<Begun>,
}

/// What the header of a page says.
struct Page {
    flags: u16,
    /// How many bytes of a record from before are left, with this page's.
    rest: usize,
    /// Offset of what follows the header.
    body: usize,
}

/// Why there are no more bytes of a record.
enum Stop {
    End(Ended),
    /// The rest was never written: another record begins on the page at this offset.
    Overwritten(usize),
}

impl<'a> Walk<'a> {
    /// Begins at the start of a segment, whose first page has that header.
    pub(super) fn new(bytes: &'a [u8], header: &Header) -> Self {
        let (page_bytes, segment_bytes) = (header.page_bytes as usize, header.segment_size.bytes() as usize);
        let bytes = &bytes[..bytes.len().min(segment_bytes)];
        let (start, major) = (header.page_address, header.major);
        Walk { bytes, page_bytes, segment_bytes, start, major, next: None, previous: None, rest: None, begun: None }
    }

    /// Where the next record begins; the segment's start before the first one was read.
    pub(super) fn position(&self) -> Lsn {
        self.lsn(self.next.unwrap_or_default())
    }

    /// The next record, whole, its CRC checked.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn next(&mut self) -> Result<Record<'a>, Ended> {
        let mut at = match self.next {
            Some(at) => at,
            None => self.first()?,
        };
        loop {
            match self.record(at) {
                Ok(record) => {
                    self.previous = Some(record.lsn());
                    return Ok(record);
                }
                Err(Stop::Overwritten(page)) => {
                    // Which record the next one points back at does not matter: its page says that it takes this one's place.
                    self.previous = None;
                    at = page;
                }
                Err(Stop::End(ended)) => return Err(ended),
            }
        }
    }

    fn lsn(&self, offset: usize) -> Lsn {
        Lsn(self.start.0.saturating_add(offset as u64))
    }

    /// Passes over what is left of a record from the segment before.
    fn first(&mut self) -> Result<usize, Ended> {
        let page = self.page(0)?;
        if page.flags & CONTINUES == 0 {
            return Ok(page.body);
        }
        let mut bytes = Vec::new();
        let read = self.read(page.body, page.rest, |part| bytes.extend_from_slice(part));
        let end = read.as_ref().map_or(0, |end| end.next_multiple_of(ALIGNMENT));
        let rest = Rest { bytes, left: page.rest, end: self.lsn(end), major: self.major };
        match read {
            Ok(_) => {
                self.rest = Some(rest);
                Ok(end)
            }
            Err(Stop::Overwritten(page)) => Ok(page),
            Err(Stop::End(ended)) => {
                self.rest = (ended == Ended::Full).then_some(rest);
                Err(ended)
            }
        }
    }

    /// Reads the record at an offset that is aligned.
    fn record(&mut self, at: usize) -> Result<Record<'a>, Stop> {
        let mut at = at;
        if at.is_multiple_of(self.page_bytes) {
            let page = self.page(at).map_err(Stop::End)?;
            if page.flags & CONTINUES != 0 {
                return Err(self.invalid(at, "the page begins with the rest of a record that did not begin"));
            }
            at = page.body;
        }
        let Some(length) = self.bytes.get(at..at + 4) else { return Err(Stop::End(Ended::Unwritten)) };
        let length = u32::from_ne_bytes(length.try_into().expect("four bytes")) as usize;
        match length {
            0 => return Err(Stop::End(Ended::Unwritten)),
            1..RECORD_HEADER_BYTES => return Err(self.invalid(at, "a record shorter than its header")),
            _ => {}
        }
        let (bytes, end) = self.gather(at, length)?;
        let lsn = self.lsn(at);
        let record = Record::new(lsn, bytes);
        if record.previous() >= lsn || self.previous.is_some_and(|previous| previous != record.previous()) {
            return Err(self.invalid(at, "a record that does not follow the one before it"));
        }
        if !record.fits_its_crc(CRC_AT) {
            return Err(self.invalid(at, "a record with a wrong CRC"));
        }
        self.next = Some(end.next_multiple_of(ALIGNMENT));
        Ok(record)
    }

    /// The `length` bytes of the record at `at`, and the offset after them. What lies on one page is not copied.
    fn gather(&mut self, at: usize, length: usize) -> Result<(Cow<'a, [u8]>, usize), Stop> {
        let left = self.page_bytes - at % self.page_bytes;
        if length <= left {
            let bytes = self.bytes.get(at..at + length).ok_or(Stop::End(Ended::Unwritten))?;
            return Ok((Cow::Borrowed(bytes), at + length));
        }
        let mut bytes = Vec::with_capacity(length.min(self.bytes.len()));
        match self.read(at, length, |part| bytes.extend_from_slice(part)) {
            Ok(end) => Ok((Cow::Owned(bytes), end)),
            Err(stop) => {
                let goes_on = matches!(stop, Stop::End(Ended::Full));
                self.begun = goes_on.then(|| Begun { lsn: self.lsn(at), bytes, length });
                Err(stop)
            }
        }
    }

    /// Gives the `length` bytes from `at` on, page by page; returns the offset after them.
    fn read(&self, at: usize, length: usize, mut take: impl FnMut(&'a [u8])) -> Result<usize, Stop> {
        let (mut at, mut rest) = (at, length);
        loop {
            let now = rest.min(self.page_bytes - at % self.page_bytes);
            take(self.bytes.get(at..at + now).ok_or(Stop::End(Ended::Unwritten))?);
            (at, rest) = (at + now, rest - now);
            if rest == 0 {
                return Ok(at);
            }
            let page = self.page(at).map_err(Stop::End)?;
            if page.flags & OVERWRITES != 0 {
                return Err(Stop::Overwritten(at));
            }
            if page.flags & CONTINUES == 0 || page.rest != rest {
                return Err(self.invalid(at, "the page does not go on with the record before it"));
            }
            at = page.body;
        }
    }

    /// Reads the header of the page at an offset.
    fn page(&self, at: usize) -> Result<Page, Ended> {
        if at >= self.segment_bytes {
            return Err(Ended::Full);
        }
        let length = if at == 0 { LONG_HEADER_BYTES } else { SHORT_HEADER_BYTES };
        let header = self.bytes.get(at..at + length).ok_or(Ended::Unwritten)?;
        if header.iter().all(|byte| *byte == 0) {
            return Err(Ended::Unwritten);
        }
        let address = u64::from_ne_bytes(header[8..16].try_into().expect("eight bytes"));
        if header[..2] != self.bytes[..2] || Lsn(address) != self.lsn(at) {
            return Err(self.why(at, "a page that does not belong here"));
        }
        let flags = u16::from_ne_bytes(header[2..4].try_into().expect("two bytes"));
        let rest = u32::from_ne_bytes(header[16..20].try_into().expect("four bytes")) as usize;
        Ok(Page { flags, rest, body: at + length })
    }

    fn invalid(&self, at: usize, what: &str) -> Stop {
        Stop::End(self.why(at, what))
    }

    fn why(&self, at: usize, what: &str) -> Ended {
        Ended::Invalid(format!("{what}, at {}", self.lsn(at)))
    }
}
