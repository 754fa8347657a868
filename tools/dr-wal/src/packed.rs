//! A file of WAL, ready for any number of stores: compressed, encrypted, and claimed.

use std::fs::File;
use std::io::{self, Read, Seek, Write};

use dr_catalogue::SigningKey;
use dr_crypt::{Encryptor, Format, Recipients};
use dr_pipe::{Sha256, Tally, TallyWriter};
use zstd::stream::raw::CParameter;

use crate::claim::{Claim, Extents, Fork};
use crate::layout::Content;
use crate::{Error, History, WalName, header};

/// Files up to this size are packed in memory, ; of larger segments the object is spooled in `$TMPDIR`.
pub const MAX_IN_MEMORY_BYTES: u64 = 64 << 20;

/// Bytes that are compressed, encrypted or compared at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// How files of WAL are packed.
pub struct Packing<'a> {
    /// The cluster.
    pub cluster: &'a str,
    /// For whom objects are encrypted; none: they are not.
    pub recipients: Option<&'a Recipients>,
    /// Compression level of zstd, 1 to 19.
    pub level: i32,
    /// Signs claims.
    pub signing_key: Option<&'a SigningKey>,
    /// The system identifier to claim for files that have no header, where it is known.
    pub system_identifier: Option<u64>,
}

/// A file of WAL, ready to be stored.
pub struct Packed {
    name: WalName,
    header: Option<header::Header>,
    claim: Claim,
    claim_text: Vec<u8>,
    encrypted: bool,
    pub(crate) body: Body,
}

/// The object's bytes.
pub(crate) enum Body {
    Memory(Vec<u8>),
    /// In a file that has no name any more.
    Spooled(File),
}

impl Packed {
    /// Packs a file of WAL after it was held against its name; what was compressed is decompressed and compared.
    ///
    /// # Errors
    /// [`Error::Damaged`] where it is not what its name says; [`Error::Crypt`] where a recipient cannot be used.
    pub fn new(name: WalName, plain: &[u8], packing: &Packing) -> Result<Packed, Error> {
        let header = check(&name, &plain[..plain.len().min(header::LONG_HEADER_BYTES)], plain.len() as u64)?;
        let fork = fork(&name, plain)?;
        let object = pack(plain, packing)?;
        let plain = (plain.len() as u64, Sha256::of(plain));
        let extents = Extents { plain, object: (object.len() as u64, Sha256::of(&object)) };
        Ok(Packed::claimed(name, header, extents, fork, Body::Memory(object), packing))
    }

    /// Packs a file of `bytes` bytes: in memory up to [`MAX_IN_MEMORY_BYTES`], else by way of a spool in `$TMPDIR`.
    ///
    /// # Errors
    /// As [`Packed::new`]; [`Error::Io`] where it cannot be read, or changes its size; naming `object`.
    pub fn from_file(name: WalName, object: &str, file: &mut File, bytes: u64, packing: &Packing) -> Result<Packed, Error> {
        let failed = |error| Error::io(object, error);
        let whole = |found: u64| {
            if found == bytes { Ok(()) } else { Err(Error::damaged(object, "its size changed while it was read")) }
        };
        if name.segment().is_none() || matches!(name, WalName::Backup { .. }) {
            too_large(&name, bytes)?;
        }
        if bytes <= MAX_IN_MEMORY_BYTES {
            let mut plain = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
            file.take(bytes + 1).read_to_end(&mut plain).map_err(failed)?;
            whole(plain.len() as u64)?;
            return Packed::new(name, &plain, packing);
        }
        let mut first = [0; header::LONG_HEADER_BYTES];
        file.read_exact(&mut first).and_then(|()| file.rewind()).map_err(failed)?;
        let header = check(&name, &first, bytes)?;
        let (spool, extents) = spool(object, file, packing)?;
        whole(extents.plain.0)?;
        Ok(Packed::claimed(name, header, extents, None, Body::Spooled(spool), packing))
    }

    fn claimed(
        name: WalName,
        header: Option<header::Header>,
        extents: Extents,
        fork: Option<Fork>,
        body: Body,
        packing: &Packing,
    ) -> Packed {
        let system = header.map(|header| header.system_identifier).or(packing.system_identifier);
        let claim = Claim::new(packing.cluster, name, system, extents, fork);
        let claim_text = claim.encode(packing.signing_key);
        Packed { name, header, claim, claim_text, encrypted: packing.recipients.is_some(), body }
    }

    /// Its name.
    pub fn name(&self) -> WalName {
        self.name
    }

    /// Its header; none where such a file has none.
    pub fn header(&self) -> Option<&header::Header> {
        self.header.as_ref()
    }

    /// What will be said of it.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Which content it has.
    pub fn content(&self) -> Content {
        self.claim.content()
    }

    /// Whether the object is encrypted.
    pub fn encrypted(&self) -> bool {
        self.encrypted
    }

    pub(crate) fn claim_text(&self) -> &[u8] {
        &self.claim_text
    }
}

/// Holds a file against its name; gives the header where it has one.
fn check(name: &WalName, first: &[u8], bytes: u64) -> Result<Option<header::Header>, Error> {
    match name {
        WalName::Segment(segment) => header::check_segment(first, bytes, segment).map(Some),
        WalName::Partial(segment) => {
            let header = header::check_beginning(first, segment)?;
            // PostgreSQL renames the segment, preallocated as it is; what pg_receivewal leaves may be shorter.
            if bytes > header.segment_size.bytes() {
                return Err(Error::damaged(name, format!("{bytes} bytes are more than a segment")));
            }
            Ok(Some(header))
        }
        WalName::History(_) | WalName::Backup { .. } if bytes == 0 => Err(Error::damaged(name, "it is empty")),
        WalName::History(_) | WalName::Backup { .. } => too_large(name, bytes).map(|()| None),
    }
}

