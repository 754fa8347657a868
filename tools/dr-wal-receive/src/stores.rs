//! The stores that are open at this moment, held against each other: what lies in one store under two names counts once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use dr_pipe::{Exit, warn};
use dr_store::{Location, Store, StoreArgs};

use crate::receive::TOOL;
use crate::trouble::Trouble;

/// The stores that have been opened, by the place in which they were named.
pub struct Stores {
    args: StoreArgs,
    open: Mutex<BTreeMap<usize, Arc<Store>>>,
}

impl Stores {
    /// None is open yet; `args` say how S3 is reached.
    pub fn new(args: &StoreArgs) -> Self {
        Stores { args: args.clone(), open: Mutex::default() }
    }

    /// Opens the store that was named in this place, for the first time or anew. A directory may be mounted, or a link be set,
    /// at any time: so this is looked at whenever a store is opened.
    ///
    /// # Errors
    /// Fatal, with 64, where it is another of the stores under a second name; else as the store says, and that passes.
    pub fn open(&self, place: usize, location: &Location) -> Result<Arc<Store>, Trouble> {
        let store = Store::open_for_write(location, &self.args).map_err(|error| Trouble::Passing(error.into()))?;
        store.warnings().iter().for_each(|warning| warn(TOOL, warning));
        let store = Arc::new(store);
        // Entered first: of two that are opened at the same time, one sees the other. And nothing is looked at under the lock, as a
        // directory of a network may let one wait for ever.
        let others: Vec<_> = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.insert(place, Arc::clone(&store));
            open.iter().filter(|(known, _)| **known != place).map(|(_, other)| Arc::clone(other)).collect()
        };
        match store.is_none_of(others.iter().map(Arc::as_ref)) {
            Err(failure) if failure.exit == Exit::Usage => Err(Trouble::Fatal(failure.leaving("what was received is kept"))),
            // One that cannot be looked at is the trouble of its own thread.
            _ => Ok(store),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_store_under_two_names_is_refused_whenever_it_turns_out_to_be_one() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name).display().to_string().parse::<Location>().unwrap();
        let stores = Stores::new(&StoreArgs::default());
        stores.open(0, &at("near")).unwrap();
        stores.open(1, &at("far")).unwrap();
        stores.open(0, &at("near")).unwrap();
        std::os::unix::fs::symlink(scratch.path().join("near"), scratch.path().join("link")).unwrap();
        let Err(Trouble::Fatal(failure)) = stores.open(2, &at("link")) else { panic!("two names, and one store") };
        assert_eq!(
            (failure.exit, failure.message),
            (Exit::Usage, format!("--to {} is the same store as --to {}", at("link"), at("near")))
        );
        std::fs::remove_file(scratch.path().join("link")).unwrap();
        assert!(stores.open(2, &at("link")).is_ok(), "another directory now");
    }
}
