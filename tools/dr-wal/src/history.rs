//! Which timeline came from which, and which of them holds a given position of the log?
//!
//! A history file lists the timelines that one descends from, by the rules of PostgreSQL's `readTimeLineHistory`
//! (`src/backend/access/transam/timeline.c`). The numbers in it are decimal; those in names of files are hexadecimal.

use std::collections::BTreeMap;

use crate::{Error, Lsn, Timeline, WalName};

/// Where a timeline came from: what its history file says. Timeline 1 has none, and no switches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The timeline whose history this is.
    pub timeline: Timeline,
    /// The timelines it descends from, oldest first.
    pub switches: Vec<Switch>,
}

/// The end of one timeline on the way to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// The timeline that was left.
    pub timeline: Timeline,
    /// Where it was left: the first byte that belongs to the next one.
    pub at: Lsn,
    /// Why, in the server's words; perhaps empty.
    pub reason: String,
}

/// One timeline's part of the way to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The timeline.
    pub timeline: Timeline,
    /// Its first byte on that way; 0/0 for the first leg.
    pub from: Lsn,
    /// The first byte that belongs to the next timeline; absent for the last leg, which has no end.
    pub to: Option<Lsn>,
}

impl Leg {
    /// Whether the byte at `lsn` lies on this leg.
    pub fn holds(&self, lsn: Lsn) -> bool {
        self.from <= lsn && self.to.is_none_or(|to| lsn < to)
    }
}

impl History {
    /// The history of a timeline that came from no other: that of timeline 1, which has no file.
    pub fn root(timeline: Timeline) -> History {
        History { timeline, switches: Vec::new() }
    }

    /// Reads the history file of `timeline`. Comments (`#`) and blank lines are passed over, as is what follows a position.
    ///
    /// # Errors
    /// [`Error::Damaged`] where PostgreSQL would refuse the file: a line without timeline or position, timelines that do not
    /// rise, or are not below `timeline`. And where it would not, but should: text that is not UTF-8 or has a NUL is no history.
    pub fn parse(timeline: Timeline, text: &[u8]) -> Result<History, Error> {
        let wrong = |why: String| Error::damaged(WalName::History(timeline), why);
        let text = std::str::from_utf8(text).ok().filter(|text| !text.contains('\0'));
        let text = text.ok_or_else(|| wrong("it is not text".into()))?;
        let mut switches: Vec<Switch> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let switch = switch(line).ok_or_else(|| wrong(format!("line {number} is not a timeline and a position")))?;
            if switches.last().is_some_and(|last| switch.timeline <= last.timeline) {
                return Err(wrong(format!("line {number}: the timelines do not rise")));
            }
            switches.push(switch);
        }
        if switches.last().is_some_and(|last| timeline <= last.timeline) {
            return Err(wrong("it names a timeline that is not older".into()));
        }
        Ok(History { timeline, switches })
    }

    /// The file's text, as PostgreSQL writes it.
    pub fn encode(&self) -> String {
        let line = |switch: &Switch| format!("{}\t{}\t{}\n", switch.timeline.0, switch.at, switch.reason);
        self.switches.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// The timeline it came from, and where; none for a root.
    pub fn parent(&self) -> Option<&Switch> {
        self.switches.last()
    }

    /// The way to this timeline from the beginning of the log, oldest leg first; this timeline itself is the last.
    pub fn path(&self) -> Vec<Leg> {
        let starts = std::iter::once(Lsn(0)).chain(self.switches.iter().map(|switch| switch.at));
        let ends = self.switches.iter().map(|switch| (switch.timeline, Some(switch.at)));
        let ends = ends.chain(std::iter::once((self.timeline, None)));
        starts.zip(ends).map(|(from, (timeline, to))| Leg { timeline, from, to }).collect()
    }

    /// The timeline that holds the byte at `lsn` on the way to this one: the newest, where a damaged file has several.
    pub fn holding(&self, lsn: Lsn) -> Timeline {
        self.path().into_iter().rev().find(|leg| leg.holds(lsn)).map_or(self.timeline, |leg| leg.timeline)
    }

    /// Where the way to this timeline leaves `timeline`. None if it does not: it is not on the way, or is this one.
    pub fn leaves(&self, timeline: Timeline) -> Option<Lsn> {
        self.switches.iter().find(|switch| switch.timeline == timeline).map(|switch| switch.at)
    }
}

/// `2<TAB>0/5000060<TAB>reason`, read as sscanf's `%u\t%X/%X` reads it.
fn switch(line: &str) -> Option<Switch> {
    let (timeline, rest) = line.split_once(char::is_whitespace)?;
    // Digits only: parse would take a sign, too.
    let timeline = timeline.bytes().all(|byte| byte.is_ascii_digit()).then(|| timeline.parse().ok()).flatten()?;
    let rest = rest.trim_start();
    let (at, reason) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let at = at.parse().ok()?;
    (timeline > 0).then(|| Switch { timeline: Timeline(timeline), at, reason: reason.trim().to_owned() })
}

