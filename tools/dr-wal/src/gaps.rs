//! Which WAL is missing, and what is lost by it? Pure: a function of what is held.

use std::collections::{BTreeMap, BTreeSet};

use crate::window::{Held, Limit, Point, TimelineChoice, Way};
use crate::{Lsn, SegmentName, Timeline};
use chrono::{DateTime, Utc};

/// What is missing.
#[derive(Debug, Default)]
pub struct Gaps {
    /// Bases that cannot be restored: their place, and what is missing of the WAL that they need.
    pub broken: Vec<(usize, String)>,
    /// WAL that is missing between other WAL.
    pub holes: Vec<Hole>,
    /// Timelines of which there are segments, and nobody knows where they came from.
    pub unknown: Vec<Timeline>,
}

/// WAL that is missing between other WAL.
#[derive(Debug)]
pub struct Hole {
    /// What is missing, in words.
    pub missing: String,
    /// How many segments that are.
    pub segments: u64,
    /// On the way to these timelines.
    pub timelines: BTreeSet<Timeline>,
    /// The places of bases that can be recovered no further.
    pub bases: BTreeSet<usize>,
    /// The last segment before it.
    pub before: Option<SegmentName>,
    /// The next base behind it: from its end on, moments can be reached again.
    pub next: Option<(String, DateTime<Utc>)>,
    /// Whether it is exactly what a policy lets go that keeps old bases, and each with its own WAL alone: from the end of one base
    /// to the beginning of another.
    pub pruned: bool,
}

/// Finds what is missing on every way from a base to the end of a timeline. Of what was `announced` to be deleted, no hole is told.
pub fn find(held: &Held, bases: &[Point], announced: &dyn Fn(&SegmentName) -> bool) -> Gaps {
    let mut gaps = Gaps::default();
    let mut ways = Vec::new();
    for timeline in timelines(held, bases) {
        match Way::find(held, bases, TimelineChoice::Exactly(timeline), Limit::None) {
            Ok(way) => ways.push(way),
            Err(_) if held.timelines.history(timeline).is_none() => gaps.unknown.push(timeline),
            // No base leads there.
            Err(_) => {}
        }
    }
    let whole: BTreeSet<usize> = ways.iter().flat_map(|way| whole(way, held)).collect();
    gaps.broken = bases.iter().filter(|base| !whole.contains(&base.place)).filter_map(|base| broken(&ways, held, base)).collect();
    let mut holes = BTreeMap::new();
    for way in &ways {
        holes_of(way, held, &whole, announced, &mut holes);
    }
    gaps.holes = holes.into_iter().map(|(ends, hole)| Hole { pruned: is_pruned(bases, held, ends), ..hole }).collect();
    gaps
}

fn timelines(held: &Held, bases: &[Point]) -> BTreeSet<Timeline> {
    let histories = held.timelines.histories().map(|history| history.timeline);
    let segments = held.whole.iter().chain(held.begun.keys()).map(|segment| segment.timeline);
    histories.chain(segments).chain(bases.iter().map(|base| base.timeline)).collect()
}

/// The bases that can be brought to where they are consistent.
fn whole(way: &Way, held: &Held) -> Vec<usize> {
    way.bases.iter().filter(|base| way.reach(held, base).is_consistent(base)).map(|base| base.place).collect()
}

/// What a base lacks on its own timeline, else on the first way that it lies on.
fn broken(ways: &[Way], held: &Held, base: &Point) -> Option<(usize, String)> {
    let on = |way: &&Way| way.bases.iter().any(|other| other.place == base.place);
    let own = ways.iter().filter(on).find(|way| way.timeline() == base.timeline);
    let way = own.or_else(|| ways.iter().find(on))?;
    Some((base.place, up_to(way, held, base)))
}

/// What is missing up to the end of `base`, in words; no more of the hole than that.
fn up_to(way: &Way, held: &Held, base: &Point) -> String {
    let reach = way.reach(held, base);
    let needed = Lsn(base.stop.0.saturating_sub(1).max(base.start.0));
    let before = reach.resumes.map_or(needed, |resumes| needed.min(Lsn(resumes.start(held.size).0 - 1)));
    range(reach.missing, way.segment_at(before.max(reach.missing.start(held.size)), held.size), held)
}

/// The segments from `first` to `last`, in words.
fn range(first: SegmentName, last: SegmentName, held: &Held) -> String {
    match count(first, last, held) {
        1 => first.to_string(),
        count => format!("{first} to {last} ({count} segments)"),
    }
}

/// How many segments there are from `first` to `last`.
fn count(first: SegmentName, last: SegmentName, held: &Held) -> u64 {
    let size = held.size;
    (last.start(size).0 - first.start(size).0) / size.bytes() + 1
}

