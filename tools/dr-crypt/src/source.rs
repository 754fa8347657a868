//! Whose error is it? What the input itself reports must stay apart from what age finds wrong in its bytes.

use std::io::{self, BufRead, Read, Seek, SeekFrom};

use crate::Error;

/// An input whose own errors are marked, so that they can be told from the findings of the layers above.
pub(crate) struct Source<R>(pub(crate) R);

/// An error that the input itself reported.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Reported(io::Error);

fn mark(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::Interrupted => error,
        kind => io::Error::new(kind, Reported(error)),
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf).map_err(mark)
    }
}

impl<R: BufRead> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf().map_err(mark)
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

impl<R: Seek> Seek for Source<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to).map_err(mark)
    }
}

/// The error a reader of plaintext gives: the input's own, as it was, or [`Error::Damaged`] wrapped in one.
pub(crate) fn unmark(error: io::Error) -> io::Error {
    match error.downcast::<Reported>() {
        Ok(Reported(own)) => own,
        Err(finding) => io::Error::new(io::ErrorKind::InvalidData, Error::Damaged(finding.to_string())),
    }
}

/// The same as an [`Error`].
pub(crate) fn failed(error: io::Error) -> Error {
    Error::reading("reading the age stream", unmark(error))
}
