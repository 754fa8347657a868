//! With which number does a tool end whose caller has codes of its own, and with which words? Runs itself, as a tool that ends in every way there is.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use dr_pipe::{Ended, Exit, Failure, Outcome, run, run_as, stop};

/// Ends in the way that is asked for
#[derive(Parser)]
#[command(name = "tool")]
struct Args {
    end: String,
    #[arg(long)]
    own_codes: bool,
    #[arg(long)]
    hint: Option<String>,
}

fn end(args: Args) -> Outcome {
    if let Some(hint) = args.hint {
        stop::hint("a server may run");
        stop::hint(hint);
    }
    match args.end.as_str() {
        "good" => Ok(Exit::Good),
        "bad" => Ok(Exit::Bad),
        "failure" => Err(Failure::new(Exit::Damaged, "damaged", "do not use it")),
        "panic" => panic!("on purpose"),
        "panic elsewhere" => {
            drop(std::thread::spawn(|| panic!("on purpose")).join());
            Ok(Exit::Good)
        }
        "abort" => std::process::abort(),
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
            println!("every_end_has_its_code_and_its_words: test");
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
    for (word, usual, hinted) in [
        ("TERM", "hint: run it again; what it had begun counts for nothing", "hint: the server runs on"),
        ("panic", "; what it had begun counts for nothing", "hint: please report this line; the server runs on"),
        ("abort", "); what it had begun counts for nothing", "(ulimit -v, vm.overcommit_memory); the server runs on"),
    ] {
        for (words, end) in [(&[word][..], usual), (&[word, "--hint", "the server runs on"], hinted)] {
            let said = said(words);
            assert!(said.lines().count() == 2 && said.ends_with(&format!("{end}\n")), "{words:?}: {said}");
        }
    }
    ExitCode::SUCCESS
}

fn said(words: &[&str]) -> String {
    let output = Command::new(std::env::current_exe().unwrap()).args(words).env("DR_TEST_IS_TOOL", "1").output().unwrap();
    String::from_utf8(output.stderr).unwrap()
}

fn code(words: &[&str]) -> i32 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let status = command.args(words).env("DR_TEST_IS_TOOL", "1").stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.signal(), None, "{words:?}");
    status.code().unwrap()
}
