//! Which backups does one store hold, and what in its catalogue cannot be trusted?

use std::collections::BTreeMap;

use dr_pipe::record::{Backup, Kind, Manifest, SignatureState};
use dr_pipe::{Failure, workers};
use dr_store::{Listed, Store};

use crate::seen::StoreName;
use crate::select::Scope;
use crate::{Error, Keyring, PublicKey, Tombstone, manifest, name, signature, tombstone};

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
    /// Backups that are good, and marked for deletion.
    pub(crate) marked: Vec<(Backup, Tombstone)>,
    pub(crate) flaws: Vec<Flaw>,
    /// Tombstones that do not count, in words.
    pub(crate) warnings: Vec<String>,
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
        let marked = objects.contains_key(&name::tombstone_key(cluster, kind, name));
        let candidate = Candidate { store, key, cluster, kind, name, marked };
        let signature = name::signature_key(cluster, kind, name);
        // A listing is no picture of one moment: what it lacks may have come, and what it has may have gone, since.
        if objects.contains_key(&signature) || is_there(store, &signature)? {
            candidates.push(candidate);
        } else if is_there(store, key)? {
            shelf.unsigned.push(format!("{}: {key}", store.location()));
        }
    }
    let keys = trusted(keyring, &candidates)?;
    for (candidate, examined) in candidates.iter().zip(examine_all(&candidates, &keys)?) {
        match examined {
            Some(Ok(examined)) => match object_is_there(store, &examined.backup.manifest, &objects)? {
                Ok(()) => shelf.add(examined),
                Err(error) => shelf.flaws.push(candidate.flaw(error)),
            },
            Some(Err(error)) => shelf.flaws.push(candidate.flaw(error)),
            None => {}
        }
    }
    Ok(shelf)
}

impl Shelf {
    fn add(&mut self, Examined { backup, tombstone }: Examined) {
        match tombstone {
            Some(Ok(tombstone)) => return self.marked.push((backup, tombstone)),
            Some(Err(error)) => self.warnings.push(format!("{}: {error}; it hides nothing", backup.store)),
            None => {}
        }
        self.backups.push(backup);
    }
}

fn is_there(store: &Store, key: &str) -> Result<bool, Error> {
    Ok(store.size(key).map_err(Failure::from)?.is_some())
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
    /// Whether it has a tombstone.
    marked: bool,
}

/// A backup whose manifest is good, and its tombstone, if it has one.
struct Examined {
    backup: Backup,
    tombstone: Option<Result<Tombstone, Error>>,
}

/// An object and its signature.
struct Signed {
    text: Vec<u8>,
    signature: Vec<u8>,
}

