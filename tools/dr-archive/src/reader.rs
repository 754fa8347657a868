//! Reads members of an archive, in any order: each frame is fetched, proved by its digest, and only then decompressed.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use dr_pipe::Sha256;

use crate::Error;
use crate::contents::Contents;
use crate::frame::Opener;
use crate::read_at::{ReadAt, read_exact_at};
use crate::toc::Member;

/// Reads members through a source of its own: one reader per thread, all of the same contents.
///
/// Holds one frame: members that share a frame, read one after the other, cost one fetch.
pub struct Reader<S> {
    contents: Arc<Contents>,
    source: S,
    opener: Opener,
    compressed: Vec<u8>,
    raw: Vec<u8>,
    /// The frame that `raw` holds.
    held: Option<u64>,
}

impl<S: ReadAt> Reader<S> {
    /// Reads from `source`, which must be the archive that `contents` was opened from; another is refused by its digests.
    pub fn new(contents: Arc<Contents>, source: S) -> Self {
        Reader { contents, source, opener: Opener::new(), compressed: Vec::new(), raw: Vec::new(), held: None }
    }

    /// What the archive holds.
    pub fn contents(&self) -> &Arc<Contents> {
        &self.contents
    }

    /// Reads the member at `path` from its beginning. Nothing is fetched yet.
    ///
    /// # Errors
    /// [`Error::NoMember`].
    pub fn member(&mut self, path: &str) -> Result<MemberReader<'_, S>, Error> {
        let member = self.contents.member(path).ok_or_else(|| Error::NoMember { path: path.into() })?;
        let (frame, offset, left) = (member.frame, member.offset, member.bytes);
        Ok(MemberReader { reader: self, frame, offset, left })
    }

    /// Reads `member`, of this archive's contents, from its beginning. Nothing is fetched yet.
    pub fn read(&mut self, member: &Member) -> MemberReader<'_, S> {
        MemberReader { frame: member.frame, offset: member.offset, left: member.bytes, reader: self }
    }

    /// All bytes of the member at `path`.
    ///
    /// # Errors
    /// [`Error::NoMember`]; [`Error::TooLarge`] before anything is fetched if it has more than `max_bytes`; whatever reading gives.
    pub fn whole(&mut self, path: &str, max_bytes: u64) -> Result<Vec<u8>, Error> {
        let member = self.contents.member(path).ok_or_else(|| Error::NoMember { path: path.into() })?;
        if member.bytes > max_bytes {
            return Err(Error::TooLarge { path: path.into(), bytes: member.bytes, max_bytes });
        }
        let mut bytes = Vec::with_capacity(member.bytes as usize);
        self.member(path)?.read_to_end(&mut bytes).map_err(|error| Error::io(path, error))?;
        Ok(bytes)
    }

    /// The decompressed bytes of a frame.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Malformed`] naming the frame, or an error of the source.
    pub(crate) fn frame(&mut self, number: u64) -> Result<&[u8], Error> {
        if self.held != Some(number) {
            self.held = None;
            self.fetch(number)?;
            self.held = Some(number);
        }
        Ok(&self.raw)
    }

    fn fetch(&mut self, number: u64) -> Result<(), Error> {
        let frame = usize::try_from(number).ok().and_then(|index| self.contents.frames().get(index));
        let frame = *frame.ok_or_else(|| Error::malformed(format!("there is no frame {number}"), 0))?;
        self.compressed.resize(frame.bytes as usize, 0);
        let what = format!("frame {number}");
        read_exact_at(&mut self.source, frame.offset, &mut self.compressed, &what)?;
        if Sha256::of(&self.compressed) != frame.sha256 {
            return Err(Error::damaged(what, frame.offset));
        }
        let opened = self.opener.open(&self.compressed, frame.raw_bytes, &mut self.raw);
        opened.map_err(|why| Error::malformed(format!("{what} {why}"), frame.offset))
    }
}

/// The bytes of one member, of which at most one frame is in memory.
///
/// Errors of [`Read`] and [`BufRead`] carry an [`Error`], which [`Error::io`] takes out again.
pub struct MemberReader<'r, S> {
    reader: &'r mut Reader<S>,
    frame: u64,
    offset: u64,
    left: u64,
}

impl<S: ReadAt> MemberReader<'_, S> {
    /// Bytes that have not been read yet.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next bytes, as many as lie in one frame; empty at the end.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Malformed`] naming the frame, or an error of the source.
    pub fn chunk(&mut self) -> Result<&[u8], Error> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let frames = self.reader.contents.frames();
        while frames.get(self.frame as usize).is_some_and(|frame| self.offset >= u64::from(frame.raw_bytes)) {
            self.offset -= u64::from(frames[self.frame as usize].raw_bytes);
            self.frame += 1;
        }
        let rest = &self.reader.frame(self.frame)?[self.offset as usize..];
        Ok(&rest[..rest.len().min(usize::try_from(self.left).unwrap_or(usize::MAX))])
    }
}

impl<S: ReadAt> BufRead for MemberReader<'_, S> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.chunk()?)
    }

    fn consume(&mut self, n: usize) {
        self.offset += n as u64;
        self.left -= n as u64;
    }
}

impl<S: ReadAt> Read for MemberReader<'_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let chunk = self.fill_buf()?;
        let n = chunk.len().min(buf.len());
        buf[..n].copy_from_slice(&chunk[..n]);
        self.consume(n);
        Ok(n)
    }
}
