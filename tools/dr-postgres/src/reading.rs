//! Reading a whole database at one snapshot, by many sessions at once, inside one big table too.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dr_pipe::progress::Progress;
use dr_pipe::record::{Fingerprint, Subject};
use dr_pipe::{Exit, Failure, warn};

use crate::Error;
use crate::binary::Lines;
use crate::conninfo::ConnInfo;
use crate::fingerprint::RowSum;
use crate::relations::{Relation, RelationKind};
use crate::rows::{Interruption, NoSink, Origin, RowReader, Sink};
use crate::scope::ScopeArgs;
use crate::sequences::{self, SequenceState};
use crate::snapshot::{Snapshot, SnapshotArgs};
use crate::wire::{Canceller, Session};
use crate::{large_objects, oversize};

/// What one reader takes at a time of a large table, in bytes on the server's disk.
const CHUNK_BYTES: u64 = 64 << 20;

/// What was read.
#[derive(Debug)]
pub struct Reading {
    /// One for each table and sequence, and one for all large objects where there are any; in the order of their names.
    pub fingerprints: Vec<Fingerprint>,
    /// The sequences, read after all rows: they may be ahead of them, never behind.
    pub sequences: Vec<SequenceState>,
    /// Rows of all tables.
    pub rows: u64,
}

/// How to read.
pub struct Reader<'a, S: Sink> {
    /// The tool's name, for warnings and `application_name`.
    pub tool: &'a str,
    /// Where the server is.
    pub conn: &'a ConnInfo,
    /// How many sessions read at once, beside the one that holds the snapshot.
    pub workers: usize,
    /// Who takes the rows.
    pub sink: &'a S,
    /// Told of every byte.
    pub progress: &'a Progress,
}

/// One thing for one session to read.
enum Job<'a> {
    /// Rows of a table: of all blocks, or from the first up to before the last.
    Rows { relation: &'a Relation, blocks: Option<(u64, Option<u64>)>, bytes: u64 },
    /// Some large objects.
    LargeObjects(Vec<u32>),
}

/// What the threads share.
struct Shared<'a> {
    queue: Mutex<VecDeque<Job<'a>>>,
    sums: Mutex<BTreeMap<(Subject, String), RowSum>>,
    failure: Mutex<Option<Failure>>,
    cancellers: Mutex<Vec<Canceller>>,
    stop: AtomicBool,
}

