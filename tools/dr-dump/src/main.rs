//! dr-dump: a logical backup of one database, at one snapshot, as one stream.

mod args;
mod ddl;
mod dump;
mod members;
mod sink;

use std::process::ExitCode;

use dr_pipe::stream;

fn main() -> ExitCode {
    dr_pipe::run(|args: args::Args| dump::dump(&args, stream::output()?))
}
