//! What is in an archive, and where? Known from its end, before any of the rest is read.

use dr_pipe::record::ArchiveRoot;

use crate::emitter::Finished;
use crate::end::{self, OpenEnd};
use crate::read_at::ReadAt;
use crate::seek_table::{self, Entry};
use crate::table::Table;
use crate::toc::{Frame, Member};
use crate::{Error, toc_reader};

/// The table of contents of an archive. Immutable; share it in an [`std::sync::Arc`].
#[derive(Debug)]
pub struct Contents {
    frames: Vec<Frame>,
    members: Vec<Member>,
    /// Indexes of `members`, by path.
    by_path: Vec<u32>,
    toc_frames: Vec<Entry>,
    end: OpenEnd,
    plain_bytes: u64,
    size: u64,
}

impl Contents {
    /// Reads the end and the table of contents of the archive in the first `size` bytes of `source`: some hundred bytes for
    /// each 4 MiB of its content, whatever else it holds.
    ///
    /// With `root`, as a signed manifest has it, everything read is proved by digests. Without, it is only checked to be
    /// consistent: whoever made the archive is believed.
    ///
    /// # Errors
    /// [`Error::Unfinished`] or [`Error::NotAnArchive`] if there is no end; [`Error::Damaged`] if digests differ or bytes are
    /// missing or too many; [`Error::Malformed`] if the table does not describe one tar without gaps, or goes beyond a limit.
    pub fn open(source: &mut (impl ReadAt + ?Sized), size: u64, root: Option<&ArchiveRoot>) -> Result<Contents, Error> {
        let end = end::open(source, size, root)?;
        let compressed = toc_reader::fetch(source, &end)?;
        let mut table = Table::new(&end.record, end.own);
        let toc_frames = toc_reader::read(&compressed, &end, |line| table.take(line))?;
        table.complete().map_err(|why| Error::malformed(why, end.record.toc.offset))?;
        let all_frames = table.frames.len() as u64 + toc_frames.len() as u64 + 1;
        let expected = end.root.end_offset + end.root.end_bytes + seek_table::encoded_bytes(all_frames);
        if size != expected {
            let what = if size < expected { "the seek table (cut short)" } else { "the end (bytes follow it)" };
            return Err(Error::damaged(what, expected.min(size)));
        }
        Ok(Contents {
            by_path: sorted_by_path(&table.members),
            plain_bytes: table.raw_bytes + end.record.toc.raw_bytes + u64::from(end.raw_bytes),
            frames: table.frames,
            members: table.members,
            toc_frames,
            end,
            size,
        })
    }

    /// All members, in the order of the tar; without `toc.jsonl` and `end.json`.
    pub fn members(&self) -> std::slice::Iter<'_, Member> {
        self.members.iter()
    }

    /// The member at `path`.
    pub fn member(&self, path: &str) -> Option<&Member> {
        let found = self.by_path.binary_search_by(|&index| self.members[index as usize].path.as_str().cmp(path)).ok()?;
        Some(&self.members[self.by_path[found] as usize])
    }

    /// The members below the directory `prefix` (which ends in a slash), in the byte order of their paths.
    pub fn members_below<'c>(&'c self, prefix: &'c str) -> impl Iterator<Item = &'c Member> {
        let first = self.by_path.partition_point(|&index| self.members[index as usize].path.as_str() < prefix);
        let members = self.by_path[first..].iter().map(|&index| &self.members[index as usize]);
        members.take_while(move |member| member.path.starts_with(prefix))
    }

    /// All frames that hold members, in order; without those of `toc.jsonl` and `end.json`.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The numbers of the frames that `member` needs, or none where it is empty.
    pub fn frames_of(&self, member: &Member) -> std::ops::Range<usize> {
        let first = usize::try_from(member.frame).unwrap_or(usize::MAX).min(self.frames.len());
        let (mut next, mut reached) = (first, 0);
        while next < self.frames.len() && reached < member.offset.saturating_add(member.bytes) {
            reached += u64::from(self.frames[next].raw_bytes);
            next += 1;
        }
        if member.bytes == 0 { first..first } else { first..next }
    }

    /// What the archive's writer said when it was finished.
    pub fn finished(&self) -> Finished {
        Finished {
            root: self.end.root,
            plain_bytes: self.plain_bytes,
            members: self.members.len() as u64,
            frames: self.frames.len() as u64,
            rows: self.end.record.rows,
            stored_bytes: self.size,
        }
    }

    /// The time that all members carry, in seconds since 1970.
    pub fn taken_at_unix_seconds(&self) -> u64 {
        self.end.taken_at_unix_seconds
    }

    /// The sizes of all frames, as the seek table has them.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let data = self.frames.iter().map(|frame| Entry { bytes: frame.bytes, raw_bytes: frame.raw_bytes });
        let end = Entry { bytes: self.end.root.end_bytes as u32, raw_bytes: self.end.raw_bytes };
        data.chain(self.toc_frames.iter().copied()).chain([end]).collect()
    }
}

fn sorted_by_path(members: &[Member]) -> Vec<u32> {
    let mut indexes: Vec<u32> = (0..members.len() as u32).collect();
    indexes.sort_unstable_by(|&left, &right| members[left as usize].path.cmp(&members[right as usize].path));
    indexes
}
