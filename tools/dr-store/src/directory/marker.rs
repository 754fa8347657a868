//! Is this directory the store it was, or an empty mount point?
//!
//! A store's root holds `dr-store.json` with a random id; this host remembers the id of each path it has written to, and
//! the file system it was on. A marker that is gone while the file system is the same means that somebody has removed the
//! store; on another file system it means that the store's own is not mounted.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use dr_pipe::state;
use serde::{Deserialize, Serialize};

use super::publish::{self, DirectoryUpload, Durable};
use crate::Error;
use crate::key::MARKER;

/// Name of the state that holds what was seen at each path, as a JSON object.
const STATE: &str = "stores.json";

/// Largest marker that is read, in bytes: ours have 53.
const MAX_BYTES: u64 = 64 << 10;

/// What was seen at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    id: String,
    /// `st_dev` of the store's root.
    device: u64,
}

#[derive(Serialize, Deserialize)]
struct Marker {
    format: u32,
    id: String,
}

/// What lies at the path of a store.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Unmarked,
    Marked(String),
}

/// What to do about it.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Create,
    Accept,
    Refuse(&'static str),
}

/// `device` is that of the path now, or of the directory it would be made in.
fn judge(found: &Found, device: u64, remembered: Option<&Seen>) -> Verdict {
    match (found, remembered) {
        (Found::Nothing | Found::Unmarked, Some(seen)) if seen.device == device => Verdict::Create,
        (Found::Nothing | Found::Unmarked, None) => Verdict::Create,
        (Found::Nothing, Some(_)) => Verdict::Refuse("it was a store before, and is not there now: not mounted?"),
        (Found::Unmarked, Some(_)) => {
            Verdict::Refuse("it was a store before, and its marker dr-store.json is missing now: not mounted?")
        }
        (Found::Marked(id), Some(seen)) if *id != seen.id => {
            Verdict::Refuse("another store is in its place: its marker dr-store.json has another id than before")
        }
        (Found::Marked(_), _) => Verdict::Accept,
    }
}

/// The file system that `root` is on, or would be made on.
fn device_of(root: &Path) -> Result<u64, Error> {
    let metadata = root.metadata().or_else(|error| root.parent().map_or(Err(error), Path::metadata));
    metadata.map(|metadata| metadata.dev()).map_err(|error| Error::io(root.display(), error))
}

/// Opens the store at `path`, making it one where this host has not seen it before; gives its canonical path and warnings.
pub(super) fn open_for_write(path: &Path) -> Result<(PathBuf, Vec<String>), Error> {
    let (root, found) = look(path)?;
    let known = recall(path, &found)?;
    match judge(&found, device_of(&root)?, known.get(&name_of(&root))) {
        Verdict::Refuse(why) => Err(Error::NotMounted { store: path.display().to_string(), why: why.into() }),
        Verdict::Create => {
            let mut warnings = vec![format!("{} was no store before: it is one now, marked by {MARKER}", path.display())];
            warnings.extend(adopt(&root, found)?);
            Ok((root, warnings))
        }
        Verdict::Accept => {
            let warnings = adopt(&root, found)?.into_iter().collect();
            Ok((root, warnings))
        }
    }
}

/// Makes `path` a store, or accepts the one that is there, whatever was remembered.
pub(super) fn init(path: &Path) -> Result<(PathBuf, Vec<String>), Error> {
    let (root, found) = look(path)?;
    let warnings = adopt(&root, found)?.into_iter().collect();
    Ok((root, warnings))
}

/// Passes a directory that is marked as a store.
///
/// # Errors
/// [`Error::Config`] where it is not, [`Error::Io`] where that cannot be told.
pub(super) fn require(path: &Path) -> Result<(), Error> {
    match read(path)? {
        Some(_) => Ok(()),
        // Who reads is not told how to make a new one: on a disk that is not mounted, that would be an empty one.
        None => Err(Error::Config {
            object: path.display().to_string(),
            why: format!("it is no store: there is no {MARKER} in it (not mounted?)"),
            hint: "mount it, or name the right place: the directory that holds those of clusters".into(),
        }),
    }
}

/// The canonical path, and what lies there.
fn look(path: &Path) -> Result<(PathBuf, Found), Error> {
    match path.canonicalize() {
        Ok(root) if !root.is_dir() => Err(Error::io(path.display(), io::Error::from(io::ErrorKind::NotADirectory))),
        Ok(root) => {
            let found = read(&root)?.map_or(Found::Unmarked, |marker| Found::Marked(marker.id));
            Ok((root, found))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
            match (parent.map(Path::canonicalize), path.file_name()) {
                (Some(Ok(parent)), Some(name)) => Ok((parent.join(name), Found::Nothing)),
                _ => Err(Error::NotMounted {
                    store: path.display().to_string(),
                    why: "neither it nor the directory it would be in exists: not mounted?".into(),
                }),
            }
        }
        Err(error) => Err(Error::io(path.display(), error)),
    }
}

