//! Writes an archive from many threads at once.

use std::io::{Read, Write};
use std::sync::{Mutex, PoisonError};

use dr_pipe::stream::fill;

use crate::emitter::{Emitter, Filled, Finished};
use crate::layout::Layout;
use crate::names::{self, Names, Own};
use crate::piece::{Pieces, Ticket};
use crate::press::Press;
use crate::toc::Member;
use crate::turnstile::Turnstile;
use crate::{Error, tar_header};

/// How an archive is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// zstd's compression level, -7 to 22. From 20 on the window stays at 8 MiB, which every decoder supports.
    pub level: i32,
    /// Size of a frame before compression, 1 KiB to 32 MiB: what must be read for one byte of it.
    pub frame_bytes: usize,
    /// How many finished frames may wait for an earlier one; with the frames that threads work on, this bounds memory.
    pub window: usize,
    /// The time that all members of the tar carry, in seconds since 1970.
    pub taken_at_unix_seconds: u64,
    /// Where the table of contents and the end lie in the tar.
    pub own: Own,
    /// Where a member is cut into frames: at multiples of this many bytes, at least 1 and far less than a frame.
    pub align_bytes: usize,
    /// Whether the producer knows that no two paths are the same, as who walks a directory does: then none is remembered, and
    /// memory does not grow with their number.
    pub paths_are_unique: bool,
}

impl Options {
    /// Level 3, frames of 4 MiB, 16 of which may wait; its own members at the root, each path checked against all others.
    pub fn new(taken_at_unix_seconds: u64) -> Self {
        Options {
            level: 3,
            frame_bytes: 4 << 20,
            window: 16,
            taken_at_unix_seconds,
            own: Own::AtRoot,
            align_bytes: 1,
            paths_are_unique: false,
        }
    }
}

/// Writes an archive; shared by reference among threads, each of which compresses what it adds.
///
/// The first error of any thread, be it an error of its source or a panic, fails all others at once. Frames leave in the order
/// in which they were begun. Dropping a writer that is not finished leaves an archive that no reader accepts.
pub struct Writer<W: Write + Send> {
    pub(crate) options: Options,
    pub(crate) press: Press,
    pub(crate) turnstile: Turnstile<Emitter<W>, Filled>,
    /// None where the producer knows that paths differ.
    names: Option<Mutex<Names>>,
    shared: Mutex<Shared>,
}

/// The frame that small members share.
#[derive(Default)]
struct Shared {
    raw: Vec<u8>,
    members: Vec<Member>,
}

impl<W: Write + Send> Writer<W> {
    /// Writes to `out`, in large pieces, from whichever thread has the next frame. Nothing is written before the first frame.
    pub fn new(out: W, mut options: Options) -> Self {
        options.frame_bytes = options.frame_bytes.clamp(1 << 10, 32 << 20);
        options.align_bytes = options.align_bytes.clamp(1, options.frame_bytes / 4);
        Writer {
            press: Press::new(options.level),
            turnstile: Turnstile::new(Emitter::new(out), options.window),
            names: (!options.paths_are_unique).then(|| Mutex::new(Names::new(options.own))),
            shared: Mutex::default(),
            options,
        }
    }

    /// Adds a directory, which shares a frame with small members. Directories of members come to be by themselves: this is for
    /// those that are empty, and costs nothing for others.
    ///
    /// # Errors
    /// If the path is taken or not legal, or any thread failed.
    pub fn directory(&self, path: &str) -> Result<(), Error> {
        self.share(&format!("{}/", path.strip_suffix('/').unwrap_or(path)), None, &[])
    }

    /// Adds a small member, which shares a frame with others. `rows` goes into the table of contents.
    ///
    /// It is written when that frame is full, or the archive is finished. One as large as a frame gets its own.
    ///
    /// # Errors
    /// If the path is taken or not legal, or any thread failed.
    pub fn small(&self, path: &str, rows: Option<u64>, bytes: &[u8]) -> Result<(), Error> {
        self.file(path)?;
        self.share(path, rows, bytes)
    }

