//! Our session on loan: a socket at which a program of PostgreSQL finds it, as if it were the server.
//!
//! A pg_dump on a connection of its own has to take every lock again that we hold. Whoever asked for the table in between waits for
//! us, and pg_dump waits for him. On our session there is one that locks.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use dr_pipe::Failure;
use dr_pipe::scratch::Scratch;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::conninfo::ConnInfo;
use crate::settings;
use crate::wire::Session;

/// The name of the socket: libpq makes it of the directory and the port.
const PORT: u16 = 5432;

/// The longest path of a socket, in bytes: `sun_path` has one more, for a zero byte.
const PATH_MAX: usize = 107;

/// How often we look whether anybody still wants the program's answers.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A socket in a directory that is ours alone, for one program, once.
pub struct Loan {
    scratch: Scratch,
    listener: UnixListener,
    over: AtomicBool,
}

impl Loan {
    /// Opens the socket.
    ///
    /// # Errors
    /// 74 or 77 as the file system says.
    pub fn open() -> Result<Loan, Failure> {
        let mut scratch = Scratch::new()?;
        if socket(&scratch).len() > PATH_MAX {
            scratch = Scratch::below(Path::new("/tmp"))?;
        }
        let path = socket(&scratch);
        let listener = UnixListener::bind(&path).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
        Ok(Loan { listener: listener.map_err(|error| Failure::io(&path, &error))?, scratch, over: AtomicBool::new(false) })
    }

    /// Makes a libpq program use the session, which `conn` has led to.
    pub fn child(&self, conn: &ConnInfo, command: &mut Command) {
        conn.lent_child(command, self.scratch.path(), PORT);
    }

    /// Serves the program out of `session` until it hangs up, or nobody wants it any more: `stop`, or [`Loan::end`].
    ///
    /// # Errors
    /// As [`Session::lend`].
    pub fn serve(&self, session: &mut Session, stop: &AtomicBool) -> Result<(), Failure> {
        let is_wanted = || !stop.load(Ordering::Relaxed) && !self.over.load(Ordering::Relaxed);
        let refused = |error: io::Error| Failure::io("a socket for pg_dump", &error);
        if !speaks(&self.listener, &is_wanted).map_err(refused)? {
            return Ok(());
        }
        let (program, _) = self.listener.accept().map_err(refused)?;
        program.set_nonblocking(false).map_err(refused)?;
        let is_there = |program: &UnixStream| speaks(program, &is_wanted).unwrap_or(false);
        Ok(session.lend(program, settings::FOR_DEFINITIONS, &is_there)?)
    }

    /// Says that the program has ended, or never began.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn socket(scratch: &Scratch) -> String {
    format!("{}/.s.PGSQL.{PORT}", scratch.path().display())
}

/// Waits until there is something to be read, a connection or its end among it; false where it is not wanted any more.
fn speaks(socket: &impl std::os::fd::AsFd, is_wanted: &dyn Fn() -> bool) -> io::Result<bool> {
    while is_wanted() {
        match poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&GLANCE)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}
