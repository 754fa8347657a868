//! Restores a whole cluster to any moment.

fn main() {}
