//! Which backups may go?

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, Utc};

use crate::bucket::day;
use crate::catalogue::{Group, Marks};
use crate::policy::{Keep, Pinned, Rule};
use crate::scope::Tag;
use crate::wal::{self, WalDecision};
use crate::{Catalogue, Every, Policy, Verdict, clock};

/// A tag with this key keeps a backup.
const PIN: &str = "pin";
/// Of what `keep-last` counts, one day is at most this part.
const PART_OF_LAST: u32 = 4;

/// What was decided.
#[derive(Debug)]
pub struct Decisions<'a> {
    /// About each backup, by its place in the catalogue.
    pub backups: Vec<Verdict>,
    /// About WAL, in the order in which its runs came.
    pub wal: Vec<WalDecision<'a>>,
    /// Pins that no backup has.
    pub unused_pins: Vec<String>,
    /// Rules that are about no backup that there is, in words.
    pub unused_rules: Vec<String>,
}

/// Decides, for the moment `now`, what of `catalogue` stays by `policy`, and what may go.
pub fn decide<'a>(catalogue: &'a Catalogue, policy: &Policy, now: DateTime<Utc>) -> Decisions<'a> {
    let mut verdicts = vec![Verdict::default(); catalogue.rows.len()];
    let by_tags: Vec<TagSet> = catalogue.tags.iter().map(|tags| TagSet::new(tags, policy)).collect();
    let mut frozen = vec![false; catalogue.places.len()];
    let (order, ends) = sorted(catalogue);
    let mut begin = 0;
    for (group, end) in catalogue.groups.iter().zip(ends) {
        let members = &order[begin..end as usize];
        let view = Members { catalogue, policy, group, tags: &by_tags, places: members, now };
        frozen[group.place as usize] |= view.judge(&mut verdicts);
        begin = end as usize;
    }
    drop(order);
    let unused_pins = keep_pinned(catalogue, policy, &mut verdicts);
    // Here increments, once there are any, keep the chain that each kept one builds on.
    let wal = wal::decide(catalogue, policy, &verdicts, &frozen, now);
    Decisions { backups: verdicts, wal, unused_pins, unused_rules: unused_rules(catalogue, policy, &by_tags) }
}

/// Rules whose kinds, stores, clusters, databases or tags nothing has.
fn unused_rules(catalogue: &Catalogue, policy: &Policy, by_tags: &[TagSet]) -> Vec<String> {
    let used = |(place, rule): &(usize, &Rule)| {
        let fits = |group: &Group| {
            let of = &catalogue.places[group.place as usize];
            rule.scope.has_group(group, &of.store, &of.cluster)
        };
        catalogue.groups.iter().any(fits) && by_tags.iter().any(|tags| tags.rules & 1 << place != 0)
    };
    let rules = policy.rules.iter().enumerate().filter(|rule| !used(rule));
    rules.map(|(_, rule)| rule.words.clone()).collect()
}

/// The places of all backups, group after group, newest first; and where each group ends.
fn sorted(catalogue: &Catalogue) -> (Vec<u32>, Vec<u32>) {
    let mut ends = vec![0; catalogue.groups.len()];
    for place in catalogue.backups() {
        ends[catalogue.rows[place].group as usize] += 1;
    }
    let mut sum = 0;
    for end in &mut ends {
        (*end, sum) = (sum, sum + *end);
    }
    // From where each group begins to where it ends, as it fills.
    let mut order = vec![0; sum as usize];
    for place in catalogue.backups() {
        let next = &mut ends[catalogue.rows[place].group as usize];
        order[*next as usize] = place as u32;
        *next += 1;
    }
    let mut begin = 0;
    for end in &ends {
        order[begin..*end as usize].sort_by_key(|place| {
            let row = &catalogue.rows[*place as usize];
            Reverse((row.taken_at, row.stored_at, *place))
        });
        begin = *end as usize;
    }
    (order, ends)
}

/// What is known of all backups that have the same tags.
struct TagSet {
    pinned: bool,
    /// The rules whose tags these are, a bit each.
    rules: u64,
}

impl TagSet {
    fn new(tags: &[String], policy: &Policy) -> Self {
        let rules = policy.rules.iter().enumerate().filter(|(_, rule)| rule.scope.has_tags(tags));
        TagSet { pinned: Tag::key(PIN).is_among(tags), rules: rules.fold(0, |bits, (place, _)| bits | 1 << place) }
    }
}

/// The backups of one group, newest first.
struct Members<'a> {
    catalogue: &'a Catalogue,
    policy: &'a Policy,
    group: &'a Group,
    tags: &'a [TagSet],
    places: &'a [u32],
    now: DateTime<Utc>,
}

