//! What has deleted the wrong backups elsewhere, case by case.
#![allow(clippy::unwrap_used)]

mod history;

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use dr_pipe::record::Kind;
use dr_retention::{Intake, Pin, Policy, Scoped, Window, decide};
use history::{History, Item, Proof, Said, Stretch, at, policy};

fn said(flag: &'static str, value: &'static str) -> Said {
    Said { flag, scope: "", value }
}

fn nights(count: usize) -> Vec<Item> {
    let first = at("2026-01-01T02:00:00Z");
    (0..count).map(|night| Item::dump(night, first + TimeDelta::days(night as i64))).collect()
}

fn after(items: &[Item]) -> DateTime<Utc> {
    items.iter().map(|item| item.taken_at).max().unwrap() + TimeDelta::hours(1)
}

fn kept(items: &[Item], policy: &Policy, now: DateTime<Utc>) -> BTreeSet<usize> {
    let history = History { items: items.to_vec(), runs: Vec::new() };
    let (gone, _) = history.gone(policy, now);
    items.iter().enumerate().filter(|(place, _)| !gone.contains(place)).map(|(_, item)| item.number).collect()
}

fn set(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
    numbers.into_iter().collect()
}

#[test]
fn f86_the_floor_counts_what_is_verified_of_each_group() {
    let mut items = nights(10);
    for item in &mut items[3..] {
        item.proof = Proof::None;
    }
    let last = policy(&[said("last", "1")], 2);
    assert_eq!(kept(&items, &last, after(&items)), set((1..10).collect::<Vec<_>>()), "only three are verified: two of them stay");
    items.iter_mut().for_each(|item| item.proof = Proof::Good);
    items[9].signed = false;
    assert_eq!(kept(&items, &last, after(&items)), set([7, 8, 9]), "a signature that was not checked is none");
    // A dump of another database pushes nothing out.
    items[9] = Item { database: 1, ..Item::dump(9, items[9].taken_at) };
    assert_eq!(kept(&items, &last, after(&items)), set([7, 8, 9]));
}

#[test]
fn f87_a_backup_of_the_future_freezes_its_group_and_the_log_of_its_cluster() {
    let mut items: Vec<Item> = (0..6)
        .map(|night| Item::base(night, at("2026-01-01T02:00:00Z") + TimeDelta::days(night as i64), 1, 10 + 10 * night as u64))
        .collect();
    let runs = vec![Stretch { store: 0, timeline: 1, first: 1, last: 100, stored_at: None }];
    let rules = policy(&[said("last", "2"), said("wal", "1d")], 2);
    let now = after(&items);
    let gone = |items: &[Item]| History { items: items.to_vec(), runs: runs.clone() }.gone(&rules, now);
    assert_eq!((gone(&items).0.len(), gone(&items).1.len()), (4, 49));
    items[5].stored_at = now + TimeDelta::minutes(6);
    assert_eq!(gone(&items), Default::default());
    items[5].stored_at = now + TimeDelta::minutes(4);
    assert_eq!((gone(&items).0.len(), gone(&items).1.len()), (4, 49), "clocks may be a little apart");
    // One that is dated back contradicts those made since, and pushes none of them out.
    items[5] = Item { taken_at: items[1].taken_at + TimeDelta::hours(1), stored_at: now, ..items[5] };
    assert_eq!(gone(&items).0, set([0]), "two that are beyond doubt, and all that contradict each other");
}

#[test]
fn f87_what_is_a_little_newer_than_now_stays() {
    let mut items = nights(6);
    let now = after(&items);
    for (place, item) in items.iter_mut().enumerate().skip(2) {
        item.taken_at = now + TimeDelta::minutes(place as i64 - 3);
        item.stored_at = item.taken_at;
    }
    assert_eq!(kept(&items, &policy(&[said("last", "1")], 2), now), set([4, 5]));
    items[3].stored_at = now + TimeDelta::seconds(1);
    assert_eq!(kept(&items, &policy(&[said("last", "1")], 2), now), set([3, 4, 5]));
}

/// A decision at any moment of time keeps what it must: no moment is too early or too late to decide.
#[test]
fn f87_no_clock_is_too_far_away() {
    let items = nights(40);
    let rules = policy(&[said("daily", "7"), said("within", "4294967295y"), said("monthly", "1")], 2);
    for now in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC, DateTime::UNIX_EPOCH] {
        assert_eq!(kept(&items, &rules, now).len(), 40);
    }
    let rules = policy(&[said("within", "1h")], 2);
    assert_eq!(kept(&items, &rules, DateTime::<Utc>::MAX_UTC), set([38, 39]));
}

