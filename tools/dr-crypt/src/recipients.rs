//! For whom is a stream encrypted?

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use age::ssh::ParseRecipientKeyError;
use age::{plugin, ssh, tag, tagpq, x25519};

use crate::{Error, Unattended};

/// The largest recipients file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Who shall be able to read what is encrypted.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RecipientArgs {
    /// Encrypt to RECIPIENT, an age or ssh public key; may be repeated
    #[arg(short, long = "recipient", value_name = "RECIPIENT", env = "DR_RECIPIENT", value_delimiter = ',')]
    pub recipients: Vec<String>,

    /// Encrypt to every recipient that FILE lists, one per line; may be repeated
    #[arg(short = 'R', long = "recipients-file", value_name = "FILE", env = "DR_RECIPIENTS", value_delimiter = ',')]
    pub recipients_files: Vec<PathBuf>,
}

/// One or more recipients, none of them twice.
pub struct Recipients {
    given: Vec<String>,
    keys: Vec<Box<dyn age::Recipient + Send + Sync>>,
    plugins: Vec<plugin::Recipient>,
}

impl Recipients {
    /// Takes the recipients that were typed, and reads the files that were named. `tool` stands before what plugins say.
    ///
    /// # Errors
    /// [`Error::NoRecipient`], [`Error::Recipient`], [`Error::RecipientsFile`]; [`Error::Plugin`] where one is not
    /// installed; [`Error::Io`] where a file cannot be read.
    pub fn read(args: &RecipientArgs, tool: &'static str) -> Result<Self, Error> {
        let mut found = Recipients { given: Vec::new(), keys: Vec::new(), plugins: Vec::new() };
        for given in &args.recipients {
            found.add(given.trim()).map_err(|reason| Error::Recipient { given: shortened(given), reason })?;
        }
        for path in &args.recipients_files {
            found.add_file(path)?;
        }
        if found.given.is_empty() {
            return Err(Error::NoRecipient);
        }
        found.resolve_plugins(tool)?;
        Ok(found)
    }

    /// The recipients as they were given, without comments.
    pub fn given(&self) -> &[String] {
        &self.given
    }

    pub(crate) fn as_age(&self) -> impl Iterator<Item = &dyn age::Recipient> {
        self.keys.iter().map(|key| &**key as &dyn age::Recipient)
    }

    fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        let wrong = |place: String, reason: String| Error::RecipientsFile { place, reason };
        if path == Path::new("-") {
            return Err(wrong("-".into(), "standard input is the data, recipients cannot come from it".into()));
        }
        let text = read_text(path)?;
        let before = self.given.len();
        let mut lines = 0;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            lines += 1;
            // The line itself is not shown: it may be a secret key that was put in the wrong file.
            self.add(line).map_err(|reason| wrong(format!("{}:{number}", path.display()), reason))?;
        }
        if lines == 0 && self.given.len() == before {
            return Err(wrong(path.display().to_string(), "it lists no recipient".into()));
        }
        Ok(())
    }

    /// Adds one recipient, unless it is there already. The error is the reason alone.
    fn add(&mut self, text: &str) -> Result<(), String> {
        let key = without_comment(text);
        if self.given.contains(&key) {
            return Ok(());
        }
        if let Ok(recipient) = x25519::Recipient::from_str(&key) {
            self.keys.push(Box::new(recipient));
        } else if let Ok(recipient) = tag::Recipient::from_str(&key) {
            self.keys.push(Box::new(recipient));
        } else if let Ok(recipient) = tagpq::Recipient::from_str(&key) {
            self.keys.push(Box::new(recipient));
        } else if let Ok(recipient) = plugin::Recipient::from_str(&key) {
            self.plugins.push(recipient);
        } else {
            self.keys.push(Box::new(ssh_recipient(&key)?));
        }
        self.given.push(key);
        Ok(())
    }

    fn resolve_plugins(&mut self, tool: &'static str) -> Result<(), Error> {
        let names: BTreeSet<_> = self.plugins.iter().map(plugin::Recipient::plugin).collect();
        for name in names {
            let recipient = plugin::RecipientPluginV1::new(name, &self.plugins, &[], Unattended { tool });
            self.keys.push(Box::new(recipient.map_err(|error| Error::Plugin(error.to_string()))?));
        }
        Ok(())
    }
}

