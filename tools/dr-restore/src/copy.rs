//! One COPY: members of the archive go in one after another, and the server's count is held against the archive's.

use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use dr_archive::Member;
use dr_pipe::progress::Progress;
use dr_pipe::{Exit, Failure};
use dr_postgres::Session;

use crate::archive_source::{Archive, ArchiveReader};

/// Copies members of an archive into a database.
pub struct Copier<'a> {
    /// The archive.
    pub archive: &'a Archive,
    /// The reader of this thread.
    pub reader: &'a mut ArchiveReader,
    /// Told of every byte.
    pub progress: &'a Progress,
    /// Set when another thread has failed.
    pub stop: &'a AtomicBool,
}

impl Copier<'_> {
    /// Runs `statement` with the bytes of `members`. Returns the rows taken in, which must be `rows` where that is known.
    ///
    /// # Errors
    /// 65 where a member is damaged, the server refuses the data, or it counts other rows; 75 where another thread failed.
    pub fn copy(&mut self, session: &mut Session, statement: &str, members: &[&Member], rows: Option<u64>) -> Result<u64, Failure> {
        let mut copy = session.copy_in(&ascii(statement))?;
        for member in members {
            let mut bytes = self.reader.read(member);
            loop {
                let chunk = bytes.chunk().map_err(|error| self.archive.failure(error).within(&member.path))?;
                if chunk.is_empty() {
                    break;
                }
                if self.stop.load(Ordering::Relaxed) {
                    return Err(Failure::new(Exit::Busy, "stopped, as another session failed", "its failure says why"));
                }
                if copy.write_all(chunk).is_err() {
                    // What the server holds against the data is in its answer.
                    return Err(refusal(copy.finish(), member));
                }
                let n = chunk.len();
                bytes.consume(n);
                self.progress.add(n as u64);
            }
        }
        let taken = copy.finish()?;
        match rows {
            Some(rows) if rows != taken => Err(Failure::new(
                Exit::Damaged,
                format!("the server took in {taken} rows, the archive says {rows}"),
                "take another copy of this backup, or another backup",
            )),
            _ => Ok(taken),
        }
    }
}

fn refusal(answer: Result<u64, dr_postgres::Error>, member: &Member) -> Failure {
    match answer {
        Err(error) => Failure::from(error).within(&member.path),
        Ok(_) => {
            Failure::new(Exit::Protocol, format!("{}: the server refused data and took it in", member.path), "please report this")
        }
    }
}

/// A statement with every quoted name in ASCII (`U&"\00e9"`), so that it reads the same whatever `client_encoding` is: that
/// one is the rows'.
pub fn ascii(statement: &str) -> String {
    if statement.is_ascii() {
        return statement.to_owned();
    }
    unicode_names(statement)
}

fn unicode_names(statement: &str) -> String {
    let mut out = String::with_capacity(statement.len() + 16);
    let mut chars = statement.chars().peekable();
    while let Some(char) = chars.next() {
        if char != '"' {
            out.push(char);
            continue;
        }
        let mut name = String::new();
        while let Some(char) = chars.next() {
            match char {
                '"' if chars.next_if_eq(&'"').is_some() => name.push_str("\"\""),
                '"' => break,
                _ => name.push(char),
            }
        }
        out.push_str(&quoted(&name));
    }
    out
}

/// `name`, its quotes doubled already.
fn quoted(name: &str) -> String {
    if name.is_ascii() {
        return format!("\"{name}\"");
    }
    let escaped = name.chars().map(|char| match char {
        '\\' => "\\\\".to_owned(),
        _ if char.is_ascii() => char.to_string(),
        _ => format!("\\+{:06X}", char as u32),
    });
    format!("U&\"{}\"", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_ascii_are_escaped_and_others_left_alone() {
        assert_eq!(ascii("COPY \"a\\b\".\"c\"\"d\" FROM STDIN"), "COPY \"a\\b\".\"c\"\"d\" FROM STDIN");
        assert_eq!(ascii("COPY \"a\".\"é\"\"\\\" (\"x\") FROM"), "COPY \"a\".U&\"\\+0000E9\"\"\\\\\" (\"x\") FROM");
    }
}
