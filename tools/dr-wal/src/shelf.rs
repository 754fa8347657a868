//! The WAL of one cluster in one store, and how a file gets there: first its claim, then the object, both create-only.
//!
//! Two hosts may push the same name at the same time, and neither may need to read. Whoever creates both is the first. A
//! claim that is new while the object exists means that the object's maker claimed other content, or was a little faster
//! with the same: what is claimed there decides, where it may be read.

use std::collections::BTreeMap;
use std::io::Read;

use dr_pipe::{Sha256, Tally};
use dr_store::{Put, Store, UploadOptions};

use crate::claim::{self, Claim};
use crate::layout::{self, Content, Entry};
use crate::packed::Body;
use crate::{Error, Packed, WalName};

/// The largest object that is put in one request.
const ONE_REQUEST_BYTES: usize = 16 << 20;

/// The WAL of one cluster in one store. Cheap to make.
#[derive(Clone, Copy, Debug)]
pub struct Shelf<'s> {
    pub(crate) store: &'s Store,
    pub(crate) cluster: &'s str,
}

/// What became of a file of WAL. In all cases its bytes are durable in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shelved {
    /// It is there now.
    Stored,
    /// It was there before, with the same content.
    Same,
    /// Another content has the name; this one lies beside it.
    Conflict {
        /// The key of ours.
        kept_as: String,
        /// The content that has the name, where that may be read.
        other: Option<Content>,
    },
    /// An object has the name, and nobody here may read whose it is: this content lies beside it, to be sure.
    KeptBeside {
        /// The key of ours.
        kept_as: String,
    },
    /// The object that has the name is not what was claimed for it: this content lies beside it, and is what readers get.
    Mended {
        /// The key of ours.
        kept_as: String,
    },
}

/// What a name's object is found to be.
enum Found {
    Ours,
    Other(Option<Content>),
    /// Nobody has claimed such an object: it was cut off, or its claim is lost.
    Broken,
    /// It may not be read.
    Unknown,
}

impl<'s> Shelf<'s> {
    /// The WAL of `cluster` in `store`.
    pub fn new(store: &'s Store, cluster: &'s str) -> Self {
        Shelf { store, cluster }
    }

