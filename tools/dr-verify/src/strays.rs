//! What lies in a store beside its backups: what runs have left, what nobody knows, what is hidden, and RECOVERY.txt.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use dr_catalogue::{Listing, RECOVERY, drills, name};
use dr_pipe::Failure;
use dr_pipe::record::{Finding, Kind};
use dr_store::{Listed, Store};
use indicatif::HumanBytes;

use crate::finding::{Scene, first_of, on};
use crate::place::Question;

/// A run that is older than this is none any more.
const OLD: TimeDelta = TimeDelta::days(2);
/// Largest RECOVERY.txt that is read, in bytes.
const MAX_RECOVERY_BYTES: u64 = 1 << 20;

/// What a file beside manifests is.
#[derive(Debug, PartialEq, Eq)]
enum Stray {
    /// It belongs there.
    Known,
    /// It is of a backup that has no manifest.
    Orphan,
    /// Nobody knows.
    Unknown,
}

/// Findings about the files of one cluster, WAL left out.
///
/// # Errors
/// As the store says.
pub fn check(
    scene: &Scene,
    store: &Store,
    listing: &Listing,
    files: &[Listed],
    question: &Question,
) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    let (mut orphans, mut unknown) = (Vec::new(), Vec::new());
    let cluster = scene.cluster.as_deref().unwrap_or_default();
    let recovery = name::recovery_key(cluster);
    let names = Names::of(files, listing);
    let drills = drills::folder(cluster);
    // What a probe had to leave goes with a later one: dr-doctor(1).
    let probes = format!("{cluster}/probe/");
    let elsewhere = |key: &str| key == recovery || key.starts_with(&drills) || key.starts_with(&probes);
    for file in files.iter().filter(|file| !elsewhere(&file.key)) {
        let Some((kind, rest)) = below(cluster, &file.key) else {
            unknown.push(file.clone());
            continue;
        };
        if question.args.kind.is_some_and(|only| only != kind) {
            continue;
        }
        match names.judge(kind, rest) {
            Stray::Known => {}
            Stray::Orphan if is_old(file, question.now) => orphans.push(orphan(scene, file)),
            Stray::Orphan => {}
            Stray::Unknown => unknown.push(file.clone()),
        }
    }
    findings.extend(first_of(orphans));
    findings.extend(self::unknown(scene, &unknown));
    if question.args.kind.is_none() && files.iter().any(|file| file.key.starts_with(&drills)) {
        findings.extend(reports(scene, store, cluster, question)?);
    }
    if !listing.entries.is_empty() {
        findings.extend(instructions(scene, store, &recovery)?);
    }
    Ok(findings)
}

/// Notes about files that nobody knows.
pub fn unknown(scene: &Scene, files: &[Listed]) -> Vec<Finding> {
    let note = |file: &Listed| {
        let message = format!("{} is nothing that dr knows", file.key);
        on(&file.key, scene.note("unknown", message, "nothing reads it; if it is yours, better keep it elsewhere"))
    };
    first_of(files.iter().map(note).collect())
}

fn orphan(scene: &Scene, file: &Listed) -> Finding {
    let message = format!("{} ({}) has no manifest: an unfinished run has left it", file.key, HumanBytes(file.bytes));
    on(&file.key, scene.note("orphan", message, "dr-delete --unsealed collects what unfinished runs have left"))
}

fn is_old(file: &Listed, now: DateTime<Utc>) -> bool {
    file.modified_at.is_none_or(|at| now - at > OLD)
}

/// Kind and file name of a key in a folder of backups.
fn below<'k>(cluster: &str, key: &'k str) -> Option<(Kind, &'k str)> {
    name::KINDS.into_iter().find_map(|kind| Some((kind, key.strip_prefix(&name::folder(cluster, kind))?)))
}

