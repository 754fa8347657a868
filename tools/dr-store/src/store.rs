//! One store, whichever kind it is.

use chrono::{DateTime, Utc};
use dr_pipe::{Exit, Failure};

use crate::directory::Directory;
use crate::location::Place;
use crate::s3::S3;
use crate::{Error, Hidden, Location, ObjectReader, Put, Removed, StoreArgs, Stored, Thaw, Unfinished, Upload, UploadOptions, key};

/// An open store. Share it between threads behind a reference; all methods block.
#[derive(Debug)]
pub enum Store {
    /// A directory of this host.
    Directory(Directory),
    /// A bucket of S3, or of a server that speaks like it.
    S3(S3),
}

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key below the store.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// When the store says it was last written; absent where it does not say.
    pub modified_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Makes a store ready: creates the directory and its marker where they are missing, and accepts what is there as the
    /// store of that name from now on. Does nothing for S3.
    ///
    /// # Errors
    /// 64 where the store is to be as it was; 74, 77 or 78 as the file system says.
    pub fn init(location: &Location, args: &StoreArgs) -> Result<Store, Error> {
        must_be_the_present(location, args)?;
        match location.place() {
            Place::Directory(path) => Ok(Store::Directory(Directory::init(location, path)?)),
            Place::S3 { .. } => Store::open_for_write(location, args),
        }
    }

    /// Opens a store to create objects in it. A directory that this host has never seen is made a store (and
    /// [`Store::warnings`] says so); S3 is not asked anything yet.
    ///
    /// # Errors
    /// 64 where the store is to be as it was: what was cannot be written to. 78 if a directory was a store and is none now, or the
    /// settings for S3 are wrong.
    pub fn open_for_write(location: &Location, args: &StoreArgs) -> Result<Store, Error> {
        must_be_the_present(location, args)?;
        match location.place() {
            Place::Directory(path) => Ok(Store::Directory(Directory::open_for_write(location, path)?)),
            Place::S3 { bucket, prefix } => Ok(Store::S3(S3::open(location, bucket, prefix, args)?)),
        }
    }

    /// Opens a store to read from it; S3 as it was at a moment, if `args` name one.
    ///
    /// # Errors
    /// 64 where a directory is to be as it was; 78 if a directory is no store, or the settings for S3 are wrong.
    pub fn open_for_read(location: &Location, args: &StoreArgs) -> Result<Store, Error> {
        match location.place() {
            Place::Directory(_) if args.as_of.is_some() => Err(Error::Usage {
                store: location.to_string(),
                why: "a directory keeps no versions".into(),
                hint: "leave out --as-of (DR_AS_OF), or name a bucket with versions",
            }),
            Place::Directory(path) => Ok(Store::Directory(Directory::open_for_read(location, path)?)),
            Place::S3 { bucket, prefix } => Ok(Store::S3(S3::open(location, bucket, prefix, args)?)),
        }
    }

    /// The store as it was named.
    pub fn location(&self) -> &Location {
        match self {
            Store::Directory(directory) => directory.location(),
            Store::S3(s3) => s3.location(),
        }
    }

    /// Refuses a store that is one of the `others` under a second name: what lies in both lies in one. Directories are compared
    /// by device and inode, as a symbolic link or a bind mount may lead to either; buckets by their servers, too.
    ///
    /// # Errors
    /// 64 where it is; where a directory cannot be looked at, as the file system says.
    pub fn is_none_of<'a>(&self, others: impl IntoIterator<Item = &'a Store>) -> Result<(), Failure> {
        for other in others {
            let same = match (self, other) {
                (Store::Directory(left), Store::Directory(right)) => left.inode()? == right.inode()?,
                (Store::S3(left), Store::S3(right)) => left.is(right),
                _ => false,
            };
            if same {
                let message = format!("--to {} is the same store as --to {}", self.location(), other.location());
                return Err(Failure::new(Exit::Usage, message, "name every store once"));
            }
        }
        Ok(())
    }

    /// What the user should be told about how the store was opened; usually nothing.
    pub fn warnings(&self) -> &[String] {
        match self {
            Store::Directory(directory) => directory.warnings(),
            Store::S3(_) => &[],
        }
    }

    /// Creates a small object, whole; tells whether it was there before with the same bytes.
    ///
    /// # Errors
    /// [`Error::Exists`] where other bytes, or bytes that may not be read, have that name already.
    pub fn put(&self, key: &str, bytes: &[u8]) -> Result<Put, Error> {
        key::check(key)?;
        match self {
            Store::Directory(directory) => directory.put(key, bytes),
            Store::S3(s3) => s3.put(key, bytes),
        }
    }

    /// As [`Store::put`], for an object that only means something together with one that is put into the same folder afterwards: a
    /// directory makes both names durable at once then, and after a power cut never has the second without the first.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn put_ahead(&self, key: &str, bytes: &[u8]) -> Result<Put, Error> {
        key::check(key)?;
        match self {
            Store::Directory(directory) => directory.put_ahead(key, bytes),
            Store::S3(s3) => s3.put(key, bytes),
        }
    }

    /// Starts to create an object of any size. It appears when the upload is finished, whole, or never.
    ///
    /// # Errors
    /// As the store says; S3 may only find out while bytes are written.
    pub fn upload(&self, key: &str, options: &UploadOptions) -> Result<Upload, Error> {
        key::check(key)?;
        match self {
            Store::Directory(directory) => Ok(Upload::directory(directory.upload(key)?)),
            Store::S3(s3) => Ok(Upload::s3(s3.upload(key, options)?)),
        }
    }

    /// What the store says of an object that is there: as after its upload with these `options`.
    ///
    /// # Errors
    /// [`Error::Protocol`] where it has another lock or storage class than asked for.
    pub fn confirm(&self, key: &str, options: &UploadOptions) -> Result<Stored, Error> {
        key::check(key)?;
        match self {
            Store::Directory(_) => Ok(Stored::synced()),
            Store::S3(s3) => s3.confirm(key, options),
        }
    }

    /// The object's size in bytes; none if it is proven absent.
    ///
    /// # Errors
    /// Wherever that cannot be told: a denied request is never an absent object.
    pub fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        key::check(key)?;
        match self {
            Store::Directory(directory) => directory.size(key),
            Store::S3(s3) => s3.size(key),
        }
    }

    /// All bytes of a small object.
    ///
    /// # Errors
    /// [`Error::Absent`], or [`Error::Damaged`] where it is larger than `max_bytes`.
    pub fn read(&self, key: &str, max_bytes: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.read_into(key, max_bytes, &mut bytes).map(|()| bytes)
    }

    /// As [`Store::read`], behind what is in a buffer that was used before.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn read_into(&self, key: &str, max_bytes: u64, bytes: &mut Vec<u8>) -> Result<(), Error> {
        use std::io::Read;
        let reader = self.reader(key)?;
        let object = format!("{}/{key}", self.location());
        if reader.size() > max_bytes {
            let why = format!("{} bytes, where at most {max_bytes} make sense", reader.size());
            return Err(Error::Damaged { object, why });
        }
        // With room for one more byte it is seen at once that there is none.
        bytes.reserve(usize::try_from(reader.size()).unwrap_or_default() + 1);
        let mut limited = reader.take(max_bytes);
        limited.read_to_end(bytes).map(drop).map_err(|error| Error::from_read(object, error))
    }

    /// The object as a seekable reader.
    ///
    /// # Errors
    /// [`Error::Absent`] where there is no such object.
    pub fn reader(&self, key: &str) -> Result<ObjectReader, Error> {
        key::check(key)?;
        match self {
            Store::Directory(directory) => Ok(ObjectReader::directory(directory.reader(key)?)),
            Store::S3(s3) => Ok(ObjectReader::s3(s3.reader(key)?)),
        }
    }

    /// Every object whose key starts with `prefix` (empty: all), in byte order of keys: all of them, or an error.
    ///
    /// # Errors
    /// Where any part of the listing fails.
    pub fn list(&self, prefix: &str) -> Result<Vec<Listed>, Error> {
        self.list_after(prefix, "")
    }

    /// As [`Store::list`], of the keys alone that come after `after` in byte order.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn list_after(&self, prefix: &str, after: &str) -> Result<Vec<Listed>, Error> {
        key::check_prefix(prefix)?;
        match self {
            Store::Directory(directory) => directory.list(prefix, after),
            Store::S3(s3) => s3.list(prefix, after),
        }
    }

    /// Removes an object, durably. One that the store keeps locked is left as it is; no marker is laid over it.
    ///
    /// # Errors
    /// As the store says; then the object may still be there.
    pub fn remove(&self, key: &str) -> Result<Removed, Error> {
        key::check(key)?;
        match self {
            Store::Directory(directory) => directory.remove(key),
            Store::S3(s3) => s3.remove(key),
        }
    }

    /// Removes a file of a directory that never got its name, which [`Store::remove`] takes for no object; durable as there.
    ///
    /// # Errors
    /// [`Error::Key`] for any other; as the store says.
    pub fn remove_temporary(&self, key: &str) -> Result<Removed, Error> {
        let (folder, name) = key.rsplit_once('/').unwrap_or(("", key));
        let named = name.strip_prefix(key::TEMPORARY).ok_or(Error::Key { key: key.into(), why: "it names no temporary file" })?;
        key::check(&format!("{folder}/{named}"))?;
        match self {
            Store::Directory(directory) => directory.remove(key),
            Store::S3(_) => Ok(Removed::Absent),
        }
    }

    /// What time it is by the store's own clock; none for a directory, which has no clock but this host's.
    ///
    /// # Errors
    /// Where the server does not answer, or does not say.
    pub fn clock(&self) -> Result<Option<DateTime<Utc>>, Error> {
        match self {
            Store::Directory(_) => Ok(None),
            Store::S3(s3) => s3.clock().map(Some),
        }
    }

    /// What lies below `prefix` besides the objects that [`Store::list`] shows, by key: delete markers, and versions that a newer one
    /// or a marker hides. Nothing for a directory, and for a server that has no versions and says so (501).
    ///
    /// # Errors
    /// Where any part of the listing fails.
    pub fn hidden(&self, prefix: &str) -> Result<Vec<Hidden>, Error> {
        key::check_prefix(prefix)?;
        match self {
            Store::Directory(_) => Ok(Vec::new()),
            Store::S3(s3) => s3.hidden(prefix),
        }
    }

    /// Since when an object lies there as it does, by what nobody but the superuser can put back: the time of its last change, be it
    /// of its name alone. None for S3, whose listings tell no other time, and where it is not there.
    ///
    /// # Errors
    /// As the file system says.
    pub fn changed_at(&self, key: &str) -> Result<Option<DateTime<Utc>>, Error> {
        key::check(key)?;
        match self {
            Store::Directory(directory) => directory.changed_at(key),
            Store::S3(_) => Ok(None),
        }
    }

    /// Uploads in parts of keys that start with `prefix` which were begun, and neither completed nor aborted. None for a directory, and
    /// for a server that does not know the question and says so (501).
    ///
    /// # Errors
    /// Where any part of the listing fails.
    pub fn unfinished(&self, prefix: &str) -> Result<Vec<Unfinished>, Error> {
        key::check_prefix(prefix)?;
        match self {
            Store::Directory(_) => Ok(Vec::new()),
            Store::S3(s3) => s3.unfinished(prefix),
        }
    }

    /// Aborts such an upload, which frees what its parts take; tells whether it was there still.
    ///
    /// # Errors
    /// As the store says; then it may still be there.
    pub fn abort(&self, upload: &Unfinished) -> Result<bool, Error> {
        key::check(&upload.key)?;
        match self {
            Store::Directory(_) => Ok(false),
            Store::S3(s3) => s3.abort(upload),
        }
    }

    /// Asks for an object in cold storage to be readable for `days`, and does not wait; whatever is readable already stays as it
    /// is. For many objects at once: a reader that is opened with `--thaw` asks for its own, and waits.
    ///
    /// # Errors
    /// [`Error::Absent`]; as the store says.
    pub fn thaw(&self, key: &str, days: u16) -> Result<Thaw, Error> {
        key::check(key)?;
        match self {
            Store::Directory(directory) => directory.reader(key).map(|_| Thaw::Ready),
            Store::S3(s3) => s3.thaw(key, days),
        }
    }
}

/// Refuses to open a store for writing as it was at some moment.
fn must_be_the_present(location: &Location, args: &StoreArgs) -> Result<(), Error> {
    match args.as_of {
        None => Ok(()),
        Some(_) => Err(Error::past(location)),
    }
}
