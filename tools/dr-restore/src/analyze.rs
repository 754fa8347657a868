//! Statistics for the planner: without them, the first queries of a restored database are slow.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use dr_pipe::Failure;
use dr_postgres::quote::qualified;
use dr_postgres::{ConnInfo, Session, settings};

use crate::{NAMES_AS_UTF8, TOOL};

/// Tables and materialized views, largest first. A partition is analysed with its root.
const RELATIONS: &str = "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
     ORDER BY c.relpages DESC, c.relkind";

/// Runs ANALYZE over everything, by `workers` sessions at once.
///
/// # Errors
/// As the server says.
pub fn analyze(conn: &ConnInfo, workers: usize) -> Result<(), Failure> {
    let mut session = Session::connect(conn, TOOL)?;
    session.execute(NAMES_AS_UTF8)?;
    let rows = session.query(RELATIONS)?;
    let names = rows.iter().filter_map(|row| Some(qualified(row.get(0)?, row.get(1)?)));
    let queue: Mutex<VecDeque<String>> = Mutex::new(names.collect());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|_| {
                scope.spawn(|| {
                    let Some(mut name) = next() else { return Ok(()) };
                    let mut session = Session::connect(conn, TOOL)?;
                    settings::for_restoring(&mut session)?;
                    session.execute(NAMES_AS_UTF8)?;
                    loop {
                        session
                            .execute(&format!("ANALYZE {name}"))
                            .map_err(|error| Failure::from(error).within(format!("ANALYZE {name}")))?;
                        match next() {
                            Some(another) => name = another,
                            None => return Ok(()),
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