#[test]
fn what_is_just_as_old_as_may_be_stays() {
    let mut items = nights(12);
    let now = items[11].taken_at + TimeDelta::days(2);
    let rules = policy(&[said("within", "7d")], 2);
    assert_eq!(kept(&items, &rules, now), set(6..12));
    items[6].taken_at -= TimeDelta::microseconds(1);
    assert_eq!(kept(&items, &rules, now), set(7..12));
}

/// That no backups come any more is for dr-delete to see; what was decided meanwhile leaves two.
#[test]
fn f89_pruning_on_while_no_backup_comes_leaves_the_floor() {
    let mut items = nights(30);
    for day in 0..400 {
        let now = at("2026-01-31T03:00:00Z") + TimeDelta::days(day);
        let left = kept(&items, &policy(&[said("within", "7d"), said("hourly", "1")], 2), now);
        items.retain(|item| left.contains(&item.number));
    }
    assert_eq!(items.iter().map(|item| item.number).collect::<Vec<_>>(), [28, 29]);
}

/// A thousand manifests of one day, verified even, against thirty honest nights.
#[test]
fn f90_a_flood_of_one_day_pushes_out_no_more_than_a_day_or_two() {
    let honest = nights(30);
    let day = at("2026-01-31T00:00:00Z");
    let forged = |proof| {
        (0..1000).map(move |number| Item { proof, ..Item::dump(1000 + number, day + TimeDelta::seconds(80 * number as i64)) })
    };
    let now = day + TimeDelta::hours(24);
    for (rule, pushed_out) in [("last", 2), ("daily", 1), ("weekly", 1), ("monthly", 1), ("yearly", 1)] {
        // Without the floor, which two forged ones may well be: they are the newest.
        let rules = policy(&[said(rule, "7")], 0);
        let before = kept(&honest, &rules, now);
        let with = |proof| {
            let all = [honest.clone(), forged(proof).collect()].concat();
            kept(&all, &rules, now).into_iter().filter(|number| *number < 1000).collect::<BTreeSet<_>>()
        };
        assert_eq!(with(Proof::None), before, "{rule}: what is not verified counts for nothing");
        let after = with(Proof::Good);
        assert!(after.is_subset(&before) && before.len() - after.len() <= pushed_out, "{rule}: {before:?} {after:?}");
    }
    // Those that show an older moment than they can contradict what was made since, and count for nothing.
    let back_dated = (0..1000).map(|number| Item {
        taken_at: day - TimeDelta::days(2 + number % 20),
        stored_at: now - TimeDelta::minutes(1),
        ..Item::dump(1000 + number as usize, day)
    });
    let all = [honest.clone(), back_dated.collect()].concat();
    let rules = policy(&[said("daily", "7"), said("last", "7")], 2);
    assert!(kept(&all, &rules, now).is_superset(&kept(&honest, &rules, now)));
}

#[test]
fn d3_wal_goes_only_where_a_verified_base_is_behind_it() {
    let runs = vec![Stretch { store: 0, timeline: 1, first: 1, last: 50, stored_at: None }];
    let rules = policy(&[said("last", "2")], 2);
    let base = Item::base(0, at("2026-01-01T02:00:00Z"), 1, 30);
    let now = after(&[base]);
    let gone = |items: &[Item]| History { items: items.to_vec(), runs: runs.clone() }.gone(&rules, now).1.len();
    assert_eq!(gone(&[]), 0);
    assert_eq!(gone(&[base]), 29);
    assert_eq!(gone(&[Item { proof: Proof::None, ..base }]), 0, "anybody could say so");
    assert_eq!(gone(&[base, Item { log: history::Log { sound: false, ..base.log }, ..Item::base(1, base.taken_at, 1, 40) }]), 0);
    assert_eq!(gone(&[Item { store: 1, ..base }]), 0, "it lies in another store");
    assert_eq!(gone(&[base, Item { kind: Kind::Base, ..Item::base(1, base.taken_at, 1, 20) }]), 19);
    assert_eq!(gone(&[Item { log: history::Log { timeline: 2, ..base.log }, ..base }]), 50, "all of an older timeline");
}

