//! The spool: segments that were fetched ahead for one server, and where it is.
//!
//! Every server has a directory of its own there, named after what decides which bytes a name means: the stores, the cluster,
//! the system, the data directory, and whose signatures are trusted. In it lie
//! - `asked`: the last segment that was answered,
//! - `lock`: held by the process that fetches ahead,
//! - `<segment>.<CRC-64>.<state>`: a segment, proved by its SHA-256 when it was fetched. It is not synced to disk, and a server
//!   takes a torn or rotten record for the end of the log: so it is read again when it is taken, unless it was written a moment ago,
//!   since this host was started, and by nobody since: then it is still in memory, which is what its state tells,
//! - `.<segment>`: one that is being fetched, locked while it is.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dr_pipe::output::STEP_BYTES;
use dr_pipe::{Failure, Sha256, lock, state, warn};
use dr_wal::{SegmentName, SegmentSize, Sink, WalName, header};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::fetch::TOOL;
use crate::server::Server;
use crate::{ahead, place};

/// What belongs to other servers is removed when nobody has asked for this long.
const FORGOTTEN: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a segment is waited for that is being fetched ahead already.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was written so long ago is still in memory: Linux writes it to disk after 30 s (`vm.dirty_expire_centisecs`), and forgets
/// it when it needs the room.
const MOMENT: Duration = Duration::from_secs(20);

/// A server's queue.
pub struct Queue {
    directory: PathBuf,
    system_identifier: u64,
    ahead: u16,
}

/// What the server was answered last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The segment.
    pub segment: SegmentName,
    /// The size of segments.
    pub segment_bytes: SegmentSize,
}

impl Asked {
    /// The segments that it will ask for next, if it stays on its timeline.
    pub fn next(self, count: u16) -> impl Iterator<Item = SegmentName> {
        std::iter::successors(Some(self.segment), move |segment| Some(segment.next(self.segment_bytes))).skip(1).take(count.into())
    }
}

