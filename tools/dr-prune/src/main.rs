//! Decides which backups and which WAL to keep.

mod args;
mod blocks;
mod line;
mod print;
mod prune;

use std::process::ExitCode;

fn main() -> ExitCode {
    dr_pipe::run(|args| prune::prune(&args))
}
