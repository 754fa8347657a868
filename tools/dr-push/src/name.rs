//! What is the new object called? By cluster, kind and time, and by what the stages before have announced.

use chrono::{DateTime, Utc};
use dr_pipe::record::{Kind, Record, Start};

/// The name of a backup, and the key of its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The kind of backup.
    pub kind: Kind,
    /// Such as `main_dump_20260125T020000Z_7f3a`.
    pub name: String,
    /// Such as `main/dump/main_dump_20260125T020000Z_7f3a.tar.zst.age`.
    pub key: String,
}

/// What is known of a stream before it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// What the producer makes; none if no producer has announced anything.
    pub kind: Option<Kind>,
    /// What the stages add to the name, in their order, such as `tar.zst.age`.
    pub suffix: String,
}

/// What the stages of the current run (the last producer's, and those after it) have announced in the receipt file; none
/// if there is no producer.
pub fn announced(records: &[Record]) -> Option<Announced> {
    let starts: Vec<&Start> = records
        .iter()
        .filter_map(|record| match record {
            Record::Start(start) => Some(start),
            _ => None,
        })
        .collect();
    let run = &starts[starts.iter().rposition(|start| start.kind.is_some())?..];
    let suffixes: Vec<_> = run.iter().map(|start| start.suffix.as_str()).filter(|suffix| !suffix.is_empty()).collect();
    Some(Announced { kind: run[0].kind, suffix: suffixes.join(".") })
}

/// What the first bytes of a stream look like, where nobody has announced anything.
pub fn sniffed(first: &[u8]) -> Announced {
    let known: [(&[u8], &str); 6] = [
        (b"age-encryption.org/v1\n", "age"),
        (b"-----BEGIN AGE ENCRYPTED FILE-----", "age"),
        (b"\x28\xb5\x2f\xfd", "tar.zst"),
        (b"\x1f\x8b", "gz"),
        (b"PGDMP", "dump"),
        (b"-- PostgreSQL database", "sql"),
    ];
    // pg_dump's plain format begins with an empty comment.
    let text = first.strip_prefix(b"--\n").unwrap_or(first);
    let suffix =
        known.iter().find(|(magic, _)| first.starts_with(magic) || text.starts_with(magic)).map_or("bin", |(_, suffix)| suffix);
    Announced { kind: None, suffix: suffix.into() }
}

/// The name of a backup of `cluster` that begins `now`. `random` keeps two that begin in one second apart.
pub fn name(cluster: &str, kind: Kind, suffix: &str, now: DateTime<Utc>, random: [u8; 2]) -> Name {
    let name = format!("{cluster}_{kind}_{}_{}", now.format("%Y%m%dT%H%M%SZ"), hex::encode(random));
    let dot = if suffix.is_empty() { "" } else { "." };
    let key = format!("{cluster}/{kind}/{name}{dot}{suffix}");
    Name { kind, name, key }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn start(tool: &str, kind: Option<Kind>, suffix: &str) -> Record {
        Record::Start(Start { tool: tool.into(), started_at: DateTime::default(), kind, suffix: suffix.into() })
    }

    #[test]
    fn a_name_says_whose_what_and_when() {
        let at = "2026-01-25T02:00:00Z".parse().unwrap();
        let name = name("main", Kind::Dump, "tar.zst.age", at, [0x7f, 0x3a]);
        assert_eq!(name.name, "main_dump_20260125T020000Z_7f3a");
        assert_eq!(name.key, "main/dump/main_dump_20260125T020000Z_7f3a.tar.zst.age");
        assert_eq!(super::name("main", Kind::Base, "", at, [0, 1]).key, "main/base/main_base_20260125T020000Z_0001");
    }

    #[test]
    fn the_stages_of_the_last_run_make_the_suffix() {
        let earlier = [start("dr-run", Some(Kind::Files), "sql"), start("dr-encrypt", None, "age")];
        let run = [start("dr-dump", Some(Kind::Dump), "tar.zst"), start("dr-encrypt", None, "age"), start("dr-push", None, "")];
        let records: Vec<_> = earlier.into_iter().chain(run).collect();
        assert_eq!(announced(&records), Some(Announced { kind: Some(Kind::Dump), suffix: "tar.zst.age".into() }));
        assert_eq!(announced(&records[1..2]), None);
    }

    #[test]
    fn a_stream_that_nobody_announced_is_named_by_its_first_bytes() {
        for (first, suffix) in [
            (b"age-encryption.org/v1\n-> X25519".as_slice(), "age"),
            (b"\x28\xb5\x2f\xfd\x04", "tar.zst"),
            (b"\x1f\x8b\x08", "gz"),
            (b"PGDMP\x01", "dump"),
            (b"--\n-- PostgreSQL database dump\n", "sql"),
            (b"x", "bin"),
        ] {
            assert_eq!(sniffed(first).suffix, suffix);
        }
    }
}
