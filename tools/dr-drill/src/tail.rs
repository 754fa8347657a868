//! The last lines of what a command says, without secrets, and the records among them.

use std::collections::VecDeque;

use dr_pipe::record::{self, MAX_LINE_BYTES};
use dr_pipe::redact;

use crate::notes::Said;

/// As many lines are kept.
const LINES: usize = 20;
/// As many bytes are kept, at most.
const BYTES: usize = 4096;
/// As many records are kept: the last ones.
const RECORDS: usize = 1000;

/// What a command has said last, on both of its outputs.
#[derive(Debug, Default)]
pub struct Tail {
    /// As they came, since most of them are pushed out again: a step may pass a whole backup on.
    lines: VecDeque<Vec<u8>>,
    said: VecDeque<Said>,
}

impl Tail {
    /// Takes a line of ours among what the command has said.
    pub fn add(&mut self, line: &str) {
        self.push(&mut line.into());
    }

    /// Takes a line, and gives room for the next one.
    fn push(&mut self, line: &mut Vec<u8>) {
        let full = self.lines.len() == LINES;
        let mut room = if full { self.lines.pop_front().unwrap_or_default() } else { Vec::new() };
        room.clear();
        self.lines.push_back(std::mem::replace(line, room));
    }

    /// The lines, without secrets; none where nothing was said.
    pub fn text(&self) -> Option<String> {
        let known = redact::environment();
        let mut kept = VecDeque::new();
        let mut bytes = 0;
        for line in self.lines.iter().rev() {
            let line = redact::line(&readable(line), &known);
            bytes += line.len() + 1;
            if bytes > BYTES {
                if kept.is_empty() {
                    kept.push_front(line[line.ceil_char_boundary(line.len() - BYTES)..].to_owned());
                }
                break;
            }
            kept.push_front(line);
        }
        let text = kept.make_contiguous().join("\n");
        if text.trim().is_empty() { None } else { Some(text) }
    }

    /// The records, in their order.
    pub fn said(self) -> Vec<Said> {
        self.said.into()
    }
}

/// A line as text. One that was written over and over, as progress bars are, shows its last state.
fn readable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line.trim_ascii_end());
    text.rsplit('\r').next().unwrap_or_default().to_owned()
}

/// One output of the command, cut into lines.
#[derive(Debug)]
pub struct Lines {
    line: Vec<u8>,
    /// Whether records may stand in it.
    records: bool,
    /// Whether we are inside a private key, which has lines of its own.
    in_key: bool,
}

impl Lines {
    /// An output of which nothing has been read; `records`: whether records may stand in it.
    pub fn new(records: bool) -> Self {
        Lines { line: Vec::new(), records, in_key: false }
    }

    /// Takes the next bytes, and notes the lines that are whole.
    pub fn take(&mut self, bytes: &[u8], tail: &mut Tail) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            // Of a longer line only the beginning is known, so that no more memory is needed than for a record.
            let room = (MAX_LINE_BYTES - self.line.len()).min(part.len());
            self.line.extend_from_slice(&part[..room]);
            if part.ends_with(b"\n") {
                self.end(tail);
            }
        }
    }

    /// Notes what stands after the last end of a line.
    pub fn end(&mut self, tail: &mut Tail) {
        if self.line.is_empty() {
            return;
        }
        match self.line[0] {
            b'{' if self.records => {
                if let Some(said) = said(&self.line) {
                    self.line.clear();
                    if tail.said.len() == RECORDS {
                        tail.said.pop_front();
                    }
                    return tail.said.push_back(said);
                }
            }
            b'-' if self.line.starts_with(b"-----BEGIN ") && contains(&self.line, b"PRIVATE KEY") => self.in_key = true,
            b'-' if self.in_key && self.line.starts_with(b"-----END ") => {
                self.in_key = false;
                self.line.clear();
                return tail.add("(a private key)");
            }
            _ => {}
        }
        if self.in_key {
            self.line.clear();
        } else {
            tail.push(&mut self.line);
        }
    }
}

/// What a line says of a backup, if it is a record that does.
fn said(line: &[u8]) -> Option<Said> {
    let whole = [line.trim_ascii_end(), b"\n"].concat();
    record::read(&mut &whole[..]).ok().and_then(|mut records| Said::of(records.pop()?))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tail_of(parts: &[&[u8]]) -> Tail {
        let (mut tail, mut lines) = (Tail::default(), Lines::new(true));
        parts.iter().for_each(|part| lines.take(part, &mut tail));
        lines.end(&mut tail);
        tail
    }

    #[test]
    fn the_last_twenty_lines_are_kept() {
        let all: String = (1..=50).map(|number| format!("line {number}\n")).collect();
        let text = tail_of(&[all.as_bytes()]).text().unwrap();
        assert_eq!((text.lines().count(), text.lines().next(), text.lines().last()), (20, Some("line 31"), Some("line 50")));
        assert_eq!(tail_of(&[b"al", b"l in par", b"ts"]).text().unwrap(), "all in parts");
        assert_eq!(tail_of(&[b"\n \n"]).text(), None);
        assert_eq!(tail_of(&[b"10%\r20%\r\nend"]).text().unwrap(), "20%\nend");
    }

    #[test]
    fn long_lines_and_many_lines_stay_within_4_kib() {
        let long = "ä".repeat(3 << 20);
        let text = tail_of(&[b"before\n", long.as_bytes()]).text().unwrap();
        assert!(text.len() <= BYTES && text.chars().all(|c| c == 'ä' || c == '\u{fffd}'), "{}", text.len());
        let lines = format!("{}\n", "x".repeat(1000)).repeat(10);
        assert_eq!(tail_of(&[lines.as_bytes()]).text().unwrap().lines().count(), 4);
    }

    #[test]
    fn f96_no_secret_is_kept() {
        let said = b"psql postgresql://app:canary@db/shop\n-----BEGIN OPENSSH PRIVATE KEY-----\ncanary\n-----END OPENSSH PRIVATE KEY-----\nok";
        let text = tail_of(&[said]).text().unwrap();
        assert_eq!(text, "psql postgresql://app:***@db/shop\n(a private key)\nok");
    }

    #[test]
    fn records_of_a_backup_are_kept_apart_and_others_are_lines() {
        let plan = "{\"type\":\"receipt\"}\n{\"type\":\"restored\",\"database\":\"drill\",\"started_at\":\"2026-01-25T03:00:00Z\",\
                    \"finished_at\":\"2026-01-25T03:00:01Z\",\"duration_seconds\":1.0,\"proved\":true}\n{\"a\":1}\n";
        let tail = tail_of(&[plan.as_bytes()]);
        assert_eq!(tail.text().unwrap(), "{\"type\":\"receipt\"}\n{\"a\":1}");
        assert!(matches!(&tail.said()[..], [Said::Restored(restored)] if restored.database == "drill"));
    }
}
