//! What was looked at before? Remembered on this host, so that every byte is read within a time, and none more often than that.
//!
//! A backup's object is remembered with what was found in it. A file of WAL that was good is eight bytes, as there may be a
//! million of them: a digest of what the listing says of its objects and claims, in a group with all that were read in one run.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use dr_pipe::record::{Depth, Finding};
use dr_pipe::{Sha256, state};
use dr_wal::SegmentName;
use serde::{Deserialize, Serialize};

use crate::finding;

/// The state file's name.
const FILE: &str = "verified.json";
/// The version of the format.
const FORMAT: u32 = 1;

/// The file: what is known of each store, by its full name, then by cluster.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Remembered {
    format: u32,
    stores: BTreeMap<String, BTreeMap<String, Section>>,
}

/// What is known of one cluster in one store.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Section {
    /// Objects of backups, and files of WAL in which something was found, by key.
    objects: BTreeMap<String, Look>,
    /// Files of WAL that were good.
    wal: Vec<Group>,
    /// Ranges of WAL whose deletion was announced: when they are gone, so is what announced it.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    announced: BTreeSet<Range>,
}

/// Segments of one timeline, from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Range {
    /// The first.
    pub first: SegmentName,
    /// The last.
    pub last: SegmentName,
}

impl Range {
    /// Whether a segment lies in it.
    pub fn holds(&self, segment: &SegmentName) -> bool {
        segment.timeline == self.first.timeline && (self.first..=self.last).contains(segment)
    }
}

/// One object, as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// What it was taken for.
    #[serde(flatten)]
    pub of: Face,
    /// When the look ended.
    pub checked_at: DateTime<Utc>,
    /// How deep it went.
    pub depth: Depth,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// By what an object is known again: not what its bytes are, but what is said of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Face {
    /// Its size.
    pub bytes: u64,
    /// The digest that its manifest says; absent for WAL.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<Sha256>,
    /// When the store says that it was written.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub modified_at: Option<DateTime<Utc>>,
    /// WAL: what the listing says of all of its objects.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mark: Option<u64>,
}

/// Files of WAL that were read in one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Group {
    checked_at: DateTime<Utc>,
    depth: Depth,
    /// Their marks, eight bytes each, in base64.
    marks: String,
}

/// What is known of a cluster in a store, while it is looked at.
#[derive(Debug, Default)]
pub struct Known {
    looks: BTreeMap<String, Look>,
    /// Which group each mark of good WAL is in.
    marks: HashMap<u64, u16>,
    announced: BTreeSet<Range>,
    groups: Vec<(DateTime<Utc>, Depth)>,
}

/// Whose memory it is, and which of it is new.
pub struct Part<'k> {
    /// The full name of the store.
    pub store: &'k str,
    /// The cluster.
    pub cluster: &'k str,
    /// What is known of it now.
    pub known: &'k Known,
}

/// What this host remembers of all stores.
pub struct Memory(BTreeMap<String, BTreeMap<String, Section>>);

impl Memory {
    /// Reads it.
    pub fn recall() -> Self {
        Memory(file().stores)
    }

    /// Nothing is remembered.
    pub fn none() -> Self {
        Memory(BTreeMap::new())
    }

    /// What is known of a cluster in a store. What is from the future is not believed.
    pub fn take(&mut self, store: &str, cluster: &str, now: DateTime<Utc>) -> Known {
        let section = self.0.get_mut(store).and_then(|clusters| clusters.remove(cluster)).unwrap_or_default();
        let mut known = Known { looks: section.objects, announced: section.announced, ..Known::default() };
        known.looks.retain(|_, look| look.checked_at <= now);
        for group in section.wal.into_iter().filter(|group| group.checked_at <= now) {
            let Ok(marks) = STANDARD.decode(&group.marks) else { continue };
            let place = known.group(group.checked_at, group.depth);
            let (marks, _) = marks.as_chunks();
            known.marks.extend(marks.iter().map(|mark| (u64::from_le_bytes(*mark), place)));
        }
        known
    }
}

/// Keeps `parts` for the next time, and all else that the file holds.
///
/// # Errors
/// Says why not, as a warning: everything can be read again.
pub fn remember(parts: &[Part]) -> Result<(), String> {
    let mut file = file();
    file.format = FORMAT;
    for part in parts {
        let clusters = file.stores.entry(part.store.into()).or_default();
        clusters.insert(part.cluster.into(), part.known.section());
    }
    state::remember(FILE, &file).map_err(|error| format!("cannot remember what was read, which will be read again: {error}"))
}

fn file() -> Remembered {
    state::recall(FILE).filter(|file: &Remembered| file.format == FORMAT).unwrap_or_default()
}

impl Known {
    /// What was seen of the object at `key`, if it still looks like that.
    pub fn look(&self, key: &str, face: &Face) -> Option<&Look> {
        self.looks.get(key).filter(|look| look.of == *face)
    }

