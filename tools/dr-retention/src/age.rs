//! How long ago is too long?

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Months, TimeDelta, Utc};

/// A span of time, such as `12h`, `30d`, `4w`, `6m` (months) or `1y`. Months and years are those of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    count: u32,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Hours,
    Days,
    Weeks,
    Months,
    Years,
}

impl Age {
    /// The moment that is so long before `now`; none where there is no such moment. A day that a month lacks is its last day.
    pub fn before(self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let count = i64::from(self.count);
        let span = match self.unit {
            Unit::Hours => TimeDelta::try_hours(count),
            Unit::Days => TimeDelta::try_days(count),
            Unit::Weeks => TimeDelta::try_weeks(count),
            Unit::Months => return now.checked_sub_months(Months::new(self.count)),
            Unit::Years => return now.checked_sub_months(Months::new(self.count.checked_mul(12)?)),
        };
        now.checked_sub_signed(span?)
    }
}

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write an age as 12h, 30d, 4w, 6m (months) or 1y".to_owned();
        let unit = match text.as_bytes().last() {
            Some(b'h') => Unit::Hours,
            Some(b'd') => Unit::Days,
            Some(b'w') => Unit::Weeks,
            Some(b'm') => Unit::Months,
            Some(b'y') => Unit::Years,
            _ => return Err(wrong()),
        };
        let number = &text[..text.len() - 1];
        match number.parse() {
            Ok(count) if count > 0 && number.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Age { count, unit }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Hours => 'h',
            Unit::Days => 'd',
            Unit::Weeks => 'w',
            Unit::Months => 'm',
            Unit::Years => 'y',
        };
        write!(f, "{}{unit}", self.count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn f87_an_age_counts_back_by_the_calendar() {
        let back = |now: &str, age: &str| {
            let moment = age.parse::<Age>().unwrap().before(now.parse().unwrap());
            moment.map_or("never".into(), |moment| moment.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
        };
        for (now, age, moment) in [
            ("2026-03-29T02:30:00Z", "12h", "2026-03-28T14:30:00Z"),
            ("2026-03-01T00:00:00Z", "1d", "2026-02-28T00:00:00Z"),
            ("2024-03-01T00:00:00Z", "1d", "2024-02-29T00:00:00Z"),
            ("2026-01-01T00:00:00Z", "4w", "2025-12-04T00:00:00Z"),
            ("2026-03-31T05:00:00Z", "1m", "2026-02-28T05:00:00Z"),
            ("2024-03-31T05:00:00Z", "1m", "2024-02-29T05:00:00Z"),
            ("2024-02-29T05:00:00Z", "1y", "2023-02-28T05:00:00Z"),
            ("2024-02-29T05:00:00Z", "4y", "2020-02-29T05:00:00Z"),
            ("1970-01-01T00:00:00Z", "1h", "1969-12-31T23:00:00Z"),
            ("2100-03-01T00:00:00Z", "1d", "2100-02-28T00:00:00Z"),
            ("2026-01-01T00:00:00Z", "4294967295y", "never"),
            ("2026-01-01T00:00:00Z", "4294967295w", "never"),
        ] {
            assert_eq!(back(now, age), moment, "{age} before {now}");
        }
    }

    #[test]
    fn what_is_no_age_is_refused() {
        for wrong in ["", "d", "30", "0d", "-1d", "+1d", "1.5d", "30 d", "30D", "30s", "99999999999d", "30é"] {
            assert!(wrong.parse::<Age>().is_err(), "{wrong:?}");
        }
        assert_eq!("6m".parse::<Age>().unwrap().to_string(), "6m");
    }
}