fn too_large(name: &WalName, bytes: u64) -> Result<(), Error> {
    if bytes > name.most_bytes() { Err(Error::damaged(name, format!("{bytes} bytes: no such text is so long"))) } else { Ok(()) }
}

/// Where the timeline of a history came from.
fn fork(name: &WalName, plain: &[u8]) -> Result<Option<Fork>, Error> {
    let WalName::History(timeline) = name else {
        let text = !matches!(name, WalName::Backup { .. }) || plain.starts_with(b"START WAL LOCATION: ");
        return if text { Ok(None) } else { Err(Error::damaged(name, "it does not begin with START WAL LOCATION")) };
    };
    let history = History::parse(*timeline, plain)?;
    Ok(history.switches.last().map(|switch| Fork { parent_timeline: switch.timeline, forked_at: switch.at }))
}

/// Compresses and encrypts; compares what comes out of the compressed bytes before they are encrypted.
pub(crate) fn pack(plain: &[u8], packing: &Packing) -> Result<Vec<u8>, Error> {
    encrypt(compress(plain, packing)?, packing)
}

/// Compresses, and compares what comes out again.
pub(crate) fn compress(plain: &[u8], packing: &Packing) -> Result<Vec<u8>, Error> {
    let failed = |error| Error::io("compressing", error);
    let mut compressor = zstd::bulk::Compressor::new(packing.level).map_err(failed)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true)).map_err(failed)?;
    let compressed = compressor.compress(plain).map_err(failed)?;
    if !decompresses_to(&compressed, plain).map_err(failed)? {
        return Err(failed(io::Error::other("zstd gives other bytes back: faulty memory?")));
    }
    Ok(compressed)
}

/// Encrypts, where there is somebody to encrypt to.
pub(crate) fn encrypt(compressed: Vec<u8>, packing: &Packing) -> Result<Vec<u8>, Error> {
    let Some(recipients) = packing.recipients else { return Ok(compressed) };
    let failed = |error| Error::io("encrypting", error);
    let output = Vec::with_capacity(compressed.len() + compressed.len() / 1024 + 4096);
    let mut encrypting = Encryptor::new(recipients)?.begin(output, Format::Binary).map_err(failed)?;
    encrypting.write_all(&compressed).map_err(failed)?;
    encrypting.finish().map_err(failed)
}

fn decompresses_to(compressed: &[u8], plain: &[u8]) -> io::Result<bool> {
    let mut decoder = zstd::Decoder::with_buffer(compressed)?;
    let (mut chunk, mut rest) = (vec![0; CHUNK_BYTES], plain);
    loop {
        let n = dr_pipe::stream::fill(&mut decoder, &mut chunk)?;
        match rest.split_at_checked(n) {
            Some((expected, after)) if expected == &chunk[..n] => rest = after,
            _ => return Ok(false),
        }
        if n == 0 {
            return Ok(rest.is_empty());
        }
    }
}

/// The object of a large segment, in a file without a name. What was compressed is decompressed
/// and compared by its digest before it is encrypted.
fn spool(object: &str, file: &mut File, packing: &Packing) -> Result<(File, Extents), Error> {
    let failed = |error| Error::io(object, error);
    let spooling = |error| Error::io("spooling in $TMPDIR", error);
    let mut compressed = zstd::Encoder::new(tempfile::tempfile().map_err(spooling)?, packing.level).map_err(spooling)?;
    compressed.include_checksum(true).map_err(spooling)?;
    let plain = copy(file, &mut compressed).map_err(failed)?;
    let mut compressed = compressed.finish().map_err(spooling)?;
    compressed.rewind().map_err(spooling)?;
    let back = copy(&mut zstd::Decoder::new(&mut compressed).map_err(spooling)?, &mut io::sink()).map_err(spooling)?;
    if back.extent() != plain.extent() {
        return Err(spooling(io::Error::other("zstd gives other bytes back: faulty memory?")));
    }
    compressed.rewind().map_err(spooling)?;
    let (spool, tally) = match packing.recipients {
        None => {
            let tally = copy(&mut compressed, &mut io::sink()).map_err(spooling)?;
            (compressed, tally)
        }
        Some(recipients) => {
            let output = TallyWriter::new(tempfile::tempfile().map_err(spooling)?);
            let mut encrypting = Encryptor::new(recipients)?.begin(output, Format::Binary).map_err(spooling)?;
            copy(&mut compressed, &mut encrypting).map_err(spooling)?;
            let output = encrypting.finish().map_err(spooling)?;
            let tally = output.tally().clone();
            (output.into_inner(), tally)
        }
    };
    let (plain, written) = (plain.extent(), tally.extent());
    Ok((spool, Extents { plain: (plain.bytes, plain.sha256), object: (written.bytes, written.sha256) }))
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<Tally> {
    let (mut chunk, mut tally) = (vec![0; CHUNK_BYTES], Tally::default());
    loop {
        match dr_pipe::stream::fill(from, &mut chunk)? {
            0 => return Ok(tally),
            n => {
                to.write_all(&chunk[..n])?;
                tally.update(&chunk[..n]);
            }
        }
    }
}
