//! What is marked for deletion: a backup, or a range of WAL. Its tombstone, and what is told of it.

use chrono::{DateTime, TimeDelta, Utc};
use dr_catalogue::{Error, PublicKey, RangeTombstone, SigningKey, Tombstone, name, tombstone};
use dr_pipe::record::{Deleted, Record};
use dr_wal::SegmentName;

/// A range of WAL that is marked, or is going to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkedRange {
    /// The first segment.
    pub first: SegmentName,
    /// The last segment, of the same timeline.
    pub last: SegmentName,
    /// Its tombstone.
    pub tombstone: RangeTombstone,
}

impl MarkedRange {
    /// Whether a segment lies in the range.
    pub fn holds(&self, segment: &SegmentName) -> bool {
        segment.timeline == self.first.timeline && self.first <= *segment && *segment <= self.last
    }
}

/// What is marked, or is going to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grave {
    /// A backup.
    Backup(Tombstone),
    /// A range of WAL.
    Wal(MarkedRange),
}

impl Grave {
    /// Reads the tombstone of a backup or range found under `key`, in the hand of `own` alone: what others have signed is not
    /// carried out, as the host that backs up has a key that is trusted, too.
    ///
    /// # Errors
    /// Where it is not signed by that key, or is not that of its key.
    pub fn read(own: &PublicKey, key: &str, text: &[u8], signature: &[u8]) -> Result<Grave, Error> {
        let stem = key.strip_suffix(name::TOMBSTONE).unwrap_or(key);
        tombstone::verify(&[*own], stem, text, signature)?;
        if name::of_tombstone(key).is_some() {
            return tombstone::parse(key, text).map(Grave::Backup);
        }
        let range = tombstone::parse_range(key, text)?;
        match ends(key) {
            Some((first, last)) if first.timeline.0 == range.timeline => {
                Ok(Grave::Wal(MarkedRange { first, last, tombstone: range }))
            }
            _ => Err(Error::BadManifest { manifest: key.into(), why: "it names no range of segments".into() }),
        }
    }

    /// What its keys begin with.
    pub fn stem(&self) -> String {
        match self {
            Grave::Backup(tombstone) => tombstone.stem(),
            Grave::Wal(range) => range.tombstone.stem(),
        }
    }

    /// The key of its tombstone.
    pub fn key(&self) -> String {
        format!("{}{}", self.stem(), name::TOMBSTONE)
    }

    /// The key of that one's signature.
    pub fn signature_key(&self) -> String {
        format!("{}{}", self.stem(), name::TOMBSTONE_SIGNATURE)
    }

    /// Its tombstone and that one's signature.
    pub fn signed(&self, key: &SigningKey) -> (Vec<u8>, Vec<u8>) {
        let text = match self {
            Grave::Backup(tombstone) => tombstone.to_bytes(),
            Grave::Wal(range) => range.tombstone.to_bytes(),
        };
        let signature = tombstone::sign(key, &text, &self.stem());
        (text, signature)
    }

    /// From when on its data may be removed.
    pub fn not_before_at(&self) -> DateTime<Utc> {
        match self {
            Grave::Backup(tombstone) => tombstone.not_before_at,
            Grave::Wal(range) => range.tombstone.not_before_at,
        }
    }

    /// How long it waits between mark and removal.
    pub fn grace(&self) -> TimeDelta {
        match self {
            Grave::Backup(tombstone) => tombstone.not_before_at - tombstone.deleted_at,
            Grave::Wal(range) => range.tombstone.not_before_at - range.tombstone.deleted_at,
        }
    }

    /// What it is called.
    pub fn name(&self) -> String {
        match self {
            Grave::Backup(tombstone) => tombstone.name.clone(),
            Grave::Wal(range) => range.tombstone.name(),
        }
    }

    /// What is told of it.
    pub fn told(&self, store: &str, done: Done, done_at: DateTime<Utc>) -> Record {
        let Done { state, objects, bytes, held_until_at } = done;
        let mut deleted = Deleted {
            state: state.into(),
            store: store.into(),
            cluster: String::new(),
            kind: None,
            name: None,
            first: None,
            last: None,
            object: None,
            objects,
            bytes,
            not_before_at: Some(self.not_before_at()),
            held_until_at,
            done_at,
        };
        match self {
            Grave::Backup(Tombstone { cluster, kind, name, .. }) => {
                (deleted.cluster, deleted.kind, deleted.name) = (cluster.clone(), Some(*kind), Some(name.clone()));
            }
            Grave::Wal(MarkedRange { tombstone: RangeTombstone { cluster, first, last, .. }, .. }) => {
                (deleted.cluster, deleted.first, deleted.last) = (cluster.clone(), Some(first.clone()), Some(last.clone()));
            }
        }
        Record::Deleted(Box::new(deleted))
    }
}

/// How far it went.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// As dr-records(5) lists them.
    pub state: &'static str,
    /// Objects that are gone.
    pub objects: u64,
    /// Bytes that are gone with them.
    pub bytes: u64,
    /// Until when the store keeps the next one locked.
    pub held_until_at: Option<DateTime<Utc>>,
}

impl Done {
    /// Nothing is gone.
    pub fn nothing(state: &'static str) -> Done {
        Done { state, objects: 0, bytes: 0, held_until_at: None }
    }
}

/// First and last segment of the range whose tombstone has this key; none for any other key.
pub fn ends(key: &str) -> Option<(SegmentName, SegmentName)> {
    let (_, first, last) = tombstone::of_range(key)?;
    let (first, last): (SegmentName, SegmentName) = (first.parse().ok()?, last.parse().ok()?);
    (first.timeline == last.timeline && first <= last).then_some((first, last))
}
