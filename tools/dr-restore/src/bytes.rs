//! The bytes of a backup as many threads can read them at once: from a file or a store, decrypted on the way.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use dr_archive::{ReadAt, Seekable};
use dr_crypt::{Identities, IdentityArgs, Unlocked};
use dr_pipe::Failure;
use dr_store::ObjectReader;

/// A backup as it is stored. Clones read on their own.
#[derive(Clone)]
pub enum Stored {
    /// A local file, perhaps one that has no name any more.
    File(FileReader),
    /// An object in a store.
    Object(Box<ObjectReader>),
}

/// A file that clones read each at their own place.
#[derive(Clone)]
pub struct FileReader {
    file: Arc<File>,
    position: u64,
}

impl Stored {
    /// A file, from its start.
    pub fn file(file: File) -> Self {
        Stored::File(FileReader { file: Arc::new(file), position: 0 })
    }

    /// Its size in bytes.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn size(&self) -> io::Result<u64> {
        match self {
            Stored::File(reader) => Ok(reader.file.metadata()?.len()),
            Stored::Object(reader) => Ok(reader.size()),
        }
    }
}

impl Read for Stored {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stored::File(reader) => reader.read(buf),
            Stored::Object(reader) => reader.read(buf),
        }
    }
}

impl Seek for Stored {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Stored::File(reader) => reader.seek(to),
            Stored::Object(reader) => reader.seek(to),
        }
    }
}

impl Read for FileReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buf, self.position)?;
        self.position += n as u64;
        Ok(n)
    }
}

impl Seek for FileReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
            SeekFrom::End(distance) => self.file.metadata()?.len().checked_add_signed(distance),
        };
        self.position = target.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a seek to before the start"))?;
        Ok(self.position)
    }
}

/// A backup with what opens it.
pub struct Bytes {
    /// How messages call it.
    pub name: String,
    stored: Stored,
    unlocked: Option<Unlocked>,
    size: u64,
}

/// The plain bytes, for one thread.
pub type Plain = Seekable<dr_crypt::Plain<Stored>>;

impl Bytes {
    /// Looks whether it is encrypted, and opens it if so. The identities are read only then. `recipients` are those of its manifest.
    ///
    /// # Errors
    /// 66 for an empty one, 77 where no identity opens it, 65 where it is damaged.
    pub fn open(
        name: impl Into<String>,
        mut stored: Stored,
        identities: &IdentityArgs,
        recipients: &[String],
    ) -> Result<Self, Failure> {
        let name = name.into();
        let size = stored.size().map_err(|error| failure(&name, error))?;
        if size == 0 {
            return Err(Failure::new(
                dr_pipe::Exit::Missing,
                format!("{name} is empty"),
                "the program before this one wrote nothing, or failed: its own message says why",
            ));
        }
        if !dr_crypt::is_age(&mut stored).map_err(|error| failure(&name, error))? {
            return Ok(Bytes { name, stored, unlocked: None, size });
        }
        let within = |error: dr_crypt::Error| Failure::from(error.to(recipients)).within(&name);
        let identities = Identities::read(identities, "dr-restore").map_err(within)?;
        let unlocked = Unlocked::open(&mut stored, &identities).map_err(within)?;
        let size = unlocked.plain_len();
        Ok(Bytes { name, stored, unlocked: Some(unlocked), size })
    }

    /// Number of plain bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The plain bytes, for one thread.
    ///
    /// # Errors
    /// As opening did before.
    pub fn plain(&self) -> Result<Plain, Failure> {
        Ok(Seekable::new(dr_crypt::Plain::new(self.stored.clone(), self.unlocked.as_ref())?))
    }

    /// Whether the bytes on disk are the plain ones.
    pub fn is_plain(&self) -> bool {
        self.unlocked.is_none()
    }
}

/// Why reading `object` failed: what the store or the decryption found, or the system.
pub fn failure(object: &str, error: io::Error) -> Failure {
    if error.get_ref().is_some_and(|inner| inner.is::<dr_store::Error>()) {
        return dr_store::Error::from_read(object, error).into();
    }
    if error.get_ref().is_some_and(|inner| inner.is::<dr_archive::Error>()) {
        return archive_failure(dr_archive::Error::io(object, error)).within(object);
    }
    dr_crypt::Error::reading(object, error).into()
}

/// Why an archive cannot be read, with the words of the layer that found it.
pub fn archive_failure(error: dr_archive::Error) -> Failure {
    match error {
        dr_archive::Error::Io { what, source } => match Arc::try_unwrap(source) {
            Ok(error) if error.get_ref().is_some_and(|inner| inner.is::<dr_store::Error>() || inner.is::<dr_crypt::Error>()) => {
                failure(&what, error)
            }
            Ok(error) => dr_archive::Error::io(what, error).into(),
            Err(source) => dr_archive::Error::Io { what, source }.into(),
        },
        other => other.into(),
    }
}

/// Reads the plain bytes from first to last.
pub struct Sequential<S> {
    source: S,
    position: u64,
}

impl<S: ReadAt> Sequential<S> {
    /// From the first byte on.
    pub fn new(source: S) -> Self {
        Sequential { source, position: 0 }
    }
}

impl<S: ReadAt> Read for Sequential<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read_at(self.position, buf)?;
        self.position += n as u64;
        Ok(n)
    }
}
