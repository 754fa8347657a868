//! The WAL from a backup's start to its stop: without it, the backup is worth nothing. How is it made sure of?

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dr_archive::Writer;
use dr_pipe::record::WalKept;
use dr_pipe::{Exit, Failure, warn};
use dr_store::Store;
use dr_wal::{Lsn, SegmentName, SegmentSize, Shelf, Timeline, WalName, header};

use crate::TOOL;
use crate::args::WalArgs;

/// How often is looked whether WAL has been archived.
const PAUSE: Duration = Duration::from_millis(50);

/// How often a store is looked into.
const STORE_PAUSE: Duration = Duration::from_secs(2);

/// After how long the wait for WAL is spoken of: the archiver takes a second, a receiver no longer than a store does.
const LONG: Duration = Duration::from_mins(1);

/// Enough of a segment for its header.
const HEADER_BYTES: u64 = 8192;

/// The WAL that a backup needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed {
    /// The timeline of all of it.
    pub timeline: Timeline,
    /// Where it begins.
    pub start: Lsn,
    /// Where it ends.
    pub stop: Lsn,
    /// The size of a segment.
    pub size: SegmentSize,
}

impl Needed {
    /// The segments that hold it, in order.
    pub fn segments(&self) -> Vec<SegmentName> {
        SegmentName::holding(self.timeline, self.start, self.stop, self.size).collect()
    }
}

/// How the WAL of a backup will be made sure of: what is asked for, else what the server does by itself.
///
/// # Errors
/// 78 where there is no way; 64 where stores are named without a cluster.
pub fn plan(args: &WalArgs, archives: bool, in_recovery: bool) -> Result<WalKept, Failure> {
    match (args.with_wal, args.from.is_empty(), archives) {
        (true, ..) => Ok(WalKept::Inside),
        (false, false, _) if args.cluster.is_none() => Err(Failure::new(
            Exit::Usage,
            "--from without --cluster: whose WAL is looked for?",
            "see `dr-base --help` or `man dr-base`",
        )),
        (false, false, _) => Ok(WalKept::Verified),
        (false, true, true) => Ok(WalKept::Archived),
        (false, true, false) => {
            let what = if in_recovery {
                "the standby does not archive WAL (archive_mode is not always)"
            } else {
                "the server does not archive WAL"
            };
            Err(Failure::new(
                Exit::Config,
                format!("{what}: nothing would make sure of what the backup needs"),
                "add --with-wal; or name the stores that WAL is streamed to with --from; or set archive_mode and archive_command",
            ))
        }
    }
}

/// Waits until the archiver of the server at `pgdata` has taken each segment, as the server itself would wait
/// (`XLogArchiveIsBusy` in `src/backend/access/transam/xlogarchive.c`).
///
/// # Errors
/// 69 when the time is over; 78 where the server will never archive one.
pub fn wait_for_archiver(pgdata: &Path, needed: &Needed, patience: Duration) -> Result<(), Failure> {
    let wal = pgdata.join("pg_wal");
    let mut left = needed.segments();
    let mut wait = Wait::new(patience);
    loop {
        left.retain(|segment| is_busy(&wal, segment));
        let Some(first) = left.first() else { return Ok(()) };
        if is_forgotten(&wal, first).map_err(|error| Failure::io(wal.display(), &error))? {
            let message = format!("this server will never archive {first}: it came with the copy that the standby was made from");
            let hint = "name the store that has it from the primary with --from, or add --with-wal; nothing was published";
            return Err(Failure::new(Exit::Config, message, hint));
        }
        wait.goes_on("this server's archiver", first, left.len())?;
        std::thread::park_timeout(PAUSE);
    }
}

/// Whether a segment is still to be archived. One that is neither there nor spoken of was archived, and removed since.
fn is_busy(wal: &Path, segment: &SegmentName) -> bool {
    let has = |name: String| wal.join(name).exists();
    let is_done = has(format!("archive_status/{segment}.done"));
    !is_done && (has(format!("archive_status/{segment}.ready")) || has(segment.to_string()))
}

