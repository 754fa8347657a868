//! What can be typed.

use chrono::{DateTime, Utc};
use clap::Parser;
use dr_pipe::Failure;
use dr_pipe::args::{ReceiptArgs, cluster_name};
use dr_pipe::record::Kind;
use dr_store::{Location, StoreArgs, UploadArgs, UploadOptions};

/// Write standard input to every store at once, unpublished
#[derive(Debug, Parser)]
#[command(name = "dr-push", version)]
pub struct Args {
    /// Write to STORE, a directory or s3://BUCKET/PREFIX; may be repeated
    #[arg(long, value_name = "STORE", env = "DR_TO", value_delimiter = ',', required = true)]
    pub to: Vec<Location>,

    /// The cluster the backup belongs to
    #[arg(long, value_name = "NAME", env = "DR_CLUSTER", value_parser = cluster_name, required_unless_present = "init")]
    pub cluster: Option<String>,

    /// Succeed once N stores hold the bytes [default: all of them]
    #[arg(long, value_name = "N", env = "DR_REQUIRE")]
    pub require: Option<u32>,

    /// The kind of backup [default: what the producer announced, else dump]
    #[arg(long, value_name = "KIND", env = "DR_KIND")]
    pub kind: Option<Kind>,

    #[command(flatten)]
    pub upload: UploadArgs,

    /// About how many bytes will come: keeps memory small for objects over 20 GiB (S3)
    #[arg(long, value_name = "BYTES", env = "DR_EXPECTED_SIZE")]
    pub expected_size: Option<u64>,

    /// Make directories stores, or accept those that are there, and read nothing
    #[arg(long)]
    pub init: bool,

    #[command(flatten)]
    pub store: StoreArgs,

    #[command(flatten)]
    pub receipt: ReceiptArgs,
}

impl Args {
    /// What is asked of every upload.
    ///
    /// # Errors
    /// As [`UploadArgs::options`].
    pub fn upload_options(&self, now: DateTime<Utc>) -> Result<UploadOptions, Failure> {
        Ok(UploadOptions { expected_bytes: self.expected_size, ..self.upload.options(&self.to, now)? })
    }
}
