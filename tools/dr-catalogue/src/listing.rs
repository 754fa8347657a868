//! What do the catalogues of all stores say together, and may a choice be made from it?

use std::collections::{BTreeSet, HashMap};

use chrono::SecondsFormat;
use dr_pipe::Failure;
use dr_pipe::record::Backup;

use crate::select::{Scope, Selector, few, order};
use crate::store::{Flaw, Shelf};
use crate::{Error, Tombstone, name};

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

/// A backup that is marked for deletion in every store that holds it. It is whole still, and who names it gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct Marked {
    /// The backup.
    pub entry: Entry,
    /// Its tombstone, as the first store that holds it shows it.
    pub tombstone: Tombstone,
}

/// What the catalogues say, and what is wrong with them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// All backups in scope, oldest first; those that are marked for deletion are not among them.
    pub entries: Vec<Entry>,
    /// Those that are marked for deletion, oldest first.
    pub deleted: Vec<Marked>,
    /// Manifests and catalogues that are not to be trusted.
    pub flaws: Vec<Flaw>,
    /// What lies there without a signature, as `store: key`: no backup.
    pub unsigned: Vec<String>,
    /// Stores that could not be read, each with its reason.
    pub unreachable: Vec<Failure>,
    /// What else the user should know.
    pub warnings: Vec<String>,
    /// Where no backup is of the database in scope: that one, and those there are.
    pub(crate) no_such_database: Option<(String, BTreeSet<String>)>,
}

impl Listing {
    /// The entry that `selector` means. One that is marked for deletion is meant only where it is named.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NoSuchDatabase`] or [`Error::Ambiguous`]; but where a better answer may be hidden by a flaw, or lie in a store
    /// that cannot be read, the error of that flaw or store: an older backup is never taken for the newest in silence.
    pub fn choose(&self, selector: &Selector) -> Result<&Entry, Error> {
        let chosen = match selector.choose(self.entries.iter().map(|entry| &entry.backup)) {
            Ok(chosen) => match self.deleted.iter().find(|marked| is_named(selector, &marked.entry.backup)) {
                Some(marked) if !is_named(selector, chosen) => return Ok(&marked.entry),
                _ => chosen,
            },
            Err(error @ Error::NotFound(_)) => {
                return self.choose_marked(selector).unwrap_or_else(|| Err(self.nothing(selector, error)));
            }
            Err(error) => return Err(error),
        };
        match self.flaws.iter().find(|flaw| self.may_hide(flaw, chosen, selector)) {
            Some(flaw) => Err(Failure::from(flaw.clone()).into()),
            None => Ok(self.entries.iter().find(|entry| entry.backup == *chosen).expect("chosen among these entries")),
        }
    }

