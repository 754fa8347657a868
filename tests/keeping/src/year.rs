//! The year, for each of five houses: a night at a time.

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Utc, Weekday};

use crate::policies::{day, last_of, month, week, within};
use crate::tier::Tier;

/// A leap year, far enough from now that no file is from its future.
const YEAR: i32 = 2040;
/// How long dr-delete lets what it has marked lie.
const GRACE: TimeDelta = TimeDelta::hours(72);

/// The moment of a night at which backups begin.
fn night(number: i64) -> DateTime<Utc> {
    let first = NaiveDate::from_ymd_opt(YEAR, 1, 1).unwrap().and_hms_opt(2, 0, 0).unwrap().and_utc();
    first + TimeDelta::days(number)
}

fn nights() -> impl Iterator<Item = DateTime<Utc>> {
    (0..366).map(night)
}

/// One kind of backup of a house.
struct Plan {
    kind: &'static str,
    tag: &'static str,
    /// Whether it is made in the night that begins then.
    due: fn(DateTime<Utc>) -> bool,
}

const NIGHTLY: Plan = Plan { kind: "dump", tag: "nightly", due: |_| true };
const WEEKLY: Plan = Plan { kind: "dump", tag: "weekly", due: |at| at.weekday() == Weekday::Sun };
const MONTHLY: Plan = Plan { kind: "dump", tag: "monthly", due: |at| at.day() == 1 };
const BASE: Plan = Plan { kind: "base", tag: "base", due: |_| true };
const WEEKLY_BASE: Plan = Plan { kind: "base", tag: "base", due: |at| at.weekday() == Weekday::Sun };

/// Lives a year by these plans, pruning every `prune_days`; gives the tier, the last time of pruning, and the end.
fn live(plans: &[&Plan], policy: &[&str], prune_days: i64) -> (Tier, DateTime<Utc>, DateTime<Utc>) {
    let mut tier = Tier::new();
    let policy: Vec<_> = policy.iter().map(|word| word.replace("STORE", &tier.store())).collect();
    let mut pruned = night(0);
    for (number, at) in nights().enumerate() {
        for (place, plan) in plans.iter().enumerate().filter(|(_, plan)| (plan.due)(at)) {
            let moment = at + TimeDelta::minutes(10 * i64::try_from(place).unwrap());
            let segment = (plan.kind == "base").then_some(number as u64 + 1);
            if let Some(segment) = segment {
                tier.archive(moment, segment);
            }
            tier.back_up(moment, plan.kind, plan.tag, segment);
        }
        if plans.iter().any(|plan| plan.kind == "base") && !plans.iter().any(|plan| plan.kind == "base" && (plan.due)(at)) {
            tier.archive(at, number as u64 + 1);
        }
        if number as i64 % prune_days == prune_days - 1 {
            pruned = at + TimeDelta::hours(3);
            tier.prune(pruned, &policy);
        }
    }
    (tier, pruned, night(366))
}

/// Moments at which the plan made a backup until `until`; `place` is its place among the plans.
fn made(plan: &Plan, place: i64, until: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    nights().filter(|at| (plan.due)(*at)).map(|at| at + TimeDelta::minutes(10 * place)).filter(|at| *at <= until).collect()
}

/// Exactly the expected backups are listed, each gives back what it holds, and of the others nothing is left once their grace
/// time is over.
fn expect(tier: &Tier, pruned: DateTime<Utc>, end: DateTime<Utc>, mut expected: Vec<(&str, &str, DateTime<Utc>)>) {
    // What was made after the last pruning is there in any case.
    let name_of = |content: &str| tier.made.iter().find(|(_, made)| *made == content).unwrap().0.clone();
    let later = tier.made.values().filter(|content| moment_of(content) > pruned).cloned();
    let mut contents: Vec<_> = expected.drain(..).map(|(kind, tag, at)| format!("{kind} {tag} {at}")).chain(later).collect();
    contents.sort_unstable();
    contents.dedup();
    let mut names: Vec<_> = contents.iter().map(|content| name_of(content)).collect();
    names.sort_unstable();
    let mut listed = tier.listed(end);
    listed.sort_unstable();
    assert_eq!(listed, names);
    for name in &names {
        assert_eq!(tier.pulled(end, name), tier.made[name], "{name}");
    }
    for name in tier.made.keys().filter(|name| !names.contains(name)) {
        let left = tier.files_of(name);
        let announced = left.iter().any(|file| file.ends_with(".tombstone"));
        assert!(left.is_empty() || announced, "{name}: {left:?}");
    }
    let waiting = tier.made.keys().filter(|name| !names.contains(name) && !tier.files_of(name).is_empty());
    let marked_lately = (GRACE.num_days() + 8) as usize * 3;
    assert!(waiting.count() <= marked_lately, "what was marked long ago is gone");
}

fn moment_of(content: &str) -> DateTime<Utc> {
    let text = content.split_once(' ').unwrap().1.split_once(' ').unwrap().1;
    DateTime::parse_from_str(&text.replace(" UTC", " +0000"), "%Y-%m-%d %H:%M:%S %z").unwrap().to_utc()
}