/// All timelines of a cluster whose history is known.
#[derive(Clone, Debug, Default)]
pub struct Timelines(BTreeMap<Timeline, History>);

impl FromIterator<History> for Timelines {
    fn from_iter<I: IntoIterator<Item = History>>(histories: I) -> Self {
        Timelines(histories.into_iter().map(|history| (history.timeline, history)).collect())
    }
}

impl Timelines {
    /// The history of `timeline`. None if it is not known; timeline 1 needs no file.
    pub fn history(&self, timeline: Timeline) -> Option<History> {
        self.0.get(&timeline).cloned().or_else(|| (timeline == Timeline(1)).then(|| History::root(timeline)))
    }

    /// Every history that is known, by rising timeline.
    pub fn histories(&self) -> impl Iterator<Item = &History> {
        self.0.values()
    }

    /// The timelines that were forked off `timeline` itself, and where, by rising timeline.
    pub fn children(&self, timeline: Timeline) -> Vec<(Timeline, Lsn)> {
        let parents = self.0.values().filter_map(|history| history.parent().map(|parent| (history.timeline, parent)));
        parents.filter(|(_, parent)| parent.timeline == timeline).map(|(child, parent)| (child, parent.at)).collect()
    }

    /// Whether `timeline` came from `ancestor`, directly or not, or is it.
    pub fn descends(&self, timeline: Timeline, ancestor: Timeline) -> bool {
        timeline == ancestor || self.history(timeline).is_some_and(|history| history.leaves(ancestor).is_some())
    }

    /// Where a server goes from `timeline` with `recovery_target_timeline = latest`: it asks for the history of the next
    /// number until there is none, so a history that is missing hides all later ones (`findNewestTimeLine`).
    pub fn latest_from(&self, timeline: Timeline) -> Timeline {
        let mut latest = timeline;
        while let Some(next) = latest.0.checked_add(1).map(Timeline).filter(|next| self.0.contains_key(next)) {
            latest = next;
        }
        latest
    }

