//! A backup as a store vouches for it: its manifest and signature, byte for byte, checked before a byte is copied.

use dr_catalogue::{Error, PublicKey, manifest, name, signature};
use dr_pipe::record::{Extent, Manifest};
use dr_pipe::{Exit, Failure};
use dr_store::Store;

use crate::report::warn;
use crate::tiers::{Tier, Tiers};
use crate::wanted::Wanted;

/// What makes a backup exist.
pub struct Signed {
    /// What the manifest says.
    pub manifest: Manifest,
    /// The manifest as it is stored.
    pub text: Vec<u8>,
    /// The signature as it is stored.
    pub signature: Vec<u8>,
}

impl Signed {
    /// The object's key.
    pub fn object_key(&self) -> String {
        name::object_key(&self.manifest)
    }

    /// What the object must be.
    pub fn extent(&self) -> Extent {
        Extent { bytes: self.manifest.bytes, sha256: self.manifest.sha256 }
    }
}

/// Finds a backup in the nearest store that vouches for it; gives that store's place among those that are read.
///
/// # Errors
/// What the first store says where none does: 66 where it is not there or is being deleted, 81 for a wrong signature.
pub fn find(tiers: &Tiers, wanted: &Wanted) -> Result<(usize, Signed), Failure> {
    let trusted = tiers.trusted(&wanted.cluster)?;
    let mut first = None;
    for (place, tier) in tiers.from.iter().enumerate().filter(|(_, tier)| !tier.is_lost()) {
        match read(tiers, tier, wanted, &trusted) {
            Ok(signed) => {
                if let Some(Failure { message, .. }) = first {
                    warn(format!("{message}; going on with {}", tier.store.location()));
                }
                return Ok((place, signed));
            }
            Err(failure) => {
                tier.failed_to_read(&failure);
                first.get_or_insert(failure);
            }
        }
    }
    Err(first.unwrap_or_else(|| Error::NotFound(format!("can be read: {}", wanted.name)).into()))
}

fn read(tiers: &Tiers, tier: &Tier, wanted: &Wanted, trusted: &[PublicKey]) -> Result<Signed, Failure> {
    let Wanted { cluster, kind, name, .. } = wanted;
    let key = name::manifest_key(cluster, *kind, name);
    let text = tier.store.read(&key, manifest::MAX_BYTES)?;
    let at = format!("{}/{key}", tier.store.location());
    let signature = match tier.store.read(&name::signature_key(cluster, *kind, name), signature::MAX_BYTES) {
        Err(dr_store::Error::Absent { .. }) => {
            return Err(Error::BadSignature { manifest: at, why: "it has no signature".into() }.into());
        }
        read => read?,
    };
    if !trusted.is_empty() {
        signature::verify(trusted, &at, &text, &signature, name)?;
    }
    let manifest = manifest::parse(&key, &text)?;
    // Only a tombstone that is signed counts, and the catalogue knows by whom. Whoever names a backup that is marked may rescue it.
    if !wanted.named && has_tombstone(&tier.store, wanted)? && tiers.is_marked(tier, wanted)? {
        let message = format!("{at}: the backup is marked for deletion");
        return Err(Failure::new(Exit::Missing, message, "name it on the command line to copy it all the same"));
    }
    Ok(Signed { manifest, text, signature })
}

/// Whether something lies beside a backup that says it is being deleted.
///
/// # Errors
/// As the store says.
pub fn has_tombstone(store: &Store, wanted: &Wanted) -> Result<bool, dr_store::Error> {
    Ok(store.size(&name::tombstone_key(&wanted.cluster, wanted.kind, &wanted.name))?.is_some())
}
