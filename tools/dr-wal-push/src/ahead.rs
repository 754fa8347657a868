//! The file that is asked for, and beside it those that will be asked for next: several at a time, in one call. While some are
//! packed, which takes a processor, others are stored, which takes patience.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use dr_pipe::{Failure, warn};

use crate::asked::Asked;
use crate::journal::Journal;
use crate::push::{Pusher, TOOL};

/// A room in which there is only so much place.
pub struct Room {
    places: u64,
    free: Mutex<u64>,
    changed: Condvar,
}

/// Whoever is in a room; outside again once this is dropped.
pub struct Inside<'a> {
    room: &'a Room,
    places: u64,
}

impl Room {
    /// With so many places.
    pub fn of(places: u64) -> Self {
        Room { places, free: Mutex::new(places), changed: Condvar::new() }
    }

    /// Enters as soon as there is place. Who needs more than there is gets all of it.
    pub fn enter(&self, places: u64) -> Inside<'_> {
        let places = places.min(self.places);
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        *self.changed.wait_while(free, |free| *free < places).unwrap_or_else(PoisonError::into_inner) -= places;
        Inside { room: self, places }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        *self.room.free.lock().unwrap_or_else(PoisonError::into_inner) += self.places;
        self.room.changed.notify_all();
    }
}

/// Pushes `asked`, and `next` beside and after it, so many at a time at most. The answer is that of `asked` alone; but
/// all that has begun has ended when it is given.
///
/// # Errors
/// As [`Pusher::push`] for `asked`.
pub fn push_all(pusher: &Pusher, asked: &Asked, next: &[Asked], journal: &Journal, at_once: usize) -> Result<(), Failure> {
    let (turn, given_up, warned) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let answer = Mutex::new(Ok(()));
    let work = || {
        while !given_up.load(Ordering::Relaxed) {
            let outcome = match turn.fetch_add(1, Ordering::Relaxed) {
                0 => {
                    let pushed = pusher.push(asked).map(|_| ());
                    let failed = pushed.is_err();
                    *answer.lock().unwrap_or_else(PoisonError::into_inner) = pushed;
                    !failed
                }
                place => match next.get(place - 1) {
                    Some(ahead) => push_ahead(pusher, ahead, journal, &warned),
                    None => break,
                },
            };
            // What fails once will most likely fail again; its own call will tell.
            given_up.fetch_or(!outcome, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..at_once.min(next.len() + 1) {
            // Where no more threads are to be had (ulimit), this one does the work.
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    answer.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Pushes a segment before it is asked for, and notes that; tells whether that went well.
fn push_ahead(pusher: &Pusher, ahead: &Asked, journal: &Journal, warned: &AtomicBool) -> bool {
    match pusher.push(ahead) {
        Ok((identity, sha256)) => {
            if let Err(warning) = journal.note(ahead, identity, sha256)
                && !warned.swap(true, Ordering::Relaxed)
            {
                warn(TOOL, warning);
            }
            true
        }
        Err(failure) => {
            warn(TOOL, format!("{} was to be pushed ahead of its turn: {}", ahead.name, failure.message));
            false
        }
    }
}
