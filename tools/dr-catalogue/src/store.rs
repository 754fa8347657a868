//! Which backups does one store hold, and what in its catalogue cannot be trusted?

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use dr_pipe::Failure;
use dr_pipe::record::{Backup, Kind, Manifest, SignatureState};
use dr_store::{Listed, Store};

use crate::seen::StoreName;
use crate::select::Scope;
use crate::{Error, Keyring, PublicKey, manifest, name, signature};

/// How many manifests are read at once: enough to hide the latency of S3.
const READERS: usize = 16;

/// A manifest that lies in a store and is not to be trusted, or a store's catalogue as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The store.
    pub store: String,
    /// The cluster it is about.
    pub cluster: String,
    /// The kind of backup.
    pub kind: Kind,
    /// The name of the backup.
    pub name: String,
    /// What is wrong.
    pub error: Error,
}

impl Flaw {
    /// What is wrong with all of a cluster's backups of one kind.
    pub(crate) fn of_catalogue(store: &StoreName, cluster: &str, kind: Kind, error: Error) -> Self {
        let name = match &error {
            Error::RolledBack { seen, .. } => seen.clone(),
            _ => String::new(),
        };
        Flaw { store: store.to_string(), cluster: cluster.into(), kind, name, error }
    }
}

impl From<Flaw> for Failure {
    fn from(flaw: Flaw) -> Self {
        let whole = matches!(flaw.error, Error::RolledBack { .. });
        let failure = Failure::from(flaw.error);
        if whole { failure } else { failure.within(flaw.store) }
    }
}

/// What one store's catalogue says.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    pub(crate) backups: Vec<Backup>,
    pub(crate) flaws: Vec<Flaw>,
    /// Store and key of manifests that have no signature: not published, or hidden by whoever took the signature away.
    pub(crate) unsigned: Vec<String>,
}

/// Reads the manifests in `scope` whose names begin with `prefix`. Of what `scope` names, only cluster and kind count here.
///
/// # Errors
/// Where the store fails. What is wrong with a single manifest is a [`Flaw`].
pub(crate) fn read(store: &Store, scope: &Scope, prefix: &str, keyring: &Keyring) -> Result<Shelf, Error> {
    let objects = listing(store, scope)?;
    let mut shelf = Shelf::default();
    let mut candidates = Vec::new();
    for key in objects.keys() {
        let Some((cluster, kind, name)) = name::of_manifest(key) else { continue };
        if dr_pipe::args::cluster_name(cluster).is_err() || scope.kind.is_some_and(|only| only != kind) || !name.starts_with(prefix)
        {
            continue;
        }
        if objects.contains_key(&name::signature_key(cluster, kind, name)) {
            candidates.push(Candidate { store, key, cluster, kind, name });
        } else {
            shelf.unsigned.push(format!("{}: {key}", store.location()));
        }
    }
    let keys = trusted(keyring, &candidates)?;
    for (candidate, examined) in candidates.iter().zip(examine_all(&candidates, &keys)?) {
        match examined.and_then(|backup| object_is_there(&backup.manifest, &objects).map(|()| backup)) {
            Ok(backup) => shelf.backups.push(backup),
            Err(error) => shelf.flaws.push(candidate.flaw(error)),
        }
    }
    Ok(shelf)
}

/// Key and size of all objects that lie beside the manifests in `scope`.
fn listing(store: &Store, scope: &Scope) -> Result<BTreeMap<String, u64>, Error> {
    let folders = match (&scope.cluster, scope.kind) {
        (Some(cluster), Some(kind)) => vec![name::folder(cluster, kind)],
        (Some(cluster), None) => name::KINDS.iter().map(|kind| name::folder(cluster, *kind)).collect(),
        (None, _) => vec![String::new()],
    };
    let mut objects = BTreeMap::new();
    for folder in folders {
        let listed = store.list(&folder).map_err(Failure::from)?;
        objects.extend(listed.into_iter().map(|Listed { key, bytes, .. }| (key, bytes)));
    }
    Ok(objects)
}

