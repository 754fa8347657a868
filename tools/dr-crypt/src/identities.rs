//! Who is opening a stream?

use std::io::Read;

use age::ssh::UnsupportedKey;
use age::{DecryptError, IdentityFile, ssh};
use age_core::secrecy::zeroize::Zeroize;

use crate::{Error, Unattended};

/// How a file begins in which minisign keeps a public key.
const MINISIGN_PUBLIC: &str = "untrusted comment: minisign public key";
/// No more is read of a file to see whether it is a public key.
const MAX_PUBLIC_BYTES: u64 = 64 << 10;

/// With what an encrypted stream is opened.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct IdentityArgs {
    /// Open with the identities in FILE (a path, or cred:NAME); may be repeated
    #[arg(short, long = "identity", value_name = "FILE", env = "DR_IDENTITY", value_delimiter = ',')]
    pub identities: Vec<String>,
}

/// The identities that were given, in that order.
pub struct Identities(Vec<Box<dyn age::Identity + Send + Sync>>);

impl Identities {
    /// Reads the files that were named: age identities, or one ssh private key each. `tool` stands before what plugins say.
    ///
    /// # Errors
    /// [`Error::NoIdentity`], [`Error::IdentityFile`], [`Error::Protected`]; [`Error::Plugin`] where one is not installed;
    /// [`Error::Secret`] where a file cannot be read, or others can read it too.
    pub fn read(args: &IdentityArgs, tool: &'static str) -> Result<Self, Error> {
        if args.identities.is_empty() {
            return Err(Error::NoIdentity);
        }
        let mut all = Vec::new();
        for path in &args.identities {
            // Who named a public key is told that before its mode, which would be right for one.
            let read = dr_pipe::secret::read(path).map_err(|failure| public(path).unwrap_or(Error::Secret(failure)));
            let mut text = read?;
            let found = parse(path, &text, tool);
            text.zeroize();
            all.extend(found?);
        }
        Ok(Identities(all))
    }

    pub(crate) fn as_age(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.0.iter().map(|identity| &**identity as &dyn age::Identity)
    }
}

type Parsed = Vec<Box<dyn age::Identity + Send + Sync>>;

fn parse(path: &str, text: &str, tool: &'static str) -> Result<Parsed, Error> {
    if text.starts_with("age-encryption.org/") || text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----") {
        let hint = format!("for a restore, decrypt it into a file that only you can read: (umask 077; age -d -o PLAIN {path})");
        return Err(Error::Protected { path: path.into(), hint });
    }
    if text.trim_start().starts_with("-----BEGIN") {
        return parse_ssh(path, text).map(|identity| vec![identity]);
    }
    parse_age(path, text, tool)
}

fn parse_age(path: &str, text: &str, tool: &'static str) -> Result<Parsed, Error> {
    let wrong = |place: String, reason: &str| Error::IdentityFile { place, reason: reason.into() };
    let mut all = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // One line at a time, as the crate's own message would name no file and count from the start of the text.
        let parsed = IdentityFile::from_buffer(line.as_bytes());
        let parsed = parsed.map_err(|_| wrong(format!("{path}:{number}"), not_an_identity(line)))?;
        let found = parsed.with_callbacks(Unattended { tool }).into_identities();
        all.extend(found.map_err(|error| match error {
            DecryptError::PluginResolve(error) => Error::Plugin(error.to_string()),
            other => wrong(format!("{path}:{number}"), &other.to_string()),
        })?);
    }
    if all.is_empty() {
        return Err(wrong(path.into(), "it holds no identity"));
    }
    Ok(all)
}

/// What is wrong with a file that was refused, where it is a public key.
fn public(path: &str) -> Option<Error> {
    let located = dr_pipe::secret::locate(path).ok().filter(|located| located.is_file())?;
    let mut text = String::new();
    std::fs::File::open(located).ok()?.take(MAX_PUBLIC_BYTES).read_to_string(&mut text).ok()?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first = lines.next().filter(|line| is_public(line) || line.starts_with(MINISIGN_PUBLIC))?;
    Some(Error::IdentityFile { place: path.into(), reason: not_an_identity(first).into() })
}