fn read(root: &Path) -> Result<Option<Marker>, Error> {
    let path = root.join(MARKER);
    let text = match path.metadata().and_then(|metadata| small_file(&metadata)).and_then(|()| std::fs::read(&path)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(wrong(&path, error.to_string())),
        Err(error) => return Err(Error::io(path.display(), error)),
    };
    match serde_json::from_slice::<Marker>(&text) {
        Ok(marker) if marker.format == 1 => Ok(Some(marker)),
        Ok(marker) => Err(wrong(&path, format!("format {} is newer than this program", marker.format))),
        Err(error) => Err(wrong(&path, error.to_string())),
    }
}

/// A pipe in its place would be waited for, and a huge file fill the memory.
fn small_file(metadata: &std::fs::Metadata) -> io::Result<()> {
    if metadata.is_file() && metadata.len() <= MAX_BYTES {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "not a small regular file"))
}

fn wrong(path: &Path, why: String) -> Error {
    let hint = "restore the marker, or move it away and run dr-push --init --to DIR";
    Error::Config { object: path.display().to_string(), why, hint: hint.into() }
}

/// Creates what is missing, and remembers the id. A state that cannot be kept is a warning: it only guards against
/// directories that are not mounted.
fn adopt(root: &Path, found: Found) -> Result<Option<String>, Error> {
    let id = match found {
        Found::Marked(id) => id,
        Found::Unmarked => mark(root)?,
        Found::Nothing => {
            create(root)?;
            mark(root)?
        }
    };
    let seen = Seen { id, device: device_of(root)? };
    let mut known: BTreeMap<String, Seen> = match state::witnessed(STATE) {
        Ok(known) => known.unwrap_or_default(),
        // Written anew, it would vouch for this one, and let any other that is not mounted pass.
        Err(lost) => return Ok(Some(format!("{lost}: it is passed over; once all stores are mounted, remove it"))),
    };
    if known.insert(name_of(root), seen.clone()) == Some(seen) {
        return Ok(None);
    }
    Ok(state::remember(STATE, &known).err().map(|error| format!("cannot remember the store {}: {error}", root.display())))
}

/// Creates a directory (0700 whatever the umask) and makes its name durable.
fn create(root: &Path) -> Result<(), Error> {
    let io = |error| Error::io(root.display(), error);
    match std::fs::DirBuilder::new().mode(0o700).create(root) {
        Ok(()) => std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o700)).map_err(io)?,
        // Another push was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io(error)),
    }
    root.parent().map_or(Ok(()), publish::sync_directory)
}

/// Marks a directory as a store; gives the id, which is another's if that was quicker.
fn mark(root: &Path) -> Result<String, Error> {
    let path = root.join(MARKER);
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| Error::io("the system's random numbers", io::Error::other(error.to_string())))?;
    let marker = Marker { format: 1, id: hex::encode(id) };
    let text = serde_json::to_vec(&marker).map_err(|error| Error::io(path.display(), io::Error::from(error)))?;
    let mut upload = DirectoryUpload::start(root, MARKER, path.display().to_string(), &Durable::default())?;
    upload.write(&text)?;
    upload.write(b"\n")?;
    match upload.publish() {
        Ok(_) => Ok(marker.id),
        Err(Error::Exists { .. }) => match read(root)? {
            Some(theirs) => Ok(theirs.id),
            None => Err(Error::NotMounted { store: root.display().to_string(), why: "its marker came and went".into() }),
        },
        Err(error) => Err(error),
    }
}

/// What was seen at each path.
///
/// # Errors
/// [`Error::NotMounted`] where that is forgotten, and there is no marker: the store that was there may not be mounted.
fn recall(path: &Path, found: &Found) -> Result<BTreeMap<String, Seen>, Error> {
    match (state::witnessed(STATE), found) {
        (Ok(known), _) => Ok(known.unwrap_or_default()),
        (Err(_), Found::Marked(_)) => Ok(BTreeMap::new()),
        (Err(lost), Found::Nothing | Found::Unmarked) => Err(Error::NotMounted {
            store: path.display().to_string(),
            why: format!("it is no store now, and whether it was one before nobody knows: {lost}"),
        }),
    }
}

fn name_of(root: &Path) -> String {
    root.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_becomes_a_store_where_none_was_before_or_it_was_removed() {
        let marked = |id: &str| Found::Marked(id.into());
        let seen = Seen { id: "a".into(), device: 1 };
        assert_eq!(judge(&Found::Nothing, 1, None), Verdict::Create);
        assert_eq!(judge(&Found::Unmarked, 1, None), Verdict::Create);
        assert_eq!(judge(&Found::Unmarked, 1, Some(&seen)), Verdict::Create);
        assert_eq!(judge(&marked("a"), 1, None), Verdict::Accept);
        assert_eq!(judge(&marked("a"), 2, Some(&seen)), Verdict::Accept);
        assert!(matches!(judge(&marked("b"), 1, Some(&seen)), Verdict::Refuse(_)));
        assert!(matches!(judge(&Found::Unmarked, 2, Some(&seen)), Verdict::Refuse(_)));
        assert!(matches!(judge(&Found::Nothing, 2, Some(&seen)), Verdict::Refuse(_)));
    }
}
