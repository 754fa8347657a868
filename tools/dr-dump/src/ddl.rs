//! Definitions: PostgreSQL's own pg_dump writes them, in our transaction.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::TOOL;
use crate::args::Args;
use dr_archive::Writer;
use dr_pipe::child;
use dr_pipe::scratch::Scratch;
use dr_pipe::{Exit, Failure, warn};
use dr_postgres::clients::Clients;
use dr_postgres::conninfo::ConnInfo;
use dr_postgres::loan::Loan;
use dr_postgres::quote::connection_string;
use dr_postgres::unchanged;
use dr_postgres::wire::Session;
use rustix::process::Pid;

/// What pg_dumpall writes at its end.
const GLOBALS_END: &[u8] = b"-- PostgreSQL database cluster dump complete";

/// What is needed to have the definitions written.
pub struct Ddl<'a> {
    conn: &'a ConnInfo,
    clients: &'a Clients,
    args: &'a Args,
    /// Where pg_dump finds the session that holds the locks and the snapshot.
    loan: Loan,
    /// The encoding of the database. Definitions are written in it: a `client_encoding` that somebody has set for the database
    /// may lack what its names and texts hold.
    encoding: String,
    /// OIDs and names of the tables that we read, extensions' own left out: pg_dump must define exactly these.
    relations: Vec<(u32, String)>,
    /// The program that runs.
    running: Mutex<Option<Pid>>,
    /// Whether nobody wants the definitions any more.
    abandoned: AtomicBool,
}

impl<'a> Ddl<'a> {
    /// Definitions of exactly `relations`, OIDs and names, in the database's `encoding`.
    ///
    /// # Errors
    /// 74 or 77 where nothing can be put below `$TMPDIR`.
    pub fn new(
        conn: &'a ConnInfo,
        clients: &'a Clients,
        args: &'a Args,
        encoding: String,
        relations: Vec<(u32, String)>,
    ) -> Result<Self, Failure> {
        let (running, abandoned) = (Mutex::default(), AtomicBool::new(false));
        Ok(Ddl { conn, clients, args, loan: Loan::open()?, encoding, relations, running, abandoned })
    }

    /// Lends pg_dump the session that holds the locks and the snapshot, until it needs it no more, or `stop`; and proves that it could
    /// describe what the snapshot shows.
    ///
    /// # Errors
    /// As [`Loan::serve`] and [`unchanged::prove`].
    pub fn lend(&self, session: &mut Session, stop: &AtomicBool) -> Result<(), Failure> {
        self.loan.serve(session, stop)?;
        if stop.load(Ordering::Relaxed) || self.loan.has_failed() {
            return Ok(());
        }
        self.prove_unchanged(session)
    }

    /// Proves that nothing has changed since the snapshot of what is put into words as it is now.
    ///
    /// # Errors
    /// As [`unchanged::prove`].
    pub fn prove_unchanged(&self, session: &mut Session) -> Result<(), Failure> {
        unchanged::prove(session, self.conn, TOOL, &self.tables())
    }

    fn tables(&self) -> HashSet<u32> {
        self.relations.iter().map(|(oid, _)| *oid).collect()
    }

    /// Runs pg_dump and pg_dumpall, and puts what they write into the archive.
    ///
    /// # Errors
    /// As the children fail; 70 if pg_dump chose other tables than we did.
    pub fn write<W: Write + Send>(&self, archive: &Writer<W>) -> Result<(), Failure> {
        let scratch = Scratch::new().inspect_err(|_| self.loan.fail())?;
        let schema = scratch.path().join("schema.dump");
        self.run(self.pg_dump(&schema)).inspect_err(|_| self.loan.fail())?;
        self.loan.end();
        self.same_tables(&schema)?;
        add(archive, "schema.dump", &schema)?;
        for section in ["pre-data", "post-data"] {
            let file = scratch.path().join(section);
            let mut restore = Command::new(&self.clients.pg_restore.path);
            restore.arg(format!("--section={section}")).arg("--file").arg(&file).arg(&schema);
            self.run(restore)?;
            add(archive, &format!("{section}.sql"), &file)?;
        }
        if !self.args.no_globals && !self.args.scope.selects() {
            archive.small("globals.sql", None, &self.globals()?)?;
        }
        Ok(())
    }

