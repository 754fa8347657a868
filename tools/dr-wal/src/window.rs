//! From which base, along which timelines, and how far can a cluster be recovered? Pure: a function of what the catalogue and the
//! stores were seen to hold.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Leg, Timelines};
use crate::{History, Lsn, SegmentName, SegmentSize, Timeline};
use chrono::{DateTime, Utc};

/// What the stores hold of a cluster's WAL.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// The size of its segments.
    pub size: SegmentSize,
    /// Segments that are there whole.
    pub whole: BTreeSet<SegmentName>,
    /// Segments of which a beginning is there, streamed; and how many bytes of it.
    pub begun: BTreeMap<SegmentName, u64>,
    /// Segments that are not there whole, and of which more was streamed than that beginning, behind a hole.
    pub torn: BTreeSet<SegmentName>,
    /// The histories that are there.
    pub timelines: Timelines,
}

impl Held {
    /// Adds what stores hold of segments that are being streamed, once all that are whole are known: of each, how many bytes reach from
    /// its first one on without a gap, and from which on there is more behind a hole (0 where there is none). One that several stores
    /// hold reaches as far as the farthest.
    pub fn add_streamed(&mut self, streamed: impl IntoIterator<Item = (SegmentName, u64, u64)>) {
        let mut torn = BTreeMap::<SegmentName, u64>::new();
        for (segment, reached, resumes) in streamed {
            let (known, more) = (self.begun.entry(segment).or_default(), torn.entry(segment).or_default());
            (*known, *more) = ((*known).max(reached), (*more).max(resumes));
        }
        self.begun.retain(|segment, _| !self.whole.contains(segment));
        torn.retain(|segment, more| self.begun.get(segment).is_some_and(|reached| *more > *reached));
        self.torn = torn.into_keys().collect();
        self.begun.retain(|_, reached| *reached > 0);
    }

    /// Whether anything of a segment is there, whole or its beginning.
    pub fn has(&self, segment: &SegmentName) -> bool {
        self.whole.contains(segment) || self.begun.contains_key(segment)
    }
}

/// A base backup, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its place among those of the catalogue.
    pub place: usize,
    /// Its name.
    pub name: String,
    /// The timeline it was taken on.
    pub timeline: Timeline,
    /// Where its replay begins.
    pub start: Lsn,
    /// Where it is consistent.
    pub stop: Lsn,
    /// When it was.
    pub stopped_at: DateTime<Utc>,
    /// Whether it brings the WAL from start to stop along.
    pub wal_inside: bool,
}

/// Which timeline is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimelineChoice {
    /// The newest that descends from that of the base.
    Latest,
    /// That of the base.
    Current,
    /// This one.
    Exactly(Timeline),
}

impl std::str::FromStr for TimelineChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "latest" => Ok(TimelineChoice::Latest),
            "current" => Ok(TimelineChoice::Current),
            _ => match text.parse() {
                Ok(number) if number > 0 => Ok(TimelineChoice::Exactly(Timeline(number))),
                _ => Err("write latest, current, or the number of a timeline as PostgreSQL prints it".into()),
            },
        }
    }
}

/// What keeps bases from being used: the moment or the position that recovery must not have passed by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// A moment.
    At(DateTime<Utc>),
    /// A position.
    Lsn(Lsn),
    /// None.
    None,
}

/// How far the WAL goes from a base on, without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The segments, in order; the last may be there in part.
    pub segments: Vec<SegmentName>,
    /// How many of the first of them the base brings along.
    pub inside: usize,
    /// The first byte that is not there.
    pub until: Lsn,
    /// The segment that is not there, or not whole.
    pub missing: SegmentName,
    /// The next one that is there behind it, or itself where it is torn: then WAL is lost, else it just ends.
    pub resumes: Option<SegmentName>,
}

/// Why there is no way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Segments of a timeline are there, and nobody knows where it came from.
    NoHistory(Timeline),
    /// The timeline that was asked for is not known.
    NoTimeline(Timeline),
    /// No base lies on the timeline's path.
    NoBase(Timeline),
    /// The target lies before the end of the first base.
    TooEarly(Point),
}

/// A way through the timelines, and the bases that lie on it, by where they end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The timelines, oldest first.
    pub legs: Vec<Leg>,
    /// The bases.
    pub bases: Vec<Point>,
}

