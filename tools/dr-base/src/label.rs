//! What `backup_label` and `tablespace_map` say: the words in which the server describes a backup.

use dr_pipe::record::Tablespace;
use dr_pipe::{Exit, Failure};
use dr_wal::{Lsn, Timeline};

/// The lines of `backup_label` that are of use here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Where recovery begins to read WAL.
    pub start: Lsn,
    /// The timeline that it begins on.
    pub timeline: Timeline,
    /// Whether a standby was read.
    pub from_standby: bool,
}

impl Label {
    /// Reads the file's content.
    ///
    /// # Errors
    /// 76 where a line is missing or not as every release since 11 writes it.
    pub fn read(bytes: &[u8]) -> Result<Label, Failure> {
        let text = String::from_utf8_lossy(bytes);
        let line = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        let start = line("START WAL LOCATION").and_then(|value| value.split(' ').next()?.parse().ok());
        let timeline = line("START TIMELINE").and_then(|value| value.parse().ok()).map(Timeline);
        match (start, timeline) {
            (Some(start), Some(timeline)) => Ok(Label { start, timeline, from_standby: line("BACKUP FROM") == Some("standby") }),
            _ => Err(Failure::new(Exit::Protocol, "the server's backup_label has no start", "is this really PostgreSQL?")),
        }
    }
}

/// The tablespaces of a `tablespace_map`: lines of OID and path, in which a backslash stands before a line break or another.
pub fn tablespaces(map: &[u8]) -> Vec<Tablespace> {
    let map = String::from_utf8_lossy(map);
    let mut found = Vec::new();
    let mut line = String::new();
    let mut characters = map.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => line.extend(characters.next()),
            '\n' | '\r' => found.extend(tablespace(&std::mem::take(&mut line))),
            other => line.push(other),
        }
    }
    found.extend(tablespace(&line));
    found
}

fn tablespace(line: &str) -> Option<Tablespace> {
    let (oid, path) = line.split_once(' ')?;
    Some(Tablespace { oid: oid.parse().ok()?, path: path.into() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_label_is_read_as_the_server_writes_it() {
        let text = "START WAL LOCATION: 16/B3000028 (file 0000000A00000016000000B3)\nCHECKPOINT LOCATION: 16/B3000060\nBACKUP METHOD: streamed\n\
            BACKUP FROM: standby\nSTART TIME: 2026-11-20 02:00:00 UTC\nLABEL: START TIMELINE: 7\nSTART TIMELINE: 10\n";
        let label = Label::read(text.as_bytes()).unwrap();
        assert_eq!(label, Label { start: Lsn(0x16_B300_0028), timeline: Timeline(10), from_standby: true });
        assert!(Label::read(b"").is_err());
    }

    #[test]
    fn tablespaces_have_any_path() {
        let tablespace = |oid, path: &str| Tablespace { oid, path: path.into() };
        assert_eq!(
            tablespaces(b"16390 /srv/fast disk\n16391 /srv/a\\\\b\\\nc\n"),
            [tablespace(16390, "/srv/fast disk"), tablespace(16391, "/srv/a\\b\nc")]
        );
        assert_eq!(tablespaces(b""), []);
    }
}
