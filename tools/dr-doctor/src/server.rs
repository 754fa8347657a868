//! Does the server let us in, over a line that nobody taps, with the rights that backups take?

use chrono::{DateTime, TimeDelta, Utc};
use dr_pipe::Failure;
use dr_pipe::record::State;
use dr_postgres::Session;
use dr_postgres::conninfo::Host;
use dr_postgres::wire::Row;

use crate::args::{Args, Role};
use crate::examine::TOOL;
use crate::findings::{Finding, Findings, Name};
use crate::{facts, wal};

/// What these checks need of the server.
const OURS: [Name; 13] = [
    Name::Server,
    Name::Clock,
    Name::Transport,
    Name::Rights,
    Name::Clients,
    Name::ClientFlaws,
    Name::WalLevel,
    Name::Archiving,
    Name::Archiver,
    Name::Durability,
    Name::Slots,
    Name::WalSenders,
    Name::Checksums,
];
/// And these.
const MORE: [Name; 2] = [Name::WalSummary, Name::WalSpace];

/// The versions that these tools are tested with.
const SUPPORTED: std::ops::RangeInclusive<u32> = 15..=18;
/// By how much clocks may differ, in seconds.
const SKEW_S: i64 = 300;

/// Asks the server, if this host has to do with one; gives its version.
pub fn check(args: &Args, role: Role, found: &mut Findings) -> Option<u32> {
    if !(role.backs_up || role.restores) || !(found.want(&OURS) || found.want(&MORE)) {
        return None;
    }
    // Where backups are only restored, the server may well be what has been lost.
    let gone = if role.backs_up { State::Critical } else { State::Warning };
    let session = args.connect.resolve(TOOL, args.database.as_deref().or(Some("postgres")));
    let mut session = match session.and_then(|conn| Session::connect(&conn, TOOL)) {
        Ok(session) => session,
        Err(error) => {
            found.blocked(Name::Server, None, Finding::failed(gone, error));
            return None;
        }
    };
    let version = session.server_version();
    if let Err(failure) = ask(args, role, &mut session, found) {
        found.blocked(Name::Server, None, Finding::failed(State::Unknown, failure));
    }
    Some(version)
}

fn ask(args: &Args, role: Role, session: &mut Session, found: &mut Findings) -> Result<(), Failure> {
    let facts = facts::read(session)?;
    let place = session.conninfo().hosts().first().map(|host| format!("{} port {}", host.address, host.port));
    found.note(Name::Server, place.clone(), known(session, &facts.version));
    if let Some(host) = session.conninfo().hosts().first() {
        found.note(Name::Transport, place.clone(), transport(host, session.is_encrypted()));
    }
    if found.want(&[Name::Clock]) {
        found.note(Name::Clock, place, clock(session)?);
    }
    if found.want(&[Name::Rights]) {
        rights(session, role, found)?;
    }
    if role.backs_up { wal::check(args, session, &facts, found) } else { Ok(()) }
}

fn known(session: &Session, version: &str) -> Finding {
    let said = format!("PostgreSQL {version}, as {}", session.conninfo().user());
    if SUPPORTED.contains(&session.server_major()) {
        return Finding::ok(said);
    }
    let (first, last) = SUPPORTED.into_inner();
    Finding::warning(said, format!("these tools are tested with PostgreSQL {first} to {last}"))
}

/// Whether anybody in between could read or change what is dumped.
fn transport(host: &Host, encrypted: bool) -> Finding {
    let full = "set PGSSLMODE=verify-full and PGSSLROOTCERT=FILE, with a certificate that names the server";
    match host.sslmode() {
        _ if host.address.is_local() => Finding::ok("on this host: nobody is in between"),
        _ if !encrypted => Finding::critical("not encrypted: whoever is in between reads the data and the password", full),
        "verify-full" => Finding::ok("encrypted, and the server has proved its name"),
        "verify-ca" => Finding::warning("encrypted, to whichever server has a certificate of that authority", full),
        mode => {
            Finding::critical(format!("sslmode={mode} encrypts to whoever answers: somebody in between reads everything"), full)
        }
    }
}

fn clock(session: &mut Session) -> Result<Finding, Failure> {
    let rows = session.query("SELECT floor(extract(epoch FROM clock_timestamp()))::bigint")?;
    let seconds: i64 = rows.one()?.parse(0)?;
    Ok(DateTime::from_timestamp(seconds, 0).map_or_else(|| Finding::unknown("it says no time", "see SELECT now()"), skew))
}

