//! How are many bytes written to a file without a wait at the end? In small steps, and handed to the disk as they come.

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroU64;

use rustix::fs::{Advice, OFlags, fadvise, fcntl_getfl};

/// The most that one call writes to a file. Linux gives a larger write larger folios in the page cache, which must be found
/// contiguous and, in a virtual machine, are often not populated yet: 256 KiB a call took up to ten times as long (Linux 6.18).
pub const STEP_BYTES: usize = 64 * 1024;

/// After so many bytes the system is told to write them out, so that syncing at the end does not have to wait for all, and the
/// database beside us not for a cache full of what we wrote.
const HANDED_BYTES: u64 = 8 << 20;

/// A file, pipe or device that is written from where it stands to its end. Nothing is buffered.
#[derive(Debug)]
pub struct Output {
    file: File,
    /// Where the next byte goes; none in pipes and devices, which have no places.
    at: Option<u64>,
    /// Up to where bytes were handed to the disk.
    handed: u64,
}

impl From<File> for Output {
    fn from(file: File) -> Self {
        let at = start(&file).ok();
        Output { file, at, handed: at.unwrap_or(0) }
    }
}

impl AsRef<File> for Output {
    fn as_ref(&self) -> &File {
        &self.file
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(&bytes[..bytes.len().min(STEP_BYTES)])?;
        if let Some(at) = &mut self.at {
            *at += n as u64;
            if *at - self.handed >= HANDED_BYTES {
                // What is being written out already stays in the cache. It is advice: whether all is on disk, only syncing says.
                let (Ok(()) | Err(_)) = fadvise(&self.file, self.handed, NonZeroU64::new(*at - self.handed), Advice::DontNeed);
                self.handed = *at;
            }
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Where the first byte will go.
fn start(mut file: &File) -> io::Result<u64> {
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::ErrorKind::NotSeekable.into());
    }
    if fcntl_getfl(file)?.contains(OFlags::APPEND) { Ok(meta.len()) } else { io::Seek::stream_position(&mut file) }
}

/// Writes `bytes` to a file in steps of [`STEP_BYTES`].
///
/// # Errors
/// Whatever the file system says; some of the bytes may be there then.
pub fn write_all(file: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    bytes.chunks(STEP_BYTES).try_for_each(|step| file.write_all(step))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::{Read, Seek, SeekFrom};

    #[test]
    fn all_arrives_where_the_file_stands() {
        let bytes: Vec<u8> = (0..20u32 << 20).map(|n| (n ^ (n >> 9)) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before").unwrap();
        let mut output = Output::from(file.try_clone().unwrap());
        output.write_all(&bytes).unwrap();
        assert_eq!((output.at, output.handed), (Some(6 + (20 << 20)), 6 + (16 << 20)));
        let mut found = Vec::new();
        file.seek(SeekFrom::Start(6)).unwrap();
        file.read_to_end(&mut found).unwrap();
        assert!(found == bytes);
    }

    #[test]
    fn what_is_appended_begins_at_the_end() {
        let named = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(named.path(), "1234").unwrap();
        let append = std::fs::OpenOptions::new().append(true).open(named.path()).unwrap();
        assert_eq!(Output::from(append).at, Some(4));
    }

    #[test]
    fn a_pipe_has_no_places() {
        let (mut end, start) = io::pipe().unwrap();
        let mut output = Output::from(File::from(std::os::fd::OwnedFd::from(start)));
        assert_eq!(output.at, None);
        output.write_all(b"bytes").unwrap();
        drop(output);
        let mut found = String::new();
        end.read_to_string(&mut found).unwrap();
        assert_eq!(found, "bytes");
    }
}
