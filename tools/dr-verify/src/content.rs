//! What is in an object: decrypted, decompressed, and held against what it says of itself.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;
use std::sync::Arc;

use dr_archive::{Contents, ReadAt, Seekable};
use dr_crypt::{Identities, Plain, Unlocked};
use dr_pipe::Failure;
use dr_pipe::record::{Finding, Kind, Manifest};

use crate::dump;
use crate::finding::Scene;
use crate::object::{Front, unlock};
use crate::pages::Pages;

/// What to do about a damaged object.
pub const HINT: &str = "do not restore it: take another store that holds it, or another backup";

/// Plain bytes in a chunk of an age stream, and what encryption adds to it.
const CHUNK_BYTES: u64 = 64 << 10;
const TAG_BYTES: u64 = 16;

/// Why a walk ended before the end.
pub enum Stopped {
    /// Something is wrong with what is in it.
    Found(Box<Found>),
    /// The store failed.
    Store(dr_store::Error),
    /// No identity opens it.
    Locked,
}

/// Something that is wrong in an object.
#[derive(Debug)]
pub struct Found {
    /// The code of the finding.
    pub code: &'static str,
    /// Whether it is an error.
    pub severe: bool,
    /// Where in the object.
    pub offset: Option<u64>,
    /// What.
    pub message: String,
}

impl Found {
    /// The finding that tells it.
    pub fn finding(self, scene: &Scene) -> Finding {
        let finding = if self.severe {
            scene.error(self.code, self.message, HINT)
        } else {
            scene.note(self.code, self.message, "it was backed up so: look at the server itself, with pg_amcheck")
        };
        Finding { offset_bytes: self.offset, ..finding }
    }

    fn content(offset: Option<u64>, message: impl Into<String>) -> Box<Found> {
        Box::new(Found { code: "content", severe: true, offset, message: message.into() })
    }
}

/// Reads all that is in an object, in one pass but for its end.
///
/// # Errors
/// The first thing that is wrong; why it cannot be read.
pub fn examine(front: &Front, manifest: &Manifest, identities: Option<&Identities>) -> Result<(), Stopped> {
    let mut stored = front.clone();
    let unlocked = match unlock(&mut stored, identities) {
        Ok(unlocked) => unlocked,
        Err(dr_crypt::Error::NoMatch(_) | dr_crypt::Error::NoIdentity) => return Err(Stopped::Locked),
        Err(error) => return Err(crypt(error, Some(0), "its header, or its end")),
    };
    if unlocked.is_none() && !manifest.recipients.is_empty() {
        return Err(Stopped::Found(Found::content(Some(0), "it does not begin as an age stream does, and was encrypted")));
    }
    let size = unlocked.as_ref().map_or(stored.size(), Unlocked::plain_len);
    stored.seek(SeekFrom::Start(0)).map_err(|error| Stopped::Store(dr_store::Error::from_read(&manifest.object, error)))?;
    let plain = Plain::new(stored, unlocked.as_ref()).map_err(|error| crypt(error, None, "it"))?;
    let map = Map { encrypted: unlocked.is_some(), stored: front.size(), plain: size };
    if manifest.produced.archive.is_some() { archive(plain, &map, manifest) } else { to_the_end(plain, &map) }
}

/// What another producer made is its own affair; that all of it can be decrypted is not.
fn to_the_end(mut plain: Plain<Front>, map: &Map) -> Result<(), Stopped> {
    let (mut chunk, mut reached) = (vec![0; 256 << 10], 0);
    loop {
        match plain.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(n) => reached += n as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(read_error(error, Some(map.offset(reached)), "it")),
        }
    }
}

