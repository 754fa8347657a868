//! One backup's object, read to its last byte.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dr_catalogue::{name, signature};
use dr_crypt::{Identities, Unlocked};
use dr_pipe::progress::Progress;
use dr_pipe::record::{Depth, Extent, Finding};
use dr_pipe::{Failure, Tally};
use dr_store::{Error, ObjectReader};

use crate::content;
use crate::finding::{about, on};
use crate::place::{Cluster, Kept, Place};

/// Bytes that are read and digested at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// With what objects are read.
#[derive(Clone, Copy)]
pub struct Eyes<'a> {
    /// How deep it is looked.
    pub depth: Depth,
    /// What opens what is encrypted.
    pub identities: Option<&'a Identities>,
    /// What is shown of it.
    pub progress: &'a Progress,
}

/// What came of a look.
pub enum Seen {
    /// All of it was read; so deep.
    Whole(Depth, Vec<Finding>),
    /// It could not be read for a reason that is no damage.
    Unread(Finding),
    /// It was deleted while we looked.
    Gone,
}

/// What an error of a store means for the object that was read.
enum Trouble {
    /// It is not what it was.
    Damaged(String),
    /// This part of the disk cannot be read.
    Unreadable(String),
    Frozen(String, String),
    Absent,
    /// The store failed, whatever the object is.
    Store(Failure),
}

/// Reads the object of a backup, and its signature once more.
///
/// # Errors
/// As the store says.
pub fn examine(place: &Place, cluster: &Cluster, kept: &Kept, eyes: &Eyes) -> Result<Seen, Failure> {
    let manifest = &kept.backup.manifest;
    let told = |finding| about(&manifest.name, on(&kept.key, finding));
    let scene = &cluster.scene;
    let read = place.store.reader(&kept.key).map_err(trouble).and_then(|object| read(object, kept, eyes));
    let (depth, mut findings) = match read {
        Ok((depth, found)) => (depth, found.map(|found| vec![told(found.finding(scene))]).unwrap_or_default()),
        Err(Trouble::Damaged(why)) => (Depth::Bytes, vec![told(scene.error("digest", why, content::HINT))]),
        Err(Trouble::Unreadable(why)) => (
            Depth::Bytes,
            vec![told(scene.error(
                "unreadable",
                why,
                "the disk may be failing: look at dmesg(1), and copy what can be read elsewhere",
            ))],
        ),
        Err(Trouble::Frozen(why, hint)) => return Ok(Seen::Unread(told(scene.note("frozen", why, hint)))),
        Err(Trouble::Absent) => return absent(place, cluster, kept),
        Err(Trouble::Store(failure)) => return Err(failure),
    };
    findings.extend(intact(place, cluster, kept)?.map(told));
    Ok(Seen::Whole(depth, findings))
}

/// An object that was listed, and is not there: deleted with its manifest, or lost.
fn absent(place: &Place, cluster: &Cluster, kept: &Kept) -> Result<Seen, Failure> {
    let manifest = &kept.backup.manifest;
    if place.store.size(&name::manifest_key(&manifest.cluster, manifest.kind, &manifest.name))?.is_none() {
        return Ok(Seen::Gone);
    }
    let finding = cluster.scene.error("missing", "there is a manifest, but not the object itself", content::HINT);
    Ok(Seen::Whole(Depth::Manifest, vec![about(&manifest.name, on(&kept.key, finding))]))
}

/// The signature file to its last byte: its first line is under no signature.
fn intact(place: &Place, cluster: &Cluster, kept: &Kept) -> Result<Option<Finding>, Failure> {
    if cluster.trusted.is_empty() {
        return Ok(None);
    }
    let manifest = &kept.backup.manifest;
    let key = name::signature_key(&manifest.cluster, manifest.kind, &manifest.name);
    let text = match place.store.read(&key, signature::MAX_BYTES) {
        // That is told by whoever reads the catalogue next, unless the backup is gone.
        Err(Error::Absent { .. } | Error::Damaged { .. }) => return Ok(None),
        text => text?,
    };
    let file = format!("{}{}", manifest.name, name::MANIFEST);
    let changed = || {
        let message = format!("{key} was changed where no signature covers it");
        on(&key, cluster.scene.error("signature", message, "the signature itself is right; copy the file from another store"))
    };
    Ok((!signature::is_intact(&cluster.trusted, &text, &file)).then(changed))
}

