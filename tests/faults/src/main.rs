//! `outages --seed N --count M`: recovers a cluster again and again while its store fails, stalls, lies or denies, and looks
//! whether a server was ever opened with rows missing.

mod campaign;
mod cluster;
mod trial;

use std::process::ExitCode;

use clap::Parser;

/// Recover a cluster while its store fails, stalls, lies or denies; from a seed
#[derive(Debug, Parser)]
pub struct Args {
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

fn main() -> ExitCode {
    campaign::run(&Args::parse())
}
