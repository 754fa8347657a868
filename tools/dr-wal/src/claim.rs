//! Who says what a file of WAL holds? A claim: one JSON line, and the signature of that line where a key was given. It is
//! created before the object, under a name that has the digest of the content, so that two contents make two claims, and
//! whoever may only create objects notices that another was there before.

use chrono::{DateTime, Utc};
use dr_catalogue::{PublicKey, SigningKey, signature};
use dr_pipe::Sha256;
use serde::{Deserialize, Serialize};

use crate::layout::Content;
use crate::opened::most_packed;
use crate::{Error, Lsn, Timeline, WalName};

/// Largest claim that is read, in bytes.
pub(crate) const MAX_BYTES: u64 = 16 << 10;

/// What one who has stored a file of WAL says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    r#type: Tag,
    format: u32,
    /// The cluster.
    pub cluster: String,
    /// The file's name.
    pub name: WalName,
    /// The system identifier, as its header says it; absent where it has none and it is not known.
    pub system_identifier: Option<String>,
    /// Size of the plain file, in bytes.
    pub bytes: u64,
    /// SHA-256 of the plain file.
    pub sha256: Sha256,
    /// Size of the object, in bytes.
    pub object_bytes: u64,
    /// SHA-256 of the object.
    pub object_sha256: Sha256,
    /// Whole segments only: whatever was committed by then, by the clock of the server, is in this segment or before it. Absent
    /// where nobody knows: on a standby, above all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<DateTime<Utc>>,
    /// Histories only: where the timeline came from.
    #[serde(flatten)]
    pub fork: Option<Fork>,
}

/// Where a timeline came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// The timeline before it.
    pub parent_timeline: Timeline,
    /// Where the timeline before it ended.
    pub forked_at: Lsn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Tag {
    Claim,
}

/// What a claim says besides the name of a file.
pub(crate) struct Said {
    pub(crate) system: Option<u64>,
    pub(crate) extents: Extents,
    pub(crate) as_of: Option<DateTime<Utc>>,
    pub(crate) fork: Option<Fork>,
}

/// Size and digest of what is claimed: of the plain file, and of the object.
pub(crate) struct Extents {
    pub(crate) plain: (u64, Sha256),
    pub(crate) object: (u64, Sha256),
}

impl Claim {
    pub(crate) fn new(cluster: &str, name: WalName, said: Said) -> Self {
        let Said { system, extents, as_of, fork } = said;
        let Extents { plain: (bytes, sha256), object: (object_bytes, object_sha256) } = extents;
        Claim {
            r#type: Tag::Claim,
            format: 1,
            cluster: cluster.into(),
            name,
            system_identifier: system.map(|system| system.to_string()),
            bytes,
            sha256,
            object_bytes,
            object_sha256,
            as_of,
            fork,
        }
    }

    /// Which content it claims.
    pub fn content(&self) -> Content {
        Content::of(&self.sha256)
    }

    /// The claim as it is stored.
    pub(crate) fn encode(&self, key: Option<&SigningKey>) -> Vec<u8> {
        let mut text = serde_json::to_vec(self).expect("texts and numbers make JSON");
        text.push(b'\n');
        if let Some(key) = key {
            let signature = signature::sign_text(key, &text, "CLAIM", &comment(&self.cluster, &self.name));
            text.extend(signature);
        }
        text
    }

    /// Reads the claim that `content` is what `name` of `cluster` holds; `object` names it in errors. Where `trusted` has
    /// keys, it must be signed by one of them, and nothing of it is parsed before that is known.
    ///
    /// # Errors
    /// [`Error::Untrusted`] or [`Error::Damaged`].
    pub(crate) fn decode(subject: &Subject, text: &[u8], trusted: &[PublicKey]) -> Result<Self, Error> {
        let Subject { object, cluster, name, content } = subject;
        let end = text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |newline| newline + 1);
        let (line, signature) = text.split_at(end);
        if !trusted.is_empty() {
            let untrusted = |why: String| Error::Untrusted { claim: (*object).into(), why };
            if signature.is_empty() {
                return Err(untrusted("it is not signed".into()));
            }
            let comment = comment(cluster, name);
            let subject = signature::Subject { what: "claim", key: object, comment: &comment };
            signature::verify_text(trusted, subject, line, signature).map_err(|error| match error {
                dr_catalogue::Error::BadSignature { why, .. } => untrusted(why),
                other => other.into(),
            })?;
        }
        let damaged = |why: String| Error::damaged(object, why);
        let claim: Claim = serde_json::from_slice(line).map_err(|error| damaged(format!("no claim: {error}")))?;
        if claim.format != 1 {
            return Err(damaged(format!("format {} is newer than this program", claim.format)));
        }
        // Unsigned, it may claim anything, and as much as it says is read into memory.
        if claim.bytes > name.most_bytes() || claim.object_bytes > most_packed(claim.bytes) {
            return Err(damaged(format!("it claims {} bytes in {}: no such file is so large", claim.bytes, claim.object_bytes)));
        }
        if claim.cluster != *cluster || claim.name != *name || claim.content() != *content {
            return Err(damaged("it claims something else than its name says".into()));
        }
        Ok(claim)
    }
}

