//! The rows: many sessions load many tables at once, and big tables together; indexes follow as soon as a table is complete.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use dr_archive::Member;
use dr_pipe::Failure;
use dr_pipe::progress::Progress;
use dr_postgres::about::TableFacts;
use dr_postgres::binary::Kind;
use dr_postgres::quote::{ascii, qualified};
use dr_postgres::{ConnInfo, Session, relations, settings};

use crate::archive_source::{Archive, ArchiveReader};
use crate::copy::{Copier, Taken};
use crate::listing::Early;
use crate::plan::{Form, Plan, Run, copy_statement};
use crate::schedule::{Indexes, Schedule, Task};
use crate::schema::Definitions;
use crate::server::settled;
use crate::target::HalfMade;
use crate::{TOOL, extensions, large_objects};

/// Below this, new storage for a table costs more than what FREEZE saves.
const FREEZE_BYTES: u64 = 1 << 20;

/// Below this, asking for the types of a table's columns costs more than what the server saves by binary.
const PARSED_BYTES: u64 = 1 << 20;

/// How long those who are finished may wait for others to be looked after.
const INTERVAL: Duration = Duration::from_millis(100);

/// Who loads what into which database.
pub struct Loader<'a> {
    /// The dump.
    pub archive: &'a Archive,
    /// What goes where.
    pub plan: &'a Plan<'a>,
    /// The definitions; those before the rows are there already.
    pub definitions: &'a Definitions<'a>,
    /// The database.
    pub database: &'a HalfMade,
    /// How many sessions load at once.
    pub workers: usize,
    /// Told of every byte.
    pub progress: &'a Progress,
}

/// One thing for one session to do.
enum Job<'a> {
    Rows(&'a Run<'a>),
    Extensions(&'a [Run<'a>]),
    LargeObjects(&'a Member),
}

/// What the threads share.
struct Shared<'a> {
    schedule: Schedule<Job<'a>>,
    tables: Vec<Table>,
    /// What a session may take to build an index, in KiB.
    memory: u64,
    failure: Mutex<Option<Failure>>,
    stop: AtomicBool,
}

/// What is known of one table while it is loaded.
struct Table {
    /// Runs that are not in yet.
    left: AtomicUsize,
    /// Size of its rows.
    bytes: u64,
    /// Their number.
    rows: u64,
    /// Its indexes and constraints.
    early: Early,
    /// Whether its rows may go into new storage: they come in one run, and are not too few.
    frozen: bool,
    /// The kinds of its columns here, once they are asked for; none where its text goes in as it is.
    kinds: OnceLock<Option<Vec<Kind>>>,
    /// Whether text of it was found that only the server should read.
    is_odd: AtomicBool,
}

