//! Reads the one tar that pg_basebackup writes, and refuses whatever such a tar never holds.

use std::io::{self, Read};

use dr_pipe::stream::fill;
use tar::{EntryType, Header};

/// Size of a block; headers and padded data are whole numbers of them.
const BLOCK_BYTES: usize = 512;

/// A member of the tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A directory.
    Directory(String),
    /// A file of this size, whose bytes come next.
    File(String, u64),
}

/// A tar on its way.
pub struct Tarball<R> {
    input: R,
    /// What is left of the last file.
    left: u64,
    padding: u64,
}

impl<R: Read> Tarball<R> {
    /// Reads from `input`.
    pub fn new(input: R) -> Self {
        Tarball { input, left: 0, padding: 0 }
    }

    /// The next member; none at the end, which must be the end of the input too. What was not read of the last one is skipped.
    ///
    /// # Errors
    /// As the input; invalid data for anything but files and directories, and unexpected end.
    pub fn next(&mut self) -> io::Result<Option<Entry>> {
        let rest = self.left + self.padding;
        let skipped = io::copy(&mut (&mut self.input).take(rest), &mut io::sink())?;
        if skipped < rest {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (self.left, self.padding) = (0, 0);
        let mut block = [0; BLOCK_BYTES];
        match fill(&mut self.input, &mut block)? {
            BLOCK_BYTES if block.iter().all(|&byte| byte == 0) => return self.end(),
            BLOCK_BYTES => {}
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        self.header(Header::from_byte_slice(&block)).map(Some)
    }

    fn header(&mut self, header: &Header) -> io::Result<Entry> {
        let sum =
            header.as_bytes().iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) });
        let path = header.path_bytes();
        let path = std::str::from_utf8(&path).map_err(|_| wrong("a path is not UTF-8"))?;
        let path = path.strip_prefix("./").unwrap_or(path).trim_end_matches('/').to_owned();
        if header.as_ustar().is_none() || header.cksum()? != sum.sum::<u32>() || path.is_empty() {
            return Err(wrong("a header is malformed"));
        }
        match header.entry_type() {
            EntryType::Directory if header.entry_size()? == 0 => Ok(Entry::Directory(path)),
            EntryType::Regular => {
                self.left = header.entry_size()?;
                self.padding = self.left.wrapping_neg() % BLOCK_BYTES as u64;
                Ok(Entry::File(path, self.left))
            }
            _ => Err(wrong(&format!("{path:?} is neither a file nor a directory"))),
        }
    }

    /// Only zeroes may follow.
    fn end(&mut self) -> io::Result<Option<Entry>> {
        let mut rest = [0; 64 << 10];
        loop {
            match fill(&mut self.input, &mut rest)? {
                0 => return Ok(None),
                n if rest[..n].iter().all(|&byte| byte == 0) => {}
                _ => return Err(wrong("something follows its end")),
            }
        }
    }
}

impl<R: Read> Read for Tarball<R> {
    /// Reads the file that came last.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let wanted = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.input.read(&mut buf[..wanted])?;
        self.left -= n as u64;
        if n == 0 && wanted > 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(n) }
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the tar of pg_basebackup: {what}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn member(path: &str, kind: EntryType, data: &[u8]) -> Vec<u8> {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_cksum();
        let padding = vec![0; data.len().wrapping_neg() % BLOCK_BYTES];
        [header.as_bytes(), data, &padding].concat()
    }

    fn entries(tar: &[u8]) -> io::Result<Vec<Entry>> {
        let mut tarball = Tarball::new(tar);
        std::iter::from_fn(|| tarball.next().transpose()).collect()
    }

    #[test]
    fn files_and_directories_are_read() {
        let tar = [
            member("base/", EntryType::Directory, b""),
            member("./pg_wal/archive_status", EntryType::Directory, b""),
            member("base/1", EntryType::Regular, &[7; 700]),
            member("end", EntryType::Regular, b""),
            vec![0; 1024],
        ]
        .concat();
        let mut tarball = Tarball::new(&tar[..]);
        assert_eq!(tarball.next().unwrap(), Some(Entry::Directory("base".into())));
        assert_eq!(tarball.next().unwrap(), Some(Entry::Directory("pg_wal/archive_status".into())));
        assert_eq!(tarball.next().unwrap(), Some(Entry::File("base/1".into(), 700)));
        let mut bytes = Vec::new();
        (&mut tarball).take(600).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, [7; 600]);
        assert_eq!(tarball.next().unwrap(), Some(Entry::File("end".into(), 0)));
        assert_eq!(tarball.next().unwrap(), None);
    }

    #[test]
    fn f76_what_pg_basebackup_never_writes_is_refused() {
        let good = member("a", EntryType::Regular, b"x");
        let mut changed = good.clone();
        changed[0] = b'b';
        let end = vec![0; 1024];
        for tar in [
            member("link", EntryType::Symlink, b""),
            member("hard", EntryType::Link, b""),
            member("", EntryType::Regular, b""),
            changed,
            good[..600].to_vec(),
            good.clone(),
            [good.clone(), end.clone(), good.clone()].concat(),
            Vec::new(),
        ] {
            assert!(entries(&tar).is_err());
        }
        assert_eq!(entries(&[good, end].concat()).unwrap().len(), 1);
    }
}
