//! One moment of a database, held still: every table locked against change of form *before* the snapshot is taken.
//!
//! The other order has a window in which TRUNCATE or a rewriting ALTER TABLE makes a table look empty to the snapshot
//! without any error. LOCK TABLE as the first statement of a REPEATABLE READ transaction takes no snapshot yet
//! (PostgreSQL manual, LOCK), so one session can take the locks, then export the snapshot, and hold both to the end.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use dr_pipe::{Exit, Failure};

use crate::Error;
use crate::conninfo::ConnInfo;
use crate::relations::{self, Relation};
use crate::scope::ScopeArgs;
use crate::wire::Session;

/// How a snapshot is taken.
#[derive(Clone, Debug, clap::Args)]
pub struct SnapshotArgs {
    /// Give up (exit 75) when a table lock is not had within SECONDS
    #[arg(long, value_name = "SECONDS", env = "DR_LOCK_WAIT_TIMEOUT", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub lock_wait_timeout: u32,
    /// Wait for a snapshot that no serializable transaction can still contradict
    #[arg(long, env = "DR_SERIALIZABLE_DEFERRABLE", value_parser = clap::builder::FalseyValueParser::new())]
    pub serializable_deferrable: bool,
}

/// A held snapshot. It ends when this is dropped.
pub struct Snapshot {
    /// The session that holds the locks and the snapshot; free for reading.
    pub session: Session,
    /// The name other sessions import it by.
    pub id: String,
    /// When it was taken, by the server's clock.
    pub taken_at: DateTime<Utc>,
    /// Whether foreign tables may be read.
    foreign: bool,
    /// What it shows of what was asked for.
    pub relations: Vec<Relation>,
}

/// How often the list of tables may change between looking and locking before we give up.
const ATTEMPTS: usize = 20;

/// How long it takes until all tables are tried again, where nobody is seen who holds one.
const PAUSE: Duration = Duration::from_millis(20);

/// Upper bound for one LOCK TABLE statement, in bytes.
const LOCK_STATEMENT_BYTES: usize = 1 << 20;

impl Snapshot {
    /// Connects, locks, and takes the snapshot.
    ///
    /// # Errors
    /// 66 where nothing is meant by the patterns, 69 without a server, 75 where a lock is not had in time or tables keep
    /// changing, 77 where rights are missing (all of them named at once), 78 where the server cannot hold so many locks.
    pub fn take(conn: &ConnInfo, application: &str, scope: &ScopeArgs, args: &SnapshotArgs) -> Result<Snapshot, Failure> {
        let mut session = Session::connect(conn, application)?;
        crate::settings::for_reading(&mut session, !scope.include_foreign_data.is_empty())?;
        for _ in 0..ATTEMPTS {
            let seen = relations::find(&mut session, scope, false)?;
            refuse_the_impossible(&mut session, &seen, scope)?;
            if !lock(&mut session, &seen, args)? {
                session.execute("ROLLBACK")?;
                continue;
            }
            let (id, taken_at) = export(&mut session)?;
            let locked = held_locks(&mut session)?;
            // Sizes are asked for only now that nothing can hold the tables against us.
            let relations = match relations::find(&mut session, scope, true) {
                Ok(relations) => relations,
                Err(failure) if failure.exit == Exit::Busy => {
                    session.execute("ROLLBACK")?;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            if relations.iter().filter(|relation| relation.is_lockable()).all(|relation| locked.contains(&relation.oid)) {
                return Ok(Snapshot { session, id, taken_at, foreign: !scope.include_foreign_data.is_empty(), relations });
            }
            session.execute("ROLLBACK")?;
        }
        Err(Failure::new(
            Exit::Busy,
            format!("tables were created, dropped or renamed during each of {ATTEMPTS} attempts to lock them all"),
            "run it again when the migration is over",
        ))
    }

    /// A further session that sees this snapshot, in a transaction of its own.
    ///
    /// # Errors
    /// 69 or 75 where no connection is had, 65 where the snapshot is gone.
    pub fn join(&self, conn: &ConnInfo, application: &str) -> Result<Session, Failure> {
        let mut session = Session::connect(conn, application)?;
        crate::settings::for_reading(&mut session, self.foreign)?;
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")?;
        session.execute(&format!("SET TRANSACTION SNAPSHOT {}", crate::quote::literal(&self.id)))?;
        Ok(session)
    }

    /// Proves that the snapshot was held until now: said before anything is vouched for.
    ///
    /// # Errors
    /// 69 where the session is gone.
    pub fn is_held(&mut self) -> Result<(), Failure> {
        self.session.query("SELECT 1")?;
        Ok(())
    }
}

/// Begins the transaction; each lock of it is waited for at most `patience`.
fn begin(session: &mut Session, args: &SnapshotArgs, patience: Duration) -> Result<(), Failure> {
    session.execute(if args.serializable_deferrable {
        "BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE"
    } else {
        "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
    })?;
    // None at all would be for ever.
    session.execute(&format!("SET LOCAL lock_timeout = '{}ms'", patience.as_millis().max(1)))?;
    Ok(())
}

/// Locks every table against change of form, in a transaction that begins with it; false where one of them is gone since we looked.
///
/// As long as that leads anywhere, a table is waited for while no other is held: with the lock of one, waiting for the other, we
/// could be in each other's way with somebody who wants both, and the server would end one of us (deadlock).
fn lock(session: &mut Session, relations: &[Relation], args: &SnapshotArgs) -> Result<bool, Failure> {
    let lockable: Vec<&Relation> = relations.iter().filter(|relation| relation.is_lockable()).collect();
    let patience = Duration::from_secs(args.lock_wait_timeout.into());
    let started = Instant::now();
    let mut awaited = None;
    while started.elapsed() < patience / 2 {
        begin(session, args, patience.saturating_sub(started.elapsed()))?;
        let first = awaited.take().map_or(Ok(Locked::All), |relation: &Relation| lock_all(session, &[relation], ""))?;
        let locked = if first == Locked::All { lock_all(session, &lockable, " NOWAIT")? } else { first };
        match locked {
            Locked::All => return Ok(true),
            Locked::Gone => return Ok(false),
            Locked::Busy => session.execute("ROLLBACK")?,
        };
        let wanted = wanted_by_others(session)?;
        awaited = lockable.iter().copied().find(|relation| wanted.contains(&relation.oid));
        if awaited.is_none() {
            std::thread::park_timeout(PAUSE);
        }
    }
    begin(session, args, patience.saturating_sub(started.elapsed()))?;
    match lock_all(session, &lockable, "")? {
        Locked::All => Ok(true),
        Locked::Gone => Ok(false),
        Locked::Busy => Err(Failure::new(
            Exit::Busy,
            "a table is locked by somebody else, and was not had in time",
            "see pg_locks and pg_stat_activity for who holds ACCESS EXCLUSIVE; or raise --lock-wait-timeout; nothing was published",
        )),
    }
}

/// What came of locking.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Locked {
    All,
    /// One is not there any more, or is something else.
    Gone,
    /// One was not had.
    Busy,
}

fn lock_all(session: &mut Session, relations: &[&Relation], how: &str) -> Result<Locked, Failure> {
    let names: Vec<String> = relations.iter().map(|relation| format!("ONLY {}", relation.qualified())).collect();
    let mut rest = &names[..];
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|name| {
            bytes += name.len() + 2;
            bytes <= LOCK_STATEMENT_BYTES
        });
        let count = fits.count().max(1);
        match session.execute(&format!("LOCK TABLE {} IN ACCESS SHARE MODE{how}", rest[..count].join(", "))) {
            Ok(_) => rest = &rest[count..],
            Err(Error::Server(error)) if matches!(error.code.as_str(), "42P01" | "3F000" | "42809" | "XX000") => {
                return Ok(Locked::Gone);
            }
            // A deadlock that we were in is somebody's who has it now.
            Err(Error::Server(error)) if matches!(error.code.as_str(), "55P03" | "40P01") => return Ok(Locked::Busy),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Locked::All)
}

