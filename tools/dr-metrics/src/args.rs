//! What dr-metrics is told.

use std::path::PathBuf;

use chrono::{DateTime, Utc};

/// Print facts and checks as metrics for Prometheus
#[derive(Debug, clap::Parser)]
#[command(name = "dr-metrics", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Args {
    /// Write to FILE, whole or not at all, for the textfile collector of node_exporter [default: standard output]
    #[arg(short, long, value_name = "FILE", env = "DR_METRICS")]
    pub output: Option<PathBuf>,

    /// Count what is locked as if it were TIME, as 2026-01-25T02:00:00Z [default: the clock]
    #[arg(long, value_name = "TIME", value_parser = dr_pipe::args::moment)]
    pub now: Option<DateTime<Utc>>,
}

const AFTER_HELP: &str = "\
Examples:
  (cat facts; dr-check - < facts) | dr-metrics -o /var/lib/prometheus/node-exporter/dr.prom
  dr-check --facts --cluster main --from /var/backups/dr | dr-metrics

See `man dr-metrics` for the metrics and exit codes.";