impl<S: Sink> Reader<'_, S> {
    /// Reads all rows, large objects and sequences that `snapshot` shows, and proves at the end that it was held.
    ///
    /// # Errors
    /// The first failure of any session or of the sink; the others are cancelled then.
    pub fn read(&self, snapshot: &mut Snapshot, large_objects: &[u32]) -> Result<Reading, Failure> {
        self.read_while(snapshot, large_objects, |_, _| Ok(()))
    }

    /// The same; the session that holds the snapshot does `meanwhile` before it helps. Its flag says that somebody has failed.
    ///
    /// # Errors
    /// As [`Reader::read`], and those of `meanwhile`.
    pub fn read_while(
        &self,
        snapshot: &mut Snapshot,
        large_objects: &[u32],
        meanwhile: impl FnOnce(&mut Session, &AtomicBool) -> Result<(), Failure>,
    ) -> Result<Reading, Failure> {
        let relations = std::mem::take(&mut snapshot.relations);
        let shared = Shared {
            queue: Mutex::new(plan(&relations, large_objects)),
            sums: Mutex::new(subjects(&relations, !large_objects.is_empty())),
            failure: Mutex::new(None),
            cancellers: Mutex::new(vec![snapshot.session.canceller()]),
            stop: AtomicBool::new(false),
        };
        let workers = self.workers.min(lock(&shared.queue).len());
        let (defer, deferred) = channel();
        std::thread::scope(|scope| {
            for _ in 0..workers {
                let defer = defer.clone();
                let snapshot = &*snapshot;
                let joined = snapshot.join(self.conn, self.tool);
                match joined {
                    Ok(session) => {
                        lock(&shared.cancellers).push(session.canceller());
                        scope.spawn(|| shared.note(self.work(session, &shared, defer)));
                    }
                    Err(failure) => {
                        warn(self.tool, format!("going on with fewer readers: {}", failure.message));
                        break;
                    }
                }
            }
            drop(defer);
            shared.note(
                meanwhile(&mut snapshot.session, &shared.stop).and_then(|()| self.hold(&mut snapshot.session, &shared, deferred)),
            );
        });
        let Shared { sums, failure, .. } = shared;
        if let Some(failure) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(failure);
        }
        let sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
        let sequences = sequences::read(&mut snapshot.session, &relations)?;
        snapshot.is_held()?;
        snapshot.relations = relations;
        Ok(conclude(sums, sequences))
    }

    /// Takes jobs off the queue until it is empty. A table whose lock is not free at once, as a migration has queued for
    /// it, is left to the session that holds the snapshot: that one has the lock already.
    fn work<'j>(&self, mut session: Session, shared: &Shared<'j>, defer: Sender<Job<'j>>) -> Result<(), Failure> {
        let mut locked = HashSet::new();
        let mut buffer = Vec::new();
        while let Some(job) = shared.next() {
            if let Job::Rows { relation, .. } = &job
                && relation.is_lockable()
                && locked.insert(relation.oid)
            {
                let sql = format!("SAVEPOINT dr; LOCK TABLE ONLY {} IN ACCESS SHARE MODE NOWAIT", relation.qualified());
                match session.execute(&sql) {
                    Ok(_) => {}
                    Err(Error::Server(error)) if error.code == "55P03" => {
                        session.execute("ROLLBACK TO SAVEPOINT dr")?;
                        locked.remove(&relation.oid);
                        // The receiver lives until every worker has ended.
                        drop(defer.send(job));
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            buffer = self.run(&mut session, &job, shared, buffer)?;
        }
        // The end of the transaction says that the session lived to the last row.
        session.execute("COMMIT")?;
        Ok(())
    }

    fn hold<'j>(&self, session: &mut Session, shared: &Shared<'j>, deferred: Receiver<Job<'j>>) -> Result<(), Failure> {
        let mut buffer = Vec::new();
        for job in deferred {
            if !shared.stop.load(Ordering::Relaxed) {
                buffer = self.run(session, &job, shared, buffer)?;
            }
        }
        while let Some(job) = shared.next() {
            buffer = self.run(session, &job, shared, buffer)?;
        }
        Ok(())
    }

    fn run(&self, session: &mut Session, job: &Job<'_>, shared: &Shared<'_>, buffer: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let mut sum = RowSum::default();
        let (origin, key) = match job {
            Job::Rows { relation, .. } => (Origin::Table(relation), (Subject::Table, relation.into.clone())),
            Job::LargeObjects(_) => (Origin::LargeObjects, (Subject::LargeObjects, large_objects::NAME.to_owned())),
        };
        let mut rows = RowReader::new(self.sink, origin, &shared.stop, self.progress, buffer);
        match job {
            Job::Rows { relation, blocks, .. } => {
                table(session, relation, *blocks, &mut rows, &mut sum).map_err(|failure| failure.within(relation.qualified()))?;
            }
            Job::LargeObjects(oids) => {
                let sql = large_objects::copy_out(session, oids)?;
                let mut copy = session.copy_out(&sql)?;
                rows.text(&mut copy, &mut sum).map_err(failure)?;
            }
        }
        lock(&shared.sums).entry(key).or_default().add(sum);
        Ok(rows.into_buffer())
    }
}

impl<'a> Shared<'a> {
    fn next(&self) -> Option<Job<'a>> {
        if self.stop.load(Ordering::Relaxed) { None } else { lock(&self.queue).pop_front() }
    }

    /// Keeps the first failure, and stops everybody else.
    fn note(&self, result: Result<(), Failure>) {
        let Err(failure) = result else { return };
        let mut first = lock(&self.failure);
        if first.is_some() {
            return;
        }
        *first = Some(failure);
        drop(first);
        self.stop.store(true, Ordering::Relaxed);
        for canceller in lock(&self.cancellers).iter() {
            // A session that is gone needs no cancelling, and one that goes on is ended with our process.
            drop(canceller.cancel());
        }
    }
}

