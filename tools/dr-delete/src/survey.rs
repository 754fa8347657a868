//! What does a store hold of a cluster? Its signed catalogue, read again and without a flaw, and what is marked already.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use dr_catalogue::{
    Catalogue, Error, Flaw, Keyring, Listing, PublicKey, Scope, SigningKey, Tombstone, manifest, name, signature, tombstone,
};
use dr_pipe::record::{Backup, Kind};
use dr_pipe::{Exit, Failure, warn};
use dr_store::{Listed, Location, Store};
use dr_wal::{SegmentSize, Shelf, layout};

use crate::TOOL;
use crate::args::Args;
use crate::grave::{self, Grave, MarkedRange};
use crate::wal::Wal;

/// Where it stands what to do about a catalogue that is not sound.
const FLAW: &str = "see \"A catalogue with a flaw\" in dr-delete(1)";

/// What one store holds of one cluster. Made by [`Survey::take`] alone, which refuses a catalogue with a flaw.
#[derive(Debug)]
pub struct Survey {
    /// The store.
    pub store: Store,
    /// The cluster.
    pub cluster: String,
    /// The key that signs its tombstones.
    pub key: SigningKey,
    /// Its backups that are not marked, oldest first; each with a good signature.
    pub live: Vec<Backup>,
    /// Those that are marked, oldest first.
    pub marked: Vec<Marked>,
    /// Tombstones of ours whose manifest is gone already.
    pub orphans: Vec<Tombstone>,
    /// Ranges of WAL that are marked by us.
    pub ranges: Vec<MarkedRange>,
    /// Keys of signatures whose tombstone never came, or is gone, and so is the backup.
    pub strays: Vec<String>,
    /// Backups that have a tombstone which does not count.
    pub contested: BTreeSet<(Kind, String)>,
    /// Its WAL.
    pub wal: Wal,
    /// The size of its segments, as the store says; none where it does not say.
    pub segment_size: Option<SegmentSize>,
    /// What lies beside the manifests, and the tombstones of ranges, by key.
    pub files: BTreeMap<String, Listed>,
    /// Since when each tombstone lies there, by what whoever writes to the store cannot put back.
    since: BTreeMap<String, DateTime<Utc>>,
}

/// A backup that is marked.
#[derive(Debug)]
pub struct Marked {
    /// The backup; its signature is good.
    pub backup: Backup,
    /// Its tombstone; its signature is good.
    pub tombstone: Tombstone,
    /// Whether our own key signed it, and so it is for us to carry out.
    pub ours: bool,
}

impl Survey {
    /// Reads what the store at `location` holds of `cluster`.
    ///
    /// # Errors
    /// 78 without a public key; 80 or 81 where the catalogue has a flaw, lacks a signature, or is older than one seen before; 76
    /// where it lacks an object; what the store says where it cannot be read.
    pub fn take(location: &Location, cluster: &str, args: &Args) -> Result<Survey, Failure> {
        let key = args.signing_key.load(cluster)?;
        let listing = catalogue(location, cluster, args, Some(&key.public_key()))?;
        let store = open(location, args)?;
        let mut files = BTreeMap::new();
        for kind in name::KINDS {
            let listed = store.list(&name::folder(cluster, kind))?;
            files.extend(listed.into_iter().map(|listed| (listed.key.clone(), listed)));
        }
        let wal = store.list(&layout::root(cluster))?;
        let system = if wal.is_empty() { None } else { Shelf::new(&store, cluster).system()? };
        let mut survey = Survey {
            live: listing.entries.into_iter().map(|entry| entry.backup).collect(),
            marked: Vec::new(),
            orphans: Vec::new(),
            ranges: Vec::new(),
            strays: Vec::new(),
            contested: BTreeSet::new(),
            wal: Wal::new(cluster, &wal),
            segment_size: system.map(|system| system.wal_segment_bytes),
            cluster: cluster.into(),
            store,
            key,
            files,
            since: BTreeMap::new(),
        };
        for marked in listing.deleted {
            let ours = matches!(survey.grave(&Grave::Backup(marked.tombstone.clone()).key())?, Some(Ok(_)));
            survey.marked.push(Marked { backup: marked.entry.backup, tombstone: marked.tombstone, ours });
        }
        survey.find_others()?;
        survey.find_ranges(&wal)?;
        survey.find_since()?;
        Ok(survey)
    }

    /// The store as it was named.
    pub fn named(&self) -> String {
        self.store.location().to_string()
    }

