//! Histories of backups and WAL, and what should become of them: said again in the simplest words, by who walks every pair, every
//! bucket and every segment, and shares nothing with what it judges.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Months, TimeDelta, Utc};
use dr_pipe::Sha256;
use dr_pipe::record::Kind;
use dr_retention::{Backup, Base, Catalogue, Decisions, Intake, Policy, Rule, Run, Window, decide};

pub const MIB: u64 = 1 << 20;
pub const STORES: [&str; 2] = ["/var/backups/dr", "s3://acme-dr/pg"];
pub const TAGS: [&[&str]; 5] = [&[], &["run=nightly"], &["run=monthly"], &["pin=audit"], &["run=weekly"]];

/// What is known of the bytes of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    None,
    Bad,
    Good,
}

/// Of a base: its timeline, the segments in which it begins and ends, and whether it brings them along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    pub timeline: u32,
    pub first: u64,
    pub last: u64,
    pub inside: bool,
    pub sound: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    pub number: usize,
    pub store: usize,
    pub kind: Kind,
    pub database: usize,
    pub tags: usize,
    pub taken_at: DateTime<Utc>,
    pub stored_at: DateTime<Utc>,
    pub in_sequence: bool,
    pub proof: Proof,
    pub signed: bool,
    pub log: Log,
}

/// A run of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub store: usize,
    pub timeline: u32,
    pub first: u64,
    pub last: u64,
    pub stored_at: Option<DateTime<Utc>>,
}

/// One rule: a flag without `keep-`, a scope, and a value.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    pub flag: &'static str,
    pub scope: &'static str,
    pub value: &'static str,
}

#[derive(Clone, Debug, Default)]
pub struct History {
    pub items: Vec<Item>,
    pub runs: Vec<Stretch>,
}

pub type Segment = (usize, u32, u64);

pub fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

impl Item {
    /// A verified dump that was made then.
    pub fn dump(number: usize, taken_at: DateTime<Utc>) -> Item {
        Item {
            number,
            store: 0,
            kind: Kind::Dump,
            database: 0,
            tags: 0,
            taken_at,
            stored_at: taken_at + TimeDelta::minutes(10),
            in_sequence: true,
            proof: Proof::Good,
            signed: true,
            log: Log { timeline: 1, first: 0, last: 0, inside: false, sound: true },
        }
    }

    /// A verified base that begins and ends in this segment.
    pub fn base(number: usize, taken_at: DateTime<Utc>, timeline: u32, segment: u64) -> Item {
        let log = Log { timeline, first: segment, last: segment, inside: false, sound: true };
        Item { kind: Kind::Base, log, ..Item::dump(number, taken_at) }
    }

    pub fn name(&self) -> String {
        format!("main_{}_{}_{:04}", self.kind, self.taken_at.format("%Y%m%dT%H%M%SZ"), self.number)
    }

    fn group(&self) -> (usize, Kind, usize) {
        (self.store, self.kind, self.database)
    }
}

pub fn segment_name(timeline: u32, number: u64) -> String {
    format!("{timeline:08X}{:08X}{:08X}", number >> 12, number & 0xFFF)
}

fn segment_number(name: &str) -> u64 {
    u64::from_str_radix(&name[8..16], 16).unwrap() << 12 | u64::from_str_radix(&name[16..], 16).unwrap()
}

pub fn policy(said: &[Said], floor: u32) -> Policy {
    let mut policy = Policy { floor, ..Policy::default() };
    for Said { flag, scope, value } in said {
        let text = if scope.is_empty() { (*value).to_owned() } else { format!("{scope}:{value}") };
        let every = match *flag {
            "wal" => {
                policy.windows.push(text.parse::<Window>().unwrap());
                continue;
            }
            "within" => {
                policy.rules.push(Rule::within(text.parse().unwrap()));
                continue;
            }
            "last" => dr_retention::Every::Backup,
            "hourly" => dr_retention::Every::Hour,
            "daily" => dr_retention::Every::Day,
            "weekly" => dr_retention::Every::Week,
            "monthly" => dr_retention::Every::Month,
            "yearly" => dr_retention::Every::Year,
            _ => unreachable!("{flag}"),
        };
        policy.rules.push(Rule::newest(every, text.parse().unwrap()));
    }
    policy
}

impl History {
    pub fn catalogue(&self) -> Catalogue {
        self.intake().finish().unwrap()
    }

    /// Whether two of its items cannot both be true.
    pub fn disagrees(&self) -> bool {
        self.intake().finish().is_err()
    }

