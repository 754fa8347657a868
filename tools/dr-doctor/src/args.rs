//! What can be typed.

use std::path::PathBuf;

use clap::Parser;
use dr_pipe::args::cluster_name;
use dr_postgres::ConnectArgs;

/// Check a host, and say what to change
#[derive(Debug, Parser)]
#[command(name = "dr-doctor", version, disable_help_flag = true, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    pub check: Check,

    /// Database to connect to: a name, or a connection string as libpq reads it
    #[arg(value_name = "DBNAME")]
    pub database: Option<String>,

    #[command(flatten)]
    pub archive: ArchiveArgs,

    #[command(flatten)]
    pub connect: ConnectArgs,

    /// Print help
    #[arg(long, action = clap::ArgAction::HelpLong)]
    pub help: Option<bool>,
}

/// What is checked: one thing in a call.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Check {
    /// Print the lines of postgresql.conf that this server lacks for archiving and recovery
    #[arg(long)]
    pub archive_settings: bool,
}

/// What archive_command will say to dr-wal-push.
#[derive(Clone, Debug, clap::Args)]
pub struct ArchiveArgs {
    /// Have archive_command store into STORE, a directory or s3://BUCKET/PREFIX; may be repeated
    #[arg(long, value_name = "STORE", env = "DR_TO", value_delimiter = ',')]
    pub to: Vec<String>,

    /// The cluster that the WAL belongs to
    #[arg(long, value_name = "NAME", env = "DR_CLUSTER", value_parser = cluster_name)]
    pub cluster: Option<String>,

    /// Have archive_command encrypt to every recipient that FILE lists; may be repeated
    #[arg(short = 'R', long, value_name = "FILE", env = "DR_RECIPIENTS", value_delimiter = ',')]
    pub recipients_file: Vec<PathBuf>,

    /// Have archive_command sign with the minisign secret key in FILE
    #[arg(short, long, value_name = "FILE", env = "DR_SIGNING_KEY")]
    pub signing_key: Option<PathBuf>,

    /// Have archive_command read all of this but the cluster from FILE, lines of NAME=value
    #[arg(long, value_name = "FILE", env = "DR_ENV_FILE")]
    pub env_file: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Examples:
  dr-doctor --archive-settings --cluster main --env-file /etc/dr/main.env
  dr-doctor --archive-settings --cluster main --to s3://acme-dr/pg -R /etc/dr/main.recipients >> postgresql.conf

See `man dr-doctor` for exit codes.";
