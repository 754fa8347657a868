//! Reading an object: sequentially at full speed, or here and there.

use std::io::{self, Read, Seek, SeekFrom};

use crate::directory::FileReader;
use crate::s3::RangeReader;

/// A stored object as a seekable reader. Clones read on their own, each from where the original stood.
///
/// Its `io::Error`s hold the store's own: [`crate::Error::from_read`] takes it out.
#[derive(Clone)]
pub struct ObjectReader(Kind);

#[derive(Clone)]
enum Kind {
    Directory(FileReader),
    S3(RangeReader),
}

impl ObjectReader {
    pub(crate) fn directory(reader: FileReader) -> Self {
        ObjectReader(Kind::Directory(reader))
    }

    pub(crate) fn s3(reader: RangeReader) -> Self {
        ObjectReader(Kind::S3(reader))
    }

    /// The object's size in bytes, as it was when the reader was opened.
    pub fn size(&self) -> u64 {
        match &self.0 {
            Kind::Directory(reader) => reader.size(),
            Kind::S3(reader) => reader.size(),
        }
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Directory(reader) => reader.read(buf),
            Kind::S3(reader) => reader.read(buf),
        }
    }
}

impl Seek for ObjectReader {
    fn seek(&mut self, target: SeekFrom) -> io::Result<u64> {
        let (size, position) = match &self.0 {
            Kind::Directory(reader) => (reader.size(), reader.position()),
            Kind::S3(reader) => (reader.size(), reader.position()),
        };
        let target = match target {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(distance) => size.checked_add_signed(distance),
            SeekFrom::Current(distance) => position.checked_add_signed(distance),
        };
        let target = target.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a seek to before the start"))?;
        match &mut self.0 {
            Kind::Directory(reader) => reader.move_to(target),
            Kind::S3(reader) => reader.move_to(target),
        }
        Ok(target)
    }
}
