//! Holds what is known of a cluster against its objectives: see dr-check(1).

mod args;
mod check;
mod facts;
mod gather;
mod judge;
mod memory;
mod objectives;
mod plugin;
mod print;
mod words;

/// The name in warnings.
const TOOL: &str = "dr-check";

fn main() -> std::process::ExitCode {
    let verb = |args| check::check(&args);
    if std::env::args_os().any(|word| word == "--nagios") { dr_pipe::run_as(plugin::code, verb) } else { dr_pipe::run(verb) }
}