/// Adds every hole on a way to `holes`, by the segments that are missing.
fn holes_of(
    way: &Way,
    held: &Held,
    whole: &BTreeSet<usize>,
    announced: &dyn Fn(&SegmentName) -> bool,
    holes: &mut BTreeMap<(SegmentName, SegmentName), Hole>,
) {
    for base in way.bases.iter().filter(|base| whole.contains(&base.place)) {
        let mut reach = way.reach(held, base);
        // What lies behind one hole may have another: both must be mended.
        while let Some(resumes) = reach.resumes {
            let behind = if resumes == reach.missing { resumes.end(held.size) } else { resumes.start(held.size) };
            // Behind it each timeline may go on with a segment of its own.
            let last = way.segment_at(Lsn(behind.0 - 1), held.size);
            if !is_announced(way, held, reach.missing, behind, announced) {
                let hole = holes.entry((reach.missing, last)).or_insert_with(|| Hole {
                    missing: range(reach.missing, last, held),
                    segments: count(reach.missing, last, held),
                    timelines: BTreeSet::new(),
                    bases: BTreeSet::new(),
                    before: reach.segments.last().copied(),
                    next: next(way, whole, behind),
                    pruned: false,
                });
                hole.timelines.insert(way.timeline());
                hole.bases.insert(base.place);
            }
            let timeline = way.segment_at(behind, held.size).timeline;
            reach = way.reach(held, &Point { timeline, start: behind, stop: behind, wal_inside: false, ..base.clone() });
        }
    }
}

/// Whether every segment of a hole was announced to be deleted.
fn is_announced(way: &Way, held: &Held, first: SegmentName, end: Lsn, announced: &dyn Fn(&SegmentName) -> bool) -> bool {
    let mut at = first.start(held.size);
    while at < end && announced(&way.segment_at(at, held.size)) {
        at = Lsn(at.0 + held.size.bytes());
    }
    at >= end
}

/// The first base behind a hole, by where it ends.
fn next(way: &Way, whole: &BTreeSet<usize>, behind: Lsn) -> Option<(String, DateTime<Utc>)> {
    let is_behind = |base: &&Point| whole.contains(&base.place) && base.start >= behind;
    way.bases.iter().find(is_behind).map(|base| (base.name.clone(), base.stopped_at))
}

