//! Copies one backup to all targets: the WAL that a base needs, the object, and its manifest last. So a copy is there whole, or not
//! at all.

use std::time::Instant;

use chrono::Utc;
use dr_catalogue::{RECOVERY, manifest, name, signature};
use dr_pipe::progress::Progress;
use dr_pipe::record::Copied;
use dr_pipe::{Exit, Failure};
use dr_store::{Error, Store, Stored};

use crate::own::Own;
use crate::report::{Report, warn};
use crate::signed::{self, Signed};
use crate::tiers::{Tier, Tiers};
use crate::transfer::{self, Cargo, Carried};
use crate::wal::Written;
use crate::wanted::Wanted;

/// What there is of a backup in a target.
enum There {
    /// All of it.
    Whole,
    /// Its object, to the last byte, and not all that makes it a backup.
    Object,
    /// No object, or nobody may say.
    Nothing,
}

/// Copies a backup, and says what became of it in every target.
pub fn copy(tiers: &Tiers, wanted: &Wanted, report: &Report, progress: &Progress) {
    let begun = Instant::now();
    let (place, signed) = match signed::find(tiers, wanted) {
        Ok(found) => found,
        Err(failure) => return report.failed(failure.within(&wanted.name)),
    };
    let (key, extent) = (signed.object_key(), signed.extent());
    let cargo = Cargo { key: &key, extent, options: &tiers.options };
    let ended = |tier: &Tier, from: usize, done: Result<Written, Failure>| match done {
        Ok(written) => {
            let from = tiers.from[from].store.location().to_string();
            report.copied(record(written, wanted, from, tier.store.location().to_string(), begun));
        }
        Err(failure) => {
            tier.failed_to_write(&failure);
            report.failed(failure.within(&wanted.name));
        }
    };
    let own = match Own::of(&signed.manifest) {
        Ok(own) => own,
        Err(failure) => return report.failed(failure.within(&wanted.name)),
    };
    // Before the object, which may take hours, and far before the manifest: without its WAL, a base is worth nothing.
    let bring = |tier: &Tier| match &own {
        Some(own) => own.bring(tiers, tier, progress, |failure| report.failed(failure.within(&wanted.name))),
        None => Ok(Some(Written::default())),
    };
    let mut needy = Vec::new();
    for tier in tiers.to.iter().filter(|tier| !tier.is_lost()) {
        let there = look(tiers, tier, wanted, &signed, &cargo);
        let done = match there.and_then(|there| Ok((there, bring(tier)?))) {
            // What failed has been said.
            Ok((_, None)) => continue,
            Ok((There::Nothing, Some(written))) => {
                needy.push((tier, written));
                continue;
            }
            Ok((There::Whole, Some(written))) => Ok(written.and(nothing(tier, &cargo))),
            Ok((There::Object, Some(written))) => {
                adopt(&tier.store, &cargo).and_then(|stored| publish(&tier.store, &signed, stored, 0)).map(|more| written.and(more))
            }
            Err(failure) => Err(failure),
        };
        ended(tier, place, done);
    }
    if needy.is_empty() {
        return progress.add(wanted.bytes);
    }
    let sources: Vec<_> = tiers.from[place..].iter().collect();
    let targets: Vec<_> = needy.iter().map(|(tier, _)| *tier).collect();
    let Carried { from, stored } = match transfer::carry(&cargo, &sources, &targets, progress) {
        Ok(carried) => carried,
        Err(failure) => return report.failed(failure.within(&wanted.name)),
    };
    for ((tier, written), stored) in needy.into_iter().zip(stored) {
        let done = stored.and_then(|stored| publish(&tier.store, &signed, stored, extent.bytes));
        ended(tier, place + from, done.map(|more| written.and(more)));
    }
}

