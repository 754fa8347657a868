//! What can be typed.

use std::path::PathBuf;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use dr_catalogue::{CatalogueArgs, Scope, Selector};
use dr_pipe::args::{cluster_name, span};
use dr_pipe::record::Kind;
use dr_store::{Location, PathStyle, StoreArgs, UploadArgs};
use dr_wal::SegmentName;

/// Backups that are copied at once unless a flag says otherwise: each takes 48 MiB of memory and more for every target in S3.
const BACKUPS: u16 = 2;
/// Files of WAL that are: small, so that the time is spent waiting.
const FILES: u16 = 8;

/// Bring backups and WAL to another tier, without the key that decrypts them
#[derive(Debug, clap::Parser)]
#[command(name = "dr-copy", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Args {
    /// Copy this backup instead of those on standard input: its name, the beginning of its name, or `latest`
    #[arg(value_name = "BACKUP")]
    pub backup: Option<Selector>,

    /// Copy to STORE, a directory or s3://BUCKET/PREFIX; may be repeated: to all of them
    #[arg(long, value_name = "STORE", env = "DR_TO", value_delimiter = ',', required = true)]
    pub to: Vec<Location>,

    /// How the servers of these stores are reached, where that is not how the others are.
    #[command(flatten)]
    pub target: TargetArgs,

    /// Only backups of this cluster; and whose WAL is copied
    #[arg(long, value_name = "NAME", env = "DR_CLUSTER", value_parser = cluster_name)]
    pub cluster: Option<String>,

    /// Only backups of this kind
    #[arg(long, value_name = "KIND", env = "DR_KIND")]
    pub kind: Option<Kind>,

    /// Only dumps of this database
    #[arg(long, value_name = "NAME", env = "DR_DATABASE")]
    pub database: Option<String>,

    /// Copy the WAL of --cluster as well, or of all clusters whose backups are copied
    #[arg(long)]
    pub wal: bool,

    /// Copy the WAL of --cluster, and no backups: standard input is not read
    #[arg(long, requires = "cluster", conflicts_with_all = ["wal", "backup"])]
    pub wal_only: bool,

    /// Of WAL, only what was stored within the last 30d (or h, w), or from this segment on
    #[arg(long, value_name = "AGE|SEGMENT", env = "DR_WAL_SINCE")]
    pub wal_since: Option<Since>,

    /// What is asked of uploads.
    #[command(flatten)]
    pub upload: UploadArgs,

    /// Copy N things at once [default: 2 backups, 8 files of WAL]
    #[arg(short, long, value_name = "N", env = "DR_JOBS", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,

    /// Which stores are read, how, and which signatures are trusted.
    #[command(flatten)]
    pub catalogue: CatalogueArgs,
}

/// How a target's server is reached.
#[derive(Clone, Debug, clap::Args)]
pub struct TargetArgs {
    /// For --to, use the S3-compatible server at URL
    #[arg(long, value_name = "URL", env = "DR_TO_ENDPOINT_URL")]
    to_endpoint_url: Option<String>,

    /// For --to, take credentials and region from this profile of the AWS tools
    #[arg(long, value_name = "NAME", env = "DR_TO_PROFILE")]
    to_profile: Option<String>,

    /// For --to, the region of the bucket
    #[arg(long, value_name = "REGION", env = "DR_TO_REGION")]
    to_region: Option<String>,

    /// For --to, as --path-style
    #[arg(long, value_name = "WHEN", env = "DR_TO_PATH_STYLE")]
    to_path_style: Option<PathStyle>,

    /// For --to, as --ca-file
    #[arg(long, value_name = "FILE", env = "DR_TO_CA_FILE")]
    to_ca_file: Option<PathBuf>,
}

impl Args {
    /// Which backups are meant, of those that are named.
    pub fn scope(&self) -> Scope {
        Scope { cluster: self.cluster.clone(), kind: self.kind, database: self.database.clone() }
    }

    /// How many backups are copied at once.
    pub fn backups_at_once(&self) -> usize {
        self.jobs.unwrap_or(BACKUPS).into()
    }

