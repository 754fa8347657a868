//! Checks a host and its stores, and says what to change.

fn main() {}
