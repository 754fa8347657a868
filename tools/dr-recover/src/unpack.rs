//! Writes the files of a base, many at once: each thread takes a run of frames, which it reads in one range, proves and writes.
//!
//! Files are not read again to be hashed: each frame is held against its SHA-256 before it is decompressed, those digests hang on
//! the signed manifest, and the table of contents says which bytes of which file a frame holds.

use std::collections::{BTreeSet, HashSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dr_archive::{Contents, Member, Reader};
use dr_pipe::Failure;
use dr_pipe::output::STEP_BYTES;
use dr_pipe::progress::Progress;

use crate::layout::Layout;
use crate::stored::{Archive, Plain};

/// Frames that a thread reads in one go: long enough for a range to be worth its request.
const RUN_FRAMES: u64 = 4;
/// Files that a thread writes before it looks whether another thread has failed.
const RUN_SLICES: usize = 2048;

/// A part of a member that lies in one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slice {
    /// The member's place in the table of contents.
    member: usize,
    frame: u64,
    /// Where it begins in the decompressed frame.
    offset: u64,
    /// Where it goes in the file.
    from: u64,
    bytes: u64,
}

/// Makes every directory that the members and the server need.
///
/// # Errors
/// 74 or 77 as the file system says.
pub fn directories(contents: &Contents, layout: &Layout, needed: &[&str]) -> Result<(), Failure> {
    let mut all: BTreeSet<PathBuf> = needed.iter().map(|path| layout.data.join(path)).collect();
    for member in contents.members() {
        let Some(path) = layout.of(&member.path) else { continue };
        let directory = if member.is_directory() { Some(path.as_path()) } else { path.parent() };
        let mut directory = directory;
        while let Some(path) = directory.filter(|path| !layout.roots().any(|root| root == *path)) {
            if !all.insert(path.to_owned()) {
                break;
            }
            directory = path.parent();
        }
    }
    for path in all {
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            made => made.map_err(|error| Failure::io(path.display(), &error))?,
        }
    }
    Ok(())
}

/// Writes all files but those in `left_out`. None of them may be there. Gives their bytes.
///
/// # Errors
/// The first of any thread: 65 for what is damaged, 69 where the store fails, 74 where a file cannot be written.
pub fn files(
    archive: &Archive,
    layout: &Layout,
    left_out: &HashSet<&str>,
    jobs: usize,
    progress: &Progress,
) -> Result<u64, Failure> {
    let contents = archive.contents();
    let members: Vec<&Member> = contents.members().collect();
    let slices = slices(contents, &members, |member| {
        !member.is_directory() && !left_out.contains(member.path.as_str()) && layout.of(&member.path).is_some()
    });
    let runs = runs(&slices);
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || -> Result<(), Failure> {
        let mut hand = Hand { archive, layout, members: &members, reader: archive.reader()?, open: None, progress };
        while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
            for slice in &slices[run.clone()] {
                if failed.load(Ordering::Relaxed) {
                    return Ok(());
                }
                hand.write(slice)?;
            }
        }
        Ok(())
    };
    let results: Vec<Result<(), Failure>> = std::thread::scope(|scope| {
        let noting = || work().inspect_err(|_| failed.store(true, Ordering::Relaxed));
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(noting)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a panic ends the process")).collect()
    });
    results.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(slices.iter().map(|slice| slice.bytes).sum())
}

/// What one thread holds.
struct Hand<'a> {
    archive: &'a Archive,
    layout: &'a Layout,
    members: &'a [&'a Member],
    reader: Reader<Plain>,
    /// The file written last, as large ones come in many slices.
    open: Option<(usize, File)>,
    progress: &'a Progress,
}

impl Hand<'_> {
    fn write(&mut self, slice: &Slice) -> Result<(), Failure> {
        let member = self.members[slice.member];
        let Some(path) = self.layout.of(&member.path) else { return Ok(()) };
        let written = |error: io::Error| Failure::io(path.display(), &error);
        let whole = slice.bytes == member.bytes;
        if self.open.as_ref().is_none_or(|(open, _)| *open != slice.member) {
            self.open = Some((slice.member, create(&path, whole).map_err(written)?));
        }
        let file = &self.open.as_ref().expect("it was opened above").1;
        // A member of its own, so that the reader need not walk there through all frames of a large file.
        let part = Member { path: String::new(), frame: slice.frame, offset: slice.offset, bytes: slice.bytes, rows: None };
        let (mut data, mut at) = (self.reader.read(&part), slice.from);
        loop {
            let chunk = data.chunk().map_err(|error| self.archive.failure(error))?;
            if chunk.is_empty() {
                break;
            }
            let n = chunk.len();
            for step in chunk.chunks(STEP_BYTES) {
                file.write_all_at(step, at).map_err(written)?;
                at += step.len() as u64;
            }
            data.consume(n);
        }
        self.progress.add(slice.bytes);
        Ok(())
    }
}

/// Opens a file for writing: a new one, or one that another thread may just have made. Never through a link.
fn create(path: &Path, new: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    if new {
        options.create_new(true)
    } else {
        options.create(true)
    };
    options.open(path)
}

/// The members that are wanted, cut at the frames they lie in, in the order of the archive.
fn slices(contents: &Contents, members: &[&Member], wanted: impl Fn(&Member) -> bool) -> Vec<Slice> {
    let frames = contents.frames();
    let mut slices = Vec::with_capacity(members.len());
    for (place, member) in members.iter().enumerate().filter(|(_, member)| wanted(member)) {
        let (mut frame, mut offset, mut from) = (member.frame, member.offset, 0);
        loop {
            let raw_bytes = frames.get(frame as usize).map_or(u64::MAX, |frame| u64::from(frame.raw_bytes));
            let bytes = (member.bytes - from).min(raw_bytes.saturating_sub(offset));
            if bytes > 0 || member.bytes == 0 {
                slices.push(Slice { member: place, frame, offset, from, bytes });
            }
            from += bytes;
            if from >= member.bytes {
                break;
            }
            (frame, offset) = (frame + 1, 0);
        }
    }
    slices
}

/// Rows of slices that one thread takes: a few frames each.
fn runs(slices: &[Slice]) -> Vec<std::ops::Range<usize>> {
    let mut runs = Vec::new();
    let mut start = 0;
    for end in 1..=slices.len() {
        let full = end - start >= RUN_SLICES || slices.get(end).is_none_or(|slice| slice.frame >= slices[start].frame + RUN_FRAMES);
        if full {
            runs.push(start..end);
            start = end;
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slice_is_in_one_run_and_runs_are_short() {
        let slices: Vec<Slice> =
            (0..10_000).map(|n| Slice { member: n, frame: n as u64 / 700, offset: 0, from: 0, bytes: 1 }).collect();
        let runs = runs(&slices);
        assert_eq!(runs.first().map(|run| run.start), Some(0));
        assert!(runs.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert_eq!(runs.last().map(|run| run.end), Some(slices.len()));
        assert!(runs.iter().all(|run| slices[run.end - 1].frame < slices[run.start].frame + RUN_FRAMES));
        assert!(super::runs(&[]).is_empty());
    }
}
