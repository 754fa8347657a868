//! The keys that sign manifests: in minisign's own format, so that `minisign -G` makes them and `minisign -V` checks with
//! them (<https://jedisct1.github.io/minisign/>, "Format").
//!
//! The `minisign` crate is not used: it signs with random nonces, so that sealing again would give another signature where
//! a store accepts only the same bytes, and it refuses the unencrypted keys of minisign 0.11, which carry no checksum.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use dr_pipe::{Failure, secret};
use ed25519_dalek::{Signer, VerifyingKey};

use crate::Error;
use crate::error::NO_PUBLIC_KEY;

/// Bytes of a key's number, by which a signature names its key.
const NUMBER_BYTES: usize = 8;
/// `alg[2] kdf[2] checksum_alg[2] salt[32] opslimit[8] memlimit[8] number[8] secret and public key[64] checksum[32]`
const SECRET_BYTES: usize = 158;
/// `alg[2] number[8] public key[32]`
const PUBLIC_BYTES: usize = 42;

/// A key's number, as it stands in every signature made with it.
pub(crate) type Number = [u8; NUMBER_BYTES];

/// A secret key that signs manifests. It never shows itself.
pub struct SigningKey {
    number: Number,
    secret: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// Reads an unencrypted secret key as `minisign -GW` writes it; `path` may be `cred:NAME`.
    ///
    /// # Errors
    /// What [`secret::read`] refuses; [`Error::EncryptedKey`] if it has a password; [`Error::BadKey`] if it is no such key.
    pub fn load(path: &str) -> Result<Self, Error> {
        let text = secret::read(path).map_err(|failure| failure.within("signing key"))?;
        Self::parse(path, &text)
    }

    fn parse(path: &str, text: &str) -> Result<Self, Error> {
        let bad = |why: &str| Error::BadKey { key: path.into(), why: format!("not a minisign secret key: {why}") };
        let bytes = decode::<SECRET_BYTES>(text).ok_or_else(|| bad("it is not 158 bytes of base64 below a comment"))?;
        let (head, checksum) = bytes.split_at(SECRET_BYTES - 32);
        let (parameters, pair) = head.split_at(SECRET_BYTES - 32 - 64);
        if &parameters[..2] != b"Ed" {
            return Err(bad("it is not an Ed25519 key"));
        }
        match &parameters[2..4] {
            [0, 0] => {}
            b"Sc" => return Err(Error::EncryptedKey { path: path.into() }),
            _ => return Err(bad("it is protected in an unknown way")),
        }
        let number: Number = parameters[parameters.len() - NUMBER_BYTES..].try_into().expect("a slice of that length");
        let mut hash = Blake2b::<U32>::new();
        hash.update(&parameters[..2]);
        hash.update(number);
        hash.update(pair);
        // minisign 0.11 leaves the checksum of an unencrypted key empty; the public half below still proves the secret one.
        if checksum != [0; 32] && checksum != hash.finalize().as_slice() {
            return Err(bad("its checksum is wrong"));
        }
        let pair: [u8; 64] = pair.try_into().expect("a slice of that length");
        let secret =
            ed25519_dalek::SigningKey::from_keypair_bytes(&pair).map_err(|_| bad("its two halves do not belong together"))?;
        Ok(SigningKey { number, secret })
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey { number: self.number, key: self.secret.verifying_key() }
    }

    pub(crate) fn number(&self) -> Number {
        self.number
    }

    /// The Ed25519 signature (RFC 8032) of `message`: always the same for the same message.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.secret.sign(message).to_bytes()
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public_key())
    }
}

/// A public key that checks signatures of manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey {
    number: Number,
    key: VerifyingKey,
}

impl PublicKey {
    /// Reads a public key: the 56 characters that minisign prints (`RW…`), or the file it writes.
    ///
    /// # Errors
    /// 66, 74 or 77 if the file cannot be read; [`Error::BadKey`] if it holds no such key.
    pub fn load(key: &str) -> Result<Self, Error> {
        let is_text = key.len() == 56 && key.starts_with("RW") || key.starts_with("age1");
        if is_text && !Path::new(key).exists() {
            return Self::parse(key, key);
        }
        let text = std::fs::read_to_string(key).map_err(|error| Failure::io(format!("public key {key}"), &error))?;
        Self::parse(key, &text)
    }

    fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let bad = |why: &str| Error::BadKey { key: name.into(), why: format!("{NO_PUBLIC_KEY}{why}") };
        let bytes = decode::<PUBLIC_BYTES>(text).ok_or_else(|| bad(taken_for_public(text)))?;
        let (head, key) = bytes.split_at(2 + NUMBER_BYTES);
        if &head[..2] != b"Ed" {
            return Err(bad("it is not an Ed25519 key"));
        }
        let key: [u8; 32] = key.try_into().expect("a slice of that length");
        let key = VerifyingKey::from_bytes(&key).map_err(|_| bad("it is no point of the curve"))?;
        if key.is_weak() {
            return Err(bad("any signature would fit it"));
        }
        Ok(PublicKey { number: head[2..].try_into().expect("a slice of that length"), key })
    }

    pub(crate) fn number(&self) -> Number {
        self.number
    }

    /// Whether `signature` is this key's Ed25519 signature of `message`.
    pub(crate) fn fits(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
    }
}

