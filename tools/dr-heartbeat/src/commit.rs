//! Commits to a database again and again. A recovery to a moment needs a transaction that ended after it: in an idle database there
//! is none, and this makes them.

use std::time::{Duration, Instant};

use dr_pipe::notify::Notify;
use dr_pipe::{Backoff, Exit, Failure, Outcome, stop, warn};
use dr_postgres::quote::literal;
use dr_postgres::{ConnInfo, Session};

use crate::TOOL;
use crate::args::Args;

/// What there is to make. A row is replaced in its own page, again and again, which takes no room.
const MAKE: &str = "CREATE SCHEMA IF NOT EXISTS dr;
CREATE TABLE IF NOT EXISTS dr.heartbeat (cluster text PRIMARY KEY, at timestamptz NOT NULL, pid integer NOT NULL, host text NOT NULL)
    WITH (fillfactor = 10)";

/// Whose table it is: a stranger's could run what the stranger wants, with our rights.
const OWNER: &str = "SELECT c.relkind = 'r' AND t.ours AND s.ours AS ours
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN LATERAL (SELECT rolsuper OR rolname = current_user AS ours FROM pg_roles WHERE oid = c.relowner) t ON true
    JOIN LATERAL (SELECT rolsuper OR rolname = current_user AS ours FROM pg_roles WHERE oid = n.nspowner) s ON true
    WHERE c.oid = to_regclass('dr.heartbeat')";

/// What an attempt has come to.
enum Beat {
    /// It is committed.
    Committed,
    /// The server is a standby: it may be the primary one day.
    Standby,
}

/// Commits until it is told to stop.
pub fn commit(args: &Args) -> Outcome {
    let conn = args.connect.resolve(TOOL, args.dbname.as_deref())?;
    let mut committer = Committer { conn: &conn, row: row(args.cluster()?), session: None, notify: Notify::of_environment() };
    // Services are stopped: nothing is lost by it.
    stop::hint("nothing is lost, and nothing more is committed");
    let (mut backoff, mut well, mut waits) = (Backoff::default(), false, false);
    loop {
        match committer.beat() {
            Ok(Beat::Committed) if args.once => return Ok(Exit::Good),
            Ok(Beat::Committed) => {
                if !well {
                    committer.notify.ready();
                }
                (well, waits) = (true, false);
                backoff.reset();
                committer.notify.status("commits");
                committer.wait(args.every());
            }
            Ok(Beat::Standby) if args.once => {
                let hint = "name the primary, or several hosts with target_session_attrs=primary; nothing was committed";
                return Err(Failure::new(Exit::Busy, "the server is a standby", hint));
            }
            Ok(Beat::Standby) => {
                if !std::mem::replace(&mut waits, true) {
                    warn(TOOL, "the server is a standby: this waits until it is the primary, or another server answers");
                }
                committer.notify.status("waits: the server is a standby");
                committer.session = None;
                committer.wait(args.every());
            }
            Err(failure) if args.once || !well && !waits && !may_pass(&failure) => {
                return Err(failure.leaving("nothing was committed"));
            }
            Err(failure) => {
                committer.session = None;
                let pause = backoff.pause();
                warn(TOOL, format!("{}; the next attempt is in {} s ({})", failure.message, pause.as_secs(), failure.hint));
                committer.notify.status(&failure.message);
                committer.wait(pause);
            }
        }
    }
}

/// Whether a failure of the very first attempt may pass; a wrong password will not.
fn may_pass(failure: &Failure) -> bool {
    matches!(failure.exit, Exit::Unavailable | Exit::Busy)
}

struct Committer<'a> {
    conn: &'a ConnInfo,
    row: String,
    session: Option<Session>,
    notify: Notify,
}

impl Committer<'_> {
    fn beat(&mut self) -> Result<Beat, Failure> {
        if self.session.is_none() {
            let mut session = Session::connect(self.conn, TOOL)?;
            // Nobody else's names, and no waiting behind somebody's lock.
            session.execute("SET search_path = ''; SET lock_timeout = '10s'")?;
            if session.query("SELECT pg_is_in_recovery()")?.one()?.flag(0)? {
                return Ok(Beat::Standby);
            }
            prepare(&mut session)?;
            self.session = Some(session);
        }
        if let Some(session) = &mut self.session {
            session.execute(&self.row)?;
        }
        Ok(Beat::Committed)
    }

    /// Waits, and tells the watchdog meanwhile that we live.
    fn wait(&mut self, pause: Duration) {
        let end = Instant::now() + pause;
        loop {
            self.notify.alive();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::park_timeout(left.min(Duration::from_secs(1)));
        }
    }
}

/// Makes the table where it is missing, and makes sure whose it is.
fn prepare(session: &mut Session) -> Result<(), Failure> {
    let there = |session: &mut Session| -> Result<Option<bool>, Failure> {
        let rows = session.query(OWNER)?;
        Ok(rows.iter().next().map(|row| row.flag("ours")).transpose()?)
    };
    let mut ours = there(session)?;
    if ours.is_none() {
        session.execute(MAKE).map_err(|error| {
            let failure = Failure::from(error).within("making the table dr.heartbeat");
            let sql = MAKE.split_whitespace().collect::<Vec<_>>().join(" ");
            match failure.exit {
                Exit::Denied => Failure::new(Exit::Denied, failure.message, format!("have it made, and owned by this role: {sql}")),
                _ => failure,
            }
        })?;
        ours = there(session)?;
    }
    if ours == Some(true) {
        return Ok(());
    }
    let hint = "what its owner puts there would run with our rights: give it and its schema to this role, or to a superuser";
    Err(Failure::new(Exit::Refused, "dr.heartbeat is somebody else's, or no table", hint))
}

/// The statement, a transaction of its own.
fn row(cluster: &str) -> String {
    let host = dr_pipe::host::name();
    format!(
        "INSERT INTO dr.heartbeat (cluster, at, pid, host) VALUES ({}, pg_catalog.clock_timestamp(), {}, {}) ON CONFLICT (cluster) DO \
         UPDATE SET at = excluded.at, pid = excluded.pid, host = excluded.host",
        literal(cluster),
        std::process::id(),
        literal(&host),
    )
}
