//! What can go wrong with an age stream, its recipients and its identities, and which exit code each cause has.

use std::io;

use dr_pipe::{Exit, Failure};

/// Why a stream cannot be encrypted, opened or read on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither `-r` nor `-R` nor the environment names anybody.
    #[error("no recipient is given")]
    NoRecipient,
    /// A recipient on the command line is none.
    #[error("recipient {given:?}: {reason}")]
    Recipient {
        /// The recipient as it was given.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A recipients file holds something else, or nothing.
    #[error("recipients file {place}: {reason}")]
    RecipientsFile {
        /// The path, and the line where one is to blame.
        place: String,
        /// What is wrong there.
        reason: String,
    },
    /// The recipients cannot be used together, or a plugin refused.
    #[error("encrypting to the recipients: {0}")]
    Wrapping(String),
    /// A plugin is needed that is not installed.
    #[error("{0}")]
    Plugin(String),
    /// Neither `-i` nor the environment names an identity.
    #[error("no identity is given")]
    NoIdentity,
    /// An identity file holds something else, or nothing.
    #[error("identity file {place}: {reason}")]
    IdentityFile {
        /// The path, and the line where one is to blame. Never the content.
        place: String,
        /// What is wrong there.
        reason: String,
    },
    /// An identity needs a passphrase, and nobody is asked for one.
    #[error("identity file {path}: it is protected by a passphrase")]
    Protected {
        /// The file.
        path: String,
        /// How to make a copy without a passphrase.
        hint: String,
    },
    /// A secret file cannot be read.
    #[error("{}", .0.message)]
    Secret(Failure),
    /// The input has no bytes at all.
    #[error("the input is empty")]
    Empty,
    /// The input does not start as an age stream does.
    #[error("not an age stream")]
    NotAge,
    /// The header is outside the specification or the limits; the age parser has not seen it.
    #[error("age header: {0}")]
    Header(String),
    /// The header names nobody whose identity was given.
    #[error("no identity given opens this stream; it is encrypted to {0}")]
    NoMatch(String),
    /// A part of the stream is not what was encrypted: changed, cut short, or followed by other bytes.
    #[error("the age stream is damaged: {0}")]
    Damaged(String),
    /// Reading or writing failed.
    #[error("{object}: {source}")]
    Io {
        /// What was read or written.
        object: String,
        /// The system's word for it.
        source: io::Error,
    },
}

impl Error {
    /// Why a read of a decrypted stream failed: the damage it carries, or trouble with `object` itself.
    pub fn reading(object: &str, error: io::Error) -> Error {
        match error.downcast::<Error>() {
            Ok(error) => error,
            Err(source) => Error::Io { object: object.into(), source },
        }
    }

    /// The same, where a manifest says to whom the stream is encrypted: its header does not tell whose age keys those are.
    pub fn to(self, recipients: &[String]) -> Error {
        match self {
            Error::NoMatch(told) if !recipients.is_empty() => {
                Error::NoMatch(format!("{}; its header says {told}", recipients.join(", ")))
            }
            other => other,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let (exit, hint) = match &error {
            Error::Secret(failure) => return failure.clone(),
            Error::Io { object, source } => return Failure::io(object, source),
            Error::NoRecipient => (Exit::Usage, "give -r RECIPIENT or -R FILE, or set DR_RECIPIENTS to a file of recipients"),
            Error::Recipient { .. } => (
                Exit::Usage,
                "a recipient starts with age1, ssh-ed25519 or ssh-rsa; `age-keygen -y FILE` prints that of an identity",
            ),
            Error::RecipientsFile { .. } => {
                (Exit::Config, "one recipient a line: age1…, ssh-ed25519 … or ssh-rsa …; # starts a comment")
            }
            Error::Wrapping(_) => (Exit::Usage, "leave out the recipient that does not go with the others"),
            Error::Plugin(_) => (Exit::Config, "install the plugin in $PATH; see the page of the hardware key or service"),
            Error::NoIdentity => (Exit::Usage, "give -i FILE, or set DR_IDENTITY"),
            Error::IdentityFile { .. } => {
                (Exit::Config, "an identity file is what `age-keygen -o FILE` writes, or an ssh-ed25519 or ssh-rsa private key")
            }
            Error::Protected { hint, .. } => (Exit::Denied, hint.as_str()),
            Error::Empty => (Exit::Missing, "the program before this one has written nothing: its own message says why"),
            Error::NotAge => {
                (Exit::Damaged, "an age stream starts with age-encryption.org/v1; see what the bytes are with file(1)")
            }
            Error::Header(_) => {
                (Exit::Damaged, "the header is damaged or made to harm; fetch the object again, or from another store")
            }
            Error::NoMatch(_) => {
                let whose = "give the identity of one of them: `age-keygen -y FILE` prints whose it is, and for whom a backup is, dr-list --json \
                             (recipients); nothing of the body was read";
                (Exit::Denied, whose)
            }
            Error::Damaged(_) => (Exit::Damaged, "fetch the object again, or from another store; nothing unproven was written"),
        };
        Failure::new(exit, error.to_string(), hint)
    }
}
