//! Our session on loan: a socket at which a program of PostgreSQL finds it, as if it were the server.
//!
//! A pg_dump on a connection of its own has to take every lock again that we hold. Whoever asked for the table in between waits for
//! us, and pg_dump waits for him. On our session there is one that locks.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dr_pipe::Failure;
use dr_pipe::scratch::Scratch;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::conninfo::ConnInfo;
use crate::settings;
use crate::wire::{Canceller, Session};

/// The name of the socket: libpq makes it of the directory and the port.
const PORT: u16 = 5432;

/// The longest path of a socket, in bytes: `sun_path` has one more, for a zero byte.
const PATH_MAX: usize = 107;

/// How often we look whether anybody still wants the program's answers.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A socket in a directory that is ours alone, for one program, once.
pub struct Loan {
    scratch: Scratch,
    /// Until the program has come: it would wait for an answer if it came again, to have a statement cancelled.
    listener: Mutex<Option<UnixListener>>,
    /// What ends the statement that runs for the program.
    canceller: Mutex<Option<Canceller>>,
    over: AtomicBool,
    failed: AtomicBool,
}

impl Loan {
    /// Opens the socket.
    ///
    /// # Errors
    /// 74 or 77 as the file system says.
    pub fn open() -> Result<Loan, Failure> {
        let mut scratch = Scratch::new()?;
        // libpq takes a comma for the end of a directory's name.
        let suits = |path: &Path| path.to_str().is_some_and(|path| path.len() <= PATH_MAX && !path.contains(','));
        if !suits(&socket(&scratch)) {
            scratch = Scratch::below(Path::new("/tmp"))?;
        }
        let path = socket(&scratch);
        let listener = UnixListener::bind(&path).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
        let listener = listener.map_err(|error| Failure::io(path.display(), &error))?;
        let (over, failed) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Loan { scratch, listener: Mutex::new(Some(listener)), canceller: Mutex::default(), over, failed })
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
        let Some(listener) = lock(&self.listener).take() else { return Ok(()) };
        if !speaks(&listener, &is_wanted).map_err(refused)? {
            return Ok(());
        }
        let (program, _) = listener.accept().map_err(refused)?;
        drop(listener);
        program.set_nonblocking(false).map_err(refused)?;
        *lock(&self.canceller) = Some(session.canceller());
        let is_there = |program: &UnixStream| speaks(program, &is_wanted).unwrap_or(false);
        let lent = session.lend(program, settings::FOR_DEFINITIONS, &is_there);
        *lock(&self.canceller) = None;
        Ok(lent?)
    }

    /// Says that the program has ended, or never began.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Whether it has.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Says that it has failed, whatever may still run for it.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
        self.end();
        if let Some(canceller) = &*lock(&self.canceller) {
            // Where the server is gone there is nothing to cancel.
            drop(canceller.cancel());
        }
    }
}

fn socket(scratch: &Scratch) -> PathBuf {
    scratch.path().join(format!(".s.PGSQL.{PORT}"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