    fn share(&self, path: &str, rows: Option<u64>, bytes: &[u8]) -> Result<(), Error> {
        let header = tar_header::encode(path, bytes.len() as u64, self.options.taken_at_unix_seconds);
        let padding = tar_header::padding_bytes(bytes.len() as u64) as usize;
        let size = header.len() + bytes.len() + padding;
        if size >= self.options.frame_bytes {
            return self.bulk(path, rows, bytes);
        }
        self.take_name(path)?;
        let full = {
            let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            let full = shared.raw.len() + size > self.options.frame_bytes;
            let full = full.then(|| std::mem::take(&mut *shared));
            shared.raw.extend_from_slice(&header);
            let offset = shared.raw.len() as u64;
            // Which frame it is turns out when the frame gets its ticket.
            shared.members.push(Member { path: path.into(), frame: 0, offset, bytes: bytes.len() as u64, rows });
            shared.raw.extend_from_slice(bytes);
            let padded = shared.raw.len() + padding;
            shared.raw.resize(padded, 0);
            full
        };
        full.map_or(Ok(()), |full| self.deposit_shared(full))
    }

    /// Adds a member in frames of its own, compressed in the calling thread. `rows` goes into the table of contents.
    ///
    /// # Errors
    /// If the path is taken or not legal, or any thread failed.
    pub fn bulk(&self, path: &str, rows: Option<u64>, bytes: &[u8]) -> Result<(), Error> {
        for piece in self.reserve(path, rows, bytes.len() as u64)? {
            let range = piece.range();
            piece.deposit(&bytes[range.start as usize..range.end as usize])?;
        }
        Ok(())
    }

    /// Adds a member of known size from `source`, in frames of its own, one after the other in the calling thread; holds one
    /// frame in memory. Other threads go on until their frames fill the window.
    ///
    /// # Errors
    /// If the path is taken or not legal, `source` fails or does not have exactly `bytes` bytes, or any thread failed.
    pub fn streamed(&self, path: &str, rows: Option<u64>, bytes: u64, source: &mut dyn Read) -> Result<(), Error> {
        for piece in self.reserve(path, rows, bytes)? {
            piece.deposit_from(source)?;
        }
        match fill(&mut { source }, &mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.fail(Error::SourceChanged { path: path.into() })),
            Err(error) => Err(self.fail(Error::io(path, error))),
        }
    }

    /// Reserves the frames of one member of known size, so that several threads can fill them. See [`Pieces`].
    ///
    /// # Errors
    /// If the path is taken or not legal, or any thread failed.
    pub fn reserve(&self, path: &str, rows: Option<u64>, bytes: u64) -> Result<Pieces<'_, W>, Error> {
        self.file(path)?;
        self.take_name(path)?;
        let layout = Layout::new(bytes, self.options.frame_bytes as u64).aligned(self.options.align_bytes as u64);
        let tickets = self.turnstile.reserve(layout.frames)?;
        Ok(Pieces::new(self, layout, tickets, path, rows, bytes))
    }

    /// Writes the small members so far, in a frame of their own; those that come share the next one. What must stand first in
    /// the archive is added, and flushed, before other threads start.
    ///
    /// # Errors
    /// If any thread failed.
    pub fn flush_small(&self) -> Result<(), Error> {
        let shared = std::mem::take(&mut *self.shared.lock().unwrap_or_else(PoisonError::into_inner));
        if shared.members.is_empty() { self.turnstile.alive() } else { self.deposit_shared(shared) }
    }

    /// Writes what is left, the table of contents, the end and the seek table; flushes; gives back what was written to.
    ///
    /// # Errors
    /// If any thread failed, or any of it cannot be written: then the archive is unfinished.
    pub fn finish(self) -> Result<(W, Finished), Error> {
        self.flush_small()?;
        self.turnstile.finish()?.finish(&self.press, &self.options)
    }

    fn file(&self, path: &str) -> Result<(), Error> {
        let why = "the path of a file does not end in a slash";
        if path.ends_with('/') { Err(self.fail(Error::Path { path: path.into(), why })) } else { Ok(()) }
    }

    fn take_name(&self, path: &str) -> Result<(), Error> {
        self.turnstile.alive()?;
        let taken = match &self.names {
            Some(names) => names.lock().unwrap_or_else(PoisonError::into_inner).take(path),
            None => names::check(path),
        };
        taken.map_err(|why| self.fail(Error::Path { path: path.into(), why }))
    }

    fn fail(&self, error: Error) -> Error {
        self.turnstile.fail(&error);
        error
    }

    fn deposit_shared(&self, mut shared: Shared) -> Result<(), Error> {
        let number = self.turnstile.reserve(1)?.start;
        let ticket = Ticket { writer: self, number, delivered: false };
        shared.members.iter_mut().for_each(|member| member.frame = number);
        let frame = self.press.frame(shared.raw.len() as u64)?.whole(&shared.raw)?;
        ticket.deliver(Filled { frame, members: shared.members })
    }
}
