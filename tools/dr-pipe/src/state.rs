//! Where do tools remember what they have seen? In one directory that nothing needs in order to restore.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

use crate::{Failure, owner};

/// The state directory: `$DR_STATE`, systemd's `$STATE_DIRECTORY`, `/var/lib/dr` for root, else `$XDG_STATE_HOME/dr`
/// (`~/.local/state/dr`). None where not even a home is known.
pub fn directory() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("DR_STATE")
        .or_else(|| named("STATE_DIRECTORY"))
        .or_else(|| rustix::process::geteuid().is_root().then(|| "/var/lib/dr".into()))
        .or_else(|| named("XDG_STATE_HOME").map(|home| home.join("dr")))
        .or_else(|| named("HOME").map(|home| home.join(".local/state/dr")))
}

/// Makes the state directory, or one in it, where it is missing.
///
/// # Errors
/// 74 or 77 as the file system says, with the name of whoever owns what is in the way.
pub fn make(directory: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(directory).map_err(|error| Failure::file(directory, &error))
}

/// What was remembered under `name`; none if nothing was, or it cannot be read any more.
pub fn recall<T: DeserializeOwned>(name: &str) -> Option<T> {
    let text = std::fs::read(directory()?.join(name)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Remembers `value` under `name` (a file name), whole or not at all.
///
/// # Errors
/// Any input/output error, with whose the directory is; callers warn and go on, as state is a witness, not a need.
pub fn remember<T: Serialize>(name: &str, value: &T) -> io::Result<()> {
    let directory = directory().ok_or_else(|| io::Error::other("no state directory: set DR_STATE"))?;
    let path = directory.join(name);
    let write = || -> io::Result<()> {
        std::fs::create_dir_all(&directory)?;
        let mut file = replacement(&path)?;
        serde_json::to_writer(&mut file, value)?;
        file.flush()?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        Ok(())
    };
    write().map_err(|error| {
        let Failure { message, hint, .. } = Failure::file(&directory, &error);
        io::Error::new(error.kind(), format!("{message} ({hint})"))
    })
}

/// Opens a plain file, such as those of the state directory. A named pipe in its place would keep us waiting for ever, and a link
/// would lead to somebody else's file.
///
/// # Errors
/// As the file system says, and where it is no plain file.
pub fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = options.clone().custom_flags(flags.bits() as i32).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no plain file")) }
}

/// Opens a plain file, or makes it where it is missing: for its owner alone, who is that of the directory where root makes it.
///
/// # Errors
/// As [`open`].
pub fn create(options: &OpenOptions, path: &Path) -> io::Result<File> {
    loop {
        match open(options.clone().create_new(true).mode(0o600), path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.inspect(|file| owner::hand_over(file, path)),
        }
        match open(options, path) {
            // Somebody has removed it in between.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
    }
}

/// A file that takes the place of `path` once it is complete: for its owner alone, who is that of the directory where root makes it.
///
/// # Errors
/// As the file system says.
pub fn replacement(path: &Path) -> io::Result<NamedTempFile> {
    let file = NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    owner::hand_over(file.as_file(), path);
    Ok(file)
}
