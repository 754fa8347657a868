//! Reading WAL back: found by a listing, held against its claim, and given whole or not at all.

use std::io::{self, Read, Write};

use dr_catalogue::PublicKey;
use dr_crypt::Identities;
use dr_pipe::stream::fill;
use dr_pipe::{Sha256, Tally};

use crate::claim::{self, Claim};
use crate::inventory::{Inventory, Item, Object};
use crate::packed::MAX_IN_MEMORY_BYTES;
use crate::shelf::contents;
use crate::spare::{OBJECTS, PLAIN};
use crate::{Content, Error, Shelf, WalName, header};

/// With what WAL is opened and proved.
#[derive(Clone, Copy, Default)]
pub struct Opening<'a> {
    /// Decrypt it. Where none is given, only what is not encrypted can be read.
    pub identities: Option<&'a Identities>,
    /// Whose claims are trusted; empty: all are. `Keyring::of(cluster)` gives them.
    pub trusted: &'a [PublicKey],
    /// Which of two contents to take where they are in conflict: the beginning of its SHA-256.
    pub prefer_content: Option<&'a str>,
}

/// Bytes that are decompressed and proved at a time: few enough to stay in a processor's cache.
const CHUNK_BYTES: usize = 128 << 10;

/// Takes the bytes of a file while they are proved: before the end nobody else may use them.
pub trait Sink: Write {
    /// Forgets what was written, as it was not what was claimed.
    ///
    /// # Errors
    /// As the system says.
    fn restart(&mut self) -> io::Result<()>;
}

impl Sink for Vec<u8> {
    fn restart(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }
}

/// A file of WAL.
#[derive(Clone, PartialEq, Eq)]
pub struct Got {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether it was put together from pieces: so many bytes were streamed, zeros follow up to the segment's size.
    pub partial: Option<u32>,
}

