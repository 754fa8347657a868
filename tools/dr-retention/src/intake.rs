//! How do facts become a catalogue?

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};

use chrono::{DateTime, Utc};
use dr_pipe::Sha256;
use dr_pipe::record::Kind;

use crate::Catalogue;
use crate::catalogue::{BaseRow, Group, Marks, Needs, Place, Row, RunRow};
use crate::clock;
use crate::segment;

/// What one record says of a backup.
#[derive(Clone, Debug)]
pub struct Backup<'a, T> {
    /// The store it was found in.
    pub store: &'a str,
    /// The cluster it belongs to.
    pub cluster: &'a str,
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: &'a str,
    /// SHA-256 of its object.
    pub sha256: Sha256,
    /// Size of its object.
    pub bytes: u64,
    /// The moment it shows.
    pub taken_at: DateTime<Utc>,
    /// When it was stored.
    pub stored_at: DateTime<Utc>,
    /// Milliseconds since 1970 of that.
    pub sequence: u64,
    /// Its tags, each as `key=value`.
    pub tags: &'a [T],
    /// The database that was dumped.
    pub database: Option<&'a str>,
    /// What of it was dumped.
    pub only: Option<&'a str>,
    /// The program that wrote it, where that was none of ours.
    pub command: Option<&'a str>,
    /// Whether its manifest is of a format that is known.
    pub understood: bool,
    /// Whether its signature was checked, and is right.
    pub signed: bool,
    /// Whether its bytes were proved; none where nobody has looked.
    pub good: Option<bool>,
    /// A base: what recovery needs of the log.
    pub base: Option<Base<'a>>,
}

/// What a base says of the log.
#[derive(Clone, Copy, Debug)]
pub struct Base<'a> {
    /// The timeline it was taken on.
    pub timeline: u32,
    /// Where replay begins.
    pub start_lsn: &'a str,
    /// Where it is consistent.
    pub stop_lsn: &'a str,
    /// When it ended.
    pub stopped_at: DateTime<Utc>,
    /// Whether it brings the log from start to stop along.
    pub wal_inside: bool,
}

/// What one record says of a run of WAL.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The store it lies in.
    pub store: &'a str,
    /// The cluster whose WAL it is.
    pub cluster: &'a str,
    /// Its timeline.
    pub timeline: u32,
    /// The name of its first segment.
    pub first: &'a str,
    /// The name of its last segment.
    pub last: &'a str,
    /// How many whole segments it has: none where one is still being streamed.
    pub segments: u64,
    /// Size of a segment.
    pub wal_segment_bytes: u64,
    /// Size of all of them in the store.
    pub stored_bytes: u64,
    /// When the newest of them was written.
    pub stored_at: Option<DateTime<Utc>>,
}

/// Takes facts, one after the other, and becomes a [`Catalogue`].
#[derive(Debug, Default)]
pub struct Intake {
    catalogue: Catalogue,
    /// Numbers of places, groups and sets of tags, by a text that says them.
    places: HashMap<Box<str>, u32>,
    groups: HashMap<Box<str>, u32>,
    tags: HashMap<Box<str>, u32>,
    text: String,
    hasher: RandomState,
    /// For each backup 32 bits of a digest of what it is called, and its place: equal ones are neighbours once sorted.
    called: Vec<u64>,
}

impl Intake {
    /// Takes what a record says of a backup.
    ///
    /// # Errors
    /// Says what of it makes no sense.
    pub fn add<T: AsRef<str>>(&mut self, backup: &Backup<'_, T>) -> Result<(), String> {
        let group = self.group(backup);
        let tags = self.tags(backup.tags);
        let catalogue = &mut self.catalogue;
        let place = u32::try_from(catalogue.rows.len()).map_err(|_| "more backups than can be counted")?;
        let end = u32::try_from(catalogue.names.len() + backup.name.len()).map_err(|_| "more names than memory is made for")?;
        let stored_at = backup.stored_at.timestamp_micros();
        let mut marks = Marks::default();
        marks.set(Marks::SIGNED, backup.signed);
        marks.set(Marks::GOOD, backup.good == Some(true));
        marks.set(Marks::LOOKED_AT, backup.good.is_some());
        marks.set(Marks::UNDERSTOOD, backup.understood);
        marks.set(Marks::IN_SEQUENCE, clock::is_sequence(backup.sequence, stored_at));
        if backup.kind == Kind::Base {
            let needs = backup.base.as_ref().and_then(needs);
            // What is said must make sense; a base of another program says nothing.
            marks.set(Marks::UNDERSTOOD, backup.understood && needs.is_some() == backup.base.is_some());
            catalogue.bases.push(BaseRow { backup: place, needs });
        }
        catalogue.rows.push(Row { taken_at: backup.taken_at.timestamp_micros(), stored_at, group, tags });
        catalogue.marks.push(marks);
        catalogue.digests.push(backup.sha256);
        catalogue.sizes.push(backup.bytes);
        catalogue.names.push_str(backup.name);
        catalogue.ends.push(end);
        let digest = self.hasher.hash_one((catalogue.groups[group as usize].place, backup.kind, backup.name));
        self.called.push(digest << 32 | u64::from(place));
        Ok(())
    }

