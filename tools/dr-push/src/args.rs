//! What can be typed.

use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Parser;
use dr_pipe::args::{ReceiptArgs, cluster_name};
use dr_pipe::record::Kind;
use dr_pipe::{Exit, Failure};
use dr_store::{Location, LockMode, StoreArgs, UploadOptions};

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

    /// Store the object in this storage class (S3)
    #[arg(long, value_name = "CLASS", env = "DR_STORAGE_CLASS")]
    pub storage_class: Option<String>,

    /// Tag the object (S3); may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", env = "DR_TAG", value_delimiter = ',', value_parser = tag)]
    pub tags: Vec<(String, String)>,

    /// Lock the object until TIME, in RFC 3339, or +30d from now (S3)
    #[arg(long, value_name = "TIME", env = "DR_LOCK_UNTIL")]
    pub lock_until: Option<LockUntil>,

    /// How strict that lock is (S3)
    #[arg(long, value_name = "MODE", env = "DR_LOCK_MODE", default_value = "compliance")]
    pub lock_mode: LockMode,

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
    /// 64 for a lock that no store could keep, or that has ended already.
    pub fn upload_options(&self, now: DateTime<Utc>) -> Result<UploadOptions, Failure> {
        let lock_until = match self.lock_until {
            None => None,
            Some(LockUntil::At(at)) => Some(at),
            Some(LockUntil::After(time)) => now.checked_add_signed(time),
        };
        if lock_until.is_some_and(|until| until <= now) {
            return Err(usage("--lock-until is in the past", "give a time to come, or +30d"));
        }
        if lock_until.is_some() && !self.to.iter().any(Location::is_s3) {
            return Err(usage(
                "--lock-until, and no store that could lock",
                "only S3 locks objects: leave it out, or add a store in S3",
            ));
        }
        Ok(UploadOptions {
            storage_class: self.storage_class.clone(),
            tags: self.tags.clone(),
            lock_until,
            lock_mode: self.lock_mode,
            expected_bytes: self.expected_size,
        })
    }
}

/// When a lock ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockUntil {
    /// At this moment.
    At(DateTime<Utc>),
    /// So long after the upload begins.
    After(TimeDelta),
}

impl FromStr for LockUntil {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write a time as 2026-01-25T02:00:00Z, or +30d (or h, w)".to_owned();
        let Some(span) = text.strip_prefix('+') else {
            return DateTime::parse_from_rfc3339(text).map(|at| LockUntil::At(at.to_utc())).map_err(|_| wrong());
        };
        let (number, unit) = span.split_at_checked(span.len().saturating_sub(1)).ok_or_else(wrong)?;
        let number: u16 = number.parse().map_err(|_| wrong())?;
        match unit {
            "h" => Ok(LockUntil::After(TimeDelta::hours(number.into()))),
            "d" => Ok(LockUntil::After(TimeDelta::days(number.into()))),
            "w" => Ok(LockUntil::After(TimeDelta::weeks(number.into()))),
            _ => Err(wrong()),
        }
    }
}

fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("write a tag as KEY=VALUE".into()),
    }
}

fn usage(message: impl Into<String>, hint: &str) -> Failure {
    Failure::new(Exit::Usage, message, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_at_a_moment_or_after_a_while() {
        assert_eq!("+30d".parse(), Ok(LockUntil::After(TimeDelta::days(30))));
        assert_eq!("+2w".parse(), Ok(LockUntil::After(TimeDelta::days(14))));
        assert!(
            matches!("2026-01-25T03:00:00+01:00".parse(), Ok(LockUntil::At(at)) if at.to_rfc3339() == "2026-01-25T02:00:00+00:00")
        );
        for wrong in ["", "+", "+d", "30d", "+30", "+30y", "+99999d", "tomorrow", "+é"] {
            assert!(wrong.parse::<LockUntil>().is_err(), "{wrong}");
        }
    }
}
