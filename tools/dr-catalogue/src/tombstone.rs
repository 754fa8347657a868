//! What announces that a backup is going to be deleted? A signed tombstone beside its manifest, so that there is time to object.
//!
//! Whoever can create objects could hide backups with it. So it counts only where its signature is right, where it is bound to
//! that very manifest, and where another key signed it than the manifest: the host that backs up cannot mark what it has made.

use chrono::{DateTime, Utc};
use dr_pipe::Sha256;
use dr_pipe::record::{Kind, Manifest};
use serde::{Deserialize, Serialize};

use crate::signature::{self, Subject};
use crate::{Error, PublicKey, SigningKey, name};

/// The version of the format that is written, and the only one that is read.
pub const FORMAT: u32 = 1;
/// Largest tombstone that is read, in bytes.
pub const MAX_BYTES: u64 = 1 << 20;

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

/// The JSON object: a tombstone and what it is.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Typed {
    Tombstone(Tombstone),
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

    /// The bytes that are signed and stored: pretty-printed JSON and a newline.
    pub fn to_bytes(&self) -> Vec<u8> {
        let typed = Typed::Tombstone(self.clone());
        let mut bytes = serde_json::to_vec_pretty(&typed).expect("texts and numbers make JSON");
        bytes.push(b'\n');
        bytes
    }
}

/// Reads a tombstone found under `key`, and holds it against that key.
///
/// # Errors
/// [`Error::BadManifest`] for anything else than the tombstone of that name.
pub fn parse(key: &str, bytes: &[u8]) -> Result<Tombstone, Error> {
    let bad = |why: String| Error::BadManifest { manifest: key.into(), why };
    let typed: Typed = serde_json::from_slice(bytes).map_err(|error| bad(format!("no tombstone: {error}")))?;
    let Typed::Tombstone(tombstone) = typed;
    if tombstone.format != FORMAT {
        return Err(bad(format!("format {}: this program reads format {FORMAT}", tombstone.format)));
    }
    let says = (tombstone.cluster.as_str(), tombstone.kind, tombstone.name.as_str());
    if name::of_tombstone(key) != Some(says) {
        return Err(bad(format!("it is the tombstone of {}/{}/{}: renamed or swapped", says.0, says.1, says.2)));
    }
    name::is_object_of(&tombstone.object, &tombstone.name).map_err(|error| bad(error.to_string()))?;
    Ok(tombstone)
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
