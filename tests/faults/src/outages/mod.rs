//! Recovers a cluster again and again while its store fails, stalls, lies or denies, and looks whether a server was ever opened
//! with rows missing.

mod cluster;
mod trial;

use std::process::ExitCode;

use crate::Seeds;
use crate::seeds::try_all;
use cluster::Cluster;
use trial::{COMPLETE, STOPPED, Trial};

/// Tries all seeds: each makes a fault, and the requests that it meets.
#[expect(clippy::print_stdout, reason = "a campaign for people")]
pub fn run(seeds: &Seeds, major: u32) -> ExitCode {
    let cluster = Cluster::new(major);
    println!("outages: {} rows, {} requests in a recovery without faults", cluster.rows, cluster.requests);
    try_all("outages", seeds, &[COMPLETE, STOPPED], |seed| Trial::of(seed, cluster.requests).run(&cluster))
}
