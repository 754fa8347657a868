//! The plain bytes of something that may be an age stream, or may not be encrypted at all.

use std::io::{self, Read, Seek, SeekFrom};

use crate::header::ANY_VERSION;
use crate::{Decrypted, Error, Unlocked};

/// The plain bytes, readable at any offset.
pub enum Plain<R: Read + Seek> {
    /// Not encrypted.
    Stored(R),
    /// Decrypted.
    Decrypted(Box<Decrypted<R>>),
}

impl<R: Read + Seek> Plain<R> {
    /// Those of `stored`; through `unlocked`, which was opened from the same bytes, where they are encrypted.
    ///
    /// # Errors
    /// As [`Unlocked::reader`].
    pub fn new(stored: R, unlocked: Option<&Unlocked>) -> Result<Self, Error> {
        match unlocked {
            None => Ok(Plain::Stored(stored)),
            Some(unlocked) => Ok(Plain::Decrypted(Box::new(unlocked.reader(stored)?))),
        }
    }
}

impl<R: Read + Seek> Read for Plain<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Plain::Stored(reader) => reader.read(buf),
            Plain::Decrypted(reader) => reader.read(buf),
        }
    }
}

impl<R: Read + Seek> Seek for Plain<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Plain::Stored(reader) => reader.seek(to),
            Plain::Decrypted(reader) => reader.seek(to),
        }
    }
}

/// Whether what `stored` gives next begins as every age stream does, of whatever version. Reads these bytes.
///
/// # Errors
/// Whatever `stored` does.
pub fn is_age(stored: &mut impl Read) -> io::Result<bool> {
    let mut head = [0; ANY_VERSION.len()];
    let n = dr_pipe::stream::fill(stored, &mut head)?;
    Ok(&head[..n] == ANY_VERSION)
}