    fn intake(&self) -> Intake {
        let mut intake = Intake::default();
        for item in &self.items {
            let lsn = |segment: u64, offset: u64| {
                let byte = segment * MIB + offset;
                format!("{:X}/{:X}", byte >> 32, byte & 0xFFFF_FFFF)
            };
            let log = item.log;
            let (start, mut stop) = (lsn(log.first, 40), lsn(log.last, 80));
            if !log.sound {
                stop.push('?');
            }
            let base = Base {
                timeline: log.timeline,
                start_lsn: &start,
                stop_lsn: &stop,
                stopped_at: item.taken_at,
                wal_inside: log.inside,
            };
            let millis = u64::try_from(item.stored_at.timestamp_millis()).unwrap_or(0);
            let name = item.name();
            let backup = Backup {
                store: STORES[item.store],
                cluster: "main",
                kind: item.kind,
                name: &name,
                sha256: Sha256::of(name.as_bytes()),
                bytes: 1000,
                taken_at: item.taken_at,
                stored_at: item.stored_at,
                sequence: if item.in_sequence { millis } else { millis + 3_600_000 },
                tags: TAGS[item.tags],
                database: ["shop", "crm"].get(item.database).copied().filter(|_| item.kind == Kind::Dump),
                only: None,
                command: None,
                understood: true,
                signed: item.signed,
                good: match item.proof {
                    Proof::None => None,
                    Proof::Bad => Some(false),
                    Proof::Good => Some(true),
                },
                base: (item.kind == Kind::Base).then_some(base),
            };
            intake.add(&backup).unwrap();
        }
        for run in &self.runs {
            let (first, last) = (segment_name(run.timeline, run.first), segment_name(run.timeline, run.last));
            let segments = run.last - run.first + 1;
            let run = Run {
                store: STORES[run.store],
                cluster: "main",
                timeline: run.timeline,
                first: &first,
                last: &last,
                segments,
                wal_segment_bytes: MIB,
                stored_bytes: segments * 1000,
                stored_at: run.stored_at,
            };
            intake.add_wal(&run).unwrap();
        }
        intake
    }

    /// Which items go, and which segments.
    pub fn gone(&self, policy: &Policy, now: DateTime<Utc>) -> (BTreeSet<usize>, BTreeSet<Segment>) {
        let catalogue = self.catalogue();
        let decisions = decide(&catalogue, policy, now);
        self.check_form(&catalogue, &decisions);
        let items = (0..self.items.len()).filter(|place| !decisions.backups[*place].keeps());
        let ranges = decisions.wal.iter().filter(|decision| !decision.keep).map(|decision| &decision.range);
        let segments = ranges.flat_map(|range| {
            let store = STORES.iter().position(|store| *store == range.store).unwrap();
            (segment_number(&range.first)..=segment_number(&range.last)).map(move |number| (store, range.timeline, number))
        });
        (items.collect(), segments.collect())
    }

    /// Every backup is decided about, every run is covered in order, and everything has a reason.
    fn check_form(&self, catalogue: &Catalogue, decisions: &Decisions<'_>) {
        assert_eq!(decisions.backups.len(), self.items.len());
        assert_eq!(catalogue.backups().count(), self.items.len());
        let mut at = decisions.wal.iter();
        for run in self.joined() {
            let mut next = run.first;
            while next <= run.last {
                let decision = at.next().unwrap();
                assert_eq!(decision.range.first, segment_name(run.timeline, next));
                assert!(!decision.reasons.is_empty());
                next = segment_number(&decision.range.last) + 1;
            }
            assert_eq!(next, run.last + 1);
        }
        assert!(at.next().is_none());
    }

    /// Its runs, those that overlap as one, in order.
    pub fn joined(&self) -> Vec<Stretch> {
        let mut all = self.runs.clone();
        let overlap =
            |a: &Stretch, b: &Stretch| (a.store, a.timeline) == (b.store, b.timeline) && a.first <= b.last && b.first <= a.last;
        while let Some((a, b)) = (0..all.len()).flat_map(|a| (0..a).map(move |b| (a, b))).find(|(a, b)| overlap(&all[*a], &all[*b]))
        {
            let gone = all.remove(a);
            let run = &mut all[b];
            *run = Stretch {
                first: run.first.min(gone.first),
                last: run.last.max(gone.last),
                stored_at: run.stored_at.max(gone.stored_at),
                ..*run
            };
        }
        // The stores are numbered as they come: bases first.
        let mut stores = Vec::new();
        for store in self.items.iter().map(|item| item.store).chain(self.runs.iter().map(|run| run.store)) {
            if !stores.contains(&store) {
                stores.push(store);
            }
        }
        all.sort_by_key(|run| (stores.iter().position(|store| *store == run.store), run.timeline, run.first));
        all
    }