    /// Tombstones beside the backups that are not marked, and beside none.
    fn find_others(&mut self) -> Result<(), Failure> {
        let keys: Vec<String> = self.files.keys().cloned().collect();
        for key in keys {
            let signed = key.strip_suffix(name::MINISIG);
            let Some((_, kind, of)) = name::of_tombstone(signed.unwrap_or(&key)) else { continue };
            let is_it = |backup: &Backup| backup.manifest.kind == kind && backup.manifest.name == of;
            if self.marked.iter().any(|marked| is_it(&marked.backup)) {
                continue;
            }
            let lives = self.live.iter().any(is_it) || self.is_there(&name::manifest_key(&self.cluster, kind, of))?;
            match signed {
                Some(tombstone) if !lives && !self.is_there(tombstone)? => self.strays.push(key),
                Some(_) => {}
                None if lives => drop(self.contested.insert((kind, of.to_owned()))),
                None => match self.grave(&key)? {
                    Some(Ok(Grave::Backup(tombstone))) => self.orphans.push(tombstone),
                    Some(Err(why)) => warn(TOOL, format!("{}: {why}; it is left as it is", self.named())),
                    _ => {}
                },
            }
        }
        Ok(())
    }

    fn find_ranges(&mut self, wal: &[Listed]) -> Result<(), Failure> {
        let has = |key: &str| wal.iter().any(|listed| listed.key == key);
        let alone = wal.iter().filter_map(|listed| {
            let tombstone = listed.key.strip_suffix(name::MINISIG)?;
            let (first, last) = grave::ends(tombstone).filter(|_| !has(tombstone))?;
            self.wal.steps(first, last).is_empty().then(|| listed.key.clone())
        });
        self.strays.extend(alone);
        for listed in wal.iter().filter(|listed| grave::ends(&listed.key).is_some()) {
            let key = &listed.key;
            self.files.insert(key.clone(), listed.clone());
            match self.grave(key)? {
                Some(Ok(Grave::Wal(range))) => self.ranges.push(range),
                Some(Err(why)) => warn(TOOL, format!("{}: {why}; it is left as it is", self.named())),
                _ => {}
            }
        }
        Ok(())
    }

    /// Of a file's own times the later one counts: that of its content can be set at will (`cp -p`), that of its last change cannot.
    fn find_since(&mut self) -> Result<(), Failure> {
        let backups = self.marked.iter().map(|marked| &marked.tombstone).chain(&self.orphans).map(Tombstone::stem);
        let ranges = self.ranges.iter().map(|range| range.tombstone.stem());
        for key in backups.chain(ranges).map(|stem| format!("{stem}{}", name::TOMBSTONE)) {
            let written = self.files.get(&key).and_then(|listed| listed.modified_at);
            if let Some(at) = written.max(self.store.changed_at(&key)?) {
                self.since.insert(key, at);
            }
        }
        Ok(())
    }

    /// Since when the tombstone of this key lies there; none where the store does not say.
    pub fn since(&self, key: &str) -> Option<DateTime<Utc>> {
        self.since.get(key).copied()
    }

    /// Whether the store itself says that it has an object, whatever it has listed.
    pub fn is_there(&self, key: &str) -> Result<bool, Failure> {
        Ok(self.store.size(key)?.is_some())
    }

    /// Reads a tombstone in our own hand; none where it is not there any more. The inner error: it is another's, or damaged.
    fn grave(&self, key: &str) -> Result<Option<Result<Grave, Error>>, Failure> {
        let signature_key = format!("{key}{}", name::MINISIG);
        let Some(text) = read(&self.store, key, tombstone::MAX_BYTES)? else { return Ok(None) };
        let signature = read(&self.store, &signature_key, signature::MAX_BYTES)?.unwrap_or_default();
        Ok(Some(Grave::read(&self.key.public_key(), key, &text, &signature)))
    }

    /// Whether the key that would mark a backup is the one that made it.
    ///
    /// # Errors
    /// What the store says.
    pub fn is_made_by_us(&self, backup: &Backup) -> Result<bool, Failure> {
        let manifest = &backup.manifest;
        let key = manifest_key(backup);
        let text = self.store.read(&key, manifest::MAX_BYTES)?;
        let signature_key = name::signature_key(&manifest.cluster, manifest.kind, &manifest.name);
        let signature = self.store.read(&signature_key, signature::MAX_BYTES)?;
        Ok(signature::verify(&[self.key.public_key()], &key, &text, &signature, &manifest.name).is_ok())
    }

    /// Moments that are past where every clock is right, and what they are of.
    pub fn times(&self) -> Vec<(String, DateTime<Utc>)> {
        let mut times = Vec::new();
        for backup in self.live.iter().chain(self.marked.iter().map(|marked| &marked.backup)) {
            let key = manifest_key(backup);
            times.extend(times_of(backup, self.files.get(&key).and_then(|listed| listed.modified_at), &self.named()));
        }
        let graves = self.marked.iter().map(|marked| &marked.tombstone).chain(&self.orphans);
        times.extend(graves.map(|tombstone| (format!("the tombstone of {}", tombstone.name), tombstone.deleted_at)));
        times.extend(self.ranges.iter().map(|range| (format!("the tombstone of {}", range.first), range.tombstone.deleted_at)));
        times
    }
}