/// Whether what is missing, from one segment to another, begins where a base ends and ends where a base begins, on whichever timeline.
fn is_pruned(bases: &[Point], held: &Held, (first, last): (SegmentName, SegmentName)) -> bool {
    let begins = |base: &Point| base.start.0 / held.size.bytes() == last.end(held.size).0 / held.size.bytes();
    let ends = |base: &Point| base.stop.0.div_ceil(held.size.bytes()) == first.start(held.size).0 / held.size.bytes();
    bases.iter().any(ends) && bases.iter().any(begins)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::history::Timelines;
    use crate::{History, SegmentSize, Switch};

    const MIB: u64 = 1 << 20;

    fn size() -> SegmentSize {
        SegmentSize::try_from(MIB).unwrap()
    }

    fn name(timeline: u32, segment: u64) -> SegmentName {
        SegmentName::containing(Timeline(timeline), Lsn(segment * MIB), size())
    }

    /// Timeline 1 with segments 1 to 9, and 2, which left it inside segment 5, up to 9.
    fn held(lost: &[(u32, u64)]) -> Held {
        let all = (1..=9).map(|number| (1, number)).chain((5..=9).map(|number| (2, number)));
        let whole = all.filter(|segment| !lost.contains(segment)).map(|(timeline, number)| name(timeline, number)).collect();
        let switches = vec![Switch { timeline: Timeline(1), at: Lsn(5 * MIB + 100), reason: String::new() }];
        let timelines: Timelines = [History { timeline: Timeline(2), switches }].into_iter().collect();
        Held { size: size(), whole, timelines, ..Held::default() }
    }

    fn base(place: usize, timeline: u32, segment: u64) -> Point {
        Point {
            place,
            name: format!("base{place}"),
            timeline: Timeline(timeline),
            start: Lsn(segment * MIB + 40),
            stop: Lsn(segment * MIB + 80),
            stopped_at: DateTime::from_timestamp(segment as i64, 0).unwrap(),
            wal_inside: false,
        }
    }

    fn found(held: &Held, bases: &[Point]) -> Gaps {
        find(held, bases, &|_| false)
    }

    #[test]
    fn f47_a_hole_that_was_announced_is_none() {
        let held = held(&[(1, 3), (1, 4), (2, 6)]);
        let bases = [base(0, 1, 2), base(1, 2, 7)];
        let holes = |announced: &[SegmentName]| find(&held, &bases, &|segment| announced.contains(segment)).holes.len();
        assert_eq!(holes(&[]), 2);
        assert_eq!(holes(&[name(1, 3)]), 2, "not all of it was");
        assert_eq!(holes(&[name(1, 3), name(1, 4)]), 1);
        assert_eq!(holes(&[name(1, 3), name(1, 4), name(2, 6)]), 0);
    }

    #[test]
    fn f47_nothing_is_missing_where_nothing_is() {
        let gaps = found(&held(&[]), &[base(0, 1, 2), base(1, 2, 7)]);
        assert!(gaps.broken.is_empty() && gaps.holes.is_empty() && gaps.unknown.is_empty(), "{gaps:?}");
    }

    #[test]
    fn f47_every_segment_that_is_missing_is_told_with_its_timelines_and_bases() {
        let bases = [base(0, 1, 2), base(1, 1, 7), base(2, 2, 7)];
        for (timeline, number, timelines, lost_bases, next) in [
            (1, 3, vec![1, 2], vec![0], Some("base1")),
            (1, 4, vec![1, 2], vec![0], Some("base1")),
            // Where timeline 2 has a segment of its own, that of timeline 1 is missing on the way to 1 only.
            (1, 5, vec![1], vec![0], Some("base1")),
            (1, 6, vec![1], vec![0], Some("base1")),
            (1, 8, vec![1], vec![0, 1], None),
            (2, 5, vec![2], vec![0], Some("base2")),
            (2, 6, vec![2], vec![0], Some("base2")),
            (2, 8, vec![2], vec![0, 2], None),
        ] {
            let gaps = found(&held(&[(timeline, number)]), &bases);
            let told = format!("{timeline} {number}: {gaps:?}");
            assert_eq!((gaps.holes.len(), gaps.broken.len()), (1, 0), "{told}");
            let hole = &gaps.holes[0];
            assert_eq!(hole.missing, name(timeline, number).to_string());
            assert_eq!(hole.timelines.iter().map(|timeline| timeline.0).collect::<Vec<_>>(), timelines, "{told}");
            assert_eq!(hole.bases.iter().copied().collect::<Vec<_>>(), lost_bases, "{told}");
            assert_eq!(hole.next.as_ref().map(|(name, _)| name.as_str()), next, "{told}");
        }
    }

    #[test]
    fn f47_the_wal_of_a_base_itself_is_told_apart() {
        let gaps = found(&held(&[(1, 2), (1, 3), (1, 4)]), &[base(0, 1, 2), base(1, 1, 7)]);
        assert_eq!(gaps.broken, [(0, name(1, 2).to_string())]);
        assert!(gaps.holes.is_empty(), "{gaps:?}");
        let inside = Point { wal_inside: true, ..base(0, 1, 2) };
        let gaps = found(&held(&[(1, 2), (1, 3), (1, 4)]), &[inside]);
        assert!(gaps.broken.is_empty());
        assert_eq!(gaps.holes[0].missing, format!("{} to {} (2 segments)", name(1, 3), name(1, 4)));
    }

    #[test]
    fn f47_two_holes_are_both_told_and_what_nobody_needs_is_not() {
        let gaps = found(&held(&[(1, 1), (1, 3), (1, 6)]), &[base(0, 1, 2)]);
        let missing: Vec<_> = gaps.holes.iter().map(|hole| hole.missing.clone()).collect();
        assert_eq!(missing, [name(1, 3).to_string(), name(1, 6).to_string()]);
        assert!(found(&held(&[(1, 3)]), &[base(0, 1, 7), base(1, 2, 7)]).holes.is_empty());
        assert!(found(&held(&[(1, 3)]), &[]).holes.is_empty());
    }

    #[test]
    fn what_a_policy_lets_go_between_two_bases_is_told_from_a_loss() {
        let bases = [base(0, 1, 2), base(1, 1, 7)];
        let pruned = |lost: &[(u32, u64)]| found(&held(lost), &bases).holes.iter().map(|hole| hole.pruned).collect::<Vec<_>>();
        let other = [(2, 5), (2, 6), (2, 7), (2, 8), (2, 9)];
        assert_eq!(pruned(&[&[(1, 3), (1, 4), (1, 5), (1, 6)], &other[..]].concat()), [true]);
        assert_eq!(pruned(&[(1, 3), (1, 4), (1, 5), (1, 6), (2, 5), (2, 6)]), [true, true], "on another timeline as well");
        for lost in [&[(1, 3), (1, 4)][..], &[(1, 4), (1, 5), (1, 6)], &[(1, 8)]] {
            assert_eq!(pruned(&[lost, &other[..]].concat()), [false], "{lost:?}");
        }
    }

    #[test]
    fn f48_a_timeline_of_unknown_origin_is_told() {
        let gaps = found(&Held { timelines: Timelines::default(), ..held(&[]) }, &[base(0, 1, 2)]);
        assert_eq!(gaps.unknown, [Timeline(2)]);
    }
}
