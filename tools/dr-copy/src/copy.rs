//! Copies what is wanted to every target; what fails keeps nothing else from being copied.

use dr_pipe::progress::Progress;
use dr_pipe::{Outcome, stop, stream, workers};

use crate::args::Args;
use crate::report::{Report, TOOL};
use crate::tiers::Tiers;
use crate::wanted::{Wanted, wanted};
use crate::{backup, wal};

/// Copies the backups that are meant, and the WAL where it is asked for.
pub fn copy(args: &Args) -> Outcome {
    drop(stream::records()?);
    stop::hint("run it again: it does only what is missing; nothing is there by halves");
    let report = Report::default();
    let wanted = match wanted(args) {
        _ if args.wal_only => Vec::new(),
        Err(failure) if args.wal && args.cluster.is_some() => {
            report.failed(failure);
            Vec::new()
        }
        wanted => wanted?,
    };
    let tiers = Tiers::open(args, &report)?;
    let progress = Progress::new(TOOL, Some(wanted.iter().map(|it| it.bytes).sum()));
    workers::each(args.backups_at_once(), &wanted, |it| backup::copy(&tiers, it, &report, &progress));
    progress.finish();
    if args.wal || args.wal_only {
        clusters(args, &wanted).iter().for_each(|cluster| wal::copy(&tiers, cluster, args, &report));
    }
    report.end()
}

/// Whose WAL is copied.
fn clusters(args: &Args, wanted: &[Wanted]) -> Vec<String> {
    let mut clusters: Vec<_> = match &args.cluster {
        Some(cluster) => vec![cluster.clone()],
        None => wanted.iter().map(|it| it.cluster.clone()).collect(),
    };
    clusters.sort_unstable();
    clusters.dedup();
    clusters
}
