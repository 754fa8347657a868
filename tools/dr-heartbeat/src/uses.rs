//! What have the tools of a job done? They append records to the file that `$DR_RUN` names, or print them into our input.

use std::collections::BTreeMap;
use std::io::BufRead;

use chrono::{DateTime, Utc};
use dr_pipe::Failure;
use dr_pipe::record::{self, Record};

/// What was stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The newest backup that was published.
    pub backup: Option<String>,
    /// Size of all that was stored.
    pub bytes: Option<u64>,
}

/// What records say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// What was stored.
    pub stored: Stored,
    /// How many records tell of work that is done.
    pub done: usize,
    /// The first that tells of a failure, in words.
    pub bad: Option<String>,
}

/// Reads records to the end of the input.
///
/// # Errors
/// 65 for a line that is no record, 74 if reading fails.
pub fn read(input: &mut impl BufRead) -> Result<Uses, Failure> {
    Ok(record::read(input)?.iter().fold(Tally::default(), Tally::add).uses())
}

#[derive(Default)]
struct Tally {
    uses: Uses,
    newest: Option<(DateTime<Utc>, String)>,
    /// By name, as a manifest may be printed twice.
    backups: BTreeMap<String, u64>,
    copied: Option<u64>,
}

impl Tally {
    fn add(mut self, record: &Record) -> Self {
        let bad = match record {
            Record::Manifest(manifest) => {
                self.backups.insert(manifest.name.clone(), manifest.bytes);
                if self.newest.as_ref().is_none_or(|(at, _)| *at <= manifest.stored_at) {
                    self.newest = Some((manifest.stored_at, manifest.name.clone()));
                }
                None
            }
            Record::Copied(copied) => {
                *self.copied.get_or_insert_default() += copied.bytes;
                None
            }
            Record::Drill(drill) => (!drill.passed).then(|| format!("drill {} has not passed", drill.name)),
            Record::Verified(verified) => (!verified.good).then(|| format!("{} is not good", verified.backup.manifest.name)),
            Record::Deleted(_) | Record::Wal(_) | Record::Restored(_) | Record::Recovered(_) => None,
            _ => return self,
        };
        self.uses.done += 1;
        self.uses.bad = self.uses.bad.or(bad);
        self
    }

    fn uses(self) -> Uses {
        let dumped = (!self.backups.is_empty()).then(|| self.backups.values().sum::<u64>());
        let bytes = match (dumped, self.copied) {
            (None, None) => None,
            (dumped, copied) => Some(dumped.unwrap_or_default() + copied.unwrap_or_default()),
        };
        Uses { stored: Stored { backup: self.newest.map(|(_, name)| name), bytes }, ..self.uses }
    }
}
