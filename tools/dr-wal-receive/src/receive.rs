//! The service: connects, receives, and connects again, while every store has a thread of its own.

use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dr_pipe::stop::{self, OnStop};
use dr_pipe::{Backoff, Exit, Failure, Outcome, warn};
use dr_wal::Lsn;

use crate::args::Args;
use crate::connection::{Connection, Link};
use crate::folder::{Folder, Kept};
use crate::memory::Memory;
use crate::outbox::Outbox;
use crate::ship::Shipment;
use crate::status::Status;
use crate::stores::Stores;
use crate::stream::{End, Manner, Receiver};
use crate::trouble::{Trouble, may_pass};

/// Our name.
pub const TOOL: &str = "dr-wal-receive";

/// How long the last pieces may take when a signal asks to stop.
const FAREWELL: Duration = Duration::from_secs(3);

/// A connection that held so long was a good one.
const LONG: Duration = Duration::from_secs(60);

/// How long the stores may take for what is left, where the service ends by itself.
const DRAIN: Duration = Duration::from_secs(300);

/// How long the stores may take for what is there, where the own disk fails, or is full: only they can make room.
const MAKE_ROOM: Duration = Duration::from_secs(60);

/// Streams WAL into the stores until it is told to stop.
pub fn receive(args: Args) -> Outcome {
    let required = dr_store::required(&args.to, args.require)? as usize;
    let conn = args.connect.resolve(TOOL, args.dbname.as_deref())?;
    let signing_key = args.signing_key.load_if_there(&args.cluster.cluster).map_err(unstarted)?;
    let recipients = args.readers(TOOL)?;
    let directory = args.directory()?;
    let folder = Arc::new(Folder::open(&directory)?);
    // Services are stopped: nothing is lost by it, and nobody needs to see to it.
    stop::hint(format!("what was received is kept in {}, and stored after the next start", directory.display()));
    let stores: Vec<_> = args.to.iter().map(ToString::to_string).collect();
    let outbox = Arc::new(Outbox::new(&stores, required, args.every()));
    let farewell = Farewell::new(&outbox);
    let slot = args.slot();
    let link = Link { conn: &conn, name: &args.name, slot: &slot, create_slot: args.create_slot };
    let mut status = Status::new()?;

    let begin = |memory: &Memory| {
        let shipment = Arc::new(Shipment {
            cluster: args.cluster.cluster.clone(),
            system: memory.system.clone(),
            recipients,
            level: args.level,
            signing_key,
            stores: Stores::new(&args.store),
            folder: Arc::clone(&folder),
            outbox: Arc::clone(&outbox),
            packed: Mutex::new(BTreeMap::new()),
        });
        put_in(&folder, &outbox, memory)?;
        ship(&shipment, &args)
    };
    let (memory, first) = match folder.recall()? {
        // What was received before goes to the stores, whether the server answers or not: it may be gone.
        Some(memory) => {
            memory.check_cluster(&args.cluster.cluster)?;
            begin(&memory)?;
            let first = first(&args, &link, &outbox, &mut status).inspect_err(|_| part(&outbox, &farewell))?;
            memory.hold_against(&first.identity, first.size)?;
            (memory, first)
        }
        None => {
            let first = first(&args, &link, &outbox, &mut status)?;
            let memory = Memory::new(&args.cluster.cluster, &first.identity, first.size);
            folder.remember(&memory)?;
            begin(&memory)?;
            (memory, first)
        }
    };

    let until = args.until.or_else(|| args.once.then_some(Lsn(first.identity.flushed)));
    let manner = Manner { synchronous: args.synchronous, until };
    let mut receiver = Receiver::new(&folder, &outbox, memory, status, manner);
    let end = serve(&mut receiver, &link, first, args.once);
    if end.as_ref().is_err_and(|failure| failure.exit == Exit::Io) {
        // Whether they have taken all of it, the next start will see.
        drop(receiver.outbox.drain(MAKE_ROOM));
    }
    receiver.status.stopping();
    finish(&mut receiver, end, &farewell)
}

/// The first connection, which must succeed once for us to know whose WAL comes.
fn first(args: &Args, link: &Link<'_>, outbox: &Outbox, status: &mut Status) -> Result<Connection, Failure> {
    let mut backoff = Backoff::default();
    loop {
        match link.connect().map_err(Trouble::failure) {
            Ok(connection) => return Ok(connection),
            Err(failure) if args.once || !may_pass(&failure) => return Err(failure.leaving("nothing was received")),
            Err(failure) => wait(&failure, &mut backoff, outbox, status),
        }
        if outbox.stopping() {
            return Err(Failure::new(Exit::Busy, "stopped", "nothing was received"));
        }
        if let Some(failure) = outbox.fatal() {
            return Err(failure);
        }
    }
}

