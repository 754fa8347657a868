//! Which tables and sequences are there, what may be read of them, and where do their rows go?

use std::collections::HashMap;

use dr_pipe::{Exit, Failure};

use crate::binary::Kind;
use crate::quote;
use crate::scope::ScopeArgs;
use crate::wire::Session;

/// A relation whose definition, and perhaps whose data, belongs to what is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Its OID.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// Columns that carry data, in the byte order of their names: generated and dropped ones are left out.
    pub columns: Vec<String>,
    /// The kinds of these columns where rows are read in binary; none where they are read as text.
    pub kinds: Option<Vec<Kind>>,
    /// Where its rows go, quoted: itself, or the root of its partition tree.
    pub into: String,
    /// The extension it belongs to; its rows are then meant only as far as the extension registered them.
    pub extension: Option<String>,
    /// The extension's `WHERE …`, or empty.
    pub condition: String,
    /// Why its data is not read; none where it is.
    pub skipped: Option<String>,
    /// Blocks of its main fork where ctid ranges can be scanned (a heap, PostgreSQL 14 or later); else none.
    pub blocks: Option<u64>,
    /// Size of its data with TOAST, in bytes; 0 while not yet locked.
    pub bytes: u64,
    /// OIDs of its indexes.
    pub indexes: Vec<u32>,
    /// OIDs of its primary key, unique and exclusion constraints.
    pub constraints: Vec<u32>,
}

/// What a relation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    /// A table with storage of its own.
    Table,
    /// The root or a branch of a partition tree: holds no rows itself.
    Partitioned,
    /// A foreign table.
    Foreign,
    /// A sequence.
    Sequence,
}

impl Relation {
    /// Its name, quoted and with its schema.
    pub fn qualified(&self) -> String {
        quote::qualified(&self.schema, &self.name)
    }

    /// Whether `LOCK TABLE` is for it.
    pub fn is_lockable(&self) -> bool {
        matches!(self.kind, RelationKind::Table | RelationKind::Partitioned)
    }

    /// Whether rows of it are read.
    pub fn has_rows(&self) -> bool {
        self.skipped.is_none() && matches!(self.kind, RelationKind::Table | RelationKind::Foreign)
    }

    /// Its columns as a SQL list in parentheses; empty where there are none, as COPY wants it then.
    pub fn column_list(&self) -> String {
        if self.columns.is_empty() { String::new() } else { format!(" ({})", self.select_list()) }
    }

    /// Its columns as a SQL list.
    pub fn select_list(&self) -> String {
        self.columns.iter().map(|column| quote::identifier(column)).collect::<Vec<_>>().join(", ")
    }
}

