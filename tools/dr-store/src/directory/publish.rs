//! How does a file get its name? Written beside it, synced, linked without replacing, and every directory above synced.
//!
//! The order matters (a name that outlives its bytes is a file of zeros after a power cut), and so does giving up at
//! the first failed fsync: the kernel may have dropped the pages and call the next one good. A file system that has no call
//! for one of these steps is no place for a store, and said to be none: with its marker, the first file there.

use std::collections::HashMap;
use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use dr_pipe::Output;
use dr_pipe::stop::{self, OnStop};
use rustix::fs::{self, AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};

use super::folders::{self, Folder};
use crate::key::TEMPORARY;
use crate::{Error, Put, Stored};

/// The directories, each with its inode, whose own names and those of all above them were made durable by this process. One
/// that was removed and made again has another inode.
pub(super) type Durable = Arc<Mutex<HashMap<PathBuf, u64>>>;

/// A file being written under a temporary name.
pub(crate) struct DirectoryUpload {
    file: Output,
    names: Arc<Names>,
    /// The object's directory and all above it, up to the store's root.
    above: Vec<PathBuf>,
    durable: Durable,
    object: String,
    _on_stop: OnStop,
}

/// Both names of the file, in a directory that is held open.
struct Names {
    directory: OwnedFd,
    temporary: String,
    last: String,
}

impl DirectoryUpload {
    /// Starts a file that will be `root/key`, creating the directories on the way; those in `durable` need no syncing again.
    pub(super) fn start(root: &Path, key: &str, object: String, durable: &Durable) -> Result<Self, Error> {
        let io = |error: Errno| Error::io(&object, error);
        let (folder, last) = key.rsplit_once('/').unwrap_or(("", key));
        let Folder { directory, above, owner } = Folder::create(root, folder).map_err(|error| Error::io(&object, error))?;
        let mut random = [0; 4];
        getrandom::fill(&mut random).map_err(|error| Error::io(&object, io::Error::other(error.to_string())))?;
        let temporary = format!("{TEMPORARY}{last}.{}", hex::encode(random));
        // What a clean-up itself stores, as dr-wal-receive does, is not held up by the stop that it is part of.
        let begun = (!stop::stopping()).then(stop::gate);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let names = Arc::new(Names { directory, temporary, last: last.into() });
        let file = File::from(fs::openat(&names.directory, &names.temporary, flags, Mode::from_raw_mode(0o600)).map_err(io)?);
        let on_stop = stop::on_stop({
            let names = Arc::clone(&names);
            move || names.remove_temporary()
        });
        drop(begun);
        let upload = DirectoryUpload { file: file.into(), names, above, durable: Arc::clone(durable), object, _on_stop: on_stop };
        // The umask may have taken even our own rights.
        let mode = upload.file.as_ref().set_permissions(Permissions::from_mode(0o600));
        mode.map_err(|error| Error::io(&upload.object, error))?;
        owner.map_or(Ok(()), |owner| owner.take(upload.file.as_ref())).map_err(|error| Error::io(&upload.object, error))?;
        Ok(upload)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|error| Error::io(&self.object, error))
    }

    pub(crate) fn finish(self) -> Result<Stored, Error> {
        self.publish().map(|_| Stored::synced())
    }

    /// Makes the bytes durable, gives them their name, and makes that durable.
    pub(super) fn publish(self) -> Result<Put, Error> {
        let put = self.name()?;
        // Also where the name is taken: whoever took it may have died before it was durable.
        if let Err(error) = self.sync_names() {
            if matches!(put, Ok(Put::Created)) {
                self.names.remove(&self.names.last);
            }
            return Err(error);
        }
        put
    }

    /// Makes the bytes durable and gives them their name, which may be gone after a power cut, unless another file is published
    /// in the same directory after this.
    pub(super) fn publish_ahead(self) -> Result<Put, Error> {
        self.name()?
    }

    /// Makes the bytes durable and gives them their name; what is there instead, if it is taken.
    fn name(&self) -> Result<Result<Put, Error>, Error> {
        retry_on_intr(|| fs::fsync(self.file.as_ref())).map_err(|error| failed(&self.object, error, SYNC))?;
        match self.names.link() {
            Ok(()) => Ok(Ok(Put::Created)),
            Err(Errno::EXIST) => Ok(self.compare()),
            Err(error) => Err(failed(&self.object, error, NAME)),
        }
    }

    /// Makes the names in the directory durable and, unless this process has done so, those of it and of all above.
    fn sync_names(&self) -> Result<(), Error> {
        let inode = fs::fstat(&self.names.directory).map_err(|error| Error::io(&self.object, error))?.st_ino;
        let durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner).get(&self.above[0]) == Some(&inode);
        let new = if durable { &self.above[..1] } else { &self.above[..] };
        new.iter().try_for_each(|directory| sync_directory(directory))?;
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).insert(self.above[0].clone(), inode);
        Ok(())
    }

    /// Whether the file that has our name holds our bytes.
    fn compare(&self) -> Result<Put, Error> {
        let exists = |comparable| Error::Exists { object: self.object.clone(), comparable };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let theirs = fs::openat(&self.names.directory, &self.names.last, flags, Mode::empty()).map_err(|_| exists(false))?;
        let mut ours = self.file.as_ref().try_clone().map_err(|error| Error::io(&self.object, error))?;
        io::Seek::rewind(&mut ours).map_err(|error| Error::io(&self.object, error))?;
        match same_bytes(&mut ours, &mut File::from(theirs)) {
            Ok(true) => Ok(Put::Identical),
            Ok(false) => Err(exists(true)),
            Err(error) => Err(Error::io(&self.object, error)),
        }
    }
}

