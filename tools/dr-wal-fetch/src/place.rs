//! How does a file get under its name? Whole, at once, and only if the name is free.
//!
//! Nothing is synced. If the host loses power, recovery begins again, and the server asks again, having removed the file first;
//! what it keeps in pg_wal it syncs itself (`KeepFileRestoredFromArchive`).

use std::fs::File;
use std::io;
use std::path::Path;

use dr_pipe::stop::{gate, on_stop};
use dr_pipe::{Exit, Failure, output};
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Writes a file, its owner's alone; on any error nothing is there.
///
/// # Errors
/// 73 where the name is taken; 74, 66 or 77 as the file system says.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_by(path, |file| output::write_all(file, bytes))
}

/// Copies a file from another file system.
///
/// # Errors
/// As [`write`].
pub fn copy(from: &Path, path: &Path) -> Result<(), Failure> {
    write_by(path, |file| io::copy(&mut File::open(from)?, file).map(drop))
}

fn write_by(path: &Path, bytes: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), Failure> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::new(Exit::Exists, format!("{} exists already", path.display()), "remove it, or name another place")
        }
        _ => Failure::io(path.display(), &error),
    };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let begun = gate();
    let mut file = tempfile::Builder::new().prefix(".dr-wal-fetch-").tempfile_in(directory).map_err(failed)?;
    let unfinished = file.path().to_owned();
    let _on_stop = on_stop(move || std::fs::remove_file(unfinished).unwrap_or_default());
    drop(begun);
    bytes(file.as_file_mut()).map_err(failed)?;
    file.persist_noclobber(path).map(drop).map_err(|error| failed(error.error))
}

/// Gives a file another name, which must be free, in the same file system.
///
/// # Errors
/// As the file system says.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}
