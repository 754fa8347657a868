//! How is a part of an age stream read without what lies before it?
//!
//! The body of an age stream is a row of chunks of 64 KiB, each encrypted and authenticated alone under a counter, the last
//! one marked as such. So any offset is one chunk away, and the true length is proven by opening the last chunk as the last.

use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use age::stream::StreamReader;
use age::{DecryptError, Decryptor};
use age_core::format::{FileKey, Stanza};
use age_core::secrecy::ExposeSecret;

use crate::source::{self, Source};
use crate::{Error, Header, Identities, decrypt};

/// Plain bytes in a chunk.
const CHUNK_BYTES: u64 = 64 * 1024;

/// What encryption adds to a chunk.
const TAG_BYTES: u64 = 16;

/// What stands between the header and the first chunk.
const NONCE_BYTES: u64 = 16;

/// How many plain bytes a binary age stream of `ciphertext_len` bytes carries whose header is `header_len` bytes long (from
/// the version line to the newline after the MAC). None where no stream has such a length: it was cut or added to.
///
/// This is arithmetic: only opening the last chunk proves that it is the last one.
pub fn plaintext_len(ciphertext_len: u64, header_len: u64) -> Option<u64> {
    let body = ciphertext_len.checked_sub(header_len)?.checked_sub(NONCE_BYTES)?;
    let chunks = body.div_ceil(CHUNK_BYTES + TAG_BYTES);
    let last = body - chunks.checked_sub(1)? * (CHUNK_BYTES + TAG_BYTES);
    // Only an empty stream has an empty last chunk.
    if last < TAG_BYTES || (last == TAG_BYTES && chunks > 1) {
        return None;
    }
    Some(body - chunks * TAG_BYTES)
}

/// An age stream whose header is read and whose file key is unwrapped, once for any number of readers. Cheap to clone.
#[derive(Clone)]
pub struct Unlocked(Arc<Key>);

struct Key {
    /// The header and the nonce.
    head: Vec<u8>,
    file_key: FileKey,
    plain_len: u64,
}

impl Unlocked {
    /// Reads the header at the start of `ciphertext`, finds the identity that opens it, and proves the length by opening
    /// the last chunk. Reads the header and the last chunk only.
    ///
    /// # Errors
    /// As [`decrypt`](crate::decrypt); [`Error::Damaged`] too where the last chunk is not the stream's end. An armored
    /// stream is refused with [`Error::NotAge`]: its bytes do not lie where arithmetic looks for them.
    pub fn open<R: Read + Seek>(ciphertext: &mut R, identities: &Identities) -> Result<Self, Error> {
        let mut input = Source(ciphertext);
        input.seek(SeekFrom::Start(0)).map_err(source::failed)?;
        let mut input = BufReader::new(input);
        let header = Header::read(&mut input)?;
        let mut head = header.bytes().to_vec();
        let header_len = head.len() as u64;
        input.by_ref().take(NONCE_BYTES).read_to_end(&mut head).map_err(source::failed)?;

        let finder = Finder { identities, found: Mutex::new(None) };
        let opened = Decryptor::new_buffered(&head[..]).and_then(|it| it.decrypt(std::iter::once(&finder as &dyn age::Identity)));
        opened.map_err(|error| decrypt::refusal(error, header.recipients()))?;
        let file_key = finder.found.into_inner().unwrap_or_else(PoisonError::into_inner).ok_or_else(|| no_key(&header))?;

        let ciphertext_len = input.seek(SeekFrom::End(0)).map_err(source::failed)?;
        let plain_len = plaintext_len(ciphertext_len, header_len)
            .ok_or_else(|| Error::Damaged(format!("no stream is {ciphertext_len} bytes long: it was cut or added to")))?;
        let unlocked = Unlocked(Arc::new(Key { head, file_key, plain_len }));
        let mut last = unlocked.stream(input.into_inner().0)?;
        last.seek(SeekFrom::End(0)).map_err(source::failed)?;
        Ok(unlocked)
    }

    /// The number of plain bytes; proven.
    pub fn plain_len(&self) -> u64 {
        self.0.plain_len
    }

    /// A reader of the plain bytes of `ciphertext`, which must be the stream this was opened from. Reads nothing of it yet.
    ///
    /// # Errors
    /// None are to be expected: the header was opened before.
    pub fn reader<R: Read + Seek>(&self, ciphertext: R) -> Result<Decrypted<R>, Error> {
        Ok(Decrypted { inner: self.stream(ciphertext)?, inner_at: 0, position: 0, len: self.0.plain_len, failed: false })
    }

