//! A backup of the files of this host, read beside the running server.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dr_archive::{Finished, Options, Own, Writer};
use dr_pipe::progress::Progress;
use dr_pipe::record::{Base, Extent, WalKept};
use dr_pipe::scratch::Scratch;
use dr_pipe::{Exit, Failure, Output, WriteBehind, stream};
use dr_postgres::Session;
use dr_store::Store;

use crate::args::Args;
use crate::copy::Copy;
use crate::facts::{self, Facts};
use crate::held::{Held, Stopped};
use crate::label::{self, Label};
use crate::manifest::{self, Manifest};
use crate::pages::Pages;
use crate::rate::Limit;
use crate::wal::{self, Needed};
use crate::walk::{Walk, inside};
use crate::{TOOL, config, control};

/// Where a file is cut: whole pages, of any size that PostgreSQL knows.
const ALIGN_BYTES: usize = 32 << 10;

/// How many seconds the postmaster's own two ideas of when it began may differ.
const START_SECONDS: i64 = 10;

/// What was written, and what it is.
pub struct Taken {
    /// Size and digest of the output.
    pub extent: Extent,
    /// What the archive holds.
    pub finished: Finished,
    /// What recovery needs to know.
    pub base: Base,
}

/// What a backup needs besides the server.
pub struct Plan<'p> {
    /// The command line.
    pub args: &'p Args,
    /// The facts of the cluster.
    pub facts: Facts,
    /// How the WAL is made sure of.
    pub wal: WalKept,
    /// The stores that it is looked for in.
    pub stores: Vec<Store>,
}

impl Plan<'_> {
    /// How long to wait for WAL.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.args.wal.wal_timeout.into())
    }

    /// Waits until the WAL is in every store that was named.
    ///
    /// # Errors
    /// 69 when the time is over.
    pub fn seen(&self, needed: &Needed) -> Result<(), Failure> {
        let cluster = self.args.wal.cluster.as_deref().unwrap_or_default();
        wal::wait_for_stores(&self.stores, cluster, needed, self.patience())
    }

    /// How the archive is written.
    pub fn options(&self, taken_at_unix_seconds: u64) -> Options {
        Options {
            level: self.args.level,
            window: self.args.jobs.workers() + 2,
            own: Own::InPgWal,
            paths_are_unique: true,
            align_bytes: ALIGN_BYTES,
            ..Options::new(taken_at_unix_seconds)
        }
    }
}

/// The data directory, if it can be read here, and is the one that the server works in.
///
/// # Errors
/// Why it is not: unreadable, of another cluster, or of another server of the same cluster, such as a standby on this host.
pub fn data_directory(pgdata: &Path, facts: &Facts) -> Result<PathBuf, Failure> {
    let pgdata = pgdata.canonicalize().map_err(|error| Failure::io(pgdata.display(), &error))?;
    let found = control::system_identifier(&control::read(&pgdata)?);
    let lock = pgdata.join("postmaster.pid");
    let lock = std::fs::read_to_string(&lock).map_err(|error| Failure::io(lock.display(), &error))?;
    // The third line: when the postmaster began (`src/include/utils/pidfile.h`).
    let started = lock.lines().nth(2).and_then(|line| line.trim().parse::<i64>().ok());
    let is_this = started.is_some_and(|started| (facts.started_unix_seconds - started).abs() <= START_SECONDS);
    if found.as_ref() == Some(&facts.system_identifier) && is_this {
        return Ok(pgdata);
    }
    let hint = "name its own with --pgdata, or take the backup over the network with --remote";
    Err(Failure::new(
        Exit::Config,
        format!("{} is not the data directory of the server that we are connected to", pgdata.display()),
        hint,
    ))
}

