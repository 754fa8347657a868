//! Which server is a cluster? Said once per store, and every segment is held against it.

use dr_pipe::Sha256;
use serde::{Deserialize, Serialize};

use crate::header::Header;
use crate::layout::{self, Content};
use crate::shelf::Created;
use crate::{Error, SegmentSize, Shelf, error};

/// Largest description that is read, in bytes.
const MAX_BYTES: u64 = 4 << 10;

/// What `wal/system.json` of a cluster says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// The system identifier that initdb gave it.
    pub system_identifier: String,
    /// The size of its segments, in bytes.
    pub wal_segment_bytes: SegmentSize,
}

/// How it is known that a cluster is a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The store says so.
    Proved,
    /// It may not be read, and somebody has claimed the same before.
    Claimed,
}

impl System {
    /// Which system a segment is of.
    pub fn of(header: &Header) -> Self {
        System { system_identifier: header.system_identifier.to_string(), wal_segment_bytes: header.segment_size }
    }

    fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("texts and numbers make JSON");
        line.push(b'\n');
        line
    }
}

impl std::fmt::Display for System {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&error::system(&self.system_identifier, self.wal_segment_bytes))
    }
}

impl Shelf<'_> {
    /// Which system the cluster is here, as is said and was claimed before; where what is said was lost or damaged, as was claimed.
    /// None where no segment was ever pushed.
    ///
    /// # Errors
    /// As the store says; [`Error::Damaged`] where it is no such description, or several were claimed.
    pub fn system(&self) -> Result<Option<System>, Error> {
        let (said, claimed) = (self.said_system(), self.claimed_systems()?);
        match (said, &claimed[..]) {
            (Err(error @ Error::Damaged { .. }), []) => Err(error),
            (Ok(said), []) => Ok(said),
            (Ok(Some(said)), claimed) if claimed.contains(&said) => Ok(Some(said)),
            (Ok(_) | Err(Error::Damaged { .. }), [claimed]) => Ok(Some(claimed.clone())),
            (Ok(_) | Err(Error::Damaged { .. }), _) => {
                let object = format!("{}/{}", self.store.location(), layout::system(self.cluster));
                Err(Error::damaged(object, "it is not there whole, and two systems claim the cluster"))
            }
            (Err(error), _) => Err(error),
        }
    }

    /// What the claims say, each once; those whose content is not that of their name say nothing.
    fn claimed_systems(&self) -> Result<Vec<System>, Error> {
        let stem = layout::system_stem(self.cluster);
        let mut claimed: Vec<System> = Vec::new();
        for listed in self.store.list(&stem)? {
            let Some(content) = listed.key.strip_prefix(&stem).and_then(|rest| rest.strip_suffix(layout::CLAIM)) else { continue };
            let text = self.store.read(&listed.key, MAX_BYTES)?;
            if Content::of(&Sha256::of(&text)).to_string() != content {
                continue;
            }
            let Ok(system) = serde_json::from_slice::<System>(&text) else { continue };
            if !claimed.contains(&system) {
                claimed.push(system);
            }
        }
        Ok(claimed)
    }

    /// Which system the cluster is said to be here; none where nothing was said, or it was lost.
    ///
    /// # Errors
    /// As the store says; [`Error::Damaged`] where it is no such description.
    pub fn said_system(&self) -> Result<Option<System>, Error> {
        let key = layout::system(self.cluster);
        let text = match self.store.read(&key, MAX_BYTES) {
            Err(dr_store::Error::Absent { .. }) => return Ok(None),
            text => text?,
        };
        let object = format!("{}/{key}", self.store.location());
        serde_json::from_slice(&text).map(Some).map_err(|error| Error::damaged(object, error.to_string()))
    }

    /// Says which system the cluster is, if nobody has; else holds it against what was said.
    ///
    /// Where it may be read, a refusal leaves nothing behind. Where not, a claim tells equal from other, but only once: whoever was
    /// told of another system, and asks again, gets [`Identity::Claimed`]. So remember an [`Error::OtherSystem`].
    ///
    /// # Errors
    /// [`Error::OtherSystem`] where the cluster is another system; as the store says.
    pub fn put_system(&self, system: &System) -> Result<Identity, Error> {
        match self.hold_against(system) {
            Ok(_) | Err(Error::Store(dr_store::Error::Denied { .. })) => {}
            Err(error) => return Err(error),
        }
        let line = system.line();
        let claim = layout::system_claim(self.cluster, Content::of(&Sha256::of(&line)));
        let claimed = self.create(&claim, &line)?;
        let key = layout::system(self.cluster);
        match self.store.put(&key, &line) {
            Ok(_) => Ok(Identity::Proved),
            Err(dr_store::Error::Exists { comparable: true, .. }) => self.hold_against(system),
            Err(dr_store::Error::Exists { comparable: false, .. }) if claimed == Created::Before => Ok(Identity::Claimed),
            Err(dr_store::Error::Exists { .. }) => Err(self.other_system(system, "another, which may not be read".into())),
            Err(error) => Err(error.into()),
        }
    }

    fn hold_against(&self, system: &System) -> Result<Identity, Error> {
        let there = match self.said_system() {
            // What was claimed is as good.
            Err(Error::Damaged { .. }) => self.system()?,
            said => said?,
        };
        match there {
            Some(there) if there != *system => Err(self.other_system(system, there.to_string())),
            _ => Ok(Identity::Proved),
        }
    }

    /// That the cluster is another system than that of a segment; `expected` says which.
    pub fn other_system(&self, system: &System, expected: String) -> Error {
        Error::OtherSystem {
            object: layout::system(self.cluster),
            cluster: self.cluster.into(),
            store: self.store.location().to_string(),
            found: system.to_string(),
            expected,
        }
    }
}
