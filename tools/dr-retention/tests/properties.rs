//! Random histories under random policies. 10,000 of each by default; a campaign of a million is
//! `DR_CASES=1000000 cargo nextest run -p dr-retention --release --test properties`.
#![allow(clippy::unwrap_used)]

mod history;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use dr_pipe::record::Kind;
use history::{History, Item, Judge, Log, Proof, Said, Stretch, at, policy};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

fn cases() -> ProptestConfig {
    let cases = std::env::var("DR_CASES").map_or(10_000, |text| text.parse().unwrap());
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 20_000, ..ProptestConfig::default() }
}

fn now() -> DateTime<Utc> {
    at("2026-03-30T12:00:00Z")
}

const RULES: [Said; 19] = [
    said("last", "", "1"),
    said("last", "", "3"),
    said("last", "dump", "6"),
    said("last", "database=shop", "2"),
    said("within", "", "12h"),
    said("within", "dump", "3d"),
    said("within", "base", "2w"),
    said("within", "store=s3://acme-dr/pg", "1m"),
    said("within", "tag=run=monthly", "1y"),
    said("hourly", "", "4"),
    said("hourly", "base", "1"),
    said("daily", "", "3"),
    said("daily", "dump+tag=run=nightly", "2"),
    said("daily", "store=/var/backups/dr", "1"),
    said("weekly", "", "2"),
    said("weekly", "base+store=s3://acme-dr/pg", "3"),
    said("monthly", "", "2"),
    said("monthly", "tag=run", "2"),
    said("yearly", "cluster=main", "1"),
];

const WINDOWS: [Said; 5] = [
    said("wal", "", "1d"),
    said("wal", "", "7d"),
    said("wal", "store=s3://acme-dr/pg", "2w"),
    said("wal", "store=/var/backups/dr+cluster=main", "12h"),
    said("wal", "cluster=other", "1h"),
];

const fn said(flag: &'static str, scope: &'static str, value: &'static str) -> Said {
    Said { flag, scope, value }
}

prop_compose! {
    /// How long before now, in minutes: mostly round, so that moments meet at the edges of buckets; seldom in the future.
    fn minutes_ago()(days in 0i64..70, hours in 0i64..24, minutes in 0i64..3, kind in 0u8..40) -> i64 {
        match kind {
            0 => -60 * (hours + 1),
            1 => -1 - minutes,
            2..=9 => hours * 60,
            10..=14 => days * 1440 + hours * 60 + minutes,
            _ => days * 1440 - 12 * 60,
        }
    }
}

prop_compose! {
    fn log()(timeline in 1u32..4, first in 0u64..24, length in 0u64..3, inside in 0u8..4, sound in 0u8..40) -> Log {
        Log { timeline, first, last: first + length, inside: inside == 0, sound: sound != 0 }
    }
}

prop_compose! {
    fn item()(
        ago in minutes_ago(),
        lag in prop_oneof![8 => Just(1i64), 2 => 0i64..10_000, 1 => -10i64..0],
        place in (select(vec![0usize, 0, 1]), 0u8..5, select(vec![0usize, 0, 1]), 0usize..8),
        proof in (0u8..8, 0u8..16, 0u8..30),
        log in log(),
    ) -> Item {
        let (store, kind, database, tags) = place;
        let kind = if kind < 2 { Kind::Dump } else { Kind::Base };
        let taken_at = now() - TimeDelta::minutes(ago);
        let proof_of = match proof.0 { 0 => Proof::None, 1 => Proof::Bad, _ => Proof::Good };
        Item {
            number: 0,
            store,
            kind,
            database: if kind == Kind::Dump { database } else { 0 },
            tags: if tags < 4 { tags } else { 0 },
            taken_at,
            stored_at: taken_at + TimeDelta::minutes(lag),
            in_sequence: proof.2 != 0,
            proof: proof_of,
            signed: proof.1 != 0,
            log,
        }
    }
}

prop_compose! {
    fn run()(store in 0usize..2, timeline in 1u32..5, first in 0u64..28, length in 0u64..28, ago in proptest::option::of(minutes_ago())) -> Stretch {
        Stretch { store, timeline, first, last: first + length, stored_at: ago.map(|ago| now() - TimeDelta::minutes(ago)) }
    }
}

