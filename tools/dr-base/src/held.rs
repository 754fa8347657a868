//! The session that holds a backup open. If it is lost before the end, so is the backup.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use dr_pipe::{Exit, Failure, warn};
use dr_postgres::quote::literal;
use dr_postgres::{Error, Session};
use dr_wal::Lsn;

use crate::TOOL;
use crate::args::{Args, Checkpoint};

/// A backup that has begun on the server.
pub struct Held {
    session: Session,
    /// The slot that keeps WAL for us, where there is one.
    slot: Option<String>,
    /// Where recovery will begin.
    pub start: Lsn,
    /// When it began, by the server's clock.
    pub started_at: DateTime<Utc>,
    /// In which tablespace each database was then.
    databases: HashMap<u32, u32>,
}

/// What the server says when a backup ends.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// Where it is consistent.
    pub stop: Lsn,
    /// When it began, by the server's clock.
    pub started_at: DateTime<Utc>,
    /// When it ended, by the server's clock.
    pub stopped_at: DateTime<Utc>,
    /// The content of `backup_label`.
    pub label: Vec<u8>,
    /// The content of `tablespace_map`; empty where there are no tablespaces.
    pub map: Vec<u8>,
    /// Whether the slot, if there was one, kept all WAL.
    pub wal_kept: bool,
}

/// The server's clock, as a time that chrono reads.
const NOW: &str = "pg_catalog.to_char(pg_catalog.clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS now";

/// The server's clock.
///
/// # Errors
/// As the server says.
pub fn clock(session: &mut Session) -> Result<DateTime<Utc>, Failure> {
    Ok(session.query(&format!("SELECT {NOW}"))?.one()?.parse("now")?)
}

impl Held {
    /// Begins a backup: a slot first, so that no WAL from its start on is lost.
    ///
    /// # Errors
    /// As the server says.
    pub fn start(mut session: Session, args: &Args) -> Result<Held, Failure> {
        let slot = slot(&mut session, args.wal.with_wal);
        let fast = args.checkpoint == Checkpoint::Fast;
        let started = session.query(&format!("SELECT pg_catalog.pg_backup_start({}, {fast}) AS lsn, {NOW}", literal(&args.label)));
        let rows = started.map_err(may_not)?;
        let row = rows.one()?;
        let (start, started_at) = (row.parse::<Lsn>("lsn")?, row.parse("now")?);
        let databases = databases(&mut session)?;
        Ok(Held { session, slot, start, started_at, databases })
    }

    /// The session, for questions in between.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Ends the backup; does not wait for the archiver. The slot stays, with its WAL, until this is dropped.
    ///
    /// # Errors
    /// 75 where the server was promoted meanwhile, or a database moved; 69 where the session is gone.
    pub fn stop(&mut self) -> Result<Stopped, Failure> {
        self.none_has_moved()?;
        // As bytes: the files are written in the database's encoding, and paths in none.
        let bytes = |column: &str| {
            format!("pg_catalog.encode(pg_catalog.convert_to(s.{column}, pg_catalog.getdatabaseencoding()), 'hex') AS {column}")
        };
        let (label, map) = (bytes("labelfile"), bytes("spcmapfile"));
        let sql = format!("SELECT s.lsn, {label}, {map}, {NOW} FROM pg_catalog.pg_backup_stop(false) s");
        let rows = self.session.query(&sql).map_err(promoted)?;
        let row = rows.one()?;
        let (stop, stopped_at) = (row.parse("lsn")?, row.parse("now")?);
        let decoded = |column: &str| {
            hex::decode(row.get(column).unwrap_or_default())
                .map_err(|error| Failure::new(Exit::Protocol, format!("{column}: {error}"), "is this really PostgreSQL?"))
        };
        let (label, map) = (decoded("labelfile")?, decoded("spcmapfile")?);
        let wal_kept = self.wal_kept()?;
        Ok(Stopped { stop, started_at: self.started_at, stopped_at, label, map, wal_kept })
    }

    /// A database that goes to another tablespace while files are read may be found in neither place.
    fn none_has_moved(&mut self) -> Result<(), Failure> {
        let now = databases(&mut self.session)?;
        let moved = now.into_iter().find(|(oid, place)| self.databases.get(oid).is_some_and(|before| before != place));
        let Some((oid, _)) = moved else { return Ok(()) };
        let rows = self.session.query(&format!("SELECT datname FROM pg_catalog.pg_database WHERE oid = {oid}"))?;
        let message = format!("database {} was moved to another tablespace while its files were read", rows.value()?);
        Err(Failure::new(Exit::Busy, message, "run it again; nothing was published"))
    }

    fn wal_kept(&mut self) -> Result<bool, Failure> {
        let Some(slot) = &self.slot else { return Ok(true) };
        let sql = format!("SELECT wal_status FROM pg_catalog.pg_replication_slots WHERE slot_name = {}", literal(slot));
        let rows = self.session.query(&sql)?;
        Ok(rows.iter().next().is_some_and(|row| row.get(0) != Some("lost")))
    }
}

/// The tablespace of every database. Their names may be in any encoding, and are not asked for.
fn databases(session: &mut Session) -> Result<HashMap<u32, u32>, Failure> {
    let rows = session.query("SELECT oid, dattablespace FROM pg_catalog.pg_database")?;
    rows.iter().map(|row| Ok((row.parse(0)?, row.parse(1)?))).collect()
}

/// A slot that lives as long as the session, and keeps WAL from now on; none where the server gives none.
fn slot(session: &mut Session, needed: bool) -> Option<String> {
    let name = format!("dr_base_{}", session.backend_pid());
    let sql = format!("SELECT pg_catalog.pg_create_physical_replication_slot({}, true, true)", literal(&name));
    match session.execute(&sql) {
        Ok(_) => Some(name),
        Err(error) => {
            if needed {
                warn(
                    TOOL,
                    format!(
                        "no replication slot keeps the WAL of the backup: {error}; it is hoped to stay (wal_keep_size) until it is copied"
                    ),
                );
            }
            None
        }
    }
}

fn may_not(error: Error) -> Failure {
    match error.sqlstate() {
        Some("42501") => Failure::new(
            Exit::Denied,
            error.to_string(),
            "GRANT EXECUTE ON FUNCTION pg_backup_start, pg_backup_stop TO the role, or use --remote with a role that has REPLICATION",
        ),
        _ => error.into(),
    }
}

/// 55000 is what a server says that was promoted, or whose backup was ended for us.
fn promoted(error: Error) -> Failure {
    match error.sqlstate() {
        Some("55000") => Failure::new(Exit::Busy, error.to_string(), "take the backup again; nothing was published"),
        _ => Failure::from(error).leaving("nothing was published"),
    }
}
