//! The policies of five houses, a line each, over a year of nightly, weekly and monthly backups. Prints what is left.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod history;

use chrono::{DateTime, Datelike, Days, NaiveDate, Utc, Weekday};
use dr_pipe::record::Kind;
use history::{History, Item, STORES, Said, Stretch, TAGS, policy};

const NIGHTLY: usize = 1;
const MONTHLY: usize = 2;
const WEEKLY: usize = 4;
/// Segments of the log of a year, one an hour.
const SEGMENTS: u64 = 366 * 24 + 1;

const fn said(flag: &'static str, scope: &'static str, value: &'static str) -> Said {
    Said { flag, scope, value }
}

/// Nightly dumps, one more of each week and of each month, and four bases a day, in two stores; a segment of the log an hour.
fn year() -> (History, DateTime<Utc>) {
    let mut history = History::default();
    let first = NaiveDate::from_ymd_opt(2025, 11, 21).unwrap();
    let mut add = |item: Item| history.items.push(Item { number: history.items.len(), ..item });
    for (night, store) in (0..366).flat_map(|night| [(night, 0), (night, 1)]) {
        let day = first + Days::new(night);
        let moment = |hour| day.and_hms_opt(hour, 0, 0).unwrap().and_utc();
        let dump = |hour, tags| Item { store, tags, ..Item::dump(0, moment(hour)) };
        add(dump(2, NIGHTLY));
        if day.weekday() == Weekday::Sun {
            add(dump(3, WEEKLY));
        }
        if day.day() == 1 {
            add(dump(4, MONTHLY));
        }
        for hour in [5, 11, 17, 23] {
            add(Item { store, ..Item::base(0, moment(hour), 1, night * 24 + u64::from(hour)) });
        }
    }
    history.runs = [0, 1].map(|store| Stretch { store, timeline: 1, first: 0, last: SEGMENTS - 1, stored_at: None }).into();
    (history, (first + Days::new(365)).and_hms_opt(23, 30, 0).unwrap().and_utc())
}

/// What is left in one store.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    nightly: usize,
    weekly: usize,
    monthly: usize,
    bases: usize,
    segments: u64,
}

/// What is left in both stores; prints it.
fn left(said: &[Said]) -> [Left; 2] {
    let (history, now) = year();
    let (gone, gone_segments) = history.gone(&policy(said, 2), now);
    let flags: Vec<_> = said.iter().map(|said| format!("--keep-{} {}:{}", said.flag, said.scope, said.value)).collect();
    println!("{}", flags.join(" ").replace(" :", " "));
    [0, 1].map(|store| {
        let of = |kind: Kind, tags: usize| {
            let these = history.items.iter().enumerate().filter(|(place, _)| !gone.contains(place)).map(|(_, item)| item);
            let these: Vec<_> = these.filter(|item| (item.store, item.kind, item.tags) == (store, kind, tags)).collect();
            let days: Vec<_> = these.iter().map(|item| item.taken_at.format("%m-%d").to_string()).collect();
            println!("  {} {kind} {}: {}", STORES[store], TAGS[tags].join(" "), days.join(" "));
            these.len()
        };
        Left {
            nightly: of(Kind::Dump, NIGHTLY),
            weekly: of(Kind::Dump, WEEKLY),
            monthly: of(Kind::Dump, MONTHLY),
            bases: of(Kind::Base, 0),
            segments: SEGMENTS - gone_segments.iter().filter(|segment| segment.0 == store).count() as u64,
        }
    })
}

/// Runs by their age: nightly ones 30 days, weekly ones 12 weeks, monthly ones 12 months.
#[test]
fn a_house_that_keeps_each_run_by_its_age() {
    let said = [
        said("within", "tag=run=nightly", "30d"),
        said("within", "tag=run=weekly", "12w"),
        said("within", "tag=run=monthly", "12m"),
        said("within", "base", "24h"),
    ];
    // The log is needed from the first base of today on.
    let expected = || Left { nightly: 30, weekly: 12, monthly: 12, bases: 4, segments: 24 - 5 + 1 };
    assert_eq!(left(&said), [expected(), expected()]);
}

/// Seven days on the host's own disk, thirty in S3, four weeks of weekly ones, and seven days of the log.
#[test]
fn a_house_with_two_tiers() {
    let said = [
        said("within", "store=/var/backups/dr", "7d"),
        said("within", "store=s3://acme-dr/pg", "30d"),
        said("within", "tag=run=weekly", "4w"),
        said("wal", "", "7d"),
    ];
    // Near, no base is as old as the log may be: it goes back to the first there is. Far, it goes back to the last that is, and
    // each of the 91 before that keeps the segment that it is made of.
    let near = Left { nightly: 7, weekly: 4, monthly: 0, bases: 28, segments: SEGMENTS - (359 * 24 + 5) };
    let far = Left { nightly: 30, weekly: 4, monthly: 1, bases: 120, segments: SEGMENTS - (358 * 24 + 23) + 91 };
    assert_eq!(left(&said), [near, far]);
}

/// Grandfather, father, son.
#[test]
fn a_house_with_grandfathers() {
    let said = [said("daily", "", "14"), said("weekly", "", "8"), said("monthly", "", "12")];
    let [near, far] = left(&said);
    // 14 days; today's is that of this week and this month, too; 7 more Sundays, of which 2 are among the days; the last nights of
    // 11 more months. Which run made them does not matter: the newest of a day is kept.
    assert_eq!(near.nightly + near.weekly + near.monthly, 14 + 7 - 2 + 11);
    assert_eq!(near.bases, 14 + 7 - 1 + 11);
    assert_eq!(near, far);
}

/// Dumps of 30 days, bases of 48 hours, seven days of the log, as far as the bases go.
#[test]
fn a_house_with_bases_of_two_days() {
    let said = [said("within", "dump", "30d"), said("within", "base", "48h"), said("wal", "", "7d")];
    let expected = || Left { nightly: 30, weekly: 4, monthly: 1, bases: 8, segments: SEGMENTS - (364 * 24 + 5) };
    assert_eq!(left(&said), [expected(), expected()]);
}

/// Increments for a day, full ones for 30 days, weekly ones for 90, monthly ones for a year.
#[test]
fn a_house_with_a_cold_tier() {
    let said = [
        said("within", "base", "24h"),
        said("within", "dump", "30d"),
        said("within", "tag=run=weekly", "90d"),
        said("within", "tag=run=monthly", "1y"),
        said("wal", "", "7d"),
    ];
    let expected = || Left { nightly: 30, weekly: 12, monthly: 12, bases: 4, segments: 24 - 5 + 1 };
    assert_eq!(left(&said), [expected(), expected()]);
}
