//! What are the keys of WAL in a store? dr-store(5) lists them.

use std::fmt;
use std::str::FromStr;

use dr_pipe::Sha256;
use serde::{Deserialize, Serialize};

use crate::{Error, Piece, SegmentName, SegmentSize, Timeline, WalName};

/// Which content a file of WAL has: the first half of the SHA-256 of its plain bytes, 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Content([u8; 16]);

impl Content {
    /// That of bytes with this digest.
    pub fn of(digest: &Sha256) -> Self {
        Content(digest.0[..16].try_into().expect("half of 32 bytes"))
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Content {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        digits(text, 32)
            .and_then(|text| hex::decode(text).ok()?.try_into().ok())
            .map(Content)
            .ok_or_else(|| Error::Malformed(format!("{text:?} is no content: 32 hexadecimal digits")))
    }
}

impl From<Content> for String {
    fn from(content: Content) -> String {
        content.to_string()
    }
}

impl TryFrom<String> for Content {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

/// What an object of a timeline's folder is, by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A file of WAL.
    Object {
        /// Its name.
        name: WalName,
        /// Whose content it has, where it was kept beside the first one; none for the first one.
        beside: Option<Content>,
        /// Whether it is encrypted.
        encrypted: bool,
    },
    /// A claim.
    Claim {
        /// The name of which it says what it holds.
        name: WalName,
        /// What it holds.
        content: Content,
    },
    /// A piece of a segment that is being streamed.
    Piece {
        /// Which piece.
        piece: Piece,
        /// Whether it is encrypted.
        encrypted: bool,
    },
}

/// The folder of all WAL of a cluster.
pub fn root(cluster: &str) -> String {
    format!("{cluster}/wal/")
}

/// The folder of a timeline.
pub fn folder(cluster: &str, timeline: Timeline) -> String {
    format!("{cluster}/wal/{timeline}/")
}

/// What every key that has to do with a file of WAL begins with.
pub fn stem(cluster: &str, name: &WalName) -> String {
    format!("{}{name}", folder(cluster, name.timeline()))
}

/// What every key that has to do with the segments of one log (4 GiB, the middle of their names) begins with.
pub fn log_stem(cluster: &str, timeline: Timeline, log: u32) -> String {
    format!("{}{timeline}{log:08X}", folder(cluster, timeline))
}

/// Where a file of WAL lies.
pub fn object(cluster: &str, name: &WalName, encrypted: bool) -> String {
    format!("{}{}", stem(cluster, name), suffix(encrypted))
}

/// Where another content of the same name is kept.
pub fn beside(cluster: &str, name: &WalName, content: Content, encrypted: bool) -> String {
    format!("{}.{content}{}", stem(cluster, name), suffix(encrypted))
}

/// The claim that `name` has that content.
pub fn claim(cluster: &str, name: &WalName, content: Content) -> String {
    format!("{}.{content}.claim", stem(cluster, name))
}

/// The claim of one who found that claim there, and no object.
pub fn claim_again(cluster: &str, name: &WalName, content: Content, object: &Sha256) -> String {
    format!("{}.{content}.{}.claim", stem(cluster, name), hex::encode(&object.0[..4]))
}

/// Where a piece lies; `random` tells those of two receivers apart.
pub fn piece(cluster: &str, piece: &Piece, random: [u8; 2], encrypted: bool) -> String {
    let Piece { segment, begin, end } = piece;
    let stem = stem(cluster, &WalName::Segment(*segment));
    format!("{stem}.part/{begin:08x}-{end:08x}.{}{}", hex::encode(random), suffix(encrypted))
}

/// Where it is said which system the cluster is.
pub fn system(cluster: &str) -> String {
    format!("{cluster}/wal/system.json")
}

/// How the names of those claims begin.
pub fn system_stem(cluster: &str) -> String {
    format!("{cluster}/wal/system.")
}

/// How they end.
pub const CLAIM: &str = ".claim";

/// The claim that the cluster is the system so described.
pub fn system_claim(cluster: &str, content: Content) -> String {
    format!("{}{content}{CLAIM}", system_stem(cluster))
}

/// What the object of this key is; none where it is nothing of ours.
pub fn parse(cluster: &str, key: &str) -> Option<Entry> {
    let (timeline, file) = key.strip_prefix(&root(cluster))?.split_once('/')?;
    let timeline: Timeline = timeline.parse().ok()?;
    let entry = match file.split_once(".part/") {
        Some((segment, rest)) => parse_piece(segment.parse().ok()?, rest)?,
        None => parse_file(file)?,
    };
    let of = match &entry {
        Entry::Object { name, .. } | Entry::Claim { name, .. } => name.timeline(),
        Entry::Piece { piece, .. } => piece.segment.timeline,
    };
    (of == timeline).then_some(entry)
}

fn parse_file(file: &str) -> Option<Entry> {
    if let Some(stem) = file.strip_suffix(".claim") {
        let stem = match stem.rsplit_once('.') {
            Some((first, last)) if digits(last, 8).is_some() && parse_beside(first).is_some() => first,
            _ => stem,
        };
        let (name, content) = parse_beside(stem)?;
        return Some(Entry::Claim { name, content });
    }
    let (stem, encrypted) = without_suffix(file)?;
    if let Ok(name) = stem.parse() {
        return Some(Entry::Object { name, beside: None, encrypted });
    }
    let (name, content) = parse_beside(stem)?;
    Some(Entry::Object { name, beside: Some(content), encrypted })
}

fn parse_beside(stem: &str) -> Option<(WalName, Content)> {
    let (name, content) = stem.rsplit_once('.')?;
    Some((name.parse().ok()?, content.parse().ok()?))
}

fn parse_piece(segment: SegmentName, rest: &str) -> Option<Entry> {
    let (stem, encrypted) = without_suffix(rest)?;
    let (range, random) = stem.split_once('.')?;
    digits(random, 4)?;
    let (begin, end) = range.split_once('-')?;
    let number = |text| u32::from_str_radix(digits(text, 8)?, 16).ok();
    let piece = Piece { segment, begin: number(begin)?, end: number(end)? };
    let legal = piece.begin < piece.end && u64::from(piece.end) <= SegmentSize::LARGEST.bytes();
    legal.then_some(Entry::Piece { piece, encrypted })
}

fn suffix(encrypted: bool) -> &'static str {
    if encrypted { ".zst.age" } else { ".zst" }
}

