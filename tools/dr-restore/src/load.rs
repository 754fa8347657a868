//! The rows: many sessions load many tables at once, and big tables together; indexes follow as soon as a table is complete.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dr_archive::Member;
use dr_pipe::Failure;
use dr_pipe::progress::Progress;
use dr_postgres::about::TableFacts;
use dr_postgres::quote::qualified;
use dr_postgres::{ConnInfo, Session, settings};

use crate::archive_source::{Archive, ArchiveReader};
use crate::backlog::{Backlog, Ready};
use crate::copy::{Copier, ascii};
use crate::plan::{Plan, Run, copy_statement};
use crate::schema::Definitions;
use crate::server::settled;
use crate::target::HalfMade;
use crate::{TOOL, extensions, large_objects};

/// Below this, new storage for a table costs more than what FREEZE saves.
const FREEZE_BYTES: u64 = 1 << 20;

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
    jobs: Mutex<VecDeque<Job<'a>>>,
    tables: Vec<Table>,
    backlog: Backlog,
    failure: Mutex<Option<Failure>>,
    stop: AtomicBool,
}

/// What is known of one table while it is loaded.
struct Table {
    /// Runs that are not in yet.
    left: AtomicUsize,
    /// Size of its rows.
    bytes: u64,
    /// Its indexes and constraints.
    early: Vec<u32>,
    /// Whether its rows may go into new storage: they come in one run, and are not too few.
    frozen: bool,
}

impl Loader<'_> {
    /// Loads all rows and large objects, and builds the indexes of every table. Returns the entries of `schema.dump` that are
    /// done with it.
    ///
    /// # Errors
    /// The first failure of any thread; the others are cut off then.
    pub fn load(&self) -> Result<HashSet<u32>, Failure> {
        let shared = self.share()?;
        std::thread::scope(|scope| {
            // While rows are loaded the processors are busy; who has none left to load builds indexes, too.
            let builders = self.workers.div_ceil(2);
            (0..builders).for_each(|_| drop(scope.spawn(|| self.note(&shared, self.build(&shared)))));
            for number in 0..self.workers {
                let shared = &shared;
                scope.spawn(move || {
                    self.note(shared, self.work(shared));
                    shared.backlog.one_less();
                    if number >= builders {
                        self.note(shared, self.build(shared));
                    }
                });
            }
        });
        match lock(&shared.failure).take() {
            Some(failure) => Err(failure),
            None => Ok(shared.tables.into_iter().flat_map(|table| table.early).collect()),
        }
    }

    fn share(&self) -> Result<Shared<'_>, Failure> {
        let facts = &self.archive.about.tables;
        let foreign = foreign_tables(&self.database.conn)?;
        let early = self.definitions.post_data.early(facts.iter().map(|table| (&*table.indexes, &*table.constraints)));
        let mut tables: Vec<Table> = facts.iter().zip(early).map(|(facts, early)| Table::of(facts, early, &foreign)).collect();
        for run in self.plan.runs.iter().chain(&self.plan.of_extensions) {
            let table = &mut tables[run.table];
            table.bytes += run.bytes;
            *table.left.get_mut() += 1;
            table.frozen &= *table.left.get_mut() == 1;
        }
        let backlog = Backlog::filled_by(self.workers);
        for table in &mut tables {
            table.frozen &= table.bytes >= FREEZE_BYTES;
            if *table.left.get_mut() == 0 {
                backlog.add(Ready { bytes: 0, entries: table.early.clone() });
            }
        }
        let (jobs, failure, stop) = (Mutex::new(self.jobs()), Mutex::new(None), AtomicBool::new(false));
        Ok(Shared { jobs, tables, backlog, failure, stop })
    }

    fn jobs(&self) -> VecDeque<Job<'_>> {
        let of_extensions = (!self.plan.of_extensions.is_empty()).then_some(Job::Extensions(&self.plan.of_extensions));
        let rows = self.plan.runs.iter().map(Job::Rows);
        of_extensions.into_iter().chain(rows).chain(self.plan.large_objects.iter().copied().map(Job::LargeObjects)).collect()
    }

    fn session(&self) -> Result<Session, Failure> {
        let mut session = Session::connect(&self.database.conn, TOOL)?;
        settings::for_restoring(&mut session)?;
        Ok(session)
    }

    /// Takes jobs until there are none.
    fn work(&self, shared: &Shared<'_>) -> Result<(), Failure> {
        if lock(&shared.jobs).is_empty() {
            return Ok(());
        }
        let mut session = self.session()?;
        let mut reader = self.archive.reader()?;
        loop {
            let job = if shared.stop.load(Ordering::Relaxed) { None } else { lock(&shared.jobs).pop_front() };
            match job {
                None => return Ok(()),
                Some(Job::Rows(run)) => self.rows(&mut session, &mut reader, run, shared)?,
                Some(Job::LargeObjects(member)) => {
                    large_objects::load(&mut session, &mut self.copier(&mut reader, shared), member)?;
                }
                Some(Job::Extensions(runs)) => {
                    let tables: Vec<&TableFacts> = runs.iter().map(|run| &self.archive.about.tables[run.table]).collect();
                    extensions::load(&mut session, &mut self.copier(&mut reader, shared), runs, &tables)?;
                    runs.iter().for_each(|run| self.finished(run, shared));
                }
            }
        }
    }

    fn copier<'c>(&'c self, reader: &'c mut ArchiveReader, shared: &'c Shared<'_>) -> Copier<'c> {
        Copier { archive: self.archive, reader, progress: self.progress, stop: &shared.stop }
    }

    fn rows(&self, session: &mut Session, reader: &mut ArchiveReader, run: &Run<'_>, shared: &Shared<'_>) -> Result<(), Failure> {
        let table = &self.archive.about.tables[run.table];
        // New storage, filled and frozen in one transaction, needs no vacuum later, and no WAL where wal_level is minimal.
        let frozen = shared.tables[run.table].frozen;
        let within = |failure: Failure| failure.within(&table.into);
        if frozen {
            session.execute(&ascii(&format!("BEGIN; TRUNCATE ONLY {}", table.into))).map_err(Failure::from).map_err(within)?;
        }
        self.copier(reader, shared)
            .copy(session, &copy_statement(table, run.form, frozen), &run.members, Some(run.rows))
            .map_err(within)?;
        if frozen {
            session.execute("COMMIT").map_err(Failure::from).map_err(within)?;
        }
        self.finished(run, shared);
        Ok(())
    }

    /// Hands a table over to the index builders once its last run is in.
    fn finished(&self, run: &Run<'_>, shared: &Shared<'_>) {
        let table = &shared.tables[run.table];
        if table.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            shared.backlog.add(Ready { bytes: table.bytes, entries: table.early.clone() });
        }
    }

    fn build(&self, shared: &Shared<'_>) -> Result<(), Failure> {
        while let Some(entries) = shared.backlog.take() {
            self.definitions.entries(&self.database.conn, &entries, 2.max(self.workers / 2))?;
        }
        Ok(())
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
        shared.backlog.abandon();
        if let Err(why) = self.database.disconnect_all() {
            dr_pipe::warn(TOOL, format!("cutting off the other sessions: {}", why.message));
        }
    }
}

impl Table {
    fn of(facts: &TableFacts, early: Vec<u32>, foreign: &HashSet<(String, String)>) -> Table {
        let itself = facts.into == qualified(&facts.schema, &facts.name);
        let stored = !foreign.contains(&(facts.schema.clone(), facts.name.clone()));
        Table { left: AtomicUsize::new(0), bytes: 0, early, frozen: itself && stored && facts.extension.is_none() }
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