impl Loader<'_> {
    /// Loads all rows and large objects, and builds the indexes of every table. Returns the entries of `schema.dump` that are
    /// done with it.
    ///
    /// # Errors
    /// The first failure of any thread; the others are cut off then.
    pub fn load(&self) -> Result<HashSet<u32>, Failure> {
        let shared = self.share()?;
        let (waiting, working) = (std::thread::current(), AtomicUsize::new(self.workers));
        std::thread::scope(|scope| {
            let work = || {
                self.note(&shared, self.work(&shared));
                working.fetch_sub(1, Ordering::Relaxed);
                waiting.unpark();
            };
            let workers: Vec<_> = (0..self.workers).map(|_| scope.spawn(work)).collect();
            while working.load(Ordering::Relaxed) > 0 && !workers.iter().all(ScopedJoinHandle::is_finished) {
                std::thread::park_timeout(INTERVAL);
                // Whoever was about to connect when the others were cut off has done so since, and may be at it for hours. Where
                // that cannot be done was told the first time.
                if shared.stop.load(Ordering::Relaxed) {
                    drop(self.database.disconnect_all());
                }
            }
        });
        match lock(&shared.failure).take() {
            Some(failure) => Err(failure),
            None => Ok(shared.tables.into_iter().flat_map(|table| table.early.all().collect::<Vec<_>>()).collect()),
        }
    }

    fn share(&self) -> Result<Shared<'_>, Failure> {
        let facts = &self.archive.about.tables;
        let foreign = foreign_tables(&self.database.conn)?;
        let memory = memory_of_server(&self.database.conn)?;
        let early = self.definitions.early(facts);
        let mut tables: Vec<Table> = facts.iter().zip(early).map(|(facts, early)| Table::of(facts, early, &foreign)).collect();
        for run in self.plan.runs.iter().chain(&self.plan.of_extensions) {
            let table = &mut tables[run.table];
            table.bytes += run.bytes;
            table.rows += run.rows;
            *table.left.get_mut() += 1;
            table.frozen &= *table.left.get_mut() == 1;
        }
        let schedule = Schedule::new(self.workers, self.jobs().collect());
        for table in &mut tables {
            table.frozen &= table.bytes >= FREEZE_BYTES;
            if *table.left.get_mut() == 0 {
                schedule.add(table.indexes());
            }
        }
        Ok(Shared { schedule, tables, memory, failure: Mutex::new(None), stop: AtomicBool::new(false) })
    }

    /// What is to be loaded, with the bytes of each.
    fn jobs(&self) -> impl Iterator<Item = (u64, Job<'_>)> {
        let runs = &self.plan.of_extensions;
        let of_extensions = (!runs.is_empty()).then(|| (runs.iter().map(|run| run.bytes).sum(), Job::Extensions(runs)));
        let rows = self.plan.runs.iter().map(|run| (run.bytes, Job::Rows(run)));
        let large_objects = self.plan.large_objects.iter().map(|member| (member.bytes, Job::LargeObjects(member)));
        of_extensions.into_iter().chain(rows).chain(large_objects)
    }

    fn session(&self) -> Result<Session, Failure> {
        let mut session = Session::connect(&self.database.conn, TOOL)?;
        settings::for_restoring(&mut session)?;
        Ok(session)
    }

    /// Does what is to be done until there is no more.
    fn work(&self, shared: &Shared<'_>) -> Result<(), Failure> {
        let mut loading = None;
        shared.schedule.work(|task| match task {
            Task::Load(job) => {
                if loading.is_none() {
                    loading = Some((self.session()?, self.archive.reader()?));
                }
                let (session, reader) = loading.as_mut().expect("it is there");
                self.job(session, reader, &job, shared)
            }
            Task::Build(what, helpers) => {
                // Building takes hours where tables are large: no server or firewall needs to bear with a session that waits.
                loading = None;
                self.definitions.indexes(&self.database.conn, &what, helpers, shared.memory)
            }
        })
    }

    fn job(&self, session: &mut Session, reader: &mut ArchiveReader, job: &Job<'_>, shared: &Shared<'_>) -> Result<(), Failure> {
        match job {
            Job::Rows(run) => self.rows(session, reader, run, shared),
            Job::LargeObjects(member) => large_objects::load(session, &mut self.copier(reader, shared), member),
            Job::Extensions(runs) => {
                let tables: Vec<&TableFacts> = runs.iter().map(|run| &self.archive.about.tables[run.table]).collect();
                extensions::load(session, &mut self.copier(reader, shared), runs, &tables)?;
                runs.iter().for_each(|run| self.finished(run, shared));
                Ok(())
            }
        }
    }

    fn copier<'c>(&'c self, reader: &'c mut ArchiveReader, shared: &'c Shared<'_>) -> Copier<'c> {
        Copier { archive: self.archive, reader, progress: self.progress, stop: &shared.stop }
    }

    fn rows(&self, session: &mut Session, reader: &mut ArchiveReader, run: &Run<'_>, shared: &Shared<'_>) -> Result<(), Failure> {
        let facts = &self.archive.about.tables[run.table];
        let taken = self.take_in(session, reader, run, shared, facts);
        taken.map_err(|failure| failure.within(&facts.into))?;
        self.finished(run, shared);
        Ok(())
    }

    fn take_in(
        &self,
        session: &mut Session,
        reader: &mut ArchiveReader,
        run: &Run<'_>,
        shared: &Shared<'_>,
        facts: &TableFacts,
    ) -> Result<(), Failure> {
        let (table, mut copier) = (&shared.tables[run.table], self.copier(reader, shared));
        let kinds = table.kinds(session, facts, run)?;
        table.begin(session, facts)?;
        let mut before = Taken::default();
        if let Some(kinds) = kinds {
            match copier.parsed(session, &copy_statement(facts, Form::Binary, table.frozen), run, kinds)? {
                None => return table.end(session),
                Some(taken) => before = taken,
            }
            table.is_odd.store(true, Ordering::Relaxed);
        }
        copier.copy_rest(session, &copy_statement(facts, run.form, table.frozen), &run.members, &before, Some(run.rows))?;
        table.end(session)
    }

    /// Hands a table over to the index builders once its last run is in.
    fn finished(&self, run: &Run<'_>, shared: &Shared<'_>) {
        let table = &shared.tables[run.table];
        if table.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            shared.schedule.add(table.indexes());
        }
    }

    /// Keeps the first failure, and cuts everybody else off.
    fn note(&self, shared: &Shared<'_>, result: Result<(), Failure>) {
        let Err(failure) = result else { return };
        let mut first = lock(&shared.failure);
        if first.is_some() {
            return;
        }
        *first = Some(failure);
        drop(first);
        shared.stop.store(true, Ordering::Relaxed);
        shared.schedule.abandon();
        if let Err(why) = self.database.disconnect_all() {
            dr_pipe::warn(TOOL, format!("cutting off the other sessions: {}", why.message));
        }
    }
}

