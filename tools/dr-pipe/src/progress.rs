//! How far is the work? A bar on a terminal's stderr, one line on SIGUSR1, nothing else.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bar is told once for so many bytes: it asks the clock each time, which for rows costs more than reading them.
const BAR_STEP_BYTES: u64 = 256 << 10;

static CURRENT: OnceLock<Mutex<Option<Arc<State>>>> = OnceLock::new();

struct State {
    tool: String,
    started: Instant,
    done: AtomicU64,
    total: AtomicU64,
    bar: ProgressBar,
}

/// Counts bytes of work. Cheap to clone and to add to from many threads.
#[derive(Clone)]
pub struct Progress(Arc<State>);

impl Progress {
    /// Starts counting for `tool`; `total` is the expected number of bytes, or none where nobody can know.
    pub fn new(tool: &str, total: Option<u64>) -> Self {
        let target = if io::stderr().is_terminal() { ProgressDrawTarget::stderr_with_hz(4) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(total, target);
        let template = match total {
            Some(_) => "{prefix} {bar:24} {bytes}/{total_bytes} {bytes_per_sec} {eta} left",
            None => "{prefix} {bytes} {bytes_per_sec} {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(tool.to_owned());
        let state = Arc::new(State {
            tool: tool.to_owned(),
            started: Instant::now(),
            done: AtomicU64::new(0),
            total: AtomicU64::new(total.unwrap_or(0)),
            bar,
        });
        *current() = Some(Arc::clone(&state));
        Progress(state)
    }

    /// Adds `bytes` to what is expected.
    pub fn expect(&self, bytes: u64) {
        self.0.total.fetch_add(bytes, Ordering::Relaxed);
        self.0.bar.inc_length(bytes);
    }

    /// Adds `bytes` to what is done.
    pub fn add(&self, bytes: u64) {
        let before = self.0.done.fetch_add(bytes, Ordering::Relaxed);
        let done = before + bytes;
        if before / BAR_STEP_BYTES != done / BAR_STEP_BYTES {
            self.0.bar.set_position(done);
        }
    }

    /// Takes the bar off the terminal.
    pub fn finish(&self) {
        self.0.bar.finish_and_clear();
        *current() = None;
    }
}

/// Prints one line on stderr: what SIGUSR1 asks for.
pub(crate) fn report() {
    let Some(state) = current().clone() else { return };
    let done = state.done.load(Ordering::Relaxed);
    let total = state.total.load(Ordering::Relaxed);
    let elapsed = state.started.elapsed();
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    let mut line = format!("{}: {} in {}, {}/s", state.tool, HumanBytes(done), HumanDuration(elapsed), HumanBytes(rate as u64));
    if total > done && rate > 0.0 {
        let left = Duration::from_secs_f64((total - done) as f64 / rate);
        line.push_str(&format!(", {} of {}, about {} left", percent(done, total), HumanBytes(total), HumanDuration(left)));
    }
    line.push('\n');
    // Whoever asked may have closed the terminal since.
    drop(io::stderr().lock().write_all(line.as_bytes()));
}

fn percent(done: u64, total: u64) -> String {
    format!("{:.0} %", 100.0 * done as f64 / total as f64)
}

fn current() -> std::sync::MutexGuard<'static, Option<Arc<State>>> {
    CURRENT.get_or_init(|| Mutex::new(None)).lock().unwrap_or_else(PoisonError::into_inner)
}