impl std::fmt::Display for PublicKey {
    /// As minisign prints it: 56 characters.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = [b"Ed".as_slice(), &self.number, self.key.as_bytes()].concat();
        f.write_str(&STANDARD.encode(bytes))
    }
}

/// What a text is that is no public key.
fn taken_for_public(text: &str) -> &'static str {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    match lines.next() {
        Some(line) if line.starts_with("AGE-SECRET-KEY-") || line.starts_with("AGE-PLUGIN-") => {
            "it is an age identity, which decrypts, and checks no signature"
        }
        Some(line) if line.starts_with("age1") || line.starts_with("ssh-") => {
            "it is a recipient, to whom is encrypted, and checks no signature"
        }
        _ if decode::<SECRET_BYTES>(text).is_some() => "it is the secret key, which signs; the public one lies beside it",
        _ => "it is not 56 characters of base64",
    }
}

/// The bytes in the line after the comment, or in the only line there is; none if they are not `N`.
fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let lines: Vec<_> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let encoded = match lines.as_slice() {
        [only] => only,
        [comment, encoded] if comment.starts_with("untrusted comment:") => encoded,
        _ => return None,
    };
    STANDARD.decode(encoded).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Made with `minisign -GW` (0.11): no checksum.
    const SECRET: &str = "untrusted comment: minisign encrypted secret key\n\
        RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAApbbqvLv+vR/bXcC8mDyVblpA8zSMkWKxuTVwL5Kaa9\
        ifgSmDjSIdESjyiejgtsMymSu8doSKZ41vsl2Ge1wYZX2xCi4DyXUgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
    const PUBLIC: &str = "RWSltuq8u/69HyjyiejgtsMymSu8doSKZ41vsl2Ge1wYZX2xCi4DyXUg";

    #[test]
    fn keys_of_minisign_are_read_and_belong_together() {
        let key = SigningKey::parse("main.key", SECRET).unwrap();
        assert_eq!(key.public_key(), PublicKey::load(PUBLIC).unwrap());
        assert_eq!(key.public_key().to_string(), PUBLIC);
        assert!(!format!("{key:?}").contains("RWQAAEIy"), "a secret key never shows itself");
    }

    #[test]
    fn a_damaged_or_encrypted_secret_key_is_refused() {
        let bytes = decode::<SECRET_BYTES>(SECRET).unwrap();
        for place in 0..SECRET_BYTES {
            let mut damaged = bytes;
            damaged[place] ^= 1;
            let parsed = SigningKey::parse("k", &STANDARD.encode(damaged));
            // The parameters of the password's function mean nothing where there is no password, and the number none without
            // a checksum.
            assert_eq!(parsed.is_ok(), (4..62).contains(&place), "{place}");
        }
        let mut encrypted = bytes;
        encrypted[2..4].copy_from_slice(b"Sc");
        assert!(matches!(SigningKey::parse("k", &STANDARD.encode(encrypted)), Err(Error::EncryptedKey { .. })));
        assert!(matches!(SigningKey::parse("k", PUBLIC), Err(Error::BadKey { .. })));
        assert!(matches!(SigningKey::parse("k", ""), Err(Error::BadKey { .. })));
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        for text in ["", SECRET, "RWQ", &PUBLIC.replace("RW", "RX")] {
            assert!(matches!(PublicKey::parse("k", text), Err(Error::BadKey { .. })), "{text:?}");
        }
        let identity = "# created: 2026-01-25\n# public key: age1x\nAGE-SECRET-KEY-1QQ\n";
        for (text, what) in [(identity, "an age identity"), ("age1x\n", "a recipient"), (SECRET, "the secret key")] {
            let failure = Failure::from(PublicKey::parse("k", text).unwrap_err());
            assert!(
                failure.message.contains(what) && failure.hint.contains(".pub") && !failure.hint.contains("-GW"),
                "{failure:?}"
            );
            assert!(!failure.message.contains("SECRET-KEY-1"), "{failure:?}");
        }
        assert!(matches!(PublicKey::load("age1x"), Err(Error::BadKey { .. })), "it is not looked for as a file");
        let all_zeroes = STANDARD.encode([b"Ed".as_slice(), &[0; 40]].concat());
        assert!(matches!(PublicKey::parse("k", &all_zeroes), Err(Error::BadKey { .. })));
    }
}