prop_compose! {
    fn any_history()(items in proptest::collection::vec(item(), 0..14), runs in proptest::collection::vec(run(), 0..4)) -> History {
        let items = items.into_iter().enumerate().map(|(number, item)| Item { number, ..item });
        History { items: items.collect(), runs }
    }
}

fn any_policy() -> impl Strategy<Value = (Vec<Said>, u32)> {
    let said = (subsequence(RULES.to_vec(), 0..4), subsequence(WINDOWS.to_vec(), 0..4))
        .prop_map(|(rules, windows)| [rules, windows].concat());
    (said, select(vec![2, 2, 2, 3]))
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn f86_what_goes_is_what_a_judge_who_walks_everything_lets_go(history in any_history(), (said, floor) in any_policy()) {
        let judge = Judge { history: &history, said: &said, floor, now: now() };
        let (items, segments) = history.gone(&policy(&said, floor), now());
        let expected = judge.items();
        prop_assert_eq!(&items, &expected, "backups");
        prop_assert_eq!(segments, judge.segments(&expected), "WAL");
    }

    #[test]
    fn f86_two_verified_of_each_group_stay_and_all_that_is_not_verified(history in any_history(), (said, floor) in any_policy()) {
        let judge = Judge { history: &history, said: &said, floor, now: now() };
        let (gone, segments) = history.gone(&policy(&said, floor), now());
        let mut verified: BTreeMap<_, (usize, usize)> = BTreeMap::new();
        for (place, item) in history.items.iter().enumerate() {
            let stays = !gone.contains(&place);
            let sure = item.proof == Proof::Good && item.signed && item.taken_at <= now() && item.stored_at <= now();
            prop_assert!(stays || sure && item.tags != 3 && !judge.is_frozen(item), "{item:?}");
            if judge.counts(item) {
                let (left, all) = verified.entry((item.store, item.kind, item.database)).or_default();
                *left += usize::from(stays);
                *all += 1;
            }
        }
        for (left, all) in verified.into_values() {
            prop_assert!(left >= all.min(2), "{left} of {all}");
        }
        // What a base needs to be restored at all, whatever the policy says.
        for base in history.items.iter().enumerate().filter(|(place, item)| item.kind == Kind::Base && !gone.contains(place)).map(|(_, item)| item) {
            let own = (base.log.first..=base.log.last).filter(|_| !base.log.inside);
            for segment in own.map(|number| (base.store, base.log.timeline, number)) {
                prop_assert!(!segments.contains(&segment), "{segment:?}");
            }
        }
    }

    #[test]
    fn f91_deciding_again_on_what_is_left_lets_nothing_more_go(history in any_history(), (said, floor) in any_policy()) {
        let policy = policy(&said, floor);
        let gone = history.gone(&policy, now());
        let left = history.without(&gone).gone(&policy, now());
        prop_assert!(left.0.is_empty() && left.1.is_empty(), "{left:?}");
    }

    #[test]
    fn f90_what_is_not_verified_makes_nothing_go(history in any_history(), forged in item(), (said, floor) in any_policy()) {
        let policy = policy(&said, floor);
        let before = history.gone(&policy, now());
        let mut flooded = history.clone();
        let proof = if forged.proof == Proof::Good { Proof::None } else { forged.proof };
        flooded.items.push(Item { number: 9999, proof, ..forged });
        let after = flooded.gone(&policy, now());
        prop_assert!(after.0.is_subset(&before.0), "{:?} of {:?}", after.0, before.0);
        // WAL that stayed only as nobody was known to read it may go once somebody is: what is forged can let a verified base no
        // longer count, so that an older one is to be recovered from, too. What a base needs never goes.
        let judge = Judge { history: &history, said: &said, floor, now: now() };
        let lost: Vec<_> = after.1.difference(&before.1).filter(|segment| judge.is_needed(**segment, &before.0)).collect();
        prop_assert!(lost.is_empty(), "{lost:?}");
    }
}
