//! The receiver's own directory: what has come and is not stored yet. Files have mode 0600, the directory 0700.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dr_pipe::{Exit, Failure, lock};
use dr_wal::{SegmentName, WalName};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::NamedTempFile;

use crate::gap::Gap;
use crate::memory::Memory;

const MEMORY: &str = "receiver.json";
const RECEIVING: &str = ".receiving";

/// How names begin that files have until they are whole; six letters and digits follow.
const BEGUN: &str = ".tmp";

/// A whole file that waits for the stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A file of WAL.
    Wal(WalName),
    /// The record of a gap, by its file name.
    Gap(String),
}

impl Kept {
    /// Its file name.
    pub fn name(&self) -> String {
        match self {
            Kept::Wal(name) => name.to_string(),
            Kept::Gap(name) => name.clone(),
        }
    }

    /// Histories and gaps come first, then WAL as the log goes.
    fn order(&self) -> (u8, Option<SegmentName>, String) {
        match self {
            Kept::Wal(WalName::History(_)) => (0, None, self.name()),
            Kept::Gap(_) => (1, None, self.name()),
            Kept::Wal(name) => (2, name.segment(), self.name()),
        }
    }

    fn parse(name: &str) -> Option<Kept> {
        if name.starts_with("gap-") && name.ends_with(".json") {
            return Some(Kept::Gap(name.into()));
        }
        name.parse().ok().map(Kept::Wal)
    }
}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kept {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

/// The directory, locked.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    directory: File,
    _lock: File,
}

impl Folder {
    /// Opens the directory, and makes it where it is missing.
    ///
    /// # Errors
    /// 75 if another receiver uses it; 74 or 77 as the file system says.
    pub fn open(path: &Path) -> Result<Folder, Failure> {
        let begun = SystemTime::now();
        let failed = |error: io::Error| Failure::file(path, &error);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        // Said outright: it may have been there, and the umask may have taken even our own rights.
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        let directory = File::open(path).map_err(failed)?;
        let lock = lock::take(&path.join("lock"))?.ok_or_else(|| {
            let message = format!("{}: another dr-wal-receive is at work there", path.display());
            Failure::new(Exit::Busy, message, "give each receiver a --dir of its own")
        })?;
        let folder = Folder { path: path.into(), directory, _lock: lock };
        folder.sweep(begun)?;
        Ok(folder)
    }

    /// Removes what a receiver that was killed had begun to write before `begun`, and never gave its name.
    fn sweep(&self, begun: SystemTime) -> Result<(), Failure> {
        let unnamed = |name: &str| {
            let random = name.strip_prefix(BEGUN).unwrap_or_default();
            random.len() == 6 && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        for path in self.names()?.iter().filter(|name| unnamed(name)).map(|name| self.path(name)) {
            let metadata = path.symlink_metadata();
            let old = metadata.is_ok_and(|file| file.is_file() && file.modified().is_ok_and(|written| written < begun));
            if old {
                // Where it stays, it does no harm.
                drop(fs::remove_file(path));
            }
        }
        Ok(())
    }

    /// Begins a file that has no name of its own yet.
    fn begin(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(BEGUN).tempfile_in(&self.path)
    }

    /// Where a file of this name lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn failed(&self, name: &str) -> impl Fn(io::Error) -> Failure + use<> {
        let path = self.path(name);
        move |error| lost(&path, &error)
    }

    /// Makes names that were given or taken durable.
    pub fn sync(&self) -> Result<(), Failure> {
        self.directory.sync_all().map_err(self.failed(""))
    }

