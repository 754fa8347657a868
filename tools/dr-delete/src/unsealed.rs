//! Removes what runs that failed have left: objects that no manifest names, signatures without manifest, temporary files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use chrono::{DateTime, Utc};
use dr_catalogue::{Entry, Listing, name};
use dr_pipe::record::{Backup, Deleted, Record};
use dr_pipe::{Exit, Failure, Outcome};
use dr_store::{Listed, Location, Removed, Store};

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
    File(PathBuf, u64),
}

/// It, its store and its cluster.
type Found = (Rc<Store>, String, Left);

/// Removes them, once all are known.
///
/// # Errors
/// 76 where a store has what it does not list; as for decisions where a catalogue has a flaw; 80 for more than a hundred.
pub fn remove(args: &Args) -> Outcome {
    let (clock, all) = find_all(args).map_err(|failure| failure.leaving(NOTHING))?;
    let count = all.len() as u64;
    if args.confirm.map_or(count > MANY, |number| number != count) {
        let message = format!("{count} objects and files were left by runs that failed");
        return Err(Failure::new(Exit::Refused, message, format!("if that can be: --confirm {count}")).leaving(NOTHING));
    }
    clock.remember();
    let mut denied = None;
    for (store, cluster, left) in all {
        match left.remove(&store, &cluster) {
            Ok(Some(record)) => tell(&record)?,
            Ok(None) => {}
            Err(failure) if failure.exit == Exit::Denied => denied = denied.or(Some(failure)),
            Err(failure) => return Err(failure.leaving("run it again")),
        }
    }
    denied.map_or(Ok(Exit::Good), |failure| Err(failure.leaving("the others were removed")))
}

/// What is left in all stores, by a clock that was proved.
fn find_all(args: &Args) -> Result<(Clock, Vec<Found>), Failure> {
    survey::apart(args)?;
    let (mut stores, mut times, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for location in &args.from {
        let store = Rc::new(survey::open(location, args)?);
        all.extend(find(&store, location, args, &mut times)?);
        stores.push(store);
    }
    let stores: Vec<&Store> = stores.iter().map(Rc::as_ref).collect();
    Ok((Clock::prove(Utc::now(), &stores, times.into_iter())?, all))
}

/// What is left in one store, each with its cluster; `times` gets the moments that its catalogue tells.
fn find(
    store: &Rc<Store>,
    location: &Location,
    args: &Args,
    times: &mut Vec<(String, DateTime<Utc>)>,
) -> Result<Vec<Found>, Failure> {
    let before = store.clock()?.unwrap_or_else(Utc::now) - args.older_than;
    let listed = store.list(&args.cluster.as_ref().map(|cluster| format!("{cluster}/")).unwrap_or_default())?;
    let mut found = Vec::new();
    for cluster in plan::clusters(listed.iter().map(|listed| listed.key.as_str())) {
        let listing = survey::catalogue(location, &cluster, args, None)?;
        let here: Vec<&Listed> = listed.iter().filter(|it| it.key.starts_with(&format!("{cluster}/"))).collect();
        let named = named(&listing, &here)?;
        let marked = listing.deleted.iter().map(|marked| &marked.entry);
        for Entry { backup, .. } in listing.entries.iter().chain(marked) {
            let key = survey::manifest_key(backup);
            let written = here.iter().find(|it| it.key == key).and_then(|it| it.modified_at);
            times.extend(survey::times_of(backup, written, &location.to_string()));
        }
        for it in here.into_iter().filter(|it| it.modified_at.is_some_and(|at| at < before) && !named.contains(&it.key)) {
            if is_left(store, &cluster, &it.key)? {
                found.push((Rc::clone(store), cluster.clone(), Left::Object(it.clone())));
            }
        }
        if !location.is_s3() {
            let files = temporary(&Path::new(&location.to_string()).join(&cluster), before)?;
            found.extend(files.into_iter().map(|left| (Rc::clone(store), cluster.clone(), left)));
        }
    }
    Ok(found)
}

/// All that the catalogue names: it must be in the listing, or the listing is not whole.
fn named(listing: &Listing, listed: &[&Listed]) -> Result<BTreeSet<String>, Failure> {
    let marked = listing.deleted.iter().map(|marked| &marked.entry);
    let mut named = BTreeSet::new();
    for Backup { manifest, .. } in listing.entries.iter().chain(marked).map(|entry| &entry.backup) {
        named.insert(name::manifest_key(&manifest.cluster, manifest.kind, &manifest.name));
        named.insert(name::signature_key(&manifest.cluster, manifest.kind, &manifest.name));
        named.insert(format!("{}{}", name::folder(&manifest.cluster, manifest.kind), manifest.object));
    }
    let there: BTreeSet<&str> = listed.iter().map(|listed| listed.key.as_str()).collect();
    match named.iter().find(|key| !there.contains(key.as_str())) {
        None => Ok(named),
        Some(key) => Err(unlisted(key)),
    }
}

/// Whether nothing names it: neither a manifest nor a tombstone, whatever the store has listed.
fn is_left(store: &Store, cluster: &str, key: &str) -> Result<bool, Failure> {
    let Some((kind, file)) = name::KINDS.into_iter().find_map(|kind| Some((kind, key.strip_prefix(&name::folder(cluster, kind))?)))
    else {
        return Ok(false);
    };
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
fn temporary(folder: &Path, before: DateTime<Utc>) -> Result<Vec<Left>, Failure> {
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(folder) {
        let look = |entry: walkdir::DirEntry| Ok::<_, walkdir::Error>((entry.metadata()?, entry));
        let (metadata, entry) = match entry.and_then(look) {
            Ok(both) => both,
            // It got its name while we looked.
            Err(error) if error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound) => continue,
            Err(error) => return Err(Failure::io(folder.display(), &error.into())),
        };
        let written = metadata.modified().ok().map(DateTime::<Utc>::from);
        let unfinished = metadata.is_file() && entry.file_name().to_string_lossy().starts_with(TEMPORARY);
        if unfinished && written.is_some_and(|at| at < before) {
            found.push(Left::File(entry.into_path(), metadata.len()));
        }
    }
    Ok(found)
}

impl Left {
    /// Removes it; none where it is gone already.
    fn remove(self, store: &Store, cluster: &str) -> Result<Option<Record>, Failure> {
        let (object, bytes, removed) = match self {
            // Sealed at the last moment.
            Left::Object(Listed { key, .. }) if !is_left(store, cluster, &key)? => return Ok(None),
            Left::Object(Listed { key, bytes, .. }) => {
                let removed = store.remove(&key)?;
                (key, bytes, removed)
            }
            Left::File(path, bytes) => {
                let name = path.display().to_string();
                let key = name.strip_prefix(&store.location().to_string()).map_or(&*name, |key| key.trim_start_matches('/'));
                match std::fs::remove_file(&path) {
                    Ok(()) => (key.to_owned(), bytes, Removed::Gone),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(Failure::io(path.display(), &error)),
                }
            }
        };
        let (state, gone, until) = match removed {
            Removed::Absent => return Ok(None),
            Removed::Gone => ("removed", 1, None),
            Removed::Held { until } => ("held", 0, until),
        };
        Ok(Some(Record::Deleted(Box::new(Deleted {
            state: state.into(),
            store: store.location().to_string(),
            cluster: cluster.into(),
            kind: None,
            name: None,
            first: None,
            last: None,
            object: Some(object),
            objects: gone,
            bytes: gone * bytes,
            not_before_at: None,
            held_until_at: until,
            done_at: Utc::now(),
        }))))
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
