//! All seeds of a campaign, several at a time.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use clap::Args;

/// Which seeds, and how many at a time.
#[derive(Clone, Debug, Args)]
pub struct Seeds {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many seeds
    #[arg(long, default_value_t = 200)]
    pub count: u64,
    /// How many at a time
    #[arg(long, default_value_t = 6)]
    pub jobs: u64,
}

/// Below so many seeds it may be chance that an ending did not come.
const MANY: u64 = 100;

/// Tries all seeds and says how they ended. What a seed gives is the way in which it ended well, or why it failed. Each of
/// `endings` must come among many seeds: a campaign whose faults never hurt, or always, proves nothing.
#[expect(clippy::print_stdout, reason = "a campaign for people")]
pub fn try_all(
    campaign: &str,
    seeds: &Seeds,
    endings: &[&'static str],
    trial: impl Fn(u64) -> Result<&'static str, String> + Sync,
) -> ExitCode {
    let (next, last) = (AtomicU64::new(seeds.seed), seeds.seed + seeds.count);
    let tally: Mutex<(BTreeMap<&'static str, u64>, Vec<u64>)> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..seeds.jobs.clamp(1, seeds.count.max(1)) {
            scope.spawn(|| {
                for seed in std::iter::repeat_with(|| next.fetch_add(1, Ordering::SeqCst)).take_while(|seed| *seed < last) {
                    let ended = trial(seed);
                    let (ends, failed) = &mut *tally.lock().unwrap_or_else(PoisonError::into_inner);
                    match ended {
                        Ok(ending) => *ends.entry(ending).or_default() += 1,
                        Err(why) => {
                            println!("{campaign}: seed {seed} failed: {why}");
                            failed.push(seed);
                        }
                    }
                }
            });
        }
    });
    let (ends, failed) = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    let said: Vec<_> = ends.iter().map(|(ending, n)| format!("{n} {ending}")).collect();
    println!("{campaign}: {} seeds: {}; {} failed", seeds.count, said.join(", "), failed.len());
    let missing: Vec<_> = endings.iter().filter(|ending| seeds.count >= MANY && !ends.contains_key(*ending)).collect();
    missing.iter().for_each(|ending| println!("{campaign}: not one was {ending}: it proves nothing"));
    failed.iter().for_each(|seed| println!("{campaign}: failed: scripts/campaign {campaign} --seed {seed} --count 1"));
    if failed.is_empty() && missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Numbers out of a seed (SplitMix64, Steele, Lea and Flood 2014).
pub struct Random(pub u64);

impl Random {
    /// The next number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}