    /// Takes what a record says of a run of WAL.
    ///
    /// # Errors
    /// Says what of it makes no sense.
    pub fn add_wal(&mut self, run: &Run<'_>) -> Result<(), String> {
        let segment_bytes = run.wal_segment_bytes;
        if !segment::is_size(segment_bytes) {
            return Err(format!("{segment_bytes} bytes is no size of WAL segments"));
        }
        let parse = |name: &str| match segment::parse(name, segment_bytes) {
            Some((timeline, number)) if timeline == run.timeline => Ok(number),
            _ => Err(format!("{name:?} is no segment of timeline {}", run.timeline)),
        };
        let (first, last) = (parse(run.first)?, parse(run.last)?);
        // A beginning of a segment goes with the range around it.
        if first == last && run.segments == 0 {
            return Ok(());
        }
        if first > last || last - first + 1 != run.segments {
            return Err(format!("{} to {} are not {} segments", run.first, run.last, run.segments));
        }
        let place = self.place(run.store, run.cluster);
        let stored_at = run.stored_at.map(|at| at.timestamp_micros());
        let Run { timeline, stored_bytes, .. } = *run;
        self.catalogue.runs.push(RunRow { place, timeline, segment_bytes, first, last, stored_bytes, stored_at });
        Ok(())
    }

    /// All that came. Where several records are about one backup, the verified one counts, and of several of these the worst.
    ///
    /// # Errors
    /// Names a backup that two records disagree about.
    pub fn finish(mut self) -> Result<Catalogue, String> {
        let mut called = std::mem::take(&mut self.called);
        let mut marks = std::mem::take(&mut self.catalogue.marks);
        let catalogue = &self.catalogue;
        let place = |key: u64| (key & u64::from(u32::MAX)) as usize;
        called
            .sort_unstable_by(|a, b| (a >> 32).cmp(&(b >> 32)).then_with(|| catalogue.order(place(*a), place(*b))).then(a.cmp(b)));
        for same in called.chunk_by(|a, b| a >> 32 == b >> 32 && catalogue.order(place(*a), place(*b)).is_eq()) {
            if same.len() > 1 {
                let same: Vec<usize> = same.iter().map(|key| place(*key)).collect();
                merge(&catalogue.rows, &catalogue.digests, &mut marks, &same).map_err(|()| {
                    let known = catalogue.backup(same[0]);
                    format!("two records of {} in {} disagree", known.name, known.store)
                })?;
            }
        }
        self.catalogue.bases.retain(|base| !marks[base.backup as usize].has(Marks::TWICE));
        self.catalogue.marks = marks;
        join(&mut self.catalogue.runs);
        Ok(self.catalogue)
    }

    fn place(&mut self, store: &str, cluster: &str) -> u32 {
        self.text.clear();
        say(&mut self.text, &[Some(store), Some(cluster)]);
        let places = &mut self.catalogue.places;
        number(&mut self.places, &self.text, || {
            places.push(Place { store: store.into(), cluster: cluster.into() });
            places.len() - 1
        })
    }

    fn group<T>(&mut self, backup: &Backup<'_, T>) -> u32 {
        // Neighbours are mostly of one group.
        if let Some(last) = self.catalogue.rows.last()
            && self.catalogue.is_of(last.group, backup)
        {
            return last.group;
        }
        let place = self.place(backup.store, backup.cluster);
        let Backup { kind, database, only, command, .. } = *backup;
        self.text.clear();
        write!(self.text, "{place} {kind} ").expect("a text takes all");
        say(&mut self.text, &[database, only, command]);
        let groups = &mut self.catalogue.groups;
        let owned = |text: Option<&str>| text.map(str::to_owned);
        number(&mut self.groups, &self.text, || {
            groups.push(Group { place, kind, database: owned(database), only: owned(only), command: owned(command) });
            groups.len() - 1
        })
    }

