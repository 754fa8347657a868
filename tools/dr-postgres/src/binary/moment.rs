//! Dates and times, as `DateStyle` ISO and the time zone UTC write them.

use super::digits::{Digits, four, pair, parse_few};

/// From 1970-01-01, where the calendar below counts from, to 2000-01-01, where PostgreSQL does, in days.
const EPOCH_DAYS: i64 = 10_957;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// The first date there is, 4714-11-24 BC, and the one behind the last, 5874898-01-01.
const DATES: std::ops::Range<i32> = -2_451_545..2_145_031_949;

/// The first timestamp there is, 4714-11-24 BC, and the one behind the last, 294277-01-01.
const TIMESTAMPS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

const INFINITY: &[u8] = b"infinity";
const NEGATIVE_INFINITY: &[u8] = b"-infinity";
const BEFORE_CHRIST: &[u8] = b" BC";

/// Appends a date: days since 2000-01-01.
pub fn date(days: i32, to: &mut Vec<u8>) -> Result<(), &'static str> {
    match days {
        i32::MAX => to.extend_from_slice(INFINITY),
        i32::MIN => to.extend_from_slice(NEGATIVE_INFINITY),
        _ if !DATES.contains(&days) => return Err("a date beyond all dates"),
        _ => {
            if append_day(days.into(), to) {
                to.extend_from_slice(BEFORE_CHRIST);
            }
        }
    }
    Ok(())
}

/// Appends a time of day: microseconds since midnight, that of the next day included.
pub fn time(micros: i64, to: &mut Vec<u8>) -> Result<(), &'static str> {
    if !(0..=DAY).contains(&micros) {
        return Err("a time beyond the day");
    }
    append_clock(micros, to);
    Ok(())
}

/// Appends a timestamp, microseconds since 2000-01-01, with `zone` behind the time.
pub fn timestamp(micros: i64, zone: &[u8], to: &mut Vec<u8>) -> Result<(), &'static str> {
    match micros {
        i64::MAX => to.extend_from_slice(INFINITY),
        i64::MIN => to.extend_from_slice(NEGATIVE_INFINITY),
        _ if !TIMESTAMPS.contains(&micros) => return Err("a timestamp beyond all timestamps"),
        _ => {
            let before_christ = append_day(micros.div_euclid(DAY), to);
            to.push(b' ');
            append_clock(micros.rem_euclid(DAY), to);
            to.extend_from_slice(zone);
            if before_christ {
                to.extend_from_slice(BEFORE_CHRIST);
            }
        }
    }
    Ok(())
}

/// Appends year, month and day; whether that year is one before Christ.
fn append_day(days: i64, to: &mut Vec<u8>) -> bool {
    let (year, month, day) = civil(days + EPOCH_DAYS);
    let before_christ = year <= 0;
    // The year before 1 AD is 1 BC.
    let shown = if before_christ { 1 - year } else { year }.unsigned_abs();
    match u32::try_from(shown) {
        Ok(year) if year < 10_000 => to.extend_from_slice(&four(year)),
        _ => to.extend_from_slice(Digits::of(shown).as_bytes()),
    }
    let ([a, b], [c, d]) = (pair(month), pair(day));
    to.extend_from_slice(&[b'-', a, b, b'-', c, d]);
    before_christ
}

/// The day of the Gregorian calendar, extended backwards, that is so many days after 1970-01-01: its year (0 is 1 BC), month
/// and day. Years begin in March here, so that the leap day is a year's last; 400 years, an era, have always 146,097 days.
fn civil(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month as u32, day as u32)
}

/// The date that a text is, in days since 2000-01-01; none where PostgreSQL does not write one so.
pub fn parse_date(field: &[u8]) -> Option<i32> {
    match field {
        INFINITY => return Some(i32::MAX),
        NEGATIVE_INFINITY => return Some(i32::MIN),
        _ => {}
    }
    let (day, is_before_christ) = before_christ(field);
    i32::try_from(parse_day(day, is_before_christ)?).ok().filter(|days| DATES.contains(days))
}

/// The time of day that a text is, in microseconds since midnight.
pub fn parse_time(field: &[u8]) -> Option<i64> {
    parse_clock(field).filter(|micros| *micros <= DAY)
}

/// The timestamp that a text is, which has `zone` behind its time, in microseconds since 2000-01-01.
pub fn parse_timestamp(field: &[u8], zone: &[u8]) -> Option<i64> {
    match field {
        INFINITY => return Some(i64::MAX),
        NEGATIVE_INFINITY => return Some(i64::MIN),
        _ => {}
    }
    let (moment, is_before_christ) = before_christ(field);
    let moment = moment.strip_suffix(zone)?;
    let (day, clock) = moment.split_at(moment.iter().position(|byte| *byte == b' ')?);
    let days = parse_day(day, is_before_christ)?;
    let micros = parse_clock(&clock[1..]).filter(|micros| *micros < DAY)?;
    days.checked_mul(DAY)?.checked_add(micros).filter(|micros| TIMESTAMPS.contains(micros))
}

fn before_christ(field: &[u8]) -> (&[u8], bool) {
    field.strip_suffix(BEFORE_CHRIST).map_or((field, false), |moment| (moment, true))
}

