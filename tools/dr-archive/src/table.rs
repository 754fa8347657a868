//! Do the lines of a table of contents describe one tar, each byte of it once, in frames that lie one behind the other?
//! A pure check: a table that passes leaves nothing to choose about the archive's layout.

use crate::emitter::add;
use crate::end::End;
use crate::frame::{MAX_BYTES, MAX_RAW_BYTES, MIN_BYTES};
use crate::names::{Names, Own};
use crate::tar_header;
use crate::toc::{Frame, Line, Member};

/// What the lines so far say.
pub(crate) struct Table<'e> {
    end: &'e End,
    names: Names,
    rows: Option<u64>,
    /// Where the next frame starts in the archive.
    next_frame: u64,
    /// Where the next member's header starts in the tar.
    next_header: u64,
    /// All frames so far, decompressed: how much of the tar they hold.
    pub raw_bytes: u64,
    pub frames: Vec<Frame>,
    pub members: Vec<Member>,
}

impl<'e> Table<'e> {
    /// Nothing yet; `end` says what must come, `own` where it lies itself.
    pub fn new(end: &'e End, own: Own) -> Self {
        Table {
            end,
            names: Names::new(own),
            rows: None,
            next_frame: 0,
            next_header: 0,
            raw_bytes: 0,
            frames: Vec::new(),
            members: Vec::new(),
        }
    }

    /// Takes the next line.
    ///
    /// # Errors
    /// Why it cannot stand here.
    pub fn take(&mut self, line: Line) -> Result<(), String> {
        match line {
            Line::Frame(frame) => self.take_frame(frame).map_err(str::to_owned),
            Line::Member(member) => self.take_member(member),
        }
    }

    fn take_frame(&mut self, frame: Frame) -> Result<(), &'static str> {
        let Frame { offset, bytes, raw_bytes, .. } = frame;
        if self.frames.len() as u64 == self.end.frames {
            return Err("a frame too many");
        }
        if offset != self.next_frame {
            return Err("the frame does not start where the one before it ends");
        }
        if u64::from(bytes) < MIN_BYTES || bytes > MAX_BYTES || raw_bytes == 0 || raw_bytes > MAX_RAW_BYTES {
            return Err("the frame has a size that no frame can have");
        }
        self.next_frame += u64::from(bytes);
        if self.next_frame > self.end.toc.offset {
            return Err("the frame ends behind the start of the table of contents");
        }
        self.raw_bytes += u64::from(raw_bytes);
        self.frames.push(frame);
        Ok(())
    }

    fn take_member(&mut self, member: Member) -> Result<(), String> {
        if self.members.len() as u64 == self.end.members {
            return Err("a member too many".into());
        }
        if member.is_directory() && (member.bytes != 0 || member.rows.is_some()) {
            return Err(format!("member {:?} is a directory, and holds something", member.path));
        }
        self.names.take(&member.path).map_err(|why| format!("member {:?}: {why}", member.path))?;
        let next_header = self.end_of(&member);
        self.next_header = next_header.ok_or_else(|| format!("member {:?} does not lie where it must", member.path))?;
        self.rows = add(self.rows, member.rows);
        self.members.push(member);
        Ok(())
    }

    /// Where `member` ends in the tar, if it lies where it must: behind the one before it, its whole header and the place where
    /// its data begins in the last frame so far.
    fn end_of(&self, member: &Member) -> Option<u64> {
        let frame = self.frames.last()?;
        let frame_raw_bytes = u64::from(frame.raw_bytes);
        let header_bytes = tar_header::encoded_bytes(&member.path, member.bytes);
        let start = self.next_header.checked_add(header_bytes)?;
        let in_last_frame =
            member.frame == self.frames.len() as u64 - 1 && (header_bytes..=frame_raw_bytes).contains(&member.offset);
        if !in_last_frame || self.raw_bytes - frame_raw_bytes + member.offset != start {
            return None;
        }
        start.checked_add(member.bytes)?.checked_add(tar_header::padding_bytes(member.bytes))
    }

    /// Whether all lines have come.
    ///
    /// # Errors
    /// What the end says otherwise.
    pub fn complete(&self) -> Result<(), &'static str> {
        let End { toc, frames, members, rows, .. } = self.end;
        if self.frames.len() as u64 != *frames || self.members.len() as u64 != *members || self.rows != *rows {
            return Err("the table of contents has other numbers than the end says");
        }
        if self.next_frame != toc.offset {
            return Err("there are bytes between the last frame and the table of contents");
        }
        if self.next_header != self.raw_bytes {
            return Err("the members do not fill the frames");
        }
        Ok(())
    }
}