impl Drop for DirectoryUpload {
    fn drop(&mut self) {
        self.names.remove_temporary();
    }
}

impl Names {
    /// Links the temporary file to its last name, which must be free; where the file system has no links, renames it.
    fn link(&self) -> Result<(), Errno> {
        let directory = self.directory.as_fd();
        match fs::linkat(directory, &self.temporary, directory, &self.last, AtFlags::empty()) {
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => {
                fs::renameat_with(directory, &self.temporary, directory, &self.last, RenameFlags::NOREPLACE)
            }
            Ok(()) => {
                self.remove_temporary();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn remove_temporary(&self) {
        self.remove(&self.temporary);
    }

    /// Unlinks a name of ours. If that fails, it is gone already, or the file system is, and nobody is left to act on it.
    fn remove(&self, name: &str) {
        let (Ok(()) | Err(_)) = fs::unlinkat(&self.directory, name, AtFlags::empty());
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), Error> {
    let synced = folders::open(CWD, path, OFlags::empty()).and_then(|directory| retry_on_intr(|| fs::fsync(&directory)));
    synced.map_err(|error| failed(path.display(), error, SYNC))
}

/// What a file system must be able to do.
const SYNC: &str = "sync what was written (fsync)";
const NAME: &str = "give a file a name only if it is free: it has neither hard links nor such renames";

/// Why a step failed: this time, or because the file system has no such step.
fn failed(object: impl ToString, error: Errno, step: &str) -> Error {
    match error {
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => Error::Config {
            object: object.to_string(),
            why: format!("this file system cannot {step}: {}", io::Error::from(error)),
            hint: "keep the store on another file system, such as ext4, XFS or NFS".into(),
        },
        _ => Error::io(object, error),
    }
}

fn same_bytes(a: &mut impl Read, b: &mut impl Read) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; 256 * 1024], vec![0; 256 * 1024]);
    loop {
        let n = dr_pipe::stream::fill(a, &mut left)?;
        let m = dr_pipe::stream::fill(b, &mut right)?;
        if left[..n] != right[..m] {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
    }
}
