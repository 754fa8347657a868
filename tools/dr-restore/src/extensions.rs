//! Tables that belong to extensions: `CREATE EXTENSION` may have filled them, and their constraints hold already.

use std::collections::HashMap;

use dr_pipe::Failure;
use dr_postgres::Session;
use dr_postgres::about::TableFacts;
use dr_postgres::quote::{ascii, ascii_literal};

use crate::copy::Copier;
use crate::plan::{Run, copy_statement};

/// Loads them all in one transaction: what the extension's script put there and would be dumped is deleted first, then rows
/// go in, referenced tables before those that refer to them. A dump holds exactly the rows that the extension registered
/// (`pg_extension_config_dump`), so exactly those are replaced.
///
/// # Errors
/// As [`Copier::copy`].
pub fn load(session: &mut Session, copier: &mut Copier<'_>, runs: &[Run<'_>], tables: &[&TableFacts]) -> Result<(), Failure> {
    session.execute("BEGIN")?;
    let order = order(session, tables)?;
    for number in order.iter().rev() {
        let table = tables[*number];
        let condition = condition(session, table)?;
        let sql = format!("DELETE FROM ONLY {} {condition}", table.into);
        session.execute(&ascii(&sql)).map_err(|error| Failure::from(error).within(&table.into))?;
    }
    for number in order {
        let (run, table) = (&runs[number], tables[number]);
        let statement = copy_statement(table, run.form, false);
        copier.copy(session, &statement, &run.members, Some(run.rows)).map_err(|failure| failure.within(&table.into))?;
    }
    session.execute("COMMIT")?;
    Ok(())
}

/// The `WHERE …` that the extension registered for its table here; empty where all its rows are configuration.
fn condition(session: &mut Session, table: &TableFacts) -> Result<String, Failure> {
    let rows = session.query(&format!(
        "SELECT u.condition FROM pg_catalog.pg_extension e, unnest(e.extconfig, e.extcondition) AS u(relation, condition) \
         WHERE u.relation = pg_catalog.to_regclass({})",
        ascii_literal(&table.into)
    ))?;
    Ok(rows.iter().next().and_then(|row| row.get(0)).unwrap_or_default().to_owned())
}

/// The tables' numbers, each behind those it refers to. Circles stay in the order they came in.
fn order(session: &mut Session, tables: &[&TableFacts]) -> Result<Vec<usize>, Failure> {
    let names: Vec<String> = tables.iter().map(|table| format!("pg_catalog.to_regclass({})", ascii_literal(&table.into))).collect();
    let rows = session.query(&format!(
        "WITH tables(oid, number) AS (SELECT * FROM unnest(ARRAY[{}]::oid[]) WITH ORDINALITY) \
         SELECT own.number - 1, other.number - 1 FROM pg_catalog.pg_constraint c JOIN tables own ON own.oid = c.conrelid \
         JOIN tables other ON other.oid = c.confrelid WHERE c.contype = 'f' AND own.oid <> other.oid",
        names.join(", ")
    ))?;
    let mut needs: HashMap<usize, Vec<usize>> = HashMap::new();
    for row in rows.iter() {
        needs.entry(row.parse(0)?).or_default().push(row.parse(1)?);
    }
    Ok(sorted(tables.len(), &needs))
}

fn sorted(count: usize, needs: &HashMap<usize, Vec<usize>>) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::with_capacity(count);
    while order.len() < count {
        let open = |number: &usize| !order.contains(number);
        let met = |number: &usize| needs.get(number).is_none_or(|needs| needs.iter().all(|need| order.contains(need)));
        let next = (0..count).filter(open).find(met).or_else(|| (0..count).find(open));
        order.extend(next);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn referenced_tables_come_first_and_circles_end() {
        assert_eq!(sorted(3, &[(0, vec![2]), (2, vec![1])].into()), [1, 2, 0]);
        assert_eq!(sorted(2, &[(0, vec![1]), (1, vec![0])].into()), [0, 1]);
        assert!(sorted(0, &HashMap::new()).is_empty());
    }
}
