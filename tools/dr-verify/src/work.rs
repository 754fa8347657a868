//! What is to be read, in which order, and how much of it now?

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use dr_pipe::record::Depth;
use dr_pipe::{Failure, warn};
use dr_wal::{SegmentName, WalName};
use indicatif::HumanBytes;

use crate::TOOL;
use crate::args::Args;
use crate::memory::{self, Face, Look, Part};
use crate::object::{self, Eyes, Seen};
use crate::place::{Cluster, Place};
use crate::segment::{self, File};
use crate::{finding, verify};

/// How often what was read is remembered while the rest is read.
const REMEMBERED_EVERY: Duration = Duration::from_secs(60);

/// Something to be read.
#[derive(Clone, Debug)]
pub struct Job {
    /// The place of its store.
    pub place: usize,
    /// The place of its cluster in that.
    pub cluster: usize,
    /// What it is.
    pub what: What,
    /// When it was read last.
    pub read_at: Option<DateTime<Utc>>,
    /// How old it is itself.
    pub made_at: Option<DateTime<Utc>>,
    /// Its size.
    pub bytes: u64,
    /// How deep it is looked into.
    pub depth: Depth,
}

/// What is read in one go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The object of the backup at this place.
    Backup(usize),
    /// A file of WAL.
    Wal(WalName),
    /// The pieces of a segment.
    Pieces(SegmentName),
}

/// All that is due, what was never read first, then what was read longest ago.
pub fn due(places: &[Place], args: &Args, now: DateTime<Utc>) -> Vec<Job> {
    if args.remembered {
        return Vec::new();
    }
    let mut jobs = Vec::new();
    for (place, clusters) in places.iter().enumerate().map(|(place, it)| (place, &it.clusters)) {
        for (number, cluster) in clusters.iter().enumerate() {
            let job =
                |what, made_at, bytes, read_at| Job { place, cluster: number, what, read_at, made_at, bytes, depth: args.depth() };
            of_backups(cluster, args, now, &mut |what, made_at, bytes, read_at| jobs.push(job(what, made_at, bytes, read_at)));
            if args.is_whole() {
                of_log(cluster, args, now, &mut |what, made_at, bytes, read_at| jobs.push(job(what, made_at, bytes, read_at)));
            }
        }
    }
    jobs.sort_by_key(|job| (job.read_at, job.made_at));
    jobs
}

type Add<'a> = dyn FnMut(What, Option<DateTime<Utc>>, u64, Option<DateTime<Utc>>) + 'a;

fn of_backups(cluster: &Cluster, args: &Args, now: DateTime<Utc>, add: &mut Add) {
    let known = cluster.known();
    for (place, kept) in cluster.backups.iter().enumerate() {
        let look = known.look(&kept.key, &kept.face);
        let seen = look.map(|look| (look.checked_at, look.depth, !finding::is_bad(&look.findings)));
        let manifest = &kept.backup.manifest;
        if memory::is_due(seen, depth(args, !manifest.recipients.is_empty()), args.every, now) {
            add(What::Backup(place), Some(manifest.stored_at), manifest.bytes, seen.map(|(at, ..)| at));
        }
    }
}

/// How deep something can be looked into.
fn depth(args: &Args, encrypted: bool) -> Depth {
    if encrypted && args.identities.identities.is_empty() { Depth::Bytes } else { args.depth() }
}

fn of_log(cluster: &Cluster, args: &Args, now: DateTime<Utc>, add: &mut Add) {
    let Some(log) = &cluster.log else { return };
    let known = cluster.known();
    for (name, item) in &log.inventory.files {
        let good = known.good_wal(log.mark(name));
        let seen = good.map(|(at, depth)| (at, depth, true));
        let depth = depth(args, item.objects.iter().any(|object| object.encrypted));
        if memory::is_due(seen, depth, args.every, now) {
            let bytes = item.objects.iter().map(|object| object.bytes).sum();
            let made_at = item.objects.first().and_then(|object| object.modified_at);
            add(What::Wal(*name), made_at, bytes, seen.map(|(at, ..)| at));
        }
    }
    for (segment, pieces) in log.inventory.pieces.iter().filter(|(segment, _)| !log.inventory.has(&WalName::Segment(**segment))) {
        // Without the key nothing says what an encrypted piece should be.
        if pieces.iter().all(|item| !item.encrypted) || depth(args, true) == Depth::Content {
            let made_at = pieces.iter().filter_map(|item| item.modified_at).min();
            add(What::Pieces(*segment), made_at, pieces.iter().map(|item| item.bytes).sum(), None);
        }
    }
}

/// The reading of all that is due, by several threads.
pub struct Work<'a> {
    /// The stores.
    pub places: &'a [Place],
    /// What is due.
    pub jobs: &'a [Job],
    /// With what it is read.
    pub eyes: Eyes<'a>,
    /// What was typed.
    pub args: &'a Args,
    /// When the run began.
    pub now: DateTime<Utc>,
    /// What is said of it.
    pub answer: &'a crate::print::Answer,
    state: Mutex<State>,
    began: Instant,
}

struct State {
    next: usize,
    /// Bytes of what was begun.
    begun: u64,
    failures: Vec<Failure>,
    remembered: Instant,
}

impl<'a> Work<'a> {
    /// Nothing is read yet.
    pub fn new(
        places: &'a [Place],
        jobs: &'a [Job],
        eyes: Eyes<'a>,
        args: &'a Args,
        now: DateTime<Utc>,
        answer: &'a crate::print::Answer,
    ) -> Self {
        let began = Instant::now();
        let state = Mutex::new(State { next: 0, begun: 0, failures: Vec::new(), remembered: began });
        Work { places, jobs, eyes, args, now, answer, state, began }
    }