/// Puts what an earlier run has left into the outbox: whole files, and as much as there is of the last segment. A full disk is no
/// reason not to begin: what is there goes to the stores, and leaves room.
fn put_in(folder: &Folder, outbox: &Outbox, memory: &Memory) -> Result<(), Failure> {
    for kept in folder.whole()? {
        let as_of = match &kept {
            Kept::Wal(dr_wal::WalName::Segment(segment)) => memory.as_of.get(segment).copied(),
            _ => None,
        };
        outbox.add_segment(kept, as_of);
    }
    let last = folder.unfinished()?.pop();
    outbox.progress(last.filter(|(_, bytes)| *bytes > 0));
    Ok(())
}

/// Has what earlier runs have left stored, where nothing more comes.
fn part(outbox: &Outbox, farewell: &Farewell) {
    if outbox.stopping() {
        outbox.end_now(FAREWELL);
        farewell.said();
    } else if let Err(failure) = outbox.drain(DRAIN) {
        warn(TOOL, format!("what was received before is not in the stores: {}", failure.message));
    }
}

/// Starts a thread for every store.
fn ship(shipment: &Arc<Shipment>, args: &Args) -> Result<(), Failure> {
    for (place, location) in args.to.iter().enumerate() {
        let (shipment, location) = (Arc::clone(shipment), location.clone());
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || shipment.work(place, &location));
        thread.map_err(|error| Failure::io("starting a thread", &error))?;
    }
    Ok(())
}

/// Receives, over as many connections as it takes.
fn serve(receiver: &mut Receiver<'_>, link: &Link<'_>, first: Connection, once: bool) -> Result<End, Failure> {
    let (mut connection, mut backoff) = (Some(first), Backoff::default());
    loop {
        let attempt = match connection.take() {
            Some(connection) => Ok(connection),
            None => link.connect(),
        };
        let (before, began) = (receiver.own_end()?, Instant::now());
        let ended = attempt.and_then(|mut connection| connection.receive(link, receiver));
        receiver.status.received = None;
        match ended {
            Ok(end) => return Ok(end),
            Err(Trouble::Fatal(failure)) => return Err(failure),
            Err(trouble) if once => return Err(trouble.failure()),
            Err(trouble) => {
                receiver.sync()?;
                if receiver.own_end()? != before || began.elapsed() > LONG {
                    backoff.reset();
                }
                wait(&trouble.failure(), &mut backoff, receiver.outbox, &mut receiver.status);
            }
        }
        if receiver.outbox.stopping() {
            return Ok(End::Stopped);
        }
        if let Some(failure) = receiver.outbox.fatal() {
            return Err(failure);
        }
    }
}

/// Says what is wrong, and waits until it is worth another attempt.
fn wait(failure: &Failure, backoff: &mut Backoff, outbox: &Outbox, status: &mut Status) {
    let pause = backoff.pause();
    warn(TOOL, format!("{}; the next attempt is in {} s ({})", failure.message, pause.as_secs(), failure.hint));
    let mut left = pause;
    while !left.is_zero() {
        status.tick(outbox);
        let step = left.min(Duration::from_secs(1));
        if outbox.pause(step) {
            return;
        }
        left -= step;
    }
}

/// Stores what is left.
fn finish(receiver: &mut Receiver<'_>, end: Result<End, Failure>, farewell: &Farewell) -> Outcome {
    match end {
        Ok(End::Stopped) => {
            receiver.outbox.end_now(FAREWELL);
            receiver.remember()?;
            farewell.said();
            Err(Failure::new(Exit::Busy, "stopped by a signal", "what was received is kept in --dir; run it again"))
        }
        Ok(End::Timeline | End::Until) => {
            receiver.outbox.drain(DRAIN)?;
            receiver.remember()?;
            Ok(Exit::Good)
        }
        Err(failure) => {
            receiver.outbox.end_now(FAREWELL);
            Err(failure)
        }
    }
}

/// Has a signal wait until the last pieces are stored.
struct Farewell {
    said: Sender<()>,
    _on_stop: OnStop,
}

impl Farewell {
    fn new(outbox: &Arc<Outbox>) -> Self {
        let (said, wait) = channel();
        let outbox = Arc::clone(outbox);
        let on_stop = stop::on_stop(move || {
            outbox.stop();
            // Whoever does not answer in time has lost nothing: it is all in --dir.
            wait.recv_timeout(FAREWELL + Duration::from_millis(500)).unwrap_or_default();
        });
        Farewell { said, _on_stop: on_stop }
    }

    fn said(&self) {
        // A stop that has lost its patience does not listen any more.
        self.said.send(()).unwrap_or_default();
    }
}

fn unstarted(error: impl Into<Failure>) -> Failure {
    error.into().leaving("nothing was received")
}
