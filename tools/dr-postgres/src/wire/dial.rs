//! Reaching a server's socket, and making sure that one which has died is noticed.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use dr_pipe::owner;
use rustix::net::sockopt;

use super::plug::{Plug, Socket};
use crate::conninfo::{Address, Host};
use crate::{ConnInfo, Error};

/// Where one attempt goes.
#[derive(Clone, Debug)]
pub(super) enum Endpoint {
    Unix(std::path::PathBuf),
    Tcp(SocketAddr),
}

/// All endpoints of a host: several where its name has several addresses.
pub(super) fn endpoints(host: &Host) -> Result<Vec<Endpoint>, Error> {
    match &host.address {
        Address::Socket(directory) => Ok(vec![Endpoint::Unix(directory.join(format!(".s.PGSQL.{}", host.port)))]),
        Address::Tcp { address: Some(address), .. } => Ok(vec![Endpoint::Tcp((*address, host.port).into())]),
        Address::Tcp { name, .. } => {
            let name = name.as_deref().unwrap_or_default();
            let found = (name, host.port).to_socket_addrs().map(|found| found.map(Endpoint::Tcp).collect::<Vec<_>>());
            found.map_err(|error| Error::Unavailable {
                message: format!("could not translate host name \"{name}\" to address: {error}"),
                hint: "check the name, and this host's name service",
            })
        }
    }
}

/// The server at an endpoint, in libpq's words.
pub(super) fn place(host: &Host, endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Unix(path) => format!("connection to server on socket \"{}\" failed", path.display()),
        Endpoint::Tcp(address) => {
            let (name, ip) = (host.address.to_string(), address.ip().to_string());
            let ip = if name == ip { String::new() } else { format!(" ({ip})") };
            format!("connection to server at \"{name}\"{ip}, port {} failed", address.port())
        }
    }
}

/// Connects; `deadline` holds until [`Plug::set_deadline`] says otherwise.
pub(super) fn dial(conn: &ConnInfo, endpoint: &Endpoint, deadline: Option<Instant>) -> io::Result<Plug> {
    let socket = match endpoint {
        Endpoint::Unix(path) => Socket::Unix(dial_unix(path)?),
        Endpoint::Tcp(address) => {
            let stream = match deadline {
                Some(deadline) => TcpStream::connect_timeout(address, left(deadline)?)?,
                None => TcpStream::connect(address)?,
            };
            stream.set_nodelay(true)?;
            keep_alive(&stream, conn)?;
            Socket::Tcp(stream)
        }
    };
    if let Endpoint::Unix(_) = endpoint {
        check_peer(&socket, conn)?;
    }
    Ok(Plug::new(socket, deadline))
}

fn dial_unix(path: &Path) -> io::Result<UnixStream> {
    match path.as_os_str().as_bytes() {
        [b'@', name @ ..] => UnixStream::connect_addr(&UnixAddr::from_abstract_name(name)?),
        _ => UnixStream::connect(path),
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// `requirepeer`: the server's process must belong to this user.
fn check_peer(socket: &Socket, conn: &ConnInfo) -> io::Result<()> {
    let Some(required) = conn.setting("requirepeer") else { return Ok(()) };
    let uid = sockopt::socket_peercred(socket)?.uid.as_raw();
    let name = owner::account(uid)?.map_or_else(|| uid.to_string(), |account| account.name);
    if name == required {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("requirepeer specifies \"{required}\", but actual peer user name is \"{name}\""),
        ))
    }
}

/// The values of keepalives, keepalives_idle, keepalives_interval, keepalives_count (seconds, but the last) and
/// tcp_user_timeout (milliseconds) for a connection. Where it does not say, a peer that died is noticed within 50 seconds,
/// instead of the kernel's two hours.
pub(crate) fn keepalives(conn: &ConnInfo) -> [i32; 5] {
    let or = |keyword: &str, default: i32| conn.number(keyword).unwrap_or(None).unwrap_or(default);
    [
        or("keepalives", 1),
        or("keepalives_idle", 20),
        or("keepalives_interval", 10),
        or("keepalives_count", 3),
        or("tcp_user_timeout", 50_000),
    ]
}

fn keep_alive(stream: &TcpStream, conn: &ConnInfo) -> io::Result<()> {
    let [on, idle, interval, count, user_timeout] = keepalives(conn);
    sockopt::set_socket_keepalive(stream, on != 0)?;
    let seconds = |seconds: i32| Duration::from_secs(seconds.unsigned_abs().into());
    if on != 0 && idle > 0 {
        sockopt::set_tcp_keepidle(stream, seconds(idle))?;
    }
    if on != 0 && interval > 0 {
        sockopt::set_tcp_keepintvl(stream, seconds(interval))?;
    }
    if on != 0 && count > 0 {
        sockopt::set_tcp_keepcnt(stream, count.unsigned_abs())?;
    }
    if user_timeout > 0 {
        sockopt::set_tcp_user_timeout(stream, user_timeout.unsigned_abs())?;
    }
    Ok(())
}

impl Endpoint {
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self {
            Endpoint::Unix(_) => None,
            Endpoint::Tcp(address) => Some(address.ip()),
        }
    }
}
