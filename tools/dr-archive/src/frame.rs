//! One zstd frame: made with content size and checksum, and opened only after its digest, its size and its window are known
//! to be right.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dr_pipe::Sha256;
use zstd::zstd_safe::{self, CCtx, CParameter, DCtx, InBuffer, OutBuffer, ResetDirective, zstd_sys::ZSTD_EndDirective};

use crate::Error;
use crate::seek_table::Entry;

/// Largest frame before compression that a reader accepts.
pub(crate) const MAX_RAW_BYTES: u32 = 64 << 20;

/// Largest compressed frame that a reader accepts: what zstd may make of the largest one.
pub(crate) const MAX_BYTES: u32 = MAX_RAW_BYTES + (MAX_RAW_BYTES >> 8) + 1024;

/// No zstd frame of at least one byte with content size and checksum is smaller.
pub(crate) const MIN_BYTES: u64 = 13;

/// Binary logarithm of the largest window: 8 MiB, what RFC 8878 recommends every decoder to support.
const MAX_WINDOW_LOG: u32 = 23;

/// From this level on, zstd would choose a larger window.
const FIRST_LEVEL_OF_LARGE_WINDOWS: i32 = 20;

/// What every zstd frame begins with.
pub(crate) const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// A finished frame.
pub(crate) struct Packed {
    /// The compressed frame.
    pub bytes: Vec<u8>,
    /// Its size before compression.
    pub raw_bytes: u32,
    /// The digest of `bytes`.
    pub sha256: Sha256,
}

impl Packed {
    /// Its line in the seek table.
    pub fn entry(&self) -> Entry {
        Entry { bytes: self.bytes.len() as u32, raw_bytes: self.raw_bytes }
    }
}

/// Makes frames in any number of threads; keeps a context for each thread that is at it, as making one costs more than a
/// small frame, and the memory of frames, as the system gives new memory page by page.
pub(crate) struct Press {
    level: i32,
    idle: Mutex<Vec<Workshop>>,
    /// Empty, with the room of frames that have left.
    spare: Mutex<Vec<Vec<u8>>>,
}

/// What one frame after the other is made with.
struct Workshop {
    context: CCtx<'static>,
    /// Where the bytes of a frame are gathered that do not lie together.
    raw: Vec<u8>,
}

impl Press {
    /// Compresses at `level`, as zstd counts them.
    pub fn new(level: i32) -> Self {
        Press { level, idle: Mutex::default(), spare: Mutex::default() }
    }

    /// Begins a frame of exactly `raw_bytes` bytes, at most [`MAX_RAW_BYTES`].
    ///
    /// # Errors
    /// If memory runs out.
    pub fn frame(&self, raw_bytes: u64) -> Result<FrameWriter<'_>, Error> {
        let mut workshop = match lock(&self.idle).pop() {
            Some(workshop) => workshop,
            None => Workshop { context: self.context()?, raw: Vec::new() },
        };
        let context = &mut workshop.context;
        context.reset(ResetDirective::SessionOnly).map_err(zstd_failed)?;
        context.set_pledged_src_size(Some(raw_bytes)).map_err(zstd_failed)?;
        let mut bytes = lock(&self.spare).pop().unwrap_or_default();
        bytes.reserve(zstd_safe::compress_bound(raw_bytes as usize));
        Ok(FrameWriter { press: self, workshop, bytes, raw_bytes: raw_bytes as u32 })
    }

    /// Takes back the memory of a frame that has left.
    pub fn reuse(&self, mut bytes: Vec<u8>) {
        bytes.clear();
        lock(&self.spare).push(bytes);
    }

    /// Compresses parts that follow each other.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn parts(&self, parts: &[&[u8]]) -> Result<Packed, Error> {
        self.frame(parts.iter().map(|part| part.len() as u64).sum())?.gathered(|raw| {
            parts.iter().for_each(|part| raw.extend_from_slice(part));
            Ok(())
        })
    }

    fn context(&self) -> Result<CCtx<'static>, Error> {
        let out_of_memory = || Error::io("compressing", io::ErrorKind::OutOfMemory.into());
        let mut context = CCtx::try_create().ok_or_else(out_of_memory)?;
        context.set_parameter(CParameter::CompressionLevel(self.level)).map_err(zstd_failed)?;
        context.set_parameter(CParameter::ChecksumFlag(true)).map_err(zstd_failed)?;
        context.set_parameter(CParameter::ContentSizeFlag(true)).map_err(zstd_failed)?;
        if self.level >= FIRST_LEVEL_OF_LARGE_WINDOWS {
            context.set_parameter(CParameter::WindowLog(MAX_WINDOW_LOG)).map_err(zstd_failed)?;
        }
        Ok(context)
    }
}

