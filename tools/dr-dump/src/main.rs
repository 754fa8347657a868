//! dr-dump: a logical backup of one database, at one snapshot, as one stream.

mod args;
mod ddl;
mod dump;
mod members;
mod sink;

use std::process::ExitCode;

use dr_pipe::stream;

/// The tool's name, in receipts, warnings and `application_name`.
const TOOL: &str = "dr-dump";

fn main() -> ExitCode {
    dr_pipe::run(|args: args::Args| dump::dump(&args, stream::output()?))
}
