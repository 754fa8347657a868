//! Is this manifest what the holder of the signing key has published? In minisign's format: `minisign -V` agrees.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blake2::{Blake2b512, Digest};

use crate::Error;
use crate::error::OTHER_KEY;
use crate::key::{PublicKey, SigningKey};

/// Largest signature file that is read, in bytes.
pub const MAX_BYTES: u64 = 64 << 10;

const UNTRUSTED: &str = "untrusted comment: ";
const TRUSTED: &str = "trusted comment: ";
/// Algorithm of a signature over the BLAKE2b-512 digest of the file: what minisign calls prehashed.
const PREHASHED: &[u8; 2] = b"ED";

/// What is signed, and what its signature says it is for.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// What it is, in a word: `manifest`.
    pub what: &'a str,
    /// Its key in its store.
    pub key: &'a str,
    /// The trusted comment: a signature moved to another name is found out by it.
    pub comment: &'a str,
}

/// The signature file of the manifest of backup `name`. Always the same bytes for the same key, manifest and name.
pub fn sign(key: &SigningKey, manifest: &[u8], name: &str) -> Vec<u8> {
    sign_text(key, manifest, &format!("{name}.json"), &trusted_comment(name))
}

/// The signature file of `text`, which stock minisign finds in `file`. Always the same bytes for the same arguments.
pub fn sign_text(key: &SigningKey, text: &[u8], file: &str, comment: &str) -> Vec<u8> {
    let signature = key.sign(&prehash(text));
    let global = key.sign(&[signature.as_slice(), comment.as_bytes()].concat());
    let signature = [PREHASHED.as_slice(), &key.number(), &signature].concat();
    let (signature, global) = (STANDARD.encode(signature), STANDARD.encode(global));
    format!("{UNTRUSTED}minisign -Vm {file} -P {}\n{signature}\n{TRUSTED}{comment}\n{global}\n", key.public_key()).into_bytes()
}

/// Checks that `signature` is one of the `trusted` keys' signature of `manifest` as backup `name`. Nothing else of the
/// manifest is looked at.
///
/// # Errors
/// [`Error::BadSignature`] for anything else, naming `manifest_key`.
pub fn verify(trusted: &[PublicKey], manifest_key: &str, manifest: &[u8], signature: &[u8], name: &str) -> Result<(), Error> {
    let subject = Subject { what: "manifest", key: manifest_key, comment: &trusted_comment(name) };
    verify_text(trusted, subject, manifest, signature)
}

/// Checks that `signature` is one of the `trusted` keys' signature of `text` as `subject`.
///
/// # Errors
/// [`Error::BadSignature`] for anything else, naming the subject's key.
pub fn verify_text(trusted: &[PublicKey], subject: Subject, text: &[u8], signature: &[u8]) -> Result<(), Error> {
    let bad = |why: &str| Error::BadSignature { manifest: subject.key.into(), why: why.into() };
    let parsed = parse(signature).ok_or_else(|| bad("its signature is no minisign signature"))?;
    let Some(key) = trusted.iter().find(|key| key.number() == parsed.number) else {
        let numbers: Vec<_> = trusted.iter().map(|key| hex(key.number())).collect();
        return Err(bad(&format!("{OTHER_KEY}{}, not with {}", hex(parsed.number), numbers.join(" or "))));
    };
    if !key.fits(&prehash(text), &parsed.signature) {
        return Err(bad(&format!("the signature does not fit: the {} was changed or forged", subject.what)));
    }
    if !key.fits(&[parsed.signature.as_slice(), parsed.comment.as_bytes()].concat(), &parsed.global) {
        return Err(bad("the signature's comment was changed"));
    }
    if parsed.comment != subject.comment {
        let of = if subject.what == "manifest" { "backup" } else { subject.what };
        return Err(bad(&format!("the signature is that of another {of}")));
    }
    Ok(())
}

/// Whether a signature file that is good is, to its last byte, as this program writes it for `file`, or as stock minisign does.
/// Its first line is under no signature: damage to it, or to its last byte, shows nowhere else.
pub fn is_intact(trusted: &[PublicKey], signature: &[u8], file: &str) -> bool {
    let Some(Parsed { number, signature: detached, comment, global }) = parse(signature) else { return false };
    let numbered = trusted.iter().filter(|key| key.number() == number);
    let ours = numbered.map(|key| format!("minisign -Vm {file} -P {key}"));
    let detached = STANDARD.encode([PREHASHED.as_slice(), &number, &detached].concat());
    let rest = format!("\n{detached}\n{TRUSTED}{comment}\n{}\n", STANDARD.encode(global));
    let written = |first: String| format!("{UNTRUSTED}{first}{rest}").into_bytes() == signature;
    ours.chain(["signature from minisign secret key".to_owned()]).any(written)
}

/// What the signature of a manifest says it is for.
fn trusted_comment(name: &str) -> String {
    format!("dr manifest {name}")
}

fn prehash(bytes: &[u8]) -> [u8; 64] {
    Blake2b512::digest(bytes).into()
}

/// A key's number as minisign prints it: little-endian, so last byte first.
fn hex(number: [u8; 8]) -> String {
    format!("{:016X}", u64::from_le_bytes(number))
}

struct Parsed<'a> {
    number: [u8; 8],
    signature: [u8; 64],
    comment: &'a str,
    global: [u8; 64],
}

/// Four lines and nothing else: a comment, the signature, the trusted comment, the signature over both.
fn parse(text: &[u8]) -> Option<Parsed<'_>> {
    let text = std::str::from_utf8(text).ok()?;
    let lines: Vec<_> =
        text.strip_suffix('\n').unwrap_or(text).split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
    let [untrusted, signature, comment, global] = lines.as_slice() else { return None };
    untrusted.strip_prefix(UNTRUSTED)?;
    let signature: [u8; 74] = STANDARD.decode(signature).ok()?.try_into().ok()?;
    let (head, signature) = signature.split_at(10);
    Some(Parsed {
        number: head.strip_prefix(PREHASHED)?.try_into().ok()?,
        signature: signature.try_into().ok()?,
        comment: comment.strip_prefix(TRUSTED)?,
        global: STANDARD.decode(global).ok()?.try_into().ok()?,
    })
}
