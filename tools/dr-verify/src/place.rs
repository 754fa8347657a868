//! One store, as its listing shows it: what there is to be read, and what is wrong before anything is.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use dr_catalogue::seen::{Seen, StoreName};
use dr_catalogue::{Catalogue, Error, Flaw, Keyring, Listing, PublicKey, Scope, Selector, name};
use dr_pipe::args::cluster_name;
use dr_pipe::record::{Backup, Finding, SignatureState};
use dr_pipe::{Failure, warn};
use dr_store::{Listed, Location, Store};
use dr_wal::WalName;

use crate::args::Args;
use crate::finding::{Scene, about, on};
use crate::hidden::Bucket;
use crate::memory::{Face, Known, Memory};
use crate::wal::Log;
use crate::{TOOL, hidden, modes, strays};

/// By how much clocks may differ before a backup counts as one from the future.
const SLACK: TimeDelta = TimeDelta::minutes(5);

/// A store.
pub struct Place {
    /// The store.
    pub store: Store,
    /// Its full name, under which it is remembered.
    pub full: String,
    /// The clusters that have anything in it.
    pub clusters: Vec<Cluster>,
    /// What is wrong with it as a whole.
    pub findings: Vec<Finding>,
    /// Whether it has failed, and is not asked any more.
    pub failed: AtomicBool,
}

/// What a store holds of one cluster.
pub struct Cluster {
    /// Store and cluster, as findings name them.
    pub scene: Scene,
    /// The cluster's name.
    pub name: String,
    /// Whose signatures are trusted; with none of them, none is checked.
    pub trusted: Vec<PublicKey>,
    /// Its backups.
    pub backups: Vec<Kept>,
    /// Its write-ahead log; none where that is not looked at.
    pub log: Option<Log>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Whether a backup, WAL or anything of them lies there, or should.
    pub is_there: bool,
    /// What is known of its objects.
    known: Mutex<Known>,
    /// Files of WAL in which something was found.
    bad: Mutex<BTreeSet<WalName>>,
    /// The places of backups that were deleted while we looked.
    gone: Mutex<BTreeSet<usize>>,
    /// The places of backups of which all is said.
    told: Mutex<BTreeSet<usize>>,
}

/// A backup.
pub struct Kept {
    /// The backup.
    pub backup: Backup,
    /// Its object's key.
    pub key: String,
    /// By what its object is known again.
    pub face: Face,
    /// What is wrong with it although its object is there.
    pub findings: Vec<Finding>,
}

/// What lies in a store below one cluster's name.
#[derive(Default)]
struct Lying {
    /// All but WAL.
    files: Vec<Listed>,
    wal: Vec<Listed>,
}

/// What is asked of every store.
pub struct Question<'a> {
    /// What was typed.
    pub args: &'a Args,
    /// Whose signatures are trusted.
    pub keyring: &'a Keyring,
    /// The time.
    pub now: DateTime<Utc>,
    /// What is remembered of them.
    pub memory: RefCell<Memory>,
}

impl Place {
    /// Lists a store and reads its catalogue.
    ///
    /// # Errors
    /// As the store says; where a public key cannot be read.
    pub fn survey(location: &Location, question: &Question) -> Result<Place, Failure> {
        let args = question.args;
        let store = Store::open_for_read(location, &args.catalogue.store)?;
        let name = StoreName::new(location, args.catalogue.store.endpoint_url.as_deref());
        let catalogue = Catalogue::open(std::slice::from_ref(location), &args.catalogue.store, question.keyring.clone())?;
        let prefix = args.cluster.as_ref().map(|cluster| format!("{cluster}/")).unwrap_or_default();
        let (mut lying, unknown) = sorted(store.list(&prefix)?);
        // One whose backups are hidden altogether is asked for as well.
        for cluster in seen(&name).into_iter().filter(|it| args.cluster.as_ref().is_none_or(|only| only == it)) {
            lying.entry(cluster).or_default();
        }
        let scene = Scene { store: location.to_string(), cluster: None };
        let mut findings = if args.is_whole() { strays::unknown(&scene, &unknown) } else { Vec::new() };
        if args.is_whole() && !location.is_s3() {
            findings.extend(modes::check(&PathBuf::from(location.to_string()), prefix.trim_end_matches('/'), &scene)?);
        }
        let mut place = Place { store, full: name.full().into(), clusters: Vec::new(), findings, failed: AtomicBool::new(false) };
        for (cluster, lying) in lying {
            let found = Cluster::survey(&place, &catalogue, cluster, lying, question)?;
            place.clusters.push(found);
        }
        if let Some(selector) = &args.backup {
            place.choose(selector)?;
        }
        Ok(place)
    }

    /// Whether nothing of any cluster that was asked for lies there.
    pub fn is_empty(&self) -> bool {
        !self.clusters.iter().any(|cluster| cluster.is_there)
    }