    /// Among those that are marked, where one is named; none where none fits.
    fn choose_marked(&self, selector: &Selector) -> Option<Result<&Entry, Error>> {
        let Selector::Name(_) = selector else { return None };
        match selector.choose(self.deleted.iter().map(|marked| &marked.entry.backup)) {
            Ok(chosen) => self.deleted.iter().map(|marked| &marked.entry).find(|entry| entry.backup == *chosen).map(Ok),
            Err(Error::NotFound(_)) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// What the user must know of `entry`, if it is marked for deletion.
    pub(crate) fn warning_of(&self, entry: &Entry) -> Option<String> {
        let Marked { tombstone, .. } = self.deleted.iter().find(|marked| marked.entry == *entry)?;
        let day = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let (marked, gone) = (day(tombstone.deleted_at), day(tombstone.not_before_at));
        let name = &tombstone.name;
        Some(format!("{name} is marked for deletion on {marked}, its data goes after {gone}: dr-delete --undelete {name} keeps it"))
    }

    /// Whether the newest of these entries can be meant: nobody means whichever cluster or database was backed up last.
    ///
    /// # Errors
    /// [`Error::SeveralClusters`]; [`Error::SeveralDatabases`] where the newest, `chosen`, is of one of them.
    pub(crate) fn are_of_one(&self, chosen: &Backup) -> Result<(), Error> {
        let manifests = || self.entries.iter().map(|entry| &entry.backup.manifest);
        let clusters: BTreeSet<_> = manifests().map(|manifest| manifest.cluster.as_str()).collect();
        if clusters.len() > 1 {
            return Err(Error::SeveralClusters(few(clusters.into_iter())));
        }
        let databases: BTreeSet<_> = manifests().filter_map(|manifest| manifest.produced.database.as_deref()).collect();
        if databases.len() > 1 && chosen.manifest.produced.database.is_some() {
            return Err(Error::SeveralDatabases(few(databases.into_iter())));
        }
        Ok(())
    }

    /// Everything that is wrong but does not forbid to use what is good, one line each.
    pub fn warnings(&self) -> Vec<String> {
        let flaws = self.flaws.iter().map(|flaw| Failure::from(flaw.clone()).message);
        let unreachable = self.unreachable.iter().map(|failure| failure.message.clone());
        let unsigned =
            self.unsigned.iter().map(|key| format!("{key} has no signature and is passed over: not published, or tampered with"));
        unreachable.chain(flaws).chain(unsigned).chain(self.warnings.iter().cloned()).collect()
    }

    /// Leaves only what is in `scope`.
    pub(crate) fn confine(&mut self, scope: &Scope) {
        let entries = self.entries.iter().chain(self.deleted.iter().map(|marked| &marked.entry));
        let databases: BTreeSet<_> = entries.filter_map(|entry| entry.backup.manifest.produced.database.clone()).collect();
        let wanted = scope.database.clone().filter(|wanted| !databases.is_empty() && !databases.contains(wanted));
        self.no_such_database = wanted.map(|wanted| (wanted, databases));
        self.entries.retain(|entry| scope.holds(&entry.backup));
        self.deleted.retain(|marked| scope.holds(&marked.entry.backup));
    }

    /// Says that no backup is of the database that was asked for, if that is so.
    pub(crate) fn no_such_database(&self) -> Option<Error> {
        let (database, there) = self.no_such_database.as_ref()?;
        Some(Error::NoSuchDatabase { database: database.clone(), there: few(there.iter().map(String::as_str)) })
    }

    /// Puts what each store says together: the first store that holds a backup shows it. One that is marked in some stores and
    /// not in others, as where each keeps backups for another time, is there in the others.
    pub(crate) fn shelve(&mut self, shelves: Vec<(usize, Shelf)>) {
        let mut known = HashMap::new();
        let mut marked = Vec::new();
        for (place, shelf) in shelves {
            for backup in shelf.backups {
                self.add(&mut known, place, backup);
            }
            marked.extend(shelf.marked.into_iter().map(|(backup, tombstone)| (place, backup, tombstone)));
            self.flaws.extend(shelf.flaws);
            self.unsigned.extend(shelf.unsigned);
            self.warnings.extend(shelf.warnings);
        }
        for (place, backup, tombstone) in marked {
            self.add_marked(&known, place, backup, tombstone);
        }
        self.entries.sort_by(|a, b| order(&a.backup).cmp(&order(&b.backup)));
        self.deleted.sort_by(|a, b| order(&a.entry.backup).cmp(&order(&b.entry.backup)));
    }

    /// Adds a backup that is marked in the store at `place`, unless another store holds it unmarked.
    fn add_marked(&mut self, known: &HashMap<String, usize>, place: usize, backup: Backup, tombstone: Tombstone) {
        let manifest = &backup.manifest;
        if known.contains_key(&name::manifest_key(&manifest.cluster, manifest.kind, &manifest.name)) {
            return;
        }
        match self.deleted.iter_mut().find(|marked| marked.entry.backup.manifest == *manifest) {
            Some(marked) => marked.entry.stores.push(place),
            None => self.deleted.push(Marked { entry: Entry { backup, stores: vec![place] }, tombstone }),
        }
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

    /// Why nothing fits; `error` says that there is nothing.
    fn nothing(&self, selector: &Selector, error: Error) -> Error {
        self.reason_for_nothing(selector).or_else(|| self.no_such_database()).unwrap_or_else(|| match self.deleted.len() {
            0 => error,
            count => Error::NotFound(format!("{selector}, but {count} that are marked for deletion, and can be named")),
        })
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

/// Whether `selector` says the whole name of `backup`.
fn is_named(selector: &Selector, backup: &Backup) -> bool {
    matches!(selector, Selector::Name(name) if *name == backup.manifest.name)
}