impl Way {
    /// The way to the timeline that is chosen. The newest is the highest number of which a base lies on the path.
    ///
    /// # Errors
    /// [`Blocked::NoHistory`] where a timeline that may be the newest is not understood (PostgreSQL would follow an older one
    /// in silence); [`Blocked::NoTimeline`], [`Blocked::NoBase`].
    pub fn find(held: &Held, bases: &[Point], choice: TimelineChoice, limit: Limit) -> Result<Way, Blocked> {
        match choice {
            TimelineChoice::Exactly(timeline) => {
                let way = Way::to(held, bases, timeline).ok_or(Blocked::NoTimeline(timeline))?;
                if way.bases.is_empty() { Err(Blocked::NoBase(timeline)) } else { Ok(way) }
            }
            TimelineChoice::Current => {
                let fitting = bases.iter().filter(|base| limit.allows(base)).max_by_key(|base| base.stopped_at);
                let base = fitting.or_else(|| bases.first()).ok_or(Blocked::NoBase(Timeline(1)))?;
                Way::find(held, bases, TimelineChoice::Exactly(base.timeline), limit)
            }
            TimelineChoice::Latest => {
                let mut known: BTreeSet<Timeline> = held.timelines.histories().map(|history| history.timeline).collect();
                known.extend(held.whole.iter().chain(held.begun.keys()).map(|segment| segment.timeline));
                known.extend(bases.iter().map(|base| base.timeline));
                for timeline in known.iter().rev().copied() {
                    let way = Way::to(held, bases, timeline).ok_or(Blocked::NoHistory(timeline))?;
                    if !way.bases.is_empty() {
                        return Ok(way);
                    }
                }
                Err(Blocked::NoBase(known.last().copied().unwrap_or(Timeline(1))))
            }
        }
    }

    /// The way to `timeline`; none where its history is not known, and no base was taken on it: one that was needs no ancestors.
    fn to(held: &Held, bases: &[Point], timeline: Timeline) -> Option<Way> {
        let root = || bases.iter().any(|base| base.timeline == timeline).then(|| History::root(timeline));
        let legs = held.timelines.history(timeline).or_else(root)?.path();
        let on = |base: &&Point| {
            let leg = legs.iter().find(|leg| leg.timeline == base.timeline);
            leg.is_some_and(|leg| base.start >= leg.from && leg.to.is_none_or(|to| base.stop <= to))
        };
        let mut bases: Vec<Point> = bases.iter().filter(on).cloned().collect();
        bases.sort_by(|a, b| (a.stop, a.stopped_at, &a.name).cmp(&(b.stop, b.stopped_at, &b.name)));
        Some(Way { legs, bases })
    }

    /// The timeline it leads to.
    pub fn timeline(&self) -> Timeline {
        self.legs.last().map_or(Timeline(1), |leg| leg.timeline)
    }

    /// The last base that ended at the limit or before.
    ///
    /// # Errors
    /// [`Blocked::TooEarly`] with the first base.
    pub fn base(&self, limit: Limit) -> Result<&Point, Blocked> {
        let first = || self.bases.first().cloned().map_or(Blocked::NoBase(self.timeline()), Blocked::TooEarly);
        self.bases.iter().rev().find(|base| limit.allows(base)).ok_or_else(first)
    }

    /// How far the WAL goes from `base` on.
    pub fn reach(&self, held: &Held, base: &Point) -> Reach {
        let mut reach = Reach {
            segments: Vec::new(),
            inside: 0,
            until: base.start,
            missing: SegmentName::containing(base.timeline, base.start, held.size),
            resumes: None,
        };
        loop {
            let at = Lsn(reach.until.0 - reach.until.0 % held.size.bytes());
            let timeline = self.writes(at, held.size);
            reach.missing = SegmentName::containing(timeline, at, held.size);
            let inside = base.wal_inside && timeline == base.timeline && at < base.stop;
            let bytes = if inside || held.whole.contains(&reach.missing) {
                held.size.bytes()
            } else if let Some(bytes) = held.begun.get(&reach.missing) {
                *bytes
            } else {
                break;
            };
            reach.segments.push(reach.missing);
            reach.inside += usize::from(inside);
            reach.until = reach.until.max(Lsn(at.0 + bytes));
            if bytes < held.size.bytes() {
                break;
            }
        }
        reach.resumes = Some(reach.missing).filter(|name| held.torn.contains(name)).or_else(|| self.resumes(held, reach.missing));
        reach
    }

