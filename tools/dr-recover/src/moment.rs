//! Which moment is meant by a text, and how is one shown so that nobody mistakes it?

use chrono::{DateTime, SecondsFormat, Utc};

/// A moment in RFC 3339, or `YYYY-MM-DD HH:MM:SS` with fractions and an offset; without an offset it is UTC, as everywhere in dr.
/// Names of zones are not understood: their rules depend on the machine.
///
/// # Errors
/// Says how to write it.
pub fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(moment) = dr_catalogue::moment(text) {
        return Ok(moment);
    }
    let formats = ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f %#z", "%Y-%m-%d %H:%M%#z", "%Y-%m-%d %H:%M %#z"];
    let parsed = formats.iter().find_map(|format| DateTime::parse_from_str(text, format).ok());
    let wrong = "write 2026-01-25T02:00:00+01:00, '2026-01-25 02:00:00+01', or '2026-01-25 01:00:00' in UTC";
    parsed.map(|moment| moment.to_utc()).ok_or_else(|| wrong.into())
}

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
    fn one_moment_in_every_way_of_writing_it() {
        let expected: DateTime<Utc> = "2026-01-25T01:00:00.5Z".parse().unwrap();
        for text in [
            "2026-01-25T02:00:00.5+01:00",
            "2026-01-25 01:00:00.5",
            "2026-01-25 01:00:00.5 UTC",
            "2026-01-25 02:00:00.5+01",
            "2026-01-25 02:00:00.5 +01:00",
            "2026-01-24 20:30:00.5-0430",
        ] {
            assert_eq!(moment(text).unwrap(), expected, "{text}");
        }
        assert_eq!(postgres(expected), "2026-01-25 01:00:00.500000+00");
        for wrong in ["", "now", "2026-01-25", "2026-01-25 02:00:00 CET", "2026-02-30 00:00:00", "02:00:00"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
