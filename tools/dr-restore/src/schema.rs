//! The definitions: restored by PostgreSQL's own pg_restore, in three steps around the rows.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dr_pipe::child;
use dr_pipe::scratch::Scratch;
use dr_pipe::{Exit, Failure};
use dr_postgres::about::{About, TableFacts};
use dr_postgres::quote::identifier;
use dr_postgres::{ConnInfo, Session};

use crate::archive_source::Archive;
use crate::listing::{Early, Listing, use_list};
use crate::preflight::{LeftOut, Needs};
use crate::program::{self, OPTIONS, OnRefusal};
use crate::schedule::Indexes;
use crate::script::Survey;
use crate::sorting;

/// `schema.dump`, and the pg_restore that reads it.
pub struct Definitions<'a> {
    program: &'a Path,
    scratch: Scratch,
    dump: PathBuf,
    left_out: LeftOut,
    on_refusal: &'a OnRefusal,
    /// What they need of the server.
    pub needs: Needs,
    /// What comes before the rows.
    pre_data: Vec<u32>,
    /// What comes after the rows.
    post_data: Listing,
    /// Those of that which may be indexes that are no B-trees.
    no_btrees: HashSet<u32>,
    /// Functions, and what else is code, before the rows or behind them.
    code: HashSet<u32>,
    /// Those that may be indexes whose entries lock the whole table in the end.
    marked: HashSet<u32>,
    /// Whether some of that pg_dump has put before the rows, so that pg_restore keeps its order only without `--jobs`.
    misplaced: bool,
}

impl<'a> Definitions<'a> {
    /// Takes `schema.dump` out of the archive and looks what is in it.
    ///
    /// # Errors
    /// 65 where it is damaged, or pg_restore does not read it.
    pub fn open(archive: &Archive, program: &'a Path, left_out: LeftOut, on_refusal: &'a OnRefusal) -> Result<Self, Failure> {
        let scratch = Scratch::new()?;
        let dump = scratch.path().join("schema.dump");
        archive.extract("schema.dump", &dump)?;
        // What an entry needs is told with --verbose only, which tells of the entries of all sections.
        let all = list(program, &["--verbose"], &dump)?;
        let later = list(program, &["--section=post-data"], &dump)?.ids();
        let post_data = all.after_rows(&later);
        let late = post_data.ids();
        let pre_data = list(program, &["--section=pre-data"], &dump)?.rest(&late).concat();
        let misplaced = late.len() > later.len();
        let Survey { needs, no_btrees, marked, .. } =
            survey(program, &[], &dump, left_out).map_err(|failure| failure.within("schema.dump"))?;
        let (no_btrees, marked) = (post_data.named(&no_btrees), post_data.named(&marked));
        Ok(Definitions {
            program,
            scratch,
            dump,
            left_out,
            on_refusal,
            needs,
            pre_data,
            post_data,
            no_btrees,
            code: all.code(),
            marked,
            misplaced,
        })
    }

    /// Creates the schemas of tables that the dump does not define: as with pg_dump, `--table` takes tables along without
    /// their schemas.
    ///
    /// # Errors
    /// As the server says, or pg_restore where it does not read the dump.
    pub fn schemas(&self, session: &mut Session, about: &About) -> Result<(), Failure> {
        let defined = list(self.program, &[], &self.dump)?;
        let schemas: BTreeSet<_> = about.tables.iter().map(|table| &table.schema).collect();
        for schema in schemas.into_iter().filter(|schema| !defined.has_schema(schema)) {
            session.execute(&format!("CREATE SCHEMA IF NOT EXISTS {}", identifier(schema)))?;
        }
        Ok(())
    }

    /// Restores what comes before the rows.
    ///
    /// # Errors
    /// As [`OnRefusal::pg_restore`].
    pub fn pre_data(&self, conn: &ConnInfo) -> Result<(), Failure> {
        self.listed(conn, &self.pre_data, 1, "").map_err(|failure| failure.within("definitions before the rows"))
    }

    /// What can be restored as soon as a table's rows are in, for each table of the dump.
    pub fn early(&self, tables: &[TableFacts]) -> Vec<Early> {
        self.post_data.early(tables.iter().map(|table| (&*table.indexes, &*table.constraints)), &self.code, &self.marked)
    }

