//! What surrounds every tool's verb: the command line, signals, panics, and the exit code.

use std::io::Write;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{Arg, Command, Parser};

use crate::{Codes, Ended, Exit, Failure, Outcome, stop};

/// Runs a tool: parses its command line into `A`, calls `verb`, prints the two lines if it failed, and gives the exit code.
///
/// `verb` gets what was typed and decides the exit code; usage errors end with 64, a panic with 70, a signal that asks to
/// stop with 75. Must be called once, from `main`, before any thread is started.
pub fn run<A: Parser>(verb: impl FnOnce(A) -> Outcome) -> ExitCode {
    run_as(Ended::code, verb)
}

/// What stands in a hint between a failure's own code and the one that the caller sees.
const TOLD_AS: &str = ", told as ";

/// As [`run`], for a caller that reads exit codes in its own way, as PostgreSQL does: `codes` says which number it sees for
/// every end there is, that of a usage error, a panic and a signal among them.
pub fn run_as<A: Parser>(codes: Codes, verb: impl FnOnce(A) -> Outcome) -> ExitCode {
    let seen = move |exit: Exit| ExitCode::from(codes(Ended::With(exit)));
    let name = A::command().get_name().to_owned();
    std::panic::set_hook(Box::new({
        let name = name.clone();
        move |panic| {
            let what = panic.to_string();
            Failure::new(Exit::Bug, format!("bug: {what}"), format!("please report this line; {}", stop::left())).print(&name);
            #[expect(clippy::disallowed_methods, reason = "no state can be trusted after a panic, on whichever thread")]
            std::process::exit(codes(Ended::With(Exit::Bug)).into());
        }
    }));
    let args = match parse::<A>() {
        Ok(args) => args,
        Err(exit) => return seen(exit),
    };
    if let Err(error) = stop::watch(&name, codes) {
        let failure = Failure::io("installing signal handlers", &error);
        failure.print(&name);
        return seen(failure.exit);
    }
    let outcome = verb(args);
    // A stop that is under way owns the exit: it is cleaning up, and will end the process.
    stop::let_finish();
    match outcome {
        Ok(exit) => seen(exit),
        Err(failure) => {
            let (exit, told) = (failure.exit, codes(Ended::With(failure.exit)));
            let failure =
                if told == exit.code() { failure } else { failure.leaving(format!("exit {}{TOLD_AS}{told}", exit.code())) };
            failure.print(&name);
            told.into()
        }
    }
}

/// The exit code that a failure has, out of a hint of a tool that tells its caller another.
pub fn told_exit(hint: &str) -> Option<Exit> {
    let (before, _) = hint.rsplit_once(TOLD_AS)?;
    let code: u8 = before.rsplit(' ').next()?.parse().ok()?;
    Exit::ALL.into_iter().find(|exit| exit.code() == code)
}

/// A command to which a variable that is empty is one that is not set, as it is to a shell's `${NAME:-…}`.
fn without_empty_variables(command: Command) -> Command {
    let is_empty = |arg: &Arg| arg.get_env().is_some_and(|name| std::env::var_os(name).is_some_and(|value| value.is_empty()));
    let command = command.mut_args(|arg| if is_empty(&arg) { arg.env(Resettable::Reset) } else { arg });
    command.mut_subcommands(without_empty_variables)
}

fn parse<A: Parser>() -> Result<A, Exit> {
    let mut command = without_empty_variables(A::command());
    if let Some(shell) = completion_asked_for() {
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, name.clone(), &mut script);
        return Err(std::io::stdout().lock().write_all(&script).map_or_else(
            |error| {
                let failure = Failure::io("standard output", &error);
                failure.print(&name);
                failure.exit
            },
            |()| Exit::Good,
        ));
    }
    let matches = command.try_get_matches_from_mut(std::env::args_os());
    let parsed = matches.and_then(|matches| A::from_arg_matches(&matches).map_err(|error| error.format(&mut command)));
    parsed.map_err(|error| {
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            // `--help | head` closing the pipe is no error.
            drop(error.print());
            return Exit::Good;
        }
        let text = error.render().to_string();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut message = lines.next().unwrap_or("wrong usage").trim_start_matches("error: ").to_owned();
        if message.ends_with(':') {
            let named: Vec<_> = lines.by_ref().take_while(|line| !line.starts_with("Usage:")).collect();
            message = format!("{message} {}", named.join(", "));
        }
        let possible = text.lines().find_map(|line| line.trim().strip_prefix("[possible values: ")?.strip_suffix(']'));
        let possible = possible.map(|values| format!("one of {values}; ")).unwrap_or_default();
        // That a wrong flag can be passed as a value helps nobody, and after an option it is not even so.
        let tips = text.lines().filter_map(|line| line.trim().strip_prefix("tip: ")).filter(|tip| !tip.starts_with("to pass '"));
        let tip = tips.take(1).map(|tip| format!("{tip}; ")).collect::<String>();
        let name = command.get_name();
        Failure::new(Exit::Usage, message, format!("{possible}{tip}see `{name} --help` or `man {name}`")).print(name);
        Exit::Usage
    })
}

/// `--completions SHELL` as the only arguments: what packages call to make completion files.
fn completion_asked_for() -> Option<clap_complete::Shell> {
    // An argument need not be UTF-8.
    let words: Vec<_> = std::env::args_os().skip(1).take(3).collect();
    match &words[..] {
        [flag, shell] if flag == "--completions" => shell.to_str()?.parse().ok(),
        _ => None,
    }
}
