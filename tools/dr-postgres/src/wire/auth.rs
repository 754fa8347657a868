//! Proving to a server who we are, and letting it prove that it knows our password.

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{self, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;

use super::messages::Wire;
use super::verify::end_point_hash;
use crate::conninfo::{ChannelBinding, Host};
use crate::error::ServerError;
use crate::{ConnInfo, Error};

/// Answers the server's demands until it lets us in.
pub(super) fn authenticate(wire: &mut Wire, conn: &ConnInfo, host: &Host) -> Result<(), Error> {
    let mut exchange = Exchange { wire, conn, host, bound: false, answered: "none" };
    loop {
        match exchange.message()? {
            Message::AuthenticationOk => return exchange.accept(),
            Message::AuthenticationCleartextPassword => exchange.cleartext()?,
            Message::AuthenticationMd5Password(body) => exchange.md5(body.salt())?,
            Message::AuthenticationSasl(body) => exchange.scram(&body)?,
            Message::AuthenticationGss | Message::AuthenticationKerberosV5 | Message::AuthenticationSspi => {
                return Err(exchange.denied("asks for GSSAPI authentication, which is not supported here"));
            }
            _ => return Err(Error::protocol(format!("{}: an unexpected message while authenticating", exchange.wire.place))),
        }
    }
}

struct Exchange<'a> {
    wire: &'a mut Wire,
    conn: &'a ConnInfo,
    host: &'a Host,
    /// Whether the exchange is bound to the TLS channel.
    bound: bool,
    /// What was asked of us, in the words of `require_auth`.
    answered: &'static str,
}

impl Exchange<'_> {
    fn message(&mut self) -> Result<Message, Error> {
        loop {
            match self.wire.message()? {
                Message::ErrorResponse(body) => {
                    let error = ServerError::read(body.fields()).map_err(|error| Error::protocol(error.to_string()))?;
                    return Err(Error::Server(Box::new(error)).within(&self.wire.place));
                }
                Message::NoticeResponse(_) => {}
                other => return Ok(other),
            }
        }
    }

    fn send(&mut self, write: impl FnOnce(&mut BytesMut) -> std::io::Result<()>) -> Result<(), Error> {
        let mut bytes = BytesMut::new();
        write(&mut bytes).map_err(|error| Error::config(format!("a password cannot be sent: {error}")))?;
        self.wire.send(&bytes)
    }

    fn denied(&self, message: &str) -> Error {
        Error::Denied { message: format!("{}: {message}", self.wire.place), hint: "see pg_hba.conf on the server" }
    }

    fn password(&self) -> Result<&str, Error> {
        self.host.password.as_deref().ok_or_else(|| Error::Denied {
            message: format!("{}: fe_sendauth: no password supplied", self.wire.place),
            hint: "put the password into ~/.pgpass (mode 0600), or name such a file in PGPASSFILE",
        })
    }

    /// Refuses a way of authenticating that `require_auth` does not list.
    fn permit(&mut self, method: &'static str) -> Result<(), Error> {
        self.answered = method;
        let Some(list) = self.conn.setting("require_auth") else { return Ok(()) };
        let mut named = list.split(',').map(str::trim);
        let permitted = if list.starts_with('!') {
            named.all(|name| name.strip_prefix('!') != Some(method))
        } else {
            named.any(|name| name == method)
        };
        if permitted { Ok(()) } else { Err(self.denied(&format!("authentication method requirement \"{list}\" failed: {method}"))) }
    }

    fn cleartext(&mut self) -> Result<(), Error> {
        self.permit("password")?;
        if self.wire.plug().tls().is_none() && !self.host.address.is_local() {
            return Err(Error::Denied {
                message: format!("{}: asks for the password in clear over an unencrypted connection", self.wire.place),
                hint: "use sslmode=verify-full, or scram-sha-256 in the server's pg_hba.conf",
            });
        }
        let password = self.password()?.to_owned();
        self.send(|bytes| frontend::password_message(password.as_bytes(), bytes))
    }

    fn md5(&mut self, salt: [u8; 4]) -> Result<(), Error> {
        self.permit("md5")?;
        let hash = md5_hash(self.conn.user().as_bytes(), self.password()?.as_bytes(), salt);
        self.send(|bytes| frontend::password_message(hash.as_bytes(), bytes))
    }

    fn scram(&mut self, body: &AuthenticationSaslBody) -> Result<(), Error> {
        self.permit("scram-sha-256")?;
        let protocol = |what: &dyn std::fmt::Display| Error::protocol(format!("SCRAM: {what}"));
        let mut offered = (false, false);
        let mut mechanisms = body.mechanisms();
        while let Some(mechanism) = mechanisms.next().map_err(|error| protocol(&error))? {
            offered.0 |= mechanism == SCRAM_SHA_256;
            offered.1 |= mechanism == SCRAM_SHA_256_PLUS;
        }
        let (mechanism, binding) = self.choose(offered)?;
        self.bound = mechanism == SCRAM_SHA_256_PLUS;
        let mut scram = ScramSha256::new(self.password()?.as_bytes(), binding);
        let first = scram.message().to_owned();
        self.send(|bytes| frontend::sasl_initial_response(mechanism, &first, bytes))?;
        let Message::AuthenticationSaslContinue(body) = self.message()? else {
            return Err(protocol(&"no challenge came"));
        };
        scram.update(body.data()).map_err(|error| protocol(&error))?;
        let answer = scram.message().to_owned();
        self.send(|bytes| frontend::sasl_response(&answer, bytes))?;
        let Message::AuthenticationSaslFinal(body) = self.message()? else {
            return Err(protocol(&"the server does not prove that it knows the password"));
        };
        scram.finish(body.data()).map_err(|error| Error::Denied {
            message: format!("{}: incorrect server signature: {error}", self.wire.place),
            hint: "this server does not know the password: is it the one you mean?",
        })
    }

    /// The mechanism, and how it is bound to the TLS channel, from what the server offers (plain, plus).
    fn choose(&mut self, offered: (bool, bool)) -> Result<(&'static str, sasl::ChannelBinding), Error> {
        let wanted = self.conn.ssl().channel_binding;
        let tls = self.wire.plug().tls();
        let certificate = tls.and_then(|tls| tls.peer_certificates()).and_then(<[_]>::first);
        let hash = certificate.filter(|_| wanted != ChannelBinding::Disable).and_then(|certificate| end_point_hash(certificate));
        match (offered, hash) {
            ((_, true), Some(hash)) => Ok((SCRAM_SHA_256_PLUS, sasl::ChannelBinding::tls_server_end_point(hash))),
            _ if wanted == ChannelBinding::Require => {
                Err(self
                    .denied("channel binding is required, but the server did not offer an authentication method that supports it"))
            }
            // Says that we could have, so that a server which did offer it notices whoever removed the offer.
            ((true, false), Some(_)) => Ok((SCRAM_SHA_256, sasl::ChannelBinding::unrequested())),
            ((true, _), None) => Ok((SCRAM_SHA_256, sasl::ChannelBinding::unsupported())),
            _ => Err(Error::protocol(format!("{}: none of the server's SASL mechanisms is supported", self.wire.place))),
        }
    }

    /// The server is content; are we?
    fn accept(&mut self) -> Result<(), Error> {
        if self.answered == "none" {
            self.permit("none")?;
        }
        if self.conn.ssl().channel_binding == ChannelBinding::Require && !self.bound {
            return Err(self.denied("channel binding required, but server authenticated client without channel binding"));
        }
        Ok(())
    }
}
