//! From plain bytes to an age stream.

use std::io::{self, BufWriter, Write};

use age::EncryptError;
use age::armor::{self, ArmoredWriter};
use age::stream::StreamWriter;

use crate::{Error, Recipients};

/// How an age stream is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As bytes.
    Binary,
    /// As text, for terminals and mail; a third larger.
    Armored,
}

/// A new file key, wrapped for every recipient; nothing is written yet.
pub struct Encryptor(age::Encryptor);

impl Encryptor {
    /// Makes a new file key and wraps it for every recipient.
    ///
    /// # Errors
    /// [`Error::Wrapping`] where recipients exclude each other (post-quantum ones go only with their like) or a plugin refuses.
    pub fn new(recipients: &Recipients) -> Result<Self, Error> {
        let all = recipients.as_age();
        age::Encryptor::with_recipients(all).map(Encryptor).map_err(|error| match error {
            EncryptError::MissingRecipients => Error::NoRecipient,
            EncryptError::PluginResolve(error) => Error::Plugin(error.to_string()),
            other => Error::Wrapping(other.to_string()),
        })
    }

    /// Writes the header to `output`; what is written to the returned writer follows encrypted.
    ///
    /// # Errors
    /// Whatever `output` does.
    pub fn begin<W: Write>(self, output: W, format: Format) -> io::Result<Encrypting<W>> {
        let format = match format {
            Format::Binary => armor::Format::Binary,
            Format::Armored => armor::Format::AsciiArmor,
        };
        // Smaller than an encrypted chunk: the header is gathered, chunks pass straight through.
        let output = BufWriter::with_capacity(64 * 1024, output);
        Ok(Encrypting(self.0.wrap_output(ArmoredWriter::wrap_output(output, format)?)?))
    }
}

/// Encrypts what is written to it. Without [`Encrypting::finish`] the stream lacks its end, and nobody can take it for whole.
pub struct Encrypting<W: Write>(StreamWriter<ArmoredWriter<BufWriter<W>>>);

impl<W: Write> Encrypting<W> {
    /// Writes the end of the stream and flushes; gives the writer beneath.
    ///
    /// # Errors
    /// Whatever the writer beneath does.
    pub fn finish(self) -> io::Result<W> {
        let output = self.0.finish()?.finish()?;
        let mut output = output.into_inner().map_err(io::IntoInnerError::into_error)?;
        output.flush()?;
        Ok(output)
    }
}

impl<W: Write> Write for Encrypting<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