/// Finds what `scope` means. With `locked`, sizes are asked for too, which would wait for whoever holds a table otherwise.
///
/// # Errors
/// 64 for a malformed pattern, else as the server says.
pub fn find(session: &mut Session, scope: &ScopeArgs, locked: bool) -> Result<Vec<Relation>, Failure> {
    let usage = |error: String| Failure::new(Exit::Usage, error, "patterns are those of pg_dump: see psql(1), Patterns");
    let members = members(session, &scope.condition().map_err(usage)?, &scope.data_excluded().map_err(usage)?)?;
    let oids = members.keys().map(u32::to_string).collect::<Vec<_>>().join(",");
    let version = session.server_version();
    let sizes = if locked { SIZES } else { "0, 0" };
    let foreign = scope.foreign_included().map_err(usage)?;
    let rows = session.query(&FACTS.replace("$sizes", sizes).replace("$oids", &oids).replace("$foreign", &foreign))?;
    let standby = session.query("SELECT pg_catalog.pg_is_in_recovery()")?.iter().any(|row| row.get(0) == Some("t"));
    let mut relations = Vec::with_capacity(rows.len());
    for row in rows.iter() {
        let text = |column: usize| row.get(column).unwrap_or_default().to_owned();
        let number = |column: usize| row.get(column).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let flag = |column: usize| row.get(column) == Some("t");
        let oid = number(0) as u32;
        let kind = match row.get(3) {
            Some("r") => RelationKind::Table,
            Some("p") => RelationKind::Partitioned,
            Some("f") => RelationKind::Foreign,
            _ => RelationKind::Sequence,
        };
        let extension = row.get(6).map(str::to_owned);
        let registered = row.get(7);
        if extension.is_some() && (registered.is_none() || scope.selects()) {
            continue;
        }
        let unlogged = row.get(4) == Some("u");
        let skipped = if members.get(&oid) == Some(&true) {
            Some("left out by --exclude-table-data".to_owned())
        } else if unlogged && scope.no_unlogged_table_data {
            Some("unlogged, left out by --no-unlogged-table-data".to_owned())
        } else if unlogged && standby {
            Some("unlogged: not readable on a standby".to_owned())
        } else if kind == RelationKind::Foreign && !flag(13) {
            Some("a foreign table".to_owned())
        } else {
            None
        };
        let via_root = row.get(10).is_some() && (scope.load_via_partition_root || flag(12));
        let into = if via_root { quote::qualified(&text(10), &text(11)) } else { quote::qualified(&text(1), &text(2)) };
        let chunkable = kind == RelationKind::Table && row.get(5) == Some("heap") && version >= 140_000;
        relations.push(Relation {
            oid,
            schema: text(1),
            name: text(2),
            kind,
            columns: Vec::new(),
            kinds: None,
            into,
            extension,
            condition: registered.unwrap_or_default().to_owned(),
            skipped,
            blocks: chunkable.then(|| number(8)),
            bytes: number(9),
            indexes: Vec::new(),
            constraints: Vec::new(),
        });
    }
    add_columns(session, &mut relations)?;
    add_indexes(session, &mut relations)?;
    Ok(relations)
}

/// Has the rows of every table read in binary whose columns all have types that allow it.
///
/// # Errors
/// As the server says.
pub fn prefer_binary(session: &mut Session, relations: &mut [Relation]) -> Result<(), Failure> {
    let kinds = kinds(session, relations.iter().filter(|relation| relation.has_rows()).map(|relation| relation.oid))?;
    for relation in relations {
        relation.kinds = kinds_of_all(&kinds, relation.oid, &relation.columns);
    }
    Ok(())
}

/// The kinds of these columns of a table, which is given by its quoted name; none where one of them has none, or there are none.
///
/// # Errors
/// As the server says.
pub fn kinds_of(session: &mut Session, table: &str, columns: &[String]) -> Result<Option<Vec<Kind>>, Failure> {
    let sql = format!("SELECT pg_catalog.to_regclass({})::pg_catalog.oid", quote::literal(table));
    let Some(oid) = session.query(&sql)?.one()?.get(0).and_then(|oid| oid.parse().ok()) else { return Ok(None) };
    Ok(kinds_of_all(&kinds(session, [oid])?, oid, columns))
}

/// The kinds of all these columns; none where one of them has none, or there are none.
fn kinds_of_all(kinds: &HashMap<(u32, String), Kind>, table: u32, columns: &[String]) -> Option<Vec<Kind>> {
    let known: Option<Vec<Kind>> = columns.iter().map(|column| kinds.get(&(table, column.clone())).copied()).collect();
    known.filter(|kinds| !kinds.is_empty())
}

/// The kinds of the columns of these tables, by table and name, domains resolved; those that have one.
pub(crate) fn kinds(session: &mut Session, oids: impl IntoIterator<Item = u32>) -> Result<HashMap<(u32, String), Kind>, Failure> {
    let oids: Vec<_> = oids.into_iter().map(|oid| oid.to_string()).collect();
    let rows = session.query(&BASE_TYPES.replace("$oids", &oids.join(",")))?;
    let mut kinds = HashMap::new();
    for row in rows.iter() {
        if let Some(kind) = Kind::of(row.parse(2)?, row.flag(3)?) {
            kinds.insert((row.parse(0)?, row.text(1)?.to_owned()), kind);
        }
    }
    Ok(kinds)
}

