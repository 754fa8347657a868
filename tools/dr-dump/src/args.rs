//! The command line of dr-dump.

use std::path::PathBuf;

use clap::Parser;
use dr_pipe::args::{JobsArgs, ReceiptArgs};
use dr_postgres::conninfo::ConnectArgs;
use dr_postgres::scope::ScopeArgs;
use dr_postgres::snapshot::SnapshotArgs;

/// Dump a PostgreSQL database at one snapshot, in parallel, to standard output
#[derive(Debug, Parser)]
#[command(name = "dr-dump", version, disable_help_flag = true, after_help = EXAMPLES)]
pub struct Args {
    /// Database to dump: a name, or a connection string as libpq reads it
    #[arg(value_name = "DBNAME")]
    pub database: Option<String>,
    #[command(flatten)]
    pub connect: ConnectArgs,
    #[command(flatten)]
    pub scope: ScopeArgs,
    #[command(flatten)]
    pub snapshot: SnapshotArgs,
    #[command(flatten)]
    pub jobs: JobsArgs,
    #[command(flatten)]
    pub receipt: ReceiptArgs,
    /// Dump definitions only, no data
    #[arg(short, long, env = "DR_SCHEMA_ONLY", value_parser = clap::builder::FalseyValueParser::new())]
    pub schema_only: bool,
    /// Dump rows in binary where all columns of a table have types that allow it: faster to restore
    #[arg(long, env = "DR_BINARY", value_parser = clap::builder::FalseyValueParser::new())]
    pub binary: bool,
    /// Compress with zstd level N, 1 to 19
    #[arg(long, value_name = "N", env = "DR_LEVEL", default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=19))]
    pub level: i32,
    /// The pg_dump to take definitions from [default: that of the server's major version]
    #[arg(long, value_name = "FILE", env = "DR_PG_DUMP")]
    pub pg_dump: Option<PathBuf>,
    /// Leave the passwords of roles out of globals.sql
    #[arg(long, env = "DR_NO_ROLE_PASSWORDS", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_role_passwords: bool,
    /// Leave roles and tablespaces out
    #[arg(long, env = "DR_NO_GLOBALS", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_globals: bool,
    /// Take a database without tables, or without a single row, for a good backup
    #[arg(long, env = "DR_ALLOW_EMPTY", value_parser = clap::builder::FalseyValueParser::new())]
    pub allow_empty: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::HelpLong)]
    pub help: Option<bool>,
}

const EXAMPLES: &str = "Examples:
  dr-dump shop > shop.tar.zst
  dr-dump shop | dr-encrypt -R /etc/dr/main.recipients | dr-push --to /var/backups/dr --cluster main
  dr-dump --schema-only --schema 'crm*' 'host=db1 dbname=shop' | zstd -d | tar -t";
