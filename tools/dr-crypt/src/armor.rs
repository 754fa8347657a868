//! Is the stream binary, or armored as text?

use std::io::{self, BufRead, Read};

use age::armor::ArmoredReader;

use crate::Error;
use crate::source::{self, Source};

/// The longest line that is let through to the armor parser: its own are 64 characters long.
const MAX_LINE_BYTES: usize = 1024;

/// The bytes of a binary or armored age stream; the armor's begin line tells which.
pub(crate) fn unarmored<'a>(mut input: impl BufRead + 'a) -> Result<Box<dyn BufRead + 'a>, Error> {
    // A dash starts the armor's begin line, and no binary age stream.
    let first = loop {
        match input.fill_buf() {
            Ok(bytes) => break bytes.first().copied(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::reading("reading the age stream", error)),
        }
    };
    let input = Source(input);
    if first != Some(b'-') {
        return Ok(Box::new(input));
    }
    let mut armored = ArmoredReader::new(ShortLines { input, column: 0 });
    armored.fill_buf().map_err(source::failed)?;
    Ok(Box::new(armored))
}

/// Refuses a line that is longer than [`MAX_LINE_BYTES`], so that nobody above ever keeps one.
struct ShortLines<R> {
    input: R,
    column: usize,
}

impl<R: Read> Read for ShortLines<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buf)?;
        for byte in &buf[..n] {
            self.column = if *byte == b'\n' { 0 } else { self.column + 1 };
            if self.column > MAX_LINE_BYTES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line of armor of more than 1 KiB"));
            }
        }
        Ok(n)
    }
}
