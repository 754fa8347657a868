//! What does a store refuse that it must refuse? Requests that only a probe makes, of objects that only a probe has made.
//!
//! A server that accepts a condition, a digest or a lock, and does not care for it, looks like any other until it is tried.

use chrono::{DateTime, Utc};

use crate::{Error, Store, key};

/// The folder of a cluster that probes work in: `CLUSTER/probe/`.
const FOLDER: &str = "probe";

/// A request that a store should refuse, or that it should let nobody make who only stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// To create an object with a digest that is not that of its bytes.
    WrongDigest,
    /// To create an object that is there already, by an upload in parts.
    CreateInParts,
    /// To write over an object: to create it without the condition that it is not there.
    Overwrite,
    /// To delete an object; where the store keeps versions, that hides it.
    Delete,
    /// To delete a version of an object for good.
    DeleteVersion(String),
}

/// What became of an [`Attempt`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The store did it.
    Done,
    /// The store refused it, and why.
    Refused(String),
    /// This credential has not the right, as the server says.
    Denied(String),
    /// The store does not know such a request.
    Unsupported(String),
}

/// What a store says to whoever only knocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Whether this credential may list what is there.
    pub may_list: bool,
    /// What time it is by the server's clock, where it has one.
    pub clock: Option<DateTime<Utc>>,
}

impl Store {
    /// Asks the store whether it is there and knows us, which needs no right but to be known.
    ///
    /// # Errors
    /// 77 where the server does not know the credential; else as the store says.
    pub fn reach(&self) -> Result<Reached, Error> {
        match self {
            // It has been opened, and so its marker has been seen.
            Store::Directory(_) => Ok(Reached { may_list: true, clock: None }),
            Store::S3(s3) => s3.reach(),
        }
    }

    /// Makes a request that should be refused, of an object below `CLUSTER/probe/` only.
    ///
    /// # Errors
    /// [`Error::Key`] for any other object; where the server gives no answer.
    pub fn attempt(&self, key: &str, attempt: &Attempt) -> Result<Answer, Error> {
        must_be_a_probe(key)?;
        key::check(key)?;
        match self {
            Store::Directory(_) => Ok(Answer::Unsupported("a directory has no such request".into())),
            Store::S3(s3) => s3.attempt(key, attempt),
        }
    }

    /// Removes what probes have left below `prefix`, every version of it; gives the keys of what stays, as it is locked or may not be
    /// deleted, or none that can be told where it may not even be listed.
    ///
    /// # Errors
    /// [`Error::Key`] unless `prefix` begins with `CLUSTER/probe/`; as the store says.
    pub fn clear_probe(&self, prefix: &str) -> Result<Vec<String>, Error> {
        must_be_a_probe(prefix)?;
        key::check_prefix(prefix)?;
        match self {
            Store::Directory(directory) => directory.clear(prefix).map(|()| Vec::new()),
            Store::S3(s3) => s3.clear_probe(prefix),
        }
    }
}

/// Passes what lies in the folder of probes.
fn must_be_a_probe(key: &str) -> Result<(), Error> {
    let mut parts = key.split('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(cluster), Some(FOLDER), Some(_)) if !cluster.is_empty() => Ok(()),
        _ => Err(Error::Key { key: key.into(), why: "it is not below CLUSTER/probe/" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_probe_has_made_is_tried() {
        for key in ["main/probe/1/a", "main/probe/"] {
            assert!(must_be_a_probe(key).is_ok(), "{key}");
        }
        for key in ["", "main", "main/probe", "/probe/a", "main/dump/probe/x", "probe/main/x"] {
            assert!(must_be_a_probe(key).is_err(), "{key}");
        }
    }
}
