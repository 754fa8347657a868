//! Which public keys are trusted for which cluster?

use std::path::PathBuf;

use crate::{Error, PublicKey};

/// Trusted public keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keyring {
    /// These keys, for every cluster; with none of them, no signature is checked.
    Given(Vec<PublicKey>),
    /// The file `<cluster>.pub` of this directory, where it is there; else no signature of that cluster is checked.
    Directory(PathBuf),
}

impl Keyring {
    /// The keys that are trusted for `cluster`; none: its signatures cannot be checked.
    ///
    /// # Errors
    /// If the cluster's key is there and cannot be read.
    pub fn of(&self, cluster: &str) -> Result<Vec<PublicKey>, Error> {
        match self {
            Keyring::Given(keys) => Ok(keys.clone()),
            Keyring::Directory(directory) => {
                let path = directory.join(format!("{cluster}.pub"));
                if path.exists() { Ok(vec![PublicKey::load(&path.to_string_lossy())?]) } else { Ok(Vec::new()) }
            }
        }
    }
}
