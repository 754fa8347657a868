//! An upload under way: bytes go in, and an object appears at the end, whole, or never.

use crate::directory::DirectoryUpload;
use crate::s3::S3Upload;
use crate::{Error, Stored};

/// An object being written. Dropping it, and a signal that asks the process to stop, abort it.
pub struct Upload(Kind);

enum Kind {
    Directory(DirectoryUpload),
    S3(Box<S3Upload>),
}

impl Upload {
    pub(crate) fn directory(upload: DirectoryUpload) -> Self {
        Upload(Kind::Directory(upload))
    }

    pub(crate) fn s3(upload: S3Upload) -> Self {
        Upload(Kind::S3(Box::new(upload)))
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// As the store says: then the upload is lost, and only to be dropped.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match &mut self.0 {
            Kind::Directory(upload) => upload.write(bytes),
            Kind::S3(upload) => upload.write(bytes),
        }
    }

    /// Makes the bytes durable and gives them their name.
    ///
    /// # Errors
    /// [`Error::Exists`] where the name is taken by other bytes; whatever else the store says. Nothing is visible then.
    pub fn finish(self) -> Result<Stored, Error> {
        match self.0 {
            Kind::Directory(upload) => upload.finish(),
            Kind::S3(upload) => upload.finish(),
        }
    }

    /// Gives up and removes what was written so far.
    pub fn abort(self) {}
}
