//! Which tablespaces does the replay make? PostgreSQL makes each where it was, whatever lies there now: beside the server that it
//! comes from, in that server's own files.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dr_catalogue::Entry;
use dr_pipe::record::Tablespace;
use dr_pipe::{Exit, Failure, warn};
use dr_wal::stamps::{self, Creation, Scan};
use dr_wal::{Lsn, SegmentName};

use crate::TOOL;
use crate::choose::{Chosen, Goal};
use crate::log::{Log, ends_transaction};
use crate::stored::Archive;
use crate::survey::Survey;
use crate::tablespaces::Placed;
use crate::timed::is_after;

/// Whether one may have been made on the way to the target: by WAL that was read anyway, or as a later base has one that this
/// backup has not, in a directory that is in use here.
pub fn suspected(chosen: &Chosen, ours: &[Tablespace], system: Option<&str>, entries: &[Entry], log: &Log<'_>) -> bool {
    let later = entries.iter().filter(|entry| entry.backup.manifest.produced.system_identifier.as_deref() == system);
    let later = later.filter_map(|entry| entry.backup.manifest.produced.base.as_ref());
    let later = later.filter(|base| base.stop_lsn.parse::<Lsn>().is_ok_and(|stop| stop > chosen.base.stop));
    let mut others = later.flat_map(|base| &base.tablespaces).filter(|other| ours.iter().all(|known| known.oid != other.oid));
    others.any(|other| in_the_way(Path::new(&other.path), None).is_some())
        || log.creations().iter().any(|lsn| *lsn >= chosen.base.start)
}

/// The tablespaces that are made between the beginning of the base and the target. Reads all WAL between them, `at_once` segments at
/// a time.
///
/// # Errors
/// As reading it.
pub fn creations(chosen: &Chosen, survey: &Survey<'_>, archive: &Archive, at_once: usize) -> Result<Vec<Creation>, Failure> {
    let segments = &chosen.reach.segments[..chosen.segments.min(chosen.reach.segments.len())];
    let (inside, fetched) = segments.split_at(chosen.reach.inside.min(segments.len()));
    let count = segments.len();
    warn(TOOL, format!("tablespaces were made after {}: {count} segments of WAL are read, to know where", chosen.base.name));
    let (mut made, mut begun) = (Vec::new(), None);
    for batch in inside.chunks(at_once).chain(fetched.chunks(at_once)) {
        let read = |name: &SegmentName| scan(name, inside.contains(name).then_some(archive), survey);
        let scans: Result<Vec<_>, Failure> = std::thread::scope(|scope| {
            let threads: Vec<_> = batch.iter().map(|name| scope.spawn(move || read(name))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a panic ends the process")).collect()
        });
        for (mut scan, mut creations) in scans? {
            let left = scan.leaves(begun.as_ref());
            if let Some((whole, more)) = begun.and_then(|begun| scan.completed(&begun)) {
                scan = whole;
                creations.splice(0..0, more);
            }
            begun = left;
            let end = end(chosen, &scan);
            let on_the_way =
                |lsn: Lsn| lsn >= chosen.base.start && end.is_none_or(|end| lsn < end || lsn == end && chosen.inclusive);
            made.extend(creations.into_iter().filter(|creation| on_the_way(creation.lsn)));
            if end.is_some_and(|end| end < scan.end) {
                return Ok(made);
            }
        }
    }
    Ok(made)
}

fn scan(name: &SegmentName, inside: Option<&Archive>, survey: &Survey<'_>) -> Result<(Scan, Vec<Creation>), Failure> {
    let bytes = match inside {
        Some(archive) => archive.member(&format!("pg_wal/{name}"), survey.held.size.bytes())?,
        None => survey.read(&(*name).into())?,
    };
    let gone = || dr_wal::Error::Damaged { object: name.to_string(), why: "it is not there any more".into() };
    Ok(stamps::scan_for_tablespaces(&bytes.ok_or_else(gone)?, name)?)
}

/// Where replay ends, where that is known; for a moment, if it is in this segment.
fn end(chosen: &Chosen, scan: &Scan) -> Option<Lsn> {
    match &chosen.goal {
        Goal::End => None,
        Goal::Consistent => Some(chosen.base.stop),
        Goal::Lsn(_) | Goal::Xid(_) => Some(chosen.at_least),
        Goal::Time(at) => {
            let mut ends = scan.stamps.iter().filter(|stamp| ends_transaction(stamp));
            ends.find(|stamp| is_after(stamp.at, *at, chosen.inclusive)).map(|stamp| stamp.lsn)
        }
    }
}

/// The directories that must be there for the replay to make tablespaces in.
///
/// # Errors
/// 80 where one of them has anything in it, or where replay would lead a tablespace of the backup away from where it was placed.
/// What a server left there since it was `held_up` is its own.
pub fn directories(made: &[Creation], placed: &[Placed], held_up: Option<SystemTime>) -> Result<Vec<PathBuf>, Failure> {
    let mut needed = Vec::new();
    for Creation { lsn, oid, path } in made.iter().filter(|creation| creation.path.is_absolute()) {
        let shown = path.display();
        let before = format!("a base taken after it (--backup), or a point before it (--target-lsn {lsn} --exclusive)");
        match placed.iter().find(|placed| placed.oid == *oid) {
            // It was made while the backup was taken, which has it too.
            Some(placed) if placed.to == *path => continue,
            Some(placed) => {
                let to = placed.to.display();
                let hint = format!("leave it where it was: --tablespace {oid}={shown}; or choose a base taken after it (--backup)");
                let message = format!("tablespace {oid} was made during the backup: the replay leads it back from {to} to {shown}");
                return Err(Failure::new(Exit::Refused, message, hint));
            }
            None => {}
        }
        let shared = placed.iter().find(|placed| placed.to.starts_with(path) || path.starts_with(&placed.to));
        let shared = shared.map(|placed| format!("tablespace {} is put there", placed.oid));
        if let Some(why) = shared.or_else(|| in_the_way(path, held_up)) {
            let message = format!("tablespace {oid} was made at {lsn} in {shown}, and the replay would write into it: {why}");
            let hint = format!("recover on a host where that directory is empty or not there, or choose {before}");
            return Err(Failure::new(Exit::Refused, message, hint));
        }
        if !needed.contains(path) {
            warn(TOOL, format!("tablespace {oid} was made after the backup: the replay makes it where it was, in {shown}"));
            needed.push(path.clone());
        }
    }
    Ok(needed)
}

/// Why nothing may be written into a directory; none where it is not there, or empty.
fn in_the_way(path: &Path, held_up: Option<SystemTime>) -> Option<String> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(error.to_string()),
        Ok(entries) => entries,
    };
    let entries = entries.flatten().filter(|entry| !held_up.is_some_and(|since| is_begun(&entry.path(), since)));
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    // What a file system has that was just made.
    let mut names: Vec<_> = names.filter(|name| name != "lost+found").take(5).collect();
    names.sort_unstable();
    if !names.is_empty() {
        return Some(format!("it has {}", names.join(", ")));
    }
    let owner = fs::metadata(path).ok()?.uid();
    (owner != rustix::process::geteuid().as_raw()).then(|| format!("it belongs to user {owner}"))
}

