//! Runs any producer and vouches for it only if it exits 0: see dr-run(1).

mod args;
mod run;
mod suffix;

fn main() -> std::process::ExitCode {
    dr_pipe::run(run::run)
}
