//! Did what pg_dump puts into words stay as the snapshot shows it?
//!
//! Tables are locked; functions, types and the like cannot be. The server's own functions that describe them (`pg_get_function_arguments`,
//! `format_type`, `pg_get_statisticsobjdef`, `pg_get_indexdef`, …) look at what is there now, and have a dump without an error where
//! something is gone: a procedure without its arguments, a column of type `???`. So do the functions that write out values: of an enum
//! its labels, of `regclass` a name, as they are called when a row is read.

use std::collections::{HashMap, HashSet};

use dr_pipe::{Exit, Failure};

use crate::settings;
use crate::wire::Session;
use crate::{ConnInfo, Error};

/// How many of those that have changed are named.
const NAMED: usize = 3;

/// What is described so: its kind and OID, what the server's functions read of it as it is now, and its name; of an index, its table.
/// The body of a function is read out of the snapshot. What is in temporary schemas is nobody's but its session's.
/// Names come in ASCII, as SQL_ASCII holds any bytes; those of roles, which all databases share, not at all.
const DESCRIBED: &str = "
    SELECT kind, oid, state, pg_catalog.encode(pg_catalog.convert_to(name, 'SQL_ASCII'), 'escape'), tbl FROM (
    SELECT 'function', p.oid, pg_catalog.md5(ROW(p.pronamespace, p.proargtypes, p.proallargtypes, p.proargmodes, p.proargnames,
           p.proargdefaults, p.prorettype, p.proretset, p.prosqlbody)::text), p.proname, NULL::oid
      FROM pg_catalog.pg_proc p, pg_catalog.pg_namespace n
     WHERE n.oid = p.pronamespace AND p.oid >= 16384 AND n.nspname !~ '^pg_(toast_)?temp_'
    UNION ALL SELECT 'type', t.oid, t.typnamespace::text, t.typname, NULL::oid
      FROM pg_catalog.pg_type t, pg_catalog.pg_namespace n
     WHERE n.oid = t.typnamespace AND t.oid >= 16384 AND n.nspname !~ '^pg_(toast_)?temp_' AND t.typrelid = 0 AND t.typelem = 0
    UNION ALL SELECT 'statistics', s.oid, s.xmin::text, s.stxname, NULL::oid FROM pg_catalog.pg_statistic_ext s
    UNION ALL SELECT 'index', c.oid, '', c.relname, i.indrelid
      FROM pg_catalog.pg_class c, pg_catalog.pg_index i WHERE i.indexrelid = c.oid AND c.oid >= 16384
    UNION ALL SELECT 'label', e.oid, pg_catalog.md5(ROW(e.enumlabel, e.enumsortorder)::text), e.enumlabel, NULL::oid FROM pg_catalog.pg_enum e
    UNION ALL SELECT 'relation', c.oid, pg_catalog.md5(ROW(c.relnamespace,
           (SELECT pg_catalog.array_agg(a.attname ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped))::text), c.relname, NULL::oid
      FROM pg_catalog.pg_class c, pg_catalog.pg_namespace n
     WHERE n.oid = c.relnamespace AND c.oid >= 16384 AND n.nspname !~ '^pg_(toast_)?temp_' AND c.relkind IN ('v', 'm', 'c', 'f')
    UNION ALL SELECT 'sequence', c.oid, c.relnamespace::text, c.relname, NULL::oid
      FROM pg_catalog.pg_class c, pg_catalog.pg_namespace n
     WHERE n.oid = c.relnamespace AND c.oid >= 16384 AND n.nspname !~ '^pg_(toast_)?temp_' AND c.relkind = 'S'
    UNION ALL SELECT 'trigger', t.oid, t.xmin::text, t.tgname, CASE WHEN c.relkind IN ('r', 'p') THEN c.oid END
      FROM pg_catalog.pg_trigger t, pg_catalog.pg_class c WHERE c.oid = t.tgrelid AND NOT t.tgisinternal
    UNION ALL SELECT 'constraint', k.oid, pg_catalog.md5(ROW(k.connamespace, k.convalidated, k.condeferrable, k.condeferred)::text),
           k.conname, NULLIF(k.conrelid, 0)
      FROM pg_catalog.pg_constraint k, pg_catalog.pg_namespace n
     WHERE n.oid = k.connamespace AND k.oid >= 16384 AND n.nspname !~ '^pg_(toast_)?temp_'
    UNION ALL SELECT 'operator', o.oid, o.oprnamespace::text, o.oprname, NULL::oid FROM pg_catalog.pg_operator o WHERE o.oid >= 16384
    UNION ALL SELECT 'operator class', o.oid, o.opcnamespace::text, o.opcname, NULL::oid FROM pg_catalog.pg_opclass o WHERE o.oid >= 16384
    UNION ALL SELECT 'operator family', o.oid, o.opfnamespace::text, o.opfname, NULL::oid FROM pg_catalog.pg_opfamily o WHERE o.oid >= 16384
    UNION ALL SELECT 'collation', c.oid, c.collnamespace::text, c.collname, NULL::oid FROM pg_catalog.pg_collation c WHERE c.oid >= 16384
    UNION ALL SELECT 'text search configuration', c.oid, c.cfgnamespace::text, c.cfgname, NULL::oid
      FROM pg_catalog.pg_ts_config c WHERE c.oid >= 16384
    UNION ALL SELECT 'text search dictionary', d.oid, d.dictnamespace::text, d.dictname, NULL::oid
      FROM pg_catalog.pg_ts_dict d WHERE d.oid >= 16384
    UNION ALL SELECT 'schema', n.oid, '', n.nspname, NULL::oid FROM pg_catalog.pg_namespace n WHERE n.nspname !~ '^pg_(toast_)?temp_'
    UNION ALL SELECT 'role', r.oid, pg_catalog.md5(r.rolname::text), r.oid::text, NULL::oid FROM pg_catalog.pg_roles r
    ) AS described (kind, oid, state, name, tbl)";

/// Holds everything of which `snapshot` shows a definition against what is there now, at the place that `conn` leads to; indexes of
/// `tables` alone, by OID.
///
/// # Errors
/// 75 where something was changed or dropped since; and as the server says.
pub fn prove(snapshot: &mut Session, conn: &ConnInfo, application: &str, tables: &HashSet<u32>) -> Result<(), Failure> {
    let before = described(snapshot)?;
    let mut fresh = Session::connect(conn, application)?;
    settings::for_reading(&mut fresh, false)?;
    let now = described(&mut fresh)?;
    let is_meant = |described: &Described| described.table.is_none_or(|table| tables.contains(&table));
    let changed = before.iter().filter(|(key, described)| now.get(*key) != Some(described));
    let mut changed: Vec<_> = changed
        .filter(|(_, described)| is_meant(described))
        .map(|((kind, _), described)| format!("{kind} {:?}", described.name))
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
        format!("{}{others} changed while the database was read", changed.join(", ")),
        "definitions and labels are put into words as they are at that moment: run it again; nothing was published",
    ))
}

#[derive(PartialEq, Eq)]
struct Described {
    state: String,
    name: String,
    table: Option<u32>,
}

fn described(session: &mut Session) -> Result<HashMap<(String, String), Described>, Error> {
    let rows = session.query(DESCRIBED)?;
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let read = |row: crate::wire::Row<'_>| {
        let table = row.get(4).and_then(|oid| oid.parse().ok());
        ((text(row.get(0)), text(row.get(1))), Described { state: text(row.get(2)), name: text(row.get(3)), table })
    };
    Ok(rows.iter().map(read).collect())
}
