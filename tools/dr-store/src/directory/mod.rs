//! A directory as a store: files of mode 0600 in directories of mode 0700, below a root that a marker file identifies.

mod folders;
mod listing;
mod marker;
mod probe;
mod publish;
mod read;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use rustix::fs::{self, AtFlags};

pub(crate) use publish::DirectoryUpload;
pub(crate) use read::FileReader;

use crate::{Error, Listed, Location, Put, Removed};

/// A directory that holds backups.
#[derive(Debug)]
pub struct Directory {
    location: Location,
    root: PathBuf,
    warnings: Vec<String>,
    durable: publish::Durable,
}

impl Directory {
    pub(crate) fn init(location: &Location, path: &Path) -> Result<Self, Error> {
        let (root, warnings) = marker::init(path)?;
        Ok(Directory { location: location.clone(), root, warnings, durable: Default::default() })
    }

    pub(crate) fn open_for_write(location: &Location, path: &Path) -> Result<Self, Error> {
        let (root, warnings) = marker::open_for_write(path)?;
        Ok(Directory { location: location.clone(), root, warnings, durable: Default::default() })
    }

    pub(crate) fn open_for_read(location: &Location, path: &Path) -> Result<Self, Error> {
        marker::require(path)?;
        Ok(Directory { location: location.clone(), root: path.into(), warnings: Vec::new(), durable: Default::default() })
    }

    pub(crate) fn location(&self) -> &Location {
        &self.location
    }

    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Device and inode of the root.
    pub(crate) fn inode(&self) -> Result<(u64, u64), Error> {
        let root = std::fs::metadata(&self.root).map_err(|error| Error::io(self.location(), error))?;
        Ok((root.dev(), root.ino()))
    }

    pub(crate) fn put(&self, key: &str, bytes: &[u8]) -> Result<Put, Error> {
        let mut upload = self.upload(key)?;
        upload.write(bytes)?;
        upload.publish()
    }

    pub(crate) fn put_ahead(&self, key: &str, bytes: &[u8]) -> Result<Put, Error> {
        let mut upload = self.upload(key)?;
        upload.write(bytes)?;
        upload.publish_ahead()
    }

    pub(crate) fn upload(&self, key: &str) -> Result<DirectoryUpload, Error> {
        DirectoryUpload::start(&self.root, key, self.object(key), &self.durable)
    }

    pub(crate) fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        match std::fs::symlink_metadata(self.root.join(key)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.still_mounted().map(|()| None),
            Err(error) => Err(Error::io(self.object(key), error)),
        }
    }

    pub(crate) fn changed_at(&self, key: &str) -> Result<Option<DateTime<Utc>>, Error> {
        match std::fs::symlink_metadata(self.root.join(key)) {
            Ok(metadata) => Ok(DateTime::from_timestamp(metadata.ctime(), metadata.ctime_nsec().try_into().unwrap_or_default())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.still_mounted().map(|()| None),
            Err(error) => Err(Error::io(self.object(key), error)),
        }
    }

    pub(crate) fn reader(&self, key: &str) -> Result<FileReader, Error> {
        match FileReader::open(&self.root.join(key), self.object(key)) {
            Err(Error::Absent { object }) => self.still_mounted().and(Err(Error::Absent { object })),
            opened => opened,
        }
    }

    pub(crate) fn remove(&self, key: &str) -> Result<Removed, Error> {
        let (folder, name) = key.rsplit_once('/').unwrap_or(("", key));
        let removed = folders::existing(&self.root, folder).and_then(|folder| {
            fs::unlinkat(&folder, name, AtFlags::empty())?;
            Ok(folder)
        });
        match removed {
            Ok(folder) => fs::fsync(folder).map(|()| Removed::Gone).map_err(|error| Error::io(self.object(key), error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.still_mounted().map(|()| Removed::Absent),
            Err(error) => Err(Error::io(self.object(key), error)),
        }
    }

    pub(crate) fn list(&self, prefix: &str, after: &str) -> Result<Vec<Listed>, Error> {
        let mut listed = listing::list(&self.root, prefix)?;
        listed.retain(|object| object.key.as_str() > after);
        // An unmounted store lists as empty, too.
        self.still_mounted()?;
        Ok(listed)
    }

    /// Fails where the marker has gone since: then what is not found is not proven absent.
    fn still_mounted(&self) -> Result<(), Error> {
        marker::require(&self.root)
    }

    fn object(&self, key: &str) -> String {
        format!("{}/{key}", self.location)
    }
}
