//! A file of WAL, ready for any number of stores: compressed, encrypted, and claimed.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};

use chrono::{DateTime, Utc};
use dr_catalogue::SigningKey;
use dr_crypt::{Encrypting, Encryptor, Format, Recipients};
use dr_pipe::record::Extent;
use dr_pipe::{ReadAhead, Sha256, Tally, TallyWriter};
use zstd::zstd_safe::{CLEVEL_DEFAULT, CParameter, Strategy};

use crate::claim::{Claim, Extents, Fork, Said};
use crate::layout::Content;
use crate::spare::{self, OBJECTS, PLAIN};
use crate::{Error, History, WalName, header};

/// The objects of files up to this size are made in memory; those of larger segments are spooled in `$TMPDIR`.
pub const MAX_IN_MEMORY_BYTES: u64 = 16 << 20;

/// Bytes that are read, digested and compressed at a time: few enough to stay in a processor's cache.
const CHUNK_BYTES: usize = 128 << 10;

/// How files of WAL are packed.
pub struct Packing<'a> {
    /// The cluster.
    pub cluster: &'a str,
    /// For whom objects are encrypted; none: they are not.
    pub recipients: Option<&'a Recipients>,
    /// Compression level of zstd, 1 to 19; see [`parameters`].
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
    /// Packs a file of WAL after it was held against its name.
    ///
    /// # Errors
    /// [`Error::Damaged`] where it is not what its name says; [`Error::Crypt`] where a recipient cannot be used.
    pub fn new(name: WalName, plain: &[u8], packing: &Packing) -> Result<Packed, Error> {
        Packed::from_memory(name, plain.to_vec(), None, packing)
    }

    /// Packs a file of `bytes` bytes, reading it once: in memory up to [`MAX_IN_MEMORY_BYTES`], else as it streams by, by way of a
    /// spool in `$TMPDIR`. `as_of`, where it is known: whatever was committed by then is in this file or before it.
    ///
    /// # Errors
    /// As [`Packed::new`]; [`Error::Io`] where it cannot be read, or changes its size; naming `object`.
    pub fn from_file(
        name: WalName,
        object: &str,
        (file, bytes): (&mut File, u64),
        as_of: Option<DateTime<Utc>>,
        packing: &Packing,
    ) -> Result<Packed, Error> {
        let failed = |error| Error::io(object, error);
        if bytes <= MAX_IN_MEMORY_BYTES {
            let mut plain = PLAIN.take(usize::try_from(bytes).unwrap_or_default() + 1);
            file.take(bytes + 1).read_to_end(&mut plain).map_err(failed)?;
            if plain.len() as u64 != bytes {
                return Err(changed(object));
            }
            return Packed::from_memory(name, plain, as_of, packing);
        }
        let mut first = [0; header::LONG_HEADER_BYTES];
        let n = dr_pipe::stream::fill(file, &mut first).map_err(failed)?;
        let header = check(&name, &first[..n], bytes)?;
        let rest = (bytes + 1).saturating_sub(n as u64);
        let whole = |file| io::Cursor::new(first[..n].to_vec()).chain(File::take(file, rest));
        let ahead = file.try_clone().and_then(|file| ReadAhead::new(whole(file)));
        // Where no more threads are to be had (ulimit), this one reads as well.
        let plain = ahead.map_or_else(|_| Plain::Here(first[..n].chain(file.take(rest)), Tally::default()), Plain::Ahead);
        let spool = tempfile::tempfile().map_err(|error| Error::io("spooling in $TMPDIR", error))?;
        let (spool, extents) = pack(object, plain, bytes, packing, spool)?;
        let said = Said { system: None, extents, as_of, fork: None };
        Ok(Packed::claimed(name, header, said, Body::Spooled(spool), packing))
    }

    /// Digests the bytes beside compressing them in one call, which is faster than as they stream by: zstd finds all that came before
    /// in one place.
    fn from_memory(name: WalName, plain: Vec<u8>, as_of: Option<DateTime<Utc>>, packing: &Packing) -> Result<Packed, Error> {
        let header = check(&name, &plain[..plain.len().min(header::LONG_HEADER_BYTES)], plain.len() as u64)?;
        let fork = fork(&name, &plain)?;
        let (bytes, digest, compressed) = std::thread::scope(|scope| {
            let digest = || Sha256::of(&plain);
            // Where no more threads are to be had (ulimit), this one does both.
            let beside = std::thread::Builder::new().spawn_scoped(scope, digest);
            let compressed = compress(&plain, packing);
            let digest = beside.map_or_else(|_| digest(), |thread| thread.join().expect("digesting does not panic"));
            compressed.map(|compressed| (plain.len() as u64, digest, compressed))
        })?;
        PLAIN.give_back(plain);
        let object = encrypt(compressed, packing)?;
        let extents = Extents { plain: (bytes, digest), object: (object.len() as u64, Sha256::of(&object)) };
        let said = Said { system: None, extents, as_of, fork };
        Ok(Packed::claimed(name, header, said, Body::Memory(object), packing))
    }

    fn claimed(name: WalName, header: Option<header::Header>, said: Said, body: Body, packing: &Packing) -> Packed {
        let system = header.map(|header| header.system_identifier).or(packing.system_identifier);
        let claim = Claim::new(packing.cluster, name, Said { system, ..said });
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

    /// How many bytes of memory it takes.
    pub fn memory_bytes(&self) -> u64 {
        match &self.body {
            Body::Memory(bytes) => bytes.len() as u64,
            Body::Spooled(_) => 0,
        }
    }

    pub(crate) fn claim_text(&self) -> &[u8] {
        &self.claim_text
    }
}

