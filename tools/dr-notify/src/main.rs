//! Tells people what has failed, and what is well again: see dr-notify(1).

mod args;
mod channel;
mod condition;
mod memory;
mod notice;
mod notify;
mod preflight;
mod program;
mod unit;

/// The name in errors, warnings and notices.
const TOOL: &str = "dr-notify";

fn main() -> std::process::ExitCode {
    dr_pipe::run(notify::notify)
}
