//! Which objects lie below a directory?

use std::io;
use std::path::Path;

use chrono::{DateTime, Utc};
use walkdir::{DirEntry, WalkDir};

use crate::key::{MARKER, TEMPORARY};
use crate::{Error, Listed};

/// All regular files below `root` whose key starts with `prefix`, sorted by key; temporary files and the marker are none.
pub(super) fn list(root: &Path, prefix: &str) -> Result<Vec<Listed>, Error> {
    let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut listed = Vec::new();
    let walk = WalkDir::new(root.join(folder)).min_depth(1).into_iter();
    for entry in walk.filter_entry(may_hold_objects) {
        match entry.map_err(io::Error::from).and_then(|entry| object(root, prefix, &entry)) {
            Ok(object) => listed.extend(object),
            // A temporary file that went while we looked, or a folder that never was.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(root.join(folder).display(), error)),
        }
    }
    listed.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    Ok(listed)
}

/// Temporary files hold none, nor does what a file system keeps at its own root.
fn may_hold_objects(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    !(name.starts_with(TEMPORARY) || name == "lost+found" && entry.file_type().is_dir())
}

fn object(root: &Path, prefix: &str, entry: &DirEntry) -> io::Result<Option<Listed>> {
    let key = entry.path().strip_prefix(root).ok().and_then(Path::to_str);
    let Some(key) = key.filter(|key| key.starts_with(prefix) && *key != MARKER) else { return Ok(None) };
    if !entry.file_type().is_file() {
        return Ok(None);
    }
    let metadata = entry.metadata()?;
    let modified_at = metadata.modified().ok().map(DateTime::<Utc>::from);
    Ok(Some(Listed { key: key.into(), bytes: metadata.len(), modified_at }))
}
