//! Where do tools remember what they have seen? In one directory that nothing needs in order to restore.

use std::fmt;
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
    std::fs::create_dir_all(directory).map_err(|error| Failure::directory(directory, &error))
}

/// A state file that is there, and does not say any more what was remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be read any more ({})", self.path.display(), self.why)
    }
}

/// What was remembered under `name`; none if nothing was, or it cannot be read any more. It is for what is only done or told once more
/// where it is forgotten: what dr-notify has told, what dr-verify has read, whose keys a drill has proved; and for dr-check, which
/// then counts the time that something is away from now on. Where a promise hangs on it, [`witnessed`] is to be asked.
pub fn recall<T: DeserializeOwned>(name: &str) -> Option<T> {
    witnessed(name).ok().flatten()
}

/// What was remembered under `name`; none only if nothing was, as far as may be seen.
///
/// # Errors
/// [`Lost`] where the file is there and does not say it any more. What that means, whoever asks has to say: the catalogue and
/// dr-wal-push warn, and begin anew, as no restore and no archiving is to wait for a witness; a directory that may be an empty mount
/// point is not made a store; and a refusal that dr-wal-receive remembers stays one.
pub fn witnessed<T: DeserializeOwned>(name: &str) -> Result<Option<T>, Lost> {
    directory().map_or(Ok(None), |directory| read(&directory.join(name)))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Lost> {
    let lost = |why: String| Lost { path: path.into(), why };
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| lost(error.to_string())),
        // In a directory that may not be entered nothing was ever seen.
        Err(_) if path.symlink_metadata().is_err() => Ok(None),
        Err(error) => Err(lost(error.to_string())),
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_never_remembered_is_none_and_what_cannot_be_read_is_lost() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a.json");
        assert_eq!(read::<u8>(&path), Ok(None));
        assert_eq!(read::<u8>(&path.join("below")), Ok(None));
        for (text, is_lost) in [("7", false), ("", true), ("{", true), ("[7]", true), ("7 7", true)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read::<u8>(&path).is_err(), is_lost, "{text}");
        }
        std::fs::write(&path, "7").unwrap();
        assert_eq!(read(&path), Ok(Some(7_u8)));
        assert_eq!(read::<u8>(&path.join("below")), Ok(None), "its directory is none");
        let lost = read::<u8>(scratch.path()).unwrap_err();
        assert_eq!(lost.to_string(), format!("{} cannot be read any more ({})", scratch.path().display(), lost.why));
    }
}
