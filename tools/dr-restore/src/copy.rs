//! One COPY: members of the archive go in one after another, and the server's count is held against the archive's.

use std::io::{BufRead, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use dr_archive::Member;
use dr_pipe::progress::Progress;
use dr_pipe::{Exit, Failure};
use dr_postgres::Session;
use dr_postgres::binary::{Kind, Parser};
use dr_postgres::quote::ascii;
use dr_postgres::rows::{BINARY_HEADER, BINARY_TRAILER};
use dr_postgres::wire::CopyIn;

use crate::archive_source::{Archive, ArchiveReader};
use crate::plan::Run;

/// Copies members of an archive into a database.
pub struct Copier<'a> {
    /// The archive.
    pub archive: &'a Archive,
    /// The reader of this thread.
    pub reader: &'a mut ArchiveReader,
    /// Told of every byte.
    pub progress: &'a Progress,
    /// Set when another thread has failed.
    pub stop: &'a AtomicBool,
}

/// So much text is made into rows at a time.
const PART_BYTES: usize = 128 << 10;

/// How much of a run is in: whole members, the first bytes of the next one, and the rows of all that.
#[derive(Debug, Default)]
pub struct Taken {
    members: usize,
    bytes: u64,
    rows: u64,
}

/// Why a member did not go in.
enum Halt {
    Failed(Failure),
    /// The server holds something against the data, which is in its answer.
    Refused,
    /// A line of its text is not to be parsed here.
    Odd,
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Halt::Failed(failure)
    }
}

impl Copier<'_> {
    /// Runs `statement` with the bytes of `members`. Returns the rows taken in, which must be `rows` where that is known.
    ///
    /// # Errors
    /// 65 where a member is damaged, the server refuses the data, or it counts other rows; 75 where another thread failed.
    pub fn copy(&mut self, session: &mut Session, statement: &str, members: &[&Member], rows: Option<u64>) -> Result<u64, Failure> {
        self.copy_rest(session, statement, members, &Taken::default(), rows)
    }

    /// The same, without what was taken in before.
    ///
    /// # Errors
    /// As [`Copier::copy`].
    pub fn copy_rest(
        &mut self,
        session: &mut Session,
        statement: &str,
        members: &[&Member],
        before: &Taken,
        rows: Option<u64>,
    ) -> Result<u64, Failure> {
        let members = &members[before.members..];
        let mut copy = session.copy_in(&ascii(statement))?;
        for (number, member) in members.iter().enumerate() {
            let mut piece = Piece::of(member, copy.is_binary() && number > 0, copy.is_binary() && number + 1 < members.len())?;
            let from = if number == 0 { before.bytes } else { 0 };
            match self.feed(member, from, |chunk| send(&mut copy, piece.take(chunk)?)) {
                Ok(()) => {}
                Err(Halt::Failed(failure)) => return Err(failure),
                Err(Halt::Refused | Halt::Odd) => return Err(refusal(copy.finish(), member)),
            }
        }
        counted(before.rows + copy.finish()?, rows)
    }

    /// Runs `statement`, a COPY in binary format, with the rows that the text of a run stands for: columns of these `kinds`. Up to
    /// the first line that is odd: then how much was taken in, and the rest should be taken in as the text that it is.
    ///
    /// # Errors
    /// As [`Copier::copy`].
    pub fn parsed(
        &mut self,
        session: &mut Session,
        statement: &str,
        run: &Run<'_>,
        kinds: &[Kind],
    ) -> Result<Option<Taken>, Failure> {
        let mut copy = session.copy_in(&ascii(statement))?;
        let mut parser = Parser::new(kinds);
        // What is written of no avail is heard of when it ends.
        copy.write_all(&BINARY_HEADER).ok();
        for (members, member) in run.members.iter().enumerate() {
            let fed = self.feed(member, 0, |chunk| {
                // In parts: rows of one that has many short values are several times as long.
                chunk.chunks(PART_BYTES).try_for_each(|part| {
                    let (rows, parsed) = parser.rows(part);
                    send(&mut copy, rows)?;
                    parsed.map_err(|_| Halt::Odd)
                })
            });
            match fed.and_then(|()| parser.end().map_err(|_| Halt::Odd)) {
                Ok(()) => {}
                Err(Halt::Failed(failure)) => return Err(failure),
                Err(Halt::Refused) => return Err(refusal(copy.finish(), member)),
                Err(Halt::Odd) => {
                    copy.write_all(&BINARY_TRAILER).ok();
                    return Ok(Some(Taken { members, bytes: parser.at(), rows: copy.finish()? }));
                }
            }
        }
        copy.write_all(&BINARY_TRAILER).ok();
        counted(copy.finish()?, Some(run.rows))?;
        Ok(None)
    }

    /// Hands over a member, chunk by chunk, from byte `from` on.
    fn feed(&mut self, member: &Member, from: u64, mut take: impl FnMut(&[u8]) -> Result<(), Halt>) -> Result<(), Halt> {
        let mut bytes = self.reader.read(member);
        let mut passed = 0;
        loop {
            let chunk = bytes.chunk().map_err(|error| self.archive.failure(error).within(&member.path))?;
            if chunk.is_empty() {
                return Ok(());
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(Failure::new(Exit::Busy, "stopped, as another session failed", "its failure says why").into());
            }
            let n = chunk.len();
            let skipped = from.saturating_sub(passed).min(n as u64);
            take(&chunk[skipped as usize..])?;
            bytes.consume(n);
            passed += n as u64;
            self.progress.add(n as u64 - skipped);
        }
    }
}

