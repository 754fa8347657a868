//! Tables whose rows are in wait here for their indexes.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Tables below this size share one call of pg_restore.
const SMALL_BYTES: u64 = 32 << 20;
/// At most so many entries in one call.
const MAX_ENTRIES: usize = 500;

/// The indexes and constraints of one table.
#[derive(Debug, PartialEq, Eq)]
pub struct Ready {
    /// Size of its rows.
    pub bytes: u64,
    /// Entries of `schema.dump`.
    pub entries: Vec<u32>,
}

/// A queue that many threads put into and take from, until nobody fills it any more.
#[derive(Debug)]
pub struct Backlog {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    ready: VecDeque<Ready>,
    /// How many threads may still add something.
    filling: usize,
    abandoned: bool,
}

impl Backlog {
    /// An empty one, into which so many threads will put tables.
    pub fn filled_by(threads: usize) -> Self {
        let state = State { ready: VecDeque::new(), filling: threads, abandoned: false };
        Backlog { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Adds a table.
    pub fn add(&self, ready: Ready) {
        if !ready.entries.is_empty() {
            self.state().ready.push_back(ready);
            self.changed.notify_one();
        }
    }

    /// Says that one of the threads will add no more.
    pub fn one_less(&self) {
        self.state().filling -= 1;
        self.changed.notify_all();
    }

    /// Says that nothing of it is wanted any more.
    pub fn abandon(&self) {
        self.state().abandoned = true;
        self.changed.notify_all();
    }

    /// Waits for entries to build: those of one big table, or of many small ones. None when all is taken, and nothing will come.
    pub fn take(&self) -> Option<Vec<u32>> {
        let mut state = self.state();
        loop {
            if state.abandoned {
                return None;
            }
            if let Some(first) = state.ready.pop_front() {
                return Some(gather(first, &mut state.ready));
            }
            if state.filling == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gather(first: Ready, ready: &mut VecDeque<Ready>) -> Vec<u32> {
    let mut entries = first.entries;
    let mut bytes = first.bytes;
    while let Some(next) = ready.front() {
        if bytes + next.bytes > SMALL_BYTES || entries.len() + next.entries.len() > MAX_ENTRIES {
            break;
        }
        bytes += next.bytes;
        entries.extend(ready.pop_front().map(|next| next.entries).unwrap_or_default());
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_tables_go_together_and_big_ones_alone() {
        let backlog = Backlog::filled_by(1);
        for (bytes, entries) in [(1, vec![1]), (2, vec![2, 3]), (SMALL_BYTES, vec![4]), (0, vec![]), (5, vec![5])] {
            backlog.add(Ready { bytes, entries });
        }
        backlog.one_less();
        assert_eq!(backlog.take(), Some(vec![1, 2, 3]));
        assert_eq!(backlog.take(), Some(vec![4]));
        assert_eq!(backlog.take(), Some(vec![5]));
        assert_eq!(backlog.take(), None);
    }
}