/// Takes the backup of the cluster at `pgdata`.
///
/// # Errors
/// Then what was written counts for nothing.
pub fn take(plan: &Plan<'_>, session: Session, pgdata: &Path, output: Output) -> Result<Taken, Failure> {
    let scratch = Scratch::new()?;
    let mut held = Held::start(session, plan.args)?;
    let tablespaces = facts::tablespaces(held.session())?;
    let facts = &plan.facts;
    let out = WriteBehind::new(output).map_err(|error| Failure::io("standard output", &error))?;
    let archive = Writer::new(out, plan.options(held.started_at.timestamp().unsigned_abs()));
    let manifest = Manifest::new(scratch.path(), facts.major(), &facts.system_identifier)?;
    let pages = facts.page_checksums.then(|| Pages::new(facts.segment.page_bytes, held.start));
    let progress = Progress::new(TOOL, facts.bytes);
    let copy = Copy {
        archive: &archive,
        manifest: &manifest,
        pages: pages.as_ref(),
        segment: facts.segment,
        limit: &Limit::new(plan.args.max_rate),
        progress: &progress,
    };
    let walk = Walk {
        pgdata,
        version: format!("PG_{}_{}", facts.major(), facts.catalog_version),
        ours: scratch.path().canonicalize().unwrap_or_else(|_| scratch.path().to_owned()),
        inside: inside(pgdata, &tablespaces),
        tablespaces,
    };
    copy.all(&walk, plan.args.jobs.workers())?;
    config::add(&copy, &facts.configuration, pgdata)?;
    let (stopped, label) = stop(&copy, &mut held, pgdata, &walk.tablespaces)?;
    progress.finish();
    let needed = Needed { timeline: label.timeline, start: label.start, stop: stopped.stop, size: facts.wal_segment };
    make_sure_of_wal(plan, &archive, pgdata, &needed)?;
    // From here on the server may do with its WAL as it likes.
    drop(held);
    let (mut text, bytes, files) = manifest.finish(needed.timeline, needed.start, needed.stop)?;
    archive.streamed(manifest::PATH, None, bytes, &mut text)?;
    let (extent, finished) = finish(archive)?;
    let damaged_pages = pages.map_or(0, |pages| pages.damaged(stopped.stop));
    let base = describe(plan, &label, &stopped, Counted { files, damaged_pages });
    Ok(Taken { extent, finished, base })
}

/// The end of the data: `pg_control` last, then the server's word that the backup is over, and what it says.
fn stop<W: Write + Send>(copy: &Copy<'_, W>, held: &mut Held, pgdata: &Path, walked: &[u32]) -> Result<(Stopped, Label), Failure> {
    let modified = SystemTime::now();
    copy.known(control::PATH, &control::read(pgdata)?, modified)?;
    let stopped = held.stop()?;
    let label = Label::read(&stopped.label)?;
    if !stopped.wal_kept {
        dr_pipe::warn(TOOL, "the server has given up the slot of the backup (max_slot_wal_keep_size)");
    }
    let known = label::tablespaces(&stopped.map);
    if let Some(later) = walked.iter().find(|oid| known.iter().all(|tablespace| tablespace.oid != **oid) && is_link(pgdata, **oid))
    {
        let hint = "take the backup again; nothing was published";
        return Err(Failure::new(Exit::Busy, format!("tablespace {later} was made while the backup began"), hint));
    }
    copy.known("backup_label", &stopped.label, modified)?;
    if !stopped.map.is_empty() {
        copy.known("tablespace_map", &stopped.map, modified)?;
    }
    Ok((stopped, label))
}

/// Tablespaces without a place of their own are directories, and in no map.
fn is_link(pgdata: &Path, oid: u32) -> bool {
    pgdata.join(format!("pg_tblspc/{oid}")).is_symlink()
}

fn make_sure_of_wal<W: Write + Send>(plan: &Plan<'_>, archive: &Writer<W>, pgdata: &Path, needed: &Needed) -> Result<(), Failure> {
    match plan.wal {
        WalKept::Inside => wal::copy(archive, pgdata, needed, plan.args.jobs.workers()),
        WalKept::Archived => wal::wait_for_archiver(pgdata, needed, plan.patience()),
        WalKept::Verified => plan.seen(needed),
    }
}

/// Ends the archive, and makes it durable where it is a file.
///
/// # Errors
/// 74 where it cannot be written.
pub fn finish(archive: Writer<WriteBehind<Output>>) -> Result<(Extent, Finished), Failure> {
    let (out, finished) = archive.finish()?;
    let (output, extent) = out.finish().map_err(|error| Failure::io("writing the archive", &error))?;
    stream::settle(&output)?;
    Ok((extent, finished))
}

/// What was counted on the way.
pub struct Counted {
    /// Files in the manifest.
    pub files: u64,
    /// Pages with a wrong checksum.
    pub damaged_pages: u64,
}

/// What recovery needs to know.
pub fn describe(plan: &Plan<'_>, label: &Label, stopped: &Stopped, counted: Counted) -> Base {
    let facts = &plan.facts;
    Base {
        timeline: label.timeline.0,
        start_lsn: label.start.to_string(),
        stop_lsn: stopped.stop.to_string(),
        started_at: stopped.started_at,
        stopped_at: stopped.stopped_at,
        wal_segment_bytes: facts.wal_segment.bytes(),
        page_bytes: facts.segment.page_bytes,
        page_checksums: facts.page_checksums,
        from_standby: label.from_standby,
        tablespaces: label::tablespaces(&stopped.map),
        settings: facts.settings,
        wal: plan.wal,
        damaged_pages: counted.damaged_pages,
        catalog_version: facts.catalog_version,
        files: counted.files,
    }
}
