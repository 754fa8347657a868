//! What can be typed.

use std::path::PathBuf;

use clap::Parser;
use dr_catalogue::{PublicKeyArgs, SigningKeyArgs};
use dr_pipe::args::cluster_name;
use dr_store::{Location, StoreArgs};

/// Make the report of a drill, or of all drills there were; store drills, signed, beside the backups
#[derive(Debug, Parser)]
#[command(name = "dr-report", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Args {
    /// Write a report in Markdown; the default for one drill
    #[arg(long, conflicts_with_all = ["html", "publish"])]
    pub markdown: bool,

    /// Write one page of HTML with the history of all drills
    #[arg(long, conflicts_with = "publish")]
    pub html: bool,

    /// Sign the drills on standard input, store them in the stores of --to, and pass their records on
    #[arg(long, requires = "to")]
    pub publish: bool,

    /// Write to FILE instead of standard output, whole or not at all
    #[arg(long, value_name = "FILE", conflicts_with = "publish")]
    pub output: Option<PathBuf>,

    /// Publish in STORE, a directory or s3://BUCKET/PREFIX; may be repeated
    #[arg(long, value_name = "STORE", env = "DR_TO", value_delimiter = ',')]
    pub to: Vec<Location>,

    /// Read the drills that are stored in STORE, and not standard input; may be repeated, nearest first
    #[arg(long, value_name = "STORE", env = "DR_REPORT_FROM", value_delimiter = ',', requires = "cluster")]
    pub from: Vec<Location>,

    /// The cluster that the drills are of
    #[arg(long, value_name = "NAME", env = "DR_CLUSTER", value_parser = cluster_name)]
    pub cluster: Option<String>,

    #[command(flatten)]
    pub store: StoreArgs,

    #[command(flatten)]
    pub signing_key: SigningKeyArgs,

    #[command(flatten)]
    pub public_key: PublicKeyArgs,
}

const AFTER_HELP: &str = "\
Examples:
  dr-drill --finish --drill restore-test --cluster main > drill.json
  dr-report < drill.json
  dr-report --publish --to /var/backups/dr --to s3://acme-dr/pg < drill.json
  dr-report --html --from /var/backups/dr --cluster main --output /var/www/drills.html

See `man dr-report` for exit codes.";