impl Candidate<'_> {
    /// Reads manifest and signature; looks at the signature before any parser sees the manifest. None where the manifest is not
    /// there any more. The outer error is the store's, the inner one this manifest's.
    fn examine(&self, keys: &[PublicKey]) -> Result<Option<Result<Examined, Error>>, Error> {
        // Whoever removes a backup removes its tombstone last, and whoever rescues it removes that alone.
        let tombstone = if self.marked { self.tombstone()? } else { None };
        let signature_key = name::signature_key(self.cluster, self.kind, self.name);
        let manifest = match self.read(self.key, &signature_key, manifest::MAX_BYTES)? {
            Some(Ok(manifest)) => manifest,
            Some(Err(error)) => return Ok(Some(Err(error))),
            // Gone while we looked, signature and all; or the signature alone, which nobody removes.
            None if !is_there(self.store, self.key)? => return Ok(None),
            None => return Ok(Some(Err(self.bad(self.key, "its signature is gone")))),
        };
        Ok(Some(self.judge(keys, &manifest).map(|backup| {
            let tombstone = tombstone.map(|read| read.and_then(|read| self.judge_tombstone(keys, &read, &backup, &manifest)));
            Examined { backup, tombstone }
        })))
    }

    fn judge(&self, keys: &[PublicKey], Signed { text, signature }: &Signed) -> Result<Backup, Error> {
        let state = if keys.is_empty() {
            SignatureState::Unchecked
        } else {
            signature::verify(keys, self.key, text, signature, self.name)?;
            SignatureState::Good
        };
        let manifest = manifest::parse(self.key, text)?;
        Ok(Backup { store: self.store.location().to_string(), signature: state, manifest })
    }

    /// Reads the tombstone; none where it is not there any more.
    fn tombstone(&self) -> Result<Option<Result<Signed, Error>>, Error> {
        let key = name::tombstone_key(self.cluster, self.kind, self.name);
        let signature_key = name::tombstone_signature_key(self.cluster, self.kind, self.name);
        match self.read(&key, &signature_key, tombstone::MAX_BYTES)? {
            None if is_there(self.store, &key)? => Ok(Some(Err(self.bad(&key, "it has no signature")))),
            read => Ok(read),
        }
    }

    /// A tombstone counts where a trusted key has signed it that is not the key of the backup itself.
    fn judge_tombstone(
        &self,
        keys: &[PublicKey],
        Signed { text, signature }: &Signed,
        Backup { manifest, .. }: &Backup,
        signed: &Signed,
    ) -> Result<Tombstone, Error> {
        let key = name::tombstone_key(self.cluster, self.kind, self.name);
        if !keys.is_empty() {
            let its_own =
                |key: &PublicKey| signature::verify(&[*key], self.key, &signed.text, &signed.signature, self.name).is_ok();
            let others: Vec<PublicKey> = keys.iter().copied().filter(|key| !its_own(key)).collect();
            if others.is_empty() {
                return Err(
                    self.bad(&key, "no key is trusted but that of the backup: add that of the host that prunes to --public-key")
                );
            }
            let stem = format!("{}{}", name::folder(self.cluster, self.kind), self.name);
            tombstone::verify(&others, &stem, text, signature)?;
        }
        let tombstone = tombstone::parse(&key, text)?;
        if tombstone.is_of(manifest) { Ok(tombstone) } else { Err(self.bad(&key, "it is that of another backup of this name")) }
    }

    /// Reads an object and its signature; none where either is not there.
    fn read(&self, key: &str, signature_key: &str, max_bytes: u64) -> Result<Option<Result<Signed, Error>>, Error> {
        let bad = |why| Ok(Some(Err(Error::BadManifest { manifest: key.into(), why })));
        let text = match self.store.read(key, max_bytes) {
            Err(dr_store::Error::Absent { .. }) => return Ok(None),
            Err(dr_store::Error::Damaged { why, .. }) => return bad(why),
            read => read.map_err(Failure::from)?,
        };
        match self.store.read(signature_key, signature::MAX_BYTES) {
            Err(dr_store::Error::Absent { .. }) => Ok(None),
            Err(dr_store::Error::Damaged { why, .. }) => bad(format!("its signature: {why}")),
            read => Ok(Some(Ok(Signed { text, signature: read.map_err(Failure::from)? }))),
        }
    }

    fn bad(&self, key: &str, why: &str) -> Error {
        Error::BadSignature { manifest: key.into(), why: why.into() }
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
fn examine_all(
    candidates: &[Candidate],
    keys: &BTreeMap<String, Vec<PublicKey>>,
) -> Result<Vec<Option<Result<Examined, Error>>>, Error> {
    let answers = workers::map(READERS, candidates, |candidate| {
        candidate.examine(keys.get(candidate.cluster).map_or(&[][..], Vec::as_slice))
    });
    answers.into_iter().collect()
}

/// The object must lie beside its manifest, with the size the manifest says. The outer error is the store's.
fn object_is_there(store: &Store, manifest: &Manifest, objects: &BTreeMap<String, u64>) -> Result<Result<(), Error>, Error> {
    let object = name::object_key(manifest);
    let bytes = match objects.get(&object) {
        Some(bytes) => Some(*bytes),
        None => store.size(&object).map_err(Failure::from)?,
    };
    Ok(match bytes {
        Some(bytes) if bytes == manifest.bytes => Ok(()),
        Some(bytes) => Err(Error::OtherSize { object, why: format!("{bytes} bytes, but its manifest says {}", manifest.bytes) }),
        None => Err(Error::NoObject { object, why: "there is a manifest, but not the object itself".into() }),
    })
}