    /// How many files of WAL are.
    pub fn files_at_once(&self) -> usize {
        self.jobs.unwrap_or(FILES).into()
    }

    /// How the targets are reached: as the sources, unless it is said that they are elsewhere.
    pub fn target_store(&self) -> StoreArgs {
        let (source, target) = (&self.catalogue.store, self.target.clone());
        let elsewhere = target.to_endpoint_url.is_some() || target.to_profile.is_some() || target.to_region.is_some();
        let base = if elsewhere {
            StoreArgs { insecure_http: source.insecure_http, patience: source.patience, ..StoreArgs::default() }
        } else {
            source.clone()
        };
        StoreArgs {
            endpoint_url: target.to_endpoint_url.or(base.endpoint_url),
            path_style: target.to_path_style.unwrap_or(base.path_style),
            ca_file: target.to_ca_file.or(base.ca_file),
            profile: target.to_profile,
            region: target.to_region,
            as_of: None,
            thaw: None,
            ..base
        }
    }
}

/// From where on WAL is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// What was stored so long ago, or later.
    Age(TimeDelta),
    /// This segment, and all that have a higher place in the log, on whichever timeline.
    Segment(SegmentName),
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let segment = || text.parse().map(Since::Segment);
        span(text)
            .map(Since::Age)
            .or_else(|_| segment())
            .map_err(|_| "write a while as 30d (or h, w), or the name of a segment".into())
    }
}

impl Since {
    /// Whether it takes in what was stored then and belongs to that segment. What is not known is taken in.
    pub fn takes(self, segment: Option<SegmentName>, stored_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
        match self {
            Since::Age(age) => stored_at.is_none_or(|at| now - at <= age),
            Since::Segment(first) => segment.is_none_or(|it| (it.log, it.number) >= (first.log, first.number)),
        }
    }
}

const AFTER_HELP: &str = "\
Examples:
  dr-list --from /var/backups/dr --json | dr-copy --from /var/backups/dr --to s3://acme-dr/pg
  dr-copy --from /var/backups/dr --to /mnt/usb/dr --cluster main latest
  dr-copy --from s3://acme-dr/pg --to s3://acme-far/pg --to-region us-west-2 --cluster main --wal-only

See `man dr-copy` for exit codes.";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    #[test]
    fn wal_is_taken_by_its_age_or_from_a_segment_on() {
        let segment = |name: &str| Some(name.parse().unwrap());
        let now = "2026-01-25T02:00:00Z".parse().unwrap();
        let age: Since = "2d".parse().unwrap();
        assert!(age.takes(None, None, now) && age.takes(None, Some(now - TimeDelta::days(2)), now));
        assert!(!age.takes(None, Some(now - TimeDelta::hours(49)), now));
        let from: Since = "000000020000000100000005".parse().unwrap();
        assert!(from.takes(segment("000000010000000100000005"), None, now) && from.takes(None, None, now));
        assert!(!from.takes(segment("0000000200000000000000FF"), None, now));
        for wrong in ["", "7", "2 days", "0000000200000001000000", "é"] {
            assert!(wrong.parse::<Since>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_target_is_reached_as_the_source_unless_it_is_said_to_be_elsewhere() {
        let reached = |words: &str| {
            let words = format!("dr-copy --from a --to s3://b --endpoint-url https://a --ca-file a.pem --patience 7 {words}");
            Args::parse_from(words.split_whitespace()).target_store()
        };
        let same = reached("");
        assert_eq!((same.endpoint_url.as_deref(), same.ca_file.is_some(), same.profile), (Some("https://a"), true, None));
        for elsewhere in ["--to-profile far", "--to-region us-west-2"] {
            let store = reached(elsewhere);
            assert_eq!((store.endpoint_url, store.ca_file, store.patience), (None, None, 7), "{elsewhere}");
        }
        let own = reached("--to-endpoint-url https://b --to-path-style never");
        assert_eq!((own.endpoint_url.as_deref(), own.path_style), (Some("https://b"), PathStyle::Never));
        assert_eq!(reached("--to-ca-file b.pem").ca_file, Some("b.pem".into()));
    }
}
