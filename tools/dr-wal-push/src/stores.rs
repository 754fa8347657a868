//! All stores at once: a packed file goes to each of them at the same time, and enough of them must hold it.

use std::thread::Builder;

use dr_pipe::{Exit, Failure, warn};
use dr_store::{Location, Store};
use dr_wal::{Packed, Shelf, Shelved, WalName};

use crate::args::Args;
use crate::push::TOOL;

/// The stores that were named.
pub struct Stores {
    open: Vec<(Location, Result<Store, Failure>)>,
    cluster: String,
    required: usize,
}

impl Stores {
    /// Opens all stores; one that cannot be opened has failed, as if it failed later.
    ///
    /// # Errors
    /// Where fewer than are required can be opened.
    pub fn open(args: &Args, required: usize) -> Result<Self, Failure> {
        let mut open: Vec<(Location, Result<Store, Failure>)> = Vec::new();
        for location in &args.to {
            let store = Store::open_for_write(location, &args.store).map_err(Failure::from);
            if let Ok(store) = &store {
                store.warnings().iter().for_each(|warning| warn(TOOL, warning));
                store.is_none_of(open.iter().filter_map(|(_, earlier)| earlier.as_ref().ok()))?;
            }
            open.push((location.clone(), store));
        }
        let stores = Stores { open, cluster: args.cluster.cluster.clone(), required };
        let failures = stores.open.iter().filter_map(|(_, store)| store.as_ref().err().cloned()).collect::<Vec<_>>();
        stores.enough(stores.open.len() - failures.len(), failures)?;
        Ok(stores)
    }

    /// Whether every store must hold a file.
    pub fn are_all_required(&self) -> bool {
        self.required == self.open.len()
    }

    /// The shelves of the stores that are open, and where each is.
    pub fn shelves(&self) -> impl Iterator<Item = (&Location, Shelf<'_>)> {
        let open = self.open.iter().filter_map(|(location, store)| store.as_ref().ok().map(|store| (location, store)));
        open.map(|(location, store)| (location, Shelf::new(store, &self.cluster)))
    }

    /// Puts a packed file into every store, durably.
    ///
    /// # Errors
    /// 65 where a store has another content under its name: both are kept. Where fewer than required hold it, why.
    pub fn put(&self, packed: &Packed) -> Result<(), Failure> {
        let outcomes = self.each(|store| judge(store.location(), packed, Shelf::new(store, &self.cluster).put(packed)));
        let stored = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count();
        let mut failures = Vec::new();
        for (location, outcome) in outcomes {
            if let Err(failure) = outcome {
                if self.open.len() > 1 {
                    warn(TOOL, format!("{location} does not have {}: {}", packed.name(), failure.message));
                }
                failures.push(failure);
            }
        }
        if let Some(conflict) = failures.iter().find(|failure| failure.exit == Exit::Damaged) {
            return Err(conflict.clone());
        }
        self.enough(stored, failures)
    }

    /// Does something with every store, all at the same time.
    fn each(&self, does: impl Fn(&Store) -> Result<(), Failure> + Sync) -> Vec<(&Location, Result<(), Failure>)> {
        let one = |store: &Result<Store, Failure>| store.as_ref().map_err(Clone::clone).and_then(&does);
        if let [(location, store)] = self.open.as_slice() {
            return vec![(location, one(store))];
        }
        let one = &one;
        std::thread::scope(|scope| {
            let mut started = Vec::new();
            for (location, store) in &self.open {
                // Where no more threads are to be had (ulimit), one store comes after the other.
                let thread = Builder::new().spawn_scoped(scope, move || one(store));
                started.push((location, thread.map_err(|_| store)));
            }
            let ended = started.into_iter().map(|(location, thread)| match thread {
                Ok(thread) => (location, thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
                Err(store) => (location, one(store)),
            });
            ended.collect()
        })
    }

    /// Fails where fewer than required stores are good, for the first reason there is.
    fn enough(&self, good: usize, failures: Vec<Failure>) -> Result<(), Failure> {
        let Some(failure) = failures.into_iter().next().filter(|_| good < self.required) else { return Ok(()) };
        if self.open.len() == 1 {
            return Err(failure);
        }
        Err(Failure { message: format!("{good} of {} required stores are good: {}", self.required, failure.message), ..failure })
    }
}

/// What became of a file in one store, and what the operator must know.
fn judge(location: &Location, packed: &Packed, shelved: Result<Shelved, dr_wal::Error>) -> Result<(), Failure> {
    let name = packed.name();
    match shelved? {
        Shelved::Stored | Shelved::Same => Ok(()),
        Shelved::KeptBeside { kept_as } => {
            warn(TOOL, format!("{location}: {name} was there before, and may not be read to compare it: kept as {kept_as}, too"));
            Ok(())
        }
        Shelved::Mended { kept_as } => {
            warn(TOOL, format!("{location}: {name} is there, damaged, or its claim is lost: kept as {kept_as}, too"));
            Ok(())
        }
        // What follows the end of the log in one is whatever was there before, and zeros in that of dr-wal-receive: no two need be
        // alike, no server reads one by itself, and refused it would hold up the archiving of the new timeline for ever.
        Shelved::Conflict { kept_as, .. } if matches!(name, WalName::Partial(_)) => {
            warn(TOOL, format!("{location}: {name} is there with other content; this one is kept as {kept_as}, too"));
            Ok(())
        }
        Shelved::Conflict { kept_as, other } => {
            let other = other.map_or_else(String::new, |other| format!(" ({other}…)"));
            let message = format!("{location}: {name} is there with other content{other}");
            let hint = format!(
                "two servers archive as one cluster, usually two primaries: stop the one that is wrong; both are kept, this one as {kept_as}"
            );
            Err(Failure::new(Exit::Damaged, message, hint))
        }
    }
}
