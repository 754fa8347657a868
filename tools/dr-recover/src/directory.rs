//! The directory that is to become a data directory: may it be written to, and what is in it?

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use dr_pipe::{Exit, Failure, Sha256};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::process::{Pid, geteuid, test_kill_process};
use serde::{Deserialize, Serialize};

/// Lies in a directory whose restore is not complete.
pub const MARKER: &str = "dr-recover.json";
/// The same while it is written.
const UNFINISHED: &str = "dr-recover.json.new";

/// What is being restored: whoever finds it knows what the files around it are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The backup's name.
    pub backup: String,
    /// SHA-256 of its object.
    pub sha256: Sha256,
    /// The cluster's system identifier.
    pub system_identifier: Option<String>,
    /// Where its tablespaces go.
    pub tablespaces: Vec<PathBuf>,
    /// When it was begun.
    pub started_at: DateTime<Utc>,
}

/// What a directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is not there, or there is nothing in it.
    Free,
    /// A restore was begun in it.
    Begun(Marker),
    /// It has other entries: the first of them.
    Taken(Vec<String>),
}

/// Looks at a directory.
///
/// # Errors
/// 73 where it is no directory; 77 where it belongs to somebody else; 80 where a server runs in it.
pub fn look(path: &Path) -> Result<State, Failure> {
    let failed = |error: io::Error| Failure::io(path.display(), &error).leaving("nothing was written");
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Free),
        // A link to a directory is as good as one: data directories are put on other disks so.
        Ok(metadata) if metadata.is_symlink() => fs::metadata(path).map_err(failed)?,
        metadata => metadata.map_err(failed)?,
    };
    if !metadata.is_dir() {
        let message = format!("{} is there, and is no directory", path.display());
        return Err(Failure::new(Exit::Exists, message, "name another place with --into; nothing was written"));
    }
    if metadata.uid() != geteuid().as_raw() {
        let message = format!("{} belongs to user {}, and this runs as {}", path.display(), metadata.uid(), geteuid().as_raw());
        return Err(Failure::new(
            Exit::Denied,
            message,
            "PostgreSQL starts only in a directory of its own user; nothing was written",
        ));
    }
    if let Some(pid) = running(path).map_err(failed)? {
        let message = format!("{}: a server runs there, process {pid}", path.display());
        return Err(Failure::new(
            Exit::Refused,
            message,
            "stop it, or name another place with --into; if that process is no PostgreSQL, remove postmaster.pid; nothing was written",
        ));
    }
    if let Some(marker) = marker(path) {
        return Ok(State::Begun(marker));
    }
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    // A run that was killed before anything else was there.
    names.retain(|name| name != UNFINISHED);
    names.sort_unstable();
    Ok(if names.is_empty() { State::Free } else { State::Taken(names.into_iter().take(5).collect()) })
}

/// Why a directory that is taken is not touched.
pub fn taken(path: &Path, names: &[String], way_out: &str) -> Failure {
    let message = format!("{} is not empty: it has {}", path.display(), names.join(", "));
    Failure::new(Exit::Exists, message, format!("{way_out}; nothing was written"))
}

/// The process id of the server that runs in a data directory, by its `postmaster.pid`; none where that process is gone.
///
/// # Errors
/// Where the file cannot be read.
pub fn running(path: &Path) -> io::Result<Option<i32>> {
    let text = match fs::read_to_string(path.join("postmaster.pid")) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        text => text?,
    };
    // A single-user server has a negative number.
    let number = text.lines().next().and_then(|line| line.trim().parse::<i32>().ok()).map(i32::abs);
    let Some(pid) = number.and_then(Pid::from_raw) else { return Ok(None) };
    match test_kill_process(pid) {
        Err(rustix::io::Errno::SRCH) => Ok(None),
        _ => Ok(number),
    }
}