    /// The segment at `at`, as it is read on this way.
    pub fn segment_at(&self, at: Lsn, size: SegmentSize) -> SegmentName {
        SegmentName::containing(self.writes(Lsn(at.0 - at.0 % size.bytes()), size), at, size)
    }

    /// The timeline whose segment at `at` is read: the newest, where one was left inside it. Its file begins with a copy of what
    /// the older one had written; the older one's own goes on differently, or is unfinished.
    fn writes(&self, at: Lsn, size: SegmentSize) -> Timeline {
        let end = Lsn(at.0.saturating_add(size.bytes()));
        self.legs.iter().rev().find(|leg| leg.from < end).map_or(Timeline(1), |leg| leg.timeline)
    }

    /// The first segment of the way behind `missing`, whole or begun.
    fn resumes(&self, held: &Held, missing: SegmentName) -> Option<SegmentName> {
        let behind = |name: &&SegmentName| {
            let start = name.start(held.size);
            start > missing.start(held.size) && self.writes(start, held.size) == name.timeline
        };
        held.whole
            .iter()
            .chain(held.begun.keys())
            .chain(&held.torn)
            .filter(behind)
            .min_by_key(|name| name.start(held.size))
            .copied()
    }
}

impl Limit {
    /// Whether a base is over by then.
    pub fn allows(self, base: &Point) -> bool {
        match self {
            Limit::At(moment) => base.stopped_at <= moment,
            Limit::Lsn(lsn) => base.stop <= lsn,
            Limit::None => true,
        }
    }
}

impl Reach {
    /// Whether the base can be brought to where it is consistent.
    pub fn is_consistent(&self, base: &Point) -> bool {
        self.until >= base.stop
    }

    /// The segments that are fetched to replay up to `lsn`.
    pub fn up_to(&self, lsn: Lsn, size: SegmentSize) -> &[SegmentName] {
        &self.segments[..self.segments.partition_point(|name| name.start(size) <= lsn)]
    }

