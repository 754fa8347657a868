//! What happens when a signal asks a tool to stop?
//!
//! SIGTERM, SIGINT and SIGHUP end the tool within five seconds with exit 75: the clean-ups that are registered then (an
//! upload to abort, a temporary file to unlink, a child to kill) run once, newest first, on a thread of their own.
//! SIGKILL runs none of them, which is why nothing may depend on them but tidiness.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGABRT, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::{Codes, Ended, Exit, Failure, progress};

type Cleanup = Box<dyn FnOnce() + Send>;
type Handler = Box<dyn FnMut(i32) + Send>;

static CLEANUPS: Mutex<Vec<(Arc<()>, Cleanup)>> = Mutex::new(Vec::new());
static STOPPING: AtomicBool = AtomicBool::new(false);
static GATE: Mutex<()> = Mutex::new(());
static LEFT: Mutex<Option<String>> = Mutex::new(None);
static INSTEAD: Mutex<Option<Handler>> = Mutex::new(None);

/// What is left behind where no tool has said more: true of everything that is published only when it is whole.
const NOTHING: &str = "what it had begun counts for nothing";

/// How long clean-ups may take before the process ends without them.
const PATIENCE: Duration = Duration::from_secs(4);

/// Keeps a clean-up registered; dropping it takes the clean-up back, unrun.
#[derive(Debug)]
#[must_use = "dropping this takes the clean-up back"]
pub struct OnStop(Arc<()>);

/// Registers `cleanup` to be run if a signal asks this process to stop while the returned value lives.
pub fn on_stop(cleanup: impl FnOnce() + Send + 'static) -> OnStop {
    let key = Arc::new(());
    cleanups().push((Arc::clone(&key), Box::new(cleanup)));
    OnStop(key)
}

/// Keeps signals from ending the process; dropping it lets them do so again.
#[derive(Debug)]
#[must_use = "dropping this gives the signals back"]
pub struct Instead(());

/// From now on, while the returned value lives, each signal that asks to stop is given to `handler` and does nothing else: for a tool
/// that runs a command for its caller, which ends in its own time, and so does the tool.
pub fn instead(handler: impl FnMut(i32) + Send + 'static) -> Instead {
    *INSTEAD.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(handler));
    Instead(())
}

impl Drop for Instead {
    fn drop(&mut self) {
        *INSTEAD.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Whether somebody took the signal.
fn taken(signal: i32) -> bool {
    let mut instead = INSTEAD.lock().unwrap_or_else(PoisonError::into_inner);
    instead.as_mut().map(|handler| handler(signal)).is_some()
}

/// Held while something is begun that needs a clean-up, until that is registered: a stop waits for it, and once a stop is
/// under way nothing passes any more.
pub fn gate() -> MutexGuard<'static, ()> {
    GATE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for OnStop {
    fn drop(&mut self) {
        cleanups().retain(|(key, _)| !Arc::ptr_eq(key, &self.0));
    }
}

/// From now on a stop says `left`, what state it leaves behind and what to do, instead of "run it again; what it had begun counts for
/// nothing". For a tool whose work so far is kept, or goes on without it: a service that was stopped as services are, or one
/// that only waits for a server. The last call counts. A bug and a lack of memory end with these words, too.
///
/// Begins in lower case and has no final stop, as every hint: `stop::hint("the server runs on; its log says how far it is")`.
pub fn hint(left: impl Into<String>) {
    *left_behind() = Some(left.into().replace(['\n', '\r'], " "));
}

/// What the hint of a bug ends with.
pub(crate) fn left() -> String {
    left_behind().clone().unwrap_or_else(|| NOTHING.into())
}

/// What the hint of a stop says; `clean`: whether all clean-ups have run.
fn said(clean: bool) -> String {
    match (&*left_behind(), clean) {
        (None, true) => format!("run it again; {NOTHING}"),
        (None, false) => "run it again; cleaning up took too long; what it left counts for nothing".into(),
        (Some(left), true) => left.clone(),
        (Some(left), false) => format!("cleaning up took too long; {left}"),
    }
}

fn left_behind() -> MutexGuard<'static, Option<String>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a signal has asked this process to stop.
pub fn stopping() -> bool {
    STOPPING.load(Ordering::SeqCst)
}

/// Starts the thread that waits for signals; `codes` says with which number they end the process.
pub(crate) fn watch(tool: &str, codes: Codes) -> io::Result<()> {
    own_abort(tool, codes)?;
    let tool = tool.to_owned();
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGXFSZ])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if signal == SIGUSR1 {
                progress::report();
                continue;
            }
            // Caught so that the write at the file size limit fails (EFBIG) and is reported, instead of killing us.
            if signal == SIGXFSZ {
                continue;
            }
            if taken(signal) {
                continue;
            }
            STOPPING.store(true, Ordering::SeqCst);
            let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
            let (done, wait) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let _closed = gate();
                loop {
                    let Some((_, cleanup)) = cleanups().pop() else { break };
                    cleanup();
                }
                // The waiting side may have lost patience and be gone.
                done.send(()).unwrap_or_default();
                // The gate stays closed until the process has ended.
                std::thread::park();
            });
            let clean = wait.recv_timeout(PATIENCE).is_ok();
            Failure::new(Exit::Busy, format!("stopped by {name}"), said(clean)).print(&tool);
            #[expect(clippy::disallowed_methods, reason = "the clean-ups have run")]
            std::process::exit(codes(Ended::BySignal(signal)).into());
        }
    })?;
    Ok(())
}

/// Has the runtime's own end, where it gets no more memory, be one of our codes: that of the signal (134) is above all of them,
/// and ends PostgreSQL's archiver, or a standby.
fn own_abort(tool: &str, codes: Codes) -> io::Result<()> {
    let hint = "give it more (ulimit -v, vm.overcommit_memory); ";
    let failure = Failure::new(Exit::Io, "aborted, most likely without memory", hint);
    let (said, code) = (failure.lines(tool), codes(Ended::With(failure.exit)));
    let end = move || {
        // Nothing is allocated or waited for here.
        let left = LEFT.try_lock();
        let left = left.as_ref().ok().and_then(|left| left.as_deref()).unwrap_or(NOTHING);
        for part in [said.trim_end_matches('\n'), left, "\n"] {
            // Whoever closed stderr still sees the code.
            let (Ok(_) | Err(_)) = rustix::io::write(rustix::stdio::stderr(), part.as_bytes());
        }
        signal_hook::low_level::exit(code.into());
    };
    #[expect(unsafe_code, reason = "it runs within a signal handler, in which a write and _exit are allowed")]
    let registered = unsafe { signal_hook::low_level::register(SIGABRT, end) };
    registered.map(drop)
}

/// Blocks for good if a stop is under way: its thread ends the process.
pub(crate) fn let_finish() {
    while stopping() {
        std::thread::park();
    }
}

fn cleanups() -> MutexGuard<'static, Vec<(Arc<()>, Cleanup)>> {
    CLEANUPS.lock().unwrap_or_else(PoisonError::into_inner)
}