/// Whether the archiver knows a later segment of the timeline, and not this one.
fn is_forgotten(wal: &Path, segment: &SegmentName) -> io::Result<bool> {
    let (mut known, mut later) = (false, false);
    for entry in wal.join("archive_status").read_dir()? {
        let name = entry?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".done").or_else(|| name.strip_suffix(".ready")));
        if let Some(other) =
            stem.and_then(|stem| stem.parse::<SegmentName>().ok()).filter(|other| other.timeline == segment.timeline)
        {
            known |= other == *segment;
            later |= other > *segment;
        }
    }
    // Whatever it is told of comes in order; but it may have been told, and the segment removed, since we looked.
    Ok(later && !known && wal.join(segment.to_string()).exists())
}

/// Waits until each store has each segment.
///
/// # Errors
/// 69 when the time is over; else as a store says.
pub fn wait_for_stores(stores: &[Store], cluster: &str, needed: &Needed, patience: Duration) -> Result<(), Failure> {
    let mut wait = Wait::new(patience);
    for store in stores {
        let mut left = needed.segments();
        loop {
            let inventory = Shelf::new(store, cluster).inventory_of(needed.timeline)?;
            left.retain(|segment| !inventory.has(&WalName::Segment(*segment)));
            let Some(first) = left.first() else { break };
            wait.goes_on(store.location(), first, left.len())?;
            std::thread::park_timeout(STORE_PAUSE.min(wait.deadline.saturating_duration_since(Instant::now())));
        }
    }
    Ok(())
}

/// A wait that ends, and that speaks of itself once it is a long one.
struct Wait {
    patience: Duration,
    deadline: Instant,
    speaks_at: Option<Instant>,
}

impl Wait {
    /// A wait that begins now.
    fn new(patience: Duration) -> Self {
        let now = Instant::now();
        Self { patience, deadline: now + patience, speaks_at: Some(now + LONG) }
    }

    /// Whether there is time left, while `count` segments, `first` the first, are missing in what is waited `on`.
    fn goes_on(&mut self, on: impl Display, first: &SegmentName, count: usize) -> Result<(), Failure> {
        let (now, seconds) = (Instant::now(), self.patience.as_secs());
        if now >= self.deadline {
            return Err(Failure::new(
                Exit::Unavailable,
                format!(
                    "{on}: {count} segments of WAL that the backup needs, {first} the first, are not archived after {seconds} seconds"
                ),
                "pg_stat_archiver and the server's log say why; of a standby, run pg_switch_wal() on its primary; nothing was published",
            ));
        }
        if self.speaks_at.take_if(|at| now >= *at).is_some() {
            let long = LONG.as_secs();
            warn(TOOL, format!("{on}: still without {first}, which the backup needs, after {long} seconds: waits up to {seconds}"));
        }
        Ok(())
    }
}

/// Copies the segments out of `pg_wal` into the archive, on `workers` threads.
///
/// # Errors
/// 75 where the server has removed one; 65 where one is not what its name says.
pub fn copy<W: Write + Send>(archive: &Writer<W>, pgdata: &Path, needed: &Needed, workers: usize) -> Result<(), Failure> {
    copy_history(archive, pgdata, needed.timeline)?;
    let (segments, next) = (needed.segments(), AtomicUsize::new(0));
    let work = || {
        while let Some(segment) = segments.get(next.fetch_add(1, Ordering::Relaxed)) {
            copy_one(archive, pgdata, segment, needed.size)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let working: Vec<_> = (0..workers.clamp(1, segments.len())).map(|_| scope.spawn(work)).collect();
        let worked = working.into_iter().map(|worker| worker.join().expect("a panic ends the process (dr_pipe::run)"));
        let failed: Vec<Failure> = worked.filter_map(Result::err).collect();
        let cause = failed.iter().position(|failure| failure.exit != Exit::Bug).unwrap_or(0);
        failed.into_iter().nth(cause).map_or(Ok(()), Err)
    })
}

fn copy_one<W: Write + Send>(archive: &Writer<W>, pgdata: &Path, segment: &SegmentName, size: SegmentSize) -> Result<(), Failure> {
    let source = pgdata.join("pg_wal").join(segment.to_string());
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => removed(segment),
        _ => Failure::io(source.display(), &error),
    };
    let mut file = File::open(&source).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mut first = Vec::new();
    (&mut file).take(HEADER_BYTES).read_to_end(&mut first).map_err(failed)?;
    header::check_segment(&first, metadata.size(), segment)?;
    archive.streamed(&format!("pg_wal/{segment}"), None, size.bytes(), &mut first.chain(file))?;
    // A segment that is not needed any more gets another name, and then another content.
    let after = source.metadata().map_err(failed)?;
    if (after.dev(), after.ino()) != (metadata.dev(), metadata.ino()) {
        return Err(removed(segment));
    }
    // As pg_basebackup does: a server that is restored from it does not archive it again.
    Ok(archive.small(&format!("pg_wal/archive_status/{segment}.done"), None, b"")?)
}