/// The names of a cluster's backups, as far as any file tells of them.
struct Names<'f> {
    /// Those that have a manifest, good or not, or a tombstone.
    all: BTreeSet<(Kind, &'f str)>,
    /// The objects of those whose manifest is good.
    objects: BTreeMap<(Kind, &'f str), &'f str>,
}

impl<'f> Names<'f> {
    fn of(files: &'f [Listed], listing: &'f Listing) -> Self {
        let told = |file: &'f Listed| name::of_manifest(&file.key).or_else(|| name::of_tombstone(&file.key));
        let listed = files.iter().filter_map(told).map(|(_, kind, name)| (kind, name));
        let entries = listing.entries.iter().chain(listing.deleted.iter().map(|marked| &marked.entry));
        let objects: BTreeMap<_, _> = entries
            .map(|entry| &entry.backup.manifest)
            .map(|manifest| ((manifest.kind, manifest.name.as_str()), manifest.object.as_str()))
            .collect();
        Names { all: listed.chain(objects.keys().copied()).collect(), objects }
    }

    fn judge(&self, kind: Kind, file: &str) -> Stray {
        if name::is_safe(file).is_err() {
            return Stray::Unknown;
        }
        for suffix in [name::TOMBSTONE_SIGNATURE, name::SIGNATURE, name::TOMBSTONE, name::MANIFEST] {
            if let Some(name) = file.strip_suffix(suffix) {
                return if self.all.contains(&(kind, name)) { Stray::Known } else { Stray::Orphan };
            }
        }
        // A name may have dots of its own: the longest that is known is meant.
        let stems = file.rmatch_indices('.').map(|(at, _)| &file[..at]);
        let Some(name) = std::iter::once(file).chain(stems).find(|stem| self.all.contains(&(kind, *stem))) else {
            return Stray::Orphan;
        };
        match self.objects.get(&(kind, name)) {
            Some(object) if *object != file => Stray::Unknown,
            _ => Stray::Known,
        }
    }
}

/// Records of drills that are not what was signed. Where no key is known, nobody can tell.
fn reports(scene: &Scene, store: &Store, cluster: &str, question: &Question) -> Result<Vec<Finding>, Failure> {
    if question.keyring.of(cluster)?.is_empty() {
        return Ok(Vec::new());
    }
    let drills = drills::read_drills(store, cluster, question.keyring, usize::MAX)?;
    let wrong = |why| scene.error("drill", why, "it proves nothing: find out who wrote it, and look at another store");
    Ok(first_of(drills.warnings.into_iter().map(wrong).collect()))
}

/// Whether RECOVERY.txt is there, and what it should be.
fn instructions(scene: &Scene, store: &Store, key: &str) -> Result<Option<Finding>, Failure> {
    let text = match store.read(key, MAX_RECOVERY_BYTES) {
        Err(dr_store::Error::Absent { .. }) => {
            let message = format!("{key} is missing: nobody finds out there how to restore without dr");
            return Ok(Some(on(
                key,
                scene.error("recovery", message, "the next dr-seal writes it; or copy it from another store"),
            )));
        }
        Err(dr_store::Error::Damaged { .. }) => Vec::new(),
        text => text?,
    };
    let differs = || {
        let message = format!("{key} is not the text of this version: an older one, or changed");
        on(key, scene.note("recovery", message, "see what it says, before somebody follows it in need"))
    };
    Ok((text != RECOVERY.as_bytes()).then(differs))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn f06_what_has_no_manifest_is_an_orphan_and_what_does_not_belong_is_unknown() {
        let listed = |key: &str| Listed { key: key.into(), bytes: 1, modified_at: None };
        let files = ["c/dump/a.b.json", "c/dump/n.json", "c/dump/gone.tombstone"].map(listed);
        let listing = Listing::default();
        let mut names = Names::of(&files, &listing);
        names.objects.insert((Kind::Dump, "n"), "n.tar.zst");
        for (file, stray) in [
            ("n.json", Stray::Known),
            ("n.json.minisig", Stray::Known),
            ("n.tar.zst", Stray::Known),
            ("n.tar.zst.age", Stray::Unknown),
            ("n", Stray::Unknown),
            ("a.b.tar", Stray::Known),
            ("a.c.tar", Stray::Orphan),
            ("gone.tar", Stray::Known),
            ("gone.json.minisig", Stray::Known),
            ("m.json.minisig", Stray::Orphan),
            ("m.tar.zst.age", Stray::Orphan),
            ("x/y", Stray::Unknown),
            (".hidden", Stray::Unknown),
        ] {
            assert_eq!(names.judge(Kind::Dump, file), stray, "{file}");
        }
        assert_eq!(names.judge(Kind::Base, "n.tar.zst"), Stray::Orphan);
    }
}
