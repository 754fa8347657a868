//! Writes one stream to every store at once, unpublished: see dr-push(1).

mod args;
mod branch;
mod name;
mod push;
mod verdict;

fn main() -> std::process::ExitCode {
    dr_pipe::run(push::push)
}
