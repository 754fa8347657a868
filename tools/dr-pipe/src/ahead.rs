//! How are reading and digesting an input done beside the work on it? On a thread of their own, a few buffers ahead.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::record::Extent;
use crate::{Tally, stream};

/// How many full buffers may wait; with [`stream::CHUNK_BYTES`] each, this bounds the memory to 2 MiB.
const WAITING: usize = 7;

/// A reader whose input is read, counted and digested by a thread of its own.
///
/// The thread ends at the end of the input, at its first error, or when this is dropped and the input gives something.
pub struct ReadAhead {
    arriving: Receiver<Arrival>,
    used: SyncSender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
    read: Option<Extent>,
}

enum Arrival {
    Bytes(Vec<u8>),
    End(Extent),
    Failed(io::Error),
}

impl ReadAhead {
    /// Starts to read `input`.
    ///
    /// # Errors
    /// 74-like, if no thread can be started.
    pub fn new(input: impl Read + Send + 'static) -> io::Result<Self> {
        let (deliver, arriving) = sync_channel(WAITING);
        let (used, reuse) = sync_channel(WAITING + 1);
        std::thread::Builder::new().name("reader".into()).spawn(move || read_to_end(input, &deliver, &reuse))?;
        Ok(ReadAhead { arriving, used, current: Vec::new(), position: 0, read: None })
    }

    /// Size and digest of the whole input; none before its end has been seen.
    pub fn extent(&self) -> Option<Extent> {
        self.read
    }

    fn next(&mut self) -> io::Result<()> {
        // A full queue of used buffers has enough of them.
        drop(self.used.try_send(std::mem::take(&mut self.current)));
        self.position = 0;
        match self.arriving.recv() {
            Ok(Arrival::Bytes(bytes)) => self.current = bytes,
            Ok(Arrival::End(extent)) => self.read = Some(extent),
            Ok(Arrival::Failed(error)) => return Err(error),
            Err(_) => return Err(io::Error::other("the input has failed before")),
        }
        Ok(())
    }
}

impl BufRead for ReadAhead {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.current.len() && self.read.is_none() {
            self.next()?;
        }
        Ok(&self.current[self.position..])
    }

    fn consume(&mut self, amount: usize) {
        self.position += amount;
    }
}

impl Read for ReadAhead {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buf)?;
        self.consume(n);
        Ok(n)
    }
}

fn read_to_end(mut input: impl Read, deliver: &SyncSender<Arrival>, reuse: &Receiver<Vec<u8>>) {
    let mut tally = Tally::default();
    loop {
        let mut buf = reuse.try_recv().unwrap_or_default();
        buf.resize(stream::CHUNK_BYTES, 0);
        let arrival = match stream::fill(&mut input, &mut buf) {
            Ok(0) => Arrival::End(tally.extent()),
            Ok(n) => {
                buf.truncate(n);
                tally.update(&buf);
                Arrival::Bytes(buf)
            }
            Err(error) => Arrival::Failed(error),
        };
        let more = matches!(arrival, Arrival::Bytes(_));
        // Nobody takes it any more where the work on it has failed.
        if deliver.send(arrival).is_err() || !more {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Sha256;

    /// Gives one byte at a time, and an interruption now and then.
    struct Slowly(Vec<u8>, usize);

    impl Read for Slowly {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            if self.1.is_multiple_of(1000) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let n = (&self.0[..]).read(&mut buf[..1])?;
            self.0.drain(..n);
            Ok(n)
        }
    }

    #[test]
    fn what_is_read_ahead_is_what_was_there() {
        for len in [0, 1, stream::CHUNK_BYTES, 20 * stream::CHUNK_BYTES + 3] {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 13 + i / 255) as u8).collect();
            let mut ahead = ReadAhead::new(io::Cursor::new(bytes.clone())).unwrap();
            assert!(ahead.extent().is_none());
            let mut found = Vec::new();
            ahead.read_to_end(&mut found).unwrap();
            assert!(found == bytes);
            assert_eq!(ahead.extent(), Some(Extent { bytes: len as u64, sha256: Sha256::of(&bytes) }));
            assert_eq!(ahead.read(&mut [0; 9]).unwrap(), 0, "the end is the end");
        }
    }

    #[test]
    fn f12_one_byte_reads_and_interruptions_lose_nothing() {
        let bytes: Vec<u8> = (0..9_999u32).map(|i| i as u8).collect();
        let mut found = Vec::new();
        ReadAhead::new(Slowly(bytes.clone(), 0)).unwrap().read_to_end(&mut found).unwrap();
        assert_eq!(found, bytes);
    }

    #[test]
    fn an_error_comes_after_the_bytes_before_it_and_is_no_end() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let mut ahead = ReadAhead::new(io::Cursor::new(vec![1; stream::CHUNK_BYTES]).chain(Broken)).unwrap();
        let mut found = Vec::new();
        assert_eq!(ahead.read_to_end(&mut found).unwrap_err().to_string(), "broken");
        assert_eq!(found.len(), stream::CHUNK_BYTES);
        assert!(ahead.read(&mut [0]).is_err());
        assert!(ahead.extent().is_none());
    }
}
