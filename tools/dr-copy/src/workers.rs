//! Several things at once, begun in their order.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Does `work` on all `things`, at most `at_once` of them at a time; each is begun when all before it have been.
pub fn each<T: Sync>(at_once: usize, things: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let run = || {
        while let Some(thing) = things.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(thing);
        }
    };
    std::thread::scope(|scope| {
        // Where no more threads are to be had (ulimit), those that are there do the work; at the least this one.
        for _ in 1..at_once.min(things.len()) {
            if std::thread::Builder::new().name("copy".into()).spawn_scoped(scope, run).is_err() {
                break;
            }
        }
        run();
    });
}
