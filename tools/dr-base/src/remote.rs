//! A backup over the network: the server's own pg_basebackup reads the files, and its tar becomes our archive.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use dr_archive::{Error, Piece, Writer};
use dr_pipe::progress::Progress;
use dr_pipe::record::WalKept;
use dr_pipe::stream::fill;
use dr_pipe::{Exit, Failure, Output, WriteBehind, child, warn};
use dr_postgres::Session;
use dr_postgres::clients::Client;
use dr_wal::{Lsn, SegmentName, Timeline};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Deserialize;

use crate::args::{Args, Checkpoint};
use crate::copy::{SMALL_BYTES, Segment};
use crate::facts;
use crate::held::{self, Stopped};
use crate::label::Label;
use crate::local::{Counted, Plan, Taken, describe, finish};
use crate::pages::{Pages, Run};
use crate::rate::Limit;
use crate::tarball::{Entry, Tarball};
use crate::wal::Needed;
use crate::{TOOL, manifest};

/// How much of the end of `backup_manifest` is kept: its last objects are of a few hundred bytes.
const TAIL_BYTES: usize = 8192;

/// Lines of pg_basebackup that are kept, to say why it failed.
const LINES: usize = 100;

/// Takes the backup.
///
/// # Errors
/// Then what was written counts for nothing.
pub fn take(plan: &Plan<'_>, mut session: Session, output: Output) -> Result<Taken, Failure> {
    if !facts::tablespaces(&mut session)?.is_empty() {
        return Err(Failure::new(
            Exit::Config,
            "the cluster has tablespaces, which pg_basebackup does not write into one stream",
            "run dr-base on the server's host, as a user who may read its files; nothing was written",
        ));
    }
    let program = Client::find("pg_basebackup", plan.facts.major())?;
    let started_at = held::clock(&mut session)?;
    let mut command = Command::new(&program.path);
    command.args(arguments(plan.args, plan.wal)).env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped());
    let guard = session.conninfo().child(&mut command)?;
    let mut running = child::start(&mut command).map_err(|error| Failure::io("pg_basebackup", &error))?;
    let (pid, stdout, stderr) = (running.pid(), running.child.stdout.take(), running.child.stderr.take());
    let said = std::thread::spawn(move || listen(stderr.expect("it is piped")));
    let input = Patient { input: stdout.expect("it is piped"), patience: plan.patience() };
    let repacked = repack(plan, started_at, input, output).inspect_err(|_| child::end(pid));
    let status = running.child.wait().map_err(|error| Failure::io("pg_basebackup", &error))?;
    let said = said.join().unwrap_or_default();
    drop(guard);
    // With a wrong checksum it fails, too, but only after the last byte.
    let checksums = !status.success() && said.iter().any(|line| line.contains("checksum error occurred"));
    let complete_but_wrong = checksums && repacked.is_ok();
    if !(status.success() || complete_but_wrong) {
        // Where we ended it, ours is the reason.
        let ours = repacked.as_ref().err().filter(|failure| failure.exit != Exit::Missing);
        return Err(ours.cloned().unwrap_or_else(|| failed(&said, &status)));
    }
    let repacked = repacked?;
    let stopped_at = held::clock(&mut session)?;
    complete(plan, repacked, started_at, stopped_at, checksums)
}

/// What was read and written.
struct Repacked {
    archive: Writer<WriteBehind<Output>>,
    seen: Seen,
    damaged: Box<dyn Fn(Lsn) -> u64>,
}

/// What was seen on the way.
#[derive(Default)]
struct Seen {
    /// The content of `backup_label`.
    label: Vec<u8>,
    /// The end of `backup_manifest`.
    tail: Vec<u8>,
    /// Segments of WAL.
    wal: Vec<SegmentName>,
    files: u64,
}

fn arguments(args: &Args, wal: WalKept) -> Vec<String> {
    let wal = if wal == WalKept::Inside { "fetch" } else { "none" };
    let checkpoint = if args.checkpoint == Checkpoint::Fast { "fast" } else { "spread" };
    let fixed = ["--pgdata=-", "--format=tar", "--no-password", "--manifest-checksums=SHA256"].map(str::to_owned);
    let chosen = [format!("--wal-method={wal}"), format!("--checkpoint={checkpoint}"), format!("--label={}", args.label)];
    fixed.into_iter().chain(chosen).collect()
}