impl Drop for Packed {
    fn drop(&mut self) {
        if let Body::Memory(object) = &mut self.body {
            OBJECTS.give_back(std::mem::take(object));
        }
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

/// Bytes that are read once, and digested on the way.
enum Plain<R> {
    /// On a thread of its own.
    Ahead(ReadAhead),
    Here(R, Tally),
}

impl<R: Read> Plain<R> {
    /// Hands all of them on; gives how many there were, and their digest.
    fn feed(self, object: &str, mut to: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<Extent, Error> {
        let failed = |error| Error::io(object, error);
        match self {
            Plain::Ahead(mut ahead) => loop {
                let n = ahead.fill_buf().map_err(failed)?.len();
                if let Some(extent) = ahead.extent() {
                    return Ok(extent);
                }
                to(ahead.fill_buf().map_err(failed)?)?;
                ahead.consume(n);
            },
            Plain::Here(mut reader, mut tally) => {
                let mut chunk = vec![0; CHUNK_BYTES];
                loop {
                    let n = dr_pipe::stream::fill(&mut reader, &mut chunk).map_err(failed)?;
                    if n == 0 {
                        return Ok(tally.extent());
                    }
                    tally.update(&chunk[..n]);
                    to(&chunk[..n])?;
                }
            }
        }
    }
}

/// Reads `bytes` bytes and writes what is to be stored of them: compressed, and encrypted where there is somebody to encrypt to.
fn pack<W: Write>(object: &str, plain: Plain<impl Read>, bytes: u64, packing: &Packing, output: W) -> Result<(W, Extents), Error> {
    let failed = |error| Error::io("packing", error);
    let mut output = compressor(Sealing::begin(TallyWriter::new(output), packing)?, bytes, packing).map_err(failed)?;
    // zstd would refuse more than it was told to expect.
    let mut left = bytes;
    let plain = plain.feed(object, |chunk| {
        left = left.checked_sub(chunk.len() as u64).ok_or_else(|| changed(object))?;
        output.write_all(chunk).map_err(failed)
    })?;
    if left > 0 {
        return Err(changed(object));
    }
    let output = output.finish().and_then(Sealing::finish).map_err(failed)?;
    let written = output.tally().extent();
    let extents = Extents { plain: (plain.bytes, plain.sha256), object: (written.bytes, written.sha256) };
    Ok((output.into_inner(), extents))
}

fn changed(object: &str) -> Error {
    Error::damaged(object, "its size changed while it was read")
}

fn compressor<W: Write>(output: W, bytes: u64, packing: &Packing) -> io::Result<zstd::Encoder<'static, W>> {
    let mut compressor = zstd::Encoder::new(output, packing.level)?;
    parameters(packing.level).iter().try_for_each(|parameter| compressor.set_parameter(*parameter))?;
    compressor.set_pledged_src_size(Some(bytes))?;
    Ok(compressor)
}

/// What zstd is told besides the level. At level 3, its default, WAL takes its strategy `fast` with matches of five bytes and 32 Ki of
/// places to look at: records and pages repeat in short pieces, so that this stores as few bytes as zstd's own level 3, in
/// seven tenths of the time.
pub(crate) fn parameters(level: i32) -> &'static [CParameter] {
    const CHECKED: CParameter = CParameter::ChecksumFlag(true);
    match level {
        CLEVEL_DEFAULT => &[
            CHECKED,
            CParameter::Strategy(Strategy::ZSTD_fast),
            CParameter::MinMatch(5),
            CParameter::HashLog(15),
            CParameter::WindowLog(21),
        ],
        _ => &[CHECKED],
    }
}

/// Compresses a segment, or a piece of one, in one call.
pub(crate) fn compress(plain: &[u8], packing: &Packing) -> Result<Vec<u8>, Error> {
    let compressed = spare::compressing(packing.level, |compressor| {
        let mut compressed = OBJECTS.take(zstd::zstd_safe::compress_bound(plain.len()));
        compressor.compress_to_buffer(plain, &mut compressed).map(|_| compressed)
    });
    compressed.map_err(|error| Error::io("compressing", error))
}

/// Encrypts, where there is somebody to encrypt to.
pub(crate) fn encrypt(compressed: Vec<u8>, packing: &Packing) -> Result<Vec<u8>, Error> {
    if packing.recipients.is_none() {
        return Ok(compressed);
    }
    // age adds 16 bytes to each 64 KiB, and a header.
    let room = compressed.len() + compressed.len() / 4096 + 4096;
    let mut output = Sealing::begin(OBJECTS.take(room), packing)?;
    let sealed = output.write_all(&compressed).and_then(|()| output.finish());
    OBJECTS.give_back(compressed);
    sealed.map_err(|error| Error::io("encrypting", error))
}

/// Encrypts what is written, or does not.
enum Sealing<W: Write> {
    Plain(W),
    Encrypted(Encrypting<W>),
}

impl<W: Write> Sealing<W> {
    fn begin(output: W, packing: &Packing) -> Result<Self, Error> {
        let Some(recipients) = packing.recipients else { return Ok(Sealing::Plain(output)) };
        let encrypting = Encryptor::new(recipients)?.begin(output, Format::Binary);
        encrypting.map(Sealing::Encrypted).map_err(|error| Error::io("encrypting", error))
    }

    fn finish(self) -> io::Result<W> {
        match self {
            Sealing::Plain(output) => Ok(output),
            Sealing::Encrypted(encrypting) => encrypting.finish(),
        }
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sealing::Plain(output) => output.write(bytes),
            Sealing::Encrypted(encrypting) => encrypting.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sealing::Plain(output) => output.flush(),
            Sealing::Encrypted(encrypting) => encrypting.flush(),
        }
    }
}