    fn pg_dump(&self, file: &Path) -> Command {
        let mut command = Command::new(&self.clients.pg_dump.path);
        // Level 0: the archive around it compresses better. -B: large objects are ours.
        command.args(["--format=custom", "--compress=0", "-B", "--no-password", "--section=pre-data", "--section=post-data"]);
        command.arg(format!("--encoding={}", self.encoding));
        // We hold all that it locks: it waits for nobody.
        command.arg(format!("--lock-wait-timeout={}s", self.args.snapshot.lock_wait_timeout));
        // Nothing refreshes a materialized view whose rows are not meant.
        if self.args.schema_only {
            command.arg("--schema-only");
        }
        command.args(self.args.scope.pg_dump_flags()).arg("--file").arg(file);
        self.loan.child(self.conn, &mut command);
        command
    }

    /// Roles and tablespaces; without passwords where the role may not read them. Out of a pipe: to a file on a full disk pg_dumpall
    /// writes what fits, and ends with 0.
    fn globals(&self) -> Result<Vec<u8>, Failure> {
        let directory = Scratch::new()?;
        // Roles belong to the whole cluster: their file is UTF-8, whatever this database is in, where it can be converted.
        let encoding = if self.encoding == "SQL_ASCII" { &self.encoding } else { "UTF8" };
        let globals = |passwords: bool| {
            let mut command = Command::new(&self.clients.pg_dumpall.path);
            command.args(["--globals-only", "--no-password"]).current_dir(directory.path());
            command.arg(format!("--database={}", connection_string(self.conn.database())));
            command.arg(format!("--encoding={encoding}"));
            if !passwords {
                command.arg("--no-role-passwords");
            }
            let _guard = self.conn.unhurried_child(&mut command, "")?;
            let script = self.run(command)?;
            if script.windows(GLOBALS_END.len()).any(|line| line == GLOBALS_END) { Ok(script) } else { Err(cut_short()) }
        };
        if !self.args.no_role_passwords {
            match globals(true) {
                Err(failure) if failure.message.contains("pg_authid") => {
                    warn(
                        TOOL,
                        "roles are dumped without their passwords: only a superuser may read them (--no-role-passwords is silent)",
                    );
                }
                done => return done,
            }
        }
        globals(false)
    }