/// Reads the catalogue of one cluster in one store; `own` is trusted for tombstones, too.
///
/// # Errors
/// As [`Survey::take`].
pub fn catalogue(location: &Location, cluster: &str, args: &Args, own: Option<&PublicKey>) -> Result<Listing, Failure> {
    let listing = list(location, cluster, args, own)?;
    if let Some(flaw) = listing.flaws.first() {
        return Err(refused(flaw.clone()));
    }
    match listing.unsigned.first() {
        None => Ok(listing),
        Some(key) => {
            let hint = format!("find out who took it away, or wrote that; {FLAW}");
            Err(Failure::new(Exit::Untrusted, format!("{key} has no signature"), hint))
        }
    }
}

/// As [`catalogue`], whatever is wrong with other backups.
///
/// # Errors
/// 78 without a public key; what the store says where it cannot be read.
pub fn list(location: &Location, cluster: &str, args: &Args, own: Option<&PublicKey>) -> Result<Listing, Failure> {
    let mut trusted = args.public_key.keyring()?.of(cluster)?;
    if trusted.is_empty() {
        let message = format!("there is no public key of {cluster}");
        let hint = "name it with --public-key (DR_PUBLIC_KEY): nothing is deleted that no signature proves";
        return Err(Failure::new(Exit::Config, message, hint));
    }
    trusted.extend(own.copied().filter(|own| !trusted.contains(own)));
    let catalogue = Catalogue::open(std::slice::from_ref(location), &args.store, Keyring::Given(trusted))?;
    let mut listing = catalogue.list(&Scope { cluster: Some(cluster.into()), ..Scope::default() })?;
    for warning in std::mem::take(&mut listing.warnings) {
        warn(TOOL, warning);
    }
    match listing.unreachable.first() {
        None => Ok(listing),
        Some(failure) => Err(failure.clone()),
    }
}

/// Opens a store to write and remove. It must be one already: none is made here.
///
/// # Errors
/// What the store says.
pub fn open(location: &Location, args: &Args) -> Result<Store, Failure> {
    Store::open_for_read(location, &args.store)?;
    let store = Store::open_for_write(location, &args.store)?;
    store.warnings().iter().for_each(|warning| warn(TOOL, warning));
    Ok(store)
}

/// Passes stores each of which is named once: what goes in one must not go in the other.
///
/// # Errors
/// 64 where one has two names; what the store says.
pub fn apart(args: &Args) -> Result<(), Failure> {
    let mut names: Vec<&Location> = Vec::new();
    for location in &args.from {
        if names.iter().all(|name| name.to_string() != location.to_string()) {
            names.push(location);
        }
    }
    if names.len() < 2 {
        return Ok(());
    }
    let stores: Vec<Store> = names.iter().map(|name| Store::open_for_read(name, &args.store)).collect::<Result<_, _>>()?;
    for (place, store) in stores.iter().enumerate() {
        for other in &stores[..place] {
            store.is_none_of([other]).map_err(|failure| match failure.exit {
                Exit::Usage => {
                    let message = format!("--from {} is the same store as --from {}", store.location(), other.location());
                    Failure::new(Exit::Usage, message, "name every store once")
                }
                _ => failure,
            })?;
        }
    }
    Ok(())
}

/// The key of a backup's manifest.
pub fn manifest_key(Backup { manifest, .. }: &Backup) -> String {
    name::manifest_key(&manifest.cluster, manifest.kind, &manifest.name)
}

/// Moments of a backup that are past where every clock is right; `written`, when its manifest was written into `store`.
pub fn times_of(backup: &Backup, written: Option<DateTime<Utc>>, store: &str) -> Vec<(String, DateTime<Utc>)> {
    let manifest = &backup.manifest;
    let mut times = vec![(format!("backup {}", manifest.name), manifest.taken_at.max(manifest.stored_at))];
    times.extend(written.map(|at| (format!("{store}/{}", manifest_key(backup)), at)));
    times
}

/// All bytes of a small object; none where it is not there.
pub fn read(store: &Store, key: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, Failure> {
    match store.read(key, max_bytes) {
        Err(dr_store::Error::Absent { .. }) => Ok(None),
        Err(error) => Err(error.into()),
        Ok(bytes) => Ok(Some(bytes)),
    }
}

/// A catalogue that is not sound is no ground to delete anything on.
fn refused(flaw: Flaw) -> Failure {
    let lacks = matches!(flaw.error, Error::NoObject { .. });
    let mut failure = match flaw.error {
        Error::BadSignature { .. } | Error::BadManifest { .. } => {
            let hint = "find out who wrote it, and take it out of the store: nothing is deleted as long as it lies there";
            Failure { hint: hint.into(), ..Failure::from(flaw) }
        }
        _ => Failure::from(flaw),
    }
    .leaving(FLAW);
    failure.exit = match failure.exit {
        Exit::Untrusted => Exit::Untrusted,
        _ if lacks => Exit::Protocol,
        _ => Exit::Refused,
    };
    failure
}
