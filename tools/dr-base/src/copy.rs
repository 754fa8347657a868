//! Reads the files of a data directory into an archive, with all processors.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dr_archive::{Piece, Pieces, Writer};
use dr_pipe::progress::Progress;
use dr_pipe::{Exit, Failure, Sha256};

use crate::large::{InOrder, Large};
use crate::manifest::Manifest;
use crate::names;
use crate::pages::{Pages, Run};
use crate::queue::{Job, Queue};
use crate::rate::Limit;
use crate::walk::{Found, Place, Walk};

/// Files below this size share frames with others, in bytes.
pub const SMALL_BYTES: u64 = 256 << 10;

/// Where files go, and what is done to them on the way.
pub struct Copy<'c, W: Write + Send> {
    /// The archive.
    pub archive: &'c Writer<W>,
    /// Where they are listed.
    pub manifest: &'c Manifest,
    /// What judges pages; none where the cluster has no checksums.
    pub pages: Option<&'c Pages>,
    /// How many pages a segment of a relation has, and their size in bytes.
    pub segment: Segment,
    /// How fast files may be read.
    pub limit: &'c Limit,
    /// What is shown of it.
    pub progress: &'c Progress,
}

/// How relations are cut into files.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Pages of a full segment.
    pub pages: u32,
    /// Bytes of a page.
    pub page_bytes: u32,
}

impl Segment {
    /// The number of the first page of the file at `path` in its relation; none where it holds no pages, or not whole ones.
    pub fn first_block(&self, path: &str, bytes: u64) -> Option<u32> {
        let relation = names::relation_at(path).filter(|_| bytes.is_multiple_of(self.page_bytes.into()))?;
        Some(relation.segment.wrapping_mul(self.pages))
    }
}

/// The pieces of a file, each with the file.
struct Shares<'w, W: Write + Send> {
    large: Arc<Large>,
    pieces: Pieces<'w, W>,
}

impl<'w, W: Write + Send> Iterator for Shares<'w, W> {
    type Item = (Arc<Large>, Piece<'w, W>);

    fn next(&mut self) -> Option<Self::Item> {
        Some((Arc::clone(&self.large), self.pieces.next()?))
    }
}

impl<'c, W: Write + Send> Copy<'c, W> {
    /// Copies all that `walk` tells, on `workers` threads.
    ///
    /// # Errors
    /// As files cannot be read, or the archive not be written.
    pub fn all(&self, walk: &Walk<'_>, workers: usize) -> Result<(), Failure> {
        let ((found, queue), failed) = (Queue::new(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let (queue, failed) = (&queue, &failed);
            let work = move || self.work(queue).inspect_err(|_| give_up(queue, failed));
            let working: Vec<_> = (0..workers.max(1)).map(|_| scope.spawn(work)).collect();
            let walked = walk.each(&mut |seen| match seen {
                _ if failed.load(Ordering::Relaxed) => Err(stopped()),
                Found::Directory(path) => Ok(self.archive.directory(&path)?),
                Found::File(place) => found.send(place).map_err(|_| stopped()),
            });
            drop(found);
            let worked = working.into_iter().map(|worker| worker.join().expect("a panic ends the process (dr_pipe::run)"));
            // Whichever failed first made the archive fail for all others: they only say so.
            let failed: Vec<Failure> = worked.chain([walked]).filter_map(Result::err).collect();
            let cause = failed.iter().position(|failure| failure.exit != Exit::Bug).unwrap_or(0);
            failed.into_iter().nth(cause).map_or(Ok(()), Err)
        })
    }

    fn work<'s>(&'s self, queue: &Queue<Place, Shares<'s, W>>) -> Result<(), Failure> {
        let mut buffer = Vec::new();
        while let Some(job) = queue.next() {
            match job {
                Job::New(place) => self.new_file(queue, place, &mut buffer)?,
                Job::Piece((large, piece)) => self.piece(&large, piece, &mut buffer)?,
            }
        }
        Ok(())
    }

