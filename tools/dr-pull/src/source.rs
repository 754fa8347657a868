//! One object, in every store that has it: where one fails, the next goes on at the same byte.

use std::io::{self, Read, Seek, SeekFrom};

use dr_pipe::{Exit, Failure, warn};
use dr_store::{Error, ObjectReader, Store};

/// An object that is read from the nearest store that can give it.
pub struct Source {
    /// The store being read, and those behind it.
    stores: Vec<Store>,
    key: String,
    size: u64,
    reader: Option<ObjectReader>,
    position: u64,
}

impl Source {
    /// The object `key` of `size` bytes (as its manifest says; else as the first store says), nearest store first.
    ///
    /// # Errors
    /// What the first store says, if none has it in that size.
    pub fn open(stores: Vec<Store>, key: &str, size: Option<u64>) -> Result<Source, Failure> {
        let mut source = Source { stores, key: key.into(), size: size.unwrap_or(0), reader: None, position: 0 };
        let mut first = None;
        while let Some(store) = source.stores.first() {
            match open(store, key, size) {
                Ok(reader) => {
                    source.size = reader.size();
                    source.reader = Some(reader);
                    return Ok(source);
                }
                Err(failure) => source.next_after(failure, &mut first),
            }
        }
        Err(first.unwrap_or_else(|| Failure::new(Exit::Usage, "no store is named", "name one with --from STORE, or DR_FROM")))
    }

    /// The object's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Goes to a byte of the object.
    pub fn move_to(&mut self, position: u64) -> Result<(), Failure> {
        self.position = position;
        let Some(reader) = &mut self.reader else { return Ok(()) };
        reader.seek(SeekFrom::Start(position)).map(drop).map_err(|error| Error::from_read(&self.key, error).into())
    }

    /// Reads some bytes; none at the end.
    ///
    /// # Errors
    /// What the last store says, once all have failed.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize, Failure> {
        loop {
            let Some(reader) = &mut self.reader else { return Ok(0) };
            let failure = match reader.read(buf) {
                Ok(n) => {
                    self.position += n as u64;
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Failure::from(Error::from_read(&self.key, error)),
            };
            self.resume(failure)?;
        }
    }

    /// Goes on in the next store that has the object.
    fn resume(&mut self, failure: Failure) -> Result<(), Failure> {
        self.reader = None;
        let mut first = None;
        self.next_after(failure, &mut first);
        while let Some(store) = self.stores.first() {
            let reader = open(store, &self.key, Some(self.size)).and_then(|mut reader| {
                let sought = reader.seek(SeekFrom::Start(self.position));
                sought.map(|_| reader).map_err(|error| Error::from_read(&self.key, error).into())
            });
            match reader {
                Ok(reader) => {
                    self.reader = Some(reader);
                    return Ok(());
                }
                Err(failure) => self.next_after(failure, &mut first),
            }
        }
        Err(first.expect("the first failure was noted above"))
    }

    /// Leaves a store that has failed; the user hears of it if there is another.
    fn next_after(&mut self, failure: Failure, first: &mut Option<Failure>) {
        let store = self.stores.remove(0);
        if let Some(next) = self.stores.first() {
            warn("dr-pull", format!("{}: {}; going on with {}", store.location(), failure.message, next.location()));
        }
        first.get_or_insert(failure);
    }
}

fn open(store: &Store, key: &str, size: Option<u64>) -> Result<ObjectReader, Failure> {
    let reader = store.reader(key)?;
    match size {
        Some(size) if size != reader.size() => Err(Failure::new(
            Exit::Damaged,
            format!("{}/{key} has {} bytes, and its manifest says {size}", store.location(), reader.size()),
            "use another copy of this backup, if there is one",
        )),
        _ => Ok(reader),
    }
}
