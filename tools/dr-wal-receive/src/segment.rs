//! One segment being received: written in order, held against what was there before, and safe only when synced.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use dr_pipe::{Exit, Failure};
use dr_wal::SegmentName;

use crate::folder::{Folder, Kept, lost};

/// Bytes that are compared at a time.
const CHUNK: usize = 256 << 10;

/// An unfinished segment.
#[derive(Debug)]
pub struct Segment {
    /// Its name.
    pub name: SegmentName,
    file: File,
    path: PathBuf,
    /// How much of it has come in this stream.
    length: u64,
    /// How much was there before this stream.
    before: u64,
    synced: u64,
}

impl Segment {
    /// Opens the segment, from its first byte on; what was received of it before is there, to be compared.
    ///
    /// # Errors
    /// 74 or 77 as the file system says.
    pub fn open(folder: &Folder, name: SegmentName) -> Result<Segment, Failure> {
        let (file, path) = folder.receiving(name)?;
        let before = file.metadata().map_err(|error| lost(&path, &error))?.len();
        Ok(Segment { name, file, path, length: 0, before, synced: 0 })
    }

    /// How much has come.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// How much is safe.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// 65 where they are not what was received before; 74 where they cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let known = usize::try_from(self.before.saturating_sub(self.length)).unwrap_or(usize::MAX).min(bytes.len());
        if !self.holds(&bytes[..known])? {
            self.settle(&bytes[..known])?;
            return self.put(bytes, self.length);
        }
        self.put(&bytes[known..], self.length + known as u64)
    }

    fn put(&mut self, bytes: &[u8], at: u64) -> Result<(), Failure> {
        self.file.write_all_at(bytes, at).map_err(|error| lost(&self.path, &error))?;
        self.length = at + bytes.len() as u64;
        Ok(())
    }

    /// Whether the file has these bytes where the stream stands.
    fn holds(&self, bytes: &[u8]) -> Result<bool, Failure> {
        let mut there = vec![0; CHUNK.min(bytes.len())];
        for (n, chunk) in bytes.chunks(CHUNK).enumerate() {
            let at = self.length + (n * CHUNK) as u64;
            self.file.read_exact_at(&mut there[..chunk.len()], at).map_err(|error| lost(&self.path, &error))?;
            if there[..chunk.len()] != *chunk {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Other bytes were there. Where zeros follow the first difference to the end of the file, a power cut has taken what was
    /// never reported as safe: it is received anew. Anything else is another server's WAL.
    fn settle(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut there = vec![0; bytes.len()];
        let failed = |error| lost(&self.path, &error);
        self.file.read_exact_at(&mut there, self.length).map_err(failed)?;
        let first = there.iter().zip(bytes).position(|(left, right)| left != right).unwrap_or_default();
        let mut at = self.length + first as u64;
        while at < self.before {
            let n = usize::try_from(self.before - at).unwrap_or(CHUNK).min(CHUNK);
            let mut chunk = vec![0; n];
            self.file.read_exact_at(&mut chunk, at).map_err(failed)?;
            if chunk.iter().any(|byte| *byte != 0) {
                let message = format!(
                    "{}: the server sends other bytes than were received before, from offset {first} on",
                    self.path.display()
                );
                let hint =
                    "is it the same server, and was it not restored from a backup? keep the file, and begin with a new --dir";
                return Err(Failure::new(Exit::Damaged, message, hint));
            }
            at += n as u64;
        }
        self.before = self.length;
        Ok(())
    }

    /// Makes what has come safe.
    ///
    /// # Errors
    /// 74; it must not be tried again, as the kernel may have dropped the pages.
    pub fn sync(&mut self) -> Result<(), Failure> {
        if self.synced < self.length {
            self.file.sync_data().map_err(|error| lost(&self.path, &error))?;
            self.synced = self.length;
        }
        Ok(())
    }

    /// The segment is whole: gives it its name.
    ///
    /// # Errors
    /// As [`Folder::finish`].
    pub fn finish(mut self, folder: &Folder) -> Result<Kept, Failure> {
        self.sync()?;
        let kept = Kept::Wal(self.name.into());
        folder.finish(self.name, &kept)?;
        Ok(kept)
    }

    /// The segment will never be whole: fills it up with zeros and gives it the name of a partial one.
    ///
    /// # Errors
    /// As [`Folder::finish`].
    pub fn give_up(self, folder: &Folder, bytes: u64) -> Result<Kept, Failure> {
        let failed = |error| lost(&self.path, &error);
        self.file.set_len(bytes).and_then(|()| self.file.sync_all()).map_err(failed)?;
        let kept = Kept::Wal(dr_wal::WalName::Partial(self.name));
        folder.finish(self.name, &kept)?;
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn with(before: &[u8], test: impl FnOnce(Segment, &Folder)) {
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder::open(scratch.path()).unwrap();
        let name = "000000010000000000000003".parse().unwrap();
        folder.receiving(name).unwrap().0.write_all_at(before, 0).unwrap();
        test(Segment::open(&folder, name).unwrap(), &folder);
    }

    #[test]
    fn what_was_there_before_is_compared_and_gone_on_with() {
        with(b"abcdef", |mut segment, folder| {
            segment.write(b"abc").unwrap();
            assert_eq!((segment.length(), segment.synced()), (3, 0));
            segment.write(b"defgh").unwrap();
            segment.sync().unwrap();
            assert_eq!((segment.length(), segment.synced()), (8, 8));
            let kept = segment.finish(folder).unwrap();
            assert_eq!(std::fs::read(folder.path(&kept.name())).unwrap(), b"abcdefgh");
        });
    }

    #[test]
    fn other_bytes_than_before_are_refused_and_the_file_is_kept() {
        with(b"abcdef", |mut segment, folder| {
            segment.write(b"ab").unwrap();
            assert_eq!(segment.write(b"cXef").unwrap_err().exit, Exit::Damaged);
            assert_eq!(folder.read(segment.name, 0, 6).unwrap().unwrap(), b"abcdef");
        });
    }

    #[test]
    fn zeros_that_a_power_cut_has_left_are_received_anew() {
        with(b"abcd\0\0\0\0", |mut segment, folder| {
            segment.write(b"abcdefgh").unwrap();
            segment.write(b"ij").unwrap();
            assert_eq!(folder.read(segment.name, 0, 10).unwrap().unwrap(), b"abcdefghij");
        });
    }

    #[test]
    fn a_segment_that_ends_early_keeps_all_that_was_received_of_it() {
        with(b"abcdef", |mut segment, folder| {
            segment.write(b"abc").unwrap();
            let kept = segment.give_up(folder, 10).unwrap();
            assert_eq!(kept.name(), "000000010000000000000003.partial");
            assert_eq!(std::fs::read(folder.path(&kept.name())).unwrap(), b"abcdef\0\0\0\0");
        });
    }
}
