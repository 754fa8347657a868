//! Runs the tools, one at a time, on a server that is hostile or broken, in every way of a table, from any request on: once, a few
//! times or for good. Whatever they say then must be true, and where they say that they failed, they must say so as documented;
//! and once the server is well again, the same run succeeds.

mod answers;
mod behaviours;
mod front;
mod refusals;
mod request;
mod tool;
mod trial;
mod well;
mod wire;

use std::process::ExitCode;

use crate::Seeds;
use crate::seeds::try_all;
use behaviours::BEHAVIOURS;
use trial::{FAILED, Plan, SUCCEEDED};
use well::Well;

/// Tries all seeds: each makes a tool, what its server does, and when.
#[expect(clippy::print_stdout, reason = "a campaign for people")]
pub fn run(seeds: &Seeds) -> ExitCode {
    let well = Well::new();
    let plan = Plan::new(&well);
    println!("hostile: {} behaviours, {} pairs of one and a tool", BEHAVIOURS.len(), plan.pairs());
    try_all("hostile", seeds, &[SUCCEEDED, FAILED], |seed| plan.try_one(&well, seed))
}