/// Whether this is the empty directory of a version, made since then: PostgreSQL 15 makes it before the link that holds it up.
fn is_begun(path: &Path, since: SystemTime) -> bool {
    let is_version = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("PG_"));
    let is_new = fs::symlink_metadata(path).and_then(|found| found.created()).is_ok_and(|made| made >= since);
    is_version && is_new && fs::read_dir(path).is_ok_and(|mut inside| inside.next().is_none())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn judged(oid: u32, path: &Path, placed: &[(u32, &Path)]) -> Result<Vec<PathBuf>, (Exit, String)> {
        let placed: Vec<_> = placed.iter().map(|(oid, to)| Placed { oid: *oid, to: to.to_path_buf() }).collect();
        let made = [Creation { lsn: Lsn(7), oid, path: path.into() }];
        directories(&made, &placed, None).map_err(|failure| (failure.exit, failure.message))
    }

    #[test]
    fn f79_the_replay_makes_tablespaces_only_where_nothing_is() {
        let place = tempfile::tempdir().unwrap();
        let (empty, taken) = (place.path().join("empty"), place.path().join("taken"));
        fs::create_dir_all(taken.join("PG_15_202209061")).unwrap();
        fs::create_dir_all(empty.join("lost+found")).unwrap();
        assert_eq!(judged(5, &empty, &[]), Ok(vec![empty.clone()]));
        assert_eq!(judged(5, &place.path().join("new"), &[]), Ok(vec![place.path().join("new")]));
        // In the data directory itself.
        assert_eq!(judged(5, Path::new(""), &[]), Ok(vec![]));
        let (exit, message) = judged(5, &taken, &[]).unwrap_err();
        assert!(exit == Exit::Refused && message.ends_with("it has PG_15_202209061"), "{message}");
        assert_eq!(judged(5, &taken, &[(5, &taken)]), Ok(vec![]), "it is the backup's own");
        assert!(judged(5, &taken, &[(5, &empty)]).unwrap_err().1.contains("leads it back from"));
        assert!(judged(5, &empty, &[(6, &empty)]).unwrap_err().1.ends_with("tablespace 6 is put there"));
    }
}
