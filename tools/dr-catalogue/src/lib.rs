//! The catalogue: signed manifests, how they are written, found and trusted.
//!
//! A backup exists if, and only if, its manifest and the manifest's signature lie in a store. [`chain`] decides whether a
//! pipe's receipts deserve a manifest, [`publish()`] writes it, [`Catalogue`] reads all there are.

mod args;
mod catalogue;
pub mod chain;
pub mod drills;
mod error;
mod key;
mod keyring;
mod listing;
pub mod manifest;
pub mod name;
mod publish;
pub mod seen;
mod select;
pub mod signature;
mod store;
pub mod tombstone;

pub use args::{CatalogueArgs, ClusterArgs, FromArgs, PublicKeyArgs, SigningKeyArgs};
pub use catalogue::{Catalogue, Found};
pub use chain::Chain;
pub use error::{Error, OTHER_KEY};
pub use key::{PublicKey, SigningKey};
pub use keyring::Keyring;
pub use listing::{Entry, Listing, Marked};
pub use publish::{Published, publish};
pub use select::{Scope, Selector, order};
pub use store::Flaw;
pub use tombstone::{RangeTombstone, Tombstone};

/// How to restore without any dr tool; lies beside the backups of every cluster.
pub const RECOVERY: &str = include_str!("../RECOVERY.txt");
