//! Archives WAL: PostgreSQL's archive_command. See dr-wal-push(1).

mod ahead;
mod args;
mod asked;
mod demoted;
mod forecast;
mod identity;
mod journal;
mod memory;
mod push;
mod stores;

fn main() -> std::process::ExitCode {
    dr_pipe::run(push::push)
}
