//! dr-base: a physical backup of a whole cluster, as one stream.

mod args;
mod base;
mod config;
mod control;
mod copy;
mod facts;
mod held;
mod label;
mod large;
mod local;
mod manifest;
mod names;
mod pages;
mod queue;
mod rate;
mod remote;
mod tarball;
mod wal;
mod walk;

use std::process::ExitCode;

use dr_pipe::stream;

/// The tool's name, in receipts, warnings and `application_name`.
const TOOL: &str = "dr-base";

fn main() -> ExitCode {
    dr_pipe::run(|args: args::Args| base::base(&args, stream::output()?))
}
