//! What does a bucket with versions hide? Nothing of a store is ever deleted or overwritten but what a tombstone has announced.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use dr_catalogue::{Listing, PublicKey, manifest, name, signature, tombstone};
use dr_pipe::record::Finding;
use dr_pipe::{Failure, warn};
use dr_store::{Hidden, HiddenKind, Location, Store, StoreArgs};
use dr_wal::SegmentName;
use dr_wal::layout::{self, Entry};

use crate::finding::{Scene, about, first_of, on};
use crate::memory::Range;
use crate::{TOOL, wal};

/// Where it is looked.
pub struct Bucket<'a> {
    /// The store.
    pub store: &'a Store,
    /// Where it is.
    pub location: &'a Location,
    /// How it is reached.
    pub args: &'a StoreArgs,
    /// The cluster.
    pub cluster: &'a str,
    /// Whose signatures are trusted.
    pub trusted: &'a [PublicKey],
    /// Ranges of WAL whose deletion was announced.
    pub ranges: &'a BTreeSet<Range>,
}

/// Findings about delete markers and overwritten versions of a cluster.
///
/// # Errors
/// As the store says. That it may not be asked is a warning.
pub fn check(scene: &Scene, bucket: &Bucket, listing: &Listing) -> Result<Vec<Finding>, Failure> {
    let hidden = match bucket.store.hidden(&format!("{}/", bucket.cluster)) {
        Err(error @ dr_store::Error::Denied { .. }) => {
            let Failure { message, hint, .. } = error.into();
            warn(TOOL, format!("what was deleted or overwritten is not looked for: {message} ({hint})"));
            return Ok(Vec::new());
        }
        hidden => hidden?,
    };
    let announced = announced(bucket, listing, &hidden)?;
    let ranges: Vec<Range> = announced.iter().filter_map(|stem| wal::announcement(&format!("{stem}{}", name::TOMBSTONE))).collect();
    let ranges: Vec<Range> = ranges.into_iter().chain(bucket.ranges.iter().copied()).collect();
    let is_announced = |key: &str| {
        let of_backup =
            |stem: &String| key.strip_prefix(stem.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let segment = segment(bucket.cluster, key);
        announced.iter().any(of_backup) || segment.is_some_and(|segment| ranges.iter().any(|range| range.holds(&segment)))
    };
    let found = |kind| hidden.iter().filter(move |one| one.kind == kind && !is_announced(&one.key));
    let markers = found(HiddenKind::Marker).map(|one| marker(scene, one)).collect();
    // What a marker hides is told by the marker.
    let marked: BTreeSet<&str> = found(HiddenKind::Marker).map(|one| one.key.as_str()).collect();
    let overwritten = found(HiddenKind::Overwritten).filter(|one| !marked.contains(one.key.as_str()));
    let overwritten = overwritten.map(|one| rewritten(scene, one)).collect();
    Ok([first_of(markers), first_of(overwritten)].concat())
}

fn marker(scene: &Scene, Hidden { key, version_id, written_at, .. }: &Hidden) -> Finding {
    let message = format!("{key} was deleted{} without a tombstone: a delete marker hides it", when(*written_at));
    let hint = format!("find out who did; --as-of reads what was there, and removing version {version_id} brings it back");
    told(key, scene.error("marker", message, hint))
}

fn rewritten(scene: &Scene, Hidden { key, version_id, written_at, .. }: &Hidden) -> Finding {
    let message = format!("{key} was overwritten: an older version{} is hidden by a newer one", when(*written_at));
    let hint =
        format!("find out who did, and which is right; the older one is version {version_id}; deny writes without If-None-Match");
    told(key, scene.error("overwritten", message, hint))
}

fn told(key: &str, finding: Finding) -> Finding {
    let finding = on(key, finding);
    match name::of_manifest(key) {
        Some((_, _, name)) => about(name, finding),
        None => finding,
    }
}

fn when(at: Option<DateTime<Utc>>) -> String {
    at.map(|at| format!(", {}", at.format("%Y-%m-%d %H:%M:%S UTC"))).unwrap_or_default()
}

/// What the keys of backups begin with whose deletion was announced: those that have a tombstone that counts, or had one.
fn announced(bucket: &Bucket, listing: &Listing, hidden: &[Hidden]) -> Result<BTreeSet<String>, Failure> {
    let mut announced: BTreeSet<String> = listing.deleted.iter().map(|marked| marked.tombstone.stem()).collect();
    let mut moments = BTreeMap::<&str, DateTime<Utc>>::new();
    for one in hidden.iter().filter(|one| one.kind == HiddenKind::Overwritten) {
        let key = one.key.strip_suffix(name::MINISIG).unwrap_or(&one.key);
        if let (Some(stem), Some(at)) = (key.strip_suffix(name::TOMBSTONE), one.written_at) {
            let last = moments.entry(stem).or_insert(at);
            *last = (*last).max(at);
        }
    }
    let tombstone = |stem: &str| format!("{stem}{}", name::TOMBSTONE);
    // One that is there still, of a backup whose manifest is gone already.
    let now = hidden.iter().filter_map(|one| one.key.strip_suffix(name::MANIFEST)).filter(|stem| !moments.contains_key(stem));
    let now: BTreeSet<&str> = now.collect();
    for stem in now {
        if !announced.contains(stem) && is_announced(bucket.store, &tombstone(stem), bucket.trusted)? {
            announced.insert(stem.to_owned());
        }
    }
    for (stem, at) in moments {
        let args = StoreArgs { as_of: Some(at), ..bucket.args.clone() };
        if is_announced(&Store::open_for_read(bucket.location, &args)?, &tombstone(stem), bucket.trusted)? {
            announced.insert(stem.to_owned());
        }
    }
    Ok(announced)
}

/// The segment that an object or a claim is of.
fn segment(cluster: &str, key: &str) -> Option<SegmentName> {
    match layout::parse(cluster, key)? {
        Entry::Object { name, .. } | Entry::Claim { name, .. } => name.segment(),
        Entry::Piece { piece, .. } => Some(piece.segment),
    }
}

/// Whether the tombstone at `key` is of a range of WAL, or of a backup, and signed by one of the trusted keys; but not by the one that
/// signed the backup: the host that backs up cannot announce that what it has made is deleted.
///
/// # Errors
/// As the store says.
pub fn is_announced(store: &Store, key: &str, trusted: &[PublicKey]) -> Result<bool, Failure> {
    let read = |key: &str, most| match store.read(key, most) {
        Err(dr_store::Error::Absent { .. } | dr_store::Error::Damaged { .. }) => Ok(None),
        read => read.map(Some).map_err(Failure::from),
    };
    let stem = key.strip_suffix(name::TOMBSTONE).unwrap_or(key);
    let Some(text) = read(key, tombstone::MAX_BYTES)? else { return Ok(false) };
    let is_one = wal::announcement(key).is_some() || tombstone::parse(key, &text).is_ok();
    if trusted.is_empty() {
        return Ok(is_one);
    }
    let signature = read(&format!("{stem}{}", name::TOMBSTONE_SIGNATURE), signature::MAX_BYTES)?.unwrap_or_default();
    let manifest_key = format!("{stem}{}", name::MANIFEST);
    let manifest = read(&manifest_key, manifest::MAX_BYTES)?.unwrap_or_default();
    let signed = read(&format!("{stem}{}", name::SIGNATURE), signature::MAX_BYTES)?.unwrap_or_default();
    let of = stem.rsplit('/').next().unwrap_or(stem);
    let others = trusted.iter().filter(|key| signature::verify(&[**key], &manifest_key, &manifest, &signed, of).is_err());
    let others: Vec<PublicKey> = others.copied().collect();
    Ok(is_one && tombstone::verify(&others, stem, &text, &signature).is_ok())
}
