//! A file that several threads read at once, and whose digest is of its bytes in order.

use std::fs::File;
use std::ops::Range;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::SystemTime;

use dr_pipe::{Sha256, Tally};

/// A file that is read in pieces.
pub struct Large {
    /// The file.
    pub file: File,
    /// Its path in the backup.
    pub path: String,
    /// The size it has in the backup.
    pub bytes: u64,
    /// When it was last changed.
    pub modified: SystemTime,
    /// The number of its first page, where its pages are checked.
    pub first_block: Option<u32>,
    /// The digest of what was read so far.
    pub digest: InOrder,
}

/// A digest whose pieces come from several threads. Reading is quicker than compressing, and digesting than both: so a thread
/// waits for the one before it, instead of bytes waiting for a thread.
#[derive(Default)]
pub struct InOrder {
    state: Mutex<(Tally, bool)>,
    moved: Condvar,
}

impl InOrder {
    /// Adds the bytes of `range` once all before them have been; gives the digest when they are the last of `total`. None, too,
    /// where another thread has given up.
    pub fn add(&self, range: Range<u64>, bytes: &[u8], total: u64) -> Option<Sha256> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.0.bytes() != range.start {
            if state.1 {
                return None;
            }
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.0.update(bytes);
        self.moved.notify_all();
        (range.end == total).then(|| state.0.extent().sha256)
    }

    /// Lets nobody wait any more: a piece will not come.
    pub fn give_up(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pieces_are_digested_in_order_whoever_brings_them() {
        let bytes: Vec<u8> = (0..100_000u32).map(|at| (at / 7) as u8).collect();
        let order = InOrder::default();
        let digests: Vec<_> = std::thread::scope(|scope| {
            let add = |first: u64| {
                let (order, bytes) = (&order, &bytes);
                move || {
                    let pieces = (first..10).step_by(3).map(|number| number * 10_000..(number + 1) * 10_000);
                    let add =
                        |range: Range<u64>| order.add(range.clone(), &bytes[range.start as usize..range.end as usize], 100_000);
                    pieces.filter_map(add).collect::<Vec<_>>()
                }
            };
            let threads: Vec<_> = [2, 1, 0].into_iter().map(|first| scope.spawn(add(first))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(digests, [Sha256::of(&bytes)]);
    }

    #[test]
    fn nobody_waits_for_a_piece_that_does_not_come() {
        let order = InOrder::default();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| order.add(1..2, b"x", 2));
            order.give_up();
            assert_eq!(waiting.join().unwrap(), None);
        });
    }
}