    /// What is left where `gone` is done.
    pub fn without(&self, (items, segments): &(BTreeSet<usize>, BTreeSet<Segment>)) -> History {
        let kept = self.items.iter().enumerate().filter(|(place, _)| !items.contains(place)).map(|(_, item)| *item);
        let mut runs = Vec::new();
        for run in &self.joined() {
            for number in (run.first..=run.last).filter(|number| !segments.contains(&(run.store, run.timeline, *number))) {
                match runs.last_mut() {
                    Some(Stretch { store, timeline, last, .. })
                        if *last + 1 == number && number > run.first && (*store, *timeline) == (run.store, run.timeline) =>
                    {
                        *last = number;
                    }
                    _ => runs.push(Stretch { first: number, last: number, ..*run }),
                }
            }
        }
        History { items: kept.collect(), runs }
    }
}

/// The judge: what it would let go.
pub struct Judge<'a> {
    pub history: &'a History,
    pub said: &'a [Said],
    pub floor: u32,
    pub now: DateTime<Utc>,
}

impl Judge<'_> {
    fn skew() -> TimeDelta {
        TimeDelta::minutes(5)
    }

    fn is_future(&self, item: &Item) -> bool {
        item.taken_at > self.now + Self::skew() || item.stored_at > self.now + Self::skew()
    }

    pub fn is_frozen(&self, item: &Item) -> bool {
        self.history.items.iter().any(|other| other.group() == item.group() && self.is_future(other))
    }

    /// Whether something in a store is of the future.
    fn is_suspect(&self, store: usize) -> bool {
        self.history.items.iter().any(|other| other.store == store && self.is_future(other))
    }

    fn clock_is_wrong(&self, item: &Item) -> bool {
        let day = TimeDelta::days(1);
        let apart = |a: &Item, b: &Item| a.taken_at - b.taken_at > day && a.stored_at < b.stored_at;
        let others = self.history.items.iter().filter(|other| other.group() == item.group());
        self.is_future(item)
            || item.taken_at - item.stored_at > Self::skew()
            || !item.in_sequence
            || others.into_iter().any(|other| apart(item, other) || apart(other, item))
    }

    pub fn is_sound(item: &Item) -> bool {
        item.kind != Kind::Base || item.log.sound
    }

    pub fn counts(&self, item: &Item) -> bool {
        item.proof == Proof::Good && item.signed && Self::is_sound(item) && !self.clock_is_wrong(item)
    }

    fn fits(scope: &str, item: &Item) -> bool {
        scope.split('+').filter(|word| !word.is_empty()).all(|word| match word.split_once('=') {
            None => item.kind.to_string() == word,
            Some(("store", store)) => STORES[item.store] == store,
            Some(("database", name)) => item.kind == Kind::Dump && ["shop", "crm"].get(item.database) == Some(&name),
            Some(("tag", tag)) => TAGS[item.tags].iter().any(|has| *has == tag || has.split('=').next() == Some(tag)),
            Some(("cluster", name)) => name == "main",
            _ => unreachable!("{word}"),
        })
    }

    fn since(&self, age: &str) -> DateTime<Utc> {
        let (count, unit) = age.split_at(age.len() - 1);
        let count: u32 = count.parse().unwrap();
        match unit {
            "h" => self.now - TimeDelta::hours(count.into()),
            "d" => self.now - TimeDelta::days(count.into()),
            "w" => self.now - TimeDelta::weeks(count.into()),
            "m" => self.now.checked_sub_months(Months::new(count)).unwrap(),
            _ => self.now.checked_sub_months(Months::new(12 * count)).unwrap(),
        }
    }

    /// The places of items that go.
    pub fn items(&self) -> BTreeSet<usize> {
        let items = &self.history.items;
        let mut kept = BTreeSet::new();
        let mut groups: BTreeMap<(usize, Kind, usize), Vec<usize>> = BTreeMap::new();
        for (place, item) in items.iter().enumerate() {
            let about = self.said.iter().filter(|said| said.flag != "wal").any(|said| Self::fits(said.scope, item));
            let newer = item.taken_at.max(item.stored_at) > self.now;
            if newer || !about || !self.counts(item) || self.is_frozen(item) || TAGS[item.tags].contains(&"pin=audit") {
                kept.insert(place);
            }
            if self.counts(item) {
                groups.entry(item.group()).or_default().push(place);
            }
        }
        for members in groups.values_mut() {
            members.sort_by_key(|place| (items[*place].taken_at, items[*place].stored_at, *place));
            members.reverse();
            kept.extend(members.iter().take(self.floor as usize));
            for said in self.said {
                let fitting: Vec<usize> = members.iter().copied().filter(|place| Self::fits(said.scope, &items[*place])).collect();
                kept.extend(self.kept_by(said, &fitting));
            }
        }
        (0..items.len()).filter(|place| !kept.contains(place)).collect()
    }

    fn kept_by(&self, said: &Said, fitting: &[usize]) -> Vec<usize> {
        let moment = |place: usize| self.history.items[place].taken_at;
        let day = |place: usize| moment(place).date_naive();
        let format = match said.flag {
            "wal" => return Vec::new(),
            "within" => return fitting.iter().copied().filter(|place| moment(*place) >= self.since(said.value)).collect(),
            "last" => {
                let count: usize = said.value.parse().unwrap();
                let newer_of_day = |at: usize| fitting[..at].iter().filter(|place| day(**place) == day(fitting[at])).count();
                let few = (0..fitting.len()).filter(|at| newer_of_day(*at) < count.div_ceil(4)).map(|at| fitting[at]);
                return fitting.iter().copied().take(count).chain(few.take(count)).collect();
            }
            "hourly" => "%F %H",
            "daily" => "%F",
            "weekly" => "%G-%V",
            "monthly" => "%Y-%m",
            "yearly" => "%Y",
            flag => unreachable!("{flag}"),
        };
        let mut seen = Vec::new();
        let mut kept = Vec::new();
        for place in fitting {
            let bucket = moment(*place).format(format).to_string();
            if !seen.contains(&bucket) {
                seen.push(bucket);
                kept.push(*place);
            }
        }
        kept.truncate(said.value.parse().unwrap());
        kept
    }

    /// Segments that go, where these items do.
    pub fn segments(&self, gone: &BTreeSet<usize>) -> BTreeSet<Segment> {
        let kept = self.bases(gone);
        let mut segments = BTreeSet::new();
        for run in &self.history.joined() {
            for number in run.first..=run.last {
                if !self.are_needing(&kept, (run.store, run.timeline, number)) && !self.doubts(run, &kept) {
                    segments.insert((run.store, run.timeline, number));
                }
            }
        }
        segments
    }

    /// Whether a base that stays needs a segment, where these items go.
    pub fn is_needed(&self, segment: Segment, gone: &BTreeSet<usize>) -> bool {
        self.are_needing(&self.bases(gone), segment)
    }

    fn bases(&self, gone: &BTreeSet<usize>) -> Vec<&Item> {
        let items = self.history.items.iter().enumerate();
        items.filter(|(place, item)| item.kind == Kind::Base && !gone.contains(place)).map(|(_, item)| item).collect()
    }

    fn are_needing(&self, kept: &[&Item], segment: Segment) -> bool {
        kept.iter().any(|base| self.needs(base, kept, segment))
    }

    fn needs(&self, base: &Item, kept: &[&Item], (store, timeline, number): Segment) -> bool {
        let holds =
            |run: &&Stretch| (run.store, run.timeline) == (base.store, timeline) && (run.first..=run.last).contains(&number);
        if base.store != store && self.history.runs.iter().any(|run| holds(&run)) {
            return false;
        }
        if !base.log.sound || self.is_suspect(base.store) {
            return true;
        }
        let own = !base.log.inside && (base.log.first..=base.log.last).contains(&number);
        let follows = number >= base.log.first && self.starts(base, kept);
        base.log.timeline <= timeline && (own || follows)
    }

    /// Whether recovery is to go on from a base.
    fn starts(&self, base: &Item, kept: &[&Item]) -> bool {
        let windows = self.said.iter().filter(|said| said.flag == "wal" && (said.scope.is_empty() || Self::fits(said.scope, base)));
        let Some(since) = windows.map(|said| self.since(said.value)).min() else { return true };
        let is_older = |other: &&&Item| {
            other.store == base.store
                && other.log.sound
                && self.counts(other)
                && other.taken_at < since
                && other.taken_at > base.taken_at
        };
        base.taken_at >= since || !kept.iter().any(|other| is_older(&other))
    }

    /// Whether a run stays whole though no base needs it.
    fn doubts(&self, run: &Stretch, kept: &[&Item]) -> bool {
        let here: Vec<&&Item> = kept.iter().filter(|base| base.store == run.store).collect();
        if here.iter().any(|base| !base.log.sound || self.is_suspect(base.store)) {
            return true;
        }
        let verified: Vec<&&Item> = here.into_iter().filter(|base| self.counts(base)).collect();
        let Some(newest) = verified.iter().map(|base| base.log.timeline).max() else { return true };
        let last = verified.iter().map(|base| base.taken_at).max().unwrap();
        let read =
            verified.iter().any(|base| self.starts(base, kept) && base.log.timeline <= run.timeline && base.log.first <= run.last);
        run.timeline > newest || run.stored_at.is_some_and(|at| at > last) && !read
    }
}
