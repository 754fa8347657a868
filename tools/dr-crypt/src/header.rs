//! Is this an age header that may reach the parser?
//!
//! A header comes from whoever could write to the store, and is parsed before anything about it is proven. So its shape is
//! held against the grammar of <https://c2sp.org/age> first, line by line, and no more of it is kept than fits the limits.

use std::io::{BufRead, Read};

use crate::Error;
use crate::source;

/// The first line of every age stream of the version we read.
const MAGIC: &[u8] = b"age-encryption.org/v1\n";

/// What a version line of any version starts with.
pub(crate) const ANY_VERSION: &[u8] = b"age-encryption.org/";

/// The most recipient stanzas a header may have.
pub const MAX_STANZAS: usize = 64;

/// The longest header that is let through: [`MAX_STANZAS`] of the largest stanza in use (mlkem768x25519, about 1.6 KiB).
pub const MAX_HEADER_BYTES: usize = 128 * 1024;

/// Stanza types whose first argument tells which key they are for.
const TAGGED: [&str; 5] = ["ssh-ed25519", "ssh-rsa", "p256tag", "mlkem768p256tag", "piv-p256"];

/// An age header of the right shape and bounded size. Nothing in it is proven yet.
#[derive(Debug)]
pub struct Header {
    bytes: Vec<u8>,
    stanzas: Vec<String>,
}

impl Header {
    /// Reads a header, and not a byte more.
    ///
    /// # Errors
    /// [`Error::Empty`] where there is nothing; [`Error::NotAge`] where it is something else; [`Error::Header`] where it is
    /// cut short, malformed, or larger than [`MAX_HEADER_BYTES`] or [`MAX_STANZAS`]; [`Error::Io`] where reading fails.
    pub fn read(input: &mut impl BufRead) -> Result<Header, Error> {
        let mut header = Header { bytes: Vec::new(), stanzas: Vec::new() };
        header.read_version(input)?;
        let mut expect = Expect::Stanza;
        while expect != Expect::Nothing {
            let line = header.read_line(input)?;
            expect = header.check(&line, expect)?;
            header.bytes.extend(line);
            header.bytes.push(b'\n');
        }
        Ok(header)
    }

    /// The header as it was read, from the version line to the newline after the MAC.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// For whom the stream is encrypted, as far as the header tells: how many keys of each kind, and the tags of those that have one.
    /// The random stanzas that keep implementations honest (`…-grease`) are left out.
    pub fn recipients(&self) -> String {
        const SHOWN: usize = 10;
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for stanza in self.stanzas.iter().filter(|stanza| !stanza.ends_with("-grease")) {
            match counts.iter_mut().find(|(kind, _)| kind == stanza) {
                Some((_, count)) => *count += 1,
                None => counts.push((stanza, 1)),
            }
        }
        let named: Vec<String> = counts.into_iter().map(|(kind, count)| in_words(kind, count)).collect();
        let mut shown = named[..named.len().min(SHOWN)].to_vec();
        if named.len() > SHOWN {
            shown.push(format!("{} more", named.len() - SHOWN));
        }
        if shown.is_empty() { "nobody".into() } else { shown.join(", ") }
    }

    fn read_version(&mut self, input: &mut impl BufRead) -> Result<(), Error> {
        let limit = MAGIC.len() as u64;
        input.take(limit).read_until(b'\n', &mut self.bytes).map_err(source::failed)?;
        match self.bytes.as_slice() {
            MAGIC => Ok(()),
            [] => Err(Error::Empty),
            start if MAGIC.starts_with(start) => Err(cut_short()),
            start if start.starts_with(ANY_VERSION) => Err(Error::Header("a version of the format other than v1".into())),
            _ => Err(Error::NotAge),
        }
    }

    /// The next line, without its newline.
    fn read_line(&self, input: &mut impl BufRead) -> Result<Vec<u8>, Error> {
        let room = MAX_HEADER_BYTES - self.bytes.len();
        let mut line = Vec::new();
        input.take(room as u64).read_until(b'\n', &mut line).map_err(source::failed)?;
        match line.pop() {
            Some(b'\n') => Ok(line),
            Some(_) if line.len() + 1 == room => Err(too_long()),
            None if room == 0 => Err(too_long()),
            _ => Err(cut_short()),
        }
    }

