//! `campaign NAME --seed N --count M`: faults by the hundred. Each campaign makes one fault out of each seed, provokes it, and
//! looks whether what was promised still holds.

mod calls;
mod host;
mod hostile;
mod kills;
mod manual;
mod outages;
mod power;
mod seeds;
mod strace;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use seeds::Seeds;

/// Provoke faults by the hundred, each out of a seed
#[derive(Debug, Parser)]
struct Cli {
    campaign: Campaign,
    #[command(flatten)]
    seeds: Seeds,
    /// PostgreSQL's major version, for outages
    #[arg(long, default_value_t = 15)]
    major: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Campaign {
    /// Kill a stage of the pipe at a system call, or after some time
    Kills,
    /// Fail a system call of dr-encrypt, dr-push or dr-seal
    Calls,
    /// Run the tools on an S3 server that is hostile or broken
    Hostile,
    /// Recover a cluster while its store fails, stalls, lies or denies
    Outages,
    /// Take the power from a file system that tools write to, and look what is there afterwards (root)
    Power,
}

fn main() -> ExitCode {
    let Cli { campaign, seeds, major } = Cli::parse();
    match campaign {
        Campaign::Kills => kills::run(&seeds),
        Campaign::Calls => calls::run(&seeds),
        Campaign::Hostile => hostile::run(&seeds),
        Campaign::Outages => outages::run(&seeds, major),
        Campaign::Power => power::run(&seeds),
    }
}
