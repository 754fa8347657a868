//! How many bytes went by, and what is their SHA-256?

use std::fmt;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use sha2::Digest;

use crate::record::Extent;

/// A SHA-256 digest; written as 64 lower-case hexadecimal characters, as `sha256sum` prints it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Sha256(sha2::Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Sha256> for String {
    fn from(digest: Sha256) -> String {
        digest.to_string()
    }
}

impl TryFrom<String> for Sha256 {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut bytes = [0; 32];
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(format!("{text:?} is not a digest: upper-case letters"));
        }
        hex::decode_to_slice(&text, &mut bytes).map_err(|error| format!("{text:?} is not a SHA-256 digest: {error}"))?;
        Ok(Sha256(bytes))
    }
}

/// Counts and digests a stream as it goes by.
#[derive(Clone, Default)]
pub struct Tally {
    bytes: u64,
    hash: sha2::Sha256,
}

impl Tally {
    /// Takes the next bytes of the stream.
    pub fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
    }

    /// Bytes seen so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Size and digest of all that went by.
    pub fn extent(&self) -> Extent {
        Extent { bytes: self.bytes, sha256: Sha256(self.hash.clone().finalize().into()) }
    }
}

/// A writer that tallies what is written through it.
pub struct TallyWriter<W> {
    inner: W,
    tally: Tally,
}

impl<W: Write> TallyWriter<W> {
    /// Tallies from here on.
    pub fn new(inner: W) -> Self {
        TallyWriter { inner, tally: Tally::default() }
    }

    /// What has been written so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The writer beneath.
    pub fn into_inner(self) -> W {
        self.inner
    }
}

impl<W: Write> Write for TallyWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.tally.update(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_what_sha256sum_prints() {
        let digest = Sha256::of(b"abc");
        assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(Sha256::try_from(digest.to_string()), Ok(digest));
        assert!(Sha256::try_from(digest.to_string().to_uppercase()).is_err());
        assert!(Sha256::try_from("ba78".to_owned()).is_err());
    }
}
