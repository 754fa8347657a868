//! What announces that a backup is going to be deleted? A signed tombstone beside its manifest, so that there is time to object.
//!
//! Whoever can create objects could hide backups with it. So it counts only where its signature is right, where it is bound to
//! that very manifest, and where another key signed it than the manifest: the host that backs up cannot mark what it has made.

use chrono::{DateTime, Utc};
use dr_pipe::Sha256;
use dr_pipe::record::{Kind, Manifest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::signature::{self, Subject};
use crate::{Error, PublicKey, SigningKey, name};

/// The version of the format that is written, and the only one that is read.
pub const FORMAT: u32 = 1;
/// Largest tombstone that is read, in bytes.
pub const MAX_BYTES: u64 = 1 << 20;
/// What the name of a range's tombstone begins with.
const RANGE: &str = "delete-";

/// Says that a backup is going to be deleted, why, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Version of this format: 1.
    pub format: u32,
    /// The cluster the backup belongs to.
    pub cluster: String,
    /// The kind of backup.
    pub kind: Kind,
    /// The backup's name.
    pub name: String,
    /// The object's file name.
    pub object: String,
    /// SHA-256 of the object.
    pub sha256: Sha256,
    /// The object's size in bytes.
    pub bytes: u64,
    /// Why it is deleted, one reason each.
    pub reasons: Vec<String>,
    /// When it was marked.
    pub deleted_at: DateTime<Utc>,
    /// From when on its data may be removed.
    pub not_before_at: DateTime<Utc>,
    /// The host that marked it.
    pub host: String,
}

/// Says that a range of WAL is going to be deleted, why, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeTombstone {
    /// Version of this format: 1.
    pub format: u32,
    /// The cluster whose WAL it is.
    pub cluster: String,
    /// Its timeline, counting from 1.
    pub timeline: u32,
    /// The name of the first segment.
    pub first: String,
    /// The name of the last segment.
    pub last: String,
    /// Why it is deleted, one reason each.
    pub reasons: Vec<String>,
    /// When it was marked.
    pub deleted_at: DateTime<Utc>,
    /// From when on it may be removed.
    pub not_before_at: DateTime<Utc>,
    /// The host that marked it.
    pub host: String,
}

/// The JSON object: a tombstone and what it is.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Typed<T> {
    Tombstone(T),
}

impl Tombstone {
    /// Whether it is the tombstone of this very backup.
    pub fn is_of(&self, manifest: &Manifest) -> bool {
        let same_name = self.cluster == manifest.cluster && self.kind == manifest.kind && self.name == manifest.name;
        same_name && self.object == manifest.object && self.sha256 == manifest.sha256 && self.bytes == manifest.bytes
    }

    /// What its keys begin with.
    pub fn stem(&self) -> String {
        format!("{}{}", name::folder(&self.cluster, self.kind), self.name)
    }

    /// The key of the backup's object.
    pub fn object_key(&self) -> String {
        format!("{}{}", name::folder(&self.cluster, self.kind), self.object)
    }

    /// The bytes that are signed and stored: pretty-printed JSON and a newline.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }
}

impl RangeTombstone {
    /// The range: its first and last segment.
    pub fn name(&self) -> String {
        format!("{}-{}", self.first, self.last)
    }

    /// What its keys begin with.
    pub fn stem(&self) -> String {
        format!("{}/wal/{:08X}/{RANGE}{}", self.cluster, self.timeline, self.name())
    }

    /// The bytes that are signed and stored, as those of a [`Tombstone`].
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }
}

fn to_bytes(tombstone: &(impl Clone + Serialize)) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(&Typed::Tombstone(tombstone.clone())).expect("texts and numbers make JSON");
    bytes.push(b'\n');
    bytes
}

/// Reads a tombstone found under `key`, and holds it against that key.
///
/// # Errors
/// [`Error::BadManifest`] for anything else than the tombstone of that name.
pub fn parse(key: &str, bytes: &[u8]) -> Result<Tombstone, Error> {
    let bad = |why: String| Error::BadManifest { manifest: key.into(), why };
    let tombstone: Tombstone = typed(key, bytes)?;
    is_known(key, tombstone.format)?;
    let says = (tombstone.cluster.as_str(), tombstone.kind, tombstone.name.as_str());
    if name::of_tombstone(key) != Some(says) {
        return Err(bad(format!("it is the tombstone of {}/{}/{}: renamed or swapped", says.0, says.1, says.2)));
    }
    name::is_object_of(&tombstone.object, &tombstone.name).map_err(|error| bad(error.to_string()))?;
    Ok(tombstone)
}

/// Reads the tombstone of a range found under `key`, and holds it against that key.
///
/// # Errors
/// [`Error::BadManifest`] for anything else than the tombstone of that range.
pub fn parse_range(key: &str, bytes: &[u8]) -> Result<RangeTombstone, Error> {
    let range: RangeTombstone = typed(key, bytes)?;
    is_known(key, range.format)?;
    if format!("{}{}", range.stem(), name::TOMBSTONE) == key {
        return Ok(range);
    }
    Err(Error::BadManifest { manifest: key.into(), why: "it is that of another range".into() })
}