/// The trusted keys of every cluster that is read.
fn trusted(keyring: &Keyring, candidates: &[Candidate]) -> Result<BTreeMap<String, Vec<PublicKey>>, Error> {
    let mut keys = BTreeMap::new();
    for Candidate { cluster, .. } in candidates {
        if !keys.contains_key(*cluster) {
            keys.insert((*cluster).to_owned(), keyring.of(cluster)?);
        }
    }
    Ok(keys)
}

/// A manifest that has a signature.
struct Candidate<'a> {
    store: &'a Store,
    key: &'a str,
    cluster: &'a str,
    kind: Kind,
    name: &'a str,
}

impl Candidate<'_> {
    /// Reads manifest and signature; looks at the signature before any parser sees the manifest. The outer error is the
    /// store's, the inner one this manifest's.
    fn examine(&self, keys: &[PublicKey]) -> Result<Result<Backup, Error>, Error> {
        let bad = |why| Error::BadManifest { manifest: self.key.into(), why };
        let signature_key = name::signature_key(self.cluster, self.kind, self.name);
        let manifest = match self.store.read(self.key, manifest::MAX_BYTES) {
            Err(dr_store::Error::Damaged { why, .. }) => return Ok(Err(bad(why))),
            read => read.map_err(Failure::from)?,
        };
        let signature = match self.store.read(&signature_key, signature::MAX_BYTES) {
            Err(dr_store::Error::Damaged { why, .. }) => return Ok(Err(bad(format!("its signature: {why}")))),
            read => read.map_err(Failure::from)?,
        };
        Ok(self.judge(keys, &manifest, &signature))
    }

    fn judge(&self, keys: &[PublicKey], manifest: &[u8], signature: &[u8]) -> Result<Backup, Error> {
        let state = if keys.is_empty() {
            SignatureState::Unchecked
        } else {
            signature::verify(keys, self.key, manifest, signature, self.name)?;
            SignatureState::Good
        };
        let manifest = manifest::parse(self.key, manifest)?;
        Ok(Backup { store: self.store.location().to_string(), signature: state, manifest })
    }

    fn flaw(&self, error: Error) -> Flaw {
        Flaw {
            store: self.store.location().to_string(),
            cluster: self.cluster.into(),
            kind: self.kind,
            name: self.name.into(),
            error,
        }
    }
}

/// Examines all candidates, many at once; the answers stand in their order.
fn examine_all(candidates: &[Candidate], keys: &BTreeMap<String, Vec<PublicKey>>) -> Result<Vec<Result<Backup, Error>>, Error> {
    let next = AtomicUsize::new(0);
    let examined = Mutex::new(BTreeMap::new());
    let read = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(candidate) = candidates.get(place) else { break };
            let trusted = keys.get(candidate.cluster).map_or(&[][..], Vec::as_slice);
            let answer = candidate.examine(trusted);
            examined.lock().expect("no thread panics while it holds the lock").insert(place, answer);
        }
    };
    std::thread::scope(|scope| {
        // Where no more threads are to be had (ulimit), those that are there do the work; at the least this one.
        for _ in 1..READERS.min(candidates.len()) {
            if std::thread::Builder::new().spawn_scoped(scope, read).is_err() {
                break;
            }
        }
        read();
    });
    examined.into_inner().expect("no thread panics while it holds the lock").into_values().collect()
}

/// The object must lie beside its manifest, with the size the manifest says.
fn object_is_there(manifest: &Manifest, objects: &BTreeMap<String, u64>) -> Result<(), Error> {
    let object = format!("{}{}", name::folder(&manifest.cluster, manifest.kind), manifest.object);
    match objects.get(&object) {
        Some(bytes) if *bytes == manifest.bytes => Ok(()),
        Some(bytes) => Err(Error::OtherSize { object, why: format!("{bytes} bytes, but its manifest says {}", manifest.bytes) }),
        None => Err(Error::NoObject { object, why: "there is a manifest, but not the object itself".into() }),
    }
}
