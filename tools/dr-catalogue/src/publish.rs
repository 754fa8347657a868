//! How does a backup come to exist? Its manifest is written last, in every store that holds its bytes.

use dr_pipe::record::Manifest;
use dr_pipe::{Exit, Failure};
use dr_store::{Location, Put, Store, StoreArgs};

use crate::{Chain, Error, RECOVERY, SigningKey, manifest, name, signature};

/// Where a backup now exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The stores, as they were named to dr-push.
    pub stores: Vec<String>,
    /// What the user should know, although enough stores hold the backup.
    pub warnings: Vec<String>,
}

/// Signs and publishes the manifest of `chain` in every store that holds its bytes.
///
/// Signatures go first, to all stores; manifests, which make the backup visible, only once enough stores have taken the
/// signature. What is there already with the same content counts as written, so that a second run completes the first.
///
/// # Errors
/// The first failing store's error if fewer stores than the chain requires take part; its hint says what was left behind.
pub fn publish(chain: &Chain, manifest: &Manifest, key: &SigningKey, args: &StoreArgs) -> Result<Published, Failure> {
    let required = chain.pushed().required.max(1) as usize;
    let bytes = manifest::to_bytes(manifest);
    let signature = signature::sign(key, &bytes, &manifest.name);
    let mut warnings = Vec::new();
    let mut failures = Vec::new();

    let mut prepared = Vec::new();
    for at in &manifest.stores {
        match prepare(&at.store, manifest, &signature, args) {
            Ok((store, told)) => {
                prepared.push(store);
                warnings.extend(told);
            }
            Err(failure) => failures.push(failure),
        }
    }
    if prepared.len() < required {
        return Err(first(failures).leaving("nothing was published; run dr-seal again with the same receipts"));
    }

    let mut stores = Vec::new();
    let manifest_key = name::manifest_key(&manifest.cluster, manifest.kind, &manifest.name);
    for store in prepared {
        match store.put(&manifest_key, &bytes) {
            Ok(Put::Created | Put::Identical) => stores.push(store.location().to_string()),
            Err(error) => failures.push(second_run_hint(error)),
        }
    }
    if stores.len() < required {
        let state =
            if stores.is_empty() { "nothing was published".into() } else { format!("published in {} only", stores.join(", ")) };
        return Err(first(failures).leaving(format!("{state}; run dr-seal again with the same receipts")));
    }
    warnings.extend(failures.into_iter().map(|failure| format!("not published there: {}", failure.message)));
    Ok(Published { stores, warnings })
}

/// Opens a store and writes all but the manifest; gives the store and what the user should know.
fn prepare(store: &str, manifest: &Manifest, signature: &[u8], args: &StoreArgs) -> Result<(Store, Vec<String>), Failure> {
    let location: Location = store.parse().map_err(|why: String| Failure::from(Error::Malformed(why)))?;
    if !location.is_s3() {
        // As a reader first: where dr-push has stored something, there is a store, and none is to be made.
        object_is_there(&Store::open_for_read(&location, args)?, manifest)?;
    }
    let store = Store::open_for_write(&location, args)?;
    let mut warnings = store.warnings().to_vec();
    match store.put(&name::recovery_key(&manifest.cluster), RECOVERY.as_bytes()) {
        // An older text serves as well: it was written with the first backup of the cluster.
        Ok(_) | Err(dr_store::Error::Exists { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let key = name::signature_key(&manifest.cluster, manifest.kind, &manifest.name);
    match store.put(&key, signature) {
        Ok(_) => {}
        // A credential that may only create cannot tell; the name has been ours alone since dr-push created the object.
        Err(error @ dr_store::Error::Exists { comparable: false, .. }) => {
            warnings.push(format!("{error}; check with dr-list -p elsewhere"))
        }
        Err(error) => return Err(error.into()),
    }
    Ok((store, warnings))
}

/// The bytes that dr-push has stored must still be there. (S3 is not asked: the push credential need not read.)
fn object_is_there(store: &Store, manifest: &Manifest) -> Result<(), Failure> {
    let key = name::object_key(manifest);
    let why = match store.size(&key)? {
        Some(bytes) if bytes == manifest.bytes => return Ok(()),
        Some(bytes) => format!("{bytes} bytes, but {} were pushed", manifest.bytes),
        None => "it was pushed, and is not there any more".into(),
    };
    Err(Failure::from(Error::NoObject { object: format!("{}/{key}", store.location()), why }))
}

/// A manifest that is there already and may not be read is most likely our own, of an earlier run; but that cannot be
/// known here, so it must not count as published.
fn second_run_hint(error: dr_store::Error) -> Failure {
    let second = matches!(error, dr_store::Error::Exists { comparable: false, .. });
    let failure = Failure::from(error);
    if second {
        failure.leaving("if dr-seal has run before with these receipts, all is well: dr-list -p elsewhere shows it")
    } else {
        failure
    }
}

fn first(failures: Vec<Failure>) -> Failure {
    let none = || Failure::new(Exit::Bug, "a store failed without a reason", "please report this line");
    failures.into_iter().next().unwrap_or_else(none)
}