    /// What is remembered; none in a new directory.
    ///
    /// # Errors
    /// 65 if it cannot be read any more.
    pub fn recall(&self) -> Result<Option<Memory>, Failure> {
        let text = match fs::read(self.path(MEMORY)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed(MEMORY)(error)),
        };
        let mut memory: Memory = serde_json::from_slice(&text).map_err(|error| {
            let message = format!("{}: {error}", self.path(MEMORY).display());
            Failure::new(Exit::Damaged, message, "restore it, or begin with a new --dir; what is in this one can still be stored")
        })?;
        let whole = self.whole()?;
        memory.as_of.retain(|segment, _| whole.contains(&Kept::Wal((*segment).into())));
        Ok(Some(memory))
    }

    /// Remembers, whole or not at all.
    pub fn remember(&self, memory: &Memory) -> Result<(), Failure> {
        let failed = self.failed(MEMORY);
        let mut file = self.begin().map_err(&failed)?;
        serde_json::to_writer(&mut file, memory).map_err(|error| failed(error.into()))?;
        file.as_file().sync_all().map_err(&failed)?;
        file.persist(self.path(MEMORY)).map_err(|error| failed(error.error))?;
        self.sync()
    }

    fn names(&self) -> Result<Vec<String>, Failure> {
        let entries = fs::read_dir(&self.path).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(self.failed(""))?;
        Ok(entries.iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    /// The whole files that are there, in the order in which they are to be stored.
    pub fn whole(&self) -> Result<Vec<Kept>, Failure> {
        let mut kept: Vec<_> = self.names()?.iter().filter_map(|name| Kept::parse(name)).collect();
        kept.sort();
        Ok(kept)
    }

    /// The unfinished segments that are there, as the log goes, and how much of each.
    pub fn unfinished(&self) -> Result<Vec<(SegmentName, u64)>, Failure> {
        let mut found = Vec::new();
        for name in self.names()? {
            if let Some(segment) = name.strip_suffix(RECEIVING).and_then(|name| name.parse().ok()) {
                found.push((segment, self.path(&name).metadata().map_err(self.failed(&name))?.len()));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Opens the file of an unfinished segment for writing and reading, and makes it where it is missing.
    pub fn receiving(&self, segment: SegmentName) -> Result<(File, PathBuf), Failure> {
        let name = format!("{segment}{RECEIVING}");
        let path = self.path(&name);
        let file = own(&path).map_err(self.failed(&name))?;
        self.sync()?;
        Ok((file, path))
    }

    /// Gives the file of an unfinished segment, which is synced, its last name. One that has that name already must be equal.
    pub fn finish(&self, segment: SegmentName, kept: &Kept) -> Result<(), Failure> {
        let (from, to) = (self.path(&format!("{segment}{RECEIVING}")), self.path(&kept.name()));
        match renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) if same(&from, &to).map_err(self.failed(&kept.name()))? => {
                fs::remove_file(&from).map_err(self.failed(&kept.name()))?;
            }
            Err(rustix::io::Errno::EXIST) => {
                let message = format!("{} is there already, with other content than was received now", to.display());
                return Err(Failure::new(
                    Exit::Damaged,
                    message,
                    "keep both, and find out which is the server's; nothing was overwritten",
                ));
            }
            Err(error) => return Err(lost(&to, &error.into())),
        }
        self.sync()
    }

    /// Creates a small file, durably; one that is there stays as it is.
    pub fn create(&self, kept: &Kept, bytes: &[u8]) -> Result<(), Failure> {
        let failed = self.failed(&kept.name());
        let mut file = self.begin().map_err(&failed)?;
        file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(&failed)?;
        match file.persist_noclobber(self.path(&kept.name())) {
            Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error.error)),
            _ => self.sync(),
        }
    }

    /// The bytes of a piece: some of an unfinished segment, or of one that was finished since. None if it has gone: it is stored.
    pub fn read(&self, segment: SegmentName, from: u64, to: u64) -> Result<Option<Vec<u8>>, Failure> {
        use std::os::unix::fs::FileExt;
        for name in [format!("{segment}{RECEIVING}"), segment.to_string(), format!("{segment}.partial")] {
            let file = match File::open(self.path(&name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file.map_err(self.failed(&name))?,
            };
            let mut bytes = vec![0; usize::try_from(to - from).unwrap_or_default()];
            file.read_exact_at(&mut bytes, from).map_err(self.failed(&name))?;
            return Ok(Some(bytes));
        }
        Ok(None)
    }

    /// Opens a whole file, and says how large it is; none if it has gone: others have it.
    pub fn open_whole(&self, kept: &Kept) -> Result<Option<(File, u64)>, Failure> {
        let failed = self.failed(&kept.name());
        match File::open(self.path(&kept.name())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
            Ok(file) => {
                let bytes = file.metadata().map_err(&failed)?.len();
                Ok(Some((file, bytes)))
            }
        }
    }

    /// The record of a gap.
    pub fn gap(&self, kept: &Kept) -> Result<Option<Gap>, Failure> {
        let Some((file, _)) = self.open_whole(kept)? else { return Ok(None) };
        let mut text = Vec::new();
        file.take(64 << 10).read_to_end(&mut text).map_err(self.failed(&kept.name()))?;
        let damaged =
            |error| Failure::new(Exit::Damaged, format!("{}: {error}", kept.name()), "it is a record of a gap; see --dir");
        serde_json::from_slice(&text).map(Some).map_err(damaged)
    }

    /// Removes a file that the stores hold.
    pub fn remove(&self, kept: &Kept) -> Result<(), Failure> {
        match fs::remove_file(self.path(&kept.name())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(&kept.name())(error)),
            _ => Ok(()),
        }
    }
}

