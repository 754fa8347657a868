//! What can be typed.

use std::path::PathBuf;

use clap::Parser;
use clap::builder::FalseyValueParser;
use dr_catalogue::FromArgs;
use dr_crypt::{IdentityArgs, RecipientArgs};
use dr_pipe::args::cluster_name;
use dr_pipe::table::TableArgs;
use dr_pipe::{Exit, Failure};
use dr_postgres::ConnectArgs;
use dr_store::{Location, LockMode, LockUntil, StoreArgs};

use crate::findings::Name;
use crate::probe;

/// Check a host, its server and its stores, and say what to change
#[derive(Debug, Parser)]
#[command(name = "dr-doctor", version, disable_help_flag = true, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Args {
    /// Print the lines of postgresql.conf that this server lacks for archiving and recovery, and check nothing else
    #[arg(long, conflicts_with_all = ["json", "table"])]
    pub archive_settings: bool,

    /// Database to connect to: a name, or a connection string as libpq reads it
    #[arg(value_name = "DBNAME")]
    pub database: Option<String>,

    #[command(flatten)]
    pub archive: ArchiveArgs,

    /// Where backups are read.
    #[command(flatten)]
    pub from: FromArgs,

    /// What decrypts them.
    #[command(flatten)]
    pub identities: IdentityArgs,

    /// The minisign public key that manifests are checked with, a file or RW…; may be repeated [default: /etc/dr/CLUSTER.pub if it is there]
    #[arg(long, value_name = "KEY", env = "DR_PUBLIC_KEY", value_delimiter = ',')]
    pub public_key: Vec<String>,

    /// Make this check only; may be repeated
    #[arg(long, value_name = "NAME", env = "DR_DOCTOR_CHECK", value_delimiter = ',')]
    pub check: Vec<Name>,

    /// Try what the stores of --to enforce, with tiny objects below CLUSTER/probe/
    #[arg(long, env = "DR_PROBE", value_parser = FalseyValueParser::new())]
    pub probe: bool,

    /// With --probe: backups are locked (until TIME, or +30d from now), so try whether a lock holds
    #[arg(long, value_name = "TIME", env = "DR_LOCK_UNTIL")]
    pub lock_until: Option<LockUntil>,

    /// How strict that lock is
    #[arg(long, value_name = "MODE", env = "DR_LOCK_MODE", default_value = "compliance")]
    pub lock_mode: LockMode,

    /// The replication slot that dr-wal-receive uses: it must be there
    #[arg(long, value_name = "NAME", env = "DR_SLOT")]
    pub slot: Option<String>,

    /// The directory in which dr-restore keeps standard input
    #[arg(long, value_name = "DIR", env = "DR_SPOOL_DIR")]
    pub spool_dir: Option<PathBuf>,

    /// The directory in which dr-wal-receive keeps what is not stored yet
    #[arg(long, value_name = "DIR", env = "DR_RECEIVE_DIR")]
    pub receive_dir: Option<PathBuf>,

    #[command(flatten)]
    pub table: TableArgs,

    #[command(flatten)]
    pub connect: ConnectArgs,

    /// How S3 is reached.
    #[command(flatten)]
    pub store: StoreArgs,

    /// Print help
    #[arg(long, action = clap::ArgAction::HelpLong)]
    pub help: Option<bool>,
}

/// What this host stores, and what archive_command will say to dr-wal-push.
#[derive(Clone, Debug, clap::Args)]
pub struct ArchiveArgs {
    /// Where this host stores its backups and its WAL, a directory or s3://BUCKET/PREFIX; may be repeated
    #[arg(long, value_name = "STORE", env = "DR_TO", value_delimiter = ',')]
    pub to: Vec<String>,

    /// The cluster
    #[arg(long, value_name = "NAME", env = "DR_CLUSTER", value_parser = cluster_name)]
    pub cluster: Option<String>,

    /// For whom it encrypts.
    #[command(flatten)]
    pub recipients: RecipientArgs,

    /// The file of the minisign secret key that it signs with [default: /etc/dr/CLUSTER.key]
    #[arg(short, long, value_name = "FILE", env = "DR_SIGNING_KEY")]
    pub signing_key: Option<PathBuf>,

    /// The file of the cluster's settings, lines of NAME=value [default for checks: /etc/dr/CLUSTER.env if it is there]
    #[arg(long, value_name = "FILE", env = "DR_ENV_FILE")]
    pub env_file: Option<PathBuf>,
}

/// What a host does, by what is set on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// It stores backups: `--to` is set.
    pub backs_up: bool,
    /// It reads backups: `--from` is set.
    pub reads: bool,
    /// It reads and decrypts them.
    pub restores: bool,
}

impl Args {
    /// The cluster, and what this host does for it.
    ///
    /// # Errors
    /// 64 where neither is said.
    pub fn subject(&self) -> Result<(&str, Role), Failure> {
        let usage = |message: &str, hint: &str| Failure::new(Exit::Usage, message, hint);
        let Some(cluster) = &self.archive.cluster else {
            let hint = "name it with --cluster; its settings come from: set -a; . /etc/dr/CLUSTER.env";
            return Err(usage("no cluster is named", hint));
        };
        let (backs_up, reads) = (!self.archive.to.is_empty(), !self.from.from.is_empty());
        if !backs_up && !reads {
            let hint = "name stores: with --to where this host makes backups, with --from where it reads them";
            return Err(usage("nothing says what this host does", hint));
        }
        if self.probe && !backs_up {
            return Err(usage("--probe, and no store to write to", "name the store to try with --to"));
        }
        if let Some(name) = self.check.iter().find(|name| probe::NAMES.contains(name) && !self.probe) {
            return Err(usage(
                &format!("--check {name}, and no --probe"),
                "add --probe: it stores some tiny objects, and removes them",
            ));
        }
        Ok((cluster, Role { backs_up, reads, restores: reads && !self.identities.identities.is_empty() }))
    }

    /// The stores that this host writes to.
    ///
    /// # Errors
    /// 64 where one is none.
    pub fn to(&self) -> Result<Vec<Location>, Failure> {
        let location = |text: &String| {
            let wrong = |why| Failure::new(Exit::Usage, format!("--to: {why}"), "a store is a directory or s3://BUCKET/PREFIX");
            text.parse().map_err(wrong)
        };
        self.archive.to.iter().map(location).collect()
    }
}

const AFTER_HELP: &str = "\
Examples:
  set -a; . /etc/dr/main.env; dr-doctor --cluster main
  dr-doctor --cluster main --to s3://acme-dr/pg -R /etc/dr/main.recipients --probe --lock-until +30d
  dr-doctor --archive-settings --cluster main --env-file /etc/dr/main.env >> postgresql.conf

See `man dr-doctor` for the checks and exit codes.";