    /// Runs a child to its end, and gives what it wrote. What it says on stderr is quoted where it fails, else passed on as a warning;
    /// pg_dump's advice about circular foreign keys is left out, as our restores load data before constraints.
    fn run(&self, mut command: Command) -> Result<Vec<u8>, Failure> {
        let name =
            Path::new(command.get_program()).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).env("LC_ALL", "C.UTF-8");
        let running = child::start(&mut command).map_err(|error| Failure::io(&name, &error))?;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running.pid());
        if self.abandoned.load(Ordering::SeqCst) {
            self.abandon();
        }
        let output = running.output().map_err(|error| Failure::io(&name, &error));
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let output = output?;
        let (status, said) = (output.status, String::from_utf8_lossy(&output.stderr));
        if !status.success() {
            let line = said.lines().find(|line| line.contains("error:")).or(said.lines().next()).unwrap_or("it said nothing");
            let detail = said.lines().find(|line| line.contains("ERROR:") && *line != line.trim_start()).unwrap_or("");
            let exit = if status.code().is_none() { Exit::Busy } else { exit_of(&said) };
            let hint = match exit {
                Exit::Io => "free space there, or set TMPDIR to another place; nothing was published",
                Exit::Busy => "it was ended, or somebody changed what it was about to read: run it again; nothing was published",
                _ => "nothing was published; run it by hand to see more",
            };
            return Err(Failure::new(exit, format!("{name} failed ({status}): {line} {detail}"), hint));
        }
        let circular = |line: &&str| line.contains("circular") || line.contains("detail:") || line.contains("hint:");
        for line in said.lines().filter(|line| line.contains("warning:")).filter(|line| !circular(line)) {
            warn(TOOL, line);
        }
        Ok(output.stdout)
    }

    /// Ends the program that runs, as nobody wants its definitions any more.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
        if let Some(pid) = *self.running.lock().unwrap_or_else(PoisonError::into_inner) {
            child::end(pid);
        }
    }

    /// Holds pg_dump's choice of tables against ours.
    fn same_tables(&self, schema: &Path) -> Result<(), Failure> {
        let mut list = Command::new(&self.clients.pg_restore.path);
        list.arg("--list").arg(schema);
        let listed = self.run(list)?;
        let theirs: HashSet<u32> = String::from_utf8_lossy(&listed).lines().filter_map(table_entry).collect();
        let ours = self.tables();
        if theirs == ours {
            return Ok(());
        }
        let strange = self.relations.iter().filter(|(oid, _)| !theirs.contains(oid)).map(|(_, name)| name.clone());
        let more = theirs.difference(&ours).map(|oid| format!("OID {oid}"));
        let names: Vec<_> = strange.chain(more).take(5).collect();
        Err(Failure::new(
            Exit::Bug,
            format!("pg_dump and dr-dump disagree on which tables are meant: {}", names.join(", ")),
            "please report the patterns used; nothing was published",
        ))
    }
}

/// The OID in a line of `pg_restore --list` that stands for a table: `219; 1259 16390 TABLE public guests postgres`.
fn table_entry(line: &str) -> Option<u32> {
    let (_, rest) = line.split_once("; 1259 ")?;
    let (oid, what) = rest.split_once(' ')?;
    what.starts_with("TABLE ").then(|| oid.parse().ok()).flatten()
}

/// What kind of failure a child's last words tell of: a definition that is being changed is worth a retry, a server that went away is
/// not our fault.
fn exit_of(said: &str) -> Exit {
    let has = |needle: &str| said.contains(needle);
    // Tables are locked against change of form; views, functions and all else that is defined cannot be. PostgreSQL puts many
    // definitions into words as they are now, not as the snapshot shows them.
    let changing =
        ["lock timeout", "canceling statement", "deadlock detected", "cache lookup failed", "could not open relation with OID"];
    if has("No space left on device") || has("Disk quota exceeded") {
        Exit::Io
    } else if changing.into_iter().any(has) {
        Exit::Busy
    } else if has("permission denied") {
        Exit::Denied
    } else if has("connection to server")
        || has("too many connections")
        || has("too many clients")
        || has("server closed the connection")
        || has("terminating connection")
    {
        Exit::Unavailable
    } else {
        Exit::Damaged
    }
}

fn cut_short() -> Failure {
    Failure::new(
        Exit::Damaged,
        "pg_dumpall ended without a word, and before its end",
        "nothing was published; run it by hand to see more",
    )
}

fn add<W: Write + Send>(archive: &Writer<W>, path: &str, file: &Path) -> Result<(), Failure> {
    let io = |error| Failure::io(path, &error);
    let mut source = File::open(file).map_err(io)?;
    let bytes = source.metadata().map_err(io)?.len();
    Ok(archive.streamed(path, None, bytes, &mut source)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_told_from_other_entries() {
        assert_eq!(table_entry("219; 1259 16390 TABLE public guests postgres"), Some(16390));
        assert_eq!(table_entry("3301; 1259 16391 INDEX public guests_pkey postgres"), None);
        assert_eq!(table_entry("219; 1255 16390 FUNCTION public TABLE postgres"), None);
        assert_eq!(table_entry(";     dbname: TABLE 1259"), None);
    }
}
