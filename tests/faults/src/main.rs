//! `outages --seed N --count M`: recovers a cluster again and again while its store fails, stalls, lies or denies, and looks
//! whether a server was ever opened with rows missing.

mod cluster;
mod trial;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use clap::Parser;

use crate::cluster::Cluster;
use crate::trial::{Outcome, Trial};

/// Recover a cluster while its store fails, stalls, lies or denies; from a seed
#[derive(Debug, Parser)]
struct Args {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds
    #[arg(long, default_value_t = 200)]
    count: u64,
    /// PostgreSQL's major version
    #[arg(long, default_value_t = 15)]
    major: u32,
    /// Recoveries at a time
    #[arg(long, default_value_t = 6)]
    jobs: u64,
}

/// What became of all seeds.
#[derive(Default)]
struct Tally {
    /// The server was opened with every row, in spite of the fault.
    complete: AtomicU64,
    /// The recovery stopped, and went on to every row once the store was well.
    stopped: AtomicU64,
    failed: Mutex<Vec<(u64, String)>>,
}

#[expect(clippy::print_stdout, reason = "a campaign for people")]
fn main() -> ExitCode {
    let args = Args::parse();
    let cluster = Cluster::new(args.major);
    println!("outages: {} rows, {} requests in a recovery without faults", cluster.rows, cluster.requests);
    let (next, tally) = (AtomicU64::new(args.seed), Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..args.jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= args.seed + args.count {
                        return;
                    }
                    match Trial::of(seed, cluster.requests).run(&cluster) {
                        Ok(Outcome::Complete) => drop(tally.complete.fetch_add(1, Ordering::SeqCst)),
                        Ok(Outcome::Stopped) => drop(tally.stopped.fetch_add(1, Ordering::SeqCst)),
                        Err(why) => {
                            println!("outages: seed {seed} failed: {why}");
                            tally.failed.lock().unwrap_or_else(PoisonError::into_inner).push((seed, why));
                        }
                    }
                }
            });
        }
    });
    let (complete, stopped) = (tally.complete.into_inner(), tally.stopped.into_inner());
    let failed = tally.failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("outages: {} recoveries: {complete} complete in spite of the fault, {stopped} stopped and went on later", args.count);
    for (seed, _) in &failed {
        println!("outages: failed: --seed {seed} --count 1 --major {}", args.major);
    }
    // A campaign whose faults never hurt proves nothing.
    if !failed.is_empty() || args.count >= 100 && (complete == 0 || stopped == 0) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
