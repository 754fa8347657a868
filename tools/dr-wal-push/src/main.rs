//! Archives WAL: PostgreSQL's archive_command.

fn main() {}
