//! Reads the table of contents: fetched whole and proved, then decompressed one frame at a time.

use std::io::{self, BufRead, BufReader, Read};

use dr_pipe::Sha256;

use crate::Error;
use crate::end::OpenEnd;
use crate::frame::{self, Opener};
use crate::names::MAX_PATH_BYTES;
use crate::read_at::{ReadAt, read_exact_at};
use crate::seek_table::Entry;
use crate::tar_header::{self, BLOCK_BYTES};
use crate::toc::Line;

/// Longest line: a path where each byte is escaped, and four numbers.
const MAX_LINE_BYTES: usize = 2 * MAX_PATH_BYTES + 256;

/// The compressed frames of the table, which are those that the end has the digest of.
///
/// # Errors
/// [`Error::Damaged`] if they are not, or an error of `source`.
pub(crate) fn fetch(source: &mut (impl ReadAt + ?Sized), end: &OpenEnd) -> Result<Vec<u8>, Error> {
    let toc = &end.record.toc;
    let mut compressed = vec![0; toc.bytes as usize];
    read_exact_at(source, toc.offset, &mut compressed, "the table of contents")?;
    if Sha256::of(&compressed) != toc.sha256 {
        return Err(Error::damaged("the table of contents", toc.offset));
    }
    Ok(compressed)
}

/// Tells `each` line of the table; gives the sizes of its frames.
///
/// # Errors
/// [`Error::Malformed`] with what is wrong, be it found here or by `each`.
pub(crate) fn read(compressed: &[u8], end: &OpenEnd, each: impl FnMut(Line) -> Result<(), String>) -> Result<Vec<Entry>, Error> {
    let mut frames = TocFrames::new(compressed);
    let done = read_member(&mut frames, end, each);
    done.map_err(|error| Error::malformed(format!("the table of contents {error}"), end.record.toc.offset))?;
    Ok(frames.entries)
}

fn read_member(frames: &mut TocFrames<'_>, end: &OpenEnd, each: impl FnMut(Line) -> Result<(), String>) -> io::Result<()> {
    let mut header = [0; BLOCK_BYTES as usize];
    frames.read_exact(&mut header)?;
    let (bytes, padding) = match tar_header::decode(&header, end.own.toc()) {
        Some((bytes, taken_at)) if taken_at == end.taken_at_unix_seconds => (bytes, tar_header::padding_bytes(bytes)),
        _ => return Err(wrong("has another header than it must have")),
    };
    if bytes.checked_add(BLOCK_BYTES + padding) != Some(end.record.toc.raw_bytes) {
        return Err(wrong("has another size than the end says"));
    }
    read_lines(Read::take(&mut *frames, bytes), each)?;
    let mut zeroes = [0; BLOCK_BYTES as usize];
    let zeroes = &mut zeroes[..padding as usize];
    frames.read_exact(zeroes)?;
    if zeroes.iter().any(|&byte| byte != 0) || frames.read(&mut [0])? != 0 {
        return Err(wrong("has something behind its last line"));
    }
    Ok(())
}

fn read_lines(input: impl Read, mut each: impl FnMut(Line) -> Result<(), String>) -> io::Result<()> {
    let mut input = BufReader::new(input);
    let mut text = Vec::new();
    for number in 1u64.. {
        text.clear();
        let n = Read::take(&mut input, MAX_LINE_BYTES as u64).read_until(b'\n', &mut text)?;
        if n == 0 {
            break;
        }
        let bad = |why: String| wrong(format!("is wrong in line {number}: {why}"));
        if text.last() != Some(&b'\n') {
            return Err(bad("too long, or cut short".into()));
        }
        let line = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
        each(line).map_err(bad)?;
    }
    Ok(())
}

fn wrong(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// The decompressed bytes of frames that lie one behind the other.
struct TocFrames<'c> {
    compressed: &'c [u8],
    opener: Opener,
    raw: Vec<u8>,
    position: usize,
    entries: Vec<Entry>,
}

impl<'c> TocFrames<'c> {
    fn new(compressed: &'c [u8]) -> Self {
        TocFrames { compressed, opener: Opener::new(), raw: Vec::new(), position: 0, entries: Vec::new() }
    }

    fn open_next(&mut self) -> Result<(), &'static str> {
        let entry = frame::inspect(self.compressed)?;
        let (frame, rest) = self.compressed.split_at(entry.bytes as usize);
        self.opener.open(frame, entry.raw_bytes, &mut self.raw)?;
        self.compressed = rest;
        self.position = 0;
        self.entries.push(entry);
        Ok(())
    }
}

impl Read for TocFrames<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.position == self.raw.len() {
            if self.compressed.is_empty() {
                return Ok(0);
            }
            self.open_next().map_err(wrong)?;
        }
        let n = buf.len().min(self.raw.len() - self.position);
        buf[..n].copy_from_slice(&self.raw[self.position..self.position + n]);
        self.position += n;
        Ok(n)
    }
}
