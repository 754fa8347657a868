//! A clock that is off, for one program.

use std::path::Path;
use std::process::Command;

/// Where Debian's package faketime has the library that injects a clock. Its program of the same name is not used: it leaves a
/// semaphore named after its process behind where it is killed, and a later process of that number fails.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// Lets a program see the time as `FAKETIME` of faketime(1) says: `+6m`, `-20d`, `@2026-01-25 02:00:00`. Its stopwatch is left alone.
///
/// # Panics
/// If the library is not installed.
pub fn set<'a>(command: &'a mut Command, time: &str) -> &'a mut Command {
    assert!(Path::new(LIBRARY).exists(), "{LIBRARY} is missing: scripts/setup test installs it");
    command
        .env("LD_PRELOAD", LIBRARY)
        .env("FAKETIME", time)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1")
}
