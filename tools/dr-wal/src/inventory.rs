//! Which WAL is there? What a listing of the store tells, without reading any object.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use dr_pipe::record::Wal;
use dr_store::Listed;

use crate::layout::{self, Content, Entry};
use crate::pieces;
use crate::{Error, Lsn, Piece, SegmentName, SegmentSize, Shelf, Timeline, WalName};

/// The WAL of a cluster, or of a part of it, as listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Every file of WAL of which there is an object or a claim.
    pub files: BTreeMap<WalName, Item>,
    /// The pieces of segments that are, or were, being streamed; by segment, in the order of their keys.
    pub pieces: BTreeMap<SegmentName, Vec<PieceItem>>,
}

/// What there is of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// Its objects: the one that has the name first, then what was kept beside it.
    pub objects: Vec<Object>,
    /// The keys of claims, and which content each claims.
    pub claims: Vec<(String, Content)>,
}

/// An object that holds a file of WAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its key in the store.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Which content it has, where it was kept beside another.
    pub beside: Option<Content>,
    /// When the store says it was written.
    pub modified_at: Option<DateTime<Utc>>,
}

/// Segments of one timeline that follow on each other without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first of them.
    pub first: SegmentName,
    /// The last of them.
    pub last: SegmentName,
    /// How many there are.
    pub segments: u64,
    /// The size of their objects, in bytes.
    pub bytes: u64,
    /// When the store says that the newest of the objects was written.
    pub modified_at: Option<DateTime<Utc>>,
}

/// A piece of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PieceItem {
    /// Which piece.
    pub piece: Piece,
    /// Its key in the store.
    pub key: String,
    /// The object's size in bytes.
    pub bytes: u64,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// When the store says it was written.
    pub modified_at: Option<DateTime<Utc>>,
}

impl Item {
    /// The different contents that are claimed, in rising order.
    pub fn contents(&self) -> Vec<Content> {
        let mut contents: Vec<_> = self.claims.iter().map(|(_, content)| *content).collect();
        contents.sort_unstable();
        contents.dedup();
        contents
    }

    /// Whether two contents lie under this name.
    pub fn is_conflict(&self) -> bool {
        self.contents().len() > 1 && self.objects.len() > 1
    }
}

impl Inventory {
    /// Whether there is an object of that name.
    pub fn has(&self, name: &WalName) -> bool {
        self.files.get(name).is_some_and(|item| !item.objects.is_empty())
    }

    /// The whole segments of a timeline, first to last.
    pub fn segments(&self, timeline: Timeline) -> impl Iterator<Item = SegmentName> {
        self.names().filter_map(move |name| match name {
            WalName::Segment(segment) if segment.timeline == timeline => Some(segment),
            _ => None,
        })
    }

    /// The whole segments, as runs without a gap, by timeline and position.
    pub fn runs(&self, size: SegmentSize) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (name, item) in &self.files {
            // An object without a byte is what a full disk leaves of one.
            let (WalName::Segment(segment), true) = (name, item.objects.iter().any(|object| object.bytes > 0)) else { continue };
            let bytes = item.objects.iter().map(|object| object.bytes).sum::<u64>();
            let modified_at = item.objects.iter().filter_map(|object| object.modified_at).max();
            match runs.last_mut().filter(|run| run.last.next(size) == *segment) {
                Some(run) => {
                    run.last = *segment;
                    run.segments += 1;
                    run.bytes += bytes;
                    run.modified_at = run.modified_at.max(modified_at);
                }
                None => runs.push(Run { first: *segment, last: *segment, segments: 1, bytes, modified_at }),
            }
        }
        runs
    }

    /// The timelines whose history is there, in rising order.
    pub fn histories(&self) -> impl Iterator<Item = Timeline> {
        self.names().filter_map(|name| match name {
            WalName::History(timeline) => Some(timeline),
            _ => None,
        })
    }

    /// The timelines of which there is anything, in rising order.
    pub fn timelines(&self) -> Vec<Timeline> {
        let mut all: Vec<_> = self.names().map(|name| name.timeline()).collect();
        all.extend(self.pieces.keys().map(|segment| segment.timeline));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// How far the pieces of a segment reach from its first byte on without a gap, in bytes; by their names alone.
    pub fn streamed(&self, segment: &SegmentName) -> u32 {
        self.pieces.get(segment).map_or(0, |pieces| pieces::reach(pieces))
    }

    /// From which byte on there is more of a streamed segment, behind a hole; by the names of pieces alone.
    pub fn torn(&self, segment: &SegmentName) -> Option<u32> {
        self.pieces.get(segment).and_then(|pieces| pieces::behind_hole(pieces))
    }

    /// What `listed` holds of the WAL of `cluster`; what is none is passed over.
    pub fn of(cluster: &str, listed: impl IntoIterator<Item = Listed>) -> Inventory {
        let mut inventory = Inventory::default();
        for Listed { key, bytes, modified_at } in listed {
            match layout::parse(cluster, &key) {
                Some(Entry::Object { name, beside, encrypted }) => {
                    let objects = &mut inventory.files.entry(name).or_default().objects;
                    objects.push(Object { key, bytes, encrypted, beside, modified_at });
                    objects.sort_by_key(|object| object.beside);
                }
                Some(Entry::Claim { name, content }) => inventory.files.entry(name).or_default().claims.push((key, content)),
                Some(Entry::Piece { piece, encrypted }) => {
                    let item = PieceItem { piece, key, bytes, encrypted, modified_at };
                    inventory.pieces.entry(piece.segment).or_default().push(item);
                }
                None => {}
            }
        }
        inventory
    }

    fn names(&self) -> impl Iterator<Item = WalName> {
        self.files.iter().filter(|(_, item)| !item.objects.is_empty()).map(|(name, _)| *name)
    }
}

