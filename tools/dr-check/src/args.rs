//! What dr-check is told.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use dr_catalogue::{FromArgs, PublicKeyArgs};
use dr_pipe::args::cluster_name;
use dr_pipe::table::TableArgs;
use dr_postgres::ConnectArgs;
use dr_store::StoreArgs;

/// Hold what is known of a cluster against its objectives
#[derive(Debug, clap::Parser)]
#[command(name = "dr-check", version, disable_help_flag = true, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Args {
    /// Judge the facts in FILE, - for standard input, and gather none
    #[arg(value_name = "FILE", conflicts_with = "facts")]
    pub file: Option<PathBuf>,

    /// The cluster
    #[arg(long, value_name = "NAME", env = "DR_CLUSTER", value_parser = cluster_name)]
    pub cluster: String,

    /// Read the objectives from FILE [default: /etc/dr/CLUSTER.objectives.toml if it is there]
    #[arg(long, value_name = "FILE", env = "DR_OBJECTIVES")]
    pub objectives: Option<PathBuf>,

    /// Where backups are read.
    #[command(flatten)]
    pub from: FromArgs,

    /// How S3 is reached.
    #[command(flatten)]
    pub store: StoreArgs,

    /// Trust only what is signed with this minisign public key, a file or RW…; may be repeated [default: /etc/dr/CLUSTER.pub if it is there]
    #[arg(long, value_name = "KEY", env = "DR_PUBLIC_KEY", value_delimiter = ',')]
    public_key: Vec<String>,

    /// Ask the server, too; auto: where --host, PGHOST, PGHOSTADDR or PGSERVICE names one
    #[arg(long, value_name = "WHEN", env = "DR_SERVER", default_value = "auto")]
    pub server: When,

    /// Where the server is.
    #[command(flatten)]
    pub connect: ConnectArgs,

    /// Print the facts themselves, and judge nothing
    #[arg(long, conflicts_with = "nagios")]
    pub facts: bool,

    /// Print and exit as plugins of Nagios and Icinga do
    #[arg(long, conflicts_with_all = ["json", "table"])]
    pub nagios: bool,

    /// Judge as if it were TIME, as 2026-01-25T02:00:00Z [default: the clock]
    #[arg(long, value_name = "TIME", value_parser = dr_pipe::args::moment)]
    pub now: Option<DateTime<Utc>>,

    #[command(flatten)]
    pub table: TableArgs,

    /// Print help
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,
}

/// Whether the server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum When {
    /// Where something names it.
    Auto,
    /// Yes; libpq's defaults say where.
    Always,
    /// No.
    Never,
}

impl Args {
    /// Whether the server is asked.
    pub fn asks_server(&self) -> bool {
        let named = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match self.server {
            When::Auto => self.connect.host.is_some() || ["PGHOST", "PGHOSTADDR", "PGSERVICE"].into_iter().any(named),
            When::Always => true,
            When::Never => false,
        }
    }

    /// Whether facts are gathered, rather than read.
    pub fn gathers(&self) -> bool {
        self.facts || self.file.is_none() && (!self.from.from.is_empty() || self.asks_server())
    }

    /// Which signatures are trusted.
    pub fn public_key(&self) -> PublicKeyArgs {
        PublicKeyArgs { public_key: self.public_key.clone() }
    }
}

const AFTER_HELP: &str = "\
Examples:
  dr-check --cluster main --from /var/backups/dr --from s3://acme-dr/pg -h /run/postgresql
  dr-check --cluster main --from s3://acme-dr/pg --nagios
  (dr-verify --remembered --json; dr-check --facts) | dr-check - | dr-notify

See `man dr-check` for the checks and exit codes, `man 5 dr-objectives` for the limits.";
