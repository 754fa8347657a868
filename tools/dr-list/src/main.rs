//! Lists the backups of a store.

mod args;
mod deleted;
mod estimate;
mod list;
mod print;
mod wal;

fn main() -> std::process::ExitCode {
    dr_pipe::run(list::list)
}
