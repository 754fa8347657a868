//! age streams (<https://c2sp.org/age>): to whom they are encrypted, with what they are opened, what is let through to the
//! header parser, and how a stream is read at any offset.
//!
//! The cryptography is that of the `age` crate. This crate adds the rules of a backup: recipients and identities come
//! from files, nobody is asked for a passphrase, a hostile header costs nothing, and every failure has its exit code.

mod armor;
mod decrypt;
mod encrypt;
mod error;
mod header;
mod identities;
mod plain;
mod recipients;
mod seek;
mod source;

pub use decrypt::{Decrypting, decrypt};
pub use encrypt::{Encrypting, Encryptor, Format};
pub use error::Error;
pub(crate) use header::Header;
pub use header::{MAX_HEADER_BYTES, MAX_STANZAS};
pub use identities::{Identities, IdentityArgs};
pub use plain::{Plain, is_age};
pub use recipients::{RecipientArgs, Recipients};
pub use seek::{Decrypted, Unlocked, plaintext_len};

/// What plugins may say to people: their messages become warnings. Nothing can be asked for, as nobody may be there.
#[derive(Clone)]
pub(crate) struct Unattended {
    /// The tool whose name stands before each message.
    pub(crate) tool: &'static str,
}

impl age::Callbacks for Unattended {
    fn display_message(&self, message: &str) {
        dr_pipe::warn(self.tool, message);
    }

    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }

    fn request_public_string(&self, _: &str) -> Option<String> {
        None
    }

    fn request_passphrase(&self, _: &str) -> Option<age::secrecy::SecretString> {
        None
    }
}
