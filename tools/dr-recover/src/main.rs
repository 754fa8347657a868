//! Restores a whole cluster to any moment: see dr-recover(1).

mod adapt;
mod args;
mod backup_manifest;
mod choose;
mod delta;
mod directory;
mod fetch;
mod fork;
mod heard;
mod isolation;
mod layout;
mod log;
mod made;
mod moment;
mod old_wal;
mod plan;
mod recover;
mod server;
mod settings;
mod stored;
mod stores;
mod survey;
mod tablespaces;
mod target;
mod timed;
mod told;
mod unpack;
mod write;

/// This tool's name, as messages, sessions and records have it.
const TOOL: &str = "dr-recover";

fn main() -> std::process::ExitCode {
    dr_pipe::run(|args: args::Args| recover::recover(&args, chrono::Utc::now))
}