fn repack(plan: &Plan<'_>, started_at: DateTime<Utc>, input: Patient, output: Output) -> Result<Repacked, Failure> {
    let facts = &plan.facts;
    let out = WriteBehind::new(output).map_err(|error| Failure::io("standard output", &error))?;
    let archive = Writer::new(out, plan.options(started_at.timestamp().unsigned_abs()));
    let progress = Progress::new(TOOL, facts.bytes);
    let limit = Limit::new(plan.args.max_rate);
    let mut repack =
        Repack { archive: &archive, segment: facts.segment, limit, progress: &progress, pages: None, seen: Seen::default() };
    let checked = facts.page_checksums;
    let mut tarball = Tarball::new(input);
    // The label comes first, and says from where on a page may be torn.
    repack.first(&mut tarball)?;
    let start = Label::read(&repack.seen.label)?.start;
    let pages = checked.then(|| Pages::new(facts.segment.page_bytes, start).unnamed());
    repack.pages = pages.as_ref();
    repack.rest(&mut tarball, plan.args.jobs.workers())?;
    let seen = repack.seen;
    progress.finish();
    Ok(Repacked { archive, seen, damaged: Box::new(move |stop| pages.as_ref().map_or(0, |pages| pages.damaged(stop))) })
}

/// A tar on its way into an archive.
struct Repack<'r, W: Write + Send> {
    archive: &'r Writer<W>,
    segment: Segment,
    limit: Limit,
    progress: &'r Progress,
    pages: Option<&'r Pages>,
    seen: Seen,
}

/// A piece with its bytes, and what is needed to judge its pages.
struct Load<'w, W: Write + Send> {
    piece: Piece<'w, W>,
    bytes: Vec<u8>,
    path: String,
    first_block: Option<u32>,
}

impl<'r, W: Write + Send> Repack<'r, W> {
    fn first<R: Read>(&mut self, tarball: &mut Tarball<R>) -> Result<(), Failure> {
        match tarball.next().map_err(cut)? {
            Some(Entry::File(path, bytes)) if path == "backup_label" && bytes < SMALL_BYTES => self.small(tarball, &path, bytes),
            _ => Err(Failure::new(Exit::Protocol, "pg_basebackup does not begin with backup_label", "please report its version")),
        }
    }

    /// Reads on this thread, and has others judge and compress what is large.
    fn rest<R: Read>(&mut self, tarball: &mut Tarball<R>, workers: usize) -> Result<(), Failure> {
        let (loads, arriving) = sync_channel::<Load<'r, W>>(workers);
        let arriving = Mutex::new(arriving);
        let pages = self.pages;
        std::thread::scope(|scope| {
            let arriving = &arriving;
            let working: Vec<_> = (0..workers).map(|_| scope.spawn(move || work(arriving, pages))).collect();
            let read = self.members(tarball, &loads);
            drop(loads);
            let worked = working.into_iter().map(|worker| worker.join().expect("a panic ends the process (dr_pipe::run)"));
            let failures: Vec<Failure> = worked.chain([read]).filter_map(Result::err).collect();
            let cause = failures.iter().position(|failure| failure.exit != Exit::Bug).unwrap_or(0);
            failures.into_iter().nth(cause).map_or(Ok(()), Err)
        })
    }

    fn members<R: Read>(&mut self, tarball: &mut Tarball<R>, loads: &SyncSender<Load<'r, W>>) -> Result<(), Failure> {
        while let Some(entry) = tarball.next().map_err(cut)? {
            match entry {
                Entry::Directory(path) => self.archive.directory(&path)?,
                Entry::File(path, bytes) => {
                    self.progress.add(bytes);
                    match path.strip_prefix("pg_wal/").and_then(|name| name.parse::<SegmentName>().ok()) {
                        Some(segment) => self.seen.wal.push(segment),
                        None => self.seen.files += u64::from(path != manifest::PATH),
                    }
                    if bytes < SMALL_BYTES { self.small(tarball, &path, bytes)? } else { self.large(tarball, &path, bytes, loads)? }
                }
            }
        }
        Ok(())
    }

