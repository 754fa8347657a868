//! How is a moment shown so that nobody mistakes it?

use chrono::{DateTime, SecondsFormat, Utc};

/// In UTC, as in records.
pub fn utc(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// In UTC, and in the zone of this machine where that is another one.
pub fn both(moment: DateTime<Utc>) -> String {
    let local = moment.with_timezone(&chrono::Local);
    if local.offset().to_string() == "+00:00" {
        return utc(moment);
    }
    format!("{} ({} here)", utc(moment), local.format("%Y-%m-%d %H:%M:%S%.f %:z"))
}

/// As PostgreSQL takes it in a setting, whatever its own zone is. Its clock counts microseconds.
pub fn postgres(moment: DateTime<Utc>) -> String {
    moment.format("%Y-%m-%d %H:%M:%S%.6f+00").to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_server_takes_a_moment_whatever_its_zone_is() {
        assert_eq!(postgres("2026-01-25T02:00:00.5+01:00".parse().unwrap()), "2026-01-25 01:00:00.500000+00");
    }
}
