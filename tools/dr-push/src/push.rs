//! Reads a stream once, and writes it to every store at the same time. What it writes is unpublished: only dr-seal makes
//! it a backup, and it wants our receipt.

use std::io::{self, BufRead, Write};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use dr_pipe::progress::Progress;
use dr_pipe::record::{self, Extent, Kind, Pushed, PushedTo, Receipt, Record, Start};
use dr_pipe::{Exit, Failure, Outcome, ReadAhead, Receipts, stop, stream, warn};
use dr_store::{Location, Store, Stored};

use crate::args::Args;
use crate::branch::Branch;
use crate::name::{self, Name};
use crate::verdict::worst;

const TOOL: &str = "dr-push";

/// What became of each store, in the order they were named.
type Ends = Vec<(Location, Result<Stored, Failure>)>;

/// A store that is through with its work, well or badly, and its place in the order they were named.
type Ended = (usize, Location, Result<Stored, Failure>);

/// Writes standard input to every store, and leaves a receipt once enough of them hold it.
pub fn push(args: Args) -> Outcome {
    if args.init {
        return init(&args);
    }
    let started_at = Utc::now();
    let required = dr_store::required(&args.to, args.require)?;
    let options = args.upload_options(started_at)?;
    let cluster = args.cluster.clone().expect("clap requires a cluster unless --init is given");
    let mut receipts = Receipts::open(args.receipt.receipt.as_deref())?;
    let (stores, ended) = open(&args, required)?;
    drop(stream::input()?);
    let mut input = ReadAhead::new(io::stdin()).map_err(|error| reading(&error))?;

    let first = input.fill_buf().map_err(|error| reading(&error))?;
    if first.is_empty() {
        // Without this trace, dr-seal would take an earlier run in the file for this one.
        receipts.append(&start(started_at))?;
        let hint = "the program before this one has written nothing: its own message says why; nothing was stored";
        return Err(Failure::new(Exit::Missing, "standard input is empty", hint));
    }
    let name = name_of(&cluster, args.kind, &receipts, first, started_at)?;
    receipts.append(&start(started_at))?;
    if !receipts.is_kept() {
        // Said before hours of work, not after them. The receipt on standard output cannot be sealed.
        warn(TOOL, format!("without a receipt file (DR_RECEIPT) nothing can seal {}: it is stored, and never a backup", name.key));
    }

    let start = |store: Option<Store>| store.map(|store| Branch::start(store, &name.key, &options)).transpose();
    let mut fan = Fan { alive: stores.into_iter().map(start).collect::<Result<_, _>>()?, ended, required };
    let read = fan.copy(&mut input)?;
    receipts.upstream_must_match(&read).map_err(|failure| failure.leaving("nothing was stored"))?;
    let ends = fan.finish()?;
    let tags = options.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let receipt = receipt(started_at, read, pushed(cluster, name, tags, ends, required));
    leave(&mut receipts, &receipt)
}

/// Prepares every directory among the stores.
fn init(args: &Args) -> Outcome {
    for location in &args.to {
        let store = Store::init(location, &args.store)?;
        store.warnings().iter().for_each(|warning| warn(TOOL, warning));
    }
    Ok(Exit::Good)
}

/// Opens all stores, in their order. One that cannot be opened has ended, as if it had failed later.
///
/// # Errors
/// 64 for one store under two names: what it holds would be counted twice. Else as [`enough`].
fn open(args: &Args, required: u32) -> Result<(Vec<Option<Store>>, Vec<Ended>), Failure> {
    let (mut stores, mut ended) = (Vec::<Option<Store>>::new(), Vec::new());
    for (place, location) in args.to.iter().enumerate() {
        let store = match Store::open_for_write(location, &args.store) {
            Ok(store) => {
                store.warnings().iter().for_each(|warning| warn(TOOL, warning));
                Some(store)
            }
            Err(error) => {
                let failure = Failure::from(error);
                leave_out(location, &failure, args.to.len());
                ended.push((place, location.clone(), Err(failure)));
                None
            }
        };
        if let Some(store) = &store {
            store.is_none_of(stores.iter().flatten()).map_err(|failure| failure.leaving("nothing was stored"))?;
        }
        stores.push(store);
    }
    enough(stores.iter().flatten().count(), &ended, stores.len(), required)?;
    Ok((stores, ended))
}

/// Says that the others go on without a store.
fn leave_out(location: &Location, failure: &Failure, stores: usize) {
    // A signal that stops everything is not this store's failure.
    if stores > 1 && !stop::stopping() {
        warn(TOOL, format!("{location} is left out: {}", failure.message));
    }
}

/// Fails where fewer than `required` of all `stores` are left, `alive` of them; what they hold by then stays unpublished.
fn enough(alive: usize, ended: &[Ended], stores: usize, required: u32) -> Result<(), Failure> {
    let good = alive + ended.iter().filter(|(.., outcome)| outcome.is_ok()).count();
    if good >= required as usize {
        return Ok(());
    }
    let failures = ended.iter().filter_map(|(.., outcome)| outcome.as_ref().err().cloned()).collect();
    let failure = worst(failures).expect("a store is missing because it failed").leaving("nothing was published");
    if stores == 1 {
        return Err(failure);
    }
    let why = format!("{good} of {required} required stores are left: {}", failure.message);
    Err(Failure { message: why, ..failure })
}

