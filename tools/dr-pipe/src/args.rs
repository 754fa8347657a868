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

/// A moment as people and machines write it: RFC 3339, or `YYYY-MM-DD HH:MM:SS` with fractions and an offset; without an offset it is UTC,
/// as everywhere in dr. Names of zones but UTC are not understood: their rules depend on the machine.
///
/// # Errors
/// Says how to write it.
pub fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    let plain = text.strip_suffix("UTC").or_else(|| text.strip_suffix('Z')).unwrap_or(text).trim_end();
    let here = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"];
    let away = ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f %#z", "%Y-%m-%d %H:%M%#z", "%Y-%m-%d %H:%M %#z"];
    let rfc3339 = DateTime::parse_from_rfc3339(text).ok().map(|moment| moment.to_utc());
    let in_utc = || here.iter().find_map(|format| Some(NaiveDateTime::parse_from_str(plain, format).ok()?.and_utc()));
    let with_offset = || away.iter().find_map(|format| Some(DateTime::parse_from_str(text, format).ok()?.to_utc()));
    let wrong = "write 2026-01-25T02:00:00+01:00, '2026-01-25 02:00:00+01', or '2026-01-25 01:00:00' in UTC";
    rfc3339.or_else(in_utc).or_else(with_offset).ok_or_else(|| wrong.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_moment_means_the_same_however_it_is_written(seconds: u32) {
            let time = DateTime::from_timestamp(seconds.into(), 0).unwrap();
            for text in [time.to_rfc3339(), time.format("%Y-%m-%d %H:%M:%S UTC").to_string(), time.format("%Y-%m-%d %H:%M:%S").to_string()] {
                prop_assert_eq!(moment(&text), Ok(time));
            }
        }
    }

    #[test]
    fn one_moment_in_every_way_of_writing_it() {
        let expected: DateTime<Utc> = "2026-01-25T01:00:00.5Z".parse().unwrap();
        for text in [
            "2026-01-25T02:00:00.5+01:00",
            "2026-01-25T01:00:00.5",
            "2026-01-25 01:00:00.5",
            "2026-01-25 01:00:00.5 UTC",
            "2026-01-25 02:00:00.5+01",
            "2026-01-25 02:00:00.5 +01:00",
            "2026-01-24 20:30:00.5-0430",
        ] {
            assert_eq!(moment(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in ["", "now", "yesterday", "2026-01-25", "2026-13-25 00:00:00", "2026-02-30 00:00:00", "02:00:00", "1769306461"] {
            assert!(moment(text).is_err(), "{text}");
        }
        assert!(moment("2026-01-25 02:00:00 CET").is_err());
    }

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
