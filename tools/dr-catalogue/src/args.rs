//! The flags that say which catalogue is read and which keys are trusted, for every tool that needs one.

use std::path::{Path, PathBuf};

use dr_pipe::args::cluster_name;
use dr_pipe::{Exit, Failure};
use dr_store::{Location, StoreArgs};

use crate::{Catalogue, Error, Keyring, PublicKey, SigningKey};

/// Where a cluster's keys and settings lie unless a flag says otherwise.
const KEY_DIRECTORY: &str = "/etc/dr";

/// Which stores are read, how, and which signatures are trusted.
#[derive(Clone, Debug, clap::Args)]
pub struct CatalogueArgs {
    /// Where backups are read.
    #[command(flatten)]
    pub from: FromArgs,

    /// How S3 is reached.
    #[command(flatten)]
    pub store: StoreArgs,

    /// Which signatures are trusted.
    #[command(flatten)]
    pub public_key: PublicKeyArgs,
}

impl CatalogueArgs {
    /// Opens the catalogue that these flags name.
    ///
    /// # Errors
    /// As [`Catalogue::open`]; and if a public key that was named cannot be read.
    pub fn open(&self) -> Result<Catalogue, Error> {
        Catalogue::open(&self.from.from, &self.store, self.public_key.keyring()?)
    }
}

/// Where backups are read.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FromArgs {
    /// Read from STORE, a directory or s3://BUCKET/PREFIX; may be repeated, nearest first
    #[arg(long, value_name = "STORE", env = "DR_FROM", value_delimiter = ',')]
    pub from: Vec<Location>,
}

/// Which signatures are trusted.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PublicKeyArgs {
    /// Trust only manifests signed with this minisign public key, a file or RW…; may be repeated [default: /etc/dr/CLUSTER.pub if it is there]
    #[arg(short, long = "public-key", value_name = "KEY", env = "DR_PUBLIC_KEY", value_delimiter = ',')]
    pub public_key: Vec<String>,
}

impl PublicKeyArgs {
    /// The keys that were named, else the one that lies in `/etc/dr`.
    ///
    /// # Errors
    /// If a key that was named cannot be read.
    pub fn keyring(&self) -> Result<Keyring, Error> {
        if self.public_key.is_empty() {
            return Ok(Keyring::Directory(KEY_DIRECTORY.into()));
        }
        self.public_key.iter().map(|key| PublicKey::load(key)).collect::<Result<_, _>>().map(Keyring::Given)
    }
}

/// Which key signs.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SigningKeyArgs {
    /// Sign with the minisign secret key in FILE (or cred:NAME) [default: cred:dr.key if it is there, else /etc/dr/CLUSTER.key]
    #[arg(short, long, value_name = "FILE", env = "DR_SIGNING_KEY")]
    pub signing_key: Option<String>,
}

impl SigningKeyArgs {
    /// Reads the signing key of `cluster`.
    ///
    /// # Errors
    /// As [`SigningKey::load`].
    pub fn load(&self, cluster: &str) -> Result<SigningKey, Error> {
        SigningKey::load(&self.path(cluster)).map_err(missing)
    }

    /// Reads the signing key of `cluster`; none where none was named and there is none in the usual places.
    ///
    /// # Errors
    /// As [`SigningKey::load`].
    pub fn load_if_there(&self, cluster: &str) -> Result<Option<SigningKey>, Error> {
        let path = self.path(cluster);
        // A key behind a directory that may not be entered is not absent: what it should have signed would be refused one day.
        let absent = || matches!(Path::new(&path).try_exists(), Ok(false));
        if self.signing_key.is_none() && !path.starts_with("cred:") && absent() {
            return Ok(None);
        }
        SigningKey::load(&path).map(Some).map_err(missing)
    }

    fn path(&self, cluster: &str) -> String {
        if let Some(path) = &self.signing_key {
            return path.clone();
        }
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        if credentials.is_some_and(|directory| directory.join("dr.key").exists()) {
            return "cred:dr.key".into();
        }
        Path::new(KEY_DIRECTORY).join(format!("{cluster}.key")).to_string_lossy().into_owned()
    }
}

/// A key that is not there: how another one is named.
fn missing(error: Error) -> Error {
    match error {
        Error::Failed(failure) if failure.exit == Exit::Missing => {
            let hint = "name the file of the key: -s FILE, or DR_SIGNING_KEY; to make a pair of keys: minisign -GW -p PUB -s KEY";
            Failure { hint: hint.into(), ..failure }.into()
        }
        other => other,
    }
}

/// Which cluster is meant, for tools that cannot do without.
#[derive(Clone, Debug, clap::Args)]
pub struct ClusterArgs {
    /// The cluster the backup belongs to
    #[arg(long, value_name = "NAME", env = "DR_CLUSTER", value_parser = cluster_name)]
    pub cluster: String,
}
