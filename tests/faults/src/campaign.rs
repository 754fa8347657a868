//! All seeds, several at a time.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::Args;
use crate::cluster::Cluster;
use crate::trial::{Outcome, Trial};

/// Below so many seeds it may be chance that no fault hurt, or that each did.
const MANY: u64 = 100;

/// What became of all seeds.
#[derive(Default)]
struct Tally {
    /// The server was opened with every row, in spite of the fault.
    complete: AtomicU64,
    /// The recovery stopped, and another one brought every row once the store was well.
    stopped: AtomicU64,
    failed: Mutex<Vec<u64>>,
}

/// Tries all seeds, and says how they ended.
#[expect(clippy::print_stdout, reason = "a campaign for people")]
pub fn run(args: &Args) -> ExitCode {
    let cluster = Cluster::new(args.major);
    println!("outages: {} rows, {} requests in a recovery without faults", cluster.rows, cluster.requests);
    let (next, tally) = (AtomicU64::new(args.seed), Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..args.jobs {
            scope.spawn(|| {
                for seed in std::iter::repeat_with(|| next.fetch_add(1, Ordering::SeqCst)) {
                    if seed >= args.seed + args.count {
                        return;
                    }
                    tally.count(seed, Trial::of(seed, cluster.requests).run(&cluster));
                }
            });
        }
    });
    let (complete, stopped) = (tally.complete.into_inner(), tally.stopped.into_inner());
    let failed = tally.failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "outages: {} recoveries: {complete} complete in spite of the fault, {stopped} stopped, and were complete later",
        args.count
    );
    for seed in &failed {
        println!("outages: failed: --seed {seed} --count 1 --major {}", args.major);
    }
    // A campaign whose faults never hurt, or always, proves nothing.
    let vacuous = args.count >= MANY && (complete == 0 || stopped == 0);
    if failed.is_empty() && !vacuous { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Tally {
    #[expect(clippy::print_stdout, reason = "a campaign for people")]
    fn count(&self, seed: u64, outcome: Result<Outcome, String>) {
        match outcome {
            Ok(Outcome::Complete) => self.complete.fetch_add(1, Ordering::SeqCst),
            Ok(Outcome::Stopped) => self.stopped.fetch_add(1, Ordering::SeqCst),
            Err(why) => {
                println!("outages: seed {seed} failed: {why}");
                self.failed.lock().unwrap_or_else(PoisonError::into_inner).push(seed);
                0
            }
        };
    }
}
