//! The command line of dr-base.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use clap::builder::FalseyValueParser;
use dr_pipe::args::{JobsArgs, ReceiptArgs, cluster_name};
use dr_postgres::conninfo::ConnectArgs;
use dr_store::{Location, StoreArgs};

/// Back up a whole PostgreSQL cluster, file by file, to standard output
#[derive(Debug, Parser)]
#[command(name = "dr-base", version, disable_help_flag = true, after_help = EXAMPLES)]
pub struct Args {
    /// Database to connect to: a name, or a connection string as libpq reads it
    #[arg(value_name = "DBNAME")]
    pub database: Option<String>,
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// Read the files of the data directory DIR [default: where the server says they are]
    #[arg(short = 'D', long, value_name = "DIR", env = "DR_PGDATA")]
    pub pgdata: Option<PathBuf>,
    /// Have pg_basebackup read the files over the network
    #[arg(long, env = "DR_REMOTE", value_parser = FalseyValueParser::new())]
    pub remote: bool,
    /// Begin with a checkpoint at once (fast), or spread over time (spread)
    #[arg(short, long, value_name = "HOW", env = "DR_CHECKPOINT", default_value = "fast")]
    pub checkpoint: Checkpoint,
    /// Name the backup LABEL in backup_label
    #[arg(short, long, value_name = "LABEL", env = "DR_LABEL", default_value = "dr-base", value_parser = label)]
    pub label: String,
    #[command(flatten)]
    pub wal: WalArgs,
    /// Read at most RATE bytes a second, such as 50M
    #[arg(short = 'r', long, value_name = "RATE", env = "DR_MAX_RATE")]
    pub max_rate: Option<ByteRate>,
    #[command(flatten)]
    pub jobs: JobsArgs,
    /// Compress with zstd level N, 1 to 19
    #[arg(long, value_name = "N", env = "DR_LEVEL", default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=19))]
    pub level: i32,
    #[command(flatten)]
    pub receipt: ReceiptArgs,
    /// Print help
    #[arg(long, action = clap::ArgAction::HelpLong)]
    pub help: Option<bool>,
}

/// How the WAL of the backup is made sure of.
#[derive(Debug, clap::Args)]
pub struct WalArgs {
    /// Put the WAL that the backup needs into it
    #[arg(long, env = "DR_WITH_WAL", value_parser = FalseyValueParser::new())]
    pub with_wal: bool,
    /// Wait at most SECONDS for the WAL to be archived
    #[arg(long, value_name = "SECONDS", env = "DR_WAL_TIMEOUT", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    pub wal_timeout: u32,
    /// Wait until the WAL is seen in STORE, a directory or s3://BUCKET/PREFIX; may be repeated: in each
    #[arg(long, value_name = "STORE", env = "DR_FROM", value_delimiter = ',')]
    pub from: Vec<Location>,
    /// The cluster whose WAL is looked for
    #[arg(long, value_name = "NAME", env = "DR_CLUSTER", value_parser = cluster_name)]
    pub cluster: Option<String>,
    #[command(flatten)]
    pub store: StoreArgs,
}

/// How the checkpoint is made that a backup begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Checkpoint {
    /// At once.
    Fast,
    /// Over the time that the server's settings give to any checkpoint.
    Spread,
}

/// Bytes per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRate(pub u64);

impl FromStr for ByteRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, unit) = match text.trim_end_matches(['k', 'K', 'M', 'G']) {
            digits if digits.len() == text.len() => (digits, 0),
            digits => (
                digits,
                match &text[digits.len()..] {
                    "k" | "K" => 10,
                    "M" => 20,
                    "G" => 30,
                    _ => return Err("write a number of bytes, with k, M or G behind it".into()),
                },
            ),
        };
        let rate = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << unit));
        rate.filter(|rate| *rate >= 1 << 10).map(ByteRate).ok_or_else(|| "write a number of bytes from 1k, such as 50M".into())
    }
}

/// A label is a line of backup_label, and PostgreSQL takes at most 1024 bytes of it.
fn label(text: &str) -> Result<String, String> {
    if text.len() <= 1024 && !text.chars().any(char::is_control) {
        Ok(text.into())
    } else {
        Err("a label is one line of at most 1024 bytes".into())
    }
}

const EXAMPLES: &str = "Examples:
  dr-base | dr-encrypt -R /etc/dr/main.recipients | dr-push --to /var/backups/dr --cluster main
  dr-base --with-wal > main.tar.zst
  dr-base --from s3://acme-dr/pg --cluster main 'host=db1 user=backup' > main.tar.zst";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_units() {
        for (text, rate) in [("1024", 1 << 10), ("32k", 32 << 10), ("50M", 50 << 20), ("1G", 1 << 30)] {
            assert_eq!(text.parse(), Ok(ByteRate(rate)), "{text}");
        }
        for wrong in ["", "M", "1", "50m", "1kM", "-1k", "99999999999999G", "1.5M"] {
            assert!(wrong.parse::<ByteRate>().is_err(), "{wrong}");
        }
    }
}