/// Which claim is read.
pub(crate) struct Subject<'a> {
    pub(crate) object: &'a str,
    pub(crate) cluster: &'a str,
    pub(crate) name: WalName,
    pub(crate) content: Content,
}

fn comment(cluster: &str, name: &WalName) -> String {
    format!("dr claim {cluster} {name}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn claim() -> Claim {
        let extents = Extents { plain: (3, Sha256::of(b"abc")), object: (2, Sha256::of(b"ab")) };
        let fork = Some(Fork { parent_timeline: Timeline(9), forked_at: Lsn(0x500_0000) });
        Claim::new("main", "0000000A.history".parse().unwrap(), Said { system: Some(7), extents, as_of: None, fork })
    }

    #[test]
    fn a_claim_is_one_line_of_json() {
        let text = String::from_utf8(claim().encode(None)).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"type":"claim","format":1,"cluster":"main","name":"0000000A.history","system_identifier":"7","#,
                r#""bytes":3,"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","#,
                r#""object_bytes":2,"object_sha256":"fb8e20fc2e4c3f248c60c39bd652f3c1347298bb977b8b4d5903b85055620603","#,
                r#""parent_timeline":9,"forked_at":"0/5000000"}"#,
                "\n"
            )
        );
        let subject = Subject { object: "o", cluster: "main", name: claim().name, content: claim().content() };
        assert_eq!(Claim::decode(&subject, text.as_bytes(), &[]).unwrap(), claim());
        let other = Subject { cluster: "other", ..subject };
        assert!(matches!(Claim::decode(&other, text.as_bytes(), &[]), Err(Error::Damaged { .. })));
    }

    #[test]
    fn f37_a_claim_of_more_than_such_a_file_can_hold_is_damaged() {
        let decode = |name: &str, bytes: u64, object_bytes: u64| {
            let extents = Extents { plain: (bytes, Sha256::of(b"abc")), object: (object_bytes, Sha256::of(b"ab")) };
            let said = Said { system: Some(7), extents, as_of: None, fork: None };
            let claim = Claim::new("main", name.parse().unwrap(), said);
            let subject = Subject { object: "o", cluster: "main", name: claim.name, content: claim.content() };
            Claim::decode(&subject, &claim.encode(None), &[])
        };
        let (segment, history) = ("000000010000000000000001", "00000002.history");
        assert!(decode(segment, 1 << 30, (1 << 30) + (1 << 22)).is_ok() && decode(history, 1 << 20, 1 << 20).is_ok());
        for (name, bytes, object_bytes) in
            [(segment, 1 << 40, 9), (segment, u64::MAX, u64::MAX), (segment, 1 << 20, 1 << 40), (history, 1 << 30, 9)]
        {
            assert!(matches!(decode(name, bytes, object_bytes), Err(Error::Damaged { .. })), "{name} {bytes} {object_bytes}");
        }
    }

    #[test]
    fn f71_where_a_key_is_known_a_claim_needs_its_signature() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, include_str!("../../dr-seal/tests/main.key")).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let key = SigningKey::load(path.to_str().unwrap()).unwrap();
        let trusted = [key.public_key()];
        let subject = Subject { object: "o", cluster: "main", name: claim().name, content: claim().content() };
        let good = claim().encode(Some(&key));
        assert_eq!(Claim::decode(&subject, &good, &trusted).unwrap(), claim());
        let changed = String::from_utf8(good).unwrap().replace("\"bytes\":3", "\"bytes\":4").into_bytes();
        for bad in [changed, claim().encode(None)] {
            assert!(matches!(Claim::decode(&subject, &bad, &trusted), Err(Error::Untrusted { .. })));
        }
    }
}
