//! What of an older state of the cluster can stay? A file whose size and SHA-256 are those of the backup; nothing by its time.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use dr_archive::Contents;
use dr_pipe::progress::Progress;
use dr_pipe::{Failure, Tally};

use crate::backup_manifest::Listed;
use crate::directory::MARKER;
use crate::layout::{ADAPTED, LAST, Layout};

/// How much of a file is read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// What becomes of what is there.
#[derive(Debug, Default)]
pub struct Difference {
    /// Members whose files stay.
    pub kept: HashSet<String>,
    /// Their bytes.
    pub kept_bytes: u64,
    /// Files and links that go.
    pub removed: Vec<PathBuf>,
    /// Bytes that come free by it.
    pub removed_bytes: u64,
    /// Directories that nothing of the backup is in; each behind those below it.
    pub directories: Vec<PathBuf>,
}

/// Compares what is there with a backup. `pg_wal` is not looked into.
///
/// # Errors
/// 74 or 77 where something cannot be read.
pub fn compare(
    contents: &Contents,
    listed: &HashMap<String, Listed>,
    layout: &Layout,
    jobs: usize,
    progress: &Progress,
) -> Result<Difference, Failure> {
    let mut wanted: HashMap<PathBuf, &str> = HashMap::with_capacity(listed.len());
    let mut directories: HashSet<PathBuf> = layout.roots().map(Path::to_owned).collect();
    directories.extend(crate::layout::NEEDED.iter().map(|path| layout.data.join(path)));
    for member in contents.members() {
        let Some(path) = layout.of(&member.path) else { continue };
        let mut parent = if member.is_directory() { Some(path.as_path()) } else { path.parent() };
        while let Some(directory) = parent.filter(|directory| !directories.contains(*directory)) {
            directories.insert(directory.to_owned());
            parent = directory.parent();
        }
        if !member.is_directory() {
            wanted.insert(path, &member.path);
        }
    }
    let mut difference = Difference::default();
    let mut candidates = Vec::new();
    for root in layout.roots() {
        walk(root, layout, &directories, &mut difference, &mut |path, bytes| {
            let member = wanted.get(path).filter(|member| !LAST.contains(member) && !ADAPTED.contains(member));
            let expected = member.and_then(|member| Some((*member, *listed.get(*member)?))).filter(|(_, it)| it.bytes == bytes);
            if let Some((member, listed)) = expected {
                candidates.push((path.to_owned(), member.to_owned(), listed));
            }
            expected.is_some()
        })?;
    }
    hash(candidates, jobs, progress, difference)
}

/// Sorts everything below `path`: what `candidate` does not take is removed. Beside the directory of this server's version, a
/// tablespace may have those of other servers, and what a file system has of its own.
fn walk(
    path: &Path,
    layout: &Layout,
    directories: &HashSet<PathBuf>,
    difference: &mut Difference,
    candidate: &mut dyn FnMut(&Path, u64) -> bool,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::io(path.display(), &error);
    let entries = match fs::read_dir(path) {
        // A tablespace that is not there yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    let shared = layout.is_tablespace(path);
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
        if shared && !directories.contains(&path) {
            continue;
        }
        if path == layout.data.join("pg_wal") || path == layout.data.join(MARKER) {
            continue;
        }
        if kind.is_dir() {
            walk(&path, layout, directories, difference, candidate)?;
            if !directories.contains(&path) {
                difference.directories.push(path);
            }
            continue;
        }
        let bytes = if kind.is_file() { entry.metadata().map_err(failed)?.len() } else { 0 };
        if !kind.is_file() || !candidate(&path, bytes) {
            difference.removed.push(path);
            difference.removed_bytes += bytes;
        }
    }
    Ok(())
}

/// Hashes the candidates, largest first so that no thread ends long after the others.
fn hash(
    mut candidates: Vec<(PathBuf, String, Listed)>,
    jobs: usize,
    progress: &Progress,
    difference: Difference,
) -> Result<Difference, Failure> {
    candidates.sort_by_key(|(_, _, listed)| std::cmp::Reverse(listed.bytes));
    let (next, difference) = (AtomicUsize::new(0), Mutex::new(difference));
    let work = || -> Result<(), Failure> {
        let mut buffer = vec![0; CHUNK_BYTES];
        while let Some((path, member, listed)) = candidates.get(next.fetch_add(1, Ordering::Relaxed)) {
            let equal = is(path, listed, &mut buffer).map_err(|error| Failure::io(path.display(), &error))?;
            let mut difference = difference.lock().unwrap_or_else(PoisonError::into_inner);
            if equal {
                progress.add(listed.bytes);
                difference.kept_bytes += listed.bytes;
                difference.kept.insert(member.clone());
            } else {
                difference.removed_bytes += listed.bytes;
                difference.removed.push(path.clone());
            }
        }
        Ok(())
    };
    let results: Vec<Result<(), Failure>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a panic ends the process")).collect()
    });
    results.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(difference.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Whether a file holds what is listed.
fn is(path: &Path, listed: &Listed, buffer: &mut [u8]) -> io::Result<bool> {
    let (mut file, mut tally) = (File::open(path)?, Tally::default());
    loop {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(n) => tally.update(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let extent = tally.extent();
    Ok(extent.bytes == listed.bytes && extent.sha256 == listed.sha256)
}

impl Difference {
    /// Removes what does not belong.
    ///
    /// # Errors
    /// 74 or 77 as the file system says.
    pub fn apply(&self) -> Result<(), Failure> {
        for path in &self.removed {
            match fs::remove_file(path) {
                // What would let a server start has gone first.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Failure::io(path.display(), &error)),
                _ => {}
            }
        }
        for path in &self.directories {
            fs::remove_dir(path).map_err(|error| Failure::io(path.display(), &error))?;
        }
        Ok(())
    }
}
