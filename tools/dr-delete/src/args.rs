//! What can be typed.

use chrono::TimeDelta;
use clap::Parser;
use dr_catalogue::{PublicKeyArgs, SigningKeyArgs};
use dr_pipe::args::cluster_name;
use dr_pipe::{Exit, Failure};
use dr_store::{Location, StoreArgs};

use crate::age;

/// Carry out the decisions on standard input: mark backups and WAL for deletion, and remove what was marked long enough ago
#[derive(Debug, Parser)]
#[command(name = "dr-delete", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Args {
    /// Delete in STORE, a directory or s3://BUCKET/PREFIX, named as in the decisions; may be repeated
    #[arg(long, value_name = "STORE", env = "DR_FROM", value_delimiter = ',', required = true)]
    pub from: Vec<Location>,

    /// Only what belongs to this cluster
    #[arg(long, value_name = "NAME", env = "DR_CLUSTER", value_parser = cluster_name)]
    pub cluster: Option<String>,

    /// Remove the data of what is marked now no earlier than AGE from now
    #[arg(long, value_name = "AGE", env = "DR_GRACE", value_parser = age::parse, default_value = "72h")]
    grace: TimeDelta,

    /// Refuse where the newest backup is older than AGE [default: twice the usual interval, at least 2h]
    #[arg(long, value_name = "AGE", env = "DR_MAX_AGE", value_parser = age::parse)]
    pub max_age: Option<TimeDelta>,

    /// Let N backups and segments of WAL go at once, although that is more than a fifth
    #[arg(long, value_name = "N")]
    pub confirm: Option<u64>,

    /// Read no decisions: only remove what was marked long enough ago
    #[arg(long, conflicts_with_all = ["undelete", "unsealed", "confirm"])]
    pub finish: bool,

    /// Take the mark off a backup, or off a range of WAL as FIRST-LAST, while its data is whole
    #[arg(long, value_name = "NAME", conflicts_with_all = ["unsealed", "confirm"])]
    pub undelete: Option<String>,

    /// Read no decisions: remove what runs that failed have left, and no manifest names
    #[arg(long)]
    pub unsealed: bool,

    /// With --unsealed: only what was written longer than AGE ago
    #[arg(long, value_name = "AGE", env = "DR_OLDER_THAN", value_parser = age::parse, default_value = "7d")]
    pub older_than: TimeDelta,

    /// Which signatures are trusted.
    #[command(flatten)]
    pub public_key: PublicKeyArgs,

    /// Which key signs.
    #[command(flatten)]
    pub signing_key: SigningKeyArgs,

    /// How S3 is reached.
    #[command(flatten)]
    pub store: StoreArgs,
}

impl Args {
    /// The time between mark and removal.
    ///
    /// # Errors
    /// 64 for none at all without `--confirm`.
    pub fn grace(&self) -> Result<TimeDelta, Failure> {
        if self.grace.is_zero() && self.confirm.is_none() {
            let hint = "give it 1h at least, or say with --confirm how many backups and segments go";
            return Err(Failure::new(Exit::Usage, "--grace 0 leaves no time to object", hint));
        }
        Ok(self.grace)
    }
}

const AFTER_HELP: &str = "\
Examples:
  dr-verify --from /var/backups/dr --cluster main | dr-prune --keep-within 30d > decisions
  dr-delete --from /var/backups/dr -p main.pub -s delete.key < decisions
  dr-delete --from /var/backups/dr -p main.pub --undelete main_dump_20260125T020000Z_7f3a

See `man dr-delete` for exit codes.";