/// Reads the rows of one table, or of some blocks of it: in binary where that is wanted, else as text, and from the first row on
/// that has no text form, in binary.
fn table<S: Sink>(
    session: &mut Session,
    relation: &Relation,
    blocks: Option<(u64, Option<u64>)>,
    rows: &mut RowReader<'_, S>,
    sum: &mut RowSum,
) -> Result<(), Failure> {
    if let Some(kinds) = &relation.kinds {
        let mut lines = Lines::new(kinds);
        let mut copy = session.copy_out(&format!("{} (FORMAT binary)", copy_sql(relation, blocks)))?;
        let read = rows.binary(&mut copy, Some(&mut lines)).map_err(too_large)?;
        sum.add(lines.sum);
        return if copy.rows() == read { Ok(()) } else { Err(miscounted(copy.rows(), read)) };
    }
    session.execute("SAVEPOINT dr")?;
    let ended = {
        let mut copy = session.copy_out(&copy_sql(relation, blocks))?;
        let ended = rows.text(&mut copy, sum);
        match ended {
            Ok(()) if copy.rows() != sum.rows() => Err(miscounted(copy.rows(), sum.rows()).into()),
            ended => ended,
        }
    };
    match ended {
        Ok(()) => session.execute("RELEASE SAVEPOINT dr")?,
        Err(Interruption::Server(Error::Server(error))) if has_no_text_form(&error.code, &error.message) => {
            session.execute("ROLLBACK TO SAVEPOINT dr")?;
            binary(session, relation, blocks, rows, sum)?;
            session.execute("RELEASE SAVEPOINT dr")?
        }
        Err(interruption) => return Err(failure(interruption)),
    };
    Ok(())
}

/// Reads on in binary behind the rows that `sum` has already. Scans go by ctid, in the same order every time.
fn binary<S: Sink>(
    session: &mut Session,
    relation: &Relation,
    blocks: Option<(u64, Option<u64>)>,
    rows: &mut RowReader<'_, S>,
    sum: &mut RowSum,
) -> Result<(), Failure> {
    let rest = format!("{} OFFSET {}", from(relation, blocks), sum.rows());
    let before = sum.rows();
    let read = {
        let sql = format!("COPY (SELECT {} {rest}) TO STDOUT (FORMAT binary)", relation.select_list());
        rows.binary(&mut session.copy_out(&sql)?, None).map_err(too_large)?
    };
    let select = oversize::select_list(session, relation)?;
    let sql = format!("COPY (SELECT {} {rest}) TO STDOUT (FORMAT binary)", select.list);
    oversize::sum(&mut session.copy_out(&sql)?, &select, sum).map_err(too_large)?;
    if sum.rows() - before != read {
        return Err(miscounted(read, sum.rows() - before));
    }
    Ok(())
}

fn copy_sql(relation: &Relation, blocks: Option<(u64, Option<u64>)>) -> String {
    if blocks.is_none() && relation.condition.is_empty() && relation.kind == RelationKind::Table {
        return format!("COPY {}{} TO STDOUT", relation.qualified(), relation.column_list());
    }
    format!("COPY (SELECT {} {}) TO STDOUT", relation.select_list(), from(relation, blocks))
}

fn from(relation: &Relation, blocks: Option<(u64, Option<u64>)>) -> String {
    let name = relation.qualified();
    match (relation.kind, blocks) {
        (RelationKind::Foreign, _) => format!("FROM {name}"),
        (_, Some((first, Some(end)))) => format!("FROM ONLY {name} WHERE ctid >= '({first},0)' AND ctid < '({end},0)'"),
        (_, Some((first, None))) => format!("FROM ONLY {name} WHERE ctid >= '({first},0)'"),
        (_, None) => format!("FROM ONLY {name} {}", relation.condition),
    }
}

/// Whether an error says that a value or row does not fit the server's 1 GB: `program_limit_exceeded`, or the internal
/// error of its allocator, whose text is never translated.
fn has_no_text_form(code: &str, message: &str) -> bool {
    code == "54000" || (code == "XX000" && message.contains("invalid memory alloc request size"))
}

