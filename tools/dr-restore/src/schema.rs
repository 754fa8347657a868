//! The definitions: restored by PostgreSQL's own pg_restore, in three steps around the rows.

use std::collections::{BTreeSet, HashSet};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dr_pipe::child;
use dr_pipe::scratch::Scratch;
use dr_pipe::{Exit, Failure, warn};
use dr_postgres::about::About;
use dr_postgres::conninfo::ChildGuard;
use dr_postgres::quote::identifier;
use dr_postgres::{ConnInfo, Session};

use crate::TOOL;
use crate::archive_source::Archive;
use crate::listing::{Listing, use_list};
use crate::preflight::{LeftOut, Needs};
use crate::script::Survey;

/// Settings of every session that pg_restore opens; it turns timeouts off itself.
pub const OPTIONS: &str = "-c synchronous_commit=off -c default_transaction_read_only=off";

/// `schema.dump`, and the pg_restore that reads it.
pub struct Definitions<'a> {
    program: &'a Path,
    scratch: Scratch,
    dump: PathBuf,
    left_out: LeftOut,
    /// What they need of the server.
    pub needs: Needs,
    /// What comes before the rows.
    pre_data: Vec<u32>,
    /// What comes after the rows.
    pub post_data: Listing,
    /// Whether some of that pg_dump has put before the rows, so that pg_restore keeps its order only without `--jobs`.
    misplaced: bool,
}

