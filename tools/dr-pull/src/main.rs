//! Reads a stored object back, whole or by range: see dr-pull(1).

mod args;
mod pull;
mod source;

fn main() -> std::process::ExitCode {
    dr_pipe::run(pull::pull)
}
