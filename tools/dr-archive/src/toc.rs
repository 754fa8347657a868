//! The table of contents: one JSON line for each frame and each member, in the order of the tar.

use std::io::{self, BufWriter, Seek, Write};

use dr_pipe::Sha256;
use serde::{Deserialize, Serialize};
use tempfile::SpooledTempFile;

use crate::Error;
use crate::tar_header::PAX_SIZE_BYTES;

/// How large a table of contents may be: reading it takes memory for each line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Most frames and most members, each.
    pub entries: u64,
    /// Its size before compression.
    pub bytes: u64,
}

impl Limits {
    /// For an archive that is proved by its root. Below 8 GiB the table's own header is one block.
    pub const SIGNED: Limits = Limits { entries: 64 << 20, bytes: PAX_SIZE_BYTES - 1 };

    /// For one that anybody may have made.
    pub const UNSIGNED: Limits = Limits { entries: 4 << 20, bytes: 512 << 20 };
}

/// Up to here the table is kept in memory while an archive is written.
const SPOOL_BYTES: usize = 4 << 20;

/// One line of `toc.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Line {
    /// A frame.
    Frame(Frame),
    /// A member; stands behind the frame that its data begins in.
    Member(Member),
}

/// One frame of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Where it starts in the archive.
    pub offset: u64,
    /// Its size in the archive.
    pub bytes: u32,
    /// Its size decompressed.
    pub raw_bytes: u32,
    /// SHA-256 of its bytes in the archive.
    pub sha256: Sha256,
}

/// A file in an archive, or a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its path: relative, its parts neither empty nor `.` nor `..`. A directory's ends in a slash.
    pub path: String,
    /// Number of the frame that its data begins in, counted from 0.
    pub frame: u64,
    /// Where its data begins in that frame's decompressed bytes. The data goes on in the frames that follow.
    pub offset: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Rows of a table that it holds; absent where that means nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rows: Option<u64>,
}

impl Member {
    /// Whether it is a directory: it has no bytes.
    pub fn is_directory(&self) -> bool {
        self.path.ends_with('/')
    }
}

/// The lines of a table that is being written; in a temporary file once they are many.
pub(crate) struct Spool {
    lines: BufWriter<SpooledTempFile>,
    bytes: u64,
}

impl Spool {
    /// Without any line.
    pub fn new() -> Self {
        Spool { lines: BufWriter::new(SpooledTempFile::new(SPOOL_BYTES)), bytes: 0 }
    }

    /// Appends a line.
    ///
    /// # Errors
    /// If the temporary file cannot be written, or the table becomes too large.
    pub fn push(&mut self, line: &Line) -> Result<(), Error> {
        let mut text = serde_json::to_vec(line).map_err(|error| spool_failed(error.into()))?;
        text.push(b'\n');
        self.bytes += text.len() as u64;
        if self.bytes > Limits::SIGNED.bytes {
            return Err(Error::Full { what: "its table of contents has more than 8 GiB" });
        }
        self.lines.write_all(&text).map_err(spool_failed)
    }

    /// All lines, to be read from the first, and their size.
    ///
    /// # Errors
    /// If the temporary file cannot be written.
    pub fn into_reader(self) -> Result<(SpooledTempFile, u64), Error> {
        let mut file = self.lines.into_inner().map_err(|error| spool_failed(error.into_error()))?;
        file.rewind().map_err(spool_failed)?;
        Ok((file, self.bytes))
    }
}

/// An error of the temporary file.
pub(crate) fn spool_failed(error: io::Error) -> Error {
    Error::io("temporary file for the table of contents (TMPDIR)", error)
}
