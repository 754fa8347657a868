//! Telling systemd how the service is: sd_notify(3), without its library.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// The line to whoever has started us; silent where nobody listens.
#[derive(Debug)]
pub struct Notify {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    petted: Instant,
    status: String,
}

impl Notify {
    /// Opens the socket that `$NOTIFY_SOCKET` names; `$WATCHDOG_USEC` says how often the watchdog wants to hear from us.
    pub fn of_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|name| connect(name.as_bytes()).ok());
        let watchdog = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok()).map(Duration::from_micros);
        Notify { socket, watchdog, petted: Instant::now(), status: String::new() }
    }

    /// Says that the service is up.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// Says that the service ends.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// Shows a line in `systemctl status`, if it is another one than before.
    pub fn status(&mut self, line: &str) {
        if self.status != line {
            self.status = line.into();
            self.say(&format!("STATUS={line}"));
        }
    }

    /// Tells the watchdog that we are alive, when it is time to.
    pub fn alive(&mut self) {
        if self.watchdog.is_some_and(|limit| self.petted.elapsed() >= limit / 4) {
            self.petted = Instant::now();
            self.say("WATCHDOG=1");
        }
    }

    fn say(&self, text: &str) {
        if let Some(socket) = &self.socket {
            // Whoever does not listen any more need not know.
            drop(socket.send(text.as_bytes()));
        }
    }
}

fn connect(name: &[u8]) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match name {
        [b'@', name @ ..] => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        _ => socket.connect(std::ffi::OsStr::from_bytes(name))?,
    }
    Ok(socket)
}