/// What there is of a backup in a target.
fn look(tiers: &Tiers, tier: &Tier, wanted: &Wanted, signed: &Signed, cargo: &Cargo) -> Result<There, Failure> {
    let Wanted { cluster, kind, name, .. } = wanted;
    let store = &tier.store;
    let read = |key: String, most| match store.read(&key, most) {
        Ok(bytes) => Ok(Some(bytes)),
        // A credential that may only create: then each creation tells.
        Err(Error::Absent { .. } | Error::Denied { .. }) => Ok(None),
        Err(error) => Err(Failure::from(error)),
    };
    let manifest = read(name::manifest_key(cluster, *kind, name), manifest::MAX_BYTES)?;
    if manifest.as_ref().is_some_and(|text| *text != signed.text) {
        let key = name::manifest_key(cluster, *kind, name);
        let message = format!("{}/{key} is there, and says something else than that which was to be copied", store.location());
        return Err(Failure::new(
            Exit::Damaged,
            message,
            "it was left as it is; dr-list -p tells which of the two is to be trusted",
        ));
    }
    match signed::has_tombstone(store, wanted) {
        Ok(false) | Err(Error::Denied { .. }) => {}
        // One that does not count is told from others by the manifest, which a deletion takes first.
        Ok(true) if manifest.is_some() && !tiers.is_marked(tier, wanted)? => {}
        Ok(true) => {
            let message = format!("in {} it is marked for deletion", store.location());
            return Err(Failure::new(
                Exit::Exists,
                message,
                "dr-delete --undelete keeps it; else copy only what that tier is to keep",
            ));
        }
        Err(error) => return Err(error.into()),
    }
    let size = match store.size(cargo.key) {
        Err(Error::Denied { .. }) => None,
        size => size?,
    };
    let Some(size) = size else { return Ok(There::Nothing) };
    if size != cargo.extent.bytes {
        return Err(transfer::taken(store, cargo.key));
    }
    if manifest.is_some() && read(name::signature_key(cluster, *kind, name), signature::MAX_BYTES)?.is_some() {
        return Ok(There::Whole);
    }
    match transfer::holds(store, cargo) {
        Ok(true) => Ok(There::Object),
        Ok(false) => Err(transfer::taken(store, cargo.key)),
        // A second upload has the server compare.
        Err(Error::Denied { .. } | Error::Frozen { .. }) => Ok(There::Nothing),
        Err(error) => Err(error.into()),
    }
}

/// Takes an object that was there before for one's own, if it is kept as was asked.
fn adopt(store: &Store, cargo: &Cargo) -> Result<Stored, Failure> {
    let stored = store.confirm(cargo.key, cargo.options);
    stored.map_err(|error| Failure::from(error).within("an object that an earlier run has left"))
}

/// Makes a backup of an object that is there: how to restore, the signature, and the manifest last.
fn publish(store: &Store, signed: &Signed, stored: Stored, bytes: u64) -> Result<Written, Failure> {
    stored.warnings.iter().for_each(|warning| warn(format!("{}: {warning}", store.location())));
    let manifest = &signed.manifest;
    let (cluster, kind, name) = (&manifest.cluster, manifest.kind, &manifest.name);
    let mut written = Written { objects: u64::from(bytes > 0), bytes, stored: Some(stored) };
    // Not that of the source, which nobody has signed. An older text that is there serves as well.
    match store.put(&name::recovery_key(cluster), RECOVERY.as_bytes()) {
        Err(Error::Exists { .. }) => {}
        put => written.put(put?, RECOVERY.len()),
    }
    let key = name::signature_key(cluster, kind, name);
    match store.put(&key, &signed.signature) {
        Err(Error::Exists { comparable: true, .. }) => return Err(transfer::taken(store, &key)),
        Err(error @ Error::Exists { .. }) => warn(format!("{error}; check with dr-list -p elsewhere")),
        put => written.put(put?, signed.signature.len()),
    }
    written.put(store.put(&name::manifest_key(cluster, kind, name), &signed.text)?, signed.text.len());
    Ok(written)
}

/// Nothing, as the object was there before; what was asked cannot be had any more, which is worth a warning.
fn nothing(tier: &Tier, cargo: &Cargo) -> Written {
    let stored = tier.store.confirm(cargo.key, cargo.options);
    let stored = stored.map_err(|error| warn(format!("it was there before, and is left as it is: {error}"))).ok();
    Written { stored, ..Written::default() }
}

fn record(written: Written, wanted: &Wanted, from: String, to: String, begun: Instant) -> Copied {
    let (storage_class, locked_until) = written.stored.map_or((None, None), |stored| (stored.storage_class, stored.locked_until));
    Copied {
        state: if written.objects == 0 { "present" } else { "copied" }.into(),
        from,
        to,
        cluster: wanted.cluster.clone(),
        kind: Some(wanted.kind),
        name: Some(wanted.name.clone()),
        objects: written.objects,
        bytes: written.bytes,
        storage_class,
        locked_until,
        duration_seconds: begun.elapsed().as_secs_f64(),
        copied_at: Utc::now(),
    }
}
