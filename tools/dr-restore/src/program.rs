//! Programs of PostgreSQL that fill a database: how they are pointed at it, and what is made of what they say.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use dr_pipe::child;
use dr_pipe::{Exit, Failure, warn};
use dr_postgres::ConnInfo;
use dr_postgres::conninfo::ChildGuard;
use dr_postgres::quote::connection_string;

use crate::TOOL;

/// Settings of every session that pg_restore opens.
pub const OPTIONS: &str = "-c synchronous_commit=off -c default_transaction_read_only=off";

/// What pg_restore writes before the error of a statement that the server refused.
const REFUSED: &str = "pg_restore: error: could not execute query: ERROR:";

/// What it writes before the statement itself.
const COMMAND: &str = "Command was: ";

/// What becomes of a restore when the server refuses a definition.
pub enum OnRefusal {
    /// It ends there.
    Fail,
    /// It goes on, and the refusals are counted.
    GoOn(AtomicU64),
}

impl OnRefusal {
    /// How many definitions were refused; none where the first one ends the restore.
    pub fn refused(&self) -> Option<u64> {
        match self {
            OnRefusal::Fail => None,
            OnRefusal::GoOn(refused) => Some(refused.load(Ordering::Relaxed)),
        }
    }

    /// How many of its workers pg_restore may have: their errors come in pieces, between each other's, and are to be told apart.
    pub fn jobs(&self, jobs: usize) -> usize {
        if matches!(self, OnRefusal::Fail) { jobs } else { 1 }
    }

    /// Whether any definition was refused.
    pub fn has_refused(&self) -> bool {
        self.refused().is_some_and(|refused| refused > 0)
    }

    /// Runs pg_restore into a database. What it says although it succeeds becomes a warning, and so does every definition that
    /// may be refused, and is.
    ///
    /// # Errors
    /// 65 with its first error where it fails; 74 where the server's disk is full, 69 where the server went away.
    pub fn pg_restore(&self, mut command: Command, conn: &ConnInfo, options: &str) -> Result<(), Failure> {
        if matches!(self, OnRefusal::Fail) {
            command.arg("--exit-on-error");
        }
        let named = command.get_program().to_string_lossy().into_owned();
        let _guard = connect(&mut command, conn, options)?;
        let output = child::output(&mut command).map_err(|error| Failure::io(&named, &error))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() && !said.contains(" error: ") {
            said.lines().filter(|line| !line.trim().is_empty()).for_each(|line| warn(TOOL, line));
            return Ok(());
        }
        let mut failure = failure(&said, &output.status.to_string());
        if failure.exit == Exit::Damaged && said.contains(REFUSED) {
            failure.hint = "the server's log says more; --keep-going restores what it does not refuse".into();
        }
        match (self, refusals(&said)) {
            (OnRefusal::GoOn(refused), Some(refusals)) => {
                refusals.iter().for_each(|refusal| warn(TOOL, format!("left out: {refusal}")));
                refused.fetch_add(refusals.len() as u64, Ordering::Relaxed);
                Ok(())
            }
            _ => Err(failure),
        }
    }
}

/// What the server refused, each with why. None where pg_restore failed in another way as well: rows are missing, the disk is
/// full, the server went away.
fn refusals(said: &str) -> Option<Vec<String>> {
    let mut refusals = Vec::new();
    let mut lines = said.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(why) = line.strip_prefix(REFUSED) {
            let detail = lines.next_if(|next| next.starts_with("DETAIL:")).map(|detail| format!(" ({detail})")).unwrap_or_default();
            let rest = std::iter::from_fn(|| lines.next_if(|next| !next.starts_with("pg_restore: ")));
            let command = shown(rest.skip_while(|line| !line.starts_with(COMMAND)));
            refusals.push(format!("{command}: {}{detail}", why.trim()));
        } else if line.starts_with("pg_restore: error:") {
            return None;
        }
    }
    let server_is_full = said.contains("No space left on device");
    (!refusals.is_empty() && !server_is_full).then_some(refusals)
}

/// The beginning of a statement, which names what it makes: up to its first string, as that may be a password.
fn shown<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<_> = lines.flat_map(str::split_whitespace).collect();
    let statement = words.join(" ");
    let (beginning, rest) = statement.split_once('\'').unwrap_or((&statement, ""));
    let beginning = beginning.trim_start_matches(COMMAND).trim_end_matches([' ', ';']);
    if rest.is_empty() { beginning.to_owned() } else { format!("{beginning} …") }
}

/// Points a program at a database, with these settings beside those of the connection. The guard must outlive it.
///
/// # Errors
/// As [`ConnInfo::unhurried_child`].
pub fn connect(command: &mut Command, conn: &ConnInfo, options: &str) -> Result<ChildGuard, Failure> {
    let guard = conn.unhurried_child(command, options)?;
    command.arg("--dbname").arg(connection_string(conn.database())).env("LC_ALL", "C.UTF-8");
    Ok(guard)
}

/// A failure that quotes the first error among what a program said, as `status` tells how it ended.
pub fn failure(said: &str, status: &str) -> Failure {
    let text = if said.trim().is_empty() { status.to_owned() } else { first_error(said) };
    let (exit, hint) = if text.starts_with("signal: ") {
        (Exit::Busy, "did the system end it for want of memory? run it again")
    } else if text.contains("No space left on device") {
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
pub fn first_error(said: &str) -> String {
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
    #![allow(clippy::unwrap_used)]
    use super::*;

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

    #[test]
    fn refusals_are_told_without_passwords_and_nothing_else_is_one() {
        let refused = "pg_restore: error: could not execute query: ERROR:  no\nDETAIL:  because\nHINT:  ?\nCommand was: CREATE INDEX a\n    ON b;\n\n\
                       pg_restore: error: could not execute query: ERROR:  nor\nCommand was: CREATE SUBSCRIPTION s CONNECTION 'password=x' PUBLICATION p\n\
                       pg_restore: warning: errors ignored on restore: 2\n";
        let expected = ["CREATE INDEX a ON b: no (DETAIL:  because)", "CREATE SUBSCRIPTION s CONNECTION …: nor"];
        assert_eq!(refusals(refused).unwrap(), expected);
        for other in [
            "pg_restore: error: COPY failed for table \"t\": ERROR:  no\n",
            "pg_restore: error: could not execute query: FATAL:  terminating connection\n",
            "pg_restore: error: could not execute query: server closed the connection unexpectedly\n",
            "pg_restore: error: could not execute query: ERROR:  could not extend file: No space left on device\n",
        ] {
            assert_eq!(refusals(other), None, "{other}");
            assert_eq!(refusals(&format!("{refused}{other}")), None, "{other}");
        }
        assert_eq!(refusals(""), None);
    }
}