/// Cluster, first and last segment of the range whose tombstone has this key; none for any other key.
pub fn of_range(key: &str) -> Option<(&str, &str, &str)> {
    let (cluster, rest) = key.split_once("/wal/")?;
    let (_, file) = rest.split_once('/')?;
    let (first, last) = file.strip_prefix(RANGE)?.strip_suffix(name::TOMBSTONE)?.split_once('-')?;
    Some((cluster, first, last))
}

fn typed<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, Error> {
    match serde_json::from_slice(bytes) {
        Ok(Typed::Tombstone(tombstone)) => Ok(tombstone),
        Err(error) => Err(Error::BadManifest { manifest: key.into(), why: format!("no tombstone: {error}") }),
    }
}

fn is_known(key: &str, format: u32) -> Result<(), Error> {
    if format == FORMAT {
        return Ok(());
    }
    Err(Error::BadManifest { manifest: key.into(), why: format!("format {format}: this program reads format {FORMAT}") })
}

/// The signature file of the tombstone `text` whose keys begin with `stem`, such as `main/dump/NAME`.
pub fn sign(key: &SigningKey, text: &[u8], stem: &str) -> Vec<u8> {
    let file = format!("{}{}", stem.rsplit('/').next().unwrap_or(stem), name::TOMBSTONE);
    signature::sign_text(key, text, &file, &comment(stem))
}

/// Checks that `signature` is one of the `trusted` keys' signature of the tombstone `text` whose keys begin with `stem`.
///
/// # Errors
/// [`Error::BadSignature`] for anything else.
pub fn verify(trusted: &[PublicKey], stem: &str, text: &[u8], signature: &[u8]) -> Result<(), Error> {
    let key = format!("{stem}{}", name::TOMBSTONE);
    signature::verify_text(trusted, Subject { what: "tombstone", key: &key, comment: &comment(stem) }, text, signature)
}

/// What the signature of a tombstone says it is for.
fn comment(stem: &str) -> String {
    format!("dr tombstone {stem}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tombstone() -> Tombstone {
        Tombstone {
            format: 1,
            cluster: "main".into(),
            kind: Kind::Dump,
            name: "n".into(),
            object: "n.tar.zst".into(),
            sha256: Sha256([7; 32]),
            bytes: 9,
            reasons: vec!["older than all that is kept".into()],
            deleted_at: "2026-01-25T02:00:00Z".parse().unwrap(),
            not_before_at: "2026-01-28T02:00:00Z".parse().unwrap(),
            host: "admin1".into(),
        }
    }

    #[test]
    fn a_tombstone_is_read_as_it_is_written_and_under_its_own_key_only() {
        let bytes = tombstone().to_bytes();
        assert!(bytes.starts_with(b"{\n  \"type\": \"tombstone\",\n  \"format\": 1,\n  \"cluster\": \"main\","));
        assert_eq!(parse("main/dump/n.tombstone", &bytes).unwrap(), tombstone());
        for key in ["main/dump/m.tombstone", "main/base/n.tombstone", "other/dump/n.tombstone", "main/dump/n.json"] {
            assert!(matches!(parse(key, &bytes), Err(Error::BadManifest { .. })), "{key}");
        }
    }

    #[test]
    fn a_range_is_read_as_it_is_written_and_under_its_own_key_only() {
        let Tombstone { format, cluster, reasons, deleted_at, not_before_at, host, .. } = tombstone();
        let (first, last) = ("000000010000000000000001".to_owned(), "00000001000000000000000A".to_owned());
        let range = RangeTombstone { format, cluster, timeline: 1, first, last, reasons, deleted_at, not_before_at, host };
        let key = "main/wal/00000001/delete-000000010000000000000001-00000001000000000000000A.tombstone";
        assert_eq!(of_range(key), Some(("main", range.first.as_str(), range.last.as_str())));
        assert_eq!(parse_range(key, &range.to_bytes()).unwrap(), range);
        for other in [key.replace("000A.", "000B."), key.replace("main/", "other/"), key.replace("/00000001/", "/00000002/")] {
            assert!(matches!(parse_range(&other, &range.to_bytes()), Err(Error::BadManifest { .. })), "{other}");
        }
        let newer = RangeTombstone { format: 2, ..range };
        assert!(matches!(parse_range(key, &newer.to_bytes()), Err(Error::BadManifest { .. })));
        for other in ["main/dump/n.tombstone", "main/wal/00000001/000000010000000000000001.zst", "main/wal/delete-1-2.tombstone"] {
            assert_eq!(of_range(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_tombstone_is_refused() {
        let text = String::from_utf8(tombstone().to_bytes()).unwrap();
        for (from, to) in [
            ("\"tombstone\"", "\"manifest\""),
            ("\"format\": 1", "\"format\": 2"),
            ("n.tar.zst", "../n.tar"),
            ("n.tar.zst", "m.tar"),
            ("n.tar.zst", "n.json"),
            ("\"host\"", "\"guest\""),
        ] {
            assert!(text.contains(from), "{from}");
            let parsed = parse("main/dump/n.tombstone", text.replace(from, to).as_bytes());
            assert!(matches!(parsed, Err(Error::BadManifest { .. })), "{from} → {to}");
        }
    }
}
