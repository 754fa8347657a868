//! Which WAL of a cluster is in which store? Runs of segments, each without a gap, and what is streamed of others.

use dr_pipe::record::{self, Record, Wal};
use dr_pipe::{Failure, table};
use dr_store::Store;
use dr_wal::Shelf;
use indicatif::HumanBytes;

use crate::args::Args;
use crate::print;

/// Prints the runs in every store that can be read, store by store; gives why the others cannot.
///
/// # Errors
/// As [`print::out`].
pub fn list(args: &Args) -> Result<Vec<Failure>, Failure> {
    let (runs, failures) = runs(args);
    print::out(|mut output| {
        if args.table.wanted() {
            return if runs.is_empty() { Ok(()) } else { writeln!(output, "\n{}", table(&runs)) };
        }
        runs.into_iter().try_for_each(|run| record::write(&mut output, &Record::Wal(run)))
    })?;
    Ok(failures)
}

fn runs(args: &Args) -> (Vec<Wal>, Vec<Failure>) {
    let cluster = args.cluster().expect("--wal requires --cluster");
    let (mut runs, mut failures) = (Vec::new(), Vec::new());
    for location in &args.catalogue.from.from {
        let listed = Store::open_for_read(location, &args.catalogue.store).map_err(Failure::from);
        match listed.and_then(|store| of(&store, cluster)) {
            Ok(found) => runs.extend(found),
            Err(failure) => failures.push(failure),
        }
    }
    (runs, failures)
}

fn of(store: &Store, cluster: &str) -> Result<Vec<Wal>, Failure> {
    let shelf = Shelf::new(store, cluster);
    Ok(shelf.kept(&shelf.inventory()?)?)
}

const HEADER: [&str; 8] = ["TIMELINE", "FIRST SEGMENT", "LAST SEGMENT", "SEGMENTS", "UNTIL", "STORED", "NEWEST (UTC)", "STORE"];

fn table(runs: &[Wal]) -> String {
    let row = |run: &Wal| {
        [
            run.timeline.to_string(),
            run.first.clone(),
            run.last.clone(),
            if run.segments == 0 { "streamed".into() } else { run.segments.to_string() },
            run.until_lsn.clone().unwrap_or_else(|| "-".into()),
            HumanBytes(run.stored_bytes).to_string(),
            run.stored_at.map_or_else(|| "-".into(), |at| at.format("%Y-%m-%d %H:%M:%S").to_string()),
            run.store.clone(),
        ]
    };
    table::table(HEADER, &["TIMELINE", "SEGMENTS", "STORED"], runs.iter().map(row))
}