impl Queue {
    /// The queue of a server. None where nothing is to be fetched ahead, or there is no place for it.
    pub fn of(args: &Args, server: &Server) -> Option<Queue> {
        if args.ahead == 0 || !matches!(args.name, WalName::Segment(_)) {
            return None;
        }
        let root = args.spool.clone().or_else(|| Some(state::directory()?.join("wal-fetch")))?;
        let root = resolved(&root).ok()?;
        // Programs that copy or compare a data directory would take it for a part of it.
        if root.starts_with(&server.data_directory) {
            warn(TOOL, format!("nothing is fetched ahead: the spool {} lies in the data directory", root.display()));
            return None;
        }
        // The keys themselves: a file of that name may get another.
        let trusted = args.catalogue.public_key.keyring().and_then(|keyring| keyring.of(&args.cluster.cluster)).ok()?;
        let trusted: Vec<_> = trusted.iter().map(ToString::to_string).collect();
        let stores: Vec<_> = args.catalogue.from.from.iter().map(ToString::to_string).collect();
        let key = serde_json::json!([
            stores,
            args.catalogue.store.endpoint_url,
            args.cluster.cluster,
            server.system_identifier,
            server.data_directory,
            trusted,
            args.prefer_content,
            args.catalogue.store.as_of,
        ]);
        let digest = Sha256::of(key.to_string().as_bytes()).to_string();
        let directory = root.join(format!("{}-{}", args.cluster.cluster, &digest[..16]));
        // A digest in a name proves nothing where others may write: they would choose both.
        if !fs::symlink_metadata(&directory).map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |found| is_ours(&found)) {
            warn(TOOL, format!("nothing is fetched ahead: {} is not a directory of ours alone", directory.display()));
            return None;
        }
        Some(Queue { directory, system_identifier: server.system_identifier, ahead: args.ahead })
    }

    /// Gives a segment that was fetched ahead its place; says how many bytes it has. None where it is not there, or is not what
    /// it was.
    pub fn take(&self, name: &WalName, path: &Path) -> Option<u64> {
        let WalName::Segment(segment) = name else { return None };
        let deadline = Instant::now() + PATIENCE;
        let spooled = loop {
            let fetching = self.is_being_fetched(*segment);
            if let Some(found) = self.spooled().remove(segment) {
                break found;
            }
            if !fetching || Instant::now() > deadline {
                return None;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        };
        let bytes = self.prove(&spooled, *segment);
        let place = || place::rename(&spooled.path, path).or_else(|_| place::copy(&spooled.path, path));
        let placed = bytes.is_some() && place().is_ok();
        if !placed {
            warn(TOOL, format!("{}: not what was fetched ahead; it is fetched again", spooled.path.display()));
        }
        // After a rename it is not there any more.
        fs::remove_file(spooled.path).unwrap_or_default();
        bytes.filter(|_| placed)
    }

    /// Holds what was fetched ahead against its checksum, unless it is as it was a moment ago, its name, and the server; gives its size.
    fn prove(&self, spooled: &Spooled, segment: SegmentName) -> Option<u64> {
        let file = File::open(&spooled.path).ok()?;
        let found = file.metadata().ok()?;
        let is_young = found.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age < MOMENT));
        let (first, bytes) = if is_young && state(&found).is_some_and(|state| state == spooled.state) {
            let mut first = vec![0; header::LONG_HEADER_BYTES];
            file.read_exact_at(&mut first, 0).ok()?;
            (first, found.len())
        } else {
            let checked = Checked::read(file).ok()?;
            (checked.checksum() == spooled.checksum).then_some((checked.first, checked.bytes))?
        };
        let header = header::check_segment(&first, bytes, &segment).ok()?;
        (header.system_identifier == self.system_identifier).then_some(bytes)
    }

    /// Notes what was answered, and starts to fetch ahead again if less than half of what should be there is.
    pub fn refill(&self, segment: SegmentName, bytes: u64) {
        let Ok(segment_bytes) = SegmentSize::try_from(bytes) else { return };
        let asked = Asked { segment, segment_bytes };
        let noted = self.note(&asked).map_err(|error| Failure::file(&self.directory, &error));
        let started = noted.and_then(|()| {
            // The lock is let go before the one starts who needs it.
            let nobody_does = self.lock()?.is_some();
            let start = nobody_does && self.runs_low(asked);
            if start { ahead::start().map_err(|error| Failure::io(self.directory.display(), &error)) } else { Ok(()) }
        });
        if let Err(Failure { message, hint, .. }) = started {
            warn(TOOL, format!("nothing is fetched ahead: {message} ({hint})"));
        }
    }

    /// Whether less than half of what should be there is.
    pub fn runs_low(&self, asked: Asked) -> bool {
        let spooled = self.spooled();
        let there = asked.next(self.ahead).filter(|segment| spooled.contains_key(segment)).count();
        there < usize::from(self.ahead).div_ceil(2)
    }

    /// Written over what was answered before: another file in its place would have the server wait for this one's blocks to be
    /// freed, 3 ms on a disk that is told so. Who reads half of each looks for segments that are not there.
    fn note(&self, asked: &Asked) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let file = state::create(OpenOptions::new().write(true), &self.directory.join("asked"))?;
        let text = serde_json::to_vec(asked)?;
        file.write_all_at(&text, 0)?;
        file.set_len(text.len() as u64)
    }

    /// What was answered last; none if nothing was.
    pub fn asked(&self) -> Option<Asked> {
        serde_json::from_slice(&fs::read(self.directory.join("asked")).ok()?).ok()
    }

    /// Takes the lock of who fetches ahead; none if somebody has it. It ends with the process.
    ///
    /// # Errors
    /// As [`lock::take`].
    pub fn lock(&self) -> Result<Option<File>, Failure> {
        lock::take(&self.directory.join("lock"))
    }

    /// What was fetched ahead.
    pub fn spooled(&self) -> BTreeMap<SegmentName, Spooled> {
        let entry = |path: PathBuf| {
            let (name, rest) = path.file_name()?.to_str()?.split_once('.')?;
            let (checksum, state) = rest.split_once('.')?;
            let (checksum, state) = (checksum.to_owned(), state.to_owned());
            Some((name.parse().ok()?, Spooled { path, checksum, state }))
        };
        self.files().filter_map(entry).collect()
    }

    fn is_being_fetched(&self, segment: SegmentName) -> bool {
        let file = File::open(self.directory.join(format!(".{segment}")));
        file.is_ok_and(|file| flock(file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK))
    }

    /// Begins to fetch a segment: whoever wants it waits as long as the file is locked.
    ///
    /// # Errors
    /// As the file system says.
    pub fn begin(&self, segment: SegmentName) -> io::Result<Fetching> {
        let path = self.directory.join(format!(".{segment}"));
        let file = state::create(OpenOptions::new().write(true), &path)?;
        // Nobody but us holds it for longer than it takes to look.
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(Fetching { file, path, segment, checked: Checked::default() })
    }

    /// Removes what will not be asked for next.
    pub fn keep_only(&self, next: &[SegmentName]) {
        for path in self.files() {
            let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let segment = file.split_once('.').map(|(name, rest)| if name.is_empty() { rest } else { name });
            let segment = segment.and_then(|name| name.parse::<SegmentName>().ok());
            if segment.is_some_and(|segment| !next.contains(&segment)) {
                fs::remove_file(path).unwrap_or_default();
            }
        }
    }

    /// Removes the queues of other servers that have not asked for a day.
    pub fn sweep(&self) {
        let siblings = self.directory.parent().into_iter().flat_map(files);
        for directory in siblings.filter(|path| *path != self.directory) {
            let asked = fs::metadata(directory.join("asked")).and_then(|file| file.modified());
            let forgotten = asked.is_ok_and(|asked| asked.elapsed().is_ok_and(|age| age > FORGOTTEN));
            if forgotten && matches!(lock::take(&directory.join("lock")), Ok(Some(_))) {
                fs::remove_dir_all(directory).unwrap_or_default();
            }
        }
    }

    fn files(&self) -> impl Iterator<Item = PathBuf> + use<> {
        files(&self.directory)
    }
}