    /// Takes a small file whole; a large one becomes pieces for all.
    fn new_file<'s>(&'s self, queue: &Queue<Place, Shares<'s, W>>, place: Place, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        let large = match self.open(place) {
            Ok(Some(large)) if large.bytes >= SMALL_BYTES => large,
            other => {
                queue.looked(|| Ok::<_, Failure>(None))?;
                return other?.map_or(Ok(()), |small| self.small(&small, buffer));
            }
        };
        queue.looked(|| {
            let pieces = self.archive.reserve(&large.path, None, large.bytes)?;
            Ok(Some(Shares { large: Arc::new(large), pieces }))
        })
    }

    /// Opens a file; none where it has vanished, or belongs to no backup after all.
    fn open(&self, place: Place) -> Result<Option<Large>, Failure> {
        let failed = |error: &io::Error| Failure::io(place.source.display(), error);
        if let Some(relation) = names::relation_at(&place.path).filter(|relation| !relation.init) {
            // Unlogged: after a recovery it is as new.
            if place.source.with_file_name(format!("{}_init", relation.number)).symlink_metadata().is_ok() {
                return Ok(None);
            }
        }
        let file = match File::open(&place.source) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|error| failed(&error))?,
        };
        let metadata = file.metadata().map_err(|error| failed(&error))?;
        let bytes = metadata.size();
        let first_block = self.pages.and_then(|_| self.segment.first_block(&place.path, bytes));
        let modified = metadata.modified().map_err(|error| failed(&error))?;
        Ok(Some(Large { file, path: place.path, bytes, modified, first_block, digest: InOrder::default() }))
    }

    fn small(&self, small: &Large, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        self.read(small, 0, small.bytes, buffer)?;
        self.archive.small(&small.path, None, buffer)?;
        self.manifest.add(&small.path, small.bytes, small.modified, Sha256::of(buffer))
    }

    fn piece(&self, large: &Large, piece: Piece<'_, W>, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        let range = piece.range();
        self.read(large, range.start, range.end - range.start, buffer).inspect_err(|_| large.digest.give_up())?;
        if let Some(sha256) = large.digest.add(range, buffer, large.bytes) {
            self.manifest.add(&large.path, large.bytes, large.modified, sha256)?;
        }
        Ok(piece.deposit(buffer)?)
    }

    /// Reads a part of a file into `buffer`. What the file does not have any more is zeroes: WAL says what became of it.
    fn read(&self, large: &Large, offset: u64, bytes: u64, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        self.limit.spend(bytes);
        buffer.resize(bytes as usize, 0);
        let read = read_at_most(&large.file, buffer, offset).map_err(|error| Failure::io(&large.path, &error))?;
        buffer[read..].fill(0);
        if let Some((pages, first_block)) = self.pages.zip(large.first_block) {
            pages.check(&Run { path: &large.path, file: Some(&large.file), offset, first_block }, buffer);
        }
        self.progress.add(bytes);
        Ok(())
    }

    /// Adds a file whose bytes are known, and lists it.
    ///
    /// # Errors
    /// As the archive or the manifest.
    pub fn known(&self, path: &str, bytes: &[u8], modified: std::time::SystemTime) -> Result<(), Failure> {
        self.archive.small(path, None, bytes)?;
        self.manifest.add(path, bytes.len() as u64, modified, Sha256::of(bytes))
    }
}

/// Lets nobody wait for a thread that has failed: not the walk, and not those that need the pieces before theirs.
fn give_up<W: Write + Send>(queue: &Queue<Place, Shares<'_, W>>, failed: &AtomicBool) {
    failed.store(true, Ordering::Relaxed);
    while let Some(job) = queue.next() {
        match job {
            Job::New(_) => queue.looked(|| Ok::<_, Failure>(None)).unwrap_or(()),
            Job::Piece((large, _)) => large.digest.give_up(),
        }
    }
}

fn stopped() -> Failure {
    Failure::new(Exit::Bug, "the walk was stopped, as no file is read any more", "the other failure is the one to look at")
}

fn read_at_most(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
