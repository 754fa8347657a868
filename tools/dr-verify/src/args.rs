//! What can be typed.

use std::str::FromStr;

use chrono::TimeDelta;
use clap::builder::FalseyValueParser;
use dr_catalogue::{CatalogueArgs, Selector};
use dr_crypt::IdentityArgs;
use dr_pipe::args::{JobsArgs, cluster_name, span};
use dr_pipe::record::{Depth, Kind};
use dr_pipe::table::TableArgs;

/// Prove that what is stored is what was stored, and that nothing of it is missing
#[derive(Debug, clap::Parser)]
#[command(name = "dr-verify", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Args {
    /// Only this backup: its name, the beginning of its name, or `latest`
    #[arg(value_name = "BACKUP")]
    pub backup: Option<Selector>,

    /// Only this cluster
    #[arg(long, value_name = "NAME", env = "DR_CLUSTER", value_parser = cluster_name)]
    pub cluster: Option<String>,

    /// Only backups of this kind
    #[arg(long, value_name = "KIND", env = "DR_KIND")]
    pub kind: Option<Kind>,

    #[command(flatten)]
    pub identities: IdentityArgs,

    /// Look into what is not encrypted, too: decompress it, check its structure and its pages
    #[arg(long, env = "DR_VERIFY_CONTENT", value_parser = FalseyValueParser::new())]
    pub content: bool,

    /// Do not read again what was read and found good within AGE, such as 7d (or h, w)
    #[arg(long, value_name = "AGE", env = "DR_VERIFY_EVERY", value_parser = span)]
    pub every: Option<TimeDelta>,

    /// Begin nothing new once SIZE has been read, such as 200G; the rest is left for the next run
    #[arg(long, value_name = "SIZE", env = "DR_VERIFY_MAX_BYTES")]
    pub max_bytes: Option<Size>,

    /// Begin nothing new after TIME, such as 2h (or d, w); the rest is left for the next run
    #[arg(long, value_name = "TIME", env = "DR_VERIFY_MAX_DURATION", value_parser = span)]
    pub max_duration: Option<TimeDelta>,

    /// Read no object: say what is remembered of each, and check the rest
    #[arg(long, env = "DR_VERIFY_REMEMBERED", value_parser = FalseyValueParser::new())]
    pub remembered: bool,

    /// Leave the write-ahead log out
    #[arg(long, env = "DR_NO_WAL", value_parser = FalseyValueParser::new())]
    pub no_wal: bool,

    #[command(flatten)]
    pub jobs: JobsArgs,

    #[command(flatten)]
    pub table: TableArgs,

    /// Which stores are read, how, and which signatures are trusted.
    #[command(flatten)]
    pub catalogue: CatalogueArgs,
}

impl Args {
    /// How deep what is read is looked into.
    pub fn depth(&self) -> Depth {
        if self.content || !self.identities.identities.is_empty() { Depth::Content } else { Depth::Bytes }
    }

    /// Whether the log is looked at: a dump needs none.
    pub fn wants_wal(&self) -> bool {
        !self.no_wal && self.kind.is_none_or(|kind| kind == Kind::Base)
    }

    /// Whether all that lies in a store is looked at, and not just one backup.
    pub fn is_whole(&self) -> bool {
        self.backup.is_none()
    }

    /// Whether stores are read as they are now.
    pub fn is_of_now(&self) -> bool {
        self.catalogue.store.as_of.is_none()
    }

    /// How many objects are read at once. Where each waits for a server, more of them than there are processors.
    pub fn readers(&self) -> usize {
        let distant = self.catalogue.from.from.iter().any(dr_store::Location::is_s3);
        let workers = self.jobs.workers();
        if distant && self.jobs.jobs.is_none() { workers.max(8) } else { workers }
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let shift = match &text[number.len()..] {
            "" => 0,
            "k" | "K" => 10,
            "M" => 20,
            "G" => 30,
            "T" => 40,
            _ => return Err("write a number of bytes, with k, M, G or T behind it".into()),
        };
        let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift)).filter(|bytes| *bytes > 0);
        bytes.map(Size).ok_or_else(|| format!("{number:?} is no number from 1"))
    }
}

const AFTER_HELP: &str = "\
Examples:
  dr-verify --from /var/backups/dr --cluster main -p main.pub
  dr-verify --from s3://acme-dr/pg --every 7d --max-bytes 500G
  dr-verify --from /var/backups/dr -i main.identity latest

See `man dr-verify` for the findings and exit codes.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("1", 1), ("2k", 2048), ("3M", 3 << 20), ("4G", 4 << 30), ("5T", 5 << 40)] {
            assert_eq!(text.parse(), Ok(Size(bytes)));
        }
        for text in ["", "0", "G", "1X", "-1", "99999999999T"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
