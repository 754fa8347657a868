//! Where does receiving begin? A pure decision: end of own data, else the slot, else where the server stands; always at the
//! beginning of a segment, so that every segment is whole.

use dr_wal::{History, Lsn, SegmentName, SegmentSize, Timeline};
use serde::{Deserialize, Serialize};

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The timeline.
    pub timeline: Timeline,
    /// The position.
    pub at: Lsn,
}

impl Place {
    /// The segment that holds it.
    pub fn segment(&self, size: SegmentSize) -> SegmentName {
        SegmentName::containing(self.timeline, self.at, size)
    }

    /// How far it is from the beginning of its segment, in bytes.
    pub fn offset(&self, size: SegmentSize) -> u64 {
        self.at.0 % size.bytes()
    }

    /// The beginning of that segment.
    pub fn rounded(&self, size: SegmentSize) -> Place {
        Place { at: self.segment(size).start(size), ..*self }
    }
}

/// What a server offers.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Where its log ends.
    pub end: Place,
    /// How it came to its timeline.
    pub history: History,
    /// The oldest WAL that the slot keeps; none if it keeps nothing.
    pub slot: Option<Place>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Go on, or begin, here.
    At(Place),
    /// What we have of our timeline goes beyond the place where the server's timelines left it: those bytes are kept, and
    /// receiving goes on here.
    Forked {
        /// Where to go on: the beginning of the segment with the fork, on the timeline after ours.
        at: Place,
        /// Where the server left our timeline.
        left_at: Lsn,
    },
    /// The server does not know our timeline: it is behind, or another primary's.
    Unknown,
    /// The server's log ends before ours.
    Behind,
}

/// Decides; `own` is where our own data end.
pub fn start(own: Option<Place>, offer: &Offer, size: SegmentSize) -> Start {
    let Some(own) = own else {
        return Start::At(offer.slot.unwrap_or(offer.end).rounded(size));
    };
    let from = own.rounded(size);
    if own.timeline == offer.end.timeline {
        return if from.at > offer.end.at { Start::Behind } else { Start::At(from) };
    }
    let path = offer.history.path();
    let Some(leg) = path.iter().position(|leg| leg.timeline == own.timeline) else { return Start::Unknown };
    match (path[leg].to, path.get(leg + 1)) {
        (Some(left_at), Some(next)) if from.at > left_at => {
            Start::Forked { at: Place { timeline: next.timeline, at: left_at }.rounded(size), left_at }
        }
        _ => Start::At(from),
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of timeline {}", self.at, self.timeline.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MIB: u64 = 1 << 20;
    const SEGMENT: u64 = 16 * MIB;

    fn place(timeline: u32, at: u64) -> Place {
        Place { timeline: Timeline(timeline), at: Lsn(at) }
    }

    fn offer(end: Place, history: &str, slot: Option<Place>) -> Offer {
        Offer { end, history: History::parse(end.timeline, history.as_bytes()).unwrap(), slot }
    }

    #[test]
    fn the_own_end_comes_first_then_the_slot_then_the_servers_end() {
        let end = place(1, 5 * SEGMENT + 7);
        let slot = place(1, 2 * SEGMENT + 9);
        let size = SegmentSize::DEFAULT;
        assert_eq!(start(None, &offer(end, "", None), size), Start::At(place(1, 5 * SEGMENT)));
        assert_eq!(start(None, &offer(end, "", Some(slot)), size), Start::At(place(1, 2 * SEGMENT)));
        let own = place(1, 3 * SEGMENT + 1);
        assert_eq!(start(Some(own), &offer(end, "", Some(slot)), size), Start::At(place(1, 3 * SEGMENT)));
        let whole = place(1, 4 * SEGMENT);
        assert_eq!(start(Some(whole), &offer(end, "", Some(slot)), size), Start::At(whole));
    }

    #[test]
    fn the_remainder_of_an_old_timeline_is_never_skipped() {
        let history = "1\t0/5000060\twhy\n2\t0/8000000\twhy\n";
        let offer = offer(place(3, 9 * SEGMENT), history, Some(place(3, 9 * SEGMENT)));
        let size = SegmentSize::DEFAULT;
        assert_eq!(start(Some(place(1, 4 * SEGMENT + 5)), &offer, size), Start::At(place(1, 4 * SEGMENT)));
        // In the very segment of the fork, even beyond it: the server still has that segment of the old timeline.
        assert_eq!(start(Some(place(1, 0x500_0000 + MIB)), &offer, size), Start::At(place(1, 0x500_0000)));
        assert_eq!(start(Some(place(2, 0x800_0000)), &offer, size), Start::At(place(2, 0x800_0000)));
    }

    #[test]
    fn what_we_have_beyond_a_fork_is_passed_by() {
        let offer = offer(place(2, 9 * SEGMENT), "1\t0/5000060\twhy\n", None);
        let forked = Start::Forked { at: place(2, 0x500_0000), left_at: Lsn(0x500_0060) };
        assert_eq!(start(Some(place(1, 7 * SEGMENT + 5)), &offer, SegmentSize::DEFAULT), forked);
    }

    #[test]
    fn a_server_that_is_behind_or_of_another_branch_is_not_followed() {
        let size = SegmentSize::DEFAULT;
        assert_eq!(start(Some(place(1, 9 * SEGMENT)), &offer(place(1, SEGMENT), "", None), size), Start::Behind);
        assert_eq!(start(Some(place(2, SEGMENT)), &offer(place(1, 9 * SEGMENT), "", None), size), Start::Unknown);
        let other = offer(place(3, 9 * SEGMENT), "1\t0/5000060\twhy\n", None);
        assert_eq!(start(Some(place(2, 6 * SEGMENT)), &other, size), Start::Unknown);
    }
}