    /// Builds indexes of tables whose rows are in, one after another; each with so many `helpers`, where a session has
    /// `servers_memory` in KiB for it (`maintenance_work_mem`).
    ///
    /// # Errors
    /// As [`OnRefusal::pg_restore`].
    pub fn indexes(&self, conn: &ConnInfo, what: &Indexes, helpers: usize, servers_memory: u64) -> Result<(), Failure> {
        let mut options = format!("-c max_parallel_maintenance_workers={helpers}");
        if what.entries.iter().all(|entry| !self.no_btrees.contains(entry)) {
            let memory = sorting::memory(what.bytes, what.rows, helpers, servers_memory);
            write!(options, " -c maintenance_work_mem={memory}").expect("a String takes all that is written");
        }
        self.listed(conn, &what.entries, 1, &options).map_err(|failure| failure.within("indexes"))
    }

    /// Restores what comes after the rows but for the entries in `done`, `jobs` at a time, event triggers last.
    ///
    /// # Errors
    /// As [`OnRefusal::pg_restore`].
    pub fn rest(&self, conn: &ConnInfo, done: &HashSet<u32>, jobs: usize) -> Result<(), Failure> {
        let [rest, last] = self.post_data.rest(done);
        let jobs = if self.misplaced { 1 } else { self.on_refusal.jobs(jobs) };
        let options = format!("-c max_parallel_maintenance_workers={jobs}");
        let restored = self.listed(conn, &rest, jobs, &options).and_then(|()| self.listed(conn, &last, 1, ""));
        restored.map_err(|failure| failure.within("definitions after the rows"))
    }

    fn listed(&self, conn: &ConnInfo, ids: &[u32], jobs: usize, options: &str) -> Result<(), Failure> {
        if ids.is_empty() {
            return Ok(());
        }
        // Its first entry makes the name unlike those of other lists: no entry is restored twice.
        let list = self.scratch.path().join(format!("{}.list", ids[0]));
        std::fs::write(&list, use_list(ids)).map_err(|error| Failure::io(list.display(), &error))?;
        let mut command = Command::new(self.program);
        command.arg("--no-password").args(flags(self.left_out)).arg("--use-list").arg(&list);
        if jobs > 1 {
            command.arg(format!("--jobs={jobs}"));
        }
        command.arg(&self.dump);
        self.on_refusal.pg_restore(command, conn, &format!("{OPTIONS} {options}"))
    }
}

/// What is in the dump, or in the part of it that the flags name.
fn list(program: &Path, flags: &[&str], dump: &Path) -> Result<Listing, Failure> {
    let mut command = Command::new(program);
    command.arg("--list").args(flags).arg(dump).stdin(Stdio::null());
    let output = child::output(&mut command).map_err(|error| Failure::io(program.display(), &error))?;
    if !output.status.success() {
        let said = program::first_error(&String::from_utf8_lossy(&output.stderr));
        return Err(Failure::new(
            Exit::Damaged,
            format!("schema.dump: {said}"),
            "is it from a newer PostgreSQL than this pg_restore?",
        ));
    }
    Listing::parse(&String::from_utf8_lossy(&output.stdout))
}

/// What the definitions in a dump need of the server, as the script that pg_restore makes of them tells. Nothing is run.
///
/// # Errors
/// 65 where pg_restore does not read the dump.
pub fn survey(program: &Path, options: &[&str], dump: &Path, left_out: LeftOut) -> Result<Survey, Failure> {
    let mut command = Command::new(program);
    command.args(options).arg("--file=-").args(flags(left_out)).arg(dump);
    let started = child::start(command.stdin(Stdio::null()).stdout(Stdio::piped()));
    let mut running = started.map_err(|error| Failure::io(program.display(), &error))?;
    let script = BufReader::new(running.child.stdout.take().expect("it is piped"));
    let mut survey = Survey::default();
    let surveyed = survey.read_definitions(script);
    let output = running.output().map_err(|error| Failure::io(program.display(), &error))?;
    if !output.status.success() {
        let text = program::failure(&String::from_utf8_lossy(&output.stderr), &output.status.to_string()).message;
        let hint = "take another copy; if it is from a newer pg_dump, restore into a server of that version; nothing was restored";
        return Err(Failure::new(Exit::Damaged, text, hint));
    }
    surveyed?;
    Ok(survey)
}

/// The flags of pg_restore that leave the same out.
pub fn flags(left_out: LeftOut) -> impl Iterator<Item = &'static str> {
    let flags =
        [(left_out.owners, "--no-owner"), (left_out.privileges, "--no-privileges"), (left_out.tablespaces, "--no-tablespaces")];
    flags.into_iter().filter_map(|(left_out, flag)| left_out.then_some(flag))
}
