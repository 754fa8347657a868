//! Encrypts a stream to age recipients: see dr-encrypt(1).

mod args;
mod encrypt;
mod proved;

fn main() -> std::process::ExitCode {
    dr_pipe::run(encrypt::encrypt)
}