impl<'a> Definitions<'a> {
    /// Takes `schema.dump` out of the archive and looks what is in it.
    ///
    /// # Errors
    /// 65 where it is damaged, or pg_restore does not read it.
    pub fn open(archive: &Archive, program: &'a Path, left_out: LeftOut) -> Result<Self, Failure> {
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
        let needs = survey(program, &[], &dump, left_out).map_err(|failure| failure.within("schema.dump"))?;
        Ok(Definitions { program, scratch, dump, left_out, needs, pre_data, post_data, misplaced })
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
    /// As [`run`].
    pub fn pre_data(&self, conn: &ConnInfo) -> Result<(), Failure> {
        self.listed(conn, &self.pre_data, 1, 1).map_err(|failure| failure.within("definitions before the rows"))
    }

    /// Restores some entries, one after another; `parallel` is how many of its processes the server may use for each index.
    ///
    /// # Errors
    /// As [`run`].
    pub fn entries(&self, conn: &ConnInfo, ids: &[u32], parallel: usize) -> Result<(), Failure> {
        self.listed(conn, ids, 1, parallel).map_err(|failure| failure.within("indexes"))
    }

    /// Restores what comes after the rows but for the entries in `done`, `jobs` at a time, event triggers last.
    ///
    /// # Errors
    /// As [`run`].
    pub fn rest(&self, conn: &ConnInfo, done: &HashSet<u32>, jobs: usize) -> Result<(), Failure> {
        let [rest, last] = self.post_data.rest(done);
        let jobs = if self.misplaced { 1 } else { jobs };
        let restored = self.listed(conn, &rest, jobs, jobs).and_then(|()| self.listed(conn, &last, 1, 1));
        restored.map_err(|failure| failure.within("definitions after the rows"))
    }

    fn listed(&self, conn: &ConnInfo, ids: &[u32], jobs: usize, parallel: usize) -> Result<(), Failure> {
        if ids.is_empty() {
            return Ok(());
        }
        // Its first entry makes the name unlike those of other lists: no entry is restored twice.
        let list = self.scratch.path().join(format!("{}.list", ids[0]));
        std::fs::write(&list, use_list(ids)).map_err(|error| Failure::io(list.display(), &error))?;
        let mut command = self.command();
        command.arg("--use-list").arg(&list);
        if jobs > 1 {
            command.arg(format!("--jobs={jobs}"));
        }
        command.arg(&self.dump);
        // More memory per index does not make it faster than its default of 64 MB; the server's own workers do.
        run(command, conn, &format!("{OPTIONS} -c max_parallel_maintenance_workers={parallel}"))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.args(["--no-password", "--exit-on-error"]).args(flags(self.left_out));
        command
    }
}

/// What is in the dump, or in the part of it that the flags name.
fn list(program: &Path, flags: &[&str], dump: &Path) -> Result<Listing, Failure> {
    let mut command = Command::new(program);
    command.arg("--list").args(flags).arg(dump).stdin(Stdio::null());
    let output = child::output(&mut command).map_err(|error| Failure::io(program.display(), &error))?;
    if !output.status.success() {
        let said = first_error(&String::from_utf8_lossy(&output.stderr));
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
pub fn survey(program: &Path, options: &[&str], dump: &Path, left_out: LeftOut) -> Result<Needs, Failure> {
    let mut command = Command::new(program);
    command.args(options).arg("--file=-").args(flags(left_out)).arg(dump);
    let started = child::start(command.stdin(Stdio::null()).stdout(Stdio::piped()));
    let mut running = started.map_err(|error| Failure::io(program.display(), &error))?;
    let script = BufReader::new(running.child.stdout.take().expect("it is piped"));
    let mut survey = Survey::default();
    let surveyed = survey.read_definitions(script);
    let output = running.output().map_err(|error| Failure::io(program.display(), &error))?;
    if !output.status.success() {
        let text = failure(&String::from_utf8_lossy(&output.stderr), &output.status.to_string()).message;
        let hint = "take another copy; if it is from a newer pg_dump, restore into a server of that version; nothing was restored";
        return Err(Failure::new(Exit::Damaged, text, hint));
    }
    surveyed?;
    Ok(survey.needs)
}

/// The flags of pg_restore that leave the same out.
pub fn flags(left_out: LeftOut) -> impl Iterator<Item = &'static str> {
    let flags =
        [(left_out.owners, "--no-owner"), (left_out.privileges, "--no-privileges"), (left_out.tablespaces, "--no-tablespaces")];
    flags.into_iter().filter_map(|(left_out, flag)| left_out.then_some(flag))
}

/// Runs pg_restore into a database. What it says although it succeeds becomes a warning.
///
/// # Errors
/// 65 with its first error where it fails; 74 where the server's disk is full, 69 where the server went away.
pub fn run(mut command: Command, conn: &ConnInfo, options: &str) -> Result<(), Failure> {
    let named = command.get_program().to_string_lossy().into_owned();
    let _guard = connect(&mut command, conn, options)?;
    let output = child::output(&mut command).map_err(|error| Failure::io(&named, &error))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() && !said.contains(" error: ") {
        said.lines().filter(|line| !line.trim().is_empty()).for_each(|line| warn(TOOL, line));
        return Ok(());
    }
    Err(failure(&said, &output.status.to_string()))
}

/// Points a program at a database, with these settings beside those of the connection. The guard must outlive it.
///
/// # Errors
/// As [`ConnInfo::child`].
pub fn connect(command: &mut Command, conn: &ConnInfo, options: &str) -> Result<ChildGuard, Failure> {
    let guard = conn.child(command)?;
    let mut envs = command.get_envs();
    let known = envs.find_map(|(name, value)| (name == "PGOPTIONS").then(|| value.map(|text| text.to_string_lossy().into_owned())));
    let options = known.flatten().map_or_else(|| options.to_owned(), |known| format!("{known} {options}"));
    command.arg("--dbname").arg(connection_string(conn.database())).env("PGOPTIONS", options).env("LC_ALL", "C.UTF-8");
    Ok(guard)
}

/// A database as a connection string: a bare name with `=` in it, or the beginning of a URI, would be read as one, and could
/// lead to another server.
fn connection_string(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A failure that quotes the first error among what a program said, as `status` tells how it ended.
pub fn failure(said: &str, status: &str) -> Failure {
    let text = if said.trim().is_empty() { status.to_owned() } else { first_error(said) };
    let (exit, hint) = if text.contains("No space left on device") {
        (Exit::Io, "free space on the server")
    } else if text.contains("terminating connection")
        || text.contains("server closed the connection")
        || text.contains("connection to server")
    {
        (Exit::Unavailable, "the server's log says why; run it again when it is up")
    } else if text.contains("permission denied") || text.contains("must be") {
        (Exit::Denied, "connect as a superuser, or leave out owners and rights with --no-owner --no-privileges")
    } else {
        (Exit::Damaged, "the server's log says more")
    };
    Failure::new(exit, text, hint)
}

/// The first error that a program of PostgreSQL reported, with what the server said behind it.
fn first_error(said: &str) -> String {
    let mut lines =
        said.lines().skip_while(|line| !line.contains("error:") && !line.contains("ERROR:") && !line.contains("FATAL:"));
    match lines.next() {
        Some(line) => {
            let detail = lines.next().filter(|next| next.starts_with("DETAIL:")).map(|detail| format!(" ({detail})"));
            format!("{}{}", line.trim(), detail.unwrap_or_default())
        }
        None => said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_a_database_leads_elsewhere() {
        assert_eq!(connection_string("host=x dbname=it's\\"), "dbname='host=x dbname=it\\'s\\\\'");
    }

    #[test]
    fn the_first_error_is_quoted_with_its_detail() {
        let said = "pg_restore: while PROCESSING TOC:\npg_restore: from TOC entry 3; 1 2 TABLE t o\n\
                    pg_restore: error: could not execute query: ERROR:  no\nDETAIL:  because\nCommand was: x\n";
        let failure = failure(said, "exit status: 1");
        assert_eq!(failure.message, "pg_restore: error: could not execute query: ERROR:  no (DETAIL:  because)");
        assert_eq!(failure.exit, Exit::Damaged);
        assert_eq!(super::failure("", "signal: 9 (SIGKILL)").message, "signal: 9 (SIGKILL)");
        assert_eq!(super::failure("x: error: could not extend file: No space left on device", "").exit, Exit::Io);
    }
}
