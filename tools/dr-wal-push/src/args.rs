//! What can be typed.

use std::path::{Path, PathBuf};

use clap::Parser;
use clap::builder::FalseyValueParser;
use dr_catalogue::{ClusterArgs, SigningKeyArgs};
use dr_crypt::{RecipientArgs, Recipients};
use dr_pipe::args::JobsArgs;
use dr_pipe::{Exit, Failure};
use dr_store::{Location, StoreArgs};

/// Archive a file of WAL in every store, as PostgreSQL's archive_command
#[derive(Debug, Parser)]
#[command(name = "dr-wal-push", version, after_help = EXAMPLES)]
pub struct Args {
    /// The file, as %p gives it
    #[arg(value_name = "PATH")]
    pub path: PathBuf,

    /// Write to STORE, a directory or s3://BUCKET/PREFIX; may be repeated
    #[arg(long, value_name = "STORE", env = "DR_TO", value_delimiter = ',', required = true)]
    pub to: Vec<Location>,

    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// Succeed once N stores hold the bytes [default: all of them]
    #[arg(long, value_name = "N", env = "DR_REQUIRE")]
    pub require: Option<u32>,

    #[command(flatten)]
    pub recipients: RecipientArgs,

    /// Store WAL without encryption
    #[arg(long, env = "DR_UNENCRYPTED", value_parser = FalseyValueParser::new(), conflicts_with_all = ["recipients", "recipients_files"])]
    pub unencrypted: bool,

    #[command(flatten)]
    pub signing_key: SigningKeyArgs,

    /// Compress with zstd level N, 1 to 19
    #[arg(long, value_name = "N", env = "DR_LEVEL", default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=19))]
    pub level: i32,

    /// Push up to N further segments that are ready in the same call
    #[arg(long, value_name = "N", env = "DR_AHEAD", default_value_t = 63, value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub ahead: u16,

    #[command(flatten)]
    pub jobs: JobsArgs,

    /// Archive although the stores have a newer timeline that has left this one behind
    #[arg(long, env = "DR_ALLOW_FORK", value_parser = FalseyValueParser::new())]
    pub allow_fork: bool,

    #[command(flatten)]
    pub store: StoreArgs,
}

const EXAMPLES: &str = "\
Examples, in postgresql.conf:
  archive_command = 'dr-wal-push %p --to /var/backups/dr --cluster main -R /etc/dr/main.recipients'
  archive_command = 'set -a; . /etc/dr/main.env; dr-wal-push %p --cluster main'

See `man dr-wal-push` for exit codes.";

impl Args {
    /// Passes what says for whom WAL is encrypted, or that it is not to be.
    ///
    /// # Errors
    /// 64 where it says neither.
    pub fn names_readers(&self) -> Result<(), Failure> {
        if self.unencrypted || !self.recipients.recipients.is_empty() || !self.recipients.recipients_files.is_empty() {
            return Ok(());
        }
        let hint = "give -r RECIPIENT or -R FILE, or --unencrypted where whoever reads the stores may read everything";
        Err(Failure::new(Exit::Usage, "no recipient is given", hint))
    }

    /// For whom WAL is encrypted; none where it is not to be.
    ///
    /// # Errors
    /// As [`Recipients::read`].
    pub fn readers(&self, tool: &'static str) -> Result<Option<Recipients>, dr_crypt::Error> {
        if self.unencrypted { Ok(None) } else { Recipients::read(&self.recipients, tool).map(Some) }
    }

    /// The stores by names that mean the same from wherever this is called.
    pub fn store_names(&self) -> Vec<String> {
        self.to.iter().map(|location| self.store_name(location)).collect()
    }

    /// The name of one of them.
    pub fn store_name(&self, location: &Location) -> String {
        let named = location.to_string();
        match &self.store.endpoint_url {
            _ if !location.is_s3() => {
                std::path::absolute(&named).unwrap_or_else(|_| Path::new(&named).into()).display().to_string()
            }
            Some(endpoint) => format!("{endpoint} {named}"),
            None => named,
        }
    }
}