fn too_large(interruption: Interruption) -> Failure {
    match interruption {
        Interruption::Server(Error::Server(error)) if has_no_text_form(&error.code, &error.message) => Failure::new(
            Exit::Damaged,
            format!("a row beyond 1 GB has neither a text nor a binary form: {}", error.message),
            "store its values in several rows, or as large objects; nothing was published",
        ),
        other => failure(other),
    }
}

fn miscounted(said: u64, seen: u64) -> Failure {
    Failure::new(
        Exit::Protocol,
        format!("the server says it sent {said} rows, {seen} have come"),
        "run it again; if it happens again, please report it",
    )
}

fn failure(interruption: Interruption) -> Failure {
    match interruption {
        Interruption::Server(error) => error.into(),
        Interruption::Failure(failure) => failure,
    }
}

/// Cuts large tables into ranges of blocks; largest tables first, so that no long one is left to the end.
fn plan<'a>(relations: &'a [Relation], large_objects: &[u32]) -> VecDeque<Job<'a>> {
    let mut jobs: Vec<Job<'a>> = large_objects.chunks(large_objects::BATCH).map(|oids| Job::LargeObjects(oids.to_vec())).collect();
    for relation in relations.iter().filter(|relation| relation.has_rows()) {
        let chunks = (relation.bytes / CHUNK_BYTES).max(1);
        let bytes = relation.bytes;
        match relation.blocks {
            Some(blocks) if chunks > 1 && blocks > 1 && relation.condition.is_empty() => {
                let step = blocks.div_ceil(chunks).max(1);
                let starts = (0..blocks).step_by(step as usize);
                jobs.extend(starts.map(|first| {
                    let end = (first + step < blocks).then_some(first + step);
                    Job::Rows { relation, blocks: Some((first, end)), bytes }
                }));
            }
            _ => jobs.push(Job::Rows { relation, blocks: None, bytes }),
        }
    }
    jobs.sort_by_key(|job| match job {
        Job::Rows { bytes, .. } => std::cmp::Reverse(*bytes),
        Job::LargeObjects(_) => std::cmp::Reverse(CHUNK_BYTES),
    });
    jobs.into()
}

/// Every subject that will have a fingerprint, also where not one row comes.
fn subjects(relations: &[Relation], large_objects: bool) -> BTreeMap<(Subject, String), RowSum> {
    let tables = relations.iter().filter(|relation| relation.has_rows()).map(|relation| (Subject::Table, relation.into.clone()));
    let large = large_objects.then(|| (Subject::LargeObjects, large_objects::NAME.to_owned()));
    tables.chain(large).map(|key| (key, RowSum::default())).collect()
}

fn conclude(sums: BTreeMap<(Subject, String), RowSum>, sequences: Vec<SequenceState>) -> Reading {
    let rows = sums.iter().filter(|((subject, _), _)| *subject == Subject::Table).map(|(_, sum)| sum.rows()).sum();
    let mut fingerprints: Vec<_> = sums.into_iter().map(|((subject, name), sum)| sum.record(subject, name)).collect();
    fingerprints.extend(sequences.iter().map(SequenceState::fingerprint));
    fingerprints.sort_by(|left, right| (left.subject, &left.name).cmp(&(right.subject, &right.name)));
    Reading { fingerprints, sequences, rows }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fingerprints of everything that `scope` means of a live database, read at one snapshot by `workers` sessions.
///
/// # Errors
/// As [`Snapshot::take`] and [`Reader::read`].
pub fn fingerprints(
    tool: &str,
    conn: &ConnInfo,
    scope: &ScopeArgs,
    args: &SnapshotArgs,
    workers: usize,
) -> Result<Vec<Fingerprint>, Failure> {
    let mut snapshot = Snapshot::take(conn, tool, scope, args)?;
    // Of several hosts, all sessions must go to the one that holds the snapshot.
    let conn = &snapshot.session.conninfo().clone();
    let objects = if scope.selects() { Vec::new() } else { large_objects::list(&mut snapshot.session)? };
    let expected = snapshot.relations.iter().map(|relation| relation.bytes).sum();
    let progress = Progress::new(tool, Some(expected));
    let reading = Reader { tool, conn, workers, sink: &NoSink, progress: &progress }.read(&mut snapshot, &objects)?;
    progress.finish();
    Ok(reading.fingerprints)
}
