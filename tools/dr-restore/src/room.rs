//! Room on the server's disks. A server that cannot write its log any more stops, with every database it has: so a restore ends
//! before that.

use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use dr_pipe::{Exit, Failure};
use dr_postgres::Session;
use dr_postgres::conninfo::Address;

use crate::target::HalfMade;

/// How often is looked. A server writes up to a GiB a second.
const EVERY: Duration = Duration::from_millis(20);

/// What is left to a server, in bytes; of a small disk a tenth.
const LEFT_BYTES: u64 = 256 << 20;

/// Where a server writes, on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    directories: Vec<PathBuf>,
}

impl Room {
    /// Where the server writes: its data directory, its log, and its tablespaces. Nothing where it runs on another host, or does not
    /// let us know.
    ///
    /// # Errors
    /// As the server says.
    pub fn of(session: &mut Session) -> Result<Room, Failure> {
        if !session.conninfo().hosts().iter().all(|host| matches!(host.address, Address::Socket(_))) {
            return Ok(Room::default());
        }
        let rows = session.query(
            "SELECT setting || under FROM pg_catalog.pg_settings, unnest(ARRAY['', '/pg_wal']) AS under WHERE name = 'data_directory'",
        )?;
        let mut directories: Vec<_> = rows.iter().filter_map(|row| Some(PathBuf::from(row.get(0)?))).collect();
        if !directories.is_empty() {
            let tablespaces = session
                .query("SELECT l FROM pg_catalog.pg_tablespace, pg_catalog.pg_tablespace_location(oid) AS l WHERE l <> ''")?;
            directories.extend(tablespaces.iter().filter_map(|row| Some(PathBuf::from(row.get(0)?))));
        }
        Ok(Room { directories })
    }

    /// Free bytes where the data directory lies; none where that cannot be seen from here.
    pub fn free_bytes(&self) -> Option<u64> {
        space(self.directories.first()?).map(|(free, _)| free)
    }

    /// Passes where there is room at all.
    ///
    /// # Errors
    /// 74 where there is too little.
    pub fn suffices(&self) -> Result<(), Failure> {
        self.shortage().map_or(Ok(()), |failure| Err(failure.leaving("nothing was written")))
    }

    /// Does `work` on a database, and cuts it off before the server's disk is full.
    ///
    /// # Errors
    /// As `work`; 74 where there is too little room.
    pub fn kept<T>(&self, database: &HalfMade, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        if self.directories.is_empty() {
            return work();
        }
        // Connected now: when it is needed, nothing must take time.
        let mut executioner = database.executioner()?;
        let (done, wait) = channel::<()>();
        let (worked, short) = std::thread::scope(|scope| {
            let watch = scope.spawn(move || {
                let mut short = None;
                while wait.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                    let Some(failure) = self.shortage() else { continue };
                    // Again and again: who was about to connect does so later. Where it fails, the server has gone, which the work says.
                    drop(database.disconnect_by(&mut executioner));
                    short.get_or_insert(failure);
                }
                short
            });
            let worked = work();
            drop(done);
            (worked, watch.join().expect("watching does not panic"))
        });
        worked.map_err(|failure| short.unwrap_or(failure))
    }

    /// Where there is too little left.
    fn shortage(&self) -> Option<Failure> {
        self.directories.iter().find_map(|directory| {
            let (free, all) = space(directory)?;
            (free < LEFT_BYTES.min(all / 10)).then(|| {
                let message = format!(
                    "{} MiB are left in {} on the server: it would stop at the end of them",
                    free >> 20,
                    directory.display()
                );
                Failure::new(Exit::Io, message, "free space there, or restore into a server that has more")
            })
        })
    }
}

/// Free bytes and all bytes of the file system of a directory. One that is not to be seen from here is that of another host,
/// container or user.
fn space(directory: &PathBuf) -> Option<(u64, u64)> {
    let space = rustix::fs::statvfs(directory).ok()?;
    Some((space.f_bavail.saturating_mul(space.f_frsize), space.f_blocks.saturating_mul(space.f_frsize)))
}