impl Members<'_> {
    /// Says of each why it stays, and returns whether nothing of the group may go, as its clock cannot be right.
    fn judge(&self, verdicts: &mut [Verdict]) -> bool {
        let now = self.now.timestamp_micros();
        let row = |place: usize| self.catalogue.rows[self.places[place] as usize];
        let contradictions = clock::contradictions(self.places.len(), row);
        let frozen = (0..self.places.len()).any(|place| clock::is_future(&row(place), now));
        for (place, contradicts) in self.places.iter().zip(contradictions) {
            let row = &self.catalogue.rows[*place as usize];
            let marks = self.catalogue.marks[*place as usize];
            let verdict = &mut verdicts[*place as usize];
            let wrong =
                contradicts || clock::is_future(row, now) || clock::is_before_its_time(row) || !marks.has(Marks::IN_SEQUENCE);
            let doubts = [
                (wrong, Verdict::CLOCK),
                (clock::is_newer(row, now), Verdict::NEWER),
                (!marks.has(Marks::GOOD), Verdict::UNVERIFIED),
                (!marks.has(Marks::SIGNED), Verdict::UNSIGNED),
                (!marks.has(Marks::UNDERSTOOD), Verdict::UNKNOWN),
            ];
            doubts.iter().filter(|(doubted, _)| *doubted).for_each(|(_, why)| verdict.add(*why));
            // What is a little newer than now is as good as any.
            if !wrong && marks.has(Marks::GOOD) && marks.has(Marks::SIGNED) && marks.has(Marks::UNDERSTOOD) {
                verdict.count();
            }
            if frozen {
                verdict.add(Verdict::CLOCK);
            }
            if self.tags[row.tags as usize].pinned {
                verdict.add(Verdict::PINNED);
            }
        }
        self.keep_by_rules(verdicts);
        frozen
    }

    fn keep_by_rules(&self, verdicts: &mut [Verdict]) {
        let place = &self.catalogue.places[self.group.place as usize];
        let rules = self.policy.rules.iter().enumerate();
        let rules: Vec<_> = rules.filter(|(_, rule)| rule.scope.has_group(self.group, &place.store, &place.cluster)).collect();
        let about = rules.iter().fold(0, |bits, (place, _)| bits | 1_u64 << place);
        for place in self.places.iter().filter(|place| self.rules(**place) & about == 0) {
            verdicts[*place as usize].add(Verdict::NO_RULE);
        }
        let counting: Vec<u32> = self.places.iter().copied().filter(|place| verdicts[*place as usize].counts()).collect();
        for place in counting.iter().take(self.policy.floor as usize) {
            verdicts[*place as usize].add(Verdict::FLOOR);
        }
        for (number, rule) in rules {
            let mut keep = |place: u32| verdicts[place as usize].add(Verdict::rule(number));
            let fitting = counting.iter().copied().filter(|place| self.rules(*place) >> number & 1 == 1);
            match rule.keep {
                Keep::Within(age) => {
                    let oldest = age.before(self.now).map_or(i64::MIN, |moment| moment.timestamp_micros());
                    fitting.take_while(|place| self.taken_at(*place) >= oldest).for_each(&mut keep);
                }
                Keep::Newest(Every::Backup, count) => self.keep_last(fitting, count, &mut keep),
                Keep::Newest(every, count) => {
                    let (mut kept, mut last) = (0, None);
                    for place in fitting {
                        let bucket = Some(every.bucket(self.taken_at(place)));
                        if bucket == last {
                            continue;
                        }
                        if kept == count {
                            break;
                        }
                        keep(place);
                        (kept, last) = (kept + 1, bucket);
                    }
                }
            }
        }
    }

    /// Keeps the newest `count`; and goes on as if no day had more than a part of so many, so that a day of many, by mistake or by
    /// malice, does not push out those before it.
    fn keep_last(&self, places: impl Iterator<Item = u32>, count: u32, mut keep: impl FnMut(u32)) {
        let most = count.div_ceil(PART_OF_LAST);
        let (mut counted, mut of_day, mut last) = (0, 0, None);
        for (number, place) in places.enumerate() {
            let today = Some(day(self.taken_at(place)));
            if today != last {
                (of_day, last) = (0, today);
            }
            of_day += 1;
            let counts = of_day <= most && counted < count;
            if counts || number < count as usize {
                keep(place);
            }
            counted += u32::from(counts);
            if counted == count && number >= count as usize {
                break;
            }
        }
    }

    /// The rules whose tags a backup has, a bit each.
    fn rules(&self, place: u32) -> u64 {
        self.tags[self.catalogue.rows[place as usize].tags as usize].rules
    }

    fn taken_at(&self, place: u32) -> i64 {
        self.catalogue.rows[place as usize].taken_at
    }
}

/// Keeps what is pinned by the policy; says which pins nothing has.
fn keep_pinned(catalogue: &Catalogue, policy: &Policy, verdicts: &mut [Verdict]) -> Vec<String> {
    let mut unused: BTreeSet<&str> = policy.pins.iter().map(|pin| pin.words.as_str()).collect();
    if unused.is_empty() {
        return Vec::new();
    }
    let mut names = HashSet::new();
    let mut by_tag = vec![Vec::new(); catalogue.tags.len()];
    for pin in &policy.pins {
        match &pin.what {
            Pinned::Name(name) => drop(names.insert(name.as_str())),
            Pinned::Tag(tag) => {
                let having = catalogue.tags.iter().zip(&mut by_tag).filter(|(tags, _)| tag.is_among(tags));
                having.for_each(|(_, pins)| pins.push(pin.words.as_str()));
            }
        }
    }
    let lengths: BTreeSet<usize> = names.iter().map(|name| name.len()).collect();
    for place in catalogue.backups() {
        let name = catalogue.name(place);
        let begins = lengths.iter().filter_map(|length| name.get(..*length)).filter(|beginning| names.contains(beginning));
        let tagged = by_tag[catalogue.rows[place].tags as usize].iter().copied();
        for pin in begins.chain(tagged) {
            verdicts[place].add(Verdict::PINNED);
            unused.remove(pin);
        }
    }
    unused.into_iter().map(str::to_owned).collect()
}