impl Shelf<'_> {
    /// Reads a file of WAL, in memory: size and SHA-256 are those claimed. None where the store says that there is none. A
    /// segment that is not there, but pieces of it are, is put together from these and filled up with zeros.
    ///
    /// # Errors
    /// Wherever it cannot be told, or what is there cannot be proved; [`Error::Conflict`] where it is two contents.
    pub fn get(&self, name: &WalName, opening: &Opening) -> Result<Option<Got>, Error> {
        self.read_listed(&self.inventory_of_name(name)?, name, opening)
    }

    /// As [`Shelf::get`], out of an inventory that covers the name.
    ///
    /// # Errors
    /// As [`Shelf::get`].
    pub fn read_listed(&self, inventory: &Inventory, name: &WalName, opening: &Opening) -> Result<Option<Got>, Error> {
        match inventory.files.get(name) {
            Some(item) if !item.objects.is_empty() => {
                let mut bytes = Vec::new();
                self.copy_item(item, name, opening, &mut bytes)?;
                Ok(Some(Got { bytes, partial: None }))
            }
            _ => self.read_pieces(inventory, name, opening),
        }
    }

    /// Copies a file that is there whole, and is in the inventory, to `sink`; gives how many bytes it has. None where it is not whole.
    ///
    /// # Errors
    /// As [`Shelf::get`]; [`Error::Io`] where the sink fails. What is in the sink then is not proved.
    pub fn copy_whole(
        &self,
        inventory: &Inventory,
        name: &WalName,
        opening: &Opening,
        sink: &mut impl Sink,
    ) -> Result<Option<u64>, Error> {
        match inventory.files.get(name) {
            Some(item) if !item.objects.is_empty() => self.copy_item(item, name, opening, sink).map(Some),
            _ => Ok(None),
        }
    }

    /// The claims of a name, each held against its own, and its signature checked where there are trusted keys.
    ///
    /// # Errors
    /// [`Error::Untrusted`] or [`Error::Damaged`] at the first that is not right; as the store says.
    pub fn claims_of(&self, item: &Item, name: &WalName, trusted: &[PublicKey]) -> Result<Vec<Claim>, Error> {
        item.claims.iter().map(|claimed| self.claim_of(claimed, name, trusted).map(|(claim, _)| claim)).collect()
    }

    /// One claim of a name, by its key and the content it is about, as [`Shelf::claims_of`] reads it; and its bytes.
    ///
    /// # Errors
    /// As [`Shelf::claims_of`].
    pub fn claim_of(
        &self,
        (key, content): &(String, Content),
        name: &WalName,
        trusted: &[PublicKey],
    ) -> Result<(Claim, Vec<u8>), Error> {
        let text = self.store.read(key, claim::MAX_BYTES)?;
        let object = format!("{}/{key}", self.store.location());
        let subject = claim::Subject { object: &object, cluster: self.cluster, name: *name, content: *content };
        Ok((Claim::decode(&subject, &text, trusted)?, text))
    }

    fn copy_item(&self, item: &Item, name: &WalName, opening: &Opening, sink: &mut impl Sink) -> Result<u64, Error> {
        let mut claims = self.claims_of(item, name, opening.trusted)?;
        if contents(&claims).len() > 1 && item.objects.len() > 1 {
            let is_preferred = |claim: &Claim| opening.prefer_content.is_some_and(|hex| claim.sha256.to_string().starts_with(hex));
            if !claims.iter().any(is_preferred) {
                let contents = contents(&claims).keys().map(ToString::to_string).collect();
                return Err(Error::Conflict { store: self.store.location().to_string(), name: *name, contents });
            }
            claims.retain(is_preferred);
        }
        let contents = contents(&claims);
        let mut failed = None;
        for object in &item.objects {
            if object.beside.is_some_and(|content| !contents.contains_key(&content)) {
                continue;
            }
            sink.restart().map_err(|error| Error::io(name, error))?;
            match self.copy_object(object, &claims, opening, sink) {
                Ok(bytes) => return Ok(bytes),
                // One of a content that is not preferred, perhaps; another may be good.
                Err(error @ Error::Damaged { .. }) => failed = failed.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        let nothing = || Error::damaged(name, "there is no claim that says what it holds");
        Err(failed.unwrap_or_else(nothing))
    }

    /// Copies an object that one of the claims fits, and proves it.
    ///
    /// Two hosts that push the same content at once encrypt it differently, and a server that does not create atomically may
    /// keep the object of one and the claim of the other. So where nobody claims this object, but all claim one content, what
    /// is in it decides.
    fn copy_object(&self, object: &Object, claims: &[Claim], opening: &Opening, sink: &mut impl Sink) -> Result<u64, Error> {
        let shown = format!("{}/{}", self.store.location(), object.key);
        let Some(largest) = claims.iter().map(|claim| claim.bytes).max() else {
            return Err(Error::damaged(shown, "there is no claim that says what it holds"));
        };
        let mut packed = OBJECTS.take(0);
        match self.store.read_into(&object.key, most_packed(largest), &mut packed) {
            Err(dr_store::Error::Damaged { object, why }) => return Err(Error::Damaged { object, why }),
            read => read?,
        }
        let digest = Sha256::of(&packed);
        let claimed = claims.iter().find(|claim| claim.object_sha256 == digest);
        let changed = || Error::damaged(&shown, "it is not what was claimed for it");
        let one_content = || claims.first().filter(|first| claims.iter().all(|claim| claim.content() == first.content()));
        let claim = match object.beside {
            // It may be there in two encryptions, of which only the first is kept.
            Some(content) => claims.iter().find(|claim| claim.content() == content),
            None => claimed.or_else(one_content),
        };
        let claim = claim.ok_or_else(changed)?;
        // Byte for byte what was claimed: then what is in it is as well, by the checksums of zstd and age. Else it is digested.
        let mut tally = (claim.object_sha256 != digest).then(Tally::default);
        let stored = Stored { shown: &shown, packed: &packed, encrypted: object.encrypted, bytes: claim.bytes };
        let copied = if claim.bytes <= MAX_IN_MEMORY_BYTES {
            stored.copy_at_once(opening, &mut tally, sink)
        } else {
            stored.copy(opening, &mut tally, sink)
        };
        let bytes = match copied {
            Err(Error::Crypt(_)) if opening.identities.is_some() && claimed.is_none() && object.beside.is_none() => {
                return Err(changed());
            }
            bytes => bytes?,
        };
        OBJECTS.give_back(packed);
        if bytes != claim.bytes || tally.is_some_and(|tally| tally.extent().sha256 != claim.sha256) {
            return Err(Error::damaged(shown, "what it holds is not what was claimed for it"));
        }
        Ok(bytes)
    }

    fn read_pieces(&self, inventory: &Inventory, name: &WalName, opening: &Opening) -> Result<Option<Got>, Error> {
        let WalName::Segment(segment) = name else { return Ok(None) };
        let Some(pieces) = inventory.pieces.get(segment) else { return Ok(None) };
        let Some(joined) = self.join(pieces, opening)? else { return Ok(None) };
        let header = header::check_beginning(&joined.bytes, segment)?;
        let (mut bytes, size) = (joined.bytes, header.segment_size.bytes());
        let partial = u32::try_from(bytes.len()).expect("pieces end below 4 GiB");
        if u64::from(partial) > size {
            return Err(Error::damaged(name, format!("its pieces have more than {size} bytes")));
        }
        bytes.resize(usize::try_from(size).expect("at most 1 GiB"), 0);
        Ok(Some(Got { bytes, partial: Some(partial) }))
    }
}

/// The most bytes that `bytes` can have once they are compressed and encrypted: what does not compress grows by 1/256 (zstd), each
/// 64 KiB by 16 bytes (age), and headers for many recipients come before.
pub(crate) fn most_packed(bytes: u64) -> u64 {
    bytes + bytes / 128 + (64 << 10)
}

/// An object as it is stored, and what it must hold.
struct Stored<'a> {
    /// How it is named in messages.
    shown: &'a str,
    packed: &'a [u8],
    encrypted: bool,
    /// How many bytes it must hold.
    bytes: u64,
}

