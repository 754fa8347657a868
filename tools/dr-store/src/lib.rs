//! Where do backups live? In a directory or in S3, behind one small, synchronous interface.
//!
//! Every write is create-only: an object is written whole, made durable, and appears under its name at once or never; a
//! name that is taken is never overwritten. The push path needs no right but to create. Nothing is removed but by
//! [`Store::remove`], which dr-delete alone may call.

mod args;
mod directory;
mod error;
mod key;
mod location;
mod options;
mod probe;
mod reader;
mod s3;
mod store;
mod upload;
mod upload_args;
mod warn;

pub use args::{PathStyle, StoreArgs};
pub use error::Error;
pub use key::MARKER;
pub use location::{Location, required};
pub use options::{Confirmed, Hidden, HiddenKind, LockMode, Put, Removed, Stored, Thaw, Unfinished, UploadOptions};
pub use probe::{Answer, Attempt, Reached};
pub use reader::ObjectReader;
pub use store::{Listed, Store};
pub use upload::Upload;
pub use upload_args::{LockUntil, UploadArgs};
