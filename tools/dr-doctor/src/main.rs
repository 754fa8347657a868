//! Checks a host and its stores, and says what to change.

mod archive_settings;
mod args;
mod command;
mod conf;
mod facts;
mod warnings;

use std::process::ExitCode;

use dr_pipe::stream;

fn main() -> ExitCode {
    dr_pipe::run(|args: args::Args| archive_settings::archive_settings(&args, &mut stream::records()?))
}
