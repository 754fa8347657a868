//! Bytes that can be read at any offset.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use crate::Error;

/// What an archive is read from: a file, a range of an object in a store, a decryption above either.
pub trait ReadAt {
    /// Reads some bytes at `offset` into `buf` and gives their number: at least one unless `buf` is empty or `offset` is at
    /// or behind the end.
    ///
    /// # Errors
    /// Whatever the source does; [`io::ErrorKind::InvalidData`] means that it found its bytes to be damaged.
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, buf, offset)
    }
}

impl ReadAt for &File {
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(*self, buf, offset)
    }
}

impl ReadAt for &[u8] {
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let n = buf.len().min(self.len() - from);
        buf[..n].copy_from_slice(&self[from..from + n]);
        Ok(n)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &mut T {
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buf)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Box<T> {
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buf)
    }
}

/// Reads at offsets from anything that reads and seeks. Seeks only where the last read did not end.
pub struct Seekable<R> {
    inner: R,
    position: Option<u64>,
}

impl<R: Read + Seek> Seekable<R> {
    /// `inner` may stand anywhere.
    pub fn new(inner: R) -> Self {
        Seekable { inner, position: None }
    }
}

impl<R: Read + Seek> ReadAt for Seekable<R> {
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if self.position.take() != Some(offset) {
            self.inner.seek(SeekFrom::Start(offset))?;
        }
        let n = self.inner.read(buf)?;
        self.position = Some(offset + n as u64);
        Ok(n)
    }
}

/// Fills `buf` from `offset` on.
///
/// # Errors
/// [`Error::Damaged`] if the source ends before.
pub(crate) fn read_exact_at(source: &mut (impl ReadAt + ?Sized), offset: u64, buf: &mut [u8], what: &str) -> Result<(), Error> {
    let mut done = 0;
    while done < buf.len() {
        match source.read_at(offset + done as u64, &mut buf[done..]) {
            Ok(0) => return Err(Error::damaged(format!("{what} (cut short)"), offset)),
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io(format!("reading {what}"), error)),
        }
    }
    Ok(())
}
