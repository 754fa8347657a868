//! What is to be done next: rows to load, or indexes to build? Whoever is idle asks here.
//!
//! No more is done at a time than there are workers, so nobody waits for a processor. Indexes of a big table come before other
//! tables' rows: they take longest, and its pages are still in memory. Those of small tables wait until all rows are in.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Tables below this size share one call of pg_restore.
const SMALL_BYTES: u64 = 32 << 20;
/// At most so many entries in one call.
const MAX_ENTRIES: usize = 500;

/// Indexes and constraints of one table, or of many small ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes {
    /// Size of the rows.
    pub bytes: u64,
    /// How many rows there are.
    pub rows: u64,
    /// What is built, one after another, as entries of `schema.dump`.
    pub entries: Vec<u32>,
    /// What can be built once that is there, side by side.
    pub then: Vec<u32>,
}

impl Indexes {
    /// Those of one table. What locks it comes before the other indexes of a big one.
    pub fn of(bytes: u64, rows: u64, locking: &[u32], others: &[u32]) -> Self {
        if bytes < SMALL_BYTES {
            return Indexes { bytes, rows, entries: [locking, others].concat(), then: Vec::new() };
        }
        Indexes { bytes, rows, entries: locking.to_vec(), then: others.to_vec() }
    }

    fn followers(&self) -> impl Iterator<Item = Indexes> {
        self.then.iter().map(|entry| Indexes { entries: vec![*entry], then: Vec::new(), ..*self })
    }
}

/// What one worker is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Task<J> {
    /// Load something.
    Load(J),
    /// Build indexes, each with so many more processes of the server than one, as most of the time nobody else will need theirs.
    Build(Indexes, usize),
}