    /// Timelines that others came from, and whose own history is not known.
    pub fn missing(&self) -> Vec<Timeline> {
        let named = self.0.values().flat_map(|history| &history.switches).map(|switch| switch.timeline);
        let mut missing: Vec<_> = named.filter(|timeline| self.history(*timeline).is_none()).collect();
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// Pairs of timelines whose histories tell different stories of what is before the older one: they are of two clusters, or
    /// two servers were promoted to one number.
    pub fn contradictions(&self) -> Vec<(Timeline, Timeline)> {
        let mut pairs = Vec::new();
        for history in self.0.values() {
            for (place, switch) in history.switches.iter().enumerate() {
                let Some(ancestor) = self.history(switch.timeline) else { continue };
                let told = history.switches[..place].iter().map(|switch| (switch.timeline, switch.at));
                if !told.eq(ancestor.switches.iter().map(|switch| (switch.timeline, switch.at))) {
                    pairs.push((ancestor.timeline, history.timeline));
                }
            }
        }
        pairs
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn history(timeline: u32, switches: &[(u32, u64)]) -> History {
        let switch = |(timeline, at): &(u32, u64)| Switch { timeline: Timeline(*timeline), at: Lsn(*at), reason: "why".into() };
        History { timeline: Timeline(timeline), switches: switches.iter().map(switch).collect() }
    }

    /// Any history that a server could have written.
    fn any_history() -> impl Strategy<Value = History> {
        let switches = prop::collection::btree_map(1..u32::MAX, (any::<u64>(), "[a-zA-Z0-9#/ ]{0,20}"), 0..8);
        (switches, 1..1000u32).prop_map(|(switches, above)| {
            let mut positions: Vec<_> = switches.values().map(|(at, _)| *at).collect();
            positions.sort_unstable();
            let timeline = switches.keys().last().map_or(1, |last| last.saturating_add(above));
            let switch = |((timeline, (_, reason)), at): ((u32, (u64, String)), u64)| Switch {
                timeline: Timeline(timeline),
                at: Lsn(at),
                reason: reason.trim().to_owned(),
            };
            History { timeline: Timeline(timeline), switches: switches.into_iter().zip(positions).map(switch).collect() }
        })
    }

    proptest! {
        #[test]
        fn f48_a_history_is_read_as_it_is_written(history in any_history()) {
            let text = history.encode();
            prop_assert_eq!(&History::parse(history.timeline, text.as_bytes()).unwrap(), &history);
            let noisy = format!("# a comment\n\n  \t\n{}\n \n", text.replace('\n', "\r\n"));
            prop_assert_eq!(History::parse(history.timeline, noisy.as_bytes()).unwrap(), history);
        }

        #[test]
        fn f48_the_legs_of_a_path_join_and_every_position_is_on_one(history in any_history(), lsn: u64) {
            let path = history.path();
            prop_assert_eq!(path[0].from, Lsn(0));
            prop_assert_eq!((path.last().unwrap().timeline, path.last().unwrap().to), (history.timeline, None));
            prop_assert!(path.windows(2).all(|pair| pair[0].to == Some(pair[1].from) && pair[0].timeline < pair[1].timeline));
            prop_assert_eq!(path.iter().filter(|leg| leg.holds(Lsn(lsn))).count(), 1);
            prop_assert!(path.iter().any(|leg| leg.holds(Lsn(lsn)) && leg.timeline == history.holding(Lsn(lsn))));
            for switch in &history.switches {
                prop_assert_eq!(history.leaves(switch.timeline), Some(switch.at));
                prop_assert!(history.holding(switch.at) > switch.timeline, "the position of a switch is the next one's");
            }
        }

        #[test]
        fn f48_no_bytes_are_taken_for_a_history_that_would_not_rise(timeline in 1u32.., text in "([0-9#+-]{0,3}[ \t]?[0-9A-F]{0,3}/?[0-9A-F]{0,3}\n){0,4}") {
            if let Ok(history) = History::parse(Timeline(timeline), text.as_bytes()) {
                prop_assert!(history.switches.windows(2).all(|pair| pair[0].timeline < pair[1].timeline));
                prop_assert!(history.parent().is_none_or(|parent| parent.timeline < history.timeline));
            }
        }
    }

    #[test]
    fn f48_a_file_of_a_server_is_read() {
        let text = b"1\t0/3000060\tno recovery target specified\n\n11\t1/A00000\tbefore 2026-01-25 02:00:00+00\n";
        let read = History::parse(Timeline(12), text).unwrap();
        assert_eq!(read.switches[1].reason, "before 2026-01-25 02:00:00+00");
        assert_eq!(read.parent().map(|parent| (parent.timeline, parent.at)), Some((Timeline(11), Lsn(0x1_00A0_0000))));
        assert_eq!([0, 0x300_0060, 0x1_00A0_0000].map(|lsn| read.holding(Lsn(lsn)).0), [1, 11, 12]);
        assert_eq!(read.encode().as_bytes(), text);
        let padded = History::parse(Timeline(2), b"1\t0/03000060\tPostgreSQL 19 writes so\n").unwrap();
        assert_eq!(padded.parent().unwrap().at, Lsn(0x300_0060));
    }

    #[test]
    fn f48_what_postgresql_refuses_is_refused() {
        let wrong: [&[u8]; 11] = [
            b"x",
            b"1",
            b"1\t",
            b"1\t5",
            b"1\tx/5",
            b"-1\t0/5",
            b"0\t0/5",
            b"2\t0/5\n1\t0/6",
            b"1\t0/5\n1\t0/6",
            b"7\t0/5",
            b"\xff",
        ];
        for text in wrong {
            assert!(History::parse(Timeline(7), text).is_err(), "{:?}", text.escape_ascii().to_string());
        }
        assert_eq!(History::parse(Timeline(7), b"").unwrap(), History::root(Timeline(7)));
    }

    /// Two servers were promoted from timeline 1; the second one's line went on, up to A and beyond (pgBackRest 2.22 read
    /// timelines in names to base 10).
    #[test]
    fn f48_two_forks_of_one_parent_are_kept_apart() {
        let to_a: Vec<_> = [(1, 50)].into_iter().chain((3..=9).map(|timeline| (timeline, u64::from(timeline) * 100))).collect();
        let forks: Timelines = [history(2, &[(1, 40)]), history(3, &to_a[..1]), history(10, &to_a)].into_iter().collect();
        assert_eq!(forks.children(Timeline(1)), [(Timeline(2), Lsn(40)), (Timeline(3), Lsn(50))]);
        assert!(forks.descends(Timeline(10), Timeline(1)) && forks.descends(Timeline(10), Timeline(3)));
        assert!(!forks.descends(Timeline(10), Timeline(2)) && !forks.descends(Timeline(3), Timeline(10)));
        assert_eq!(forks.history(Timeline(10)).unwrap().holding(Lsn(45)), Timeline(1));
        assert_eq!(forks.history(Timeline(2)).unwrap().holding(Lsn(45)), Timeline(2));
        assert_eq!(forks.missing(), (4..=9).map(Timeline).collect::<Vec<_>>());
        assert_eq!(forks.latest_from(Timeline(1)), Timeline(3), "a missing history hides the later ones from a server");
        assert_eq!(forks.contradictions(), []);
        let liar: Timelines = [history(2, &[(1, 40)]), history(3, &[(1, 41), (2, 60)])].into_iter().collect();
        assert_eq!(liar.contradictions(), [(Timeline(2), Timeline(3))]);
    }
}
