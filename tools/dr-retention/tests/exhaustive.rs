//! Every history of up to eight backups, each verified, not verified or not there, under six clocks.
#![allow(clippy::unwrap_used)]

mod history;

use chrono::{DateTime, TimeDelta, Utc};
use dr_pipe::record::Kind;
use history::{History, Item, Judge, Proof, Said, Stretch, at, policy};

/// Where backups can be: two of one hour, of one day, of one week, on both sides of a leap day, a month, an ISO year and a year.
fn moments() -> [DateTime<Utc>; 8] {
    [
        "2023-12-31T23:59:59Z",
        "2024-01-01T00:00:00Z",
        "2024-02-28T23:30:00Z",
        "2024-02-29T00:00:00Z",
        "2024-02-29T12:10:00Z",
        "2024-02-29T12:50:00Z",
        "2024-03-01T02:00:00Z",
        "2024-12-30T02:00:00Z",
    ]
    .map(at)
}

/// The clock is right; a minute after the last backup; before it; and moved to where it should never be.
fn clocks() -> [DateTime<Utc>; 6] {
    [
        at("2024-12-30T12:00:00Z"),
        at("2024-12-30T02:01:00Z"),
        at("2024-02-29T12:30:00Z"),
        at("1970-01-01T00:00:00Z"),
        at("2100-02-28T23:59:59Z"),
        at("2025-03-30T01:30:00Z"),
    ]
}

const POLICIES: [&[Said]; 3] = [
    &[Said { flag: "last", scope: "", value: "1" }, Said { flag: "wal", scope: "", value: "1d" }],
    &[
        Said { flag: "daily", scope: "", value: "1" },
        Said { flag: "weekly", scope: "", value: "2" },
        Said { flag: "yearly", scope: "dump", value: "2" },
    ],
    &[
        Said { flag: "within", scope: "", value: "1y" },
        Said { flag: "monthly", scope: "base", value: "1" },
        Said { flag: "wal", scope: "", value: "1h" },
    ],
];

/// A history by its number in base 3.
fn numbered(mut number: usize, kinds: [Kind; 2]) -> History {
    let mut items = Vec::new();
    for (place, moment) in moments().into_iter().enumerate() {
        let state = number % 3;
        number /= 3;
        if state > 0 {
            let proof = if state == 1 { Proof::Good } else { Proof::None };
            let base = Item::base(place, moment, 1 + place as u32 / 5, 2 * place as u64 + 1);
            items.push(Item { kind: kinds[place % 2], proof, stored_at: moment + TimeDelta::seconds(30), ..base });
        }
    }
    let run = |timeline, first, last| Stretch { store: 0, timeline, first, last, stored_at: None };
    History { items, runs: vec![run(1, 0, 14), run(2, 9, 18)] }
}

fn every(kinds: [Kind; 2]) {
    let mut gone_at_all = 0;
    for number in 0..3_usize.pow(8) {
        let history = numbered(number, kinds);
        for (place, now) in clocks().into_iter().enumerate() {
            // Each policy in its turn, so that each meets every clock.
            let said = POLICIES[(number / 3 + place) % POLICIES.len()];
            let (items, segments) = history.gone(&policy(said, 2), now);
            // The judge is slow, and has judged more of this by chance: see properties.rs.
            if number % 5 == place % 5 {
                let judge = Judge { history: &history, said, floor: 2, now };
                assert_eq!(items, judge.items(), "history {number} at {now}: {history:?}");
                assert_eq!(segments, judge.segments(&items), "history {number} at {now}: {history:?}");
            }
            for (kind, verified) in kinds.map(|kind| (kind, items_of(&history, kind))) {
                let left = verified.iter().filter(|place| !items.contains(place)).count();
                assert!(left >= verified.len().min(2), "history {number} at {now}: {kind}");
            }
            let last = history.items.last();
            // Nothing is ever decided by a clock that is behind what it judges.
            let behind = last.is_some_and(|last| last.taken_at > now + TimeDelta::minutes(6));
            let of_last = |place: &usize| history.items[*place].kind == last.unwrap().kind;
            assert!(!behind || !items.iter().any(of_last) && segments.is_empty(), "history {number} at {now}");
            gone_at_all += items.len() + segments.len();
        }
    }
    assert!(gone_at_all > 100_000, "{gone_at_all}");
}

fn items_of(history: &History, kind: Kind) -> Vec<usize> {
    let of_kind = |(_, item): &(usize, &Item)| item.kind == kind && item.proof == Proof::Good;
    history.items.iter().enumerate().filter(of_kind).map(|(place, _)| place).collect()
}

#[test]
fn f87_every_history_of_eight_bases_under_six_clocks() {
    every([Kind::Base, Kind::Base]);
}

#[test]
fn f87_every_history_of_eight_backups_of_two_kinds_under_six_clocks() {
    every([Kind::Dump, Kind::Base]);
}
