//! The command line of dr-fingerprint.

use std::path::PathBuf;

use clap::Parser;
use dr_pipe::args::JobsArgs;
use dr_postgres::conninfo::ConnectArgs;
use dr_postgres::scope::ScopeArgs;
use dr_postgres::snapshot::SnapshotArgs;

/// Fingerprint the content of a live PostgreSQL database, or compare it with a fingerprint
#[derive(Debug, Parser)]
#[command(name = "dr-fingerprint", version, disable_help_flag = true, after_help = EXAMPLES)]
pub struct Args {
    /// Database to read: a name, or a connection string as libpq reads it
    #[arg(value_name = "DBNAME")]
    pub database: Option<String>,
    /// Compare with the fingerprint records in FILE (- for standard input) instead of printing
    #[arg(long, value_name = "FILE", env = "DR_AGAINST")]
    pub against: Option<PathBuf>,
    #[command(flatten)]
    pub connect: ConnectArgs,
    #[command(flatten)]
    pub scope: ScopeArgs,
    #[command(flatten)]
    pub snapshot: SnapshotArgs,
    #[command(flatten)]
    pub jobs: JobsArgs,
    /// Print help
    #[arg(long, action = clap::ArgAction::HelpLong)]
    pub help: Option<bool>,
}

const EXAMPLES: &str = "Examples:
  dr-fingerprint shop > before.jsonl
  dr-fingerprint shop_restored --against before.jsonl
  dr-fingerprint -h standby shop --against before.jsonl && echo equal";
