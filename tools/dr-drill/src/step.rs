//! Runs the command of one step, passes on what it says, and notes how it ended.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use chrono::Utc;
use dr_pipe::command::{Manner, Running, describe};
use dr_pipe::record::Step;
use dr_pipe::{Exit, Failure, Outcome, stop, stream, warn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::TOOL;
use crate::args::Args;
use crate::notes::{NoteFile, Noted};
use crate::tail::{Lines, Tail};

/// How often the outputs are looked at for the end of the command, where something else holds them open.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// How long something else that holds them open may go on writing, once the command has ended.
const PATIENCE: Duration = Duration::from_secs(1);

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
        Ok(Ran { status, mut tail, trouble }) => {
            let passed = status.success() && trouble.is_none();
            // Where no code says how it ended, the last line does.
            match &trouble {
                Some(trouble) => tail.add(&trouble.message),
                None if status.code().is_none() => tail.add(&format!("its command {}", describe(status))),
                None => {}
            }
            let code = status.code().filter(|_| trouble.is_none());
            let step = ended(passed, code, tail.text());
            notes.end(&Noted { step, said: tail.said() })?;
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
    tail: Tail,
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
    let manner = Manner { take_error: true, always_grouped: args.timeout.is_some() };
    let mut running = Running::start(&args.command, manner)?;
    let target = running.target();
    let (output, error) = (running.output(), running.error());
    let (tail, over) = (&Mutex::new(Tail::default()), &AtomicBool::new(false));
    let (status, event, passed_on) = std::thread::scope(|scope| {
        let (tell, events) = mpsc::channel();
        let deaf = tell.clone();
        let passing = scope.spawn(move || {
            let pump = Pump { lines: Lines::new(true), tail, over };
            // Whoever waits for this event may have had another one.
            pump.run(output, &mut io::stdout().lock()).inspect_err(|_| deaf.send(Event::Deaf).unwrap_or_default())
        });
        // Where our standard error is closed, nobody wants to hear it.
        scope.spawn(move || {
            error.map(|error| Pump { lines: Lines::new(false), tail, over }.run(error, &mut Deafened(io::stderr())))
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
    let tail = std::mem::take(&mut *tail.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Ran { status, tail, trouble })
}

fn too_slow(seconds: f64) -> Failure {
    let message = format!("its command still ran after {seconds} s, and was ended");
    Failure::new(Exit::Bad, message, "what it said last may say why; --timeout gives it more time")
}

/// Passes one output of the command on, and notes its last lines.
struct Pump<'a> {
    lines: Lines,
    tail: &'a Mutex<Tail>,
    /// Whether the command has ended: then what is still to be read is the last.
    over: &'a AtomicBool,
}

impl Pump<'_> {
    /// Reads to the end. A server that the command has started may hold the output open for good: it is not waited for.
    fn run(mut self, mut source: impl Read + AsFd, sink: &mut impl Write) -> io::Result<()> {
        let mut buffer = vec![0; stream::CHUNK_BYTES];
        let mut last = None;
        loop {
            let over = self.over.load(Ordering::SeqCst);
            if over && *last.get_or_insert_with(|| Instant::now() + PATIENCE) < Instant::now() {
                break;
            }
            let ready = poll(&mut [PollFd::new(&source, PollFlags::IN)], Some(&LOOK));
            match ready {
                Ok(0) if over => break,
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            let n = source.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            self.lines.take(&buffer[..n], &mut self.tail.lock().unwrap_or_else(PoisonError::into_inner));
            sink.write_all(&buffer[..n]).and_then(|()| sink.flush())?;
        }
        self.lines.end(&mut self.tail.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }
}

/// Standard error, whose failures are nobody's.
struct Deafened(io::Stderr);

impl Write for Deafened {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (Ok(_) | Err(_)) = self.0.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
