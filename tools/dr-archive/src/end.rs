//! The last frame of an archive: where the table of contents lies, and its digest. Whoever knows this frame's digest can prove
//! everything else.

use dr_pipe::Sha256;
use dr_pipe::record::ArchiveRoot;
use serde::{Deserialize, Serialize};

use crate::frame::{self, MIN_BYTES, Opener};
use crate::names::Own;
use crate::read_at::{ReadAt, read_exact_at};
use crate::tar_header::{self, BLOCK_BYTES, END_BYTES};
use crate::toc::Limits;
use crate::{Error, seek_table};

/// Version of the container's format.
pub(crate) const FORMAT: u32 = 1;

/// Largest end frame, compressed or not: it holds one short line.
const MAX_END_BYTES: u64 = 64 << 10;

/// The content of `end.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "end")]
pub(crate) struct End {
    /// Version of the container's format.
    pub format: u32,
    /// The frames of `toc.jsonl`.
    pub toc: TocExtent,
    /// Number of frames that the table of contents lists.
    pub frames: u64,
    /// Number of members that it lists.
    pub members: u64,
    /// Rows of all members that have a number of rows; absent where none has.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rows: Option<u64>,
}

/// The frames that hold nothing but `toc.jsonl`, taken together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TocExtent {
    /// Number of the first of them.
    pub frame: u64,
    /// Where it starts in the archive.
    pub offset: u64,
    /// Their size in the archive.
    pub bytes: u64,
    /// Their size decompressed.
    pub raw_bytes: u64,
    /// SHA-256 of their bytes in the archive.
    pub sha256: Sha256,
}

/// The last frame, opened.
#[derive(Debug)]
pub(crate) struct OpenEnd {
    pub record: End,
    pub root: ArchiveRoot,
    pub raw_bytes: u32,
    pub taken_at_unix_seconds: u64,
    pub own: Own,
}

/// Just enough of any format's `end.json` to say which format it is.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum AnyFormat {
    End { format: u32 },
}

/// The end of the tar, before compression.
///
/// # Errors
/// Never in practice: the record has only numbers and digests.
pub(crate) fn encode(record: &End, own: Own, taken_at_unix_seconds: u64) -> Result<Vec<u8>, Error> {
    let mut text = serde_json::to_vec(record).map_err(|error| Error::io("the archive's end", error.into()))?;
    text.push(b'\n');
    let mut raw = tar_header::encode(own.end(), text.len() as u64, taken_at_unix_seconds);
    raw.extend_from_slice(&text);
    raw.resize(raw.len() + tar_header::padding_bytes(text.len() as u64) as usize + END_BYTES, 0);
    Ok(raw)
}

/// Finds the last frame, by `root` or else by the seek table, and opens it.
///
/// # Errors
/// See [`crate::Contents::open`].
pub(crate) fn open(source: &mut (impl ReadAt + ?Sized), size: u64, root: Option<&ArchiveRoot>) -> Result<OpenEnd, Error> {
    let (offset, bytes) = match root {
        Some(root) => (root.end_offset, root.end_bytes),
        None => match seek_table::last_frame(source, size)? {
            Some(found) => found,
            None => return Err(no_end(source, size)?),
        },
    };
    if offset.checked_add(bytes).is_none_or(|end| end > size) {
        return Err(Error::damaged("the end (cut short)", size));
    }
    if bytes > MAX_END_BYTES {
        return Err(Error::malformed("the end is larger than 64 KiB", offset));
    }
    let mut compressed = vec![0; bytes as usize];
    read_exact_at(source, offset, &mut compressed, "the end")?;
    let sha256 = Sha256::of(&compressed);
    if root.is_some_and(|root| root.end_sha256 != sha256) {
        return Err(Error::damaged("the end", offset));
    }
    let malformed = |why: &str| Error::malformed(format!("the end {why}"), offset);
    let raw_bytes = frame::inspect(&compressed).map_err(malformed)?.raw_bytes;
    if u64::from(raw_bytes) > MAX_END_BYTES {
        return Err(malformed("is larger than 64 KiB"));
    }
    let mut raw = Vec::new();
    Opener::new().open(&compressed, raw_bytes, &mut raw).map_err(malformed)?;
    let (own, text, taken_at_unix_seconds) = decode(&raw).ok_or_else(|| malformed("is not as a dr archive has it"))?;
    let AnyFormat::End { format } = serde_json::from_slice(text).map_err(|error| malformed(&format!("is wrong: {error}")))?;
    if format != FORMAT {
        return Err(Error::UnknownFormat { format });
    }
    let record: End = serde_json::from_slice(text).map_err(|error| malformed(&format!("is wrong: {error}")))?;
    let limits = if root.is_some() { Limits::SIGNED } else { Limits::UNSIGNED };
    check(&record, offset, limits).map_err(malformed)?;
    let root = ArchiveRoot { end_offset: offset, end_bytes: bytes, end_sha256: sha256 };
    Ok(OpenEnd { record, root, raw_bytes, taken_at_unix_seconds, own })
}

/// Where the archive's own members lie, the text of `end.json` and the archive's time, if `raw` is as [`encode`] makes it.
fn decode(raw: &[u8]) -> Option<(Own, &[u8], u64)> {
    let decoded = |own: Own| tar_header::decode(raw, own.end()).map(|(bytes, taken_at)| (own, bytes, taken_at));
    let (own, bytes, taken_at) = Own::ALL.into_iter().find_map(decoded)?;
    let (text, zeroes) = raw[BLOCK_BYTES as usize..].split_at_checked(usize::try_from(bytes).ok()?)?;
    let whole = zeroes.len() == tar_header::padding_bytes(bytes) as usize + END_BYTES;
    (whole && zeroes.iter().all(|&byte| byte == 0)).then_some((own, text, taken_at))
}

/// Holds the record's numbers against the archive's size and the limits, so that nothing is allocated for a mere claim.
fn check(record: &End, end_offset: u64, limits: Limits) -> Result<(), &'static str> {
    let toc = &record.toc;
    if toc.offset.checked_add(toc.bytes) != Some(end_offset) || toc.bytes < MIN_BYTES {
        return Err("has a table of contents that does not lie before it");
    }
    if toc.raw_bytes > limits.bytes + 2 * BLOCK_BYTES || toc.bytes > limits.bytes + limits.bytes / 64 {
        return Err("has a table of contents that is too large to be read");
    }
    if record.frames > limits.entries || record.members > limits.entries || record.frames > toc.offset / MIN_BYTES {
        return Err("counts more frames or members than an archive can have");
    }
    if toc.frame != record.frames {
        return Err("counts its frames in two ways");
    }
    Ok(())
}

/// Why there is no seek table.
fn no_end(source: &mut (impl ReadAt + ?Sized), size: u64) -> Result<Error, Error> {
    let mut head = [0; 4];
    let head = &mut head[..size.min(4) as usize];
    read_exact_at(source, 0, head, "the first frame")?;
    let unfinished = frame::MAGIC.starts_with(head);
    Ok(if unfinished { Error::Unfinished { bytes: size } } else { Error::NotAnArchive })
}
