//! Takes the mark off a backup or a range of WAL, while its data is whole.

use std::collections::BTreeSet;

use dr_catalogue::name;
use dr_pipe::record::{Backup, Record};
use dr_pipe::{Exit, Failure, Outcome, warn};
use dr_store::{Listed, Removed, Store};
use dr_wal::{SegmentName, layout};

use crate::TOOL;
use crate::args::Args;
use crate::delete::tell;
use crate::wal::{self, Wal};
use crate::{grave, plan, survey};

/// What takes a mark off does not change the policy.
const AGAIN: &str = "the next run marks it again unless it is pinned: --pin NAME of dr-prune, or DR_PIN in the settings";

/// Removes the tombstones of `named` in every store, and tells of each backup that is rescued.
///
/// # Errors
/// 66 where nothing of that name is marked, or its data is not whole any more.
pub fn undelete(args: &Args, named: &str) -> Outcome {
    survey::apart(args)?;
    let mut found = false;
    for location in &args.from {
        let store = survey::open(location, args)?;
        let listed = store.list(&args.cluster.as_ref().map(|cluster| format!("{cluster}/")).unwrap_or_default())?;
        for cluster in plan::clusters(listed.iter().map(|listed| listed.key.as_str())) {
            for Listed { key, .. } in listed.iter().filter(|listed| listed.key.starts_with(&format!("{cluster}/"))) {
                if let Some((_, kind, _)) = name::of_tombstone(key).filter(|(.., name)| *name == named) {
                    let listing = survey::list(location, &cluster, args, None)?;
                    let marked = listing.deleted.into_iter().map(|marked| marked.entry);
                    let mut backups = listing.entries.into_iter().chain(marked).map(|entry| entry.backup);
                    let backup = backups.find(|backup| backup.manifest.kind == kind && backup.manifest.name == named);
                    let backup = backup.ok_or_else(|| late(named))?;
                    unmark(&store, key)?;
                    if store.size(&name::manifest_key(&cluster, kind, named))?.is_none() {
                        return Err(late(named));
                    }
                    warn_of_wal(&cluster, &backup, &listed);
                    tell(&Record::Backup(Box::new(backup)))?;
                    if !found {
                        warn(TOOL, AGAIN);
                    }
                    found = true;
                } else if grave::ends(key).is_some_and(|(first, last)| named == format!("{first}-{last}")) {
                    unmark(&store, key)?;
                    if !found {
                        warn(TOOL, format!("what was removed of {named} before is gone: dr-verify tells whether WAL is missing"));
                    }
                    found = true;
                }
            }
        }
    }
    if found {
        return Ok(Exit::Good);
    }
    Err(Failure::new(
        Exit::Missing,
        format!("nothing that is named {named} is marked for deletion"),
        "dr-list --deleted shows what is",
    ))
}

/// A base is of no use without its own WAL: that may be gone, or go yet.
fn warn_of_wal(cluster: &str, backup: &Backup, listed: &[Listed]) {
    let name = &backup.manifest.name;
    let Some(needs) = backup.manifest.produced.base.as_ref().and_then(wal::own) else { return };
    let wal = Wal::new(cluster, listed);
    let there: BTreeSet<&SegmentName> = wal.segments().collect();
    let missing: Vec<&SegmentName> = needs.iter().filter(|segment| !there.contains(segment)).collect();
    if let Some(first) = missing.first() {
        let count = missing.len();
        warn(TOOL, format!("{count} segments of WAL that {name} needs are not in this store, the first of them {first}"));
    }
    let of_cluster = listed.iter().filter(|listed| listed.key.starts_with(&layout::root(cluster)));
    for (first, last) in of_cluster.filter_map(|listed| grave::ends(&listed.key)) {
        if needs.iter().any(|segment| first <= *segment && *segment <= last) {
            warn(TOOL, format!("{name} needs WAL that is marked: take that off, too, with --undelete {first}-{last}"));
        }
    }
}

/// The tombstone first: what is left is no mark.
fn unmark(store: &Store, key: &str) -> Result<(), Failure> {
    for key in [key.to_owned(), format!("{key}{}", name::MINISIG)] {
        if let Removed::Held { until } = store.remove(&key)? {
            let until = until.map_or_else(|| "for good".into(), |until| format!("until {until}"));
            let hint = "as long as it is there, copy the backup elsewhere: dr-pull gets it by its name";
            return Err(Failure::new(Exit::Denied, format!("{key} is locked {until}"), hint));
        }
    }
    Ok(())
}

fn late(named: &str) -> Failure {
    Failure::new(Exit::Missing, format!("{named} is marked, and its data is not whole any more"), "look for it in another store")
}
