//! Several things at once, begun in their order.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Does `work` on all `things`, at most `at_once` of them at a time; each is begun when all before it have been.
pub fn each<T: Sync>(at_once: usize, things: &[T], work: impl Fn(&T) + Sync) {
    in_turn(at_once, things.len(), |place| work(&things[place]));
}

/// As [`each`]; the answers stand in the order of the things.
pub fn map<T: Sync, R: Send>(at_once: usize, things: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let answers = Mutex::new(BTreeMap::new());
    in_turn(at_once, things.len(), |place| {
        let answer = work(&things[place]);
        answers.lock().expect("no thread panics while it holds the lock").insert(place, answer);
    });
    answers.into_inner().expect("no thread panics while it holds the lock").into_values().collect()
}

fn in_turn(at_once: usize, count: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let run = || {
        loop {
            match next.fetch_add(1, Ordering::Relaxed) {
                place if place < count => work(place),
                _ => break,
            }
        }
    };
    std::thread::scope(|scope| {
        // Where no more threads are to be had (ulimit), those that are there do the work; at the least this one.
        for _ in 1..at_once.min(count) {
            if std::thread::Builder::new().name("worker".into()).spawn_scoped(scope, run).is_err() {
                break;
            }
        }
        run();
    });
}
