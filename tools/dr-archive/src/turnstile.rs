//! How do many threads write one stream in order, in bounded memory, and without waiting for each other forever?
//!
//! Everyone takes a numbered ticket, works, and deposits. Deposits leave in the order of the tickets: whoever brings the next
//! one passes on it and all that wait behind it. A deposit too far ahead waits at the door; the next one never does, so that
//! somebody can always move. Whoever gives up a ticket, by an error or a panic, fails all others.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::Error;

/// Passes items to a sink in the order of their tickets.
pub(crate) struct Turnstile<S, T> {
    state: Mutex<State<S, T>>,
    moved: Condvar,
    window: u64,
}

struct State<S, T> {
    /// The first ticket that nobody has.
    unreserved: u64,
    /// The ticket whose item leaves next.
    next: u64,
    waiting: BTreeMap<u64, T>,
    /// None while a thread is passing items on.
    sink: Option<S>,
    failed: Option<Error>,
}

impl<S, T> Turnstile<S, T> {
    /// Lets at most `window` (at least one) items wait.
    pub fn new(sink: S, window: usize) -> Self {
        let state = State { unreserved: 0, next: 0, waiting: BTreeMap::new(), sink: Some(sink), failed: None };
        Turnstile { state: Mutex::new(state), moved: Condvar::new(), window: window.max(1) as u64 }
    }

    /// Whether nobody has failed yet.
    ///
    /// # Errors
    /// The first error of any thread.
    pub fn alive(&self) -> Result<(), Error> {
        self.lock().alive()
    }

    /// Reserves `n` tickets in a row. Each must be deposited, in rising order where one thread has several.
    ///
    /// # Errors
    /// The first error of any thread.
    pub fn reserve(&self, n: u64) -> Result<Range<u64>, Error> {
        let mut state = self.lock();
        state.alive()?;
        let first = state.unreserved;
        state.unreserved += n;
        Ok(first..first + n)
    }

    /// Deposits the item of a ticket, waiting while it is too far ahead; passes items to the sink with `pass`.
    ///
    /// # Errors
    /// The first error of any thread, be it from `pass` or from [`Turnstile::fail`].
    pub fn deposit(&self, ticket: u64, item: T, pass: impl Fn(&mut S, T) -> Result<(), Error>) -> Result<(), Error> {
        let mut state = self.lock();
        state.alive()?;
        while ticket >= state.next + self.window {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.alive()?;
        }
        state.waiting.insert(ticket, item);
        while let Some((mut sink, item)) = state.take_next() {
            drop(state);
            // If this panics, the sink is gone and the caller's ticket is given up: all others fail.
            let passed = pass(&mut sink, item);
            state = self.lock();
            passed.inspect_err(|error| self.fail_locked(&mut state, error))?;
            state.sink = Some(sink);
            state.next += 1;
            self.moved.notify_all();
        }
        state.alive()
    }

    /// Fails all threads from now on; the first error stays.
    pub fn fail(&self, error: &Error) {
        self.fail_locked(&mut self.lock(), error);
    }

    /// The sink, once all tickets have been deposited.
    ///
    /// # Errors
    /// The first error of any thread.
    pub fn finish(self) -> Result<S, Error> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.alive()?;
        match state.sink {
            Some(sink) if state.next == state.unreserved => Ok(sink),
            _ => Err(Error::Abandoned),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<S, T>> {
        // No code that can leave the state half changed runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail_locked(&self, state: &mut State<S, T>, error: &Error) {
        state.failed.get_or_insert_with(|| error.clone());
        state.waiting.clear();
        self.moved.notify_all();
    }
}

impl<S, T> State<S, T> {
    fn alive(&self) -> Result<(), Error> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// The sink and the next item, if both are here.
    fn take_next(&mut self) -> Option<(S, T)> {
        if self.failed.is_some() || !self.waiting.contains_key(&self.next) {
            return None;
        }
        let sink = self.sink.take()?;
        self.waiting.remove(&self.next).map(|item| (sink, item))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    fn append(sink: &mut Vec<u64>, item: u64) -> Result<(), Error> {
        sink.push(item);
        Ok(())
    }

    #[test]
    fn items_leave_in_the_order_of_their_tickets() {
        for window in [0, 1, 3, 100] {
            let turnstile = Turnstile::new(Vec::new(), window);
            thread::scope(|scope| {
                for worker in 0..8u64 {
                    let turnstile = &turnstile;
                    scope.spawn(move || {
                        for round in 0..200 {
                            for ticket in turnstile.reserve(1 + (worker + round) % 3).unwrap() {
                                turnstile.deposit(ticket, ticket, append).unwrap();
                            }
                        }
                    });
                }
            });
            let sink = turnstile.finish().unwrap();
            assert!(sink.iter().copied().eq(0..sink.len() as u64));
        }
    }

    #[test]
    fn no_more_than_the_window_waits() {
        let turnstile = Turnstile::new((), 4);
        let (inside, most) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            let first = turnstile.reserve(1).unwrap().start;
            for _ in 0..16 {
                scope.spawn(|| {
                    let ticket = turnstile.reserve(1).unwrap().start;
                    turnstile.deposit(ticket, (), |(), ()| {
                        inside.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    })
                });
            }
            while turnstile.lock().waiting.len() < 3 {
                thread::yield_now();
            }
            most.store(turnstile.lock().waiting.len() as u64, Ordering::SeqCst);
            assert_eq!(inside.load(Ordering::SeqCst), 0);
            turnstile.deposit(first, (), |(), ()| Ok(())).unwrap();
        });
        assert_eq!(most.load(Ordering::SeqCst), 3);
        turnstile.finish().unwrap();
    }

    #[test]
    fn an_error_of_one_thread_wakes_and_fails_all_others() {
        let turnstile = Turnstile::new(Vec::new(), 2);
        let first = turnstile.reserve(1).unwrap().start;
        thread::scope(|scope| {
            let others: Vec<_> = (0..4)
                .map(|_| {
                    let ticket = turnstile.reserve(1).unwrap().start;
                    let turnstile = &turnstile;
                    scope.spawn(move || turnstile.deposit(ticket, ticket, append))
                })
                .collect();
            let full = |_: &mut Vec<u64>, _| Err(Error::Full { what: "disk" });
            assert!(matches!(turnstile.deposit(first, first, full), Err(Error::Full { .. })));
            let failed = others.into_iter().map(|other| other.join().unwrap()).filter(Result::is_err).count();
            assert!(failed >= 3, "only one of them may have been let in before");
        });
        assert!(matches!(turnstile.reserve(1), Err(Error::Full { .. })));
        assert!(matches!(turnstile.finish(), Err(Error::Full { .. })));
    }

    #[test]
    fn a_missing_deposit_is_no_success() {
        let turnstile: Turnstile<(), ()> = Turnstile::new((), 2);
        turnstile.reserve(1).unwrap();
        assert!(matches!(turnstile.finish(), Err(Error::Abandoned)));
    }
}
