//! Speaking to PostgreSQL as libpq does: connections, COPY, snapshots, plans, fingerprints.

pub mod about;
pub mod binary;
pub mod clients;
pub mod conninfo;
mod error;
pub mod fingerprint;
pub mod pattern;
pub mod quote;
pub mod wire;

pub use conninfo::{Address, ConnInfo, ConnectArgs, Environment};
pub use error::{Error, ServerError};
pub use wire::Session;

pub mod large_objects;
pub mod loan;
mod oversize;
pub mod page;
pub mod reading;
pub mod relation_files;
pub mod relations;
pub mod rows;
pub mod scope;
pub mod sequences;
pub mod server;
pub mod settings;
pub mod snapshot;
pub mod unchanged;
