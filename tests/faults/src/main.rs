//! `campaign NAME --seed N --count M`: faults by the hundred. Each campaign makes one fault out of each seed, provokes it, and
//! looks whether what was promised still holds.

mod outages;
mod seeds;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Provoke faults by the hundred, each out of a seed
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    campaign: Campaign,
}

#[derive(Debug, Subcommand)]
enum Campaign {
    /// Recover a cluster while its store fails, stalls, lies or denies
    Outages {
        #[command(flatten)]
        seeds: Seeds,
        /// PostgreSQL's major version
        #[arg(long, default_value_t = 15)]
        major: u32,
    },
}

/// Which seeds, and how many at a time.
#[derive(Clone, Debug, Args)]
pub struct Seeds {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds
    #[arg(long, default_value_t = 200)]
    count: u64,
    /// How many at a time
    #[arg(long, default_value_t = 6)]
    jobs: u64,
}

fn main() -> ExitCode {
    match Cli::parse().campaign {
        Campaign::Outages { seeds, major } => outages::run(&seeds, major),
    }
}
