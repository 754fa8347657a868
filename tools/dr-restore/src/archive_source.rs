//! A dump of ours, open for many readers at once: signature, end frame, table of contents, frames, each proved by the one before.

use std::fs::OpenOptions;
use std::io::{self, BufRead};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use dr_archive::{Contents, Reader};
use dr_pipe::record::{ArchiveRoot, Fingerprint, Record};
use dr_pipe::{Exit, Failure, output};
use dr_postgres::about::About;

use crate::bytes::{self, Bytes, Plain};
use crate::properties;

/// Largest `about.json`: a hundred thousand tables of a hundred columns.
const MAX_ABOUT_BYTES: u64 = 1 << 30;
/// Largest script that is read at once: globals, sequences, a thousand large objects.
const MAX_SCRIPT_BYTES: u64 = 256 << 20;
/// The layout that this program knows.
const FORMAT: u32 = 1;

/// A dump of ours.
pub struct Archive {
    bytes: Bytes,
    contents: Arc<Contents>,
    /// What it is of.
    pub about: About,
    /// Whether its signature was checked, and is good.
    pub signed: bool,
    /// Its name in the catalogue.
    pub backup: Option<String>,
}

/// A reader of its members, for one thread.
pub type ArchiveReader = Reader<Plain>;

impl Archive {
    /// Opens an archive; with `root`, as the signed manifest has it, all that is read of it is proved.
    ///
    /// # Errors
    /// 65 for what is damaged, or no dump; 66 for what is unfinished.
    pub fn open(bytes: Bytes, root: Option<&ArchiveRoot>) -> Result<Self, Failure> {
        let contents = Contents::open(&mut bytes.plain()?, bytes.size(), root);
        let contents = Arc::new(contents.map_err(|error| bytes::archive_failure(error).within(&bytes.name))?);
        let mut reader = Reader::new(Arc::clone(&contents), bytes.plain()?);
        let about =
            reader.whole("about.json", MAX_ABOUT_BYTES).map_err(|error| bytes::archive_failure(error).within(&bytes.name))?;
        let about: About = serde_json::from_slice(&about).map_err(|error| {
            Failure::new(Exit::Damaged, format!("{}: about.json: {error}", bytes.name), "is this a dump? see dr-dump(1)")
        })?;
        if about.format != FORMAT {
            let message = format!("{}: the dump has layout {}, this program knows {FORMAT}", bytes.name, about.format);
            return Err(Failure::new(Exit::Damaged, message, "use a newer version of dr"));
        }
        properties::check(&about.properties).map_err(|failure| failure.within(&bytes.name))?;
        Ok(Archive { bytes, contents, about, signed: false, backup: None })
    }

    /// How messages call it.
    pub fn name(&self) -> &str {
        &self.bytes.name
    }

    /// What is in it.
    pub fn contents(&self) -> &Arc<Contents> {
        &self.contents
    }

    /// A reader for one thread.
    ///
    /// # Errors
    /// As opening did before.
    pub fn reader(&self) -> Result<ArchiveReader, Failure> {
        Ok(Reader::new(Arc::clone(&self.contents), self.bytes.plain()?))
    }

    /// A short script of it; none where it has none of that name.
    ///
    /// # Errors
    /// 65 where it is damaged, too long, or no text.
    pub fn script(&self, path: &str) -> Result<Option<String>, Failure> {
        if self.contents.member(path).is_none() {
            return Ok(None);
        }
        let bytes = self.reader()?.whole(path, MAX_SCRIPT_BYTES).map_err(|error| self.failure(error))?;
        let text = String::from_utf8(bytes);
        text.map(Some).map_err(|_| Failure::new(Exit::Damaged, format!("{}: {path} is no UTF-8", self.name()), "see dr-dump(1)"))
    }

    /// Copies a member into the file `to`, which must not exist, for other programs.
    ///
    /// # Errors
    /// 65 where it is damaged or missing, 74 where it cannot be written.
    pub fn extract(&self, path: &str, to: &Path) -> Result<(), Failure> {
        let written = |error: io::Error| Failure::io(to.display(), &error);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(written)?;
        let mut reader = self.reader()?;
        let mut member = reader.member(path).map_err(|error| self.failure(error))?;
        loop {
            let chunk = member.chunk().map_err(|error| self.failure(error))?;
            if chunk.is_empty() {
                return Ok(());
            }
            output::write_all(&mut file, chunk).map_err(written)?;
            let n = chunk.len();
            member.consume(n);
        }
    }

    /// The fingerprints that dr-dump took of the rows as it read them.
    ///
    /// # Errors
    /// 65 where they are damaged or missing.
    pub fn fingerprints(&self) -> Result<Vec<Fingerprint>, Failure> {
        let mut reader = self.reader()?;
        let member = reader.member("fingerprint.jsonl").map_err(|error| self.failure(error))?;
        let records = dr_pipe::record::read(&mut { member }).map_err(|failure| failure.within("fingerprint.jsonl"))?;
        let of = |record| match record {
            Record::Fingerprint(fingerprint) => Some(fingerprint),
            _ => None,
        };
        Ok(records.into_iter().filter_map(of).collect())
    }

    /// What went wrong while it was read.
    pub fn failure(&self, error: dr_archive::Error) -> Failure {
        bytes::archive_failure(error).within(self.name())
    }
}
