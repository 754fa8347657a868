//! The seek table of the zstd seekable format, by which other programs find their way too.
//! <https://github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md>

use crate::Error;
use crate::read_at::{ReadAt, read_exact_at};

/// A skippable frame of zstd, number 14.
const SKIPPABLE_MAGIC: u32 = 0x184D_2A5E;
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
const HEADER_BYTES: u64 = 8;
const ENTRY_BYTES: u64 = 8;
const FOOTER_BYTES: u64 = 9;

/// Sizes of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Compressed.
    pub bytes: u32,
    /// Decompressed.
    pub raw_bytes: u32,
}

/// Size of the table of `frames` frames.
pub(crate) fn encoded_bytes(frames: u64) -> u64 {
    HEADER_BYTES + frames * ENTRY_BYTES + FOOTER_BYTES
}

/// The whole skippable frame, without checksums of the frames: those have their own.
pub(crate) fn encode(entries: impl ExactSizeIterator<Item = Entry>) -> Vec<u8> {
    let frames = entries.len() as u32;
    let mut table = Vec::with_capacity(encoded_bytes(u64::from(frames)) as usize);
    table.extend(SKIPPABLE_MAGIC.to_le_bytes());
    table.extend(((u64::from(frames) * ENTRY_BYTES + FOOTER_BYTES) as u32).to_le_bytes());
    for entry in entries {
        table.extend(entry.bytes.to_le_bytes());
        table.extend(entry.raw_bytes.to_le_bytes());
    }
    table.extend(frames.to_le_bytes());
    table.push(0);
    table.extend(SEEKABLE_MAGIC.to_le_bytes());
    table
}

/// Where the last frame before the table lies: offset and size. None if the source does not end in a seek table.
///
/// # Errors
/// If reading fails.
pub(crate) fn last_frame(source: &mut (impl ReadAt + ?Sized), size: u64) -> Result<Option<(u64, u64)>, Error> {
    if size < encoded_bytes(1) {
        return Ok(None);
    }
    let mut tail = [0; (ENTRY_BYTES + FOOTER_BYTES) as usize];
    read_exact_at(source, size - tail.len() as u64, &mut tail, "the seek table")?;
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let (last_bytes, frames) = (u64::from(word(&tail, 0)), u64::from(word(&tail, 8)));
    let table_bytes = encoded_bytes(frames);
    if tail[12] != 0 || word(&tail, 13) != SEEKABLE_MAGIC || frames == 0 || table_bytes + last_bytes > size {
        return Ok(None);
    }
    let mut head = [0; HEADER_BYTES as usize];
    read_exact_at(source, size - table_bytes, &mut head, "the seek table")?;
    let sound = word(&head, 0) == SKIPPABLE_MAGIC && u64::from(word(&head, 4)) == table_bytes - HEADER_BYTES;
    Ok(sound.then_some((size - table_bytes - last_bytes, last_bytes)))
}
