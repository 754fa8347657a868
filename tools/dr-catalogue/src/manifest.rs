//! What does a manifest say, and in which bytes?

use chrono::{DateTime, Utc};
use dr_pipe::record::{Manifest, Record, StoredAt};

use crate::chain::Chain;
use crate::{Error, name};

/// The version of the format that is written, and the only one that is read.
pub const FORMAT: u32 = 1;
/// Largest manifest that is read, in bytes.
pub const MAX_BYTES: u64 = 1 << 20;

/// The manifest of a complete chain. It depends on nothing but the receipts: the same chain gives the same manifest.
///
/// # Errors
/// [`Error::OtherCluster`] if dr-push was told another cluster than `cluster`; [`Error::Malformed`] if the receipts hold a
/// name or time that no dr tool makes.
pub fn from_chain(chain: &Chain, cluster: &str) -> Result<Manifest, Error> {
    let pushed = chain.pushed();
    if pushed.cluster != cluster {
        return Err(Error::OtherCluster { pushed: pushed.cluster.clone(), asked: cluster.into() });
    }
    let folder = name::folder(cluster, pushed.kind);
    let object = pushed.object.strip_prefix(&folder);
    let object = object.ok_or_else(|| Error::Malformed(format!("object {:?} is not below {folder}", pushed.object)))?;
    name::is_object_of(object, &pushed.name)?;
    let stored_at = chain.stored_at();
    let stores = pushed.stores.iter().filter(|at| at.stored);
    Ok(Manifest {
        format: FORMAT,
        cluster: cluster.into(),
        kind: pushed.kind,
        name: pushed.name.clone(),
        object: object.into(),
        bytes: chain.object().bytes,
        sha256: chain.object().sha256,
        taken_at: chain.produced().taken_at,
        stored_at,
        sequence: sequence(stored_at)?,
        recipients: chain.recipients(),
        tags: pushed.tags.clone(),
        stores: stores
            .map(|at| StoredAt { store: at.store.clone(), version_id: at.version_id.clone(), locked_until: at.locked_until })
            .collect(),
        produced: chain.produced().clone(),
        tools: chain.stages().iter().map(|stage| format!("{} {}", stage.tool, stage.version)).collect(),
    })
}

/// The bytes that are signed and published: the record as pretty-printed JSON, one field per line, so that people and
/// `sed` can read it, and a newline at its end.
pub fn to_bytes(manifest: &Manifest) -> Vec<u8> {
    let record = Record::Manifest(Box::new(manifest.clone()));
    let mut bytes = serde_json::to_vec_pretty(&record).expect("a manifest has no map keys that are not strings");
    bytes.push(b'\n');
    bytes
}

/// Reads a manifest found under `key`, and holds it against that key: cluster, kind and name must be the key's, the object
/// must belong to it. So a manifest that was copied, renamed or swapped is never taken for another.
///
/// # Errors
/// [`Error::BadManifest`] for anything else than such a manifest.
pub fn parse(key: &str, bytes: &[u8]) -> Result<Manifest, Error> {
    let bad = |why: String| Error::BadManifest { manifest: key.into(), why };
    let record: Record = serde_json::from_slice(bytes).map_err(|error| bad(format!("no manifest: {error}")))?;
    let Record::Manifest(manifest) = record else { return Err(bad("a record, but no manifest".into())) };
    if manifest.format != FORMAT {
        return Err(bad(format!("format {}: this program reads format {FORMAT}", manifest.format)));
    }
    let says = (manifest.cluster.as_str(), manifest.kind, manifest.name.as_str());
    if name::of_manifest(key) != Some(says) {
        return Err(bad(format!("it is the manifest of {}/{}/{}: renamed or swapped", says.0, says.1, says.2)));
    }
    name::is_object_of(&manifest.object, &manifest.name).map_err(|error| bad(error.to_string()))?;
    if manifest.bytes == 0 {
        return Err(bad("its object has 0 bytes".into()));
    }
    Ok(*manifest)
}

/// Milliseconds since 1970.
fn sequence(stored_at: DateTime<Utc>) -> Result<u64, Error> {
    let sequence = stored_at.timestamp_millis();
    u64::try_from(sequence).map_err(|_| Error::Malformed(format!("the receipts are of {stored_at}, before 1970: set the clock")))
}
