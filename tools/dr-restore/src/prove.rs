//! Did every row come back? The fingerprints of the restored database are taken, and held against the archive's.

use std::collections::{HashMap, HashSet};

use dr_pipe::progress::Progress;
use dr_pipe::record::{Fingerprint, Subject};
use dr_pipe::{Exit, Failure};
use dr_postgres::about::{About, TableFacts};
use dr_postgres::fingerprint::{Difference, differences};
use dr_postgres::reading::Reader;
use dr_postgres::relations::{Relation, RelationKind};
use dr_postgres::rows::NoSink;
use dr_postgres::scope::ScopeArgs;
use dr_postgres::snapshot::{Snapshot, SnapshotArgs};
use dr_postgres::{ConnInfo, large_objects};

use crate::TOOL;

/// How many differences are named.
const NAMED: usize = 5;

/// Nobody else should be in the new database.
const LOCK_WAIT_SECONDS: u32 = 60;

/// Compares a restored database with the fingerprints of the dump it was made from, but for what is `absent`, which was told of.
///
/// # Errors
/// 1 where anything differs, naming up to five of the things that do; else as reading the database does.
pub fn prove(
    conn: &ConnInfo,
    about: &About,
    expected: &[Fingerprint],
    absent: &HashSet<String>,
    workers: usize,
    progress: &Progress,
) -> Result<(), Failure> {
    // Foreign rows are read only where the dump has some: the proof must not depend on another server otherwise.
    let foreign = foreign_with_rows(conn, about)?;
    let scope = ScopeArgs { include_foreign_data: if foreign { vec!["*".into()] } else { vec![] }, ..ScopeArgs::default() };
    let args = SnapshotArgs { lock_wait_timeout: LOCK_WAIT_SECONDS, serializable_deferrable: false };
    let mut snapshot = Snapshot::take(conn, TOOL, &scope, &args)?;
    as_in_the_dump(&mut snapshot.relations, about);
    let objects = large_objects::list(&mut snapshot.session)?;
    let reader = Reader { tool: TOOL, conn, workers, sink: &NoSink, progress };
    let found = reader.read(&mut snapshot, &objects)?.fingerprints;
    let mut differing = differences(expected, &found);
    differing.retain(|difference| counts(difference) && !absent.contains(difference.name()));
    if differing.is_empty() {
        return Ok(());
    }
    let named: Vec<_> = differing.iter().take(NAMED).map(Difference::to_string).collect();
    let more = if differing.len() > NAMED { format!("; and {} more", differing.len() - NAMED) } else { String::new() };
    Err(Failure::new(
        Exit::Bad,
        format!("the restored database is not what was dumped: {}{more}", named.join("; ")),
        "compare with dr-fingerprint --against; what differs may have been changed by code in the dump, or by somebody else",
    ))
}

/// Rows are counted where the dump counted them: under the table, or under the root of its partition tree.
fn as_in_the_dump(relations: &mut Vec<Relation>, about: &About) {
    let tables: HashMap<(&str, &str), &TableFacts> =
        about.tables.iter().map(|table| ((&*table.schema, &*table.name), table)).collect();
    for relation in relations {
        match tables.get(&(&*relation.schema, &*relation.name)) {
            Some(table) => {
                relation.into.clone_from(&table.into);
                relation.skipped.clone_from(&table.skipped);
            }
            // A newer version of an extension may register more tables than the dumped one. Sequences are not listed there.
            None if relation.extension.is_some() && relation.kind != RelationKind::Sequence => {
                relation.skipped = Some("not in the dump".into())
            }
            None => {}
        }
    }
}

/// Where some sequences of a dump are definitions only (those of some tables alone, or unlogged ones on a standby), there is
/// nothing to hold them against.
fn counts(difference: &Difference) -> bool {
    !matches!(difference, Difference::Unexpected(found) if found.subject == Subject::Sequence)
}

fn foreign_with_rows(conn: &ConnInfo, about: &About) -> Result<bool, Failure> {
    let foreign = crate::load::foreign_tables(conn)?;
    let with_rows: HashSet<_> = about
        .tables
        .iter()
        .filter(|table| table.skipped.is_none())
        .map(|table| (table.schema.clone(), table.name.clone()))
        .collect();
    Ok(!foreign.is_disjoint(&with_rows))
}