/// Judges another clock against this host's as it is now.
pub fn skew(theirs: DateTime<Utc>) -> Finding {
    apart(Utc::now() - theirs)
}

/// Judges by how much this host is ahead.
fn apart(ahead: TimeDelta) -> Finding {
    let seconds = ahead.num_seconds();
    let finding = if seconds.abs() <= SKEW_S {
        Finding::ok(format!("{} seconds apart", seconds.abs()))
    } else {
        let side = if seconds > 0 { "ahead" } else { "behind" };
        let message = format!("this host's clock is {} seconds {side}", seconds.abs());
        Finding::critical(message, "one of both is wrong: timedatectl shows whether this one is synchronised")
    };
    finding.measured(seconds.unsigned_abs() as f64, SKEW_S as f64, "seconds")
}

/// A right that the role may lack: whether it has it, what fails without it, and what gives it.
const RIGHTS: [(&str, &str, &str); 6] = [
    ("pg_has_role('pg_read_all_data', 'USAGE')", "a dump of tables of others fails", "GRANT pg_read_all_data TO"),
    ("rolbypassrls", "a dump of tables with row security fails", "ALTER ROLE {} BYPASSRLS"),
    (
        "has_function_privilege('pg_backup_start(text, boolean)', 'EXECUTE') AND has_function_privilege('pg_backup_stop(boolean)', 'EXECUTE')",
        "a base backup fails",
        "GRANT EXECUTE ON FUNCTION pg_backup_start(text, boolean), pg_backup_stop(boolean) TO",
    ),
    ("rolreplication", "dr-wal-receive and dr-base --remote fail", "ALTER ROLE {} REPLICATION"),
    ("pg_has_role('pg_checkpoint', 'USAGE')", "a base backup cannot ask for a checkpoint", "GRANT pg_checkpoint TO"),
    ("pg_has_role('pg_monitor', 'USAGE')", "settings, the archiver and replication are not all seen", "GRANT pg_monitor TO"),
];

/// Where in the answer the first of them is.
const FIRST_RIGHT: usize = 3;

fn rights(session: &mut Session, role: Role, found: &mut Findings) -> Result<(), Failure> {
    if session.server_major() < *SUPPORTED.start() {
        return Ok(());
    }
    let columns: Vec<_> = RIGHTS.iter().map(|(has, ..)| *has).collect();
    let rows = session.query(&format!(
        "SELECT rolsuper, quote_ident(current_user), rolcreatedb, {} FROM pg_roles WHERE rolname = current_user",
        columns.join(", ")
    ))?;
    let row = rows.one()?;
    let name = row.text(1)?;
    if row.flag(0)? {
        found.note(Name::Rights, name.to_owned(), Finding::ok("superuser"));
        return Ok(());
    }
    if role.restores {
        let finding = match row.flag(2)? {
            true => Finding::ok("it may create a database to restore into"),
            false => Finding::warning("it may not create a database to restore into", format!("ALTER ROLE {name} CREATEDB")),
        };
        found.note(Name::Rights, name.to_owned(), finding);
    }
    if role.backs_up {
        for finding in lacking(&row, name)? {
            found.note(Name::Rights, name.to_owned(), finding);
        }
    }
    Ok(())
}

/// What of [`RIGHTS`] the role lacks: columns of the row from the fourth on.
fn lacking(row: &Row, name: &str) -> Result<Vec<Finding>, Failure> {
    let has = (0..RIGHTS.len()).map(|number| row.flag(FIRST_RIGHT + number)).collect::<Result<Vec<_>, _>>()?;
    // Neither dump nor base, of one's own or over the wire: then there is no backup at all.
    let none = !has[0] && !has[2] && !has[3];
    let lacking = RIGHTS.iter().zip(&has).enumerate().filter(|(_, (_, has))| !**has).map(|(number, ((_, what, gift), _))| {
        let hint = if gift.contains("{}") { gift.replace("{}", name) } else { format!("{gift} {name}") };
        Finding::bad(if none && number == 0 { State::Critical } else { State::Warning }, *what, hint)
    });
    let lacking: Vec<_> = lacking.collect();
    let all = Finding::ok("all that backups take, without being a superuser");
    Ok(if lacking.is_empty() { vec![all] } else { lacking })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_by_five_minutes_either_way() {
        for (seconds, state) in
            [(0, State::Ok), (300, State::Ok), (-300, State::Ok), (301, State::Critical), (-301, State::Critical)]
        {
            assert_eq!(apart(TimeDelta::seconds(seconds)).state(), state, "{seconds}");
        }
    }
}