impl Stored<'_> {
    /// Copies all that is in it, or one byte more than it must hold, and counts it.
    fn copy(&self, opening: &Opening, tally: &mut Option<Tally>, sink: &mut impl Sink) -> Result<u64, Error> {
        let damaged = |error| failed(self.shown, error);
        let mut plain: Box<dyn Read> = if self.encrypted {
            Box::new(decompressing(decrypting(self.shown, self.packed, opening)?, self.bytes).map_err(damaged)?)
        } else {
            Box::new(decompressing(self.packed, self.bytes).map_err(damaged)?)
        };
        let (mut chunk, mut bytes) = (vec![0; CHUNK_BYTES], 0);
        loop {
            match fill(&mut plain, &mut chunk).map_err(damaged)? {
                0 => return Ok(bytes),
                n => {
                    self.hand_on(&chunk[..n], tally, sink)?;
                    bytes += n as u64;
                }
            }
        }
    }

    /// As [`Stored::copy`], decompressed in one call, which is faster than as it streams by: zstd finds all that came before in one
    /// place.
    fn copy_at_once(&self, opening: &Opening, tally: &mut Option<Tally>, sink: &mut impl Sink) -> Result<u64, Error> {
        let decrypted = self
            .encrypted
            .then(|| decrypted(self.shown, self.packed, opening, OBJECTS.take_filled(self.packed.len())))
            .transpose()?;
        let mut plain = PLAIN.take(usize::try_from(self.bytes).expect("it fits into memory") + 1);
        let compressed = decrypted.as_deref().unwrap_or(self.packed);
        let decompressed =
            zstd::bulk::Decompressor::new().and_then(|mut decoder| decoder.decompress_to_buffer(compressed, &mut plain));
        decompressed.map_err(|error| failed(self.shown, error))?;
        self.hand_on(&plain, tally, sink)?;
        let bytes = plain.len() as u64;
        decrypted.into_iter().for_each(|buffer| OBJECTS.give_back(buffer));
        PLAIN.give_back(plain);
        Ok(bytes)
    }

    fn hand_on(&self, plain: &[u8], tally: &mut Option<Tally>, sink: &mut impl Sink) -> Result<(), Error> {
        tally.iter_mut().for_each(|tally| tally.update(plain));
        sink.write_all(plain).map_err(|error| Error::io(self.shown, error))
    }
}

/// Decrypts an object, and does not decompress it.
pub(crate) fn decrypt(object: &str, stored: Vec<u8>, encrypted: bool, opening: &Opening) -> Result<Vec<u8>, Error> {
    if !encrypted {
        return Ok(stored);
    }
    let room = vec![0; stored.len()];
    decrypted(object, &stored, opening, room)
}

/// Decrypts into `room`, which is as large as what is stored, and so larger than what is in it: its end is always reached.
fn decrypted(object: &str, stored: &[u8], opening: &Opening, mut room: Vec<u8>) -> Result<Vec<u8>, Error> {
    let bytes = fill(&mut decrypting(object, stored, opening)?, &mut room).map_err(|error| failed(object, error))?;
    room.truncate(bytes);
    Ok(room)
}

fn decrypting<'a>(object: &str, stored: &'a [u8], opening: &Opening) -> Result<impl Read + use<'a>, Error> {
    let identities = opening.identities.ok_or(dr_crypt::Error::NoIdentity)?;
    dr_crypt::decrypt(stored, identities).map_err(|error| within(object, error))
}

pub(crate) fn failed(object: &str, error: io::Error) -> Error {
    match dr_crypt::Error::reading(object, error) {
        dr_crypt::Error::Io { source, .. } => Error::damaged(object, source.to_string()),
        error => within(object, error),
    }
}

pub(crate) fn decompress(compressed: &[u8], bytes: u64) -> io::Result<Vec<u8>> {
    let mut plain = Vec::with_capacity(usize::try_from(bytes.min(1 << 30)).unwrap_or_default() + 1);
    decompressing(compressed, bytes)?.read_to_end(&mut plain)?;
    Ok(plain)
}

/// What is compressed, up to one byte more than it must have.
fn decompressing(compressed: impl Read, bytes: u64) -> io::Result<impl Read> {
    let mut decoder = zstd::Decoder::new(compressed)?;
    // A segment of 1 GiB is larger than any frame of ours needs its window to be.
    decoder.window_log_max(27)?;
    Ok(decoder.take(bytes + 1))
}

/// Damage of the stream, with the object's name; everything else as it is.
fn within(object: &str, error: dr_crypt::Error) -> Error {
    match error {
        dr_crypt::Error::Damaged(_) | dr_crypt::Error::NotAge | dr_crypt::Error::Header(_) | dr_crypt::Error::Empty => {
            Error::damaged(object, error.to_string())
        }
        other => other.into(),
    }
}
