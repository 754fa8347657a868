//! Deletes backups and WAL: see dr-delete(1).

mod age;
mod args;
mod carry;
mod clock;
mod decided;
mod delete;
mod grave;
mod lock;
mod plan;
mod rules;
mod share;
mod survey;
mod undelete;
mod unsealed;
mod wal;

/// The tool's name in warnings.
const TOOL: &str = "dr-delete";
/// How a refusal ends.
const NOTHING: &str = "nothing was deleted";

fn main() -> std::process::ExitCode {
    dr_pipe::run(delete::delete)
}
