//! Flags that more than one tool has, each with its one home.

use std::path::PathBuf;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};

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

/// Reads a while, such as `30d`: a whole number of at most 65,535 hours (`h`), days (`d`) or weeks (`w`).
///
/// # Errors
/// Says how to write it.
pub fn span(text: &str) -> Result<TimeDelta, String> {
    let wrong = || "write a while as 30d (or h, w)".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let number: u16 = number.parse().map_err(|_| wrong())?;
    match unit {
        "h" => Ok(TimeDelta::hours(number.into())),
        "d" => Ok(TimeDelta::days(number.into())),
        "w" => Ok(TimeDelta::weeks(number.into())),
        _ => Err(wrong()),
    }
}

/// Reads a time span in seconds, or with a unit: `90`, `90s`, `30m`, `4h`, `1d`.
///
/// # Errors
/// Says how to write it; nothing is no time span.
pub fn seconds(text: &str) -> Result<f64, String> {
    let wrong = || "write 90, 90s, 30m, 4h or 1d".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit: u32 = match &text[digits..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..digits].parse().map_err(|_| wrong())?;
    if number == 0 { Err("it must be more than nothing".into()) } else { Ok(f64::from(number) * f64::from(unit)) }
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

/// A moment as people and machines write it: RFC 3339, or `YYYY-MM-DD HH:MM:SS` in UTC, with or without the word UTC.
///
/// # Errors
/// Says how to write it.
pub fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Ok(moment.to_utc());
    }
    let plain = text.strip_suffix("UTC").or_else(|| text.strip_suffix('Z')).unwrap_or(text).trim_end();
    let formats = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"];
    let parsed = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(plain, format).ok());
    parsed.map(|moment| moment.and_utc()).ok_or_else(|| "write 2026-01-25T02:00:00Z or '2026-01-25 02:00:00 UTC'".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_span_is_seconds_or_has_a_unit() {
        for (text, value) in [("90", 90.0), ("90s", 90.0), ("30m", 1800.0), ("4h", 14400.0), ("1d", 86400.0)] {
            assert_eq!(seconds(text), Ok(value));
        }
        for text in ["", "0", "h", "-1", "1.5h", "1w", "4 h", "4H", "99999999999", "ä"] {
            assert!(seconds(text).is_err(), "{text:?}");
        }
    }
}