    /// Reads; gives what failed.
    pub fn run(&self) -> Vec<Failure> {
        let read = || {
            while let Some(job) = self.next() {
                if let Err(failure) = self.read(job) {
                    self.state().failures.push(failure);
                }
                self.remember_now_and_then();
            }
        };
        std::thread::scope(|scope| {
            // Where no more threads are to be had (ulimit), those that are there do the work; at the least this one.
            for _ in 1..self.args.readers().min(self.jobs.len()) {
                if std::thread::Builder::new().spawn_scoped(scope, read).is_err() {
                    break;
                }
            }
            read();
        });
        self.remember();
        let state = self.state();
        let left = &self.jobs[state.next.min(self.jobs.len())..];
        if !left.is_empty() {
            let bytes: u64 = left.iter().map(|job| job.bytes).sum();
            warn(TOOL, format!("{} objects are still due, {}: run it again", left.len(), HumanBytes(bytes)));
        }
        state.failures.clone()
    }

    /// The next job, unless enough was begun. The first is always done, however large: else it would never be.
    fn next(&self) -> Option<&'a Job> {
        let mut state = self.state();
        let job = self.jobs.get(state.next)?;
        let too_much = self.args.max_bytes.is_some_and(|most| state.begun + job.bytes > most.0);
        let too_late = self.args.max_duration.is_some_and(|most| most.to_std().is_ok_and(|most| self.began.elapsed() >= most));
        if state.next > 0 && (too_much || too_late) {
            return None;
        }
        state.next += 1;
        state.begun += job.bytes;
        Some(job)
    }

    fn read(&self, job: &Job) -> Result<(), Failure> {
        let place = &self.places[job.place];
        let cluster = &place.clusters[job.cluster];
        let eyes = Eyes { depth: job.depth, ..self.eyes };
        if place.failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let read = match &job.what {
            What::Backup(number) => self.read_backup(place, cluster, *number, &eyes),
            What::Wal(name) => self.read_wal(place, cluster, *name, &eyes),
            What::Pieces(segment) => self.read_pieces(place, cluster, *segment, &eyes),
        };
        read.inspect_err(|failure| {
            // Of a store that does not answer, nothing more is asked.
            if matches!(failure.exit, dr_pipe::Exit::Unavailable | dr_pipe::Exit::Config) {
                place.failed.store(true, Ordering::Relaxed);
            }
        })
    }

    fn read_backup(&self, place: &Place, cluster: &Cluster, number: usize, eyes: &Eyes) -> Result<(), Failure> {
        let kept = &cluster.backups[number];
        match object::examine(place, cluster, kept, eyes)? {
            Seen::Gone => {
                cluster.gone().insert(number);
                cluster.told().insert(number);
                return Ok(());
            }
            Seen::Unread(finding) => self.answer.say(&[finding], None)?,
            Seen::Whole(depth, findings) => {
                let look = Look { of: kept.face.clone(), checked_at: Utc::now().max(self.now), depth, findings };
                cluster.known().note(&kept.key, look);
            }
        }
        // A base is told when it is known which WAL is good.
        if verify::waits(cluster, kept) {
            return Ok(());
        }
        cluster.told().insert(number);
        verify::tell(self.answer, cluster, kept, &[])
    }

    fn read_wal(&self, place: &Place, cluster: &Cluster, name: WalName, eyes: &Eyes) -> Result<(), Failure> {
        let Some(log) = &cluster.log else { return Ok(()) };
        let (depth, findings) = File { place, cluster, log, name }.examine(eyes)?;
        let item = &log.inventory.files[&name];
        let key = item.objects.first().map(|object| &object.key).or_else(|| item.claims.first().map(|(key, _)| key));
        self.answer.say(&findings, None)?;
        if let Some(key) = key {
            let bytes = item.objects.iter().map(|object| object.bytes).sum();
            let of = Face { bytes, sha256: None, modified_at: None, mark: Some(log.mark(&name)) };
            cluster.known().note_wal(key, Look { of, checked_at: self.now, depth, findings: findings.clone() });
        }
        if finding::is_bad(&findings) {
            cluster.bad().insert(name);
        }
        Ok(())
    }

    fn read_pieces(&self, place: &Place, cluster: &Cluster, segment: SegmentName, eyes: &Eyes) -> Result<(), Failure> {
        let Some(log) = &cluster.log else { return Ok(()) };
        if eyes.depth != Depth::Content && log.inventory.pieces[&segment].iter().any(|item| item.encrypted) {
            return Ok(());
        }
        let findings = segment::examine_pieces(place, cluster, log, segment, eyes)?;
        self.answer.say(&findings, None)
    }

    fn remember_now_and_then(&self) {
        let mut state = self.state();
        if state.remembered.elapsed() >= REMEMBERED_EVERY {
            state.remembered = Instant::now();
            drop(state);
            self.remember();
        }
    }

    /// Keeps what is known for the next run.
    fn remember(&self) {
        if !self.args.is_of_now() {
            return;
        }
        let clusters = self.places.iter().flat_map(|place| place.clusters.iter().map(move |cluster| (place, cluster)));
        let known: Vec<_> = clusters.map(|(place, cluster)| (&place.full, &cluster.name, cluster.known())).collect();
        let parts: Vec<Part> = known.iter().map(|(store, cluster, known)| Part { store, cluster, known }).collect();
        if let Err(warning) = memory::remember(&parts) {
            warn(TOOL, warning);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
