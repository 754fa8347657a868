//! Which WAL may go? Only what no backup that stays needs, and nothing behind the two newest bases.

use std::collections::BTreeMap;

use dr_pipe::record::{Backup, Base, Kind, WalKept};
use dr_pipe::{Exit, Failure};
use dr_store::Listed;
use dr_wal::layout::{self, Entry};
use dr_wal::{Lsn, SegmentName, SegmentSize, Timeline, WalName};

use crate::decided::Range;

/// So many of the newest bases keep all WAL from their beginning on.
const NEWEST: usize = 2;

/// The WAL of a cluster, as listed.
#[derive(Debug, Default)]
pub struct Wal {
    /// What there is of each segment: rank in which it goes, key and size.
    files: BTreeMap<SegmentName, Vec<(u8, String, u64)>>,
}

impl Wal {
    /// What a listing shows. Histories belong to no segment, and what is not ours is not known.
    pub fn new(cluster: &str, listed: &[Listed]) -> Wal {
        let mut wal = Wal::default();
        for Listed { key, bytes, .. } in listed {
            let (segment, rank) = match layout::parse(cluster, key) {
                Some(Entry::Piece { piece, .. }) => (Some(piece.segment), 0),
                Some(Entry::Object { name: WalName::Segment(segment), .. }) => (Some(segment), WHOLE),
                Some(Entry::Object { name, .. }) => (name.segment(), 2),
                // What a claim is of goes before it: without one it would be taken for damage.
                Some(Entry::Claim { name, .. }) => (name.segment(), 3),
                None => (None, 0),
            };
            if let Some(segment) = segment {
                wal.files.entry(segment).or_default().push((rank, key.clone(), *bytes));
            }
        }
        wal.files.values_mut().for_each(|files| files.sort_unstable());
        wal
    }

    /// The whole segments.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentName> {
        self.files.iter().filter(|(_, files)| files.iter().any(|(rank, ..)| *rank == WHOLE)).map(|(segment, _)| segment)
    }

    /// Key and size of all there is of each segment from `first` to `last`, oldest first.
    pub fn steps(&self, first: SegmentName, last: SegmentName) -> Vec<Vec<(String, u64)>> {
        let files = self.files.range(first..=last).map(|(_, files)| files);
        files.map(|files| files.iter().map(|(_, key, bytes)| (key.clone(), *bytes)).collect()).collect()
    }
}

/// Rank of a whole segment.
const WHOLE: u8 = 1;

/// Passes a range that no backup of `staying`, oldest first, needs. `size` is that of the segments, where the store says it; else the
/// newest base tells.
///
/// # Errors
/// 80, with the backup that needs it; or where no base stays, or one cannot be understood, or is of a server with other segments.
pub fn judge(Range { first, last, .. }: &Range, staying: &[&Backup], size: Option<SegmentSize>) -> Result<(), Failure> {
    let bases: Vec<_> = staying.iter().filter(|backup| backup.manifest.kind == Kind::Base).collect();
    if bases.is_empty() {
        let message = format!("no base backup stays that would tell which WAL is needed: {first} to {last} cannot be judged");
        return Err(Failure::new(Exit::Refused, message, "WAL is deleted only where base backups are"));
    }
    let newest = bases.last().and_then(|backup| backup.manifest.produced.base.as_ref());
    let size = size.or_else(|| SegmentSize::try_from(newest?.wal_segment_bytes).ok());
    for (place, backup) in bases.iter().enumerate() {
        let name = &backup.manifest.name;
        let need = backup.manifest.produced.base.as_ref().and_then(|base| Need::of(base, place + NEWEST >= bases.len()));
        let need = need.ok_or_else(|| {
            let message = format!("{name} does not say which WAL it needs");
            Failure::new(Exit::Refused, message, "it was not made by dr-base; delete it, or leave the WAL")
        })?;
        // By another size a name is another place in the log: whether the base needs it cannot be told.
        let size = size.unwrap_or(need.size);
        if need.size != size || !first.fits(size) || !last.fits(size) {
            let message = format!(
                "{name}, which stays, is of a server with segments of {}; {first} to {last} are not such: whether it needs them \
                 cannot be told",
                mib(need.size)
            );
            let hint = "leave out the decisions about WAL; to prune WAL again, delete that base, pinned or not, or move it to a store \
                        of its own; see \"Segments of another size\" in dr-delete(1)";
            return Err(Failure::new(Exit::Refused, message, hint));
        }
        if need.meets(first, last) {
            let message = format!("WAL of {first} to {last} is needed by {name}, which stays");
            return Err(Failure::new(
                Exit::Refused,
                message,
                "decide again; if it was marked before: dr-delete --undelete FIRST-LAST",
            ));
        }
    }
    Ok(())
}