#[test]
fn d6_what_is_pinned_stays() {
    let mut items = nights(10);
    items[2].tags = 3;
    items[3].tags = 2;
    let mut rules = policy(&[said("last", "1")], 2);
    let now = after(&items);
    assert_eq!(kept(&items, &rules, now), set([2, 8, 9]));
    rules.pins = ["tag=run=monthly", "main_dump_20260105", "main_dump_2025", "tag=legal"].map(|text| text.parse().unwrap()).into();
    assert_eq!(kept(&items, &rules, now), set([2, 3, 4, 8, 9]));
    let catalogue = History { items, runs: Vec::new() }.catalogue();
    assert_eq!(decide(&catalogue, &rules, now).unused_pins, ["main_dump_2025", "tag=legal"]);
    for wrong in ["", "main_du", "tag=", "tag==x", "key=value"] {
        assert!(wrong.parse::<Pin>().is_err(), "{wrong}");
    }
}

#[test]
fn a_backup_that_no_rule_is_about_stays() {
    let mut items = nights(4);
    items[0].database = 1;
    let rules = policy(&[Said { flag: "daily", scope: "database=shop", value: "1" }], 2);
    assert_eq!(kept(&items, &rules, after(&items)), set([0, 2, 3]));
    assert_eq!(kept(&items, &policy(&[said("wal", "7d")], 2), after(&items)).len(), 4);
}

#[test]
fn two_records_of_one_backup_are_one() {
    let item = Item::dump(0, at("2026-01-01T02:00:00Z"));
    let of = |items: &[Item]| {
        let catalogue = History { items: items.to_vec(), runs: Vec::new() }.catalogue();
        let decisions = decide(&catalogue, &policy(&[said("last", "1")], 2), after(items));
        catalogue.backups().map(|place| (place, decisions.backups[place].counts())).collect::<Vec<_>>()
    };
    let unseen = Item { proof: Proof::None, ..item };
    assert_eq!(of(&[unseen, item, unseen]), [(1, true)]);
    assert_eq!(of(&[item, Item { proof: Proof::Bad, ..item }]), [(0, false)]);
    assert_eq!(of(&[unseen, unseen]), [(0, false)]);
    assert_eq!(of(&[item, Item { store: 1, ..item }]), [(0, true), (1, true)]);
    let other = History { items: vec![item, Item { stored_at: item.stored_at + TimeDelta::seconds(1), ..item }], runs: Vec::new() };
    assert!(other.disagrees());
}

#[test]
fn what_makes_no_sense_of_wal_or_a_policy_is_refused() {
    let mut intake = Intake::default();
    let run = |first: &'static str, last: &'static str, segments, wal_segment_bytes| dr_retention::Run {
        store: "a",
        cluster: "main",
        timeline: 1,
        first,
        last,
        segments,
        wal_segment_bytes,
        stored_bytes: 0,
        stored_at: None,
    };
    let (one, three) = ("000000010000000000000001", "000000010000000000000003");
    assert!(intake.add_wal(&run(one, three, 3, 16 << 20)).is_ok());
    assert!(intake.add_wal(&run(one, one, 0, 16 << 20)).is_ok(), "one that is still streamed");
    for (first, last, segments, size) in [
        (one, three, 2, 16 << 20),
        (one, three, 0, 16 << 20),
        (three, one, 3, 16 << 20),
        (one, three, 3, 5),
        ("000000020000000000000001", three, 3, 16 << 20),
        (one, "x", 3, 16 << 20),
    ] {
        assert!(intake.add_wal(&run(first, last, segments, size)).is_err(), "{first} {last} {segments} {size}");
    }
    for wrong in ["base:7d", "tag=a:7d", "7", ":7d", "store=:7d"] {
        assert!(wrong.parse::<Window>().is_err(), "{wrong}");
    }
    for wrong in ["", "0", "-1", "x:1", "dump+:1", "dump,base:1", "tag=:1", "DUMP:1", "store=s3://a/b"] {
        assert!(wrong.parse::<Scoped<dr_retention::Count>>().is_err(), "{wrong}");
    }
    let scoped: Scoped<dr_retention::Count> = "store=s3://acme-dr/pg+tag=a=b=c+dump:3".parse().unwrap();
    assert_eq!(scoped.text, "store=s3://acme-dr/pg+tag=a=b=c+dump:3");
}
