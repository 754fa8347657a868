//! Is a store's catalogue older than it was before? A witness on this host remembers the newest backups it has seen.
//!
//! Whoever can write to a store may put an old state of it back, or hide the newest backups; signatures cannot show that.

use std::collections::BTreeMap;

use dr_pipe::record::{Kind, Manifest};
use dr_pipe::state;
use dr_store::Location;
use serde::{Deserialize, Serialize};

use crate::{Error, name};

/// The state file's name.
const FILE: &str = "seen.json";

/// The newest backup seen, by store, then by folder (`<cluster>/<kind>/`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen(BTreeMap<String, BTreeMap<String, Newest>>);

/// One backup, as far as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newest {
    /// Its sequence.
    pub sequence: u64,
    /// Its name.
    pub name: String,
}

impl Seen {
    /// What this host remembers; nothing where it never saw a catalogue, or cannot read any more what it saw: [`Seen::witness`] tells that.
    pub fn recall() -> Self {
        Seen::witness().0
    }

    /// The same, and a warning where it was forgotten: an older catalogue would be believed then. No restore waits for a witness, so
    /// it begins anew with what is there.
    pub fn witness() -> (Self, Option<String>) {
        match state::witnessed(FILE) {
            Ok(seen) => (seen.unwrap_or_default(), None),
            Err(lost) => {
                let warning = "the newest backups seen are forgotten, and it begins anew with those that are there: \
                               see whether there should be newer ones";
                (Seen::default(), Some(format!("{lost}: {warning}")))
            }
        }
    }

    /// Keeps it for the next time, beside what another process has seen meanwhile.
    ///
    /// # Errors
    /// Says why not, as a warning: a catalogue can be read without a witness.
    pub fn remember(self) -> Result<(), String> {
        let mut all = Seen::recall();
        for (store, folders) in self.0 {
            let known = all.0.entry(store).or_default();
            for (folder, newest) in folders {
                if known.get(&folder).is_none_or(|known| known.sequence < newest.sequence) {
                    known.insert(folder, newest);
                }
            }
        }
        state::remember(FILE, &all)
            .map_err(|error| format!("cannot remember the newest backups seen, to notice hidden ones: {error}"))
    }

    /// The clusters of a store in which backups of `kind` were seen.
    pub fn clusters(&self, store: &StoreName, kind: Kind) -> Vec<String> {
        let folders = self.0.get(&store.full).into_iter().flat_map(BTreeMap::keys);
        folders.filter_map(|folder| folder.strip_suffix(&format!("/{kind}/"))).map(str::to_owned).collect()
    }

    /// Takes note of all manifests of one store, cluster and kind, each with its signature checked; tells whether anything
    /// new was seen.
    ///
    /// # Errors
    /// [`Error::RolledBack`] if the newest of them is older than the newest seen before.
    pub fn note<'a>(
        &mut self,
        store: &StoreName,
        cluster: &str,
        kind: Kind,
        manifests: impl IntoIterator<Item = &'a Manifest>,
    ) -> Result<bool, Error> {
        let newest = manifests.into_iter().max_by_key(|manifest| manifest.sequence);
        let folder = name::folder(cluster, kind);
        let seen = self.0.get(&store.full).and_then(|folders| folders.get(&folder));
        match (seen, newest) {
            (Some(seen), newest) if newest.is_none_or(|newest| newest.sequence < seen.sequence) => Err(Error::RolledBack {
                store: store.named.clone(),
                newest: newest
                    .map_or_else(|| format!("{folder} is empty"), |newest| format!("the newest backup is {}", newest.name)),
                seen: seen.name.clone(),
                witness: state::directory().map_or_else(|| FILE.into(), |directory| directory.join(FILE).display().to_string()),
            }),
            (Some(seen), Some(newest)) if newest.sequence == seen.sequence => Ok(false),
            (_, Some(newest)) => {
                let newest = Newest { sequence: newest.sequence, name: newest.name.clone() };
                self.0.entry(store.full.clone()).or_default().insert(folder, newest);
                Ok(true)
            }
            (_, None) => Ok(false),
        }
    }
}

/// A store's name for the witness: the same store under the same name, wherever it is called from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreName {
    named: String,
    full: String,
}

impl StoreName {
    /// The name of the store at `location`: a directory's full path, or the bucket at its endpoint.
    pub fn new(location: &Location, endpoint: Option<&str>) -> Self {
        let named = location.to_string();
        let full = match endpoint {
            _ if !location.is_s3() => {
                std::fs::canonicalize(&named).map_or_else(|_| named.clone(), |path| path.display().to_string())
            }
            Some(endpoint) => format!("{endpoint} {named}"),
            None => named.clone(),
        };
        StoreName { named, full }
    }

    /// The full name: under it a host remembers what it knows of the store.
    pub fn full(&self) -> &str {
        &self.full
    }
}

impl std::fmt::Display for StoreName {
    /// As the store was named.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.named)
    }
}