    /// Leaves the one backup that is meant, and what may be wrong with it.
    fn choose(&mut self, selector: &Selector) -> Result<(), Failure> {
        let all = || self.clusters.iter().flat_map(|cluster| &cluster.backups).map(|kept| &kept.backup);
        let chosen = match selector.choose(all()) {
            Err(Error::NotFound(_)) => None,
            chosen => Some(chosen?.clone()),
        };
        for cluster in &mut self.clusters {
            cluster.backups.retain(|kept| chosen.as_ref() == Some(&kept.backup));
            let prefix = chosen.as_ref().map(|backup| backup.manifest.name.as_str());
            let prefix = prefix.or(if let Selector::Name(name) = selector { Some(name.as_str()) } else { None });
            let meant =
                |finding: &Finding| finding.backup.as_deref().zip(prefix).is_some_and(|(name, prefix)| name.starts_with(prefix));
            cluster.findings.retain(meant);
        }
        Ok(())
    }
}

impl Cluster {
    fn survey(place: &Place, catalogue: &Catalogue, name: String, lying: Lying, question: &Question) -> Result<Cluster, Failure> {
        let Question { args, keyring, now, .. } = question;
        let trusted = keyring.of(&name)?;
        let scope = Scope { cluster: Some(name.clone()), kind: args.kind, database: None };
        let is_instruction = |file: &Listed| file.key == name::recovery_key(&name);
        let lies = !lying.wal.is_empty() || !lying.files.iter().all(is_instruction);
        let listing = catalogue.list(&scope)?;
        listing.warnings.iter().for_each(|warning| warn(TOOL, warning));
        let scene = Scene { store: place.store.location().to_string(), cluster: Some(name.clone()) };
        let mut findings = flaws(&scene, &listing);
        if args.is_whole() {
            findings.extend(strays::check(&scene, &place.store, &listing, &lying.files, question)?);
        }
        let mut known = question.memory.borrow_mut().take(&place.full, &name, *now);
        let mut log = args.wants_wal().then(|| Log::survey(&scene, &place.store, &name, lying.wal, &trusted)).transpose()?;
        if let Some(log) = &mut log {
            log.announced = known.announce(log.announced.iter().copied()).clone();
        }
        if args.is_whole() && args.is_of_now() {
            let ranges = log.as_ref().map(|log| log.announced.clone()).unwrap_or_default();
            let (store, location) = (&place.store, place.store.location());
            let (args, cluster) = (&args.catalogue.store, name.as_str());
            let bucket = Bucket { store, location, args, cluster, trusted: &trusted, ranges: &ranges };
            findings.extend(hidden::check(&scene, &bucket, &listing)?);
        }
        let backups = backups(&scene, listing, &lying.files, *now);
        let is_there = lies || !findings.is_empty();
        let mut cluster = Cluster {
            scene,
            name,
            trusted,
            backups,
            log,
            findings,
            is_there,
            known: Mutex::new(known),
            bad: Mutex::default(),
            gone: Mutex::default(),
            told: Mutex::default(),
        };
        if args.is_whole() {
            cluster.forget(args);
        }
        Ok(cluster)
    }

