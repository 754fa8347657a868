//! Brings archived WAL back: PostgreSQL's restore_command.

fn main() {}
