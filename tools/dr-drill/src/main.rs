//! Runs the steps of a drill, notes how they end, and gives the verdict: see dr-drill(1).

mod args;
mod finish;
mod notes;
mod operator;
mod reached;
mod step;
mod tail;

use std::process::ExitCode;

use dr_pipe::Outcome;

use crate::args::Args;

/// The name in warnings.
const TOOL: &str = "dr-drill";

fn main() -> ExitCode {
    // A step ends with the code of its command, which need not be one of ours.
    let mut of_command = None;
    let ours = dr_pipe::run(|args| drill(&args, &mut of_command));
    of_command.map_or(ours, ExitCode::from)
}

fn drill(args: &Args, of_command: &mut Option<u8>) -> Outcome {
    if args.finish { finish::finish(args) } else { step::step(args, of_command) }
}
