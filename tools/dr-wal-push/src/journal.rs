//! What was pushed ahead of being asked for? Remembered on this host, so that the answer needs neither store nor segment.
//!
//! An entry says that a file was durable in the stores; it need not be durable itself: without it the file is pushed again.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dr_pipe::{Sha256, state};
use serde::{Deserialize, Serialize};

use crate::asked::{Asked, Identity};

/// Entries that nobody asked for in so long a time are removed.
const OLD: Duration = Duration::from_secs(24 * 3600);

/// Largest entry that is read, in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// The entries of one cluster on this host, for one set of stores.
#[derive(Debug)]
pub struct Journal {
    /// None where this host has no place for state.
    folder: Option<PathBuf>,
    settings: Settings,
}

/// What must be the same for an entry to count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The stores.
    pub stores: Vec<String>,
    /// How many of them must hold a file.
    pub required: usize,
}

/// A file that is durable in the stores.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    path: PathBuf,
    identity: Identity,
    sha256: Sha256,
    settings: Settings,
}

impl Journal {
    /// That of `cluster`.
    pub fn of(cluster: &str, settings: Settings) -> Self {
        Journal { folder: state::directory().map(|state| state.join("wal").join(cluster).join("pushed")), settings }
    }

    /// Whether this very file was pushed under these settings; the entry is used up by that.
    pub fn answers(&self, asked: &Asked) -> bool {
        let answers = self.holds(asked);
        if let Some(file) = self.file(asked) {
            // Used up, or of no use any more. One that cannot be removed is as good the next time, while the file is the same.
            drop(fs::remove_file(file));
        }
        answers
    }

    /// Whether this very file was pushed under these settings.
    pub fn holds(&self, asked: &Asked) -> bool {
        let entry = self.file(asked).and_then(|file| read(&file));
        entry.is_some_and(|entry| {
            asked.identity() == Some(entry.identity) && entry.settings == self.settings && entry.path == absolute(asked)
        })
    }

    /// Notes that a file, as it was when it was read, is durable in the stores.
    ///
    /// # Errors
    /// Says why not, as a warning: then the file is pushed again when it is asked for.
    pub fn note(&self, asked: &Asked, identity: Identity, sha256: Sha256) -> Result<(), String> {
        let folder = self.folder.as_deref().ok_or("there is no state directory: set DR_STATE")?;
        let entry = Entry { path: absolute(asked), identity, sha256, settings: self.settings.clone() };
        let written = write(folder, &asked.name.to_string(), &entry);
        written.map_err(|error| format!("cannot remember what was pushed ahead, in {}: {error}", folder.display()))
    }

    /// Removes the entries that nobody has asked for in a day, and what a killed run has left.
    pub fn clean(&self) {
        let entries = self.folder.as_deref().map(fs::read_dir);
        for entry in entries.into_iter().flatten().flatten().flatten() {
            let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|modified| modified.elapsed().ok());
            if age.is_some_and(|age| age > OLD) {
                // What cannot be removed is tried again with the next batch.
                drop(fs::remove_file(entry.path()));
            }
        }
    }

    fn file(&self, asked: &Asked) -> Option<PathBuf> {
        Some(self.folder.as_deref()?.join(asked.name.to_string()))
    }
}

fn absolute(asked: &Asked) -> PathBuf {
    std::path::absolute(&asked.path).unwrap_or_else(|_| asked.path.clone())
}

fn read(file: &Path) -> Option<Entry> {
    let metadata = fs::symlink_metadata(file).ok()?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return None;
    }
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// Whole or not at all, but not synced.
fn write(folder: &Path, name: &str, entry: &Entry) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&serde_json::to_vec(entry)?)?;
    file.persist(folder.join(name))?;
    Ok(())
}
