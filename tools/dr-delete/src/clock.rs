//! What time is it, for certain? A clock that is wrong lets backups look old.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use dr_pipe::{Exit, Failure, state, warn};
use dr_store::Store;

use crate::TOOL;

/// How far two clocks may be apart.
pub const SKEW: TimeDelta = TimeDelta::minutes(5);

/// The state file that remembers the latest time.
const FILE: &str = "clock.json";
/// Its only field.
const LATEST: &str = "latest_at";

/// The time, held against every other clock that can be heard. Made by [`Clock::prove`] alone.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    now: DateTime<Utc>,
}

impl Clock {
    /// Holds `now` against the clocks of the stores, against moments that are past, and against the time of the last run.
    ///
    /// # Errors
    /// 80 where they disagree by more than five minutes; 78 where the time of the last run cannot be read any more; what a store says
    /// that does not answer.
    pub fn prove(
        now: DateTime<Utc>,
        stores: &[&Store],
        times: impl Iterator<Item = (String, DateTime<Utc>)>,
    ) -> Result<Clock, Failure> {
        let mut asked = BTreeMap::new();
        for store in stores {
            if asked.insert(store.location().to_string(), ()).is_none()
                && let Some(theirs) = store.clock()?
            {
                server(now, &store.location().to_string(), theirs)?;
            }
        }
        for (what, at) in times {
            past(now, &what, at, "somebody's clock is wrong: find out whose; see \"A backup of the future\" in dr-delete(1)")?;
        }
        if let Some(file) = state::directory().map(|directory| directory.join(FILE))
            && let Some(at) = recall(&file)?
        {
            let hint = format!("if that run's clock was wrong, remove {}", file.display());
            past(now, "the last run of dr-delete here", at, &hint)?;
        }
        Ok(Clock { now })
    }

    /// The time.
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// Remembers the time for the next run.
    pub fn remember(&self) {
        if let Err(error) = state::remember(FILE, &BTreeMap::from([(LATEST, self.now)])) {
            warn(TOOL, format!("cannot remember the time, to notice a clock that goes back: {error}"));
        }
    }
}

/// The latest time that was remembered; none where none ever was. What cannot be read any more is not taken for that.
fn recall(file: &Path) -> Result<Option<DateTime<Utc>>, Failure> {
    let text = match std::fs::read(file) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        read => read.map_err(|error| Failure::file(file, &error))?,
    };
    let remembered: Option<BTreeMap<String, DateTime<Utc>>> = serde_json::from_slice(&text).ok();
    match remembered.and_then(|remembered| remembered.get(LATEST).copied()) {
        Some(at) => Ok(Some(at)),
        None => {
            let message = format!("{} does not tell the time of the last run any more", file.display());
            Err(Failure::new(Exit::Config, message, "if the clock of this host is right, remove it"))
        }
    }
}

fn server(now: DateTime<Utc>, store: &str, theirs: DateTime<Utc>) -> Result<(), Failure> {
    if (now - theirs).abs() <= SKEW {
        return Ok(());
    }
    let message = format!("it is {} here, and {} in {store}", second(now), second(theirs));
    Err(Failure::new(Exit::Refused, message, "set the clock of this host, or of that server"))
}

fn past(now: DateTime<Utc>, what: &str, at: DateTime<Utc>, hint: &str) -> Result<(), Failure> {
    if at <= now + SKEW {
        return Ok(());
    }
    Err(Failure::new(Exit::Refused, format!("it is {} here, and {what} is of {}", second(now), second(at)), hint))
}

fn second(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn f87_a_clock_is_believed_where_it_is_within_five_minutes(now in 0..4_102_444_800_i64, off in -1_000_000..1_000_000_i64) {
            let (now, other) = (DateTime::from_timestamp(now, 0).unwrap(), DateTime::from_timestamp(now + off, 0).unwrap());
            prop_assert_eq!(server(now, "s", other).is_ok(), off.abs() <= 300);
            prop_assert_eq!(past(now, "x", other, "h").is_ok(), off <= 300);
        }
    }
}
