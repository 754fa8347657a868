//! Removes what runs that failed have left: objects that no manifest names, signatures without manifest, temporary files, and uploads
//! in parts that nobody completes any more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use chrono::{DateTime, Utc};
use dr_catalogue::{Entry, Listing, name};
use dr_pipe::record::{Backup, Deleted, Kind, Record};
use dr_pipe::{Exit, Failure, Outcome};
use dr_store::{Listed, Location, Removed, Store, Unfinished};
use dr_wal::layout;

use crate::args::Args;
use crate::clock::Clock;
use crate::delete::tell;
use crate::{NOTHING, plan, survey};

/// More go only where somebody knows the number.
const MANY: u64 = 100;
/// What names of unfinished files begin with.
const TEMPORARY: &str = ".tmp-";

/// What is left of one run.
enum Left {
    Object(Listed),
    File(String, u64),
    Upload(Unfinished),
}

/// It, its store and its cluster.
type Found = (Rc<Store>, String, Left);

/// Removes them, once all are known.
///
/// # Errors
/// 76 where a store has what it does not list; as for decisions where a catalogue has a flaw; 80 for more than a hundred; 77 where a
/// store denied a step, after the others were tried.
pub fn remove(args: &Args) -> Outcome {
    let mut denied = None;
    let (clock, all) = find_all(args, &mut denied).map_err(|failure| failure.leaving(NOTHING))?;
    let count = all.len() as u64;
    if args.confirm.map_or(count > MANY, |number| number != count) {
        let message = format!("{count} objects and files were left by runs that failed");
        return Err(Failure::new(Exit::Refused, message, format!("if that can be: --confirm {count}")).leaving(NOTHING));
    }
    clock.remember();
    for (store, cluster, left) in all {
        match left.remove(&store, &cluster) {
            Ok(Some(deleted)) => tell(&Record::Deleted(Box::new(deleted)))?,
            Ok(None) => {}
            Err(failure) if failure.exit == Exit::Denied => denied = denied.or(Some(failure)),
            Err(failure) => return Err(failure.leaving("run it again")),
        }
    }
    denied.map_or(Ok(Exit::Good), |failure| Err(failure.leaving("the others were removed")))
}