/// The rights that are missing to read all of them, each as `SELECT on schema.name`; row security that filters among them.
///
/// # Errors
/// As the server says.
pub fn unreadable(session: &mut Session, relations: &[Relation]) -> Result<Vec<String>, Failure> {
    let read = |relation: &&Relation| relation.has_rows() || relation.kind == RelationKind::Sequence;
    let oids = relations.iter().filter(read).map(|relation| relation.oid.to_string()).collect::<Vec<_>>().join(",");
    let rows = session.query(&RIGHTS.replace("$oids", &oids))?;
    Ok(rows.iter().filter_map(|row| row.get(0).map(str::to_owned)).collect())
}

/// OIDs of the relations meant, and whether a pattern leaves their data out; the sequences that a table's columns own come
/// with it, as in pg_dump. Patterns without a schema go by the search path of the role, as there too; every operator is
/// qualified, so that nothing on that path can stand in for it.
fn members(session: &mut Session, condition: &str, excluded: &str) -> Result<HashMap<u32, bool>, Failure> {
    session.execute("RESET search_path")?;
    let rows = session.query(&MEMBERS.replace("$excluded", excluded).replace("$condition", condition));
    session.execute("SELECT pg_catalog.set_config('search_path', '', false)")?;
    Ok(rows?.iter().filter_map(|row| Some((row.get(0)?.parse().ok()?, row.get(1) == Some("t")))).collect())
}

const MEMBERS: &str = "
WITH chosen AS (
  SELECT c.oid, $excluded AS excluded FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
  WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,f,S}'::pg_catalog.\"char\"[]) AND c.relpersistence OPERATOR(pg_catalog.<>) 't'
  AND (n.nspname::pg_catalog.text OPERATOR(pg_catalog.!~) '^(pg_|information_schema$)'
    OR EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE c.oid OPERATOR(pg_catalog.=) ANY (e.extconfig)))
  AND $condition)
