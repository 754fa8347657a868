//! How are digesting and writing an output done beside the work on it? On a thread of their own, a few buffers behind.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::record::Extent;
use crate::{Tally, stream};

/// How many full buffers may wait; with [`stream::CHUNK_BYTES`] each, this bounds the memory to 2 MiB.
const WAITING: usize = 7;

/// A writer whose output is counted, digested and written by a thread of its own.
///
/// An error of the output is given by a later write, or by [`WriteBehind::finish`]. Dropping this writes what was given to
/// it, but tells nobody whether that worked.
pub struct WriteBehind<W: Write + Send + 'static> {
    current: Vec<u8>,
    leaving: Option<SyncSender<Vec<u8>>>,
    used: Receiver<Vec<u8>>,
    thread: Option<JoinHandle<io::Result<(W, Extent)>>>,
}

impl<W: Write + Send + 'static> WriteBehind<W> {
    /// Starts to write to `output`.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn new(output: W) -> io::Result<Self> {
        let (leaving, arriving) = sync_channel(WAITING);
        let (reuse, used) = sync_channel(WAITING + 1);
        let thread = std::thread::Builder::new().name("writer".into()).spawn(move || write_all(output, &arriving, &reuse))?;
        Ok(WriteBehind { current: Vec::new(), leaving: Some(leaving), used, thread: Some(thread) })
    }

    /// Waits until all is written and flushed; gives the output, and size and digest of what it got.
    ///
    /// # Errors
    /// Whatever the output does.
    pub fn finish(mut self) -> io::Result<(W, Extent)> {
        self.pass_on()?;
        self.join()
    }

    /// Gives the buffer to the thread, and takes an empty one.
    fn pass_on(&mut self) -> io::Result<()> {
        let next = self.used.try_recv().unwrap_or_else(|_| Vec::with_capacity(stream::CHUNK_BYTES));
        let full = std::mem::replace(&mut self.current, next);
        let sent = self.leaving.as_ref().map(|leaving| leaving.send(full));
        if matches!(sent, Some(Ok(()))) {
            return Ok(());
        }
        // Nobody takes it any more: the thread has failed, and says why.
        self.join()?;
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn join(&mut self) -> io::Result<(W, Extent)> {
        self.leaving = None;
        let ended = self.thread.take().map(JoinHandle::join);
        match ended {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the writer has panicked")),
            None => Err(io::Error::other("the output has failed before")),
        }
    }
}

impl<W: Write + Send + 'static> Write for WriteBehind<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.current.len() >= stream::CHUNK_BYTES {
            self.pass_on()?;
        }
        let n = buf.len().min(stream::CHUNK_BYTES - self.current.len());
        self.current.extend_from_slice(&buf[..n]);
        Ok(n)
    }

    /// Passes on what there is; only [`WriteBehind::finish`] waits until it is written.
    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()
    }
}

impl<W: Write + Send + 'static> Drop for WriteBehind<W> {
    fn drop(&mut self) {
        if self.thread.is_some() {
            // Whoever drops this has an error of its own to report.
            drop(self.pass_on().and_then(|()| self.join()));
        }
    }
}

fn write_all<W: Write>(mut output: W, arriving: &Receiver<Vec<u8>>, reuse: &SyncSender<Vec<u8>>) -> io::Result<(W, Extent)> {
    let mut tally = Tally::default();
    for mut buf in arriving {
        output.write_all(&buf)?;
        tally.update(&buf);
        buf.clear();
        // A full queue of empty buffers has enough of them.
        drop(reuse.try_send(buf));
    }
    output.flush()?;
    Ok((output, tally.extent()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::Sha256;

    fn sample(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 13 + i / 255) as u8).collect()
    }

    #[test]
    fn what_is_written_behind_is_what_was_given() {
        for len in [0, 1, stream::CHUNK_BYTES, 20 * stream::CHUNK_BYTES + 3] {
            let bytes = sample(len);
            let mut behind = WriteBehind::new(Vec::new()).unwrap();
            for piece in bytes.chunks(65_552) {
                behind.write_all(piece).unwrap();
            }
            let (written, extent) = behind.finish().unwrap();
            assert!(written == bytes);
            assert_eq!(extent, Extent { bytes: len as u64, sha256: Sha256::of(&bytes) });
        }
    }

    #[test]
    fn an_error_of_the_output_comes_back_and_stays() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut behind = WriteBehind::new(Full).unwrap();
        let error = std::iter::repeat_with(|| behind.write_all(&[0; 1 << 20])).find_map(Result::err).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        behind.write_all(&[0; 1 << 20]).unwrap_err();
        behind.finish().map(|_| ()).unwrap_err();
        let mut small = WriteBehind::new(Full).unwrap();
        small.write_all(b"text").unwrap();
        assert_eq!(small.finish().map(|_| ()).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn what_is_dropped_is_written() {
        #[derive(Clone)]
        struct Kept(Arc<Mutex<Vec<u8>>>);
        impl Write for Kept {
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(buf)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let kept = Kept(Arc::default());
        WriteBehind::new(kept.clone()).unwrap().write_all(b"text").unwrap();
        assert_eq!(*kept.0.lock().unwrap(), b"text");
    }
}