/// Input or output failed in the own directory: what was reported as safe is safe, and no more will be.
pub fn lost(path: &Path, error: &io::Error) -> Failure {
    let Failure { exit, message, hint } = Failure::io(path.display(), error);
    let exit = if exit == Exit::Missing { Exit::Io } else { exit };
    let hint = hint.replace("; nothing was published", "");
    Failure::new(exit, message, format!("{hint}; the server keeps what was not reported as safe"))
}

fn own(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn same(left: &Path, right: &Path) -> io::Result<bool> {
    Ok(left.metadata()?.len() == right.metadata()?.len() && fs::read(left)? == fs::read(right)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn histories_are_stored_before_the_wal_of_their_timeline() {
        let names =
            ["000000020000000000000003", "000000010000000000000004.partial", "000000010000000000000003", "00000002.history"];
        let mut kept: Vec<_> = names.iter().map(|name| Kept::parse(name).unwrap()).collect();
        kept.push(Kept::parse("gap-0000000001000000-0000000002000000.json").unwrap());
        kept.sort();
        let sorted: Vec<_> = kept.iter().map(Kept::name).collect();
        let expected = ["00000002.history", "gap-0000000001000000-0000000002000000.json", names[2], names[1], names[0]];
        assert_eq!(sorted, expected);
        assert_eq!(Kept::parse("receiver.json"), None);
        assert_eq!(Kept::parse("000000010000000000000003.receiving"), None);
    }

    #[test]
    fn a_directory_has_one_receiver_and_no_other_eyes() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a/b");
        let folder = Folder::open(&path).unwrap();
        assert_eq!(Folder::open(&path).unwrap_err().exit, Exit::Busy);
        let (_, file) = folder.receiving("000000010000000000000003".parse().unwrap()).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&file)), (0o700, 0o600));
    }

    #[test]
    fn what_kill_9_left_without_a_name_is_swept_and_nothing_else() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        let now = SystemTime::now();
        for (name, before) in [(".tmpAbC123", true), (".tmpAbC124", false), (".tmp-notes", true), ("receiver.json", true)] {
            let hour = std::time::Duration::from_secs(3600);
            File::create(path(name)).unwrap().set_modified(if before { now - hour } else { now + hour }).unwrap();
        }
        let folder = Folder::open(scratch.path()).unwrap();
        assert!(!path(".tmpAbC123").exists());
        assert!([".tmpAbC124", ".tmp-notes", "receiver.json"].iter().all(|name| path(name).exists()));

        // Nor what the receiver at work has begun.
        let begun = folder.begin().unwrap();
        begun.as_file().set_modified(now).unwrap();
        assert_eq!(Folder::open(scratch.path()).unwrap_err().exit, Exit::Busy);
        assert!(begun.path().exists());
        let left = begun.into_temp_path().keep().unwrap();
        drop(folder);
        Folder::open(scratch.path()).unwrap();
        assert!(!left.exists(), "names are given and known alike");
    }

    #[test]
    fn nothing_is_overwritten() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder::open(scratch.path()).unwrap();
        let segment: SegmentName = "000000010000000000000003".parse().unwrap();
        let kept = Kept::Wal(segment.into());
        for (content, fits) in [("one", true), ("one", true), ("two", false)] {
            let (mut file, _) = folder.receiving(segment).unwrap();
            file.write_all(content.as_bytes()).unwrap();
            assert_eq!(folder.finish(segment, &kept).is_ok(), fits, "{content}");
        }
        assert_eq!(fs::read(folder.path(&kept.name())).unwrap(), b"one");
        assert_eq!(folder.unfinished().unwrap(), [(segment, 3)]);
    }
}