fn all(plan: &Plan, moments: Vec<DateTime<Utc>>) -> Vec<(&str, &str, DateTime<Utc>)> {
    moments.into_iter().map(|at| (plan.kind, plan.tag, at)).collect()
}

/// 30 days of nightly, 12 weeks of weekly, 12 months of monthly dumps, each a run of its own.
#[test]
fn a_house_that_keeps_runs_by_their_age() {
    let policy =
        ["--keep-within", "tag=run=nightly:30d", "--keep-within", "tag=run=weekly:12w", "--keep-within", "tag=run=monthly:12m"];
    let (tier, pruned, end) = live(&[&NIGHTLY, &WEEKLY, &MONTHLY], &policy, 5);
    let mut expected = all(&NIGHTLY, within(&made(&NIGHTLY, 0, pruned), pruned, 30));
    expected.extend(all(&WEEKLY, within(&made(&WEEKLY, 1, pruned), pruned, 84)));
    expected.extend(all(&MONTHLY, made(&MONTHLY, 2, pruned)));
    expect(&tier, pruned, end, expected);
}

/// Seven days on the host's own disk; a weekly run in another format for four weeks; the log of the last seven days.
#[test]
fn a_house_with_a_week_on_its_own_disk() {
    let policy =
        ["--keep-within", "store=STORE:7d", "--keep-within", "tag=run=weekly:4w", "--keep-within", "base:14d", "--keep-wal", "7d"];
    let (tier, pruned, end) = live(&[&NIGHTLY, &WEEKLY, &WEEKLY_BASE], &policy, 1);
    let mut expected = all(&NIGHTLY, within(&made(&NIGHTLY, 0, pruned), pruned, 7));
    expected.extend(all(&WEEKLY, within(&made(&WEEKLY, 1, pruned), pruned, 28)));
    let bases = within(&made(&WEEKLY_BASE, 2, pruned), pruned, 14);
    expected.extend(all(&WEEKLY_BASE, bases.clone()));
    expect(&tier, pruned, end, expected);
    // The log goes back to the base from which any moment of the last seven days can be reached.
    let from = bases.iter().rfind(|at| pruned - **at >= TimeDelta::days(7)).unwrap();
    wal_goes_back_to(&tier, *from);
}

/// Grandfather, father, son, of one nightly dump.
#[test]
fn a_house_with_grandfathers() {
    let policy = ["--keep-daily", "14", "--keep-weekly", "8", "--keep-monthly", "12"];
    let (tier, pruned, end) = live(&[&NIGHTLY], &policy, 2);
    let nights = made(&NIGHTLY, 0, pruned);
    let kept = [last_of(&nights, 14, day), last_of(&nights, 8, week), last_of(&nights, 12, month)].concat();
    expect(&tier, pruned, end, all(&NIGHTLY, kept));
}

/// Dumps for 30 days, bases for 48 hours, and no log that no base can use.
#[test]
fn a_house_with_bases_of_two_days() {
    let policy = ["--keep-within", "dump:30d", "--keep-within", "base:48h", "--keep-wal", "7d"];
    let (tier, pruned, end) = live(&[&NIGHTLY, &BASE], &policy, 1);
    let bases = within(&made(&BASE, 1, pruned), pruned, 2);
    let expected = [all(&NIGHTLY, within(&made(&NIGHTLY, 0, pruned), pruned, 30)), all(&BASE, bases.clone())].concat();
    expect(&tier, pruned, end, expected);
    wal_goes_back_to(&tier, bases[0]);
}

/// Bases for 30 days, the last of each week for a quarter, the last of each month for a year; the log for seven days. Old bases
/// keep the piece of the log without which they are none.
#[test]
fn a_house_with_bases_of_a_year() {
    let policy = ["--keep-within", "30d", "--keep-weekly", "13", "--keep-monthly", "12", "--keep-wal", "7d"];
    let (tier, pruned, end) = live(&[&BASE], &policy, 5);
    let bases = made(&BASE, 0, pruned);
    let kept = [within(&bases, pruned, 30), last_of(&bases, 13, week), last_of(&bases, 12, month)].concat();
    expect(&tier, pruned, end, all(&BASE, kept.clone()));
    let from = kept.iter().filter(|at| pruned - **at >= TimeDelta::days(7)).max().unwrap();
    wal_goes_back_to(&tier, *from);
    let segments = tier.segments();
    for at in kept {
        assert!(segments.contains(&segment_of(at)), "the base of {at} has its own WAL");
    }
}

fn segment_of(at: DateTime<Utc>) -> u64 {
    u64::from(at.ordinal())
}

/// Every segment since `from` is there; and of those long before it only what old bases hold.
fn wal_goes_back_to(tier: &Tier, from: DateTime<Utc>) {
    let segments = tier.segments();
    assert!((segment_of(from)..=366).all(|number| segments.contains(&number)), "{segments:?}");
    assert!(segments.len() < 100, "{} of 366 segments are left", segments.len());
}
