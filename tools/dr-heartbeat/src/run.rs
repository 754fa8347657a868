//! Runs the command of a job, notes how it ends, and pings.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{SecondsFormat, TimeDelta, Utc};
use dr_pipe::command::{Manner, Running, Target};
use dr_pipe::record::Job;
use dr_pipe::scratch::Scratch;
use dr_pipe::tail::{Deafened, Lines, Tail, pass_on};
use dr_pipe::{Exit, Failure, Outcome, redact, stop, warn};
use rustix::process::Signal;

use crate::TOOL;
use crate::args::{Args, usage};
use crate::ended::Ended;
use crate::lock::{Lock, Other};
use crate::note::{Begun, MESSAGE_BYTES, note};
use crate::pinger::{BODY_BYTES, News, Ping, Pinger, Sent};
use crate::uses::{self, Stored};

/// As many of the last lines of standard error are looked through for what to keep.
const LINES: usize = 200;
/// The longest of them, in bytes.
const LINE_BYTES: usize = 64 << 10;
/// How long it is tried to tell that the job has begun.
const START: Duration = Duration::from_secs(10);
/// How long pinging may take where a signal asks to stop.
const HURRY: Duration = Duration::from_secs(2);

/// Runs the command. `of_command` gets the code that it has ended with, where that decides ours.
pub fn run(args: &Args, of_command: &mut Option<u8>) -> Outcome {
    let (job, cluster) = (args.job()?, args.cluster()?);
    if args.command.is_empty() {
        return Err(usage("there is no command", "give it after --, such as -- /usr/local/lib/dr/backup main"));
    }
    stop::hint("nothing was run");
    let mut teller = Teller::new(args);
    let lock = Lock::take(cluster, job, args.lock_wait()).map_err(|other| teller.busy(job, &other))?;
    let asked = Arc::new(Asked::default());
    let passed = Arc::clone(&asked);
    let _instead = stop::instead(move |signal| passed.pass(signal));
    stop::hint("its command says itself what it has done");
    let begun = Begun::now(cluster, job);
    let (name, clock) = (begun.run.clone(), Instant::now());
    teller.start(&name);

    let records = Records::new();
    let ran = execute(args, &asked, records.as_ref());
    let took = clock.elapsed();
    let (ended, tail, failure) = match ran {
        Ok((status, tail)) => (Ended::of(status), tail, None),
        Err(failure) => {
            let mut tail = Tail::new(1);
            tail.add(&failure.message);
            (Ended::With(failure.exit.code().into()), tail, Some(failure))
        }
    };
    let stored = records.map(Records::stored).unwrap_or_default();
    let known = [redact::environment(), teller.secrets()].concat();
    note(args, &begun.end(&ended, stored, tail.text(MESSAGE_BYTES, &known)));
    // It is over: the next run need not wait for those who are told of it.
    drop(lock);
    let text = tail.text(BODY_BYTES, &known).unwrap_or_default();
    let ping = Ping { news: News::End(ended.clone()), run: Some(name), text, took: Some(took) };
    teller.end(&ping, &|| asked.since_asked());
    failure.map_or_else(|| outcome(&ended, of_command), Err)
}

/// Our own end: that of the command.
fn outcome(ended: &Ended, of_command: &mut Option<u8>) -> Outcome {
    let Ended::By(signal) = ended else {
        *of_command = Some(ended.code());
        return Ok(Exit::Good);
    };
    let hint = match signal.as_str() {
        "KILL" => "the kernel kills what takes too much memory: see dmesg(1); the run counts as failed",
        _ => "run it again; the run counts as failed",
    };
    Err(Failure::new(Exit::Busy, format!("the command was killed by SIG{signal}"), hint))
}

/// Runs the command to its end, and gives the last lines of its standard error.
fn execute(args: &Args, asked: &Asked, records: Option<&Records>) -> Result<(ExitStatus, Tail), Failure> {
    let manner = Manner { take_error: true, keep_output: true, ..Manner::default() };
    let environment: Vec<(&str, &OsStr)> = records.iter().map(|records| ("DR_RUN", records.path.as_os_str())).collect();
    let mut running = Running::start_with(&args.command, manner, &environment)?;
    let (target, error, over) = (running.target(), running.error(), &AtomicBool::new(false));
    asked.aim(Some(target));
    std::thread::scope(|scope| {
        let heard = scope.spawn(move || {
            let (mut tail, mut lines) = (Tail::new(LINES), Lines::new(LINE_BYTES));
            let Some(error) = error else { return tail };
            // Standard error that cannot be read any more has no more to say.
            drop(pass_on(error, &mut Deafened(io::stderr()), over, |bytes| lines.take(bytes, &mut tail)));
            lines.end(&mut tail);
            tail
        });
        let waited = target.wait();
        // From here on its number may be that of another process.
        asked.aim(None);
        let status = waited.and_then(|()| running.wait());
        over.store(true, Ordering::SeqCst);
        let tail = heard.join().expect("it does not panic");
        Ok((status.map_err(|error| Failure::io("waiting for the command", &error))?, tail))
    })
}

/// What a signal has asked of us: it goes to the command, which ends in its own time.
#[derive(Debug, Default)]
struct Asked(Mutex<Signals>);

