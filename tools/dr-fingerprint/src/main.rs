//! dr-fingerprint: what is in a live database, in 32 bytes a table.

mod args;
mod fingerprint;

use std::process::ExitCode;

fn main() -> ExitCode {
    dr_pipe::run(|args: args::Args| fingerprint::fingerprint(&args, &mut dr_pipe::stream::records()?))
}
