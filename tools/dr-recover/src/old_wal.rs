//! What becomes of the WAL that lies in a directory that is restored over? What nobody else has is kept.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use dr_pipe::Failure;
use dr_wal::{SegmentName, WalName, header};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::directory::beside;
use crate::survey::Survey;

/// Empties `pg_wal`. Segments and histories that are in no store go to `<data>_pg_wal_before_<time>`, whose name is given; what is
/// in a store, or is only space kept for later segments, is removed.
///
/// # Errors
/// 74 or 77 as the file system says.
pub fn clear(data: &Path, survey: &Survey<'_>, now: DateTime<Utc>) -> Result<Option<PathBuf>, Failure> {
    let folder = data.join("pg_wal");
    let aside = beside(data, &format!("pg_wal_before_{}", now.format("%Y%m%dT%H%M%SZ")));
    let failed = |error: io::Error| Failure::io(folder.display(), &error);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(failed)?,
    };
    let mut kept = false;
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            fs::remove_dir_all(&path).map_err(failed)?;
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()?.parse::<WalName>().ok());
        let only_here = name.is_some_and(|name| !survey.has(&name) && is_wal(&path, &name));
        if !only_here {
            fs::remove_file(&path).map_err(failed)?;
            continue;
        }
        kept = true;
        fs::create_dir_all(&aside).map_err(failed)?;
        let to = aside.join(path.file_name().unwrap_or_default());
        match renameat_with(CWD, &path, CWD, &to, RenameFlags::NOREPLACE) {
            // pg_wal on another disk.
            Err(rustix::io::Errno::XDEV) => fs::copy(&path, &to).and_then(|_| fs::remove_file(&path)).map_err(failed)?,
            renamed => renamed.map_err(|error| failed(error.into()))?,
        }
    }
    Ok(kept.then_some(aside))
}

/// Whether a file holds WAL of its name; a segment that is kept for later holds what an older one did.
fn is_wal(path: &Path, name: &WalName) -> bool {
    let segment: &SegmentName = match name {
        WalName::Segment(segment) | WalName::Partial(segment) => segment,
        _ => return true,
    };
    let mut first = vec![0; header::LONG_HEADER_BYTES];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut first));
    // What cannot be read is kept, to be sure.
    read.is_err() || header::check_beginning(&first, segment).is_ok()
}