    /// When a file of WAL was found good, and how deep the look went.
    pub fn good_wal(&self, mark: u64) -> Option<(DateTime<Utc>, Depth)> {
        self.marks.get(&mark).map(|place| self.groups[usize::from(*place)])
    }

    /// Takes note of an object.
    pub fn note(&mut self, key: &str, look: Look) {
        self.looks.insert(key.into(), look);
    }

    /// Takes note of a file of WAL, whose object is at `key`. It counts as looked at when the run began.
    pub fn note_wal(&mut self, key: &str, look: Look) {
        let mark = look.of.mark.unwrap_or_default();
        if finding::is_bad(&look.findings) {
            self.marks.remove(&mark);
            self.looks.insert(key.into(), look);
        } else {
            self.looks.remove(key);
            let place = self.group(look.checked_at, look.depth);
            self.marks.insert(mark, place);
        }
    }

    /// Takes note of ranges of WAL whose deletion is announced; gives all that ever were.
    pub fn announce(&mut self, ranges: impl IntoIterator<Item = Range>) -> &BTreeSet<Range> {
        self.announced.extend(ranges);
        &self.announced
    }

    /// Forgets the objects of keys that begin with `prefix` and are not there any more.
    pub fn forget_objects(&mut self, prefix: &str, is_there: impl Fn(&str) -> bool) {
        self.looks.retain(|key, _| !key.starts_with(prefix) || is_there(key));
    }

    /// Forgets files of WAL that are not there any more.
    pub fn forget_wal(&mut self, is_there: impl Fn(u64) -> bool) {
        self.marks.retain(|mark, _| is_there(*mark));
    }

    fn group(&mut self, at: DateTime<Utc>, depth: Depth) -> u16 {
        let place = self.groups.iter().position(|group| *group == (at, depth)).unwrap_or_else(|| {
            self.groups.push((at, depth));
            self.groups.len() - 1
        });
        // Of more runs than that the last share a group; they count as that one's.
        u16::try_from(place).unwrap_or(u16::MAX)
    }

    fn section(&self) -> Section {
        let mut marks: Vec<Vec<u64>> = vec![Vec::new(); self.groups.len()];
        for (mark, place) in &self.marks {
            marks[usize::from(*place)].push(*mark);
        }
        let wal = self.groups.iter().zip(marks).filter(|(_, marks)| !marks.is_empty()).map(|((checked_at, depth), mut marks)| {
            marks.sort_unstable();
            let bytes: Vec<u8> = marks.iter().flat_map(|mark| mark.to_le_bytes()).collect();
            Group { checked_at: *checked_at, depth: *depth, marks: STANDARD.encode(bytes) }
        });
        Section { objects: self.looks.clone(), wal: wal.collect(), announced: self.announced.clone() }
    }
}

/// Whether something that was looked at is to be read again. It is where something was found in it, or the look was less deep.
pub fn is_due(look: Option<(DateTime<Utc>, Depth, bool)>, depth: Depth, every: Option<TimeDelta>, now: DateTime<Utc>) -> bool {
    match (look, every) {
        (Some((checked_at, looked, true)), Some(every)) => looked < depth || now - checked_at >= every,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_million_files_of_wal_are_remembered_in_few_bytes() {
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        let mut known = Known::default();
        for number in 0..100_000u64 {
            let of = Face { bytes: 1, sha256: None, modified_at: None, mark: Some(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)) };
            let look = Look { of, checked_at: at(number as i64 % 7), depth: Depth::Bytes, findings: Vec::new() };
            known.note_wal("k", look);
        }
        let text = serde_json::to_vec(&known.section()).unwrap();
        assert!(text.len() < 1_200_000 && known.groups.len() == 7, "{} bytes", text.len());
        assert_eq!(known.good_wal(0x9E37_79B9_7F4A_7C15), Some((at(1), Depth::Bytes)));
        known.forget_wal(|mark| mark == 0);
        assert_eq!(known.section().wal.len(), 1);
    }

    #[test]
    fn what_was_not_good_or_less_deep_or_long_ago_is_due() {
        let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
        let week = Some(TimeDelta::days(7));
        let ago = |days, depth, good| Some((now - TimeDelta::days(days), depth, good));
        assert!(!is_due(ago(6, Depth::Bytes, true), Depth::Bytes, week, now));
        assert!(!is_due(ago(6, Depth::Content, true), Depth::Bytes, week, now));
        for look in [None, ago(7, Depth::Bytes, true), ago(0, Depth::Bytes, false)] {
            assert!(is_due(look, Depth::Bytes, week, now));
        }
        assert!(is_due(ago(0, Depth::Bytes, true), Depth::Content, week, now));
        assert!(is_due(ago(0, Depth::Bytes, true), Depth::Bytes, None, now), "by default everything is read");
    }
}
