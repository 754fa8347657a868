//! What was dumped and is not there, as the server refused its definition: only with `--keep-going`.

use std::collections::HashSet;

use dr_pipe::{Failure, warn};
use dr_postgres::about::TableFacts;
use dr_postgres::quote::literal;
use dr_postgres::{Error, Session};

use crate::TOOL;
use crate::plan::Plan;
use crate::statements::statements;

/// The SQLSTATEs of a relation, and of a schema, that are not there.
const NOT_THERE: [&str; 2] = ["42P01", "3F000"];

/// Those of some names, quoted where SQL needs it, that no relation has; in a session that reads and writes names as UTF-8.
///
/// # Errors
/// As the server says.
pub fn among<'n>(session: &mut Session, names: impl Iterator<Item = &'n str>) -> Result<HashSet<String>, Failure> {
    let names: Vec<_> = names.map(literal).collect();
    let rows = session.query(&format!(
        "SELECT name FROM unnest(ARRAY[{}]::text[]) AS name WHERE pg_catalog.to_regclass(name) IS NULL",
        names.join(", ")
    ))?;
    Ok(rows.iter().filter_map(|row| row.get(0).map(str::to_owned)).collect())
}

/// Takes the rows of tables that are absent out of a plan; a warning names each.
pub fn leave_out(plan: &mut Plan<'_>, tables: &[TableFacts], absent: &HashSet<String>) {
    let name = |number: usize| &*tables[number].into;
    let mut lost: Vec<(&str, u64)> = Vec::new();
    for run in plan.runs.iter().chain(&plan.of_extensions).filter(|run| absent.contains(name(run.table))) {
        match lost.iter_mut().find(|(other, _)| *other == name(run.table)) {
            Some((_, rows)) => *rows += run.rows,
            None => lost.push((name(run.table), run.rows)),
        }
    }
    plan.runs.retain(|run| !absent.contains(name(run.table)));
    plan.of_extensions.retain(|run| !absent.contains(name(run.table)));
    plan.rows -= lost.iter().map(|(_, rows)| rows).sum::<u64>();
    lost.iter().for_each(|(name, rows)| warn(TOOL, format!("left out: the {rows} rows of {name}, which is not there")));
}

/// Sets every sequence that is there.
///
/// # Errors
/// As the server says.
pub fn sequences(session: &mut Session, script: &str) -> Result<(), Failure> {
    let all = statements(script).map_err(|error| Failure::io("sequences.sql", &error))?;
    for statement in all {
        match session.execute(&statement) {
            Err(Error::Server(error)) if NOT_THERE.contains(&&*error.code) => {}
            done => drop(done.map_err(|error| Failure::from(error).within("sequences.sql"))?),
        }
    }
    Ok(())
}
