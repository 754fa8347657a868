//! Whose keys has a drill proved, and when? A witness on this host remembers it for who encrypts to them and may read no store.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::record::Drill;
use crate::state;

/// The state file's name.
pub const FILE: &str = "drills.json";

/// The end of the newest drill that has passed, by recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drilled(BTreeMap<String, DateTime<Utc>>);

impl Drilled {
    /// What this host remembers; nothing where it never saw a drill.
    pub fn recall() -> Self {
        state::recall(FILE).unwrap_or_default()
    }

    /// Takes note of drills whose signatures were made or checked here, and remembers what is new. Those that have not passed
    /// prove nothing.
    ///
    /// # Errors
    /// Says why it cannot be remembered, as a warning.
    pub fn witness<'a>(drills: impl IntoIterator<Item = &'a Drill>) -> Result<(), String> {
        let mut drilled = Self::recall();
        let before = drilled.clone();
        drills.into_iter().for_each(|drill| drilled.note(drill));
        if drilled == before {
            return Ok(());
        }
        state::remember(FILE, &drilled).map_err(|error| format!("cannot remember whose keys were proved: {error}"))
    }

    /// When a drill last proved that what `recipient` can decrypt can be restored.
    pub fn at(&self, recipient: &str) -> Option<DateTime<Utc>> {
        self.0.get(recipient).copied()
    }

    fn note(&mut self, drill: &Drill) {
        for recipient in drill.recipients.iter().filter(|_| drill.passed) {
            let newest = self.0.entry(recipient.clone()).or_insert(drill.finished_at);
            *newest = drill.finished_at.max(*newest);
        }
    }
}
