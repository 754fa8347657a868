//! What is known of a million backups, in little memory.

use chrono::{DateTime, Utc};
use dr_pipe::Sha256;
use dr_pipe::record::Kind;

use crate::segment;

/// What is known of all backups and all WAL. Made by [`crate::Intake`].
#[derive(Debug, Default)]
pub struct Catalogue {
    pub(crate) places: Vec<Place>,
    pub(crate) groups: Vec<Group>,
    /// Each set of tags that some backup has; the first is empty.
    pub(crate) tags: Vec<Vec<String>>,
    pub(crate) rows: Vec<Row>,
    pub(crate) marks: Vec<Marks>,
    pub(crate) digests: Vec<Sha256>,
    pub(crate) sizes: Vec<u64>,
    /// All names, and where each ends.
    pub(crate) names: String,
    pub(crate) ends: Vec<u32>,
    pub(crate) bases: Vec<BaseRow>,
    pub(crate) runs: Vec<RunRow>,
}

/// One cluster in one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub store: String,
    pub cluster: String,
}

/// Backups that can stand for each other: of the same thing, in the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub place: u32,
    pub kind: Kind,
    pub database: Option<String>,
    pub only: Option<String>,
    pub command: Option<String>,
}

/// One backup. Moments are in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub taken_at: i64,
    pub stored_at: i64,
    pub group: u32,
    pub tags: u32,
}

/// What is known of one backup, each a bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks(u8);

impl Marks {
    /// Its signature was checked, and is right.
    pub const SIGNED: Marks = Marks(1);
    /// Its bytes were proved.
    pub const GOOD: Marks = Marks(1 << 1);
    /// Somebody has looked whether it is good.
    pub const LOOKED_AT: Marks = Marks(1 << 2);
    /// It says nothing that is not understood.
    pub const UNDERSTOOD: Marks = Marks(1 << 3);
    /// Its sequence is that of the moment at which it was stored.
    pub const IN_SEQUENCE: Marks = Marks(1 << 4);
    /// Another record of the same backup stands for it.
    pub const TWICE: Marks = Marks(1 << 5);

    pub fn has(self, other: Marks) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn set(&mut self, other: Marks, on: bool) {
        if on { self.0 |= other.0 } else { self.0 &= !other.0 }
    }
}

/// What recovery from a base reads of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BaseRow {
    pub backup: u32,
    /// None where that is not known, or makes no sense.
    pub needs: Option<Needs>,
}

/// A stretch of the log of one timeline, in bytes, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    pub timeline: u32,
    pub start: u64,
    pub stop: u64,
    pub stopped_at: i64,
    /// Whether the base brings that stretch along.
    pub inside: bool,
}

/// A run of segments, by their numbers from the beginning of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RunRow {
    pub place: u32,
    pub timeline: u32,
    pub segment_bytes: u64,
    pub first: u64,
    pub last: u64,
    pub stored_bytes: u64,
    pub stored_at: Option<i64>,
}

/// A backup of a catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known<'a> {
    /// The store it was found in.
    pub store: &'a str,
    /// The cluster it belongs to.
    pub cluster: &'a str,
    /// Its kind.
    pub kind: Kind,
    /// The database that was dumped.
    pub database: Option<&'a str>,
    /// Its name.
    pub name: &'a str,
    /// SHA-256 of its object.
    pub sha256: Sha256,
    /// Size of its object.
    pub bytes: u64,
    /// The moment it shows.
    pub taken_at: DateTime<Utc>,
}

/// A range of WAL of a catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range<'a> {
    /// The store it lies in.
    pub store: &'a str,
    /// The cluster whose WAL it is.
    pub cluster: &'a str,
    /// Its timeline.
    pub timeline: u32,
    /// The name of its first segment.
    pub first: String,
    /// The name of its last segment.
    pub last: String,
    /// Its share of the size of the run that it is a part of.
    pub bytes: u64,
}

impl Catalogue {
    /// The places of all backups, in the order in which they came. Of several records of one backup, one.
    pub fn backups(&self) -> impl Iterator<Item = usize> {
        (0..self.rows.len()).filter(|place| !self.marks[*place].has(Marks::TWICE))
    }

    /// Whether no backup came.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The backup at `place`.
    pub fn backup(&self, place: usize) -> Known<'_> {
        let row = self.rows[place];
        let group = &self.groups[row.group as usize];
        let Place { store, cluster } = &self.places[group.place as usize];
        Known {
            store,
            cluster,
            kind: group.kind,
            database: group.database.as_deref(),
            name: self.name(place),
            sha256: self.digests[place],
            bytes: self.sizes[place],
            taken_at: moment(row.taken_at),
        }
    }

    pub(crate) fn name(&self, place: usize) -> &str {
        let begin = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.names[begin as usize..self.ends[place] as usize]
    }

    /// Segments `first` to `last` of a run.
    pub(crate) fn range(&self, run: &RunRow, first: u64, last: u64) -> Range<'_> {
        let Place { store, cluster } = &self.places[run.place as usize];
        let name = |number| segment::name(run.timeline, number, run.segment_bytes);
        let share = u128::from(run.stored_bytes) * u128::from(last - first + 1) / u128::from(run.last - run.first + 1);
        Range {
            store,
            cluster,
            timeline: run.timeline,
            first: name(first),
            last: name(last),
            bytes: u64::try_from(share).unwrap_or(u64::MAX),
        }
    }
}

pub(crate) fn moment(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
