//! What should be there at the end? Said again, in the simplest words, by who does not know how dr-prune does it.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, TimeDelta, Utc};

/// Of these moments, those not older than `days`.
pub fn within(made: &[DateTime<Utc>], now: DateTime<Utc>, days: i64) -> Vec<DateTime<Utc>> {
    made.iter().copied().filter(|at| now - *at <= TimeDelta::days(days)).collect()
}

/// Of these moments, the last of each of the last `count` days, ISO weeks or months that have any.
pub fn last_of(made: &[DateTime<Utc>], count: usize, bucket: fn(DateTime<Utc>) -> (i32, u32)) -> Vec<DateTime<Utc>> {
    let mut last = BTreeMap::new();
    for at in made {
        last.insert(bucket(*at), *at);
    }
    last.into_values().rev().take(count).collect()
}

pub fn day(at: DateTime<Utc>) -> (i32, u32) {
    (at.year(), at.ordinal())
}

pub fn week(at: DateTime<Utc>) -> (i32, u32) {
    (at.iso_week().year(), at.iso_week().week())
}

pub fn month(at: DateTime<Utc>) -> (i32, u32) {
    (at.year(), at.month())
}