    /// What is missing, in words: one segment, or the first and last of several.
    pub fn gap(&self, size: SegmentSize) -> String {
        let Some(resumes) = self.resumes.filter(|resumes| *resumes != self.missing) else { return self.missing.to_string() };
        let count = (resumes.start(size).0 - self.missing.start(size).0) / size.bytes();
        if count <= 1 {
            return self.missing.to_string();
        }
        let last = SegmentName::containing(resumes.timeline, Lsn(resumes.start(size).0 - 1), size);
        format!("{} to {last} ({count} segments)", self.missing)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::Switch;

    const MIB: u64 = 1 << 20;

    fn lsn(segment: u64, offset: u64) -> Lsn {
        Lsn(segment * MIB + offset)
    }

    fn name(timeline: u32, segment: u64) -> SegmentName {
        SegmentName::containing(Timeline(timeline), lsn(segment, 0), size())
    }

    fn size() -> SegmentSize {
        SegmentSize::try_from(MIB).unwrap()
    }

    fn history(timeline: u32, switches: &[(u32, Lsn)]) -> History {
        let switch = |(timeline, at): &(u32, Lsn)| Switch { timeline: Timeline(*timeline), at: *at, reason: String::new() };
        History { timeline: Timeline(timeline), switches: switches.iter().map(switch).collect() }
    }

    fn held(whole: &[(u32, u64)], histories: Vec<History>) -> Held {
        let whole = whole.iter().map(|(timeline, segment)| name(*timeline, *segment)).collect();
        Held { size: size(), whole, timelines: histories.into_iter().collect(), ..Held::default() }
    }

    fn base(timeline: u32, start: Lsn, stop: Lsn) -> Point {
        let stopped_at = DateTime::from_timestamp((stop.0 >> 8) as i64, 0).unwrap();
        Point { place: 0, name: format!("b{}", stop.0), timeline: Timeline(timeline), start, stop, stopped_at, wal_inside: false }
    }

    #[test]
    fn f48_a_timeline_of_unknown_origin_is_never_passed_over() {
        let bases = [base(1, lsn(2, 40), lsn(2, 80))];
        let with = |histories| held(&[(1, 2), (1, 3), (2, 3), (2, 4)], histories);
        let find = |held: &Held, choice| Way::find(held, &bases, choice, Limit::None);
        assert_eq!(find(&with(vec![]), TimelineChoice::Latest), Err(Blocked::NoHistory(Timeline(2))));
        assert_eq!(find(&with(vec![]), TimelineChoice::Exactly(Timeline(2))), Err(Blocked::NoTimeline(Timeline(2))));
        assert_eq!(find(&with(vec![]), TimelineChoice::Current).unwrap().timeline(), Timeline(1));
        let all = with(vec![history(2, &[(1, lsn(3, 500))])]);
        let way = find(&all, TimelineChoice::Latest).unwrap();
        // The segment in which the timeline was left is that of the new one.
        let reach = way.reach(&all, &bases[0]);
        assert_eq!(reach.segments, [name(1, 2), name(2, 3), name(2, 4)]);
        assert_eq!((reach.until, reach.missing, reach.resumes), (lsn(5, 0), name(2, 5), None));
        // A base that ends behind the fork is not on the way.
        let behind = [base(1, lsn(3, 0), lsn(3, 600))];
        assert_eq!(Way::find(&all, &behind, TimelineChoice::Latest, Limit::None).unwrap().timeline(), Timeline(1));
        // One that was taken on a timeline needs none of its ancestors.
        let own = [base(2, lsn(3, 600), lsn(3, 700))];
        assert_eq!(Way::find(&with(vec![]), &own, TimelineChoice::Latest, Limit::None).unwrap().timeline(), Timeline(2));
    }

    #[test]
    fn f47_a_hole_is_told_from_the_end() {
        let held = held(&[(1, 2), (1, 3), (1, 6)], vec![]);
        let bases = [base(1, lsn(2, 40), lsn(2, 80))];
        let way = Way::find(&held, &bases, TimelineChoice::Latest, Limit::None).unwrap();
        let reach = way.reach(&held, &bases[0]);
        assert_eq!((reach.until, reach.resumes), (lsn(4, 0), Some(name(1, 6))));
        assert_eq!(reach.gap(size()), format!("{} to {} (2 segments)", name(1, 4), name(1, 5)));
    }

    proptest! {
        /// One timeline, segments lost at random: what is promised is there, and the byte behind it is not.
        #[test]
        fn f83_what_is_promised_is_there_and_no_more(
            lost in proptest::collection::btree_set(0u64..40, 0..6),
            streamed in (0u64..40, 1u64..MIB),
            starts in proptest::collection::btree_set(0u64..30, 1..5),
            inside: bool,
            asked in 0u64..45 * MIB,
        ) {
            let mut held = held(&[], vec![]);
            held.whole = (0..40).filter(|segment| !lost.contains(segment)).map(|segment| name(1, segment)).collect();
            if lost.contains(&streamed.0) {
                held.begun.insert(name(1, streamed.0), streamed.1);
            }
            let bases: Vec<Point> = starts
                .iter()
                .map(|start| Point { wal_inside: inside, ..base(1, lsn(*start, 100), lsn(*start + 1, 7)) })
                .collect();
            let way = Way::find(&held, &bases, TimelineChoice::Latest, Limit::None).unwrap();
            let limit = Limit::Lsn(Lsn(asked));
            let Ok(base) = way.base(limit) else {
                prop_assert!(bases.iter().all(|base| base.stop > Lsn(asked)));
                return Ok(());
            };
            // The last that is over by then.
            prop_assert!(base.stop <= Lsn(asked) && bases.iter().all(|other| other.stop <= base.stop || other.stop > Lsn(asked)));
            let reach = way.reach(&held, base);
            let there = |at: Lsn| {
                let segment = at.0 / MIB;
                let from_base = inside && segment >= base.start.0 / MIB && lsn(segment, 0) < base.stop;
                let begun = held.begun.get(&name(1, segment)).is_some_and(|bytes| at.0 % MIB < *bytes);
                from_base || held.whole.contains(&name(1, segment)) || begun
            };
            if reach.until > base.start {
                prop_assert!(there(base.start) && there(Lsn(reach.until.0 - 1)));
                prop_assert!((base.start.0 / MIB + 1..reach.until.0.div_ceil(MIB)).all(|segment| there(lsn(segment, 0))));
            }
            prop_assert!(!there(reach.until));
            prop_assert_eq!(reach.resumes.is_some(), held.whole.iter().any(|whole| whole.start(size()) > reach.until));
        }
    }
}
