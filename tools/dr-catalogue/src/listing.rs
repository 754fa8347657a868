//! What do the catalogues of all stores say together, and may a choice be made from it?

use std::collections::{BTreeSet, HashMap};

use dr_pipe::Failure;
use dr_pipe::record::Backup;

use crate::select::{Selector, order};
use crate::store::{Flaw, Shelf};
use crate::{Error, name};

/// One backup, and where it lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The backup as the first store that holds it shows it.
    pub backup: Backup,
    /// Places, among the stores that were opened, of those that hold it, rising.
    pub(crate) stores: Vec<usize>,
}

impl Entry {
    /// In how many of the stores that were named it lies.
    pub fn copies(&self) -> usize {
        self.stores.len()
    }
}

/// What the catalogues say, and what is wrong with them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// All backups in scope, oldest first.
    pub entries: Vec<Entry>,
    /// Manifests and catalogues that are not to be trusted.
    pub flaws: Vec<Flaw>,
    /// What lies there without a signature, as `store: key`: no backup.
    pub unsigned: Vec<String>,
    /// Stores that could not be read, each with its reason.
    pub unreachable: Vec<Failure>,
    /// What else the user should know.
    pub warnings: Vec<String>,
}

impl Listing {
    /// The entry that `selector` means.
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Ambiguous`]; but where a better answer may be hidden by a flaw, or lie in a store
    /// that cannot be read, the error of that flaw or store: an older backup is never taken for the newest in silence.
    pub fn choose(&self, selector: &Selector) -> Result<&Entry, Error> {
        let chosen = match selector.choose(self.entries.iter().map(|entry| &entry.backup)) {
            Ok(chosen) => chosen,
            Err(error @ Error::NotFound(_)) => return Err(self.reason_for_nothing(selector).unwrap_or(error)),
            Err(error) => return Err(error),
        };
        match self.flaws.iter().find(|flaw| self.may_hide(flaw, chosen, selector)) {
            Some(flaw) => Err(Failure::from(flaw.clone()).into()),
            None => Ok(self.entries.iter().find(|entry| entry.backup == *chosen).expect("chosen among these entries")),
        }
    }

    /// The databases of these entries other than that of `chosen`, the newest: it is of whichever was backed up last, which is
    /// worth a warning.
    ///
    /// # Errors
    /// [`Error::SeveralClusters`]: nobody means whichever cluster was backed up last.
    pub(crate) fn other_databases(&mut self, chosen: &Backup) -> Result<Vec<String>, Error> {
        let manifests = || self.entries.iter().map(|entry| &entry.backup.manifest);
        let clusters: BTreeSet<_> = manifests().map(|manifest| manifest.cluster.as_str()).collect();
        if clusters.len() > 1 {
            return Err(Error::SeveralClusters(clusters.into_iter().collect::<Vec<_>>().join(", ")));
        }
        let Some(database) = &chosen.manifest.produced.database else { return Ok(Vec::new()) };
        let databases: BTreeSet<_> = manifests().filter_map(|manifest| manifest.produced.database.clone()).collect();
        let others: Vec<_> = databases.into_iter().filter(|other| other != database).collect();
        if !others.is_empty() {
            let named = others[..others.len().min(5)].join(", ");
            self.warnings
                .push(format!("the newest backup is of database {database}; there are backups of {named} too: say --database"));
        }
        Ok(others)
    }

    /// Everything that is wrong but does not forbid to use what is good, one line each.
    pub fn warnings(&self) -> Vec<String> {
        let flaws = self.flaws.iter().map(|flaw| Failure::from(flaw.clone()).message);
        let unreachable = self.unreachable.iter().map(|failure| failure.message.clone());
        let unsigned =
            self.unsigned.iter().map(|key| format!("{key} has no signature and is passed over: not published, or tampered with"));
        unreachable.chain(flaws).chain(unsigned).chain(self.warnings.iter().cloned()).collect()
    }

    /// Puts what each store says together: the first store that holds a backup shows it.
    pub(crate) fn shelve(&mut self, shelves: Vec<(usize, Shelf)>) {
        let mut known = HashMap::new();
        for (place, shelf) in shelves {
            for backup in shelf.backups {
                self.add(&mut known, place, backup);
            }
            self.flaws.extend(shelf.flaws);
            self.unsigned.extend(shelf.unsigned);
        }
        self.entries.sort_by(|a, b| order(&a.backup).cmp(&order(&b.backup)));
    }

    /// Adds a backup found in the store at `place`; `known` tells where the entry of each manifest's key stands.
    fn add(&mut self, known: &mut HashMap<String, usize>, place: usize, backup: Backup) {
        let manifest = &backup.manifest;
        let key = name::manifest_key(&manifest.cluster, manifest.kind, &manifest.name);
        match known.get(&key).map(|at| &mut self.entries[*at]) {
            Some(entry) if entry.backup.manifest == *manifest => entry.stores.push(place),
            Some(entry) => self.flaws.push(Flaw {
                store: backup.store,
                cluster: manifest.cluster.clone(),
                kind: manifest.kind,
                name: manifest.name.clone(),
                error: Error::BadManifest { manifest: key, why: format!("it differs from the one in {}", entry.backup.store) },
            }),
            None => {
                known.insert(key, self.entries.len());
                self.entries.push(Entry { backup, stores: vec![place] });
            }
        }
    }

    /// Whether what `flaw` hides could be what `selector` means, rather than `chosen`.
    fn may_hide(&self, flaw: &Flaw, chosen: &Backup, selector: &Selector) -> bool {
        let manifest = &chosen.manifest;
        let good_elsewhere = self.entries.iter().any(|entry| {
            let other = &entry.backup.manifest;
            other.name == flaw.name && other.cluster == flaw.cluster && other.kind == flaw.kind
        });
        if good_elsewhere || flaw.cluster != manifest.cluster || flaw.kind != manifest.kind {
            return false;
        }
        // Names of one cluster and kind sort by the time in them, so that a name alone tells which is the newer.
        match selector {
            Selector::Name(_) => false,
            Selector::Latest => flaw.name > manifest.name,
            Selector::At(moment) => {
                let after = format!("{}_{}_{}", manifest.cluster, manifest.kind, moment.format("%Y%m%dT%H%M%SZ~"));
                flaw.name > manifest.name && flaw.name < after
            }
        }
    }

    /// Why nothing fits, if there is a better reason than that there is nothing.
    fn reason_for_nothing(&self, selector: &Selector) -> Option<Error> {
        let named = |name: &str| match selector {
            Selector::Name(prefix) => name.starts_with(prefix),
            Selector::Latest | Selector::At(_) => true,
        };
        if let Some(flaw) = self.flaws.iter().find(|flaw| named(&flaw.name)) {
            return Some(Failure::from(flaw.clone()).into());
        }
        if let Some(failure) = self.unreachable.first() {
            return Some(failure.clone().into());
        }
        let manifest = self.unsigned.first()?.clone();
        Some(Error::BadSignature { manifest, why: "it has no signature".into() })
    }
}
