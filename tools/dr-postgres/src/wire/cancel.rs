//! Cancelling a session's command from outside of it.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use super::connect::{Tls, open};
use super::dial::endpoints;
use super::session::Backend;
use crate::{ConnInfo, Error};

/// A cancel request is worth so much waiting.
const PATIENCE: Duration = Duration::from_secs(10);

/// Cancels what one session is doing; made by [`Session::canceller`](super::Session::canceller), and used from any thread.
#[derive(Clone)]
pub struct Canceller {
    conn: ConnInfo,
    encrypted: bool,
    backend: Backend,
}

impl Canceller {
    pub(super) fn new(conn: ConnInfo, encrypted: bool, backend: Backend) -> Self {
        Canceller { conn, encrypted, backend }
    }

    /// Asks the server to cancel the session's command. The session's own call then fails with SQLSTATE 57014, if the request
    /// came in time; the server does not say.
    ///
    /// # Errors
    /// If the server cannot be reached; then the command goes on.
    pub fn cancel(&self) -> Result<(), Error> {
        let host = &self.conn.hosts()[0];
        let endpoint = endpoints(host)?.remove(0);
        let mut wire = open(&self.conn, host, &endpoint, if self.encrypted { Tls::Always } else { Tls::Never })?;
        let deadline = wire.plug_mut().set_deadline(Some(Instant::now() + PATIENCE));
        deadline.map_err(|error| wire.lost(&error))?;
        let mut bytes = BytesMut::new();
        frontend::cancel_request(self.backend.process_id, self.backend.secret_key, &mut bytes);
        wire.send(&bytes)?;
        // The server hangs up once it has passed the request on.
        let mut nothing = [0; 1];
        match wire.plug_mut().read(&mut nothing) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
            Err(error) => Err(wire.lost(&error)),
        }
    }
}

impl std::fmt::Debug for Canceller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Canceller").field("process_id", &self.backend.process_id).finish_non_exhaustive()
    }
}
