//! The sign of life: notes how scheduled jobs end, and tells those who wait for it. See dr-heartbeat(1).

mod answer;
mod args;
mod beat;
mod commit;
mod ended;
mod health;
mod http;
mod lock;
mod mark;
mod note;
mod ping;
mod pinger;
mod run;
mod uses;

use std::process::ExitCode;

use dr_pipe::Outcome;

use crate::args::{Args, Verb};

/// The name in warnings.
const TOOL: &str = "dr-heartbeat";

fn main() -> ExitCode {
    // A run ends with the code of its command, which need not be one of ours.
    let mut of_command = None;
    let ours = dr_pipe::run(|args| heartbeat(&args, &mut of_command));
    of_command.map_or(ours, ExitCode::from)
}

fn heartbeat(args: &Args, of_command: &mut Option<u8>) -> Outcome {
    match args.verb {
        Verb::Run => run::run(args, of_command),
        Verb::Beat => beat::beat(args),
        Verb::Ping => ping::ping(args),
        Verb::Health => health::health(args),
        Verb::Commit => commit::commit(args),
    }
}