    fn stream<R: Read + Seek>(&self, ciphertext: R) -> Result<Stream<R>, Error> {
        let known = Known(&self.0.file_key);
        let input = BufReader::new(Behind { key: Arc::clone(&self.0), position: 0, body: Source(ciphertext), body_at: None });
        let opened = Decryptor::new_buffered(input).and_then(|it| it.decrypt(std::iter::once(&known as &dyn age::Identity)));
        opened.map_err(|error| decrypt::refusal(error, "the key it was opened with".into()))
    }
}

type Stream<R> = StreamReader<BufReader<Behind<R>>>;

fn no_key(header: &Header) -> Error {
    Error::NoMatch(header.recipients())
}

/// The plain bytes of an age stream, readable at any offset. Every byte given is authenticated; reading at or beyond the
/// end gives none. Errors are explained by [`Error::reading`]; after one, open a new reader.
pub struct Decrypted<R: Read + Seek> {
    inner: Stream<R>,
    /// Where `inner` stands.
    inner_at: u64,
    /// Where the next read starts.
    position: u64,
    len: u64,
    failed: bool,
}

impl<R: Read + Seek> Decrypted<R> {
    /// Opens one reader; [`Unlocked`] opens many.
    ///
    /// # Errors
    /// As [`Unlocked::open`].
    pub fn open(mut ciphertext: R, identities: &Identities) -> Result<Self, Error> {
        Unlocked::open(&mut ciphertext, identities)?.reader(ciphertext)
    }

    /// The number of plain bytes; proven.
    pub fn plain_len(&self) -> u64 {
        self.len
    }

    /// Brings the stream beneath to `position`, which is before the end.
    fn follow(&mut self) -> io::Result<()> {
        if self.position == self.inner_at {
            return Ok(());
        }
        // At the start of a chunk, age's reader would look whether it is the end, for which it reads the last chunk. One
        // byte further on it need not; from there the way back is inside a chunk that is open.
        if self.position.is_multiple_of(CHUNK_BYTES) {
            self.inner.seek(SeekFrom::Start(self.position + 1))?;
        }
        self.inner.seek(SeekFrom::Start(self.position))?;
        self.inner_at = self.position;
        Ok(())
    }

    fn read_on(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.follow()?;
        match self.inner.read(buf)? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends early")),
            n => Ok(n),
        }
    }
}

impl<R: Read + Seek> Read for Decrypted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.len.saturating_sub(self.position);
        if left == 0 || buf.is_empty() {
            return Ok(0);
        }
        if self.failed {
            return Err(io::Error::other("an earlier read failed"));
        }
        let wanted = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        match self.read_on(&mut buf[..wanted]) {
            Ok(n) => {
                self.position += n as u64;
                self.inner_at = self.position;
                Ok(n)
            }
            Err(error) => {
                // The reader beneath may hold half a chunk that it would take for the start of the next one.
                self.failed = true;
                Err(source::unmark(error))
            }
        }
    }
}

impl<R: Read + Seek> Seek for Decrypted<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.len.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = target.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a seek to before the start"))?;
        Ok(self.position)
    }
}

/// Tries the identities, and keeps the file key that one of them unwraps.
struct Finder<'a> {
    identities: &'a Identities,
    found: Mutex<Option<FileKey>>,
}

impl age::Identity for Finder<'_> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        let result = self.identities.as_age().find_map(|identity| identity.unwrap_stanzas(stanzas))?;
        if let Ok(key) = &result {
            *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy(key));
        }
        Some(result)
    }
}

/// Gives a file key that was unwrapped before.
struct Known<'a>(&'a FileKey);

impl age::Identity for Known<'_> {
    fn unwrap_stanza(&self, _: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        Some(Ok(copy(self.0)))
    }
}

fn copy(key: &FileKey) -> FileKey {
    FileKey::init_with_mut(|bytes| bytes.copy_from_slice(key.expose_secret()))
}

/// A ciphertext whose head is already known: reads of it cost nothing, and seeks wait for the next read.
struct Behind<R> {
    key: Arc<Key>,
    position: u64,
    body: Source<R>,
    /// Where `body` stands; none where nobody knows.
    body_at: Option<u64>,
}

impl<R: Read + Seek> Read for Behind<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = match usize::try_from(self.position).ok().and_then(|start| self.key.head.get(start..)) {
            Some(mut head) if !head.is_empty() => head.read(buf)?,
            _ => {
                if self.body_at != Some(self.position) {
                    self.body_at = None;
                    self.body.seek(SeekFrom::Start(self.position))?;
                }
                let n = self.body.read(buf)?;
                self.body_at = Some(self.position + n as u64);
                n
            }
        };
        self.position += n as u64;
        Ok(n)
    }
}

impl<R: Read + Seek> Seek for Behind<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
            SeekFrom::End(_) => {
                self.body_at = None;
                Some(self.body.seek(to)?)
            }
        };
        self.position = target.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a seek to before the start"))?;
        Ok(self.position)
    }
}