    fn check(&mut self, line: &[u8], expect: Expect) -> Result<Expect, Error> {
        if expect == Expect::Body {
            return match line.len() {
                _ if !line.iter().all(is_base64) => Err(malformed("a stanza body that is not base64")),
                0..64 => Ok(Expect::StanzaOrMac),
                64 => Ok(Expect::Body),
                _ => Err(malformed("a stanza body line of more than 64 characters")),
            };
        }
        if let Some(arguments) = line.strip_prefix(b"-> ") {
            return self.take_stanza(arguments);
        }
        match line.strip_prefix(b"--- ") {
            Some(_) if expect == Expect::Stanza => Err(malformed("no stanza")),
            Some(mac) if mac.len() == 43 && mac.iter().all(is_base64) => Ok(Expect::Nothing),
            Some(_) => Err(malformed("a MAC that is not 43 characters of base64")),
            None => Err(malformed("a line that is neither a stanza nor the MAC")),
        }
    }

    fn take_stanza(&mut self, arguments: &[u8]) -> Result<Expect, Error> {
        let legal = |argument: &[u8]| !argument.is_empty() && argument.iter().all(|byte| (33..=126).contains(byte));
        let mut words = arguments.split(|byte| *byte == b' ');
        if !words.clone().all(legal) {
            return Err(malformed("a stanza with an argument that is empty or not printable ASCII"));
        }
        if self.stanzas.len() == MAX_STANZAS {
            return Err(malformed(&format!("more than {MAX_STANZAS} stanzas")));
        }
        let kind = shown(words.next().unwrap_or_default());
        self.stanzas.push(match words.next() {
            Some(tag) if TAGGED.contains(&kind.as_str()) => format!("{kind} {}", shown(tag)),
            _ => kind,
        });
        Ok(Expect::Body)
    }
}

/// What the next line may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// The first stanza.
    Stanza,
    /// The rest of a stanza's body; the first line of less than 64 characters ends it.
    Body,
    StanzaOrMac,
    /// The header is complete.
    Nothing,
}

