//! Since when is a thing as it is? Remembered on this host, from one call to the next.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use dr_pipe::record::State;
use dr_pipe::state;
use serde::{Deserialize, Serialize};

/// What the calls before have seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The state of each check, by its name and subject, and since when it is that.
    pub states: BTreeMap<String, (State, DateTime<Utc>)>,
    /// When a thing that comes and goes was there last.
    pub seen: BTreeMap<String, DateTime<Utc>>,
}

impl Memory {
    /// What is remembered of `cluster`; nothing where nothing is.
    pub fn recall(cluster: &str) -> Self {
        state::recall(&file(cluster)).unwrap_or_default()
    }

    /// As it can be at this moment: a clock that was ahead has left what is still to come, and for so long nothing would be late.
    #[must_use]
    pub fn until(mut self, now: DateTime<Utc>) -> Self {
        let moments = self.seen.values_mut().chain(self.states.values_mut().map(|(_, since)| since));
        moments.for_each(|at| *at = now.min(*at));
        self
    }

    /// Remembers it.
    ///
    /// # Errors
    /// As the file system says.
    pub fn remember(&self, cluster: &str) -> std::io::Result<()> {
        state::remember(&file(cluster), self)
    }
}

/// The state file's name.
fn file(cluster: &str) -> String {
    format!("checks-{cluster}.json")
}
