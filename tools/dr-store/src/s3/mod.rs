//! A bucket of S3, or of a server that speaks like it, as a store. The push path reads nothing unless it must settle
//! whose object has our name, or was asked to confirm a lock.

mod attempts;
mod claims;
mod client;
mod list;
mod multipart;
mod parts;
mod put;
mod read;
mod refusal;
mod remove;
mod runtime;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;

use self::refusal::Request;
use crate::{Error, Listed, Location, Put, Removed, StoreArgs, UploadOptions};

pub(crate) use read::RangeReader;
pub(crate) use upload::S3Upload;

/// A bucket, or a prefix in it, that holds backups.
#[derive(Debug)]
pub struct S3(Arc<Bucket>);

/// What every request needs.
#[derive(Debug)]
struct Bucket {
    client: Client,
    location: Location,
    name: String,
    /// Empty, or ending in a slash.
    prefix: String,
    /// How long one request is tried.
    patience: Duration,
}

impl S3 {
    pub(crate) fn open(location: &Location, bucket: &str, prefix: &str, args: &StoreArgs) -> Result<Self, Error> {
        let client = runtime::block_on(client::client(location, args))?;
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(S3(Arc::new(Bucket { client, location: location.clone(), name: bucket.into(), prefix, patience: args.patience() })))
    }

    pub(crate) fn location(&self) -> &Location {
        &self.0.location
    }

    pub(crate) fn put(&self, key: &str, bytes: &[u8]) -> Result<Put, Error> {
        runtime::block_on(put::put_small(&self.0, key, bytes))
    }

    pub(crate) fn upload(&self, key: &str, options: &UploadOptions) -> Result<S3Upload, Error> {
        S3Upload::new(Arc::clone(&self.0), key, options)
    }

    pub(crate) fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        let head = runtime::block_on(read::head(&self.0, key))?;
        Ok(head.map(|head| head.bytes))
    }

    pub(crate) fn reader(&self, key: &str) -> Result<RangeReader, Error> {
        RangeReader::open(Arc::clone(&self.0), key)
    }

    pub(crate) fn remove(&self, key: &str) -> Result<Removed, Error> {
        runtime::block_on(remove::remove(&self.0, key))
    }

    pub(crate) fn clock(&self) -> Result<chrono::DateTime<chrono::Utc>, Error> {
        runtime::block_on(remove::clock(&self.0))
    }

    pub(crate) fn list(&self, prefix: &str, after: &str) -> Result<Vec<Listed>, Error> {
        runtime::block_on(list::list(&self.0, prefix, after))
    }
}

impl Bucket {
    /// The key in the bucket.
    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn request(&self, key: &str, right: &'static str) -> Request {
        let object = format!("s3://{}/{}", self.name, self.full(key));
        Request { object, bucket: self.name.clone(), right, patience: self.patience }
    }
}
