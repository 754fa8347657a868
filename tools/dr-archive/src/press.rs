//! Making zstd frames, with content size and checksum.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dr_pipe::Sha256;
use zstd::zstd_safe::{self, CCtx, CParameter, InBuffer, OutBuffer, ResetDirective, zstd_sys::ZSTD_EndDirective};

use crate::Error;
use crate::frame::{MAX_WINDOW_LOG, Packed};

/// From this level on, zstd would choose a larger window.
const FIRST_LEVEL_OF_LARGE_WINDOWS: i32 = 20;

/// What zstd's default level is compared with.
const LIGHTER_LEVEL: i32 = zstd_safe::CLEVEL_DEFAULT - 1;

/// Binary logarithm of the places that this level remembers, half as many as zstd would: they stay in a processor's cache, and frames
/// of rows are as small.
const LIGHTER_HASH_LOG: u32 = 15;

/// What zstd takes for "as the level says".
const OF_THE_LEVEL: u32 = 0;

/// Bytes of a frame that tell how it compresses: of 64 KiB, sizes differ by more than levels do; more of them take too long.
const SAMPLE_BYTES: usize = 128 << 10;

/// Smaller frames are not worth a sample.
const FRAME_TO_SAMPLE_BYTES: usize = 8 * SAMPLE_BYTES;

/// Percent by which a sample may be larger at the lighter level: the larger tables of the other one pay off early in a frame.
const SAMPLE_EXCESS_PERCENT: usize = 2;

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
    /// Compresses at `level`, as zstd counts them; at level 3, its own default, as [`Workshop::level`] says.
    pub fn new(level: i32) -> Self {
        Press { level, idle: Mutex::default(), spare: Mutex::default() }
    }

    /// Begins a frame of exactly `raw_bytes` bytes, at most [`crate::frame::MAX_RAW_BYTES`].
    ///
    /// # Errors
    /// If memory runs out.
    pub fn frame(&self, raw_bytes: u64) -> Result<FrameWriter<'_>, Error> {
        let workshop = match lock(&self.idle).pop() {
            Some(workshop) => workshop,
            None => self.workshop()?,
        };
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

    fn workshop(&self) -> Result<Workshop, Error> {
        let out_of_memory = || Error::io("compressing", io::ErrorKind::OutOfMemory.into());
        let mut context = CCtx::try_create().ok_or_else(out_of_memory)?;
        context.set_parameter(CParameter::ChecksumFlag(true)).map_err(zstd_failed)?;
        context.set_parameter(CParameter::ContentSizeFlag(true)).map_err(zstd_failed)?;
        if self.level >= FIRST_LEVEL_OF_LARGE_WINDOWS {
            context.set_parameter(CParameter::WindowLog(MAX_WINDOW_LOG)).map_err(zstd_failed)?;
        }
        Ok(Workshop { context, raw: Vec::new() })
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
        let level = self.workshop.level(self.press.level, raw, &mut self.bytes)?;
        self.bytes.clear();
        self.workshop.begin(level)?;
        self.workshop.context.set_pledged_src_size(Some(raw.len() as u64)).map_err(zstd_failed)?;
        self.workshop.compress(raw, ZSTD_EndDirective::ZSTD_e_end, &mut self.bytes)
    }
}

impl Workshop {
    /// The level of zstd to compress a frame at: the one that was asked for, unless that is zstd's default and its lighter neighbour,
    /// which takes three fifths of the time, is seen to do as well on a sample from the middle of the frame. It does on most rows
    /// and pages, whose matches are short: there the whole frame gets smaller by it, as a rule. It does not on prose and programs.
    fn level(&mut self, asked: i32, raw: &[u8], room: &mut Vec<u8>) -> Result<i32, Error> {
        if asked != zstd_safe::CLEVEL_DEFAULT || raw.len() < FRAME_TO_SAMPLE_BYTES {
            return Ok(asked);
        }
        let sample = &raw[raw.len() / 2..][..SAMPLE_BYTES];
        let [lighter, own] = [LIGHTER_LEVEL, asked].map(|level| self.sampled(level, sample, room));
        Ok(if lighter? * 100 <= own? * (100 + SAMPLE_EXCESS_PERCENT) { LIGHTER_LEVEL } else { asked })
    }

    /// The compressed size of a sample, as part of something larger: where zstd knows that there is no more of it, it does otherwise.
    fn sampled(&mut self, level: i32, sample: &[u8], room: &mut Vec<u8>) -> Result<usize, Error> {
        room.clear();
        self.begin(level)?;
        self.compress(sample, ZSTD_EndDirective::ZSTD_e_continue, room)?;
        self.compress(&[], ZSTD_EndDirective::ZSTD_e_end, room)?;
        Ok(room.len())
    }

    fn begin(&mut self, level: i32) -> Result<(), Error> {
        self.context.reset(ResetDirective::SessionOnly).map_err(zstd_failed)?;
        let hash_log = if level == LIGHTER_LEVEL { LIGHTER_HASH_LOG } else { OF_THE_LEVEL };
        self.context.set_parameter(CParameter::CompressionLevel(level)).map_err(zstd_failed)?;
        self.context.set_parameter(CParameter::HashLog(hash_log)).map(drop).map_err(zstd_failed)
    }

    /// Compresses all of `raw` behind what is in `bytes`.
    fn compress(&mut self, raw: &[u8], directive: ZSTD_EndDirective, bytes: &mut Vec<u8>) -> Result<(), Error> {
        let mut input = InBuffer::around(raw);
        loop {
            if bytes.len() == bytes.capacity() {
                bytes.reserve(CCtx::out_size());
            }
            let written = bytes.len();
            let mut output = OutBuffer::around_pos(bytes, written);
            let left = self.context.compress_stream2(&mut output, &mut input, directive).map_err(zstd_failed)?;
            if input.pos() == raw.len() && (left == 0 || matches!(directive, ZSTD_EndDirective::ZSTD_e_continue)) {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::frame::Opener;

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
    fn the_default_level_is_as_light_as_a_frame_allows() {
        let level = |asked, raw: &[u8]| Press::new(asked).workshop().unwrap().level(asked, raw, &mut Vec::new());
        let rows: String =
            (0..40_000).map(|n| format!("{n}\t{}\t{}.37\tbooked\n", Sha256::of(&[n as u8, (n >> 8) as u8]), n % 9000)).collect();
        assert_eq!(level(3, rows.as_bytes()).unwrap(), 2);
        assert_eq!(level(3, &rows.as_bytes()[..1 << 19]).unwrap(), 3, "too small for a sample");
        assert_eq!([1, 2, 4, 19].map(|asked| level(asked, rows.as_bytes()).unwrap()), [1, 2, 4, 19]);
        assert_eq!(level(3, &programs()).unwrap(), 3);
    }

    /// What the tools are written in.
    fn programs() -> Vec<u8> {
        let entries =
            |dir: &std::path::Path| std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
        let tools = entries(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        let mut files: Vec<_> = tools.iter().flat_map(|tool| entries(&tool.join("src"))).filter(|path| path.is_file()).collect();
        files.sort();
        files.iter().flat_map(|file| std::fs::read(file).unwrap()).collect()
    }
}
