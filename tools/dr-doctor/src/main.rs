//! Checks a host and its stores, and says what to change.

mod archive_settings;
mod args;
mod channels;
mod clients;
mod command;
mod conf;
mod examine;
mod facts;
mod findings;
mod keys;
mod probe;
mod server;
mod settings;
mod space;
mod stores;
mod wal;
mod warnings;

use std::process::ExitCode;

use dr_pipe::stream;

fn main() -> ExitCode {
    dr_pipe::run(|args: args::Args| match args.archive_settings {
        true => archive_settings::archive_settings(&args, &mut stream::records()?),
        false => examine::examine(&args),
    })
}