/// A segment that was fetched ahead.
pub struct Spooled {
    path: PathBuf,
    checksum: String,
    state: String,
}

/// A segment that is being fetched ahead.
pub struct Fetching {
    file: File,
    path: PathBuf,
    segment: SegmentName,
    checked: Checked,
}

impl Fetching {
    /// The first bytes, as far as there are any.
    pub fn first(&self) -> &[u8] {
        &self.checked.first
    }

    /// Puts the segment, which is proved by now, into the queue.
    ///
    /// # Errors
    /// As the file system says; then it is not there.
    pub fn finish(self) -> io::Result<()> {
        let state = state(&self.file.metadata()?).unwrap_or_default();
        let name = format!("{}.{}.{state}", self.segment, self.checked.checksum());
        place::rename(&self.path, &self.path.with_file_name(name))
    }
}

impl Write for Fetching {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(&bytes[..bytes.len().min(STEP_BYTES)])?;
        self.checked.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Sink for Fetching {
    fn restart(&mut self) -> io::Result<()> {
        self.checked = Checked::default();
        // Only what is there is cut off: ext4 writes a file that was ever emptied to the disk as soon as it is closed.
        if self.file.metadata()?.len() > 0 {
            self.file.set_len(0)?;
        }
        self.file.rewind()
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        // Once it is finished it is not there any more.
        fs::remove_file(&self.path).unwrap_or_default();
    }
}

/// What is kept of bytes that go by: CRC-64/NVME finds what decays, at a tenth of the cost of a digest. Whoever would forge it could
/// write to PATH as well.
struct Checked {
    crc: crc_fast::Digest,
    bytes: u64,
    /// As many as a header has.
    first: Vec<u8>,
}

impl Default for Checked {
    fn default() -> Self {
        Checked { crc: crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme), bytes: 0, first: Vec::new() }
    }
}

impl Checked {
    /// Of a file, a piece at a time: new memory for all of it would cost more than reading it does.
    fn read(mut file: File) -> io::Result<Checked> {
        let (mut chunk, mut checked) = (vec![0; STEP_BYTES], Checked::default());
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok(checked),
                n => checked.update(&chunk[..n]),
            }
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        self.bytes += bytes.len() as u64;
        let missing = header::LONG_HEADER_BYTES - self.first.len();
        self.first.extend_from_slice(&bytes[..missing.min(bytes.len())]);
    }

    fn checksum(&self) -> String {
        format!("{:016x}", self.crc.finalize())
    }
}

/// What changes where a file is written to, is another one, or the host was started again. None where the system does not tell.
fn state(found: &fs::Metadata) -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let state = format!("{boot} {} {} {}.{}", found.dev(), found.ino(), found.mtime(), found.mtime_nsec());
    Some(Sha256::of(state.as_bytes()).to_string()[..16].to_owned())
}

/// Whether this is a directory in which nobody else may write.
fn is_ours(found: &fs::Metadata) -> bool {
    found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0
}

/// Where a path leads to, absolute, whether it is there or not.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Err(error), Some(parent), Some(name)) if error.kind() == io::ErrorKind::NotFound => Ok(resolved(parent)?.join(name)),
        (resolved, ..) => resolved,
    }
}

fn files(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|file| file.path())
}
