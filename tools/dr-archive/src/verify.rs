//! Is every byte of an archive as it was written?

use std::sync::Arc;

use dr_pipe::record::ArchiveRoot;

use crate::contents::Contents;
use crate::emitter::Finished;
use crate::read_at::{ReadAt, read_exact_at};
use crate::reader::Reader;
use crate::toc::Member;
use crate::{Error, seek_table, tar_header};

/// How much of the seek table is compared at a time.
const COMPARED_BYTES: usize = 64 << 10;

/// Checks every byte of the archive in the first `size` bytes of `source`: the digest of each frame, that it decompresses, that the
/// tar in it is the one that the table of contents describes, with nothing between its members and nothing behind it, and
/// the seek table. With `root`, all of it is proved to be what was signed.
///
/// # Errors
/// The first thing that is wrong: see [`Error`].
pub fn verify(source: &mut (impl ReadAt + ?Sized), size: u64, root: Option<&ArchiveRoot>) -> Result<Finished, Error> {
    let contents = Arc::new(Contents::open(source, size, root)?);
    verify_each(source, &contents, |_, _, _| {})?;
    Ok(contents.finished())
}

/// As [`verify`], of an archive that is open already, and shows the bytes of every member to `visit` on the way: the member, where
/// in it they begin, and the bytes. They come in the order of the tar; a member without bytes does not come.
///
/// # Errors
/// As [`verify`].
pub fn verify_each(
    source: &mut (impl ReadAt + ?Sized),
    contents: &Arc<Contents>,
    mut visit: impl FnMut(&Member, u64, &[u8]),
) -> Result<(), Error> {
    let mut reader = Reader::new(Arc::clone(contents), &mut *source);
    let mut tape = Tape::new(contents.members(), contents.taken_at_unix_seconds());
    for (number, frame) in (0..).zip(contents.frames()) {
        let sound = tape.pass(reader.frame(number)?, &mut visit);
        if !sound {
            let what = format!("frame {number} holds a tar that is not the one of the table of contents");
            return Err(Error::malformed(what, frame.offset));
        }
    }
    verify_seek_table(source, contents, contents.finished().stored_bytes)
}

fn verify_seek_table(source: &mut (impl ReadAt + ?Sized), contents: &Contents, size: u64) -> Result<(), Error> {
    let table = seek_table::encode(contents.entries().into_iter());
    let mut offset = size - table.len() as u64;
    let mut found = [0; COMPARED_BYTES];
    for expected in table.chunks(COMPARED_BYTES) {
        let found = &mut found[..expected.len()];
        read_exact_at(source, offset, found, "the seek table")?;
        if found != expected {
            return Err(Error::damaged("the seek table", offset));
        }
        offset += expected.len() as u64;
    }
    Ok(())
}

/// The tar as it must be: headers and zeroes are known beforehand, data is whatever is there.
struct Tape<'c> {
    members: std::slice::Iter<'c, Member>,
    taken_at_unix_seconds: u64,
    /// What is left of a header or of zeroes; expected byte by byte.
    known: Vec<u8>,
    /// The member whose data comes next, or now.
    member: Option<&'c Member>,
    data_bytes: u64,
    padding_bytes: u64,
}

impl<'c> Tape<'c> {
    fn new(members: std::slice::Iter<'c, Member>, taken_at_unix_seconds: u64) -> Self {
        Tape { members, taken_at_unix_seconds, known: Vec::new(), member: None, data_bytes: 0, padding_bytes: 0 }
    }

    /// Whether the next bytes are as they must be. That all of them come is known from the table of contents.
    fn pass(&mut self, mut raw: &[u8], visit: &mut impl FnMut(&Member, u64, &[u8])) -> bool {
        while !raw.is_empty() {
            if !self.known.is_empty() {
                let n = self.known.len().min(raw.len());
                if raw[..n] != self.known[..n] {
                    return false;
                }
                self.known.drain(..n);
                raw = &raw[n..];
            } else if self.data_bytes > 0 {
                let n = raw.len().min(usize::try_from(self.data_bytes).unwrap_or(usize::MAX));
                if let Some(member) = self.member {
                    visit(member, member.bytes - self.data_bytes, &raw[..n]);
                }
                self.data_bytes -= n as u64;
                raw = &raw[n..];
            } else if self.padding_bytes > 0 {
                self.known.resize(std::mem::take(&mut self.padding_bytes) as usize, 0);
            } else if let Some(member) = self.members.next() {
                self.known = tar_header::encode(&member.path, member.bytes, self.taken_at_unix_seconds);
                self.member = Some(member);
                self.data_bytes = member.bytes;
                self.padding_bytes = tar_header::padding_bytes(member.bytes);
            } else {
                return false;
            }
        }
        true
    }
}
