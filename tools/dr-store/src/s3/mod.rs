//! A bucket of S3, or of a server that speaks like it, as a store. The push path reads nothing unless it must settle
//! whose object has our name, or was asked to confirm a lock.

mod attempts;
mod claims;
mod client;
mod clock;
mod connection;
mod list;
mod multipart;
mod parts;
mod probe;
mod put;
mod read;
mod refusal;
mod remove;
mod runtime;
mod thaw;
mod unfinished;
mod upload;
mod versions;

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use chrono::{DateTime, Utc};

use self::connection::Connection;
use self::refusal::Request;
use crate::{
    Answer, Attempt, Confirmed, Error, Hidden, Listed, Location, Put, Reached, Removed, StoreArgs, Stored, Thaw, Unfinished,
    UploadOptions,
};

pub(crate) use read::RangeReader;
pub(crate) use upload::S3Upload;

/// A bucket, or a prefix in it, that holds backups.
#[derive(Debug)]
pub struct S3(Arc<Bucket>);

/// What every request needs.
#[derive(Debug)]
struct Bucket {
    connection: Arc<Connection>,
    location: Location,
    name: String,
    /// Empty, or ending in a slash.
    prefix: String,
    /// How long one request is tried.
    patience: Duration,
    /// The moment that is read as if it were now.
    as_of: Option<DateTime<Utc>>,
    /// For how many days what lies in cold storage may be asked for.
    thaw: Option<u16>,
}

impl S3 {
    pub(crate) fn open(location: &Location, bucket: &str, prefix: &str, args: &StoreArgs) -> Result<Self, Error> {
        let connection = Arc::new(runtime::block_on(Connection::open(location, args))?);
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let (location, name, patience) = (location.clone(), bucket.into(), args.patience());
        Ok(S3(Arc::new(Bucket { connection, location, name, prefix, patience, as_of: args.as_of, thaw: args.thaw })))
    }

    /// Whether it is the same bucket and prefix of the same server.
    pub(crate) fn is(&self, other: &S3) -> bool {
        let place = |bucket: &Bucket| {
            let endpoint = bucket.connection.endpoint.as_deref().map(|url| url.trim_end_matches('/').to_ascii_lowercase());
            (endpoint, bucket.name.clone(), bucket.prefix.clone())
        };
        place(&self.0) == place(&other.0)
    }

    pub(crate) fn location(&self) -> &Location {
        &self.0.location
    }

    pub(crate) fn put(&self, key: &str, bytes: &[u8]) -> Result<Put, Error> {
        self.0.must_be_the_present()?;
        runtime::block_on(put::put_small(&self.0, key, bytes))
    }

    pub(crate) fn upload(&self, key: &str, options: &UploadOptions) -> Result<S3Upload, Error> {
        self.0.must_be_the_present()?;
        S3Upload::new(Arc::clone(&self.0), key, options)
    }

    pub(crate) fn confirm(&self, key: &str, options: &UploadOptions) -> Result<Stored, Error> {
        let taken = put::Taken { put: Put::Identical, confirmed: Confirmed::Unconfirmed, version_id: None };
        runtime::block_on(claims::read_back(&self.0, key, options, taken))
    }

    pub(crate) fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        let found = runtime::block_on(read::find(&self.0, key))?;
        Ok(found.map(|found| found.head.bytes))
    }

    pub(crate) fn reader(&self, key: &str) -> Result<RangeReader, Error> {
        RangeReader::open(Arc::clone(&self.0), key)
    }

    pub(crate) fn remove(&self, key: &str) -> Result<Removed, Error> {
        self.0.must_be_the_present()?;
        runtime::block_on(remove::remove(&self.0, key))
    }

    pub(crate) fn clock(&self) -> Result<DateTime<Utc>, Error> {
        runtime::block_on(clock::clock(&self.0))
    }

    pub(crate) fn reach(&self) -> Result<Reached, Error> {
        runtime::block_on(probe::reach(&self.0))
    }

    pub(crate) fn attempt(&self, key: &str, attempt: &Attempt) -> Result<Answer, Error> {
        self.0.must_be_the_present()?;
        runtime::block_on(probe::attempt(&self.0, key, attempt))
    }

    pub(crate) fn clear_probe(&self, prefix: &str) -> Result<Vec<String>, Error> {
        self.0.must_be_the_present()?;
        runtime::block_on(probe::clear(&self.0, prefix))
    }

    pub(crate) fn hidden(&self, prefix: &str) -> Result<Vec<Hidden>, Error> {
        runtime::block_on(versions::hidden(&self.0, prefix))
    }

    pub(crate) fn unfinished(&self, prefix: &str) -> Result<Vec<Unfinished>, Error> {
        runtime::block_on(unfinished::list(&self.0, prefix))
    }

    pub(crate) fn abort(&self, upload: &Unfinished) -> Result<bool, Error> {
        self.0.must_be_the_present()?;
        runtime::block_on(unfinished::abort(&self.0, &upload.key, &upload.upload_id))
    }

    pub(crate) fn thaw(&self, key: &str, days: u16) -> Result<Thaw, Error> {
        runtime::block_on(async {
            let absent = || Error::Absent { object: self.0.request(key, "").object };
            let found = read::find(&self.0, key).await?.ok_or_else(absent)?;
            thaw::ask(&self.0, key, &found, days).await
        })
    }

    pub(crate) fn list(&self, prefix: &str, after: &str) -> Result<Vec<Listed>, Error> {
        runtime::block_on(list::list(&self.0, prefix, after))
    }
}

impl Bucket {
    /// Refuses to change what is read as it was.
    fn must_be_the_present(&self) -> Result<(), Error> {
        if self.as_of.is_some() { Err(Error::past(&self.location)) } else { Ok(()) }
    }

    fn client(&self) -> Client {
        self.connection.client()
    }

    /// The key in the bucket.
    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn request(&self, key: &str, right: &'static str) -> Request {
        let object = format!("s3://{}/{}", self.name, self.full(key));
        let (bucket, connection) = (self.name.clone(), Arc::clone(&self.connection));
        Request { object, bucket, right, patience: self.patience, connection }
    }
}
