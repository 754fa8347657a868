//! With which number does a tool end whose caller has codes of its own? Runs itself, as a tool that ends in every way there is.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use dr_pipe::{Ended, Exit, Failure, Outcome, run, run_as};

/// Ends in the way that is asked for
#[derive(Parser)]
#[command(name = "tool")]
struct Args {
    end: String,
    #[arg(long)]
    own_codes: bool,
}

fn end(args: Args) -> Outcome {
    match args.end.as_str() {
        "good" => Ok(Exit::Good),
        "bad" => Ok(Exit::Bad),
        "failure" => Err(Failure::new(Exit::Damaged, "damaged", "do not use it")),
        "panic" => panic!("on purpose"),
        "panic elsewhere" => {
            drop(std::thread::spawn(|| panic!("on purpose")).join());
            Ok(Exit::Good)
        }
        signal => {
            rustix::process::kill_process(rustix::process::getpid(), signal_named(signal)).unwrap();
            loop {
                std::thread::park();
            }
        }
    }
}

fn signal_named(name: &str) -> rustix::process::Signal {
    match name {
        "TERM" => rustix::process::Signal::TERM,
        "INT" => rustix::process::Signal::INT,
        _ => rustix::process::Signal::HUP,
    }
}

fn own(ended: Ended) -> u8 {
    match ended {
        Ended::With(exit) => 100 + exit.code(),
        Ended::BySignal(signal) => 200 + u8::try_from(signal).unwrap(),
    }
}

fn main() -> ExitCode {
    if std::env::var_os("DR_TEST_IS_TOOL").is_some() {
        let own_codes = std::env::args().any(|word| word == "--own-codes");
        return if own_codes { run_as(own, end) } else { run(end) };
    }
    let told = |word: &str| std::env::args().any(|arg| arg == word);
    if told("--list") {
        // What nextest asks of a program that is a test by itself.
        if !told("--ignored") {
            println!("every_end_has_its_code: test");
        }
        return ExitCode::SUCCESS;
    }
    for (word, usual, seen) in [
        ("good", 0, 100),
        ("bad", 1, 101),
        ("failure", 65, 165),
        ("panic", 70, 170),
        ("panic elsewhere", 70, 170),
        ("--wrong-usage", 64, 164),
        ("TERM", 75, 215),
        ("INT", 75, 202),
        ("HUP", 75, 201),
    ] {
        assert_eq!(code(&[word]), usual, "{word}");
        assert_eq!(code(&[word, "--own-codes"]), seen, "{word}, with codes of its own");
    }
    ExitCode::SUCCESS
}

fn code(words: &[&str]) -> i32 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let status = command.args(words).env("DR_TEST_IS_TOOL", "1").stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.signal(), None, "{words:?}");
    status.code().unwrap()
}