    fn tags<T: AsRef<str>>(&mut self, tags: &[T]) -> u32 {
        if self.catalogue.tags.is_empty() {
            self.catalogue.tags.push(Vec::new());
        }
        if tags.is_empty() {
            return 0;
        }
        self.text.clear();
        for tag in tags {
            say(&mut self.text, &[Some(tag.as_ref())]);
        }
        let known = &mut self.catalogue.tags;
        number(&mut self.tags, &self.text, || {
            known.push(tags.iter().map(|tag| tag.as_ref().to_owned()).collect());
            known.len() - 1
        })
    }
}

impl Catalogue {
    /// The order of what backups are called: by place, kind and name.
    fn order(&self, a: usize, b: usize) -> Ordering {
        let called = |place: usize| {
            let group = &self.groups[self.rows[place].group as usize];
            (group.place, group.kind, self.name(place))
        };
        called(a).cmp(&called(b))
    }

    fn is_of<T>(&self, group: u32, backup: &Backup<'_, T>) -> bool {
        let group = &self.groups[group as usize];
        let place = &self.places[group.place as usize];
        group.kind == backup.kind
            && group.database.as_deref() == backup.database
            && group.only.as_deref() == backup.only
            && group.command.as_deref() == backup.command
            && place.cluster == backup.cluster
            && place.store == backup.store
    }
}

/// Makes one of several records of one backup; none where they disagree.
fn merge(rows: &[Row], digests: &[Sha256], marks: &mut [Marks], same: &[usize]) -> Result<(), ()> {
    if same.iter().any(|place| rows[*place] != rows[same[0]] || digests[*place] != digests[same[0]]) {
        return Err(());
    }
    let looked_at = |place: &usize| marks[*place].has(Marks::LOOKED_AT);
    let winner = same.iter().copied().find(looked_at).unwrap_or(same[0]);
    let mut merged = marks[winner];
    for place in same.iter().filter(|place| **place != winner) {
        for doubtful in [Marks::SIGNED, Marks::GOOD, Marks::UNDERSTOOD, Marks::IN_SEQUENCE] {
            let equal_rank = marks[*place].has(Marks::LOOKED_AT) == merged.has(Marks::LOOKED_AT);
            if equal_rank && !marks[*place].has(doubtful) {
                merged.set(doubtful, false);
            }
        }
        marks[*place].set(Marks::TWICE, true);
    }
    marks[winner] = merged;
    Ok(())
}

/// Sorts runs, and makes one of those that overlap: one was seen before the other, and WAL has come since.
fn join(runs: &mut Vec<RunRow>) {
    runs.sort_unstable();
    runs.dedup_by(|next, run| {
        let overlap = (next.place, next.timeline, next.segment_bytes) == (run.place, run.timeline, run.segment_bytes);
        if overlap && next.first <= run.last {
            run.last = run.last.max(next.last);
            run.stored_bytes = run.stored_bytes.max(next.stored_bytes);
            run.stored_at = run.stored_at.max(next.stored_at);
        }
        overlap && next.first <= run.last
    });
}

fn needs(base: &Base<'_>) -> Option<Needs> {
    let (start, stop) = (segment::lsn(base.start_lsn)?, segment::lsn(base.stop_lsn)?);
    let stopped_at = base.stopped_at.timestamp_micros();
    let sound = base.timeline > 0 && start <= stop;
    sound.then_some(Needs { timeline: base.timeline, start, stop, stopped_at, inside: base.wal_inside })
}

/// Says several texts as one, so that no two lists become the same.
fn say(into: &mut String, parts: &[Option<&str>]) {
    for part in parts {
        match part {
            Some(text) => write!(into, "{}:{text}", text.len()),
            None => write!(into, "-"),
        }
        .expect("a text takes all");
    }
}

/// The number by which `text` is known; where it is new, that which `make` gives.
fn number(known: &mut HashMap<Box<str>, u32>, text: &str, make: impl FnOnce() -> usize) -> u32 {
    if let Some(number) = known.get(text) {
        return *number;
    }
    let number = u32::try_from(make()).expect("there are fewer than backups");
    known.insert(text.into(), number);
    number
}