/// Everything that is to be done, until there is no more.
#[derive(Debug)]
pub struct Schedule<J> {
    workers: usize,
    state: Mutex<State<J>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<J> {
    /// With the bytes of each.
    loads: VecDeque<(u64, J)>,
    big: VecDeque<Indexes>,
    small: VecDeque<Indexes>,
    /// How many do something, and may add to this when it is done.
    busy: usize,
    /// Bytes of all rows that wait to be loaded or for indexes, or are at it.
    unfinished: u64,
    abandoned: bool,
}

impl<J> Schedule<J> {
    /// One for so many workers, with what is to be loaded, in this order, and the bytes of each.
    pub fn new(workers: usize, loads: VecDeque<(u64, J)>) -> Self {
        let unfinished = loads.iter().map(|(bytes, _)| bytes).sum();
        let state = State { loads, big: VecDeque::new(), small: VecDeque::new(), busy: 0, unfinished, abandoned: false };
        Schedule { workers, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Adds the indexes of a table whose rows are in.
    pub fn add(&self, table: Indexes) {
        self.state().add(table);
        self.changed.notify_all();
    }

    /// Says that nothing of it is wanted any more.
    pub fn abandon(&self) {
        self.state().abandoned = true;
        self.changed.notify_all();
    }

    /// Does what is to be done, until nothing is left and nothing will come.
    ///
    /// # Errors
    /// The first of `task`.
    pub fn work<E>(&self, mut task: impl FnMut(Task<J>) -> Result<(), E>) -> Result<(), E> {
        while let Some((bytes, next)) = self.take() {
            let followers =
                if let Task::Build(what, _) = &next { Indexes { entries: Vec::new(), ..what.clone() } } else { Indexes::default() };
            let busy = Busy { schedule: self, bytes };
            task(next)?;
            // At once: how many processors each may have depends on how many there are.
            self.add(followers);
            drop(busy);
        }
        Ok(())
    }

    /// The next task, with the bytes it is about.
    fn take(&self) -> Option<(u64, Task<J>)> {
        let mut state = self.state();
        loop {
            if state.abandoned {
                return None;
            }
            if let Some(task) = state.next(self.workers) {
                state.busy += 1;
                return Some(task);
            }
            if state.busy == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody at work. However that ends, those who wait for what it may add are told.
struct Busy<'s, J> {
    schedule: &'s Schedule<J>,
    bytes: u64,
}

impl<J> Drop for Busy<'_, J> {
    fn drop(&mut self) {
        let mut state = self.schedule.state();
        state.busy -= 1;
        state.unfinished -= self.bytes;
        drop(state);
        self.schedule.changed.notify_all();
    }
}

impl<J> State<J> {
    fn add(&mut self, table: Indexes) {
        if table.entries.is_empty() {
            return table.followers().for_each(|what| self.add(what));
        }
        self.unfinished += table.bytes;
        if table.bytes < SMALL_BYTES { &mut self.small } else { &mut self.big }.push_back(table);
    }

    fn next(&mut self, workers: usize) -> Option<(u64, Task<J>)> {
        if let Some(what) = self.big.pop_front() {
            return Some(self.build(what, workers));
        }
        let load = self.loads.pop_front().map(|(bytes, load)| (bytes, Task::Load(load)));
        load.or_else(|| gather(&mut self.small).map(|what| self.build(what, workers)))
    }

    fn build(&self, what: Indexes, workers: usize) -> (u64, Task<J>) {
        // Of how many tasks like this would the rest make? All of them share the processors.
        let others = (self.unfinished - what.bytes + what.bytes / 2) / what.bytes.max(1);
        let all = usize::try_from(others).unwrap_or(workers).saturating_add(1);
        (what.bytes, Task::Build(what, (workers / all).saturating_sub(1)))
    }
}

fn gather(waiting: &mut VecDeque<Indexes>) -> Option<Indexes> {
    let mut all = waiting.pop_front()?;
    while let Some(next) = waiting.front() {
        if all.bytes + next.bytes > SMALL_BYTES || all.entries.len() + next.entries.len() > MAX_ENTRIES {
            break;
        }
        let next = waiting.pop_front().unwrap_or_default();
        all.bytes += next.bytes;
        all.rows += next.rows;
        all.entries.extend(next.entries);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One worker's tasks, and what each of them adds.
    fn done(workers: usize, loads: &[(u64, &'static str)], add: impl Fn(&Schedule<&'static str>, &str)) -> Vec<String> {
        let schedule = Schedule::new(workers, loads.iter().copied().collect());
        let mut done = Vec::new();
        let all: Result<(), ()> = schedule.work(|task| {
            match task {
                Task::Load(load) => {
                    add(&schedule, load);
                    done.push(load.to_owned());
                }
                Task::Build(what, helpers) => done.push(format!("{:?} {helpers}", what.entries)),
            }
            Ok(())
        });
        assert_eq!(all, Ok(()));
        done
    }

    #[test]
    fn a_big_tables_indexes_come_before_other_rows_and_those_of_small_tables_last() {
        let add = |schedule: &Schedule<_>, load: &str| {
            let bytes = if load == "big" { SMALL_BYTES } else { 1 };
            let first = load.len() as u32 * 10;
            schedule.add(Indexes::of(bytes, 1, &[first], &[first + 1, first + 2]));
        };
        let order = ["big", "[30] 1", "[31] 0", "[32] 1", "x", "yy", "[10, 11, 12, 20, 21, 22] 1"];
        assert_eq!(done(2, &[(SMALL_BYTES, "big"), (1, "x"), (1, "yy")], add), order);
    }

    #[test]
    fn a_long_build_has_the_processors_that_nobody_else_needs_for_long() {
        let add = |schedule: &Schedule<_>, load: &str| {
            if load == "big" {
                schedule.add(Indexes::of(SMALL_BYTES, 1, &[], &[1, 2, 3]));
            }
        };
        let big = (SMALL_BYTES, "big");
        assert_eq!(done(7, &[big], add), ["big", "[1] 1", "[2] 2", "[3] 6"]);
        assert_eq!(done(7, &[big, (SMALL_BYTES / 4, "x")], add), ["big", "[1] 1", "[2] 2", "[3] 6", "x"]);
        assert_eq!(done(7, &[big, (SMALL_BYTES, "x")], add), ["big", "[1] 0", "[2] 1", "[3] 2", "x"]);
    }

    #[test]
    fn a_table_without_indexes_adds_nothing_and_what_is_abandoned_is_not_done() {
        assert_eq!(done(1, &[(1, "x")], |schedule, _| schedule.add(Indexes::of(1, 1, &[], &[]))), ["x"]);
        assert_eq!(done(1, &[(1, "x"), (1, "y")], |schedule, _| schedule.abandon()), ["x"]);
    }

    #[test]
    fn whoever_waits_does_what_another_adds() {
        let schedule = Schedule::new(2, VecDeque::from([(1, "big")]));
        let built = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    schedule.work(|task| {
                        match task {
                            Task::Load(_) => schedule.add(Indexes::of(SMALL_BYTES, 1, &[1], &[2, 3])),
                            Task::Build(what, _) => drop(built.fetch_add(what.entries.len(), std::sync::atomic::Ordering::Relaxed)),
                        }
                        Ok::<(), ()>(())
                    })
                });
            }
        });
        assert_eq!(built.into_inner(), 3);
    }
}
