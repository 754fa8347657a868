//! Who reads what next? Pieces of large files first, in the order in which they go into the archive; then the next file.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How many things that were found may wait to be read.
const WAITING: usize = 1024;

/// What is left to do, shared by the threads that do it.
///
/// A thread that has taken something new is waited for: it may be large, and have pieces for all.
pub struct Queue<T, P> {
    new: Mutex<Receiver<T>>,
    state: Mutex<State<P>>,
    moved: Condvar,
}

struct State<P> {
    pieces: VecDeque<P>,
    /// Threads that have taken something new, and have not said yet whether it has pieces.
    looking: usize,
}

/// What a thread is to do.
pub enum Job<T, P> {
    /// Look at something new, and then say so: [`Queue::looked`].
    New(T),
    /// Some pieces of something.
    Piece(P),
}

impl<T, P: Iterator> Queue<T, P> {
    /// An empty queue, and where to put what is found.
    pub fn new() -> (SyncSender<T>, Self) {
        let (found, new) = sync_channel(WAITING);
        let state = State { pieces: VecDeque::new(), looking: 0 };
        (found, Queue { new: Mutex::new(new), state: Mutex::new(state), moved: Condvar::new() })
    }

    /// The next thing to do; none when all is done or being done.
    pub fn next(&self) -> Option<Job<T, P::Item>> {
        loop {
            if let Some(piece) = self.piece() {
                return Some(Job::Piece(piece));
            }
            if let Some(new) = self.receive() {
                return Some(Job::New(new));
            }
            let state = self.lock();
            if state.pieces.is_empty() && state.looking == 0 {
                return None;
            }
            if state.pieces.is_empty() {
                drop(self.moved.wait(state).unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// Ends a look at something new. `pieces` is asked for them while nobody else can put any: so they stand here in the order in
    /// which they were reserved, and no thread waits for one that nobody has taken.
    ///
    /// # Errors
    /// Whatever `pieces` does.
    pub fn looked<E>(&self, pieces: impl FnOnce() -> Result<Option<P>, E>) -> Result<(), E> {
        let mut state = self.lock();
        state.looking -= 1;
        let pieces = pieces().inspect_err(|_| self.moved.notify_all())?;
        state.pieces.extend(pieces);
        self.moved.notify_all();
        Ok(())
    }

    fn piece(&self) -> Option<P::Item> {
        let mut state = self.lock();
        loop {
            match state.pieces.front_mut()?.next() {
                Some(piece) => return Some(piece),
                None => drop(state.pieces.pop_front()),
            }
        }
    }

    fn receive(&self) -> Option<T> {
        let new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        let received = new.recv().ok()?;
        // Before another thread can see that nothing comes any more.
        self.lock().looking += 1;
        Some(received)
    }

    fn lock(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn everything_is_done_once_and_pieces_of_the_last_are_for_all() {
        let (found, queue) = Queue::<u32, std::ops::Range<u32>>::new();
        let done: Vec<Vec<u32>> = std::thread::scope(|scope| {
            let work = || {
                let mut done = Vec::new();
                while let Some(job) = queue.next() {
                    match job {
                        Job::New(number) => queue.looked(|| Ok::<_, ()>(Some(number * 10..number * 10 + 10))).unwrap(),
                        Job::Piece(piece) => done.push(piece),
                    }
                }
                done
            };
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            (0..1000).for_each(|number| found.send(number).unwrap());
            drop(found);
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        let mut all = done.concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..10_000));
    }
}
