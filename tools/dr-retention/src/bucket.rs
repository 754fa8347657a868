//! Which hour, day, week, month or year is a moment in? In UTC, so that no clock is ever put forward or back.

use chrono::{DateTime, Datelike, Utc};

const HOUR_MICROS: i64 = 3_600_000_000;

/// How often a rule keeps one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// Each.
    Backup,
    /// One of each hour.
    Hour,
    /// One of each day.
    Day,
    /// One of each ISO week, which begins on Monday.
    Week,
    /// One of each month.
    Month,
    /// One of each year.
    Year,
}

impl Every {
    /// The number of the bucket that a moment, in microseconds since 1970, is in. Two moments of one bucket have one number.
    /// Of [`Every::Backup`], each moment is its own.
    pub(crate) fn bucket(self, moment: i64) -> i64 {
        let date = || DateTime::<Utc>::from_timestamp_micros(moment).unwrap_or(DateTime::<Utc>::MAX_UTC).date_naive();
        match self {
            Every::Backup => moment,
            Every::Hour => moment.div_euclid(HOUR_MICROS),
            Every::Day => day(moment),
            // 1970-01-01 was a Thursday.
            Every::Week => (day(moment) + 3).div_euclid(7),
            Every::Month => i64::from(date().year()) * 12 + i64::from(date().month0()),
            Every::Year => i64::from(date().year()),
        }
    }
}

/// The day that a moment is in, counted from 1970.
pub(crate) fn day(moment: i64) -> i64 {
    moment.div_euclid(24 * HOUR_MICROS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chrono::{NaiveDate, TimeDelta};

    use super::*;

    /// Every day of 130 years: a bucket changes where the calendar's own does, and only there.
    #[test]
    fn f87_buckets_are_those_of_the_iso_calendar_from_1970_to_2100() {
        let at = |year| NaiveDate::from_ymd_opt(year, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap().and_utc();
        let (mut before, end) = (at(1969) + TimeDelta::days(360), at(2101));
        while before < end {
            let after = before + TimeDelta::days(1);
            let (begin, last) = (before.timestamp_micros(), after.timestamp_micros() - 1);
            let changes = |every: Every| {
                assert_eq!(every.bucket(begin), every.bucket(last), "{before} {every:?}");
                let step = every.bucket(last + 1) - every.bucket(last);
                assert!((0..=1).contains(&step), "{after} {every:?}");
                step == 1
            };
            assert!(changes(Every::Day));
            assert_eq!(changes(Every::Week), before.iso_week() != after.iso_week(), "{after}");
            assert_eq!(changes(Every::Month), before.month() != after.month(), "{after}");
            assert_eq!(changes(Every::Year), before.year() != after.year(), "{after}");
            assert_eq!(Every::Hour.bucket(last) - Every::Hour.bucket(begin), 23);
            assert_eq!(Every::Hour.bucket(last + 1) - Every::Hour.bucket(last), 1);
            before = after;
        }
    }
}