/// Names the object after what the stages before have announced, else after its first bytes.
fn name_of(cluster: &str, kind: Option<Kind>, receipts: &Receipts, first: &[u8], now: DateTime<Utc>) -> Result<Name, Failure> {
    let announced = name::announced(&receipts.read()?).unwrap_or_else(|| name::sniffed(first));
    let kind = kind.or(announced.kind).unwrap_or(Kind::Dump);
    let mut random = [0; 2];
    getrandom::fill(&mut random).map_err(|error| Failure::new(Exit::Io, format!("no random numbers: {error}"), "see random(4)"))?;
    Ok(name::name(cluster, kind, &announced.suffix, now, random))
}

/// All stores, those that still take bytes and those that have failed.
struct Fan {
    alive: Vec<Option<Branch>>,
    ended: Vec<Ended>,
    required: u32,
}

impl Fan {
    /// Hands the whole input to every store; gives what was read.
    fn copy(&mut self, input: &mut ReadAhead) -> Result<Extent, Failure> {
        let progress = Progress::new(TOOL, None);
        loop {
            let bytes = input.fill_buf().map_err(|error| reading(&error))?;
            if bytes.is_empty() {
                break;
            }
            let (n, chunk) = (bytes.len(), Arc::<[u8]>::from(bytes));
            input.consume(n);
            self.each(|branch| branch.send(&chunk).is_ok())?;
            progress.add(n as u64);
        }
        progress.finish();
        Ok(input.extent().expect("the input has been read to its end"))
    }

    /// Has every store make the bytes durable, all at the same time.
    fn finish(mut self) -> Result<Ends, Failure> {
        self.each(|branch| branch.finish().is_ok())?;
        for place in 0..self.alive.len() {
            self.end(place);
        }
        self.enough()?;
        let mut ended = std::mem::take(&mut self.ended);
        ended.sort_unstable_by_key(|(place, ..)| *place);
        Ok(ended.into_iter().map(|(_, location, outcome)| (location, outcome)).collect())
    }

    /// Does something with every store that is alive; one for which it fails is let go, as long as enough are left.
    fn each(&mut self, does: impl Fn(&Branch) -> bool) -> Result<(), Failure> {
        for place in 0..self.alive.len() {
            if self.alive[place].as_ref().is_some_and(|branch| !does(branch)) {
                self.end(place);
                self.enough()?;
            }
        }
        Ok(())
    }

    fn end(&mut self, place: usize) {
        let Some(branch) = self.alive[place].take() else { return };
        let (location, outcome) = branch.end();
        match &outcome {
            Ok(stored) => stored.warnings.iter().for_each(|warning| warn(TOOL, format!("{location}: {warning}"))),
            Err(failure) => leave_out(&location, failure, self.alive.len()),
        }
        self.ended.push((place, location, outcome));
    }

    fn enough(&self) -> Result<(), Failure> {
        enough(self.alive.iter().flatten().count(), &self.ended, self.alive.len(), self.required)
    }
}

/// Every store that has not ended gives up, and has removed what it has before this process ends.
impl Drop for Fan {
    fn drop(&mut self) {
        // All at once, not one after the other: each has to give up before it is waited for.
        let giving_up: Vec<_> = self.alive.iter_mut().filter_map(Option::take).map(Branch::give_up).collect();
        giving_up.into_iter().for_each(|thread| drop(thread.join()));
    }
}

fn start(started_at: DateTime<Utc>) -> Record {
    Record::Start(Start { tool: TOOL.into(), started_at, kind: None, suffix: String::new() })
}

fn pushed(cluster: String, name: Name, tags: Vec<String>, ends: Ends, required: u32) -> Pushed {
    let stores = ends.into_iter().map(|(location, outcome)| pushed_to(&location, outcome)).collect();
    Pushed { cluster, kind: name.kind, name: name.name, object: name.key, tags, stores, required }
}

fn pushed_to(location: &Location, outcome: Result<Stored, Failure>) -> PushedTo {
    let store = location.to_string();
    match outcome {
        Ok(stored) => PushedTo {
            store,
            stored: true,
            confirmed: Some(stored.confirmed.to_string()),
            version_id: stored.version_id,
            locked_until: stored.locked_until,
            storage_class: stored.storage_class,
            error: None,
        },
        Err(failure) => PushedTo {
            store,
            stored: false,
            confirmed: None,
            version_id: None,
            locked_until: None,
            storage_class: None,
            error: Some(failure.message),
        },
    }
}

fn receipt(started_at: DateTime<Utc>, read: Extent, pushed: Pushed) -> Record {
    Record::Receipt(Box::new(Receipt {
        input: Some(read),
        pushed: Some(pushed),
        ..Receipt::new(TOOL, env!("CARGO_PKG_VERSION"), started_at, Utc::now())
    }))
}

/// Leaves the receipt in its file; without one, on standard output.
fn leave(receipts: &mut Receipts, receipt: &Record) -> Outcome {
    if receipts.is_kept() {
        receipts.append(receipt)?;
        return Ok(Exit::Good);
    }
    let mut output = io::stdout().lock();
    let written = record::write(&mut output, receipt).and_then(|()| output.flush());
    written.map_err(|error| Failure::io("writing the receipt to standard output", &error))?;
    Ok(Exit::Good)
}

fn reading(error: &io::Error) -> Failure {
    Failure::io("reading standard input", error)
}