fn send(copy: &mut CopyIn<'_>, bytes: &[u8]) -> Result<(), Halt> {
    copy.write_all(bytes).map_err(|_| Halt::Refused)
}

fn counted(taken: u64, rows: Option<u64>) -> Result<u64, Failure> {
    match rows {
        Some(rows) if rows != taken => Err(Failure::new(
            Exit::Damaged,
            format!("the server took in {taken} rows, the archive says {rows}"),
            "take another copy of this backup, or another backup",
        )),
        _ => Ok(taken),
    }
}

/// A member on its way into a COPY that others go into too: of binary ones only the first keeps its header, and only the last
/// its trailer.
struct Piece<'a> {
    member: &'a Member,
    /// How much of it has come.
    at: u64,
    /// Where begins and ends what goes in.
    kept: Range<u64>,
}

impl<'a> Piece<'a> {
    fn of(member: &'a Member, follows: bool, is_followed: bool) -> Result<Self, Failure> {
        let start = if follows { BINARY_HEADER.len() as u64 } else { 0 };
        let end = member.bytes.checked_sub(if is_followed { BINARY_TRAILER.len() as u64 } else { 0 });
        let kept = end.filter(|end| *end >= start).map(|end| start..end).ok_or_else(|| unframed(member))?;
        Ok(Piece { member, at: 0, kept })
    }

    /// What of its next bytes goes in; what does not must be header and trailer.
    fn take<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Failure> {
        let place = |of: u64| of.saturating_sub(self.at).min(bytes.len() as u64) as usize;
        let (start, end) = (place(self.kept.start), place(self.kept.end));
        let header = BINARY_HEADER.iter().skip(self.at as usize).take(start);
        let trailer = BINARY_TRAILER.iter().skip((self.at + end as u64).saturating_sub(self.kept.end) as usize);
        if !bytes[..start].iter().eq(header) || !bytes[end..].iter().eq(trailer.take(bytes.len() - end)) {
            return Err(unframed(self.member));
        }
        self.at += bytes.len() as u64;
        Ok(&bytes[start..end])
    }
}

fn unframed(member: &Member) -> Failure {
    Failure::new(
        Exit::Damaged,
        format!("{} lacks the header or trailer of rows in binary format", member.path),
        "do not trust whoever made this archive",
    )
}

fn refusal(answer: Result<u64, dr_postgres::Error>, member: &Member) -> Failure {
    match answer {
        Err(error) => Failure::from(error).within(&member.path),
        Ok(_) => {
            Failure::new(Exit::Protocol, format!("{}: the server refused data and took it in", member.path), "please report this")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_pieces_join_without_what_is_between_them() {
        let framed = |rows: &[u8]| [&BINARY_HEADER, rows, &BINARY_TRAILER].concat();
        let member = |bytes: &[u8]| Member { path: "1.bin".into(), frame: 0, offset: 0, bytes: bytes.len() as u64, rows: Some(1) };
        let joined = |bytes: &[u8], size: usize, follows: bool, is_followed: bool| {
            let member = member(bytes);
            let mut piece = Piece::of(&member, follows, is_followed)?;
            let mut kept = Vec::new();
            bytes.chunks(size).try_for_each(|chunk| piece.take(chunk).map(|part| kept.extend_from_slice(part)))?;
            Ok::<_, Failure>(kept)
        };
        for (rows, size) in
            [&b""[..], b"r", b"many rows of this piece"].into_iter().flat_map(|rows| (1..50).map(move |size| (rows, size)))
        {
            let piece = framed(rows);
            assert_eq!(joined(&piece, size, false, false).unwrap(), piece);
            assert_eq!(joined(&piece, size, true, false).unwrap(), [rows, &BINARY_TRAILER].concat());
            assert_eq!(joined(&piece, size, false, true).unwrap(), [&BINARY_HEADER, rows].concat());
            assert_eq!(joined(&piece, size, true, true).unwrap(), rows);
            for at in (0..19).chain(piece.len() - 2..piece.len()) {
                let mut damaged = piece.clone();
                damaged[at] ^= 1;
                assert!(joined(&damaged, size, true, true).is_err(), "{at}");
            }
            assert!(joined(&piece[..20], size, true, true).is_err());
        }
    }
}
