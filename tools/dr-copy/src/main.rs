//! Brings backups and WAL to another tier: see dr-copy(1).

mod args;
mod backup;
mod copy;
mod file;
mod own;
mod report;
mod signed;
mod tiers;
mod transfer;
mod wal;
mod wanted;

fn main() -> std::process::ExitCode {
    dr_pipe::run(|args| copy::copy(&args))
}
