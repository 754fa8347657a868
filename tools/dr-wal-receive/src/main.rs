//! Streams WAL from a server into stores: see dr-wal-receive(1).

mod args;
mod as_of;
mod connection;
mod folder;
mod gap;
mod memory;
mod outbox;
mod receive;
mod segment;
mod ship;
mod start;
mod status;
mod stores;
mod stream;
mod trouble;

fn main() -> std::process::ExitCode {
    dr_pipe::run(receive::receive)
}