    fn small<R: Read>(&mut self, tarball: &mut Tarball<R>, path: &str, bytes: u64) -> Result<(), Failure> {
        let mut data = self.read(tarball, bytes)?;
        match path {
            "backup_label" => {
                self.seen.files = 1;
                self.seen.label.clone_from(&data);
            }
            manifest::PATH => self.seen.tail.clone_from(&data),
            _ => judge(self.pages, path, self.segment.first_block(path, bytes), 0, &mut data),
        }
        Ok(self.archive.small(path, None, &data)?)
    }

    fn large<R: Read>(
        &mut self,
        tarball: &mut Tarball<R>,
        path: &str,
        bytes: u64,
        loads: &SyncSender<Load<'r, W>>,
    ) -> Result<(), Failure> {
        let first_block = self.segment.first_block(path, bytes);
        for piece in self.archive.reserve(path, None, bytes)? {
            let range = piece.range();
            let data = self.read(tarball, range.end - range.start)?;
            if path == manifest::PATH {
                self.seen.tail.extend_from_slice(&data[data.len().saturating_sub(TAIL_BYTES)..]);
                self.seen.tail.drain(..self.seen.tail.len().saturating_sub(TAIL_BYTES));
            }
            // Where nobody takes it, all have failed, and say why.
            let load = Load { piece, bytes: data, path: path.to_owned(), first_block };
            loads.send(load).map_err(|_| Failure::from(Error::Abandoned))?;
        }
        Ok(())
    }

    fn read<R: Read>(&self, tarball: &mut Tarball<R>, bytes: u64) -> Result<Vec<u8>, Failure> {
        self.limit.spend(bytes);
        let mut data = vec![0; bytes as usize];
        fill(tarball, &mut data).map_err(cut)?;
        Ok(data)
    }
}

fn work<W: Write + Send>(arriving: &Mutex<Receiver<Load<'_, W>>>, pages: Option<&Pages>) -> Result<(), Failure> {
    let mut result = Ok(());
    loop {
        let load = arriving.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut load) = load else { return result };
        // After a failure the rest is only taken away, so that nobody waits: the archive has failed for all.
        if result.is_ok() {
            judge(pages, &load.path, load.first_block, load.piece.range().start, &mut load.bytes);
            result = load.piece.deposit(&load.bytes).map_err(Failure::from);
        }
    }
}

fn judge(pages: Option<&Pages>, path: &str, first_block: Option<u32>, offset: u64, bytes: &mut [u8]) {
    if let Some((pages, first_block)) = pages.zip(first_block) {
        pages.check(&Run { path, file: None, offset, first_block }, bytes);
    }
}

/// The end: the WAL is made sure of, and the archive ended.
fn complete(
    plan: &Plan<'_>,
    repacked: Repacked,
    started_at: DateTime<Utc>,
    stopped_at: DateTime<Utc>,
    checksums: bool,
) -> Result<Taken, Failure> {
    let Repacked { archive, seen, damaged } = repacked;
    let label = Label::read(&seen.label)?;
    let stop = stop(&seen.tail, label.timeline)?;
    let needed = Needed { timeline: label.timeline, start: label.start, stop, size: plan.facts.wal_segment };
    match plan.wal {
        WalKept::Inside => has(&seen.wal, &needed)?,
        // pg_basebackup has waited for the archiver.
        WalKept::Archived => {}
        WalKept::Verified => plan.seen(&needed)?,
    }
    let (extent, finished) = finish(archive)?;
    // The server reads a page again before it calls it wrong; here it is only counted how many.
    let damaged_pages = if checksums { damaged(stop).max(1) } else { 0 };
    let stopped = Stopped { stop, started_at, stopped_at, label: seen.label, map: Vec::new(), wal_kept: true };
    let base = describe(plan, &label, &stopped, Counted { files: seen.files, damaged_pages });
    Ok(Taken { extent, finished, base })
}

fn has(wal: &[SegmentName], needed: &Needed) -> Result<(), Failure> {
    let missing = needed.segments().into_iter().find(|segment| !wal.contains(segment));
    missing.map_or(Ok(()), |segment| {
        let hint = "raise wal_keep_size on the server; nothing was published";
        Err(Failure::new(
            Exit::Busy,
            format!("pg_basebackup has not brought the WAL segment {segment}, which the backup needs"),
            hint,
        ))
    })
}

/// A range of WAL, as the manifest lists it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Range {
    timeline: u32,
    #[serde(rename = "End-LSN")]
    end: Lsn,
}

