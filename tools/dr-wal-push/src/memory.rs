//! What does this host remember of a cluster's stores? Witnesses only: without them more is asked, and nothing is lost.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use dr_pipe::{state, warn};
use dr_wal::{Fork, System, Timeline};
use serde::{Deserialize, Serialize};

use crate::push::TOOL;

/// What is remembered of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Which system the cluster is, by store.
    pub systems: BTreeMap<String, Seen>,
    /// Which timelines have forked off.
    pub forks: Forks,
    /// When a backlog was last warned of.
    pub warned_at: Option<DateTime<Utc>>,
}

/// What a store said of a system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// The system.
    pub system: System,
    /// Whether the cluster is another one there.
    pub refused: bool,
}

/// The timelines after one's own, as far as a store may be read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Forks {
    /// When they were asked for.
    pub asked_at: Option<DateTime<Utc>>,
    /// Whether no store let itself be read then.
    pub denied: bool,
    /// Each newer timeline, and where it came from.
    pub found: BTreeMap<u32, Fork>,
}

impl Forks {
    /// The newer timeline that left `timeline` behind before `lsn`, if one did.
    pub fn leaving(&self, timeline: Timeline, lsn: dr_wal::Lsn) -> Option<(Timeline, Fork)> {
        let left = |fork: &Fork| fork.parent_timeline == timeline && fork.forked_at <= lsn;
        self.found.iter().find(|(_, fork)| left(fork)).map(|(newer, fork)| (Timeline(*newer), *fork))
    }
}

impl Memory {
    /// What is remembered; nothing where nothing was. Where it cannot be read any more that is told, and it begins anew, as archiving is
    /// not to wait for it: but a store that may not be read tells only once that it holds another server's WAL.
    pub fn recall(cluster: &str) -> Self {
        state::witnessed(&file(cluster)).map(Option::unwrap_or_default).unwrap_or_else(|lost| {
            warn(TOOL, format!("{lost}: which server this cluster is, and whether it was demoted, is asked of the stores anew"));
            Memory::default()
        })
    }

    /// Keeps it for the next call.
    ///
    /// # Errors
    /// Says why not, as a warning.
    pub fn remember(&self, cluster: &str) -> Result<(), String> {
        let folder = state::directory().map(|state| state.join("wal").join(cluster));
        let made = folder.as_ref().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| state::remember(&file(cluster), self)).map_err(|error| {
            let place = folder.map_or(String::new(), |folder| format!(", in {}", folder.display()));
            format!("cannot remember which server this cluster is{place}: {error}")
        })
    }
}

fn file(cluster: &str) -> String {
    PathBuf::from("wal").join(cluster).join("memory.json").display().to_string()
}
