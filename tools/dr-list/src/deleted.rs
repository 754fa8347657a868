//! What is marked for deletion, and until when can it be had back? Backups, and ranges of WAL.

use chrono::{DateTime, Utc};
use dr_catalogue::{Keyring, Marked, RangeTombstone, name, signature, tombstone};
use dr_pipe::record::{self, Deleted, Record};
use dr_pipe::{Failure, args::cluster_name, table, warn};
use dr_store::Store;

use crate::args::Args;
use crate::list::TOOL;
use crate::print;

/// Prints the backups that are marked, and the WAL of every store that can be read; gives why the others cannot.
///
/// # Errors
/// As [`print::out`]; if a public key cannot be read.
pub fn list(marked: Vec<Marked>, args: &Args) -> Result<Vec<Failure>, Failure> {
    let mut failures = Vec::new();
    let mut deleted: Vec<Deleted> = marked.into_iter().map(backup).collect();
    // WAL is neither of a kind nor of a database.
    if args.scope().kind.is_none() && args.scope().database.is_none() {
        let keyring = args.catalogue.public_key.keyring()?;
        for location in &args.catalogue.from.from {
            let opened = Store::open_for_read(location, &args.catalogue.store).map_err(Failure::from);
            match opened.and_then(|store| ranges(&store, args.cluster(), &keyring)) {
                Ok(ranges) => deleted.extend(ranges.into_iter().map(|marked| range(location.to_string(), marked))),
                Err(failure) => failures.push(failure),
            }
        }
    }
    print::out(|mut output| {
        if args.table.wanted() {
            return writeln!(output, "{}", table(&deleted));
        }
        deleted.into_iter().try_for_each(|deleted| record::write(&mut output, &Record::Deleted(Box::new(deleted))))
    })?;
    Ok(failures)
}

/// The ranges that are marked in a store, by key. A tombstone that no trusted key has signed marks nothing, and is warned of.
fn ranges(store: &Store, cluster: Option<&str>, keyring: &Keyring) -> Result<Vec<RangeTombstone>, Failure> {
    let listed = store.list(&cluster.map(|cluster| format!("{cluster}/wal/")).unwrap_or_default())?;
    let mut ranges = Vec::new();
    for key in listed.iter().map(|listed| &listed.key) {
        let Some((cluster, ..)) = tombstone::of_range(key) else { continue };
        if cluster_name(cluster).is_err() {
            continue;
        }
        let Some(text) = read(store, key, tombstone::MAX_BYTES)? else { continue };
        let signed = read(store, &format!("{key}{}", name::MINISIG), signature::MAX_BYTES)?.unwrap_or_default();
        let trusted = keyring.of(cluster)?;
        let stem = key.strip_suffix(name::TOMBSTONE).unwrap_or(key);
        let proved = if trusted.is_empty() { Ok(()) } else { tombstone::verify(&trusted, stem, &text, &signed) };
        match proved.and_then(|()| tombstone::parse_range(key, &text)) {
            Ok(range) => ranges.push(range),
            Err(error) => warn(TOOL, format!("{}: {error}; it marks nothing", store.location())),
        }
    }
    Ok(ranges)
}

/// All bytes of a small object; none where it has gone since.
fn read(store: &Store, key: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, Failure> {
    match store.read(key, max_bytes) {
        Err(dr_store::Error::Absent { .. }) => Ok(None),
        read => Ok(Some(read?)),
    }
}

fn backup(Marked { entry, tombstone }: Marked) -> Deleted {
    Deleted {
        kind: Some(tombstone.kind),
        name: Some(tombstone.name),
        ..told(entry.backup.store, tombstone.cluster, tombstone.deleted_at, tombstone.not_before_at)
    }
}

fn range(store: String, range: RangeTombstone) -> Deleted {
    let RangeTombstone { cluster, first, last, deleted_at, not_before_at, .. } = range;
    Deleted { first: Some(first), last: Some(last), ..told(store, cluster, deleted_at, not_before_at) }
}

fn told(store: String, cluster: String, deleted_at: DateTime<Utc>, not_before_at: DateTime<Utc>) -> Deleted {
    Deleted {
        state: "marked".into(),
        store,
        cluster,
        kind: None,
        name: None,
        first: None,
        last: None,
        object: None,
        objects: 0,
        bytes: 0,
        not_before_at: Some(not_before_at),
        held_until_at: None,
        done_at: deleted_at,
    }
}

fn table(deleted: &[Deleted]) -> String {
    let second = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%M:%S").to_string();
    let row = |deleted: &Deleted| {
        // As --undelete takes it.
        let range = || format!("{}-{}", deleted.first.as_deref().unwrap_or_default(), deleted.last.as_deref().unwrap_or_default());
        let goes = deleted.not_before_at.map(second).unwrap_or_default();
        [deleted.name.clone().unwrap_or_else(range), second(deleted.done_at), goes, deleted.store.clone()]
    };
    table::table(["NAME", "MARKED (UTC)", "GOES AFTER (UTC)", "STORE"], &[], deleted.iter().map(row))
}
