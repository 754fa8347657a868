//! Did what pg_dump puts into words stay as the snapshot shows it?
//!
//! Tables are locked; functions, types and the like cannot be. The server's own functions that describe them (`pg_get_function_arguments`,
//! `format_type`, `pg_get_statisticsobjdef`, `pg_get_indexdef`, …) look at what is there now, and have a dump without an error where
//! something is gone: a procedure without its arguments, a column of type `???`.

use std::collections::HashMap;

use dr_pipe::{Exit, Failure};

use crate::settings;
use crate::wire::Session;
use crate::{ConnInfo, Error};

/// How many of those that have changed are named.
const NAMED: usize = 3;

/// What is described so: its kind and OID, what the server's functions read of it as it is now, and its name. The body of a function
/// that is replaced is read out of the snapshot. What belongs to temporary schemas is nobody's but
/// its session's.
const DESCRIBED: &str = "
    SELECT 'function', p.oid, pg_catalog.md5(ROW(p.pronamespace, p.proargtypes, p.proallargtypes, p.proargmodes, p.proargnames,
           p.proargdefaults, p.prorettype, p.proretset, p.prosqlbody)::text), p.proname FROM pg_catalog.pg_proc p, pg_catalog.pg_namespace n
     WHERE n.oid = p.pronamespace AND p.oid >= 16384 AND n.nspname !~ '^pg_(toast_)?temp_'
    UNION ALL SELECT 'type', t.oid, t.typnamespace::text, t.typname FROM pg_catalog.pg_type t, pg_catalog.pg_namespace n
     WHERE n.oid = t.typnamespace AND t.oid >= 16384 AND n.nspname !~ '^pg_(toast_)?temp_' AND t.typrelid = 0 AND t.typelem = 0
    UNION ALL SELECT 'statistics', s.oid, s.xmin::text, s.stxname FROM pg_catalog.pg_statistic_ext s
    UNION ALL SELECT 'relation', c.oid, c.relnamespace::text || c.relkind::text, c.relname FROM pg_catalog.pg_class c, pg_catalog.pg_namespace n
     WHERE n.oid = c.relnamespace AND c.oid >= 16384 AND n.nspname !~ '^pg_(toast|temp_|toast_temp_)' AND c.relkind IN ('i', 'I', 'v', 'm', 'c', 'f')
    UNION ALL SELECT 'schema', n.oid, '', n.nspname FROM pg_catalog.pg_namespace n WHERE n.nspname !~ '^pg_(toast_)?temp_'
    UNION ALL SELECT 'role', r.oid, '', r.rolname FROM pg_catalog.pg_roles r";

/// Holds everything of which `snapshot` shows a definition against what is there now, at the place that `conn` leads to.
///
/// # Errors
/// 75 where something was changed or dropped since; and as the server says.
pub fn prove(snapshot: &mut Session, conn: &ConnInfo, application: &str) -> Result<(), Failure> {
    let before = described(snapshot)?;
    let mut fresh = Session::connect(conn, application)?;
    settings::for_reading(&mut fresh, false)?;
    let now = described(&mut fresh)?;
    let mut changed: Vec<_> = before
        .iter()
        .filter(|(key, state)| now.get(*key) != Some(state))
        .map(|((kind, _), (_, name))| format!("{kind} {name:?}"))
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    changed.sort_unstable();
    let total = changed.len();
    changed.truncate(NAMED);
    let others = if total > NAMED { format!(" and {} more", total - NAMED) } else { String::new() };
    Err(Failure::new(
        Exit::Busy,
        format!("{}{others} changed while definitions were read", changed.join(", ")),
        "definitions are put into words as they are at that moment: run it again; nothing was published",
    ))
}

type Key = (String, String);
type State = (String, String);

fn described(session: &mut Session) -> Result<HashMap<Key, State>, Error> {
    let rows = session.query(DESCRIBED)?;
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    Ok(rows.iter().map(|row| ((text(row.get(0)), text(row.get(1))), (text(row.get(2)), text(row.get(3))))).collect())
}
