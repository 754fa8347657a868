//! Statistics for the planner: without them, the first queries of a restored database are slow.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use dr_pipe::{Failure, warn};
use dr_postgres::quote::qualified;
use dr_postgres::{ConnInfo, Error};

use crate::TOOL;
use crate::server::settled;

/// Tables and materialized views, largest first. A partition is analysed with its root; where a foreign table is among them,
/// each by itself, as the root would have us ask a remote server.
const RELATIONS: &str = "
SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,
LATERAL (SELECT EXISTS (SELECT FROM pg_catalog.pg_partition_tree(pg_catalog.pg_partition_root(c.oid)) t
  JOIN pg_catalog.pg_class f ON f.oid = t.relid AND f.relkind = 'f')) AS tree(has_foreign)
WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
AND CASE WHEN tree.has_foreign THEN c.relkind = 'r' ELSE NOT c.relispartition END
ORDER BY c.relpages DESC, c.relkind";

/// Runs ANALYZE over everything, by `workers` sessions at once. What the server will not analyse is worth a warning: the
/// rows are there all the same.
///
/// # Errors
/// Where the server cannot be reached, or goes away.
pub fn analyze(conn: &ConnInfo, workers: usize) -> Result<(), Failure> {
    let mut session = settled(conn)?;
    let rows = session.query(RELATIONS)?;
    let names = rows.iter().filter_map(|row| Some(qualified(row.get(0)?, row.get(1)?)));
    let queue: Mutex<VecDeque<String>> = Mutex::new(names.collect());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|_| {
                scope.spawn(|| {
                    let Some(mut name) = next() else { return Ok(()) };
                    let mut session = settled(conn)?;
                    loop {
                        match session.execute(&format!("ANALYZE {name}")) {
                            Ok(_) => {}
                            Err(Error::Server(error)) => warn(TOOL, format!("ANALYZE {name}: {}", error.message)),
                            Err(error) => return Err(Failure::from(error).within(format!("ANALYZE {name}"))),
                        }
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