/// Adds the history of the timeline, where it has one: recovery asks for it.
fn copy_history<W: Write + Send>(archive: &Writer<W>, pgdata: &Path, timeline: Timeline) -> Result<(), Failure> {
    let path = format!("pg_wal/{}", WalName::History(timeline));
    match std::fs::read(pgdata.join(&path)) {
        Ok(text) => Ok(archive.small(&path, None, &text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::io(&path, &error)),
    }
}

fn removed(segment: &SegmentName) -> Failure {
    Failure::new(
        Exit::Busy,
        format!("the server has removed the WAL segment {segment}, which the backup needs"),
        "let the role make a replication slot (REPLICATION, max_replication_slots), or raise wal_keep_size or max_slot_wal_keep_size; nothing was published",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn segments(start: u64, stop: u64) -> Vec<String> {
        let needed = Needed { timeline: Timeline(1), start: Lsn(start), stop: Lsn(stop), size: SegmentSize::DEFAULT };
        needed.segments().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_segments_of_a_backup_go_from_its_start_to_the_last_byte_before_its_stop() {
        assert_eq!(segments(0x0200_0028, 0x0200_0100), ["000000010000000000000002"]);
        assert_eq!(segments(0x0200_0028, 0x0300_0000), ["000000010000000000000002"]);
        assert_eq!(segments(0xFF00_0028, 0x1_0000_0028), ["0000000100000000000000FF", "000000010000000100000000"]);
    }

    #[test]
    fn a_long_wait_is_spoken_of_once_and_ends() {
        let segment = SegmentName::holding(Timeline(1), Lsn(1), Lsn(2), SegmentSize::DEFAULT).next().unwrap();
        let mut wait = Wait::new(Duration::from_secs(600));
        wait.goes_on("s3://b/p", &segment, 1).unwrap();
        assert!(wait.speaks_at.is_some());
        wait.speaks_at = Some(Instant::now());
        wait.goes_on("s3://b/p", &segment, 1).unwrap();
        assert!(wait.speaks_at.is_none());
        wait.deadline = Instant::now();
        let failure = wait.goes_on("s3://b/p", &segment, 1).unwrap_err();
        assert!(failure.exit == Exit::Unavailable && failure.message.starts_with("s3://b/p: 1 segments"), "{failure:?}");
    }

    #[test]
    fn f52_a_segment_is_archived_when_the_server_says_so() {
        let scratch = tempfile::tempdir().unwrap();
        let wal = scratch.path().join("pg_wal");
        std::fs::create_dir_all(wal.join("archive_status")).unwrap();
        let needed = Needed { timeline: Timeline(1), start: Lsn(0x0200_0028), stop: Lsn(0x0200_0100), size: SegmentSize::DEFAULT };
        let segment = needed.segments()[0];
        assert!(!is_busy(&wal, &segment), "archived and removed");
        std::fs::write(wal.join(segment.to_string()), "").unwrap();
        assert!(is_busy(&wal, &segment), "not yet offered");
        let status = |name: &str| wal.join(format!("archive_status/{segment}.{name}"));
        std::fs::write(status("ready"), "").unwrap();
        assert!(is_busy(&wal, &segment));
        let failure = wait_for_archiver(scratch.path(), &needed, Duration::ZERO).unwrap_err();
        assert_eq!(failure.exit, Exit::Unavailable);
        std::fs::remove_file(status("ready")).unwrap();
        std::fs::write(wal.join("archive_status/000000010000000000000001.done"), "").unwrap();
        assert_eq!(wait_for_archiver(scratch.path(), &needed, Duration::ZERO).unwrap_err().exit, Exit::Unavailable);
        std::fs::write(wal.join("archive_status/000000010000000000000003.done"), "").unwrap();
        let failure = wait_for_archiver(scratch.path(), &needed, Duration::from_secs(600)).unwrap_err();
        assert!(failure.exit == Exit::Config && failure.hint.contains("--from"), "{failure:?}");
        std::fs::write(status("done"), "").unwrap();
        wait_for_archiver(scratch.path(), &needed, Duration::ZERO).unwrap();
    }
}
