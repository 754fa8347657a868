//! The flags that say how objects are kept, for every tool that uploads some.

use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use dr_pipe::{Exit, Failure};

use crate::{Location, LockMode, UploadOptions};

/// What is asked of uploads. Only S3 can honour any of it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct UploadArgs {
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
}

impl UploadArgs {
    /// What is asked of every upload to the stores `to`.
    ///
    /// # Errors
    /// 64 for a lock that none of the stores could keep, or that has ended already.
    pub fn options(&self, to: &[Location], now: DateTime<Utc>) -> Result<UploadOptions, Failure> {
        let lock_until = match self.lock_until {
            None => None,
            Some(LockUntil::At(at)) => Some(at),
            Some(LockUntil::After(time)) => now.checked_add_signed(time),
        };
        if lock_until.is_some_and(|until| until <= now) {
            return Err(Failure::new(Exit::Usage, "--lock-until is in the past", "give a time to come, or +30d"));
        }
        if lock_until.is_some() && !to.iter().any(Location::is_s3) {
            let hint = "only S3 locks objects: leave it out, or add a store in S3";
            return Err(Failure::new(Exit::Usage, "--lock-until, and no store that could lock", hint));
        }
        Ok(UploadOptions {
            storage_class: self.storage_class.clone(),
            tags: self.tags.clone(),
            lock_until,
            lock_mode: self.lock_mode,
            expected_bytes: None,
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
        match text.strip_prefix('+') {
            Some(span) => dr_pipe::args::span(span).map(LockUntil::After).map_err(|_| wrong()),
            None => dr_pipe::args::moment(text).map(LockUntil::At).map_err(|_| wrong()),
        }
    }
}

fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("write a tag as KEY=VALUE".into()),
    }
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