fn ssh_recipient(key: &str) -> Result<ssh::Recipient, String> {
    let unknown = if key.starts_with("AGE-") || key.starts_with("-----BEGIN") {
        "this is a secret key, not a recipient"
    } else {
        "neither an age nor an ssh public key"
    };
    ssh::Recipient::from_str(key).map_err(|error| match error {
        ParseRecipientKeyError::Unsupported(kind) => format!("ssh keys of type {} cannot encrypt", shortened(&kind)),
        ParseRecipientKeyError::RsaModulusTooSmall => "an RSA key of less than 2048 bits is too weak".into(),
        ParseRecipientKeyError::RsaModulusTooLarge => "an RSA key of more than 4096 bits is not supported".into(),
        _ => unknown.into(),
    })
}

/// An ssh public key without what follows the key itself; anything else as it is.
fn without_comment(text: &str) -> String {
    let mut words = text.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some(kind), Some(key)) => format!("{kind} {key}"),
        _ => text.into(),
    }
}

/// What was typed, short enough for a message, and without more than the start of a key that may be secret.
fn shortened(text: &str) -> String {
    let start: String = text.chars().take(16).collect();
    if start.len() < text.len() { format!("{start}…") } else { start }
}

fn read_text(path: &Path) -> Result<String, Error> {
    let trouble = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::InvalidData => Error::RecipientsFile { place: path.display().to_string(), reason: "not a text".into() },
        _ => Error::Io { object: path.display().to_string(), source },
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(trouble)?;
    std::io::Read::read_to_string(&mut std::io::Read::take(file, MAX_FILE_BYTES + 1), &mut text).map_err(trouble)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::RecipientsFile { place: path.display().to_string(), reason: "larger than 1 MiB".into() });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    const AGE: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
    const SSH: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN";
    const TAG: &str = "age1tag1qt8lw0ual6avlwmwatk888yqnmdamm7xfd0wak53ut6elz5c4swx2yqdj4e";

    fn read(typed: &[&str], file: Option<&str>) -> Result<Recipients, Error> {
        let mut written = tempfile::NamedTempFile::new().unwrap();
        written.write_all(file.unwrap_or_default().as_bytes()).unwrap();
        let recipients_files = file.map(|_| written.path().to_owned()).into_iter().collect();
        Recipients::read(&RecipientArgs { recipients: typed.iter().map(|text| (*text).into()).collect(), recipients_files }, "test")
    }

    fn reason(typed: &[&str], file: Option<&str>) -> String {
        read(typed, file).err().unwrap().to_string()
    }

    #[test]
    fn a_file_may_have_comments_blank_lines_and_both_kinds_of_key() {
        let file = format!("# who\n\n  {AGE}  \r\n{SSH} alice@rust with words\n#{SSH}\n");
        assert_eq!(read(&[], Some(&file)).unwrap().given(), [AGE, SSH]);
    }

    #[test]
    fn the_same_recipient_twice_is_one() {
        let file = format!("{AGE}\n{SSH} another comment\n");
        assert_eq!(read(&[AGE, &format!("{SSH} alice")], Some(&file)).unwrap().given(), [AGE, SSH]);
    }

    #[test]
    fn hardware_recipients_are_known_without_a_plugin() {
        assert_eq!(read(&[TAG], None).unwrap().given(), [TAG]);
    }

    #[test]
    fn what_is_no_recipient_is_named_and_why() {
        assert_eq!(reason(&[], None), "no recipient is given");
        assert!(reason(&["age1nonsense"], None).contains("neither an age nor an ssh public key"));
        assert!(reason(&[], Some("# nobody\n")).ends_with("it lists no recipient"));
        assert!(reason(&[], Some(&format!("{AGE}\nage1nonsense\n"))).contains(":2: neither"));
        let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHFliOyIZs1gxGF3fmDxFykQhE88wy6AKDGFBfn0R6ZuvRmENABZQa9+pj9hMki+LX0qDJbmHTiWDbYv/cmFt/Q=";
        assert!(reason(&[ecdsa], None).contains("cannot encrypt"));
    }

    #[test]
    fn f96_a_secret_key_in_the_wrong_place_is_not_shown() {
        let secret = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
        for reason in [reason(&[secret], None), reason(&[], Some(secret))] {
            assert!(reason.contains("a secret key") && !reason.contains("GQ9778"), "{reason}");
        }
    }

    #[test]
    fn a_plugin_that_is_not_installed_is_said_so() {
        // Any bech32 string with such a prefix is a plugin's recipient; the data is the plugin's own affair.
        match read(&["age1nobodyhasthis1qpzry9xqsg40us"], None) {
            Err(Error::Plugin(why)) => assert!(why.contains("age-plugin-nobodyhasthis"), "{why}"),
            other => panic!("{:?}", other.map(|found| found.given)),
        }
    }
}
