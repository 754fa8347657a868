//! Fetches segments before they are asked for: a process of its own, which ends when the spool is full, the log ends, or
//! anything is wrong. Whoever asks then finds out by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::BorrowedFd;
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dr_pipe::{Exit, Outcome};
use dr_store::Store;
use dr_wal::{Error, Inventory, SegmentName, Shelf, Timeline, WalName};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::args::Args;
use crate::ask::{self, Keys};
use crate::queue::{Fetching, Queue};
use crate::server::Server;

/// How often it is looked whether the server has gone on, while others are still fetching.
const GLANCE: Duration = Duration::from_millis(20);

/// Starts this program again, with the same words, to fetch ahead. It has none of our files: the server's log must be able to end
/// when the server does.
///
/// # Errors
/// Where it cannot be run.
pub fn start() -> io::Result<()> {
    for file in std::fs::read_dir("/proc/self/fd")?.flatten() {
        if let Some(number) = file.file_name().to_str().and_then(|name| name.parse::<i32>().ok()).filter(|number| *number > 2) {
            #[expect(unsafe_code, reason = "a flag is set; where the file is closed by now, that is the error that is passed over")]
            let inherited = unsafe { BorrowedFd::borrow_raw(number) };
            fcntl_setfd(inherited, FdFlags::CLOEXEC).unwrap_or_default();
        }
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--keep-ahead").args(std::env::args_os().skip(1));
    // Not waited for: init does that once we have ended.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(drop)
}

/// Fills the queue, as long as nobody else does.
pub fn keep(args: &Args, server: Option<&Server>, queue: Option<&Queue>) -> Outcome {
    // A session of its own, so that what is sent to the server's process group does not reach it. It fails for who has one.
    rustix::process::setsid().map(drop).unwrap_or_default();
    let (Some(server), Some(queue)) = (server, queue) else { return Ok(Exit::Good) };
    let locations = args.catalogue.from.from.iter();
    let stores: Vec<_> = locations.filter_map(|location| Store::open_for_read(location, &args.catalogue.store).ok()).collect();
    let keys = Keys::read(args)?;
    let stocks = stores.iter().map(|store| Stock { shelf: Shelf::new(store, &args.cluster.cluster), listed: Mutex::default() });
    let source = Source { args, server, keys: &keys, stocks: stocks.collect() };
    let workers = args.jobs.workers().min(args.ahead.into());
    while let Some(lock) = queue.lock()? {
        queue.sweep();
        let fill = Fill { queue, ahead: args.ahead, under_way: Mutex::default(), changed: Condvar::new() };
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| fill.work(&source));
            }
        });
        // Whoever asked while this was about to end has seen it locked, and started nobody.
        drop(lock);
        if locked(&fill.under_way).ended || !queue.asked().is_some_and(|asked| queue.runs_low(asked)) {
            break;
        }
    }
    Ok(Exit::Good)
}

/// The stores, and what was seen in them.
struct Source<'a> {
    args: &'a Args,
    server: &'a Server,
    keys: &'a Keys,
    stocks: Vec<Stock<'a>>,
}

/// What a store has, as listed for 4 GiB of log at a time.
struct Stock<'a> {
    shelf: Shelf<'a>,
    listed: Mutex<BTreeMap<(Timeline, u32), Inventory>>,
}

impl Source<'_> {
    /// Copies the whole segment, from the nearest store that gives it; tells whether one did.
    fn copy(&self, segment: SegmentName, fetching: &mut Fetching) -> bool {
        self.stocks.iter().any(|stock| self.copy_out_of(stock, segment, fetching).unwrap_or_default())
    }

    fn copy_out_of(&self, stock: &Stock, segment: SegmentName, fetching: &mut Fetching) -> Result<bool, Error> {
        let (name, log) = (WalName::Segment(segment), (segment.timeline, segment.log));
        let known =
            locked(&stock.listed).get(&log).filter(|inventory| inventory.has(&name)).map(|inventory| only(inventory, &name));
        let item = match known {
            Some(item) => item,
            None => {
                let inventory = stock.shelf.inventory_of_log(segment.timeline, segment.log)?;
                let item = only(&inventory, &name);
                locked(&stock.listed).insert(log, inventory);
                item
            }
        };
        // What was streamed of an unfinished segment is not kept: it may have grown when it is asked for.
        let copied = ask::open(self.args, self.keys, |opening| stock.shelf.copy_whole(&item, &name, opening, fetching))?;
        Ok(copied.is_some_and(|bytes| ask::hold(&stock.shelf, &name, fetching.first(), bytes, Some(self.server)).is_ok()))
    }
}

/// What a listing says of one name.
fn only(inventory: &Inventory, name: &WalName) -> Inventory {
    let files = inventory.files.get_key_value(name).map(|(name, item)| (*name, item.clone()));
    Inventory { files: files.into_iter().collect(), ..Inventory::default() }
}

/// Who does what.
struct Fill<'a> {
    queue: &'a Queue,
    ahead: u16,
    under_way: Mutex<UnderWay>,
    changed: Condvar,
}

#[derive(Default)]
struct UnderWay {
    segments: BTreeSet<SegmentName>,
    /// A segment could not be had: the log ends there, or whoever asks will see what is wrong.
    ended: bool,
}

impl Fill<'_> {
    fn work(&self, source: &Source) {
        while let Some(segment) = self.next() {
            let begun = self.queue.begin(segment);
            let fetched = begun.is_ok_and(|mut fetching| source.copy(segment, &mut fetching) && fetching.finish().is_ok());
            let mut under_way = locked(&self.under_way);
            under_way.segments.remove(&segment);
            under_way.ended |= !fetched;
            self.changed.notify_all();
        }
    }

    /// The next segment that is wanted and not there. While others are fetching the server goes on, so it waits with them.
    fn next(&self) -> Option<SegmentName> {
        let mut under_way = locked(&self.under_way);
        while !under_way.ended {
            let next: Vec<_> = self.queue.asked()?.next(self.ahead).collect();
            self.queue.keep_only(&next);
            let spooled = self.queue.spooled();
            let wanted = |segment: &&SegmentName| !under_way.segments.contains(*segment) && !spooled.contains_key(*segment);
            if let Some(segment) = next.iter().find(wanted) {
                under_way.segments.insert(*segment);
                return Some(*segment);
            }
            if under_way.segments.is_empty() {
                return None;
            }
            let waited = self.changed.wait_timeout(under_way, GLANCE);
            under_way = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        None
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