/// What is left in all stores, by a clock that was proved. Where one does not say which uploads are unfinished, `denied` gets why.
fn find_all(args: &Args, denied: &mut Option<Failure>) -> Result<(Clock, Vec<Found>), Failure> {
    survey::apart(args)?;
    let (mut stores, mut times, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for location in &args.from {
        let store = Rc::new(survey::open(location, args)?);
        let uploads = match store.unfinished(&prefix(args)).map_err(Failure::from) {
            Err(failure) if failure.exit == Exit::Denied => {
                *denied = denied.take().or(Some(failure));
                Vec::new()
            }
            uploads => uploads?,
        };
        all.extend(find(&store, location, uploads, args, &mut times)?);
        stores.push(store);
    }
    let stores: Vec<&Store> = stores.iter().map(Rc::as_ref).collect();
    Ok((Clock::prove(Utc::now(), &stores, times.into_iter())?, all))
}

/// What the keys begin with of all that is looked at.
fn prefix(args: &Args) -> String {
    args.cluster.as_ref().map(|cluster| format!("{cluster}/")).unwrap_or_default()
}

/// What is left in one store, each with its cluster; `times` gets the moments that its catalogue tells.
fn find(
    store: &Rc<Store>,
    location: &Location,
    uploads: Vec<Unfinished>,
    args: &Args,
    times: &mut Vec<(String, DateTime<Utc>)>,
) -> Result<Vec<Found>, Failure> {
    let before = Utc::now() - args.older_than;
    let listed = store.list(&prefix(args))?;
    let mut found = Vec::new();
    let keys = listed.iter().map(|listed| listed.key.as_str());
    for cluster in plan::clusters(keys.chain(uploads.iter().map(|upload| upload.key.as_str()))) {
        let listing = survey::catalogue(location, &cluster, args, None)?;
        let of_cluster = listed.iter().filter(|it| it.key.starts_with(&format!("{cluster}/")));
        let here: BTreeMap<&str, &Listed> = of_cluster.map(|it| (it.key.as_str(), it)).collect();
        let named = named(&listing, &here)?;
        let marked = listing.deleted.iter().map(|marked| &marked.entry);
        for Entry { backup, .. } in listing.entries.iter().chain(marked) {
            let written = here.get(survey::manifest_key(backup).as_str()).and_then(|it| it.modified_at);
            times.extend(survey::times_of(backup, written, &location.to_string()));
        }
        for it in here.into_values().filter(|it| it.modified_at.is_some_and(|at| at < before) && !named.contains(&it.key)) {
            if is_left(store, &cluster, &it.key)? {
                found.push((Rc::clone(store), cluster.clone(), Left::Object(it.clone())));
            }
        }
        let is_old = |upload: &&Unfinished| upload.begun_at.is_some_and(|at| at < before) && is_ours(&cluster, &upload.key);
        let left = uploads.iter().filter(is_old).map(|upload| (Rc::clone(store), cluster.clone(), Left::Upload(upload.clone())));
        found.extend(left);
        if !location.is_s3() {
            let files = temporary(Path::new(&location.to_string()), &cluster, before)?;
            found.extend(files.into_iter().map(|left| (Rc::clone(store), cluster.clone(), left)));
        }
    }
    Ok(found)
}

/// All that the catalogue names: it must be in the listing, or the listing is not whole.
fn named(listing: &Listing, listed: &BTreeMap<&str, &Listed>) -> Result<BTreeSet<String>, Failure> {
    let marked = listing.deleted.iter().map(|marked| &marked.entry);
    let mut named = BTreeSet::new();
    for Backup { manifest, .. } in listing.entries.iter().chain(marked).map(|entry| &entry.backup) {
        named.insert(name::manifest_key(&manifest.cluster, manifest.kind, &manifest.name));
        named.insert(name::signature_key(&manifest.cluster, manifest.kind, &manifest.name));
        named.insert(name::object_key(manifest));
    }
    match named.iter().find(|key| !listed.contains_key(key.as_str())) {
        None => Ok(named),
        Some(key) => Err(unlisted(key)),
    }
}

/// Whether nothing names it: neither a manifest nor a tombstone, whatever the store has listed.
fn is_left(store: &Store, cluster: &str, key: &str) -> Result<bool, Failure> {
    let Some((kind, file)) = of_backup(cluster, key) else { return Ok(false) };
    let is_mark = [name::MANIFEST, name::TOMBSTONE, name::TOMBSTONE_SIGNATURE].into_iter().any(|suffix| file.ends_with(suffix));
    if is_mark || !is_pushed(file, &format!("{cluster}_{kind}_")) {
        return Ok(false);
    }
    // Whose object it is, its name does not say for certain: that of each name that it begins with.
    for (end, _) in file.match_indices('.').chain([(file.len(), "")]) {
        let manifest = name::manifest_key(cluster, kind, &file[..end]);
        if store.size(&manifest)?.is_some() {
            return Err(unlisted(&manifest));
        }
        if store.size(&name::tombstone_key(cluster, kind, &file[..end]))?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Kind and file name of what has a key beside the backups of a cluster.
fn of_backup<'k>(cluster: &str, key: &'k str) -> Option<(Kind, &'k str)> {
    name::KINDS.into_iter().find_map(|kind| Some((kind, key.strip_prefix(&name::folder(cluster, kind))?)))
}

/// Whether such a key of a cluster is one of those that we upload.
fn is_ours(cluster: &str, key: &str) -> bool {
    let of_backup = of_backup(cluster, key).is_some_and(|(kind, file)| is_pushed(file, &format!("{cluster}_{kind}_")));
    of_backup || layout::parse(cluster, key).is_some()
}

/// Whether dr-push makes such names: `stem`, a time, four digits, and a suffix. What else lies there is nothing that we know.
fn is_pushed(file: &str, stem: &str) -> bool {
    const SHAPE: &[u8] = b"00000000T000000Z_ffff";
    let Some((time, suffix)) = file.strip_prefix(stem).and_then(|rest| rest.split_at_checked(SHAPE.len())) else { return false };
    let fits = |(byte, shape): (u8, &u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        b'f' => byte.is_ascii_hexdigit(),
        _ => byte == *shape,
    };
    time.bytes().zip(SHAPE).all(fits) && (suffix.is_empty() || suffix.starts_with('.')) && name::is_safe(file).is_ok()
}

/// Files of a directory that never got their names.
fn temporary(root: &Path, cluster: &str, before: DateTime<Utc>) -> Result<Vec<Left>, Failure> {
    let folder = root.join(cluster);
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(&folder) {
        let look = |entry: walkdir::DirEntry| Ok::<_, walkdir::Error>((entry.metadata()?, entry));
        let (metadata, entry) = match entry.and_then(look) {
            Ok(both) => both,
            // It got its name while we looked.
            Err(error) if error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound) => continue,
            Err(error) => return Err(Failure::io(folder.display(), &error.into())),
        };
        let written = metadata.modified().ok().map(DateTime::<Utc>::from);
        let unfinished = metadata.is_file() && entry.file_name().to_string_lossy().starts_with(TEMPORARY);
        let key = entry.path().strip_prefix(root).ok().and_then(Path::to_str);
        if let Some(key) = key.filter(|_| unfinished && written.is_some_and(|at| at < before)) {
            found.push(Left::File(key.to_owned(), metadata.len()));
        }
    }
    Ok(found)
}

impl Left {
    /// Removes it; none where it is gone already.
    fn remove(self, store: &Store, cluster: &str) -> Result<Option<Deleted>, Failure> {
        let (object, bytes, removed) = match self {
            // Sealed at the last moment.
            Left::Object(Listed { key, .. }) if !is_left(store, cluster, &key)? => return Ok(None),
            Left::Object(Listed { key, bytes, .. }) => {
                let removed = store.remove(&key)?;
                (key, bytes, removed)
            }
            Left::File(key, bytes) => {
                let removed = store.remove_temporary(&key)?;
                (key, bytes, removed)
            }
            Left::Upload(upload) => {
                let aborted = store.abort(&upload)?;
                return Ok(aborted.then(|| told("aborted", store, cluster, upload.key)));
            }
        };
        let (state, gone, until) = match removed {
            Removed::Absent => return Ok(None),
            Removed::Gone => ("removed", 1, None),
            Removed::Held { until } => ("held", 0, until),
        };
        let told = told(state, store, cluster, object);
        Ok(Some(Deleted { objects: gone, bytes: gone * bytes, held_until_at: until, ..told }))
    }
}

/// What is told of what was left, where nothing of it was an object.
fn told(state: &str, store: &Store, cluster: &str, object: String) -> Deleted {
    Deleted {
        state: state.into(),
        store: store.location().to_string(),
        cluster: cluster.into(),
        kind: None,
        name: None,
        first: None,
        last: None,
        object: Some(object),
        objects: 0,
        bytes: 0,
        not_before_at: None,
        held_until_at: None,
        done_at: Utc::now(),
    }
}

fn unlisted(key: &str) -> Failure {
    let hint = "run it again; a store that lists so is no ground to delete anything";
    Failure::new(Exit::Protocol, format!("{key} is there, and was not listed"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_dr_push_names_so_is_known() {
        for file in ["main_dump_20260125T020000Z_7f3a", "main_dump_20260125T020000Z_7f3a.tar.zst.age"] {
            assert!(is_pushed(file, "main_dump_"), "{file}");
        }
        for file in [
            "main_dump_",
            "main_base_20260125T020000Z_7f3a.tar",
            "main_dump_20260125T020000Z_7f3ax",
            "main_dump_20260125T02000é_7f3a",
            "notes.txt",
        ] {
            assert!(!is_pushed(file, "main_dump_"), "{file}");
        }
    }
}
