//! Brings archived WAL back, as PostgreSQL's restore_command: see dr-wal-fetch(1).

mod absent;
mod ahead;
mod args;
mod ask;
mod fetch;
mod place;
mod queue;
mod server;

fn main() -> std::process::ExitCode {
    dr_pipe::run_as(args::codes(), fetch::fetch)
}
