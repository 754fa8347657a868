//! The receipt file: who may publish what. Lines are only ever appended, each whole and durable.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::record::{self, Extent, Record, Start};
use crate::{Failure, chain, stream};

/// The file that receipts of one pipe are appended to, or nothing where none was named.
#[derive(Debug)]
pub struct Receipts {
    file: Option<(PathBuf, File)>,
    own: Option<Start>,
}

impl Receipts {
    /// Opens (or creates, 0600) the receipt file, so that a wrong path fails before any work is done.
    ///
    /// # Errors
    /// 66, 74 or 77 as the file system says.
    pub fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Receipts { file: None, own: None }) };
        let file = OpenOptions::new().append(true).read(true).create(true).mode(0o600).open(path);
        let file = file.map_err(|error| Failure::io(format!("receipt file {}", path.display()), &error))?;
        Ok(Receipts { file: Some((path.into(), file)), own: None })
    }

    /// Whether a file was named.
    pub fn is_kept(&self) -> bool {
        self.file.is_some()
    }

    /// Appends one record and makes it durable. Does nothing where no file was named.
    ///
    /// # Errors
    /// 74 if it cannot be written, or made durable. The stage has failed then, whatever is in the file: a record that lies there
    /// all the same says what is true, and is held against the others.
    pub fn append(&mut self, record: &Record) -> Result<(), Failure> {
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        let written = record::write(file, record).and_then(|()| stream::sync(file));
        written.map_err(|error| Failure::io(format!("receipt file {}", path.display()), &error))?;
        if let Record::Start(start) = record {
            self.own = Some(start.clone());
        }
        Ok(())
    }

    /// Holds what this stage has read, to the end of its input, against what the stage before it says it wrote. Does
    /// nothing where no file was named.
    ///
    /// The stage before is the one whose `start` stands before the `start` appended here, or the last one where none was.
    ///
    /// # Errors
    /// 66 naming the stage whose receipt is missing; 65 if it wrote other bytes than were read; else as [`Receipts::read`].
    pub fn upstream_must_match(&self, read: &Extent) -> Result<(), Failure> {
        if !self.is_kept() {
            return Ok(());
        }
        chain::must_match(&self.read()?, self.own.as_ref(), read)
    }

    /// All records of the file so far; empty where no file was named.
    ///
    /// # Errors
    /// 65 for a malformed line, 74 if reading fails.
    pub fn read(&self) -> Result<Vec<Record>, Failure> {
        let Some((path, _)) = &self.file else { return Ok(Vec::new()) };
        let file = File::open(path).map_err(|error| Failure::io(format!("receipt file {}", path.display()), &error))?;
        record::read(&mut io::BufReader::new(file)).map_err(|failure| failure.within(format!("receipt file {}", path.display())))
    }
}