impl Shelf<'_> {
    /// What of the cluster's WAL can be replayed, as listed: runs of whole segments, then each that is streamed so far.
    ///
    /// # Errors
    /// Where the size of segments cannot be read.
    pub fn kept(&self, inventory: &Inventory) -> Result<Vec<Wal>, Error> {
        let size = self.system()?.map_or(SegmentSize::DEFAULT, |system| system.wal_segment_bytes);
        let record = |run: Run, until: Lsn| Wal {
            store: self.store.location().to_string(),
            cluster: self.cluster.to_owned(),
            timeline: run.first.timeline.0,
            first: run.first.to_string(),
            last: run.last.to_string(),
            segments: run.segments,
            until_lsn: Some(until.to_string()),
            resumes_lsn: None,
            wal_segment_bytes: size.bytes(),
            stored_bytes: run.bytes,
            stored_at: run.modified_at,
        };
        let whole = inventory.runs(size).into_iter().map(|run| record(run, run.last.end(size)));
        let begun = inventory.pieces.iter().filter(|(segment, _)| !inventory.has(&(**segment).into())).map(|(segment, pieces)| {
            let until = Lsn(segment.start(size).0 + u64::from(inventory.streamed(segment)));
            let bytes = pieces.iter().map(|piece| piece.bytes).sum();
            let modified_at = pieces.iter().filter_map(|piece| piece.modified_at).max();
            let resumes = inventory.torn(segment).map(|at| Lsn(segment.start(size).0 + u64::from(at)).to_string());
            Wal { resumes_lsn: resumes, ..record(Run { first: *segment, last: *segment, segments: 0, bytes, modified_at }, until) }
        });
        Ok(whole.chain(begun).collect())
    }

    /// All WAL of the cluster. An empty one says, with the store's authority, that there is none.
    ///
    /// # Errors
    /// Where any part of the listing fails.
    pub fn inventory(&self) -> Result<Inventory, Error> {
        self.listed(&layout::root(self.cluster), "")
    }

    /// All WAL of a timeline.
    ///
    /// # Errors
    /// As [`Shelf::inventory`].
    pub fn inventory_of(&self, timeline: Timeline) -> Result<Inventory, Error> {
        self.listed(&layout::folder(self.cluster, timeline), "")
    }

    /// What there is of the segments of one log: 4 GiB, 256 segments where each has 16 MiB.
    ///
    /// # Errors
    /// As [`Shelf::inventory`].
    pub fn inventory_of_log(&self, timeline: Timeline, log: u32) -> Result<Inventory, Error> {
        self.listed(&layout::log_stem(self.cluster, timeline, log), "")
    }

    /// What there is of one file, and of those whose names begin so.
    ///
    /// # Errors
    /// As [`Shelf::inventory`].
    pub fn inventory_of_name(&self, name: &WalName) -> Result<Inventory, Error> {
        self.listed(&layout::stem(self.cluster, name), "")
    }

    /// All WAL of a segment's timeline from that segment on.
    ///
    /// # Errors
    /// As [`Shelf::inventory`].
    pub fn inventory_from(&self, segment: SegmentName) -> Result<Inventory, Error> {
        let from = layout::stem(self.cluster, &segment.into());
        self.listed(&layout::folder(self.cluster, segment.timeline), &from)
    }

    fn listed(&self, prefix: &str, after: &str) -> Result<Inventory, Error> {
        Ok(Inventory::of(self.cluster, self.store.list_after(prefix, after)?))
    }
}