/// Where the backup is consistent: the end of the one range of WAL that the manifest names.
fn stop(tail: &[u8], timeline: Timeline) -> Result<Lsn, Failure> {
    let text = String::from_utf8_lossy(tail);
    let ranges = text.rsplit_once("\"WAL-Ranges\": ").and_then(|(_, rest)| Some(rest.rsplit_once(",\n\"Manifest-Checksum\"")?.0));
    let ranges: Option<Vec<Range>> = ranges.and_then(|ranges| serde_json::from_str(ranges).ok());
    match ranges.as_deref() {
        Some([range]) if range.timeline == timeline.0 => Ok(range.end),
        Some([_, ..]) => Err(Failure::new(
            Exit::Busy,
            "the server was promoted, or followed another primary, during the backup",
            "take the backup again; nothing was published",
        )),
        _ => Err(Failure::new(
            Exit::Protocol,
            "pg_basebackup wrote no backup_manifest that ends with ranges of WAL",
            "please report its version",
        )),
    }
}

/// An input that has so long to say something.
struct Patient {
    input: ChildStdout,
    patience: Duration,
}

impl Read for Patient {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let timeout = Timespec { tv_sec: self.patience.as_secs().cast_signed(), tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&self.input, PollFlags::IN)], Some(&timeout))?;
        if ready == 0 { Err(io::ErrorKind::TimedOut.into()) } else { self.input.read(buf) }
    }
}

/// Why the tar ended, or is none. An early end is pg_basebackup's own to explain.
fn cut(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::TimedOut => Failure::new(
            Exit::Unavailable,
            "pg_basebackup has written nothing for as long as --wal-timeout allows",
            "at the end it waits for WAL to be archived: pg_stat_archiver says why it is not; nothing was published",
        ),
        io::ErrorKind::UnexpectedEof => {
            Failure::new(Exit::Missing, "pg_basebackup ended before its tar did", "nothing was published")
        }
        io::ErrorKind::InvalidData => {
            Failure::new(Exit::Protocol, error.to_string(), "please report its version; nothing was published")
        }
        _ => Failure::io("reading from pg_basebackup", &error),
    }
}

/// What pg_basebackup says, of which warnings are passed on.
fn listen(stderr: impl Read) -> Vec<String> {
    let mut lines = Vec::new();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if line.starts_with("WARNING:") {
            warn(TOOL, format!("pg_basebackup: {line}"));
        }
        if lines.len() < LINES {
            lines.push(line);
        }
    }
    lines
}

fn failed(said: &[String], status: &std::process::ExitStatus) -> Failure {
    let line = said.iter().find(|line| line.contains("error:")).or(said.last()).map_or("it said nothing", String::as_str);
    let has = |needle: &str| said.iter().any(|line| line.contains(needle));
    let (exit, hint) = if has("no pg_hba.conf entry for replication") || has("must be superuser or") || has("permission denied") {
        (Exit::Denied, "the role needs REPLICATION, and a line for replication in pg_hba.conf")
    } else if has("number of requested standby connections exceeds") || has("all replication slots are in use") {
        (Exit::Unavailable, "raise max_wal_senders, or try again later")
    } else if has("promoted during online backup") {
        (Exit::Busy, "take the backup again")
    } else if has("connection to server") || has("server closed the connection") || has("terminating") {
        (Exit::Unavailable, "see the server's log")
    } else {
        (Exit::Io, "see the server's log")
    };
    Failure::new(exit, format!("pg_basebackup failed ({status}): {line}"), hint).leaving("nothing was published")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_stop_is_at_the_end_of_the_manifest() {
        let tail = |ranges: &str| {
            format!("\"Checksum\": \"00\" }}\n],\n\"WAL-Ranges\": [\n{ranges}\n],\n\"Manifest-Checksum\": \"00\"}}\n")
        };
        let range = |timeline: u32| format!("{{ \"Timeline\": {timeline}, \"Start-LSN\": \"0/28\", \"End-LSN\": \"1/30\" }}");
        assert_eq!(stop(tail(&range(3)).as_bytes(), Timeline(3)).unwrap(), Lsn(0x1_0000_0030));
        let two = format!("{},\n{}", range(4), range(3));
        assert_eq!(stop(tail(&two).as_bytes(), Timeline(3)).unwrap_err().exit, Exit::Busy);
        assert_eq!(stop(b"", Timeline(3)).unwrap_err().exit, Exit::Protocol);
    }
}
