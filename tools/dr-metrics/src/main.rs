//! Prints facts and checks as metrics for Prometheus: see dr-metrics(1).

mod args;
mod exposition;
mod families;
mod metrics;
mod watched;

fn main() -> std::process::ExitCode {
    dr_pipe::run(|args| metrics::metrics(&args))
}
