//! Decrypts an age stream with an identity: see dr-decrypt(1).

mod args;
mod decrypt;

fn main() -> std::process::ExitCode {
    dr_pipe::run(decrypt::decrypt)
}
