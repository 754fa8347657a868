//! Backs up a whole cluster, file by file.

fn main() {}