fn is_base64(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

/// So many stanzas of a kind, as the keys that they are for.
fn in_words(kind: &str, count: usize) -> String {
    let keys = if count == 1 { "key" } else { "keys" };
    match kind {
        "scrypt" => "a passphrase (scrypt)".into(),
        "X25519" => format!("{count} age {keys} (X25519)"),
        tagged if tagged.contains(' ') => tagged.into(),
        other => format!("{count} {keys} ({other})"),
    }
}

/// A word of the header, shortened to what fits a message.
fn shown(word: &[u8]) -> String {
    let end = word.len().min(32);
    String::from_utf8_lossy(&word[..end]).into_owned()
}

fn malformed(what: &str) -> Error {
    Error::Header(what.into())
}

fn cut_short() -> Error {
    Error::Header("cut short".into())
}

fn too_long() -> Error {
    Error::Header(format!("more than {} KiB long", MAX_HEADER_BYTES / 1024))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::BufReader;

    use super::*;

    const MAC: &str = "--- c7nxV3DNEL1+Q8mUvBB8N9VoIRsAgvL1qSW4zyMoSmo\n";
    const STANZA: &str = "-> X25519 TEiF0ypqr+bpvcqXNyCVJpL7OuwPdVwPL7KQEbFDOCc\nEmECAEcKN+n/Vs9SbWiV+Hu0r+E8R77DdWYyd83nw7U\n";

    fn header(middle: &str) -> Vec<u8> {
        format!("age-encryption.org/v1\n{middle}{MAC}").into_bytes()
    }

    fn refusal(bytes: &[u8]) -> String {
        Header::read(&mut &bytes[..]).unwrap_err().to_string()
    }

    /// Endless input; counts what was taken of it.
    struct Endless {
        start: Vec<u8>,
        then: &'static [u8],
        taken: usize,
    }

    impl Read for Endless {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            for slot in buf.iter_mut() {
                let past = self.taken.checked_sub(self.start.len());
                *slot = past.map_or_else(|| self.start[self.taken], |past| self.then[past % self.then.len()]);
                self.taken += 1;
            }
            Ok(buf.len())
        }
    }

    #[test]
    fn a_header_is_read_to_its_end_and_no_further() {
        let mut bytes = header(STANZA);
        bytes.extend(b"nonce and body");
        let mut input = &bytes[..];
        let read = Header::read(&mut input).unwrap();
        assert_eq!(read.bytes(), header(STANZA));
        assert_eq!(input, b"nonce and body");
        assert_eq!(read.recipients(), "1 age key (X25519)");
    }

    #[test]
    fn keys_that_the_header_does_not_name_are_counted() {
        let mixed = header(&format!("{STANZA}-> scrypt a b\n\n{STANZA}-> mlkem768x25519 a\nAAAA\n"));
        let read = Header::read(&mut &mixed[..]).unwrap();
        assert_eq!(read.recipients(), "2 age keys (X25519), a passphrase (scrypt), 1 key (mlkem768x25519)");
    }

    #[test]
    fn the_tag_of_an_ssh_key_is_listed() {
        let read = Header::read(&mut &header("-> ssh-ed25519 Xyg06A ZGVm\nAAAA\n-> !7-grease x\n\n")[..]).unwrap();
        assert_eq!(read.recipients(), "ssh-ed25519 Xyg06A");
    }

    #[test]
    fn every_prefix_of_a_header_is_refused() {
        let bytes = header(STANZA);
        assert_eq!(refusal(b""), "the input is empty");
        for end in 1..bytes.len() {
            assert_eq!(refusal(&bytes[..end]), "age header: cut short", "prefix of {end} bytes");
        }
    }

    #[test]
    fn other_files_are_told_apart_at_the_first_line() {
        assert_eq!(refusal(b"\x28\xb5\x2f\xfd not age"), "not an age stream");
        assert_eq!(refusal(b"age-encryption.org/v1x\n"), "age header: a version of the format other than v1");
        assert_eq!(refusal(b"age-encryption.org/v2\n"), "age header: a version of the format other than v1");
        assert_eq!(refusal(b"age-encryption.org/v1\r\n"), "age header: a version of the format other than v1");
    }

    #[test]
    fn lines_outside_the_grammar_are_refused() {
        let long = format!("-> X25519 a\n{}\n", "A".repeat(65));
        for (middle, why) in [
            ("", "no stanza"),
            ("-> \nAAAA\n", "empty"),
            ("-> X25519  a\nAAAA\n", "empty"),
            ("-> X25519 \nAAAA\n", "empty"),
            ("-> X25519 a\x07\nAAAA\n", "printable"),
            ("-> X25519 a\nAA=A\n", "not base64"),
            (long.as_str(), "more than 64 characters"),
            ("-> X25519 a\n-> X25519 b\nAAAA\n", "not base64"),
            ("->X25519 a\nAAAA\n", "neither"),
            ("-> X25519 a\nAAAA\n\n", "neither"),
        ] {
            assert!(refusal(&header(middle)).contains(why), "{middle:?}: {}", refusal(&header(middle)));
        }
        let mac = format!("age-encryption.org/v1\n{STANZA}--- short\n");
        assert!(refusal(mac.as_bytes()).contains("43 characters"));
    }

    #[test]
    fn f75_a_hundred_thousand_stanzas_cost_nothing() {
        let endless = Endless { start: b"age-encryption.org/v1\n".to_vec(), then: b"-> X a\nAAAA\n", taken: 0 };
        let mut input = BufReader::with_capacity(4096, endless);
        let why = Header::read(&mut input).unwrap_err().to_string();
        assert_eq!(why, "age header: more than 64 stanzas");
        assert!(input.get_ref().taken <= 4096);
    }

    #[test]
    fn f75_a_line_without_end_is_cut_off_at_the_limit() {
        for (start, why) in [("-> X ", "more than 128 KiB long"), ("-> X a\n", "more than 64 characters"), ("--- ", "no stanza")] {
            let endless = Endless { start: [MAGIC, start.as_bytes()].concat(), then: b"A", taken: 0 };
            let mut input = BufReader::with_capacity(4096, endless);
            let found = Header::read(&mut input).unwrap_err().to_string();
            // A line is judged once it is whole: the limit ends it first.
            assert!(found.contains(why) || found.contains("more than 128 KiB long"), "{start:?}: {found}");
            assert!(input.get_ref().taken <= MAX_HEADER_BYTES + 4096);
        }
        let mut endless = BufReader::new(Endless { start: Vec::new(), then: b"age", taken: 0 });
        assert_eq!(Header::read(&mut endless).unwrap_err().to_string(), "not an age stream");
    }
}
