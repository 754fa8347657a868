//! All backups of one or several stores, as one list; and the one that is meant.

use dr_pipe::Failure;
use dr_pipe::record::Backup;
use dr_store::{Location, Store, StoreArgs};

use crate::listing::Listing;
use crate::seen::{Seen, StoreName};
use crate::select::{Scope, Selector};
use crate::store::{self, Flaw, Shelf};
use crate::{Error, Keyring, name};

/// The catalogues of the stores that were named, nearest first.
#[derive(Debug)]
pub struct Catalogue {
    stores: Vec<(StoreName, Store)>,
    unreachable: Vec<Failure>,
    keyring: Keyring,
    /// Whether the stores are read as they were: the newest backup of then is no news, and no loss.
    of_the_past: bool,
}

/// The backup that was meant, and where to read it.
#[derive(Debug)]
pub struct Found {
    /// The backup: its manifest has been held against its key, and its signature checked where a public key is known.
    pub backup: Backup,
    /// The nearest store that holds it.
    pub store: Store,
    /// Other stores that hold it too, nearest first.
    pub others: Vec<Store>,
    /// The object's key below each of these stores.
    pub object_key: String,
    /// What the user should know, although the backup is good.
    pub warnings: Vec<String>,
}

impl Catalogue {
    /// Opens the stores. One that cannot be opened is passed over as long as there is another, and [`Listing::unreachable`]
    /// says so: in a disaster a store may be gone.
    ///
    /// # Errors
    /// [`Error::NoStore`] if none is named; what the first store says if none can be opened.
    pub fn open(from: &[Location], args: &StoreArgs, keyring: Keyring) -> Result<Self, Error> {
        let mut catalogue = Catalogue { stores: Vec::new(), unreachable: Vec::new(), keyring, of_the_past: args.as_of.is_some() };
        for location in from {
            match Store::open_for_read(location, args) {
                Ok(store) => catalogue.stores.push((StoreName::new(location, args.endpoint_url.as_deref()), store)),
                Err(error) => catalogue.unreachable.push(error.into()),
            }
        }
        match (catalogue.stores.is_empty(), catalogue.unreachable.first()) {
            (false, _) => Ok(catalogue),
            (true, Some(failure)) => Err(failure.clone().into()),
            (true, None) => Err(Error::NoStore),
        }
    }

    /// Lists every backup in scope. The newest of each cluster and kind is held against the newest this host has seen
    /// there, where signatures are checked.
    ///
    /// # Errors
    /// What the first store says if none can be read; if a cluster's public key cannot be read.
    pub fn list(&self, scope: &Scope) -> Result<Listing, Error> {
        // Before the stores are: another process may see, and remember, what comes while they are read.
        let (seen, forgotten) = Seen::witness();
        let (shelves, mut listing) = self.read(scope, "")?;
        if !self.of_the_past {
            listing.warnings.extend(forgotten);
            self.witness(seen, scope, &shelves, &mut listing)?;
        }
        listing.shelve(shelves);
        listing.confine(scope);
        listing.warnings.extend(listing.no_such_database().map(|error| error.to_string()));
        Ok(listing)
    }

    /// Finds the one backup that is meant.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`], [`Error::SeveralClusters`] or [`Error::SeveralDatabases`]; where a better answer may be
    /// hidden by a flaw or behind a store that cannot be read, that flaw's or store's error; and as [`Catalogue::list`].
    pub fn find(mut self, scope: &Scope, selector: &Selector) -> Result<Found, Error> {
        let mut listing = match selector {
            Selector::Name(name) => {
                let (shelves, mut listing) = self.read(scope, name)?;
                listing.shelve(shelves);
                listing.confine(scope);
                listing
            }
            Selector::Latest | Selector::At(_) => self.list(scope)?,
        };
        let chosen = listing.choose(selector)?.clone();
        if !matches!(selector, Selector::Name(_)) {
            listing.are_of_one(&chosen.backup)?;
        }
        listing.warnings.extend(listing.warning_of(&chosen));
        let manifest = &chosen.backup.manifest;
        let mut places = 0..;
        self.stores.retain(|_| places.next().is_some_and(|place| chosen.stores.contains(&place)));
        let mut stores = self.stores.into_iter().map(|(_, store)| store);
        Ok(Found {
            object_key: name::object_key(manifest),
            backup: chosen.backup,
            store: stores.next().expect("an entry lies in at least one store"),
            others: stores.collect(),
            warnings: listing.warnings(),
        })
    }

    /// What each store says, by its place among them.
    fn read(&self, scope: &Scope, prefix: &str) -> Result<(Vec<(usize, Shelf)>, Listing), Error> {
        let mut listing = Listing { unreachable: self.unreachable.clone(), ..Listing::default() };
        let mut shelves = Vec::new();
        for (place, (_, store)) in self.stores.iter().enumerate() {
            match store::read(store, scope, prefix, &self.keyring) {
                Ok(shelf) => shelves.push((place, shelf)),
                Err(Error::Failed(failure)) => listing.unreachable.push(failure),
                Err(error) => return Err(error),
            }
        }
        match listing.unreachable.first() {
            Some(failure) if shelves.is_empty() => Err(failure.clone().into()),
            _ => Ok((shelves, listing)),
        }
    }

    /// Holds the newest backups against those `seen` before, and remembers them. `shelves` must hold all manifests in scope.
    fn witness(&self, mut seen: Seen, scope: &Scope, shelves: &[(usize, Shelf)], listing: &mut Listing) -> Result<(), Error> {
        let mut news = false;
        for (place, shelf) in shelves {
            let store = &self.stores[*place].0;
            for kind in name::KINDS.into_iter().filter(|kind| scope.kind.is_none_or(|only| only == *kind)) {
                // One that is marked for deletion was seen all the same.
                let backups = shelf.backups.iter().chain(shelf.marked.iter().map(|(backup, _)| backup));
                let manifests: Vec<_> = backups.map(|backup| &backup.manifest).filter(|it| it.kind == kind).collect();
                let mut clusters = seen.clusters(store, kind);
                clusters.extend(manifests.iter().map(|manifest| manifest.cluster.clone()));
                clusters.sort_unstable();
                clusters.dedup();
                clusters.retain(|cluster| scope.cluster.as_ref().is_none_or(|only| only == cluster));
                for cluster in clusters {
                    if self.keyring.of(&cluster)?.is_empty() {
                        continue;
                    }
                    let of_cluster = manifests.iter().copied().filter(|manifest| manifest.cluster == cluster);
                    match seen.note(store, &cluster, kind, of_cluster) {
                        Ok(new) => news |= new,
                        // Where the newest one seen is there and flawed, that flaw says more.
                        Err(Error::RolledBack { seen, .. }) if shelf.flaws.iter().any(|flaw| flaw.name == seen) => {}
                        Err(error) => listing.flaws.push(Flaw::of_catalogue(store, &cluster, kind, error)),
                    }
                }
            }
        }
        if news && let Err(warning) = seen.remember() {
            listing.warnings.push(warning);
        }
        Ok(())
    }
}
