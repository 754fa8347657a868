//! The last lines of what a command says, without secrets, while all of it is passed on.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{redact, stream};

/// How often an output is looked at for the end of the command, where something else holds it open.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// How long something else that holds it open may go on writing, once the command has ended.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who takes the lines that [`Lines`] makes.
pub trait Hear {
    /// Takes a line with its end, if it has one, and leaves room for the next one.
    fn hear(&mut self, line: &mut Vec<u8>);
}

/// The last lines of what a command has said.
#[derive(Debug)]
pub struct Tail {
    /// As they came, since most of them are pushed out again: the command may pass a whole backup on.
    lines: VecDeque<Vec<u8>>,
    most: usize,
}

impl Tail {
    /// One that keeps `most` lines.
    pub fn new(most: usize) -> Self {
        Tail { lines: VecDeque::new(), most }
    }

    /// Takes a line of ours among what the command has said.
    pub fn add(&mut self, line: &str) {
        self.hear(&mut line.into());
    }

    /// The last lines, `bytes` of them at most, without secrets: those that can be recognised, and those that are `known`. None where
    /// nothing was said.
    pub fn text(&self, bytes: usize, known: &[String]) -> Option<String> {
        let mut kept = VecDeque::new();
        let mut taken = 0;
        for line in self.lines.iter().rev() {
            let line = redact::line(&readable(line), known);
            taken += line.len() + 1;
            if taken > bytes {
                if kept.is_empty() {
                    kept.push_front(line[line.ceil_char_boundary(line.len() - bytes)..].to_owned());
                }
                break;
            }
            kept.push_front(line);
        }
        let text = kept.make_contiguous().join("\n");
        if text.trim().is_empty() { None } else { Some(text) }
    }
}

impl Hear for Tail {
    fn hear(&mut self, line: &mut Vec<u8>) {
        let full = self.lines.len() == self.most;
        let mut room = if full { self.lines.pop_front().unwrap_or_default() } else { Vec::new() };
        room.clear();
        self.lines.push_back(std::mem::replace(line, room));
    }
}

/// A line as text. One that was written over and over, as progress bars are, shows its last state.
fn readable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line.trim_ascii_end());
    let text = text.rsplit('\r').next().unwrap_or_default();
    // The journal's priority is not for people.
    match text.as_bytes() {
        [b'<', b'0'..=b'7', b'>', ..] => text[3..].to_owned(),
        _ => text.to_owned(),
    }
}

/// One output of a command, cut into lines. Private keys are left out.
#[derive(Debug)]
pub struct Lines {
    line: Vec<u8>,
    longest: usize,
    /// Whether we are inside a private key, which has lines of its own.
    in_key: bool,
}

impl Lines {
    /// An output of which nothing has been read. Of a line longer than `longest` bytes only the beginning is kept.
    pub fn new(longest: usize) -> Self {
        Lines { line: Vec::new(), longest, in_key: false }
    }

    /// Takes the next bytes, and gives the lines that are whole to `to`.
    pub fn take(&mut self, bytes: &[u8], to: &mut impl Hear) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = (self.longest - self.line.len()).min(part.len());
            self.line.extend_from_slice(&part[..room]);
            if part.ends_with(b"\n") {
                self.end(to);
            }
        }
    }

    /// Gives what stands after the last end of a line.
    pub fn end(&mut self, to: &mut impl Hear) {
        match self.line.first() {
            None => return,
            Some(b'-') if self.line.starts_with(b"-----BEGIN ") && contains(&self.line, b"PRIVATE KEY") => self.in_key = true,
            Some(b'-') if self.in_key && self.line.starts_with(b"-----END ") => {
                self.in_key = false;
                self.line.clear();
                return to.hear(&mut b"(a private key)".to_vec());
            }
            _ => {}
        }
        if !self.in_key {
            to.hear(&mut self.line);
        }
        self.line.clear();
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Passes one output of a command on to `sink`, and shows each piece to `see`, up to its end. A server that the command has started
/// may hold it open for good: it is not waited for, once `over` says that the command has ended.
///
/// # Errors
/// Whatever reading or writing does.
pub fn pass_on(
    mut source: impl Read + AsFd,
    sink: &mut impl Write,
    over: &AtomicBool,
    mut see: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut buffer = vec![0; stream::CHUNK_BYTES];
    let mut last = None;
    loop {
        let over = over.load(Ordering::SeqCst);
        if over && *last.get_or_insert_with(|| Instant::now() + PATIENCE) < Instant::now() {
            return Ok(());
        }
        let ready = poll(&mut [PollFd::new(&source, PollFlags::IN)], Some(&LOOK));
        match ready {
            Ok(0) if over => return Ok(()),
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let n = source.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        see(&buffer[..n]);
        sink.write_all(&buffer[..n]).and_then(|()| sink.flush())?;
    }
}

/// Standard error, whose failures are nobody's: where it is closed, nobody wants to hear it.
#[derive(Debug)]
pub struct Deafened(pub io::Stderr);

impl Write for Deafened {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (Ok(_) | Err(_)) = self.0.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const BYTES: usize = 4096;

    fn text_of(parts: &[&[u8]]) -> Option<String> {
        let (mut tail, mut lines) = (Tail::new(20), Lines::new(1 << 20));
        parts.iter().for_each(|part| lines.take(part, &mut tail));
        lines.end(&mut tail);
        tail.text(BYTES, &["hush-hush".into()])
    }

    #[test]
    fn the_last_twenty_lines_are_kept() {
        let all: String = (1..=50).map(|number| format!("line {number}\n")).collect();
        let text = text_of(&[all.as_bytes()]).unwrap();
        assert_eq!((text.lines().count(), text.lines().next(), text.lines().last()), (20, Some("line 31"), Some("line 50")));
        assert_eq!(text_of(&[b"al", b"l in par", b"ts"]).unwrap(), "all in parts");
        assert_eq!(text_of(&[b"\n \n"]), None);
        assert_eq!(text_of(&[b"10%\r20%\r\nend"]).unwrap(), "20%\nend");
        assert_eq!(text_of(&[b"<3>dr-push: error: no\n<8>\n"]).unwrap(), "dr-push: error: no\n<8>");
    }

    #[test]
    fn long_lines_and_many_lines_stay_within_the_limit() {
        let long = "ä".repeat(3 << 20);
        let text = text_of(&[b"before\n", long.as_bytes()]).unwrap();
        assert!(text.len() <= BYTES && text.chars().all(|c| c == 'ä' || c == '\u{fffd}'), "{}", text.len());
        let lines = format!("{}\n", "x".repeat(1000)).repeat(10);
        assert_eq!(text_of(&[lines.as_bytes()]).unwrap().lines().count(), 4);
    }

    #[test]
    fn f96_no_secret_is_kept() {
        let said = b"psql postgresql://app:canary@db/shop hush-hush\n-----BEGIN OPENSSH PRIVATE KEY-----\ncanary\n-----END OPENSSH PRIVATE KEY-----\nok";
        assert_eq!(text_of(&[said]).unwrap(), "psql postgresql://app:***@db/shop ***\n(a private key)\nok");
    }
}