    /// The store.
    pub fn store(&self) -> &'s Store {
        self.store
    }

    /// The cluster.
    pub fn cluster(&self) -> &'s str {
        self.cluster
    }

    /// Stores a file of WAL, durably. Where all is well, nothing is read.
    ///
    /// # Errors
    /// Whatever the store says; then the file is to be pushed again.
    pub fn put(&self, packed: &Packed) -> Result<Shelved, Error> {
        let (name, content) = (packed.name(), packed.content());
        let key = layout::object(self.cluster, &name, packed.encrypted());
        let claimed = self.claim(&layout::claim(self.cluster, &name, content), packed)?;
        if claimed == Created::Before && self.is_there(&key)? != Some(true) {
            // Whoever claimed it has stored nothing so far: what is claimed must fit the object that is.
            let again = layout::claim_again(self.cluster, &name, content, &packed.claim().object_sha256);
            self.claim(&again, packed)?;
        }
        if self.create_object(&key, packed)? == Created::Now {
            return Ok(Shelved::Stored);
        }
        match (self.whose(&name, &key, packed, claimed)?, claimed) {
            (Found::Ours, _) => Ok(Shelved::Same),
            (Found::Broken, _) => Ok(Shelved::Mended { kept_as: self.keep_beside(packed)? }),
            (Found::Other(other), _) => Ok(Shelved::Conflict { kept_as: self.keep_beside(packed)?, other }),
            (Found::Unknown, Created::Now) => Ok(Shelved::Conflict { kept_as: self.keep_beside(packed)?, other: None }),
            (Found::Unknown, Created::Before) => Ok(Shelved::KeptBeside { kept_as: self.keep_beside(packed)? }),
        }
    }

    fn keep_beside(&self, packed: &Packed) -> Result<String, Error> {
        let key = layout::beside(self.cluster, &packed.name(), packed.content(), packed.encrypted());
        // Where it exists, it was kept before: its name says which content it has.
        self.create_object(&key, packed)?;
        Ok(key)
    }

    /// Whose is the object that has the name? Decided by the claims, and where there are several by the object's own digest.
    fn whose(&self, name: &WalName, key: &str, packed: &Packed, claimed: Created) -> Result<Found, Error> {
        let ours = packed.content();
        let (claims, bytes) = match self.claims(name, key) {
            Err(Error::Store(dr_store::Error::Denied { .. })) => return Ok(Found::Unknown),
            claims => claims?,
        };
        let nobody_elses = claims.iter().all(|claim| claim.content() == ours);
        let orphaned = claimed == Created::Now && claims.len() == 1;
        if nobody_elses && !orphaned {
            let fits = bytes.is_none_or(|bytes| claims.iter().any(|claim| claim.object_bytes == bytes));
            return Ok(if fits { Found::Ours } else { Found::Broken });
        }
        let digest = match self.digest(key) {
            Err(Error::Store(dr_store::Error::Denied { .. })) => return Ok(Found::Unknown),
            digest => digest?,
        };
        match claims.iter().find(|claim| claim.object_sha256 == digest) {
            Some(claim) if claim.content() == ours => Ok(Found::Ours),
            None if nobody_elses => Ok(Found::Broken),
            claim => Ok(Found::Other(claim.map(Claim::content))),
        }
    }

    /// All claims of a name, unchecked, as the push path has no public key: one of a forger only leads to an alarm. And how many
    /// bytes the object at `key` has.
    fn claims(&self, name: &WalName, key: &str) -> Result<(Vec<Claim>, Option<u64>), Error> {
        let (mut claims, mut bytes) = (Vec::new(), None);
        for listed in self.store.list(&format!("{}.", layout::stem(self.cluster, name)))? {
            if listed.key == key {
                bytes = Some(listed.bytes);
            }
            let Some(Entry::Claim { name: of, content }) = layout::parse(self.cluster, &listed.key) else { continue };
            if of == *name {
                let text = self.store.read(&listed.key, claim::MAX_BYTES)?;
                let subject = claim::Subject { object: &listed.key, cluster: self.cluster, name: *name, content };
                claims.push(Claim::decode(&subject, &text, &[])?);
            }
        }
        Ok((claims, bytes))
    }

    fn digest(&self, key: &str) -> Result<Sha256, Error> {
        let mut reader = self.store.reader(key)?;
        let (mut tally, mut chunk) = (Tally::default(), vec![0; 256 << 10]);
        loop {
            let n = reader.read(&mut chunk).map_err(|error| dr_store::Error::from_read(key, error))?;
            if n == 0 {
                return Ok(tally.extent().sha256);
            }
            tally.update(&chunk[..n]);
        }
    }

    /// Whether an object is there; none where that may not be asked.
    fn is_there(&self, key: &str) -> Result<Option<bool>, Error> {
        match self.store.size(key) {
            Ok(size) => Ok(Some(size.is_some())),
            Err(dr_store::Error::Denied { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates a small object, unless the name is taken, by whatever bytes.
    pub(crate) fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, Error> {
        created(self.store.put(key, bytes))
    }

    /// Creates a claim, unless it is there; durable at the latest when the object is, which is put after it. What is no claim of this
    /// content and has the name, where that may be read, is an error: beside it, nobody would read the segment.
    fn claim(&self, key: &str, packed: &Packed) -> Result<Created, Error> {
        let put = self.store.put_ahead(key, packed.claim_text());
        if let Err(dr_store::Error::Exists { comparable: true, .. }) = put {
            let text = self.store.read(key, claim::MAX_BYTES)?;
            let (name, content) = (packed.name(), packed.content());
            Claim::decode(&claim::Subject { object: key, cluster: self.cluster, name, content }, &text, &[])?;
        }
        created(put)
    }

    fn create_object(&self, key: &str, packed: &Packed) -> Result<Created, Error> {
        match &packed.body {
            Body::Memory(bytes) if bytes.len() <= ONE_REQUEST_BYTES => self.create(key, bytes),
            Body::Memory(bytes) => self.upload(key, packed, &mut bytes.as_slice()),
            Body::Spooled(file) => self.upload(key, packed, &mut Spool { file, at: 0 }),
        }
    }

    fn upload(&self, key: &str, packed: &Packed, bytes: &mut impl Read) -> Result<Created, Error> {
        let options = UploadOptions { expected_bytes: Some(packed.claim().object_bytes), ..UploadOptions::default() };
        let taken = |error| match error {
            dr_store::Error::Exists { .. } => Ok(Created::Before),
            error => Err(Error::from(error)),
        };
        let mut upload = match self.store.upload(key, &options) {
            Ok(upload) => upload,
            Err(error) => return taken(error),
        };
        let mut chunk = vec![0; 256 << 10];
        loop {
            match dr_pipe::stream::fill(bytes, &mut chunk).map_err(|error| Error::io("the spool in $TMPDIR", error))? {
                0 => break,
                n => {
                    if let Err(error) = upload.write(&chunk[..n]) {
                        return taken(error);
                    }
                }
            }
        }
        // Where the same bytes were there before, they are ours as well.
        upload.finish().map_or_else(taken, |_| Ok(Created::Now))
    }
}

fn created(put: Result<Put, dr_store::Error>) -> Result<Created, Error> {
    match put {
        Ok(Put::Created) => Ok(Created::Now),
        Ok(Put::Identical) | Err(dr_store::Error::Exists { .. }) => Ok(Created::Before),
        Err(error) => Err(error.into()),
    }
}

/// Whether this call created an object, or somebody before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Created {
    Now,
    Before,
}

/// A file read at a position of one's own: several stores read one spool at the same time.
struct Spool<'a> {
    file: &'a std::fs::File,
    at: u64,
}

impl Read for Spool<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = std::os::unix::fs::FileExt::read_at(self.file, buf, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// How many different contents are claimed.
pub(crate) fn contents<'a>(claims: impl IntoIterator<Item = &'a Claim>) -> BTreeMap<Content, Vec<&'a Claim>> {
    let mut contents = BTreeMap::<Content, Vec<&Claim>>::new();
    for claim in claims {
        contents.entry(claim.content()).or_default().push(claim);
    }
    contents
}
