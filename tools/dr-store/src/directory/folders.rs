//! How does a folder come to be, and whose is what is made in it?
//!
//! What root makes in a store of somebody else's belongs to that one, or he could not read his own store any more.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use dr_pipe::owner::Owner;
use rustix::fs::{self, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::geteuid;

/// Mode of new folders, whatever the umask.
const MODE: Mode = Mode::RWXU;

/// A folder of a store, held open.
pub(super) struct Folder {
    pub(super) directory: OwnedFd,
    /// The folder and all above it, innermost first, up to the store's root.
    pub(super) above: Vec<PathBuf>,
    /// Whose new files are; none: of whoever makes them.
    pub(super) owner: Option<Owner>,
}

impl Folder {
    /// Opens `root/folder`, and makes it and what is missing above it.
    pub(super) fn create(root: &Path, folder: &str) -> io::Result<Folder> {
        let directory = open(CWD, root, OFlags::empty())?;
        let owner = Owner::of(&directory)?;
        let mut made = Folder { directory, above: vec![root.to_path_buf()], owner };
        folder.split('/').filter(|part| !part.is_empty()).try_for_each(|part| made.enter(part))?;
        Ok(made)
    }

    fn enter(&mut self, part: &str) -> io::Result<()> {
        let above = self.directory.as_fd();
        let inside = match fs::mkdirat(above, part, MODE) {
            Ok(()) => {
                let inside = match open(above, part, OFlags::NOFOLLOW) {
                    // The umask has taken even our own rights.
                    Err(Errno::ACCESS) => {
                        fs::chmodat(above, part, MODE, AtFlags::empty())?;
                        open(above, part, OFlags::NOFOLLOW)
                    }
                    opened => opened,
                }?;
                fs::fchmod(&inside, MODE)?;
                self.owner.map_or(Ok(()), |owner| owner.take(&inside))?;
                inside
            }
            Err(Errno::EXIST) => match open(above, part, OFlags::NOFOLLOW) {
                // What lies there is of whoever owns it there, and not given to who laid the link.
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let elsewhere = follow(above, part)?;
                    self.owner = Owner::of(&elsewhere)?;
                    elsewhere
                }
                opened => opened?,
            },
            Err(error) => return Err(error.into()),
        };
        let path = self.above[0].join(part);
        self.above.insert(0, path);
        self.directory = inside;
        Ok(())
    }
}

/// Opens `root/folder`, which has to be there.
pub(super) fn existing(root: &Path, folder: &str) -> io::Result<OwnedFd> {
    let mut parts = folder.split('/').filter(|part| !part.is_empty());
    parts.try_fold(open(CWD, root, OFlags::empty())?, |above, part| match open(&above, part, OFlags::NOFOLLOW) {
        Err(Errno::NOTDIR | Errno::LOOP) => follow(above.as_fd(), part),
        opened => Ok(opened?),
    })
}

/// Opens what a link leads to. It was laid by root, by us, or by whose that is: else the owner of a store could lead us into that of
/// another, where we are to write or remove what he may not.
fn follow(above: BorrowedFd<'_>, part: &str) -> io::Result<OwnedFd> {
    let link = fs::openat(above, part, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let laid = fs::fstat(&link)?.st_uid;
    let inside = open(above, fs::readlinkat(&link, "", Vec::new())?, OFlags::empty())?;
    if [0, geteuid().as_raw(), fs::fstat(&inside)?.st_uid].contains(&laid) {
        return Ok(inside);
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{part} is a link by somebody else than whose it leads to")))
}

/// Opens a directory.
pub(super) fn open(below: impl AsFd, path: impl rustix::path::Arg, flags: OFlags) -> Result<OwnedFd, Errno> {
    fs::openat(below, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | flags, Mode::empty())
}