impl Table {
    fn of(facts: &TableFacts, early: Early, foreign: &HashSet<(String, String)>) -> Table {
        let itself = facts.into == qualified(&facts.schema, &facts.name);
        let stored = !foreign.contains(&(facts.schema.clone(), facts.name.clone()));
        let frozen = itself && stored && facts.extension.is_none();
        Table {
            left: AtomicUsize::new(0),
            bytes: 0,
            rows: 0,
            early,
            frozen,
            kinds: OnceLock::new(),
            is_odd: AtomicBool::new(false),
        }
    }

    /// The kinds of the columns, where the text of a run is to be parsed here: the server takes binary in for less.
    fn kinds(&self, session: &mut Session, facts: &TableFacts, run: &Run<'_>) -> Result<Option<&[Kind]>, Failure> {
        if run.form == Form::Binary || self.bytes < PARSED_BYTES || self.is_odd.load(Ordering::Relaxed) {
            return Ok(None);
        }
        if self.kinds.get().is_none() {
            // Another session may have found the same.
            self.kinds.set(relations::kinds_of(session, &facts.into, &facts.columns)?).ok();
        }
        Ok(self.kinds.get().and_then(Option::as_deref))
    }

    /// New storage, filled and frozen in one transaction, needs no vacuum later, and no WAL where `wal_level` is minimal.
    fn begin(&self, session: &mut Session, facts: &TableFacts) -> Result<(), Failure> {
        if self.frozen {
            session.execute(&ascii(&format!("BEGIN; TRUNCATE ONLY {}", facts.into)))?;
        }
        Ok(())
    }

    fn end(&self, session: &mut Session) -> Result<(), Failure> {
        if self.frozen {
            session.execute("COMMIT")?;
        }
        Ok(())
    }

    fn indexes(&self) -> Indexes {
        Indexes::of(self.bytes, self.rows, &self.early.locking, &self.early.others)
    }
}

/// The foreign tables of a database, by schema and name.
///
/// # Errors
/// As the server says.
pub fn foreign_tables(conn: &ConnInfo) -> Result<HashSet<(String, String)>, Failure> {
    let mut session = settled(conn)?;
    let rows = session.query(
        "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'f'",
    )?;
    Ok(rows.iter().filter_map(|row| Some((row.get(0)?.to_owned(), row.get(1)?.to_owned()))).collect())
}

/// What a session may take to build an index, in KiB.
fn memory_of_server(conn: &ConnInfo) -> Result<u64, Failure> {
    let rows = settled(conn)?.query("SELECT setting FROM pg_catalog.pg_settings WHERE name = 'maintenance_work_mem'")?;
    Ok(rows.one()?.parse(0)?)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