fn mib(size: SegmentSize) -> String {
    format!("{} MiB", size.bytes() >> 20)
}

/// The segments without which a base is of no use; none where it brings them along, or does not say.
pub fn own(base: &Base) -> Option<Vec<SegmentName>> {
    if base.wal == WalKept::Inside {
        return None;
    }
    let (start, stop): (Lsn, Lsn) = (base.start_lsn.parse().ok()?, base.stop_lsn.parse().ok()?);
    let size = SegmentSize::try_from(base.wal_segment_bytes).ok()?;
    Some(SegmentName::holding(Timeline(base.timeline), start, stop, size).collect())
}

/// The WAL that a base needs.
struct Need {
    timeline: u32,
    from: Lsn,
    /// The last byte; none where it brings all of it along.
    to: Option<Lsn>,
    size: SegmentSize,
}

impl Need {
    /// What `base` needs; one of the newest needs all that follows, to be brought further.
    fn of(base: &Base, newest: bool) -> Option<Need> {
        let (from, stop): (Lsn, Lsn) = (base.start_lsn.parse().ok()?, base.stop_lsn.parse().ok()?);
        let to = match (newest, base.wal) {
            (true, _) => Some(Lsn(u64::MAX)),
            (false, WalKept::Inside) => None,
            (false, WalKept::Archived | WalKept::Verified) => Some(stop),
        };
        Some(Need { timeline: base.timeline, from, to, size: SegmentSize::try_from(base.wal_segment_bytes).ok()? })
    }

    /// Whether any of it lies in a range: on its timeline, or one that came later and may have left it there.
    fn meets(&self, first: &SegmentName, last: &SegmentName) -> bool {
        let Some(to) = self.to else { return false };
        first.timeline.0 >= self.timeline && last.end(self.size) > self.from && first.start(self.size) <= to
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn segment(timeline: u32, number: u64) -> SegmentName {
        SegmentName::containing(Timeline(timeline), Lsn(number * MIB), SegmentSize::try_from(MIB).unwrap())
    }

    fn need(timeline: u32, from: u64, to: Option<u64>) -> Need {
        Need { timeline, from: Lsn(from), to: to.map(Lsn), size: SegmentSize::try_from(MIB).unwrap() }
    }

    #[test]
    fn what_a_base_needs_is_on_its_timeline_or_a_later_one() {
        let base = need(2, 5 * MIB + 40, Some(7 * MIB));
        let meets = |timeline, first, last| base.meets(&segment(timeline, first), &segment(timeline, last));
        assert!(meets(2, 1, 5) && meets(2, 7, 9) && meets(2, 1, 9) && meets(3, 6, 6));
        assert!(!meets(2, 1, 4) && !meets(2, 8, 9) && !meets(1, 1, 9));
        assert!(!need(1, 0, None).meets(&segment(1, 1), &segment(1, 9)), "one that brings it along needs none");
    }

    proptest! {
        #[test]
        fn f83_no_segment_that_holds_a_byte_that_is_needed_goes(
            from in 0..40 * MIB, length in 1..10 * MIB, first in 0..50_u64, count in 0..10_u64, timelines in (1..4_u32, 1..4_u32),
        ) {
            let base = need(timelines.0, from, Some(from + length - 1));
            let range = first..=first + count;
            let needed = (from..from + length).step_by(4096).chain([from + length - 1]).any(|byte| range.contains(&(byte / MIB)));
            let meets = base.meets(&segment(timelines.1, first), &segment(timelines.1, first + count));
            prop_assert_eq!(meets, needed && timelines.1 >= timelines.0);
        }
    }
}
