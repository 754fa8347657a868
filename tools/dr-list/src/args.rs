//! What dr-list is told.

use chrono::{DateTime, Utc};
use dr_catalogue::{CatalogueArgs, Scope, Selector};
use dr_pipe::args::{cluster_name, moment};
use dr_pipe::record::Kind;
use dr_pipe::table::TableArgs;

/// List the backups of a store: a table on a terminal, JSON Lines in a pipe
#[derive(Debug, clap::Parser)]
#[command(name = "dr-list", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Args {
    /// Only this backup: its name, the beginning of its name, or `latest`
    #[arg(value_name = "BACKUP", conflicts_with_all = ["latest", "at"])]
    backup: Option<Selector>,

    /// Only backups of this cluster
    #[arg(long, value_name = "NAME", env = "DR_CLUSTER", value_parser = cluster_name)]
    cluster: Option<String>,

    /// Only backups of this kind
    #[arg(long, value_name = "KIND", env = "DR_KIND")]
    kind: Option<Kind>,

    /// Only dumps of this database
    #[arg(long, value_name = "NAME", env = "DR_DATABASE")]
    database: Option<String>,

    /// Only the newest backup
    #[arg(long, conflicts_with = "at")]
    latest: bool,

    /// Only the newest backup taken at TIME or before, as 2026-01-25T02:00:00Z or '2026-01-25 02:00:00 UTC'
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<DateTime<Utc>>,

    /// List the cluster's WAL too: each run of segments without a gap
    #[arg(long, requires = "cluster", conflicts_with_all = ["latest", "at", "backup"])]
    pub wal: bool,

    /// List what is marked for deletion instead, backups and WAL, and until when it can be had back
    #[arg(long, conflicts_with_all = ["latest", "at", "backup", "wal"])]
    pub deleted: bool,

    #[command(flatten)]
    pub table: TableArgs,

    /// Which stores are read, how, and which signatures are trusted.
    #[command(flatten)]
    pub catalogue: CatalogueArgs,
}

impl Args {
    /// Among which backups is chosen.
    pub fn scope(&self) -> Scope {
        Scope { cluster: self.cluster.clone(), kind: self.kind, database: self.database.clone() }
    }

    /// The cluster that was named.
    pub fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }

    /// Which single backup is asked for; none: all of them.
    pub fn selector(&self) -> Option<Selector> {
        let latest = self.latest.then_some(Selector::Latest);
        latest.or_else(|| self.at.map(Selector::At)).or_else(|| self.backup.clone())
    }
}

const AFTER_HELP: &str = "\
Examples:
  dr-list --from /var/backups/dr --cluster main
  dr-list --from s3://acme-dr/pg --cluster main --kind dump --latest
  dr-list --from /var/backups/dr --cluster main --at '2026-01-25 02:00:00 UTC' -p main.pub

See `man dr-list` for exit codes.";
