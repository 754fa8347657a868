//! The archive of a base as many threads read it at once: by ranges out of a store, decrypted on the way, each frame proved.

use std::io;
use std::sync::Arc;

use dr_archive::{Contents, Reader, Seekable};
use dr_crypt::{Identities, Unlocked};
use dr_pipe::record::Manifest;
use dr_pipe::{Exit, Failure};
use dr_store::{ObjectReader, Store};

/// The archive of a base, open.
pub struct Archive {
    name: String,
    object: ObjectReader,
    unlocked: Option<Unlocked>,
    contents: Arc<Contents>,
}

/// The plain bytes, for one thread.
pub type Plain = Seekable<dr_crypt::Plain<ObjectReader>>;

impl Archive {
    /// Opens the object of `manifest`: its end and table of contents are read, and proved by the manifest's root.
    ///
    /// # Errors
    /// 65 where it is damaged, or of another size than the manifest says; 77 where no identity opens it, 64 where none is given; as the store says.
    pub fn open(store: &Store, key: &str, manifest: &Manifest, identities: Option<&Identities>) -> Result<Self, Failure> {
        let name = format!("{}/{key}", store.location());
        let mut object = store.reader(key)?;
        if object.size() != manifest.bytes {
            let message = format!("{name} has {} bytes, its manifest says {}", object.size(), manifest.bytes);
            return Err(Failure::new(Exit::Damaged, message, "use another copy of this backup, or another backup (--backup)"));
        }
        let Some(root) = &manifest.produced.archive else {
            let message = format!("{} is no archive of dr-base", manifest.name);
            return Err(Failure::new(Exit::Damaged, message, "unpack it with the program that made it: see dr-pull(1)"));
        };
        let unlocked = if dr_crypt::is_age(&mut object).map_err(|error| failure(&name, error))? {
            let identities = identities.ok_or(dr_crypt::Error::NoIdentity)?;
            let unlocked = Unlocked::open(&mut object, identities);
            Some(unlocked.map_err(|error| Failure::from(error.to(&manifest.recipients)).within(&name))?)
        } else {
            None
        };
        let size = unlocked.as_ref().map_or(object.size(), Unlocked::plain_len);
        let mut plain = plain(&object, unlocked.as_ref())?;
        let contents = Contents::open(&mut plain, size, Some(root)).map_err(|error| archive_failure(error).within(&name))?;
        Ok(Archive { name, object, unlocked, contents: Arc::new(contents) })
    }

    /// What is in it.
    pub fn contents(&self) -> &Arc<Contents> {
        &self.contents
    }

    /// A reader for one thread.
    ///
    /// # Errors
    /// As opening did before.
    pub fn reader(&self) -> Result<Reader<Plain>, Failure> {
        Ok(Reader::new(Arc::clone(&self.contents), plain(&self.object, self.unlocked.as_ref())?))
    }

    /// A small member, whole; none where there is none of that name.
    ///
    /// # Errors
    /// 65 where it is damaged or too large; as the store says.
    pub fn member(&self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, Failure> {
        if self.contents.member(path).is_none() {
            return Ok(None);
        }
        self.reader()?.whole(path, max_bytes).map(Some).map_err(|error| self.failure(error))
    }

    /// What went wrong while it was read.
    pub fn failure(&self, error: dr_archive::Error) -> Failure {
        let failure = archive_failure(error).within(&self.name);
        match failure.exit {
            Exit::Damaged => {
                let hint = "where another store has this backup, name that one alone with --from, and add --delta; else another backup (--backup)";
                Failure { hint: hint.into(), ..failure }
            }
            _ => failure,
        }
    }
}

fn plain(object: &ObjectReader, unlocked: Option<&Unlocked>) -> Result<Plain, Failure> {
    Ok(Seekable::new(dr_crypt::Plain::new(object.clone(), unlocked)?))
}

/// Why reading `object` failed: what the store or the decryption found, or the system.
fn failure(object: &str, error: io::Error) -> Failure {
    if error.get_ref().is_some_and(|inner| inner.is::<dr_store::Error>()) {
        return dr_store::Error::from_read(object, error).into();
    }
    dr_crypt::Error::reading(object, error).into()
}

/// Why an archive cannot be read, with the words of the layer that found it.
fn archive_failure(error: dr_archive::Error) -> Failure {
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