fn archive(plain: Plain<Front>, map: &Map, manifest: &Manifest) -> Result<(), Stopped> {
    let at = Rc::new(Cell::new(0));
    let mut source = Watched { inner: Seekable::new(plain), at: Rc::clone(&at) };
    let stopped = |error, contents: Option<&Contents>| damage(error, map, at.get(), contents);
    let root = manifest.produced.archive.as_ref();
    let contents = Contents::open(&mut source, map.plain, root).map_err(|error| stopped(error, None))?;
    let contents = Arc::new(contents);
    let mut pages = manifest.produced.base.as_ref().filter(|base| base.page_checksums).map(|base| Pages::new(base, &contents));
    let walked = dr_archive::verify_each(&mut source, &contents, |member, from, bytes| {
        if let Some(pages) = &mut pages {
            pages.pass(member, from, bytes);
        }
    });
    walked.map_err(|error| stopped(error, Some(&contents)))?;
    if manifest.kind == Kind::Dump {
        let said = dump::check(&contents, &mut source).map_err(|error| stopped(error, Some(&contents)))?;
        if let Some(why) = said {
            return Err(Stopped::Found(Found::content(None, why)));
        }
    }
    match pages.and_then(|pages| pages.found(manifest.produced.base.as_ref().map_or(0, |base| base.damaged_pages))) {
        Some(found) => Err(Stopped::Found(Box::new(found))),
        None => Ok(()),
    }
}

/// What an error of the archive means; `at` is where its reader stood.
fn damage(error: dr_archive::Error, map: &Map, at: u64, contents: Option<&Contents>) -> Stopped {
    let place = |offset| contents.map(|contents| within(contents, offset)).unwrap_or_default();
    match error {
        dr_archive::Error::Damaged { offset, .. } | dr_archive::Error::Malformed { offset, .. } => {
            Stopped::Found(Found::content(Some(map.offset(offset)), format!("{error}{}", place(offset))))
        }
        dr_archive::Error::Io { what, source } => match Arc::try_unwrap(source) {
            Ok(error) => read_error(error, Some(map.offset(at)), &format!("{what}{}", place(at))),
            Err(source) => Stopped::Found(Found::content(Some(map.offset(at)), format!("{what}: {source}"))),
        },
        other => Stopped::Found(Found::content(None, Failure::from(other).message)),
    }
}

/// The frame at `offset` of an archive, and the first member in it, in words.
fn within(contents: &Contents, offset: u64) -> String {
    let next = contents.frames().partition_point(|frame| frame.offset <= offset);
    let Some(number) = next
        .checked_sub(1)
        .filter(|number| offset < contents.frames()[*number].offset + u64::from(contents.frames()[*number].bytes))
    else {
        return String::new();
    };
    let (mut first, mut count) = (None, 0);
    for member in contents.members().filter(|member| contents.frames_of(member).contains(&number)) {
        first = first.or(Some(member.path.as_str()));
        count += 1;
    }
    match (first, count) {
        (None, _) => format!(" (frame {number})"),
        (Some(path), 1) => format!(" (frame {number}: {path})"),
        (Some(path), _) => format!(" (frame {number}: {path}, and {} more)", count - 1),
    }
}

fn read_error(error: io::Error, offset: Option<u64>, what: &str) -> Stopped {
    match error.downcast::<dr_store::Error>() {
        Ok(error) => Stopped::Store(error),
        Err(error) => crypt(dr_crypt::Error::reading(what, error), offset, what),
    }
}

fn crypt(error: dr_crypt::Error, offset: Option<u64>, what: &str) -> Stopped {
    match error {
        dr_crypt::Error::Io { source, object } => match source.downcast::<dr_store::Error>() {
            Ok(error) => Stopped::Store(error),
            Err(source) => Stopped::Found(Found::content(offset, format!("{object}: {source}"))),
        },
        error => Stopped::Found(Found::content(offset, format!("{what} cannot be decrypted: {error}"))),
    }
}

/// Where the plain bytes lie in the object.
struct Map {
    encrypted: bool,
    stored: u64,
    plain: u64,
}

impl Map {
    /// The offset in the object of a plain byte: that of the chunk it is in, where it is encrypted.
    fn offset(&self, plain: u64) -> u64 {
        if !self.encrypted {
            return plain;
        }
        let chunks = self.plain.div_ceil(CHUNK_BYTES).max(1);
        let head = self.stored.saturating_sub(self.plain + chunks * TAG_BYTES);
        head + plain.min(self.plain) / CHUNK_BYTES * (CHUNK_BYTES + TAG_BYTES)
    }
}

/// Remembers where it was read last.
struct Watched<S> {
    inner: S,
    at: Rc<Cell<u64>>,
}

impl<S: ReadAt> ReadAt for Watched<S> {
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.at.set(offset);
        self.inner.read_at(offset, buf)
    }
}
