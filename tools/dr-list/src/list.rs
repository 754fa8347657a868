//! Finds the backups that were asked for, prints them, and says what is wrong with the others.

use chrono::{DateTime, Utc};
use dr_catalogue::{Listing, Scope, Selector};
use dr_pipe::{Exit, Failure, Outcome, warn};

use crate::args::Args;
use crate::estimate::Estimates;
use crate::print::Row;
use crate::{deleted, print, wal};

/// The tool's name.
pub const TOOL: &str = "dr-list";

/// Prints the backups asked for, each proved as far as keys are known; then says what is wrong with the others.
pub fn list(args: Args) -> Outcome {
    let now = Utc::now();
    let rows = match args.selector() {
        Some(selector) => vec![one(&args, &args.scope(), &selector)?],
        None => return all(&args, now),
    };
    print::rows(&rows, Estimates::wanted(&args, &rows).as_ref(), now)?;
    Ok(Exit::Good)
}

fn one(args: &Args, scope: &Scope, selector: &Selector) -> Result<Row, Failure> {
    let found = args.catalogue.open()?.find(scope, selector)?;
    for warning in &found.warnings {
        warn(TOOL, warning);
    }
    Ok(Row { backup: found.backup, copies: 1 + found.others.len() })
}

/// Whether the catalogue says of nothing why it is not listed.
fn is_unexplained(listing: &Listing) -> bool {
    let Listing { deleted, flaws, unsigned, unreachable, warnings, .. } = listing;
    deleted.is_empty() && flaws.is_empty() && unsigned.is_empty() && unreachable.is_empty() && warnings.is_empty()
}

/// What is said where nothing is listed: the name may be wrong.
fn nothing(cluster: &str, scope: &Scope) -> String {
    let kind = scope.kind.map(|kind| format!(" of kind {kind}")).unwrap_or_default();
    let database = scope.database.as_ref().map(|database| format!(" of database {database}")).unwrap_or_default();
    format!("no backup{kind}{database} of cluster {cluster} is there; without --cluster all clusters are listed")
}

fn all(args: &Args, now: DateTime<Utc>) -> Outcome {
    let mut listing = args.catalogue.open()?.list(&args.scope())?;
    let rows: Vec<_> = std::mem::take(&mut listing.entries)
        .into_iter()
        .map(|entry| Row { copies: entry.copies(), backup: entry.backup })
        .collect();
    let mut failures = if args.deleted {
        deleted::list(std::mem::take(&mut listing.deleted), args)?
    } else {
        print::rows(&rows, Estimates::wanted(args, &rows).as_ref(), now)?;
        if args.wal { wal::list(args)? } else { Vec::new() }
    };
    if let Some(cluster) = args.cluster().filter(|_| !args.deleted && rows.is_empty() && is_unexplained(&listing)) {
        warn(TOOL, nothing(cluster, &args.scope()));
    }
    let Listing { flaws, unsigned, unreachable, warnings, .. } = listing;
    for key in unsigned {
        warn(TOOL, format!("{key} has no signature and is passed over: not published, or tampered with"));
    }
    for warning in warnings {
        warn(TOOL, warning);
    }
    failures.extend(flaws.into_iter().map(Failure::from).chain(unreachable));
    // The worst decides the exit code, and is said last.
    failures.sort_by(|a, b| (a.exit, &a.message).cmp(&(b.exit, &b.message)));
    failures.dedup_by(|a, b| a.message == b.message);
    let Some(worst) = failures.pop() else { return Ok(Exit::Good) };
    for failure in failures {
        warn(TOOL, failure.message);
    }
    Err(worst.leaving("all other backups are listed"))
}