#[derive(Debug, Default)]
struct Signals {
    target: Option<Target>,
    /// Those that came when there was no command yet.
    early: Vec<i32>,
    first: Option<Instant>,
}

impl Asked {
    fn signals(&self) -> MutexGuard<'_, Signals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass(&self, signal: i32) {
        let mut signals = self.signals();
        signals.first.get_or_insert_with(Instant::now);
        match signals.target {
            Some(target) => send(target, signal),
            None => signals.early.push(signal),
        }
    }

    fn aim(&self, target: Option<Target>) {
        let mut signals = self.signals();
        signals.target = target;
        let early = std::mem::take(&mut signals.early);
        target.iter().for_each(|target| early.iter().for_each(|signal| send(*target, *signal)));
    }

    /// How long ago the first signal came.
    fn since_asked(&self) -> Option<Duration> {
        self.signals().first.map(|first| first.elapsed())
    }
}

fn send(target: Target, signal: i32) {
    // An interrupt comes from the keyboard, which has told the command already, where it shares our terminal.
    let heard = signal == Signal::INT.as_raw() && !target.is_grouped();
    Signal::from_named_raw(signal).filter(|_| !heard).into_iter().for_each(|signal| target.signal(signal));
}

/// The file in which the tools of the command note what they have done.
struct Records {
    _scratch: Scratch,
    path: PathBuf,
}

impl Records {
    /// None where there is no room for it, of which it warns.
    fn new() -> Option<Self> {
        let make = || -> Result<Records, Failure> {
            let scratch = Scratch::new()?;
            let path = scratch.path().join("records.jsonl");
            let made = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path);
            made.map_err(|error| Failure::io(path.display(), &error))?;
            Ok(Records { _scratch: scratch, path })
        };
        make().inspect_err(|failure| warn(TOOL, format!("what is stored will not be noted: {}", failure.message))).ok()
    }

    fn stored(self) -> Stored {
        let file = File::open(&self.path).map_err(|error| Failure::io("$DR_RUN", &error));
        match file.and_then(|file| uses::read(&mut BufReader::new(file))) {
            Ok(uses) => uses.stored,
            Err(failure) => {
                warn(TOOL, format!("what was stored is not noted: $DR_RUN: {}", failure.message));
                Stored::default()
            }
        }
    }
}

/// Tells those who wait for a sign of life. What fails in it is a warning, and takes no longer than its patience.
struct Teller {
    pinger: Option<Pinger>,
    patience: Duration,
    max_run: f64,
    started: Option<Sent>,
}

impl Teller {
    fn new(args: &Args) -> Self {
        let pinger = Pinger::open(args).unwrap_or_else(|failure| {
            warn(TOOL, format!("nobody is pinged: {} ({})", failure.message, failure.hint));
            None
        });
        Teller { pinger, patience: args.ping_patience(), max_run: args.max_run, started: None }
    }

    fn secrets(&self) -> Vec<String> {
        self.pinger.as_ref().map(Pinger::secrets).unwrap_or_default()
    }

    /// While the command runs already.
    fn start(&mut self, run: &str) {
        let ping = Ping { news: News::Start, run: Some(run.into()), text: String::new(), took: None };
        self.started = self.pinger.as_ref().map(|pinger| pinger.send(&ping, START.min(self.patience / 3)));
    }

    /// `asked`: how long ago a signal has asked to stop.
    fn end(&mut self, ping: &Ping, asked: &dyn Fn() -> Option<Duration>) {
        let Some(pinger) = &mut self.pinger else { return };
        let begun = Instant::now();
        let (end, hurry) = (begun + self.patience, || asked().is_some() && begun.elapsed() > HURRY);
        // First the start, as the end must not be told before it.
        let started = self.started.as_mut().map(|sent| sent.wait(end, hurry)).unwrap_or(Ok(Vec::new()));
        let unstarted = pinger.take(started.unwrap_or_else(|some| some));
        let left = end.saturating_duration_since(Instant::now());
        let ended = pinger.send(ping, left).wait(end, hurry);
        if ended.is_err() {
            warn(TOOL, "a ping was given up: it was not answered in time");
        }
        let unended = pinger.take(ended.unwrap_or_else(|some| some));
        let failures = if unended.is_empty() { unstarted } else { unended };
        failures.iter().for_each(|failure| warn(TOOL, format!("{} ({})", failure.message, failure.hint)));
    }

    /// Another run is at work. One that never ends is a failure that somebody has to hear of.
    fn busy(&mut self, job: Job, other: &Other) -> Failure {
        let known =
            other.since.map(|(pid, since)| format!(" (pid {pid}, since {})", since.to_rfc3339_opts(SecondsFormat::Secs, true)));
        let message = format!("another run of {job} is at work{}", known.unwrap_or_default());
        let age = other.since.map(|(_, since)| Utc::now() - since).unwrap_or(TimeDelta::zero());
        if age.as_seconds_f64() > self.max_run {
            let ended = Ended::Badly("another run is at work, and has been for too long".into());
            self.end(&Ping { news: News::End(ended), run: None, text: message.clone(), took: None }, &|| None);
        }
        Failure::new(Exit::Busy, message, "nothing was run; --lock-wait waits for the other one")
    }
}
