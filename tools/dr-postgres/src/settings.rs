//! The settings of a session that reads or writes backups: nothing of a role's or database's own may bend the data.

use dr_pipe::{Exit, Failure};

use crate::Error;
use crate::wire::Session;

/// The same on every side: values come out and go in as text that means the same everywhere.
const SAME_TEXT: &str = "SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET extra_float_digits = 3; SET timezone = 'UTC'; \
     SET bytea_output = 'hex'; SET lc_monetary = 'C'; SET xmloption = 'content'; SET array_nulls = on; \
     SET quote_all_identifiers = off; SET default_transaction_read_only = off; SET row_security = off; \
     SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0";

/// How often a role's own statement_timeout may end the statement that lifts it: one of a millisecond does, on a busy server.
const HURRIED: usize = 100;

/// Rows come in the order of their ctid, every time: reading can go on behind a row that has no text form.
const IN_ORDER: &str = "SET synchronize_seqscans = off; SET max_parallel_workers_per_gather = 0; SET enable_indexscan = off; \
     SET enable_indexonlyscan = off; SET enable_bitmapscan = off";

/// What pg_dump expects of its session and does not set: plans as they come, and amounts of money that the database reads again.
pub const FOR_DEFINITIONS: &str = "SET LOCAL max_parallel_workers_per_gather TO DEFAULT; SET LOCAL enable_indexscan TO DEFAULT; \
     SET LOCAL enable_indexonlyscan TO DEFAULT; SET LOCAL enable_bitmapscan TO DEFAULT; SET LOCAL lc_monetary TO DEFAULT";

/// Prepares a session for reading a database as it is (settings after pg_dump's setup_connection).
///
/// With `foreign`, foreign tables may be read too.
///
/// # Errors
/// 78 where a pooler is in between; else as the server says.
pub fn for_reading(session: &mut Session, foreign: bool) -> Result<(), Failure> {
    unhurried(session)?;
    refuse_pooler(session)?;
    session.execute(SAME_TEXT)?;
    session.execute(IN_ORDER)?;
    newer(session, if foreign { "view" } else { "view, foreign-table" })?;
    Ok(())
}

/// Prepares a session for loading rows as they were dumped.
///
/// # Errors
/// As [`for_reading`].
pub fn for_restoring(session: &mut Session) -> Result<(), Failure> {
    unhurried(session)?;
    refuse_pooler(session)?;
    session.execute(SAME_TEXT)?;
    session.execute("SET synchronous_commit = off; SET check_function_bodies = off; SET client_min_messages = warning")?;
    // Rows of foreign tables that were dumped on request go back into them.
    newer(session, "view")?;
    Ok(())
}

/// What not every supported release has, and what comes last: names are found in pg_catalog only (CVE-2018-1058), views
/// and foreign tables are not expanded in place of tables (CVE-2024-7348), bytes go through without conversion.
fn newer(session: &mut Session, restricted: &str) -> Result<(), Failure> {
    for (name, value) in
        [("transaction_timeout", "0"), ("idle_session_timeout", "0"), ("restrict_nonsystem_relation_kind", restricted)]
    {
        session.execute(&format!(
            "SELECT pg_catalog.set_config(name, '{value}', false) FROM pg_catalog.pg_settings WHERE name = '{name}'"
        ))?;
    }
    // Names are read as UTF-8, rows as the bytes they are: SQL_ASCII may hold anything.
    session.execute("SET client_encoding = 'UTF8'; SELECT pg_catalog.set_config('search_path', '', false)")?;
    let encoding = session.parameter("server_encoding").unwrap_or("UTF8").to_owned();
    session.encode_copies_as(&encoding);
    Ok(())
}

/// Frees the session of a role's own statement_timeout, which this very statement is under.
fn unhurried(session: &mut Session) -> Result<(), Error> {
    for _ in 0..HURRIED {
        match session.execute("SET statement_timeout = 0") {
            Err(Error::Server(error)) if error.code == "57014" => {}
            done => return done.map(drop),
        }
    }
    session.execute("SET statement_timeout = 0").map(drop)
}

/// Snapshots and settings need one server session from end to end, which a transaction pooler does not give.
fn refuse_pooler(session: &mut Session) -> Result<(), Failure> {
    // PgBouncer reports no in_hot_standby or integer_datetimes of its own, but its process ids belong to no backend.
    let pid = session.backend_pid().to_string();
    let rows = session.query("SELECT pg_catalog.pg_backend_pid()")?;
    if rows.iter().any(|row| row.get(0) == Some(pid.as_str())) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Config,
        "there is a connection pooler between us and the server",
        "connect to the server itself: its own port, not that of PgBouncer or the like",
    ))
}
