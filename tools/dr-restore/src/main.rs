//! Restores a dump into a new database and proves it.

mod absent;
mod analyze;
mod archive_source;
mod args;
mod bytes;
mod copy;
mod extensions;
mod foreign;
mod globals;
mod large_objects;
mod listing;
mod load;
mod plan;
mod preflight;
mod program;
mod properties;
mod prove;
mod restore;
mod room;
mod schedule;
mod schema;
mod script;
mod server;
mod sorting;
mod source;
mod statements;
mod target;

use std::process::ExitCode;

/// This tool's name, as messages, sessions and records have it.
const TOOL: &str = "dr-restore";

/// For sessions that read or write names: scripts and records are UTF-8, whatever the rows are.
const NAMES_AS_UTF8: &str = "SET client_encoding = 'UTF8'";

fn main() -> ExitCode {
    dr_pipe::run(|args: args::Args| {
        let mut random = [0; 2];
        getrandom::fill(&mut random).map_err(|error| {
            dr_pipe::Failure::new(dr_pipe::Exit::Bug, format!("no random numbers: {error}"), "please report this line")
        })?;
        restore::restore(&args, chrono::Utc::now, random)
    })
}
