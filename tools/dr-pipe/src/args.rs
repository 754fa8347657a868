//! Flags that more than one tool has, each with its one home.

use std::path::PathBuf;

/// Where receipts are kept.
#[derive(Clone, Debug, clap::Args)]
pub struct ReceiptArgs {
    /// Append this run's receipt to FILE once all of its work is complete and durable
    #[arg(long, value_name = "FILE", env = "DR_RECEIPT")]
    pub receipt: Option<PathBuf>,
}

/// How many things are done at once.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct JobsArgs {
    /// Work on N things at once [default: the number of processors]
    #[arg(short, long, value_name = "N", env = "DR_JOBS", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
}

impl JobsArgs {
    /// How many workers to start, at least one.
    pub fn workers(self) -> usize {
        self.jobs.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
    }
}

/// Checks a cluster's name: 1 to 63 of `a-z A-Z 0-9 . _ -`, starting with a letter or digit, as it becomes part of object keys.
///
/// # Errors
/// Says what is wrong with the name.
pub fn cluster_name(text: &str) -> Result<String, String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match text.bytes().next() {
        None => Err("a cluster name cannot be empty".into()),
        Some(first) if !first.is_ascii_alphanumeric() => Err("a cluster name starts with a letter or a digit".into()),
        _ if text.len() > 63 => Err("a cluster name has at most 63 characters".into()),
        _ if !text.bytes().all(legal) => Err("a cluster name has letters, digits, dots, dashes and underscores only".into()),
        _ => Ok(text.into()),
    }
}