/// A frame that is being made.
pub(crate) struct FrameWriter<'p> {
    press: &'p Press,
    workshop: Workshop,
    bytes: Vec<u8>,
    raw_bytes: u32,
}

impl FrameWriter<'_> {
    /// Compresses what `gather` puts together, and ends the frame.
    ///
    /// # Errors
    /// Those of `gather`; else as [`FrameWriter::whole`].
    pub fn gathered(mut self, gather: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>) -> Result<Packed, Error> {
        let mut raw = std::mem::take(&mut self.workshop.raw);
        raw.clear();
        raw.reserve(self.raw_bytes as usize);
        gather(&mut raw)?;
        self.compress(&raw)?;
        self.workshop.raw = raw;
        Ok(self.packed())
    }

    /// Compresses all bytes of the frame. With all of them at once zstd works in place: a third faster than in parts, which go
    /// through a ring of its own.
    ///
    /// # Errors
    /// If there are not as many bytes as announced, or memory runs out.
    pub fn whole(mut self, raw: &[u8]) -> Result<Packed, Error> {
        self.compress(raw)?;
        Ok(self.packed())
    }

    fn packed(self) -> Packed {
        lock(&self.press.idle).push(self.workshop);
        Packed { sha256: Sha256::of(&self.bytes), bytes: self.bytes, raw_bytes: self.raw_bytes }
    }

    fn compress(&mut self, raw: &[u8]) -> Result<(), Error> {
        // zstd takes the size of all that it is given at once for the one that was announced.
        if raw.len() != self.raw_bytes as usize {
            return Err(Error::io("compressing", io::Error::other("there are not as many bytes as were announced")));
        }
        let mut input = InBuffer::around(raw);
        loop {
            if self.bytes.len() == self.bytes.capacity() {
                self.bytes.reserve(CCtx::out_size());
            }
            let written = self.bytes.len();
            let mut output = OutBuffer::around_pos(&mut self.bytes, written);
            let ended = self.workshop.context.compress_stream2(&mut output, &mut input, ZSTD_EndDirective::ZSTD_e_end);
            if ended.map_err(zstd_failed)? == 0 && input.pos() == raw.len() {
                return Ok(());
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn zstd_failed(code: usize) -> Error {
    Error::io("compressing", io::Error::other(zstd_safe::get_error_name(code)))
}

/// Opens frames, one at a time.
pub(crate) struct Opener(DCtx<'static>);

impl Opener {
    /// With a context of its own.
    pub fn new() -> Self {
        Opener(DCtx::create())
    }

    /// Decompresses the frame `bytes` into `raw`, replacing what is there.
    ///
    /// # Errors
    /// What is wrong with it: it is not exactly one frame as [`Press`] makes them, has another size than `raw_bytes`, or does
    /// not decompress.
    pub fn open(&mut self, bytes: &[u8], raw_bytes: u32, raw: &mut Vec<u8>) -> Result<(), &'static str> {
        let entry = inspect(bytes)?;
        if entry.bytes as usize != bytes.len() {
            return Err("has bytes behind it");
        }
        if entry.raw_bytes != raw_bytes {
            return Err("has another size than the table of contents says");
        }
        raw.clear();
        raw.reserve_exact(raw_bytes as usize);
        // One frame, checked above: no more than its content size is written, or the capacity stops it.
        match self.0.decompress(raw, bytes) {
            Ok(n) if n == raw_bytes as usize => Ok(()),
            Ok(_) => Err("has another size than it says"),
            Err(_) => Err("does not decompress"),
        }
    }
}

/// Sizes of the frame that `bytes` begin with, by its headers alone (RFC 8878, 3.1.1.1).
///
/// # Errors
/// What a frame of an archive never has.
pub(crate) fn inspect(bytes: &[u8]) -> Result<Entry, &'static str> {
    let &[m0, m1, m2, m3, descriptor, next, ..] = bytes else { return Err("is cut short") };
    if [m0, m1, m2, m3] != MAGIC {
        return Err("is not a zstd frame");
    }
    let (has_checksum, reserved, dictionary) = (descriptor & 0x04 != 0, descriptor & 0x08 != 0, descriptor & 0x03 != 0);
    if !has_checksum || reserved || dictionary {
        return Err("has no checksum, or needs a dictionary");
    }
    let Ok(Some(raw_bytes)) = zstd_safe::get_frame_content_size(bytes) else { return Err("does not say its size") };
    let single_segment = descriptor & 0x20 != 0;
    let window_bytes = if single_segment { raw_bytes } else { window_bytes(next) };
    if window_bytes > 1 << MAX_WINDOW_LOG {
        return Err("needs a window of more than 8 MiB");
    }
    if raw_bytes == 0 || raw_bytes > u64::from(MAX_RAW_BYTES) {
        return Err("is empty or larger than 64 MiB");
    }
    match zstd_safe::find_frame_compressed_size(bytes) {
        Ok(length) if length <= MAX_BYTES as usize => Ok(Entry { bytes: length as u32, raw_bytes: raw_bytes as u32 }),
        _ => Err("is cut short"),
    }
}

/// The window that a window descriptor asks for (RFC 8878, 3.1.1.1.2).
fn window_bytes(descriptor: u8) -> u64 {
    let base = 1u64 << (10 + (descriptor >> 3));
    base + base / 8 * u64::from(descriptor & 7)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pack(level: i32, raw: &[u8]) -> Packed {
        let press = Press::new(level);
        press.frame(raw.len() as u64).unwrap().whole(raw).unwrap()
    }

    #[test]
    fn every_level_keeps_to_the_window_and_opens_again() {
        let raw: Vec<u8> = (0..9u32 << 18).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 20).to_le_bytes()).collect();
        for level in [-7, 1, 3, 12, 22] {
            let packed = pack(level, &raw);
            let mut back = Vec::new();
            assert_eq!(Opener::new().open(&packed.bytes, packed.raw_bytes, &mut back), Ok(()), "level {level}");
            assert!(back == raw, "level {level}");
        }
    }

    #[test]
    fn a_source_that_does_not_keep_its_size_makes_no_frame() {
        let press = Press::new(3);
        assert!(press.frame(10).unwrap().whole(b"123456789").is_err());
        assert!(press.frame(10).unwrap().whole(&[0; 300_000]).is_err());
    }

    #[test]
    fn f75_frames_beyond_the_caps_are_refused_by_their_headers() {
        let mut raw = Vec::new();
        let mut opener = Opener::new();
        let mut refusal = |bytes: &[u8], raw_bytes| opener.open(bytes, raw_bytes, &mut raw).err().map(|why| (why, raw.capacity()));
        let plain = |bytes: &[u8]| zstd::bulk::compress(bytes, 3).unwrap();
        let with = |parameters: &[CParameter], bytes: &[u8]| {
            let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
            compressor.set_parameter(CParameter::ChecksumFlag(true)).unwrap();
            parameters.iter().for_each(|parameter| compressor.set_parameter(*parameter).unwrap());
            compressor.compress(bytes).unwrap()
        };
        let good = with(&[], b"good");
        assert_eq!(refusal(&good[..good.len() - 1], 4), Some(("is cut short", 0)));
        assert_eq!(refusal(&[&good[..], &good].concat(), 4), Some(("has bytes behind it", 0)));
        assert_eq!(refusal(&good, 5), Some(("has another size than the table of contents says", 0)));
        assert_eq!(refusal(&plain(b"no checksum"), 11), Some(("has no checksum, or needs a dictionary", 0)));
        assert_eq!(refusal(&with(&[CParameter::ContentSizeFlag(false)], b"no size"), 7), Some(("does not say its size", 0)));
        assert_eq!(refusal(&with(&[], b""), 0), Some(("is empty or larger than 64 MiB", 0)));
        assert_eq!(refusal(&with(&[], &vec![0; (64 << 20) + 1]), (64 << 20) + 1), Some(("is empty or larger than 64 MiB", 0)));
        let window = with(&[CParameter::WindowLog(24)], &vec![0; 32 << 20]);
        assert_eq!(refusal(&window, 32 << 20), Some(("needs a window of more than 8 MiB", 0)));
        assert_eq!(refusal(b"PK\x03\x04abcdefghijkl", 4), Some(("is not a zstd frame", 0)));
    }
}