fn read(object: ObjectReader, kept: &Kept, eyes: &Eyes) -> Result<(Depth, Option<content::Found>), Trouble> {
    let manifest = &kept.backup.manifest;
    let mut front = Front::new(object.clone(), eyes.progress.clone());
    let mut depth = Depth::Bytes;
    let mut found = None;
    if eyes.depth == Depth::Content && object.size() == manifest.bytes {
        match content::examine(&front, manifest, eyes.identities) {
            Ok(()) => depth = Depth::Content,
            Err(content::Stopped::Found(what)) => (depth, found) = (Depth::Content, Some(*what)),
            Err(content::Stopped::Store(error)) => return Err(trouble(error)),
            Err(content::Stopped::Locked) => {}
        }
    }
    let extent = front.finish(object).map_err(|error| trouble(Error::from_read(&kept.key, error)))?;
    if extent.sha256 == manifest.sha256 && extent.bytes == manifest.bytes {
        return Ok((depth, found));
    }
    let message = if extent.bytes == manifest.bytes {
        format!("its bytes have the digest {}, and the manifest says {}", extent.sha256, manifest.sha256)
    } else {
        format!("it has {} bytes, and the manifest says {}", extent.bytes, manifest.bytes)
    };
    let known = found.map(|found| (found.offset, format!("{message}: {}", found.message)));
    let (offset, message) = known.unwrap_or((None, message));
    Ok((depth, Some(content::Found { code: "digest", severe: true, offset, message })))
}

fn trouble(error: Error) -> Trouble {
    match error {
        Error::Damaged { object, why } => Trouble::Damaged(format!("{object}: {why}")),
        Error::Io { object, source } => Trouble::Unreadable(format!("{object}: {source}")),
        Error::Absent { .. } => Trouble::Absent,
        frozen @ Error::Frozen { .. } => {
            let Failure { message, hint, .. } = frozen.into();
            Trouble::Frozen(format!("{message}: its bytes are not read"), hint)
        }
        other => Trouble::Store(other.into()),
    }
}

/// An object that is digested as far as it was read from its first byte on, whoever reads it and in whatever order. So what is
/// walked through is read once.
#[derive(Clone)]
pub struct Front {
    inner: ObjectReader,
    position: u64,
    tally: Arc<Mutex<Tally>>,
    progress: Progress,
}

impl Front {
    /// Nothing of it is read yet.
    pub fn new(inner: ObjectReader, progress: Progress) -> Self {
        Front { inner, position: 0, tally: Arc::default(), progress }
    }

    /// The object's size in bytes.
    pub fn size(&self) -> u64 {
        self.inner.size()
    }

    /// Reads what was not read of `object`; gives size and digest of all of it.
    fn finish(&mut self, mut object: ObjectReader) -> io::Result<Extent> {
        let mut reached = self.tally().bytes();
        object.seek(SeekFrom::Start(reached))?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match object.read(&mut chunk) {
                Ok(0) => return Ok(self.tally().extent()),
                Ok(n) => {
                    self.pass(reached, &chunk[..n]);
                    reached += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes note of the bytes that begin at `from`, as far as they are new.
    fn pass(&self, from: u64, bytes: &[u8]) {
        let mut tally = self.tally();
        let reached = tally.bytes();
        if from <= reached && reached < from + bytes.len() as u64 {
            let new = &bytes[(reached - from) as usize..];
            tally.update(new);
            self.progress.add(new.len() as u64);
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for Front {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.pass(self.position, &buf[..n]);
        self.position += n as u64;
        Ok(n)
    }
}

impl Seek for Front {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = self.inner.seek(to)?;
        Ok(self.position)
    }
}

/// Opens an object, if it is encrypted: none where it is not.
///
/// # Errors
/// As [`Unlocked::open`].
pub fn unlock<R: Read + Seek>(object: &mut R, identities: Option<&Identities>) -> Result<Option<Unlocked>, dr_crypt::Error> {
    let failed = |error| dr_crypt::Error::reading("reading the object", error);
    object.seek(SeekFrom::Start(0)).map_err(failed)?;
    if !dr_crypt::is_age(object).map_err(failed)? {
        return Ok(None);
    }
    let identities = identities.ok_or(dr_crypt::Error::NoIdentity)?;
    Unlocked::open(object, identities).map(Some)
}
