//! How a server is reached now: a client, and what replaces it when its credentials have been replaced meanwhile.

use std::sync::{Arc, PoisonError, RwLock};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_s3::Client;

use super::client::{Reached, reach};
use crate::{Error, Location, StoreArgs};

/// What every request goes through.
#[derive(Debug)]
pub(super) struct Connection {
    location: Location,
    args: StoreArgs,
    /// The server's URL, where it is not that of AWS.
    pub(super) endpoint: Option<String>,
    current: RwLock<Current>,
}

#[derive(Debug)]
struct Current {
    client: Client,
    credentials: Remembered,
    /// How many came before it.
    generation: u64,
}

impl Connection {
    pub(super) async fn open(location: &Location, args: &StoreArgs) -> Result<Self, Error> {
        let Reached { client, credentials, endpoint } = reach(location, args).await?;
        let current = RwLock::new(Current { client, credentials, generation: 0 });
        Ok(Connection { location: location.clone(), args: args.clone(), endpoint, current })
    }

    pub(super) fn client(&self) -> Client {
        self.current.read().unwrap_or_else(PoisonError::into_inner).client.clone()
    }

    /// Which client it is now: to be asked before a request is sent, and told to [`Connection::renew`] if it is refused.
    pub(super) fn generation(&self) -> u64 {
        self.current.read().unwrap_or_else(PoisonError::into_inner).generation
    }

    /// Reads the credentials again, files and all, as the SDK reads a file but once. True if they are others than those that
    /// generation `refused` sent: then the request is worth a second attempt.
    pub(super) async fn renew(&self, refused: u64) -> bool {
        // Whatever is wrong with the settings now, the refusal is what there is to tell.
        let Ok(Reached { client, credentials, .. }) = reach(&self.location, &self.args).await else { return false };
        let now = credentials.provide_credentials().await.ok();
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.generation != refused {
            return true;
        }
        if now.is_none() || now.as_ref().map(parts) == current.credentials.last().as_ref().map(parts) {
            return false;
        }
        *current = Current { client, credentials, generation: refused + 1 };
        true
    }
}

/// What makes credentials the same, wherever they come from and whenever they expire.
fn parts(credentials: &Credentials) -> (&str, &str, Option<&str>) {
    (credentials.access_key_id(), credentials.secret_access_key(), credentials.session_token())
}

/// A provider of credentials that remembers what it gave last.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    provider: SharedCredentialsProvider,
    last: Arc<RwLock<Option<Credentials>>>,
}

impl Remembered {
    pub(super) fn new(provider: SharedCredentialsProvider) -> Self {
        Remembered { provider, last: Arc::default() }
    }

    fn last(&self) -> Option<Credentials> {
        self.last.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ProvideCredentials for Remembered {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let given = self.provider.provide_credentials().await?;
            *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some(given.clone());
            Ok(given)
        })
    }
}
