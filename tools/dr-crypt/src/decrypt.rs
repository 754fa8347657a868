//! From an age stream to plain bytes, first to last.

use std::io::{self, BufRead, Cursor, Read};

use age::stream::StreamReader;
use age::{DecryptError, Decryptor};

use crate::{Error, Header, Identities, armor, source};

/// Opens a binary or armored age stream: reads its header, lets it through the gate, and finds the identity that opens it.
/// No byte of the body is read before that.
///
/// # Errors
/// As [`Header::read`]; [`Error::NoMatch`] where no identity opens it; [`Error::Damaged`] where the header was changed.
/// A change inside a stanza of a kind that names no key looks as if it were for somebody else: [`Error::NoMatch`] too.
pub fn decrypt<'a>(input: impl BufRead + 'a, identities: &Identities) -> Result<Decrypting<'a>, Error> {
    let mut input = armor::unarmored(input)?;
    let header = Header::read(&mut input)?;
    let recipients = header.recipients();
    let whole: Box<dyn BufRead + 'a> = Box::new(Cursor::new(header.bytes().to_vec()).chain(input));
    let opened = Decryptor::new_buffered(whole).and_then(|decryptor| decryptor.decrypt(identities.as_age()));
    opened.map(Decrypting).map_err(|error| refusal(error, recipients))
}

/// The plain bytes of an age stream. A read gives authenticated bytes only, and end of file only after the stream's own
/// end has been authenticated; else it gives an error that [`Error::reading`] explains.
pub struct Decrypting<'a>(StreamReader<Box<dyn BufRead + 'a>>);

impl Read for Decrypting<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf).map_err(source::unmark)
    }
}

/// Why the header cannot be opened; `recipients` are those it names.
pub(crate) fn refusal(error: DecryptError, recipients: String) -> Error {
    match error {
        DecryptError::NoMatchingKeys => Error::NoMatch(recipients),
        DecryptError::Io(error) => source::failed(error),
        DecryptError::PluginResolve(error) => Error::Plugin(error.to_string()),
        DecryptError::Plugin(_) => Error::NoMatch(format!("{recipients}: {error}")),
        DecryptError::InvalidMac => Error::Damaged("its header does not match its MAC".into()),
        other => Error::Damaged(other.to_string()),
    }
}
