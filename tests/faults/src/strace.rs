//! Which system calls does a program make, and how often? What strace has seen of a run without a fault says where one can meet it.
//!
//! strace counts for each thread on its own: `when=3` meets the third call of whichever thread comes to its third first. What a
//! second thread does is reached where the faults are kept to the paths that it alone uses.

use std::collections::{BTreeMap, BTreeSet};

/// The last that Rust's runtime does before it calls main() is to give the main thread a stack for its signals.
const MAIN_FOLLOWS: &str = "sigaltstack({";

/// How often a call is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    pub name: String,
    /// How many of them the first thread makes before its main() is called: of the loader and the runtime.
    pub before_main: usize,
    /// The most that one thread makes of them, with those before main().
    pub most: usize,
}

/// Counts the calls in a log of `strace -f`. Processes that ran another program are left out.
pub fn count(log: &str) -> Vec<Calls> {
    let calls: Vec<_> = log.lines().filter_map(call).collect();
    let first = calls.first().map_or("", |(thread, ..)| *thread);
    let others: BTreeSet<_> = calls.iter().skip(1).filter(|(_, name, _)| *name == "execve").map(|(thread, ..)| *thread).collect();
    let mut counts: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    let mut before_main: BTreeMap<&str, usize> = BTreeMap::new();
    let mut in_main = false;
    for (thread, name, line) in calls.iter().filter(|(thread, ..)| !others.contains(thread)) {
        in_main |= *thread == first && line.contains(MAIN_FOLLOWS);
        if *thread == first && !in_main {
            *before_main.entry(name).or_default() += 1;
        }
        *counts.entry(name).or_default().entry(thread).or_default() += 1;
    }
    let most = |threads: &BTreeMap<&str, usize>| threads.values().copied().max().unwrap_or(0);
    let calls = counts.iter().map(|(name, threads)| Calls {
        name: (*name).to_owned(),
        before_main: before_main.get(name).copied().unwrap_or(0),
        most: most(threads),
    });
    calls.collect()
}

/// The thread, the name and the whole of a line that begins a call. One that was interrupted by another thread's has a second line,
/// which begins none.
fn call(line: &str) -> Option<(&str, &str, &str)> {
    let (thread, rest) = line.split_once(' ')?;
    let (name, _) = rest.trim_start().split_once('(')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    is_name.then_some((thread, name, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_thread_by_thread_and_without_what_comes_before_main() {
        let log = "7 execve(\"x\", [\"x\"], 0x1 /* 2 vars */) = 0\n7  openat(AT_FDCWD, \"lib(1)\") = 3\n7 sigaltstack(NULL, {}) = 0\n\
                   7 sigaltstack({ss_sp=1}, NULL) = 0\n7 openat(AT_FDCWD, \"a\" <unfinished ...>\n8 openat(AT_FDCWD, \"b\") = 4\n\
                   7 <... openat resumed>) = 3\n8 write(1, \"(\", 1) = 1\n9 execve(\"y\") = 0\n9 write(1, \"\") = 0\n9 write(1, \"\") = 0\n\
                   7 +++ exited with 0 +++\n";
        let counted = count(log);
        let found = |name: &str| counted.iter().find(|calls| calls.name == name).map(|calls| (calls.before_main, calls.most));
        assert_eq!(found("openat"), Some((1, 2)));
        assert_eq!(found("write"), Some((0, 1)));
        assert_eq!(found("exited"), None);
    }
}