/// Days since 2000-01-01.
fn parse_day(field: &[u8], is_before_christ: bool) -> Option<i64> {
    let (year, rest) = field.split_at_checked(field.len().checked_sub("-mm-dd".len())?)?;
    let &[b'-', month0, month1, b'-', day0, day1] = rest else { return None };
    // The largest year has seven digits; more than four have no zero before them.
    let is_written_so = (4..=7).contains(&year.len()) && (year.len() == 4 || year[0] != b'0');
    let shown = i64::from(is_written_so.then(|| parse_few(year))??);
    let (month, day) = (parse_few(&[month0, month1])?, parse_few(&[day0, day1])?);
    let year = if is_before_christ { 1 - shown } else { shown };
    let is_leap_year = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + u32::from(is_leap_year),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let is_one = shown > 0 && (1..=12).contains(&month) && (1..=last).contains(&day);
    is_one.then(|| days_from_civil(year, month, day) - EPOCH_DAYS)
}

/// The way back from [`civil`].
fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn parse_clock(field: &[u8]) -> Option<i64> {
    let (&[hour0, hour1, b':', minute0, minute1, b':', second0, second1], fraction) = field.split_first_chunk::<8>()? else {
        return None;
    };
    let (hours, minutes, seconds) = (parse_few(&[hour0, hour1])?, parse_few(&[minute0, minute1])?, parse_few(&[second0, second1])?);
    let fraction = match fraction {
        [] => 0,
        // Zeroes at the end are not written.
        [b'.', digits @ ..] if matches!(digits.len(), 1..=6) && !digits.ends_with(b"0") => {
            parse_few(digits)? * 10_u32.pow(6 - digits.len() as u32)
        }
        _ => return None,
    };
    let clock = i64::from(hours * 3_600 + minutes * 60 + seconds) * SECOND + i64::from(fraction);
    (minutes < 60 && seconds < 60).then_some(clock)
}

/// Appends hours, minutes and seconds; of fractions what is not zero at their end.
fn append_clock(micros: i64, to: &mut Vec<u8>) {
    let (seconds, fraction) = ((micros / SECOND) as u32, (micros % SECOND) as u32);
    let ([a, b], [c, d], [e, f]) = (pair(seconds / 3_600), pair(seconds / 60 % 60), pair(seconds % 60));
    to.extend_from_slice(&[a, b, b':', c, d, b':', e, f]);
    if fraction == 0 {
        return;
    }
    let ([a, b], [c, d, e, f]) = (pair(fraction / 10_000), four(fraction % 10_000));
    to.extend_from_slice(&[b'.', a, b, c, d, e, f]);
    while to.last() == Some(&b'0') {
        to.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(append: impl Fn(&mut Vec<u8>) -> Result<(), &'static str>) -> String {
        let mut text = Vec::new();
        append(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (days, expected) in [
            (0, "2000-01-01"),
            (-1, "1999-12-31"),
            (59, "2000-02-29"),
            (-730_119, "0001-01-01"),
            (-730_120, "0001-12-31 BC"),
            (DATES.start, "4714-11-24 BC"),
            (DATES.end - 1, "5874897-12-31"),
            (i32::MIN, "-infinity"),
            (i32::MAX, "infinity"),
        ] {
            assert_eq!(text(|to| date(days, to)), expected);
        }
        assert!(date(DATES.end, &mut Vec::new()).is_err() && date(DATES.start - 1, &mut Vec::new()).is_err());
        // Day by day through every kind of year, held against a second calendar.
        let start = chrono::NaiveDate::from_ymd_opt(2000, 1, 1).unwrap();
        for days in (-400 * 366..401 * 366).chain((-80_000_000..80_000_000).step_by(9_973)) {
            let there = start + chrono::Duration::days(days.into());
            let (year, month, day) = civil(i64::from(days) + EPOCH_DAYS);
            assert_eq!(chrono::NaiveDate::from_ymd_opt(year as i32, month, day).unwrap(), there, "{days}");
        }
    }

    #[test]
    fn times_show_what_is_not_zero_of_their_fractions() {
        assert_eq!(text(|to| time(0, to)), "00:00:00");
        assert_eq!(text(|to| time(DAY, to)), "24:00:00");
        assert_eq!(text(|to| time(DAY - 1, to)), "23:59:59.999999");
        assert_eq!(text(|to| time(1_200_300, to)), "00:00:01.2003");
        assert_eq!(text(|to| timestamp(-1, b"", to)), "1999-12-31 23:59:59.999999");
        assert_eq!(text(|to| timestamp(TIMESTAMPS.start, b"+00", to)), "4714-11-24 00:00:00+00 BC");
        assert_eq!(text(|to| timestamp(TIMESTAMPS.end - 1, b"", to)), "294276-12-31 23:59:59.999999");
        for refused in [-1, DAY + 1] {
            assert!(time(refused, &mut Vec::new()).is_err());
        }
        for refused in [TIMESTAMPS.start - 1, TIMESTAMPS.end] {
            assert!(timestamp(refused, b"", &mut Vec::new()).is_err());
        }
    }
}
