//! One zstd frame: what it may be, and how it is opened, only after its digest, its size and its window are known to be right.

use dr_pipe::Sha256;
use zstd::zstd_safe::{self, DCtx};

use crate::seek_table::Entry;

/// Largest frame before compression that a reader accepts.
pub(crate) const MAX_RAW_BYTES: u32 = 64 << 20;

/// Largest compressed frame that a reader accepts: what zstd may make of the largest one.
pub(crate) const MAX_BYTES: u32 = MAX_RAW_BYTES + (MAX_RAW_BYTES >> 8) + 1024;

/// No zstd frame of at least one byte with content size and checksum is smaller.
pub(crate) const MIN_BYTES: u64 = 13;

/// Binary logarithm of the largest window: 8 MiB, what RFC 8878 recommends every decoder to support.
pub(crate) const MAX_WINDOW_LOG: u32 = 23;

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
    /// What is wrong with it: it is not exactly one frame as a `Press` makes them, has another size than `raw_bytes`, or does
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
    use zstd::zstd_safe::CParameter;

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