fn without_suffix(file: &str) -> Option<(&str, bool)> {
    file.strip_suffix(".zst.age").map(|stem| (stem, true)).or_else(|| file.strip_suffix(".zst").map(|stem| (stem, false)))
}

/// `text`, where it is so many hexadecimal digits in lower case.
fn digits(text: &str, count: usize) -> Option<&str> {
    let legal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (text.len() == count && text.bytes().all(legal)).then_some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let digest = Sha256::of(b"x");
        let content = Content::of(&digest);
        let names = ["0000000A0000000100000002", "0000000A0000000100000002.partial", "0000000B.history"];
        for name in names.into_iter().chain(["0000000A0000000100000002.00000028.backup"]) {
            let name: WalName = name.parse().unwrap();
            for encrypted in [true, false] {
                let first = Entry::Object { name, beside: None, encrypted };
                assert_eq!(parse("main", &object("main", &name, encrypted)), Some(first));
                let other = Entry::Object { name, beside: Some(content), encrypted };
                assert_eq!(parse("main", &beside("main", &name, content, encrypted)), Some(other));
            }
            let expected = Some(Entry::Claim { name, content });
            assert_eq!(parse("main", &claim("main", &name, content)), expected);
            assert_eq!(parse("main", &claim_again("main", &name, content, &digest)), expected);
        }
        let one = Piece { segment: names[0].parse().unwrap(), begin: 0x2000, end: 0x100_0000 };
        let key = piece("main", &one, [0xab, 1], true);
        assert_eq!(key, "main/wal/0000000A/0000000A0000000100000002.part/00002000-01000000.ab01.zst.age");
        assert_eq!(parse("main", &key), Some(Entry::Piece { piece: one, encrypted: true }));
    }

    #[test]
    fn what_is_not_ours_is_nothing() {
        for key in [
            "main/wal/system.json",
            "main/wal/00000001/000000020000000000000001.zst.age",
            "main/wal/00000001/000000010000000000000001",
            "main/wal/00000001/000000010000000000000001.claim",
            "main/wal/00000001/.tmp-000000010000000000000001.zst.age",
            "main/wal/00000001/000000010000000000000001.zst.age.1234",
            "main/wal/00000001/000000010000000000000001.part/00002000-00001000.ab01.zst",
            "other/wal/00000001/000000010000000000000001.zst",
        ] {
            assert_eq!(parse("main", key), None, "{key}");
        }
    }
}
