//! The file that PostgreSQL asks for, and the ones that it will ask for next. Only their names and metadata are looked at:
//! `archive_status` is never opened, listed or touched, as a marker there belongs to the server alone.

use std::fs::{File, OpenOptions};
use std::io::IoSliceMut;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use dr_pipe::{Exit, Failure};
use dr_wal::{SegmentName, SegmentSize, WalName};
use rustix::fs::{Advice, OFlags, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};
use serde::{Deserialize, Serialize};

/// How many processes may stand between the server and this one, at most: its archiver, shells, and whatever else calls.
const GENERATIONS: usize = 32;

/// A file of WAL in its place.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Where it is.
    pub path: PathBuf,
    /// What its name means.
    pub name: WalName,
}

/// What tells a file from every other, and from itself after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    device: u64,
    inode: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was last written, in nanoseconds since 1970.
    pub modified_ns: i128,
    changed_ns: i128,
}

impl Identity {
    fn of(metadata: &std::fs::Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Asked {
    /// The file at `path`, which is named as WAL is.
    ///
    /// # Errors
    /// 64 where it is not.
    pub fn new(path: &Path) -> Result<Self, Failure> {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = file.parse::<WalName>().map_err(|error| {
            Failure::new(Exit::Usage, error.to_string(), "give the path of a file in pg_wal: archive_command = 'dr-wal-push %p …'")
        })?;
        Ok(Asked { path: path.into(), name })
    }

    /// Which file it is now; none where there is no regular file.
    pub fn identity(&self) -> Option<Identity> {
        let metadata = std::fs::symlink_metadata(&self.path).ok()?;
        metadata.is_file().then(|| Identity::of(&metadata))
    }

    /// Opens it.
    ///
    /// # Errors
    /// 66 where it is not there, 65 where it is no regular file.
    pub fn open(&self) -> Result<(File, Identity), Failure> {
        let failed = |error| Failure::io(self.path.display(), &error);
        let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let not_a_file = || {
            let message = format!("{}: not a regular file", self.path.display());
            Failure::new(Exit::Damaged, message, "WAL is in regular files: see what this is")
        };
        let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(&self.path);
        let file = opened.map_err(|error| if self.path.is_symlink() { not_a_file() } else { failed(error) })?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(not_a_file());
        }
        // Of a backlog the first segments are on disk alone: they are read while we compress. Only advice, which takes a while
        // where there is nothing to read: not where the end of the file is in memory.
        let last = metadata.len().saturating_sub(1);
        let in_memory = preadv2(&file, &mut [IoSliceMut::new(&mut [0])], last, ReadWriteFlags::NOWAIT).is_ok();
        if !in_memory {
            fadvise(&file, 0, None, Advice::WillNeed).unwrap_or_default();
        }
        Ok((file, Identity::of(&metadata)))
    }

    /// By when all that was committed is in this segment or before it: when the server wrote to it last, as a commit in the next one is
    /// not acknowledged before. None where it was not the server in the directory above that has called, or where that one got the
    /// segment from another: it is a standby, or was one when the segment's timeline went on.
    pub fn as_of(&self, identity: &Identity) -> Option<DateTime<Utc>> {
        let timeline = self.segment()?.timeline;
        let folder = self.path.parent()?;
        let data = folder.parent()?;
        let server = std::fs::read_to_string(data.join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()?;
        let is_standby = ["standby.signal", "recovery.signal"].iter().any(|name| data.join(name).exists());
        if is_standby || !is_below(server) {
            return None;
        }
        let names = std::fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let newest = names.filter_map(|name| if let WalName::History(timeline) = name { Some(timeline) } else { None }).max();
        let at = i64::try_from(identity.modified_ns).ok().map(DateTime::from_timestamp_nanos);
        at.filter(|_| newest.is_none_or(|newest| newest <= timeline))
    }

    /// The segment that it is; none for the other files of WAL.
    pub fn segment(&self) -> Option<SegmentName> {
        match self.name {
            WalName::Segment(segment) => Some(segment),
            _ => None,
        }
    }

    /// The segments after this one that are ready to be archived, in their order without a gap, `most` of them at most.
    pub fn ready_after(&self, size: SegmentSize, most: usize) -> Vec<Asked> {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let mut ready = Vec::new();
        let mut last = self.segment();
        while let Some(next) = last.filter(|_| ready.len() < most).map(|segment| segment.next(size)) {
            let marker = folder.join("archive_status").join(format!("{next}.ready"));
            let asked = Asked { path: folder.join(next.to_string()), name: WalName::Segment(next) };
            if std::fs::symlink_metadata(marker).is_err() || asked.identity().is_none_or(|file| file.bytes != size.bytes()) {
                break;
            }
            ready.push(asked);
            last = Some(next);
        }
        ready
    }
}

/// Whether a process is one that this one comes from.
fn is_below(server: u32) -> bool {
    let parent = |process: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // Behind the name, which may hold anything, stand the state and the parent.
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    std::iter::successors(Some(std::process::id()), parent).take(GENERATIONS).any(|process| process == server)
}
