//! dr-verify: are the stored bytes what was stored, and is all of it there?

mod args;
mod content;
mod dump;
mod finding;
mod hidden;
mod histories;
mod memory;
mod modes;
mod object;
mod pages;
mod place;
mod print;
mod segment;
mod strays;
mod trial;
mod verify;
mod wal;
mod work;

use std::process::ExitCode;

/// The tool's name, in warnings and in what plugins say.
const TOOL: &str = "dr-verify";

fn main() -> ExitCode {
    dr_pipe::run(|args: args::Args| verify::verify(&args))
}
