//! Which server asks? Its data directory is where PATH leads to.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The server that is recovering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its data directory, absolute.
    pub data_directory: PathBuf,
    /// Its system identifier: the first eight bytes of `global/pg_control`, in every version.
    pub system_identifier: u64,
}

impl Server {
    /// The server that a file is for: `pg_wal/RECOVERYXLOG` lies in its data directory, to which PostgreSQL changes first.
    /// None where it is for no server, as when a person looks at a segment.
    pub fn of(path: &Path) -> Option<Server> {
        let directory = std::path::absolute(path).ok()?.parent()?.parent()?.canonicalize().ok()?;
        let mut identifier = [0; 8];
        File::open(directory.join("global/pg_control")).and_then(|mut file| file.read_exact(&mut identifier)).ok()?;
        Some(Server { data_directory: directory, system_identifier: u64::from_ne_bytes(identifier) })
    }
}
