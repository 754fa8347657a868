//! How is the service doing? One line: for systemd, and for whoever sends SIGUSR1.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dr_pipe::Failure;
use dr_pipe::notify::Notify;
use dr_wal::Lsn;
use signal_hook::consts::SIGUSR1;

use crate::outbox::Outbox;
use crate::receive::TOOL;
use crate::start::Place;

/// How often systemd hears how it goes.
const EVERY: Duration = Duration::from_secs(5);

/// What is known of the stream.
#[derive(Debug)]
pub struct Status {
    notify: Notify,
    asked: Arc<AtomicBool>,
    told: Option<Instant>,
    ready: bool,
    /// Where the stream stands, and what is safe; none while there is no connection.
    pub received: Option<(Place, Lsn)>,
    /// Where the server's WAL ends, as it has said last.
    pub server_end: Lsn,
}

impl Status {
    /// Listens for SIGUSR1.
    ///
    /// # Errors
    /// 74 where that cannot be had.
    pub fn new() -> Result<Self, Failure> {
        let asked = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGUSR1, Arc::clone(&asked))
            .map_err(|error| Failure::io("installing signal handlers", &error))?;
        Ok(Status { notify: Notify::of_environment(), asked, told: None, ready: false, received: None, server_end: Lsn(0) })
    }

    /// The service is up: WAL streams.
    pub fn ready(&mut self) {
        if !std::mem::replace(&mut self.ready, true) {
            self.notify.ready();
        }
    }

    /// The service ends.
    pub fn stopping(&self) {
        self.notify.stopping();
    }

    /// To be called often: pets the watchdog, and says how it goes where that is due or asked for.
    pub fn tick(&mut self, outbox: &Outbox) {
        self.notify.alive();
        if self.asked.swap(false, Ordering::SeqCst) {
            let line = format!("{TOOL}: {}\n", self.line(outbox));
            // Whoever asked may have closed the terminal since.
            drop(std::io::stderr().lock().write_all(line.as_bytes()));
        }
        if self.told.is_none_or(|told| told.elapsed() >= EVERY) {
            self.told = Some(Instant::now());
            let line = self.line(outbox);
            self.notify.status(&line);
        }
    }

    fn line(&self, outbox: &Outbox) -> String {
        let stream = match self.received {
            None => "not connected".into(),
            Some((place, safe)) => {
                let behind = self.server_end.0.saturating_sub(safe.0);
                format!("received to {place}, safe to {safe}, {behind} bytes behind")
            }
        };
        let (waiting, stores) = outbox.going();
        let stores = stores.iter().map(|going| match (&going.trouble, going.piece) {
            (Some(failure), _) => format!("{}: {}", going.store, failure.message),
            (None, Some((segment, to))) => format!("{}: has {segment} to byte {to}", going.store),
            (None, None) => format!("{}: well", going.store),
        });
        format!("{stream}; {waiting} files wait for stores; {}", stores.collect::<Vec<_>>().join("; "))
    }
}