SELECT oid, pg_catalog.bool_or(excluded) FROM (SELECT oid, excluded FROM chosen UNION ALL
  SELECT s.oid, false FROM chosen JOIN pg_catalog.pg_depend d ON d.refobjid OPERATOR(pg_catalog.=) chosen.oid
  JOIN pg_catalog.pg_class s ON s.oid OPERATOR(pg_catalog.=) d.objid AND s.relkind OPERATOR(pg_catalog.=) 'S'
  WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid OPERATOR(pg_catalog.=) d.classid
  AND d.deptype OPERATOR(pg_catalog.=) ANY ('{a,i}'::pg_catalog.\"char\"[])) AS meant GROUP BY oid";

const SIZES: &str = "CASE WHEN c.relkind = 'r' THEN pg_relation_size(c.oid) / current_setting('block_size')::int8 END, \
                     CASE WHEN c.relkind = 'r' THEN pg_table_size(c.oid) END";

/// One row per relation: oid, schema, name, kind, persistence, access method, extension, its condition, blocks, bytes,
/// schema and name of the partition root, whether its rows must go through that, whether foreign data is wanted.
/// Rows of a tree that is hash-partitioned by an enum go through its root: an enum's hash is made of OIDs that differ
/// in another database (pg_dump's forcePartitionRootLoad).
const FACTS: &str = "
SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, am.amname, e.extname,
  CASE WHEN e.oid IS NOT NULL THEN (SELECT u.condition FROM unnest(e.extconfig, e.extcondition) AS u(relation, condition) WHERE u.relation = c.oid) END,
  $sizes, rn.nspname, rc.relname,
  EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(c.oid) AS a JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = a.relid
    WHERE p.partstrat = 'h' AND EXISTS (SELECT FROM pg_catalog.pg_opclass o WHERE o.oid = ANY (p.partclass) AND o.opcname = 'enum_ops')),
  $foreign
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
  AND d.deptype = 'e' AND d.refclassid = 'pg_catalog.pg_extension'::regclass
LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
LEFT JOIN pg_catalog.pg_class rc ON c.relispartition AND rc.oid = pg_catalog.pg_partition_root(c.oid)
LEFT JOIN pg_catalog.pg_namespace rn ON rn.oid = rc.relnamespace
LEFT JOIN pg_catalog.pg_foreign_table ft ON ft.ftrelid = c.oid
LEFT JOIN pg_catalog.pg_foreign_server fs ON fs.oid = ft.ftserver
WHERE c.oid = ANY ('{$oids}'::oid[])
ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\"";

/// One row per column: its table, name and type, and whether that is an enum; in place of a domain the type beneath it.
const BASE_TYPES: &str = "
WITH RECURSIVE typed(relation, name, type) AS (
  SELECT attrelid, attname, atttypid FROM pg_catalog.pg_attribute
  WHERE attrelid = ANY ('{$oids}'::oid[]) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
  UNION ALL SELECT c.relation, c.name, t.typbasetype FROM typed c JOIN pg_catalog.pg_type t ON t.oid = c.type WHERE t.typtype = 'd')
SELECT c.relation, c.name, t.oid, t.typtype = 'e' FROM typed c JOIN pg_catalog.pg_type t ON t.oid = c.type WHERE t.typtype <> 'd'";

const RIGHTS: &str = "
SELECT DISTINCT CASE WHEN NOT u.usage THEN pg_catalog.format('USAGE on schema %I', n.nspname)
  WHEN NOT u.readable THEN pg_catalog.format('SELECT on %I.%I', n.nspname, c.relname)
  ELSE pg_catalog.format('BYPASSRLS for %I.%I (a policy filters its rows)', n.nspname, c.relname) END
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,
LATERAL (SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE'), pg_catalog.has_table_privilege(c.oid, 'SELECT'),
  pg_catalog.row_security_active(c.oid)) AS u(usage, readable, filtered)
WHERE c.oid = ANY ('{$oids}'::oid[]) AND (NOT u.usage OR NOT u.readable OR u.filtered)
ORDER BY 1";

fn add_columns(session: &mut Session, relations: &mut [Relation]) -> Result<(), Failure> {
    let with_columns = |relation: &&mut Relation| relation.kind != RelationKind::Sequence;
    let mut by_oid: HashMap<u32, &mut Relation> =
        relations.iter_mut().filter(with_columns).map(|relation| (relation.oid, relation)).collect();
    let oids = by_oid.keys().map(u32::to_string).collect::<Vec<_>>().join(",");
    let rows = session.query(&format!(
        "SELECT attrelid, attname FROM pg_catalog.pg_attribute WHERE attrelid = ANY ('{{{oids}}}'::oid[]) AND attnum > 0 AND NOT attisdropped \
         AND attgenerated = '' ORDER BY attname COLLATE \"C\""
    ))?;
    for row in rows.iter() {
        let (Some(oid), Some(name)) = (row.get(0).and_then(|text| text.parse().ok()), row.get(1)) else { continue };
        if let Some(relation) = by_oid.get_mut(&oid) {
            relation.columns.push(name.to_owned());
        }
    }
    Ok(())
}

fn add_indexes(session: &mut Session, relations: &mut [Relation]) -> Result<(), Failure> {
    let mut by_oid: HashMap<u32, &mut Relation> = relations.iter_mut().map(|relation| (relation.oid, relation)).collect();
    let oids = by_oid.keys().map(u32::to_string).collect::<Vec<_>>().join(",");
    let rows = session.query(&format!(
        "SELECT i.indrelid, i.indexrelid, k.oid FROM pg_catalog.pg_index i LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = i.indexrelid \
         AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x') WHERE i.indrelid = ANY ('{{{oids}}}'::oid[]) ORDER BY i.indexrelid"
    ))?;
    for row in rows.iter() {
        let number = |column: usize| row.get(column).and_then(|text| text.parse::<u32>().ok());
        let (Some(table), Some(index)) = (number(0), number(1)) else { continue };
        let Some(relation) = by_oid.get_mut(&table) else { continue };
        match number(2) {
            Some(constraint) => relation.constraints.push(constraint),
            None => relation.indexes.push(index),
        }
    }
    Ok(())
}
