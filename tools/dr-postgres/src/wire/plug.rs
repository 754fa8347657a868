//! The bytes between us and a server: a Unix or TCP socket, with TLS or without.
//!
//! The socket blocks on reading; sending never blocks, so that whoever sends can read in between: a server that has no room
//! left for what it wants to tell us stops listening.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustls::ClientConnection;

/// A connected socket.
#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    fn wait_at_most(&self, limit: Option<Duration>) -> io::Result<()> {
        match self {
            Socket::Unix(stream) => stream.set_read_timeout(limit),
            Socket::Tcp(stream) => stream.set_read_timeout(limit),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Unix(stream) => stream.as_fd(),
            Socket::Tcp(stream) => stream.as_fd(),
        }
    }
}

/// One direction of a socket in one mode, as rustls wants to have it.
struct Half<'a>(&'a Socket, RecvFlags);

impl Read for Half<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(self.0, &mut *buffer, self.1) {
                Ok((_, received)) => return Ok(received),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Write for Half<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match send(self.0, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket with what lies around it.
#[derive(Debug)]
pub(super) struct Plug {
    socket: Socket,
    tls: Option<Box<ClientConnection>>,
    deadline: Option<Instant>,
}

impl Plug {
    pub(super) fn new(socket: Socket, deadline: Option<Instant>) -> Self {
        Plug { socket, tls: None, deadline }
    }

    /// Until when reading and waiting may take; none for ever.
    pub(super) fn set_deadline(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        self.deadline = deadline;
        if deadline.is_none() { self.socket.wait_at_most(None) } else { Ok(()) }
    }

    pub(super) fn tls(&self) -> Option<&ClientConnection> {
        self.tls.as_deref()
    }

    /// Shakes hands; from here on everything is encrypted.
    pub(super) fn start_tls(&mut self, connection: ClientConnection) -> io::Result<()> {
        let mut tls = Box::new(connection);
        while tls.is_handshaking() || tls.wants_write() {
            while tls.wants_write() {
                match tls.write_tls(&mut Half(&self.socket, RecvFlags::empty())) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(PollFlags::OUT)?,
                    other => drop(other?),
                }
            }
            if tls.is_handshaking() {
                self.arm()?;
                let received = tls.read_tls(&mut Half(&self.socket, RecvFlags::empty())).map_err(timed_out)?;
                let processed = tls.process_new_packets();
                if let Err(error) = processed {
                    // Tells the server why, if it still listens.
                    drop(tls.write_tls(&mut Half(&self.socket, RecvFlags::empty())));
                    return Err(io::Error::other(error));
                }
                if received == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        self.tls = Some(tls);
        Ok(())
    }

    /// Reads what there is, waiting for at least one byte; 0 at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.arm()?;
        self.receive(buffer, RecvFlags::empty()).map_err(timed_out)
    }

    /// Reads what there is without waiting; `WouldBlock` if there is nothing, 0 at the end.
    pub(super) fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(buffer, RecvFlags::DONTWAIT)
    }

    fn receive(&mut self, buffer: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return Half(&self.socket, flags).read(buffer) };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Servers often hang up without TLS' own good-bye. The protocol above says whether something is missing.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                other => return other,
            }
            tls.read_tls(&mut Half(&self.socket, flags))?;
            tls.process_new_packets().map_err(io::Error::other)?;
            // What TLS itself has to answer (a key update) goes out now or with the next thing we send.
            match tls.write_tls(&mut Half(&self.socket, flags)) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }

    /// Sends some of `bytes` without waiting: how many were taken. `WouldBlock` if there is no room.
    pub(super) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut half = Half(&self.socket, RecvFlags::empty());
        let Some(tls) = &mut self.tls else { return half.write(bytes) };
        while tls.wants_write() {
            tls.write_tls(&mut half)?;
        }
        tls.writer().write(bytes)
    }

    /// Sends what TLS still holds, without waiting. `WouldBlock` if there is no room.
    pub(super) fn try_flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            tls.write_tls(&mut Half(&self.socket, RecvFlags::empty()))?;
        }
        Ok(())
    }

    /// Waits until there is room for sending, or something to read.
    pub(super) fn wait_writable_or_readable(&self) -> io::Result<()> {
        self.wait(PollFlags::OUT | PollFlags::IN)
    }

    /// Waits until there is something to read, at most `limit`; whether there is.
    pub(super) fn wait_readable(&self, limit: Duration) -> io::Result<bool> {
        match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timespec(limit))) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        let limit = self.remaining()?.map(timespec);
        match poll(&mut [PollFd::new(&self.socket, flags)], limit.as_ref()) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the next blocking read the time that is left.
    fn arm(&self) -> io::Result<()> {
        match self.remaining()? {
            Some(left) => self.socket.wait_at_most(Some(left)),
            None => Ok(()),
        }
    }

    fn remaining(&self) -> io::Result<Option<Duration>> {
        let Some(deadline) = self.deadline else { return Ok(None) };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

fn timespec(span: Duration) -> Timespec {
    Timespec { tv_sec: span.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: span.subsec_nanos().into() }
}

/// A receive timeout of the socket comes as `WouldBlock`.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}
