//! What time is it, for certain? A clock that is wrong lets backups look old.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use dr_pipe::{Exit, Failure, state, warn};

use crate::TOOL;
use crate::survey::Survey;

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
    /// Holds `now` against the clocks of the stores, against what was written there, and against the time of the last run.
    ///
    /// # Errors
    /// 80 where they disagree by more than five minutes; what a store says that does not answer.
    pub fn prove(now: DateTime<Utc>, surveys: &[Survey]) -> Result<Clock, Failure> {
        let mut asked = BTreeMap::new();
        for Survey { store, .. } in surveys {
            if asked.insert(store.location().to_string(), ()).is_none()
                && let Some(theirs) = store.clock()?
            {
                server(now, &store.location().to_string(), theirs)?;
            }
        }
        for (what, at) in surveys.iter().flat_map(Survey::times) {
            past(now, &what, at, "somebody's clock is wrong: find out whose before anything is deleted")?;
        }
        let remembered = state::recall::<BTreeMap<String, DateTime<Utc>>>(FILE).unwrap_or_default();
        if let Some(at) = remembered.get(LATEST) {
            let file = state::directory().map_or_else(|| FILE.into(), |directory| directory.join(FILE).display().to_string());
            past(now, "the last run of dr-delete here", *at, &format!("if that run's clock was wrong, remove {file}"))?;
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
