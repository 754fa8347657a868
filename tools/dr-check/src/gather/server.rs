//! What does the server say of itself? The role needs pg_monitor, and no more.

use std::sync::mpsc;

use chrono::{DateTime, Utc};
use dr_pipe::record::{Record, Replica, Server, Slot, State};
use dr_pipe::{Exit, Failure};
use dr_postgres::wire::Row;
use dr_postgres::{Address, Error, Session};

use super::told;
use crate::TOOL;
use crate::args::Args;

/// How far the WAL goes.
const WRITTEN: &str = "CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) ELSE pg_current_wal_lsn() END";

/// Asks the server, if it answers.
///
/// # Errors
/// 64 or 78 where it cannot even be named.
pub fn gather(args: &Args, now: DateTime<Utc>) -> Result<Vec<Record>, Failure> {
    let conn = args.connect.resolve(TOOL, Some("postgres"))?;
    let named = conn.hosts().first().map(|host| words(&host.address)).unwrap_or_default();
    let (tell, answer) = mpsc::channel();
    let (cluster, server, patience) = (args.cluster.clone(), named.clone(), args.store.patience());
    // A server that hangs, or a network that lost it, says nothing at all, and no timeout of its own ends that.
    std::thread::spawn(move || {
        let session = Session::connect(&conn, TOOL).map_err(Failure::from);
        let asked = session.and_then(|mut session| Ok(read(&mut session, &cluster, &server, now)?));
        // Where nobody waits any more, nobody asks.
        tell.send(asked).unwrap_or_default();
    });
    let asked = answer.recv_timeout(patience).unwrap_or_else(|_| {
        let message = format!("no answer within {} s", patience.as_secs());
        Err(Failure::new(Exit::Unavailable, message, "does the server hang, or what is in between? see its log, and its host"))
    });
    Ok(match asked {
        Ok((server, sees_wal)) => {
            let version = format!("PostgreSQL {} answers", server.server_version);
            let rights = if sees_wal { Ok(version) } else { Err(blind()) };
            let mut check = told(args, now, "server", Some(named), rights);
            if let Record::Check(check) = &mut check
                && !sees_wal
            {
                check.state = State::Unknown;
            }
            vec![check, Record::Server(Box::new(server))]
        }
        Err(failure) => vec![told(args, now, "server", Some(named), Err(failure))],
    })
}

/// That nothing waits to be archived is then not known, and must not pass for true.
fn blind() -> Failure {
    Failure::new(Exit::Denied, "the role may not see how much WAL waits", "GRANT pg_monitor to it")
}

/// What it says, and whether the role may see how much WAL there is.
fn read(session: &mut Session, cluster: &str, named: &str, now: DateTime<Utc>) -> Result<(Server, bool), Error> {
    session.execute("SET client_encoding = 'UTF8'; SET search_path = pg_catalog; SET statement_timeout = '30s'")?;
    let may = session.query(
        "SELECT has_function_privilege('pg_ls_waldir()', 'EXECUTE'), has_function_privilege('pg_ls_archive_statusdir()', 'EXECUTE'), \
         has_function_privilege('pg_control_system()', 'EXECUTE')",
    )?;
    let may = may.one()?;
    let (wal, waiting, control) = (may.flag(0)?, may.flag(1)?, may.flag(2)?);
    let number =
        |session: &mut Session, allowed: bool, sql: &str| if allowed { session.query(sql)?.one()?.parse(0) } else { Ok(0) };
    let wal_bytes = number(session, wal, "SELECT coalesce(sum(size), 0)::bigint FROM pg_ls_waldir()")?;
    let waiting_segments = number(session, waiting, "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'")?;
    let identifier = if control {
        session.query("SELECT system_identifier FROM pg_control_system()")?.value()?.to_owned()
    } else {
        String::new()
    };
    let (replicas, slots) = (replicas(session)?, slots(session)?);
    let rows = session.query(&format!(
        "SELECT pg_is_in_recovery() AS standby, current_setting('archive_mode') <> 'off' AS archiving, {WRITTEN} AS written, \
         last_archived_wal, extract(epoch FROM last_archived_time) AS archived_at, last_failed_wal, \
         extract(epoch FROM last_failed_time) AS failed_at, failed_count, \
         CASE WHEN pg_is_in_recovery() THEN extract(epoch FROM pg_last_xact_replay_timestamp()) END AS replayed_at FROM pg_stat_archiver"
    ))?;
    let row = rows.one()?;
    let text = |column| row.get(column).map(str::to_owned);
    let server = Server {
        cluster: cluster.into(),
        server: named.into(),
        server_version: session.parameter("server_version").and_then(|text| text.split(' ').next()).unwrap_or_default().into(),
        system_identifier: identifier,
        standby: row.flag("standby")?,
        archiving: row.flag("archiving")?,
        archived: text("last_archived_wal"),
        archived_at: at(row, "archived_at"),
        archive_failed: text("last_failed_wal"),
        archive_failed_at: at(row, "failed_at"),
        archive_failures: row.parse("failed_count")?,
        written_lsn: text("written"),
        wal_bytes,
        waiting_segments,
        replayed_at: at(row, "replayed_at"),
        replicas,
        slots,
        seen_at: now,
    };
    Ok((server, wal && waiting))
}

fn replicas(session: &mut Session) -> Result<Vec<Replica>, Error> {
    let rows = session.query(&format!(
        "SELECT application_name, coalesce(state, 'unknown'), coalesce(sync_state IN ('sync', 'quorum'), false), \
         coalesce(greatest(pg_wal_lsn_diff({WRITTEN}, coalesce(replay_lsn, flush_lsn, write_lsn, sent_lsn)), 0), 0)::bigint \
         FROM pg_stat_replication ORDER BY 1"
    ))?;
    let replica = |row: Row| {
        Ok(Replica {
            name: row.get(0).unwrap_or_default().into(),
            state: row.text(1)?.into(),
            lag_bytes: row.parse(3)?,
            synchronous: row.flag(2)?,
        })
    };
    rows.iter().map(replica).collect()
}

fn slots(session: &mut Session) -> Result<Vec<Slot>, Error> {
    let rows = session.query(&format!(
        "SELECT slot_name, active, coalesce(greatest(pg_wal_lsn_diff({WRITTEN}, restart_lsn), 0), 0)::bigint, \
         coalesce(wal_status = 'lost', false) FROM pg_replication_slots WHERE NOT temporary ORDER BY 1"
    ))?;
    let slot =
        |row: Row| Ok(Slot { name: row.text(0)?.into(), active: row.flag(1)?, kept_bytes: row.parse(2)?, lost: row.flag(3)? });
    rows.iter().map(slot).collect()
}

fn at(row: Row, column: &str) -> Option<DateTime<Utc>> {
    let seconds: f64 = row.get(column)?.parse().ok()?;
    DateTime::from_timestamp_micros((seconds * 1e6).round() as i64)
}

fn words(address: &Address) -> String {
    match address {
        Address::Socket(path) => path.display().to_string(),
        Address::Tcp { name: Some(name), .. } => name.clone(),
        Address::Tcp { address, .. } => address.map(|address| address.to_string()).unwrap_or_default(),
    }
}
