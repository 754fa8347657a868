//! Whose is a file, and who are we?
//!
//! What root makes in a directory of somebody else's belongs to that one, or he could not use his own directory any more.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::{Failure, child};

/// A user and his group.
#[derive(Clone, Copy, Debug)]
pub struct Owner(Uid, Gid);

impl Owner {
    /// Whose the files in this directory are to be that root makes; none where that is root, or somebody else makes them.
    ///
    /// # Errors
    /// As the file system says.
    pub fn of(directory: impl AsFd) -> io::Result<Option<Owner>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let stat = rustix::fs::fstat(directory)?;
        let uid = Uid::from_raw(stat.st_uid);
        Ok((!uid.is_root()).then(|| Owner(uid, Gid::from_raw(stat.st_gid))))
    }

    /// Gives him a file or directory of ours.
    ///
    /// # Errors
    /// As the file system says.
    pub fn take(self, file: impl AsFd) -> Result<(), Errno> {
        let Owner(uid, gid) = self;
        let stat = rustix::fs::fstat(&file)?;
        // Some file systems have one owner for all, and refuse to be asked.
        if (stat.st_uid, stat.st_gid) == (uid.as_raw(), gid.as_raw()) {
            return Ok(());
        }
        rustix::fs::fchown(&file, Some(uid), Some(gid))
    }
}

/// Gives a file, which we have just made, to the owner of its directory, if we are root. A root that may give nothing away keeps it.
pub(crate) fn hand_over(file: &File, path: &Path) {
    if !geteuid().is_root() {
        return;
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Ok(Some(owner)) = File::open(directory).and_then(Owner::of) {
        owner.take(file).unwrap_or_default();
    }
}

/// The name of a user, as the password file has it, else the number.
pub fn user(uid: u32) -> String {
    named(uid).unwrap_or_else(|| format!("uid {uid}"))
}

/// The name of a user; none where the password file does not have it.
pub fn named(uid: u32) -> Option<String> {
    account(uid).ok()?.map(|account| account.name)
}

/// Our own name as id(1) says it: where users are not in a file (LDAP, SSSD).
pub fn name_by_id() -> Option<String> {
    let output = child::output(Command::new("id").arg("-un")).ok()?;
    let name = String::from_utf8(output.stdout).ok()?;
    Some(name.trim_end().to_owned()).filter(|name| output.status.success() && !name.is_empty())
}

/// What the password file says of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: String,
    /// The home directory.
    pub home: Option<String>,
}

/// What the password file says of a user; none where it does not have it.
///
/// # Errors
/// Where the file cannot be read.
pub fn account(uid: u32) -> io::Result<Option<Account>> {
    let users = fs::read_to_string("/etc/passwd")?;
    let uid = uid.to_string();
    let mut entries = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let entry = entries.find(|fields| fields.get(2) == Some(&uid.as_str()));
    Ok(entry.map(|fields| Account { name: fields[0].to_owned(), home: fields.get(5).map(|home| (*home).to_owned()) }))
}

impl Failure {
    /// As [`Failure::io`], of a file: where we may not use it, it says whose it is, or whose the directory is that it is missing in.
    pub fn file(path: &Path, error: &io::Error) -> Self {
        let failure = Failure::io(path.display(), error);
        if error.kind() != io::ErrorKind::PermissionDenied {
            return failure;
        }
        // The first that we may look at: what is below it is not the reason.
        let place = path.ancestors().find_map(|place| Some((place, place.symlink_metadata().ok()?)));
        place.map_or(failure.clone(), |(place, found)| refused(failure, place, &found, geteuid().as_raw()))
    }
}

impl Failure {
    /// As [`Failure::file`], of a directory that was to be made.
    pub fn directory(path: &Path, error: &io::Error) -> Self {
        let failure = Failure::file(path, error);
        if error.kind() != io::ErrorKind::PermissionDenied || path.symlink_metadata().is_ok() {
            return failure;
        }
        let us = user(geteuid().as_raw());
        let hint = format!("as root: install -d -o {} -m 700 {}", us.trim_start_matches("uid "), path.display());
        Failure { hint, ..failure }
    }
}

fn refused(failure: Failure, place: &Path, found: &Metadata, us: u32) -> Failure {
    let (owner, us, shown) = (found.uid(), user(us), place.display());
    let message = format!("{}: {shown} belongs to {}, and this runs as {us}", failure.message, user(owner));
    let chown = format!("as root: chown {} {shown}", us.trim_start_matches("uid "));
    let hint = match owner {
        _ if user(owner) == us => format!("its mode is {:04o}: chmod u+rwX {shown}", found.mode() & 0o7777),
        0 => format!("{chown}, and what else root has left beside it"),
        _ => format!("run this as {}; or {chown}", user(owner)),
    };
    Failure::new(failure.exit, message, hint)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Exit;

    #[test]
    fn who_may_not_use_a_file_is_told_whose_it_is_and_what_to_do() {
        let root = Path::new("/etc/passwd");
        let failure = refused(Failure::new(Exit::Denied, "no", "no"), root, &root.metadata().unwrap(), 65_534);
        assert_eq!(failure.message, "no: /etc/passwd belongs to root, and this runs as nobody");
        assert_eq!(failure.hint, "as root: chown nobody /etc/passwd, and what else root has left beside it");
        let ours = refused(Failure::new(Exit::Denied, "no", "no"), root, &root.metadata().unwrap(), 0);
        assert_eq!(ours.hint, "its mode is 0644: chmod u+rwX /etc/passwd");
        // A number without a name can be given to chown, too.
        let unknown = refused(Failure::new(Exit::Denied, "no", "no"), root, &root.metadata().unwrap(), 4_000_000);
        assert!(unknown.message.ends_with("runs as uid 4000000") && unknown.hint.starts_with("as root: chown 4000000 /etc"));
    }

    #[test]
    fn a_directory_that_may_not_be_made_is_made_by_root() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let failure = Failure::directory(Path::new("/etc/none/dr"), &denied);
        let us = user(geteuid().as_raw());
        assert_eq!(failure.hint, format!("as root: install -d -o {us} -m 700 /etc/none/dr"));
        assert_eq!(Failure::directory(Path::new("/etc"), &denied), Failure::file(Path::new("/etc"), &denied));
    }

    #[test]
    fn what_is_missing_is_refused_by_the_directory_it_is_missing_in() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let failure = Failure::file(Path::new("/etc/there/is/none"), &denied());
        assert!(failure.message.starts_with("/etc/there/is/none: permission denied: /etc belongs to root"), "{}", failure.message);
        assert_eq!(failure.exit, Exit::Denied);
        let full = Failure::file(Path::new("/etc/passwd"), &io::ErrorKind::StorageFull.into());
        assert!(!full.message.contains("belongs"), "{}", full.message);
    }
}
