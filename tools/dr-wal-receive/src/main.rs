//! Streams WAL from a server into stores.

fn main() {}