/// The marker of a restore that was begun there.
pub fn marker(path: &Path) -> Option<Marker> {
    serde_json::from_slice(&fs::read(path.join(MARKER)).ok()?).ok()
}

/// Makes a directory that is not there, and all above it, for its owner alone; and takes others' rights to one that is.
///
/// # Errors
/// 74 or 77 as the file system says.
pub fn make(path: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::io(path.display(), &error);
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(failed)?,
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed)
}

/// Says what is being restored, durably, before anything else is written.
///
/// # Errors
/// 74 or 77 as the file system says.
pub fn mark(path: &Path, marker: &Marker) -> Result<(), Failure> {
    let (file, unfinished) = (path.join(MARKER), path.join(UNFINISHED));
    let failed = |error: io::Error| Failure::io(file.display(), &error);
    let text = serde_json::to_vec(marker).expect("texts and numbers make JSON");
    // Half of it would look like somebody else's.
    let mut open = File::create(&unfinished).map_err(failed)?;
    open.write_all(&text).and_then(|()| open.sync_all()).map_err(failed)?;
    #[expect(clippy::disallowed_methods, reason = "the marker of an earlier run of the same restore is replaced")]
    let renamed = fs::rename(&unfinished, &file);
    renamed.map_err(failed)?;
    File::open(path).and_then(|directory| directory.sync_all()).map_err(failed)
}

/// Renames a directory to `<path>_before_<time>`, or with a number behind that where it is taken, and gives that name.
///
/// # Errors
/// 74 where it cannot be renamed, such as a mount point.
pub fn move_aside(path: &Path, now: DateTime<Utc>) -> Result<PathBuf, Failure> {
    let dated = beside(path, &format!("before_{}", now.format("%Y%m%dT%H%M%SZ")));
    let mut aside = dated.clone();
    for number in 2.. {
        match renameat_with(CWD, path, CWD, &aside, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::EXIST) => aside = beside(&dated, &number.to_string()),
            Err(error) => {
                let mut failure = Failure::io(format!("renaming {} to {}", path.display(), aside.display()), &error.into());
                failure.hint =
                    "it cannot be renamed where a file system is mounted on it: move what is in it by hand; nothing was written"
                        .into();
                return Err(failure);
            }
            Ok(()) => break,
        }
    }
    Ok(aside)
}

/// `<path>_<suffix>`, in the same directory.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!("{name}_{suffix}"))
}

/// Makes a file where `path` is, or will be, and removes it.
///
/// # Errors
/// 74 or 77 as the file system says.
pub fn try_writing(path: &Path) -> Result<(), Failure> {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let file = there.join(format!(".dr-recover.{}", std::process::id()));
    let tried = File::create_new(&file).and_then(|_| fs::remove_file(&file));
    tried.map_err(|error| Failure::io(there.display(), &error).leaving("nothing was written"))
}

/// Bytes that are free for us where `path` is, or will be; and which file system that is.
///
/// # Errors
/// 74 as the file system says.
pub fn free(path: &Path) -> Result<(u64, u64), Failure> {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let failed = |error: io::Error| Failure::io(there.display(), &error);
    let space = rustix::fs::statvfs(there).map_err(|error| failed(error.into()))?;
    Ok((fs::metadata(there).map_err(failed)?.dev(), space.f_bavail.saturating_mul(space.f_frsize)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn f81_a_mark_that_was_not_finished_is_nobodys_and_two_are_moved_aside_within_a_second() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("x");
        let now = "2026-01-25T02:00:00Z".parse().unwrap();
        for expected in ["x_before_20260125T020000Z", "x_before_20260125T020000Z_2", "x_before_20260125T020000Z_3"] {
            make(&path).unwrap();
            fs::write(path.join(UNFINISHED), "{").unwrap();
            assert!(matches!(look(&path).unwrap(), State::Free));
            assert_eq!(move_aside(&path, now).unwrap(), scratch.path().join(expected));
        }
    }
}
