//! Where the frames of an archive leave it, in order: it knows their offsets, keeps the table of contents, and ends the archive.

use std::io::{Read, Write};

use dr_pipe::record::ArchiveRoot;
use dr_pipe::{Sha256, Tally};

use crate::end::{self, End, FORMAT, TocExtent};
use crate::frame::Packed;
use crate::layout::Layout;
use crate::press::Press;
use crate::seek_table::{self, Entry};
use crate::toc::{self, Frame, Limits, Line, Member, Spool};
use crate::{Error, Options, tar_header};

/// What a finished archive holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// What proves all of it: the place and digest of its last frame.
    pub root: ArchiveRoot,
    /// Size of the tar, that is of all frames before compression.
    pub plain_bytes: u64,
    /// Members, without `toc.jsonl` and `end.json`.
    pub members: u64,
    /// Frames, without those of `toc.jsonl` and `end.json`.
    pub frames: u64,
    /// Rows of all members that have a number of rows; none where none has.
    pub rows: Option<u64>,
    /// Size of the archive.
    pub stored_bytes: u64,
}

/// A frame and the members whose data begins in it.
pub(crate) struct Filled {
    pub frame: Packed,
    pub members: Vec<Member>,
}

/// Writes frames one after the other.
pub(crate) struct Emitter<W> {
    out: W,
    offset: u64,
    plain_bytes: u64,
    frames: Vec<Entry>,
    members: u64,
    rows: Option<u64>,
    toc: Spool,
}

impl<W: Write> Emitter<W> {
    /// Nothing is written yet.
    pub fn new(out: W) -> Self {
        Emitter { out, offset: 0, plain_bytes: 0, frames: Vec::new(), members: 0, rows: None, toc: Spool::new() }
    }

    /// Writes the next frame, and lists it and its members; gives back its bytes.
    ///
    /// # Errors
    /// If it cannot be written, or the archive is full.
    pub fn emit(&mut self, filled: Filled) -> Result<Vec<u8>, Error> {
        let Filled { frame, members } = filled;
        let entry = frame.entry();
        let line = Frame { offset: self.offset, bytes: entry.bytes, raw_bytes: entry.raw_bytes, sha256: frame.sha256 };
        self.toc.push(&Line::Frame(line))?;
        self.members += members.len() as u64;
        if self.members > Limits::SIGNED.entries || self.frames.len() as u64 >= Limits::SIGNED.entries {
            return Err(Error::Full { what: "it has more than 67108864 members or frames" });
        }
        for member in members {
            self.rows = add(self.rows, member.rows);
            self.toc.push(&Line::Member(member))?;
        }
        self.write(&frame)?;
        Ok(frame.bytes)
    }

    /// Writes the table of contents, the end and the seek table, and flushes.
    ///
    /// # Errors
    /// If any of it cannot be written: then the archive is unfinished.
    pub fn finish(mut self, press: &Press, options: &Options) -> Result<(W, Finished), Error> {
        let frames = self.frames.len() as u64;
        let (lines, bytes) = std::mem::replace(&mut self.toc, Spool::new()).into_reader()?;
        let toc = self.write_toc(press, options, lines, bytes)?;
        let end = End { format: FORMAT, toc, frames, members: self.members, rows: self.rows };
        let root = self.write_end(press, options, &end)?;
        self.write_plain(&seek_table::encode(self.frames.iter().copied()))?;
        self.out.flush().map_err(|error| Error::io("writing the archive", error))?;
        let (plain_bytes, members, rows, stored_bytes) = (self.plain_bytes, self.members, self.rows, self.offset);
        Ok((self.out, Finished { root, plain_bytes, members, frames, rows, stored_bytes }))
    }

    fn write_toc(&mut self, press: &Press, options: &Options, lines: impl Read, bytes: u64) -> Result<TocExtent, Error> {
        let layout = Layout::new(bytes, options.frame_bytes as u64);
        let (frame, offset, plain_before) = (self.frames.len() as u64, self.offset, self.plain_bytes);
        let header = tar_header::encode(options.own.toc(), bytes, options.taken_at_unix_seconds);
        let padding = vec![0; tar_header::padding_bytes(bytes) as usize];
        let mut tally = Tally::default();
        let mut lines = std::io::BufReader::new(lines);
        for number in 0..layout.frames {
            let range = layout.range(number);
            let mut part = vec![0; (range.end - range.start) as usize];
            lines.read_exact(&mut part).map_err(toc::spool_failed)?;
            let before = if number == 0 { &header[..] } else { &[] };
            let after = if number + 1 == layout.frames { &padding[..] } else { &[] };
            let packed = press.parts(&[before, &part, after])?;
            tally.update(&packed.bytes);
            self.write(&packed)?;
        }
        let extent = tally.extent();
        let raw_bytes = self.plain_bytes - plain_before;
        Ok(TocExtent { frame, offset, bytes: extent.bytes, raw_bytes, sha256: extent.sha256 })
    }

    fn write_end(&mut self, press: &Press, options: &Options, end: &End) -> Result<ArchiveRoot, Error> {
        let packed = press.parts(&[&end::encode(end, options.own, options.taken_at_unix_seconds)?])?;
        let root =
            ArchiveRoot { end_offset: self.offset, end_bytes: packed.bytes.len() as u64, end_sha256: Sha256::of(&packed.bytes) };
        self.write(&packed)?;
        Ok(root)
    }

    fn write(&mut self, frame: &Packed) -> Result<(), Error> {
        self.frames.push(frame.entry());
        self.plain_bytes += u64::from(frame.raw_bytes);
        self.write_plain(&frame.bytes)
    }

    fn write_plain(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.offset += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|error| Error::io("writing the archive", error))
    }
}

/// The sum of two counts, where a missing one adds nothing.
pub(crate) fn add(left: Option<u64>, right: Option<u64>) -> Option<u64> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.saturating_add(right)),
        (left, right) => left.or(right),
    }
}