    /// What is known of its objects.
    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Files of WAL in which something was found.
    pub fn bad(&self) -> MutexGuard<'_, BTreeSet<WalName>> {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The places of backups that were deleted while we looked.
    pub fn gone(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The places of backups of which all is said.
    pub fn told(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what is not there any more, of all that was listed.
    fn forget(&mut self, args: &Args) {
        let known = self.known.get_mut().unwrap_or_else(PoisonError::into_inner);
        for kind in name::KINDS.into_iter().filter(|kind| args.kind.is_none_or(|only| only == *kind)) {
            let keys: BTreeSet<&str> = self.backups.iter().map(|kept| kept.key.as_str()).collect();
            known.forget_objects(&name::folder(&self.name, kind), |key| keys.contains(key));
        }
        if let Some(log) = &self.log {
            known.forget_objects(&dr_wal::layout::root(&self.name), |key| log.has_key(key));
            let marks = log.marks();
            known.forget_wal(|mark| marks.contains(&mark));
        }
    }
}

/// By cluster; and what belongs to none.
fn sorted(listed: Vec<Listed>) -> (BTreeMap<String, Lying>, Vec<Listed>) {
    let mut lying = BTreeMap::<String, Lying>::new();
    let mut unknown = Vec::new();
    for object in listed {
        match object.key.split_once('/') {
            Some((cluster, rest)) if cluster_name(cluster).is_ok() => {
                let is_wal = rest.starts_with("wal/");
                let lying = lying.entry(cluster.to_owned()).or_default();
                if is_wal { lying.wal.push(object) } else { lying.files.push(object) }
            }
            _ => unknown.push(object),
        }
    }
    // A folder in which nothing is ours is no cluster's.
    let (ours, others): (BTreeMap<_, _>, BTreeMap<_, _>) = lying.into_iter().partition(|(cluster, lying)| {
        let kinds = name::KINDS.map(|kind| name::folder(cluster, kind));
        let is_ours = |object: &Listed| {
            kinds.iter().any(|folder| object.key.starts_with(folder)) || object.key == name::recovery_key(cluster)
        };
        !lying.wal.is_empty() || lying.files.iter().any(is_ours)
    });
    unknown.extend(others.into_values().flat_map(|lying| lying.files));
    (ours, unknown)
}

/// Clusters of which this host has seen backups there.
fn seen(store: &StoreName) -> BTreeSet<String> {
    let seen = Seen::recall();
    name::KINDS.into_iter().flat_map(|kind| seen.clusters(store, kind)).collect()
}

/// What the catalogue says is wrong.
fn flaws(scene: &Scene, listing: &Listing) -> Vec<Finding> {
    let flawed = listing.flaws.iter().map(|flaw| {
        let Flaw { cluster, kind, name, error, .. } = flaw;
        let (code, key) = match error {
            Error::BadSignature { manifest, .. } => ("signature", manifest.clone()),
            Error::NoObject { object, .. } => ("missing", object.clone()),
            Error::OtherSize { object, .. } => ("size", object.clone()),
            Error::RolledBack { .. } => ("rolled-back", String::new()),
            _ => ("manifest", name::manifest_key(cluster, *kind, name)),
        };
        let Failure { message, hint, .. } = Failure::from(error.clone());
        let finding = about(name, scene.error(code, message, hint));
        if key.is_empty() { finding } else { on(&key, finding) }
    });
    let unsigned = listing.unsigned.iter().map(|named| {
        // It is told as `store: key`.
        let key = named.strip_prefix(&format!("{}: ", scene.store)).unwrap_or(named);
        let message = format!("{key} has no signature: it was never published, or somebody took the signature away");
        let hint = "it is no backup until its signature is back: look at another store, or at older versions of the bucket";
        let finding = on(key, scene.error("unsigned", message, hint));
        name::of_manifest(key).map_or(finding.clone(), |(_, _, name)| about(name, finding))
    });
    flawed.chain(unsigned).collect()
}

fn backups(scene: &Scene, listing: Listing, files: &[Listed], now: DateTime<Utc>) -> Vec<Kept> {
    let modified: BTreeMap<&str, _> = files.iter().map(|file| (file.key.as_str(), file.modified_at)).collect();
    let tombstones: BTreeSet<&str> =
        files.iter().map(|file| file.key.as_str()).filter(|key| name::of_tombstone(key).is_some()).collect();
    let kept = listing.entries.into_iter().map(|entry| {
        let backup = entry.backup;
        let manifest = &backup.manifest;
        let key = name::object_key(manifest);
        let modified_at = modified.get(key.as_str()).copied().flatten();
        let face = Face { bytes: manifest.bytes, sha256: Some(manifest.sha256), modified_at, mark: None };
        let mut findings = Vec::new();
        if let Some(ahead) = [manifest.taken_at, manifest.stored_at].into_iter().filter(|at| *at > now + SLACK).max() {
            let message = format!("it is of {}, which is in the future", ahead.format("%Y-%m-%d %H:%M:%S UTC"));
            findings.push(scene.error(
                "future",
                message,
                "set the clock, here or of the host that backs up; until then nothing can tell which is the newest",
            ));
        }
        let tombstone = name::tombstone_key(&manifest.cluster, manifest.kind, &manifest.name);
        if tombstones.contains(tombstone.as_str()) {
            let message = "it has a tombstone that does not count: not signed by a trusted key, or of another backup";
            let hint = "if your own dr-prune wrote it, trust whose key it has, too: --public-key main.pub,main.delete.pub; else find out who \
                        did; it hides nothing and deletes nothing";
            findings.push(on(&tombstone, scene.error("tombstone", message, hint)));
        }
        let findings = findings.into_iter().map(|finding| about(&manifest.name, finding)).collect();
        Kept { key, face, findings, backup }
    });
    kept.collect()
}

/// Warns of clusters whose signatures nobody can check.
pub fn warn_of_unchecked(places: &[Place]) {
    let clusters = places.iter().flat_map(|place| &place.clusters);
    let unchecked: BTreeSet<&str> = clusters
        .filter(|cluster| {
            cluster.backups.iter().any(|kept| kept.backup.signature == SignatureState::Unchecked)
                || cluster.trusted.is_empty() && cluster.log.as_ref().is_some_and(|log| !log.is_empty())
        })
        .map(|cluster| cluster.name.as_str())
        .collect();
    for cluster in unchecked {
        warn(TOOL, format!("signatures of {cluster} are not checked: no public key is known (-p FILE)"));
    }
}
