//! Runs the command of one step, passes on what it says, and notes how it ended.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use chrono::Utc;
use dr_pipe::command::{Manner, Running, describe};
use dr_pipe::record::{MAX_LINE_BYTES, Step};
use dr_pipe::tail::{Deafened, Lines, pass_on};
use dr_pipe::{Exit, Failure, Outcome, stop, stream, warn};

use crate::TOOL;
use crate::args::Args;
use crate::notes::{NoteFile, Noted};
use crate::tail::Heard;

/// Runs the step. `of_command` gets the code that its command has ended with, where that decides ours.
pub fn step(args: &Args, of_command: &mut Option<u8>) -> Outcome {
    let name = args.name.clone().expect("clap asks for a name");
    let phase = args.phase.expect("clap asks for a phase");
    let mut notes = NoteFile::open(&args.record)?;
    drop(stream::records()?);
    let (started_at, begun) = (Utc::now(), Instant::now());
    let output = Some("it began, and nobody has noted its end".to_owned());
    let begin = Step { name, phase, passed: false, exit_code: None, started_at, duration_seconds: 0.0, output };
    notes.begin(&begin)?;
    stop::hint(format!("step {} counts as failed", begin.name));

    let ran = run(args);
    let duration_seconds = begun.elapsed().as_secs_f64();
    let ended = |passed, exit_code, output| Step { passed, exit_code, duration_seconds, output, ..begin.clone() };
    let failed = |failure: Failure| failure.within(format!("step {}", begin.name)).leaving("the step counts as failed");
    match ran {
        Err(failure) => {
            notes.end(&Noted { step: ended(false, None, Some(failure.message.clone())), said: Vec::new() })?;
            Err(failed(failure))
        }
        Ok(Ran { status, mut heard, trouble }) => {
            let passed = status.success() && trouble.is_none();
            // Where no code says how it ended, the last line does.
            match &trouble {
                Some(trouble) => heard.tail.add(&trouble.message),
                None if status.code().is_none() => heard.tail.add(&format!("its command {}", describe(status))),
                None => {}
            }
            let code = status.code().filter(|_| trouble.is_none());
            let step = ended(passed, code, heard.text());
            notes.end(&Noted { step, said: heard.said() })?;
            if let Some(trouble) = trouble {
                return Err(failed(trouble));
            }
            if !passed {
                warn(TOOL, format!("step {} failed: its command {}", begin.name, describe(status)));
                *of_command = Some(code_of(status));
            }
            Ok(Exit::Good)
        }
    }
}

/// The code that a shell gives to such an end.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(Exit::Bad.code())
}

/// A command that was run.
struct Ran {
    status: ExitStatus,
    heard: Heard,
    /// Why the step has failed, although its command may have exited with 0.
    trouble: Option<Failure>,
}

/// What is heard of a command that runs.
#[derive(PartialEq)]
enum Event {
    /// It has ended.
    Ended,
    /// What it says cannot be passed on.
    Deaf,
}

/// Runs the command to its end.
fn run(args: &Args) -> Result<Ran, Failure> {
    // With a limit all of the command must be ended, and not only its shell.
    let manner = Manner { take_error: true, always_grouped: args.timeout.is_some(), keep_output: false };
    let mut running = Running::start(&args.command, manner)?;
    let target = running.target();
    let (output, error) = (running.output(), running.error());
    let (heard, over) = (&Mutex::new(Heard::default()), &AtomicBool::new(false));
    let (status, event, passed_on) = std::thread::scope(|scope| {
        let (tell, events) = mpsc::channel();
        let deaf = tell.clone();
        let passing = scope.spawn(move || {
            let mut lines = Lines::new(MAX_LINE_BYTES);
            let passed = pass_on(output, &mut io::stdout().lock(), over, |bytes| lines.take(bytes, &mut *of(heard)));
            lines.end(&mut *of(heard));
            // Whoever waits for this event may have had another one.
            passed.inspect_err(|_| deaf.send(Event::Deaf).unwrap_or_default())
        });
        scope.spawn(move || {
            let Some(error) = error else { return };
            let mut lines = Lines::new(MAX_LINE_BYTES);
            // Standard error that cannot be read any more has no more to say.
            drop(pass_on(error, &mut Deafened(io::stderr()), over, |bytes| lines.take(bytes, &mut of(heard).tail)));
            lines.end(&mut of(heard).tail);
        });
        scope.spawn(move || target.wait().map(|()| tell.send(Event::Ended)));
        let event = match args.timeout {
            Some(seconds) => events.recv_timeout(Duration::from_secs_f64(seconds)).ok(),
            None => events.recv().ok(),
        };
        if event != Some(Event::Ended) {
            target.end();
            target.kill();
        }
        let status = running.wait();
        over.store(true, Ordering::SeqCst);
        (status, event, passing.join().expect("it does not panic"))
    });
    let status = status.map_err(|error| Failure::io("waiting for the command", &error))?;
    let trouble = match (event, passed_on, args.timeout) {
        (None, _, Some(seconds)) => Some(too_slow(seconds)),
        // Whatever it exits with: it was ended before it was done.
        _ if stop::stopping() => Some(Failure::new(Exit::Busy, "it was ended by a signal to dr-drill", "run the drill again")),
        (_, Err(error), _) => Some(Failure::io("passing on what the command says", &error)),
        _ => None,
    };
    let heard = std::mem::take(&mut *of(heard));
    Ok(Ran { status, heard, trouble })
}

fn of(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn too_slow(seconds: f64) -> Failure {
    let message = format!("its command still ran after {seconds} s, and was ended");
    Failure::new(Exit::Bad, message, "what it said last may say why; --timeout gives it more time")
}
