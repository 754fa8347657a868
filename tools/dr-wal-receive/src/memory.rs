//! What a receiver remembers in its own directory: whose WAL it is, and how far it has come.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use dr_pipe::{Exit, Failure};
use dr_postgres::wire::Identity;
use dr_wal::{SegmentName, SegmentSize, System, Timeline};
use serde::{Deserialize, Serialize};

use crate::start::Place;

/// The content of `receiver.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Version of this format: 1.
    pub format: u32,
    /// The cluster.
    pub cluster: String,
    /// Which server's WAL this is.
    #[serde(flatten)]
    pub system: System,
    /// Where whole segments end; absent before the first one.
    pub end: Option<Place>,
    /// The timelines whose histories are stored.
    pub histories: Vec<Timeline>,
    /// Of whole segments that are not in the stores yet: by when all that was committed is in them or before them.
    #[serde(default)]
    pub as_of: BTreeMap<SegmentName, DateTime<Utc>>,
}

impl Memory {
    /// A new receiver's.
    pub fn new(cluster: &str, identity: &Identity, size: SegmentSize) -> Self {
        let system = System { system_identifier: identity.system_identifier.to_string(), wal_segment_bytes: size };
        Memory { format: 1, cluster: cluster.into(), system, end: None, histories: Vec::new(), as_of: BTreeMap::new() }
    }

    /// The size of segments.
    pub fn size(&self) -> SegmentSize {
        self.system.wal_segment_bytes
    }

    /// Holds a server against what is remembered.
    ///
    /// # Errors
    /// 65 if it is another one.
    pub fn hold_against(&self, identity: &Identity, size: SegmentSize) -> Result<(), Failure> {
        let found = Memory::new(&self.cluster, identity, size).system;
        if found == self.system {
            return Ok(());
        }
        let message = format!("the server is system {found}, and the WAL received so far is of system {}", self.system);
        let hint = "connect to the right server; one that was made anew (initdb, pg_upgrade) needs a cluster name of its own; nothing \
                    was received";
        Err(Failure::new(Exit::Damaged, message, hint))
    }

    /// Holds the cluster's name against what is remembered.
    ///
    /// # Errors
    /// 78 if the directory is another cluster's.
    pub fn check_cluster(&self, cluster: &str) -> Result<(), Failure> {
        if self.cluster == cluster && self.format == 1 {
            return Ok(());
        }
        let message = format!("--dir holds WAL of cluster {} (format {})", self.cluster, self.format);
        Err(Failure::new(Exit::Config, message, "give each cluster a directory of its own; nothing was received"))
    }
}
