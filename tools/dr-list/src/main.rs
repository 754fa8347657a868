//! Lists the backups of a store.

mod args;
mod print;

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use dr_catalogue::{Listing, Scope, Selector};
use dr_pipe::{Exit, Failure, Outcome, warn};

use crate::args::Args;
use crate::print::Row;

fn main() -> ExitCode {
    dr_pipe::run(|args| list(&args, Utc::now()))
}

/// Prints the backups asked for, each proved as far as keys are known; then says what is wrong with the others.
fn list(args: &Args, now: DateTime<Utc>) -> Outcome {
    let rows = match args.selector() {
        Some(selector) => vec![one(args, &args.scope(), &selector)?],
        None => return all(args, now),
    };
    print::rows(&rows, args.wants_table(), now)?;
    Ok(Exit::Good)
}

fn one(args: &Args, scope: &Scope, selector: &Selector) -> Result<Row, Failure> {
    let found = args.catalogue.open()?.find(scope, selector)?;
    for warning in &found.warnings {
        warn("dr-list", warning);
    }
    Ok(Row { backup: found.backup, copies: 1 + found.others.len() })
}

fn all(args: &Args, now: DateTime<Utc>) -> Outcome {
    let Listing { entries, flaws, unsigned, unreachable, warnings } = args.catalogue.open()?.list(&args.scope())?;
    let rows: Vec<_> = entries.into_iter().map(|entry| Row { copies: entry.copies(), backup: entry.backup }).collect();
    print::rows(&rows, args.wants_table(), now)?;
    for key in unsigned {
        warn("dr-list", format!("{key} has no signature and is passed over: not published, or tampered with"));
    }
    for warning in warnings {
        warn("dr-list", warning);
    }
    let mut failures: Vec<_> = flaws.into_iter().map(Failure::from).chain(unreachable).collect();
    // The worst decides the exit code, and is said last.
    failures.sort_by_key(|failure| failure.exit);
    let Some(worst) = failures.pop() else { return Ok(Exit::Good) };
    for failure in failures {
        warn("dr-list", failure.message);
    }
    Err(worst.leaving("all other backups are listed"))
}