/// The tables that others have for themselves, or wait for.
fn wanted_by_others(session: &mut Session) -> Result<HashSet<u32>, Failure> {
    let rows = session.query(
        "SELECT relation FROM pg_catalog.pg_locks WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock' \
         AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())",
    )?;
    Ok(rows.iter().filter_map(|row| row.get(0)?.parse().ok()).collect())
}

fn export(session: &mut Session) -> Result<(String, DateTime<Utc>), Failure> {
    let rows = session.query(
        "SELECT pg_catalog.pg_export_snapshot(), pg_catalog.to_char(pg_catalog.clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
    )?;
    let row = rows.iter().next();
    let id = row.as_ref().and_then(|row| row.get(0)).map(str::to_owned);
    let taken_at = row.as_ref().and_then(|row| row.get(1)).and_then(|text| text.parse().ok());
    id.zip(taken_at).ok_or_else(|| Failure::new(Exit::Protocol, "the server exported no snapshot", "is this really PostgreSQL?"))
}

fn held_locks(session: &mut Session) -> Result<HashSet<u32>, Failure> {
    let rows = session.query(
        "SELECT relation FROM pg_catalog.pg_locks WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation' AND granted AND mode = 'AccessShareLock'",
    )?;
    Ok(rows.iter().filter_map(|row| row.get(0)?.parse().ok()).collect())
}

/// What no waiting would mend: nothing meant, rights missing, too few locks.
fn refuse_the_impossible(session: &mut Session, relations: &[Relation], scope: &ScopeArgs) -> Result<(), Failure> {
    if relations.is_empty() && scope.selects() {
        return Err(Failure::new(
            Exit::Missing,
            "no table or sequence matches the patterns",
            "patterns are those of pg_dump: quote names with upper-case letters; views have no rows: name their tables, too",
        ));
    }
    let missing = relations::unreadable(session, relations)?;
    if !missing.is_empty() {
        let total = missing.len();
        let named = missing[..total.min(50)].join(", ");
        return Err(Failure::new(
            Exit::Denied,
            format!("{total} rights are missing: {named}"),
            "GRANT pg_read_all_data TO the role, and BYPASSRLS where row security is on; a dump of filtered rows would be no backup",
        ));
    }
    let rows = session.query(
        "SELECT pg_catalog.current_setting('max_locks_per_transaction')::int8 * (pg_catalog.current_setting('max_connections')::int8 \
         + pg_catalog.current_setting('max_prepared_transactions')::int8)",
    )?;
    let capacity: usize = rows.iter().next().and_then(|row| row.get(0)?.parse().ok()).unwrap_or(usize::MAX);
    let needed = relations.iter().filter(|relation| relation.is_lockable()).count();
    if needed > capacity {
        return Err(Failure::new(
            Exit::Config,
            format!("{needed} tables must be locked at once, the server has room for about {capacity} locks"),
            "raise max_locks_per_transaction on the server (needs a restart)",
        ));
    }
    Ok(())
}