/// Whether a line is a recipient.
fn is_public(line: &str) -> bool {
    line.starts_with("age1") || line.starts_with("ssh-")
}

fn not_an_identity(line: &str) -> &'static str {
    if is_public(line) {
        "a public key opens nothing: the identity is the secret key that belongs to it"
    } else if line.starts_with(MINISIGN_PUBLIC) {
        "a public key of minisign checks signatures, and opens nothing: -p takes it"
    } else if line.starts_with("untrusted comment:") {
        "a key of minisign signs, and opens nothing"
    } else {
        "neither an age identity nor a comment"
    }
}

fn parse_ssh(path: &str, text: &str) -> Result<Box<dyn age::Identity + Send + Sync>, Error> {
    let wrong = |reason: String| Error::IdentityFile { place: path.into(), reason };
    let protected = || Error::Protected {
        path: path.into(),
        hint: format!("for a restore, take the passphrase off a copy: cp {path} PLAIN; ssh-keygen -p -N '' -f PLAIN"),
    };
    match ssh::Identity::from_buffer(text.trim_start().as_bytes(), None) {
        Ok(ssh::Identity::Encrypted(_)) => Err(protected()),
        Ok(ssh::Identity::Unsupported(UnsupportedKey::EncryptedPem | UnsupportedKey::EncryptedSsh(_))) => Err(protected()),
        Ok(ssh::Identity::Unsupported(UnsupportedKey::Hardware(kind) | UnsupportedKey::Type(kind))) => {
            Err(wrong(format!("ssh keys of type {kind} cannot decrypt")))
        }
        Ok(identity) => Ok(Box::new(identity)),
        Err(_) => Err(wrong("not an ssh private key of a known format".into())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const SECRET: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";

    fn read(text: &str, mode: u32) -> Result<Identities, Error> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
        Identities::read(&IdentityArgs { identities: vec![file.path().to_str().unwrap().into()] }, "test")
    }

    #[test]
    fn comments_and_several_identities_are_read() {
        assert_eq!(read(&format!("# created: today\n{SECRET}\r\n\n{SECRET}\n"), 0o600).unwrap().0.len(), 2);
    }

    #[test]
    fn an_identity_that_others_can_read_is_refused() {
        assert!(matches!(read(SECRET, 0o644), Err(Error::Secret(failure)) if failure.exit == dr_pipe::Exit::Denied));
    }

    #[test]
    fn a_public_key_is_told_before_its_mode() {
        let minisign =
            "untrusted comment: minisign public key 1FBDFEBBBCEAB6A5\nRWSltuq8u/69HyjyiejgtsMymSu8doSKZ41vsl2Ge1wYZX2xCi4DyXUg\n";
        for (text, why) in [
            (minisign, "a public key of minisign"),
            ("# mine\nage1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa\n", "a public key opens nothing"),
            ("ssh-ed25519 AAAA me\n", "a public key opens nothing"),
        ] {
            for mode in [0o600, 0o644] {
                assert!(
                    matches!(read(text, mode), Err(Error::IdentityFile { reason, .. }) if reason.contains(why)),
                    "{text} {mode:o}"
                );
            }
        }
    }

    #[test]
    fn f96_what_is_no_identity_is_named_but_not_shown() {
        for (text, why) in [
            ("", "it holds no identity"),
            ("# only\nAGE-SECRET-KEY-1BROKEN", ":2: neither an age identity"),
            ("age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa", "a public key opens nothing"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nBROKEN\n-----END OPENSSH PRIVATE KEY-----\n", "not an ssh private key"),
        ] {
            let found = read(text, 0o600).err().unwrap().to_string();
            assert!(found.contains(why) && !found.contains("BROKEN"), "{found}");
        }
    }

    #[test]
    fn an_identity_under_a_passphrase_is_refused_with_the_way_out() {
        for text in ["age-encryption.org/v1\n-> scrypt", "-----BEGIN AGE ENCRYPTED FILE-----\n"] {
            assert!(matches!(read(text, 0o600), Err(Error::Protected { hint, .. }) if hint.contains("age -d")));
        }
    }
}
