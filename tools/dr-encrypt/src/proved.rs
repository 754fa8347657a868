//! Is there still somebody who can decrypt? Only a drill shows that a recipient's key was not lost.

use chrono::{DateTime, TimeDelta, Utc};
use dr_pipe::drilled::Drilled;

/// Of a recipient as many characters are said; ssh-rsa keys are long.
const SAID_CHARACTERS: usize = 62;

/// A warning for each recipient that no drill has proved in the time of `age` before `now`.
pub fn complaints<'a>(
    recipients: &'a [String],
    drilled: &'a Drilled,
    age: TimeDelta,
    now: DateTime<Utc>,
) -> impl Iterator<Item = String> + 'a {
    recipients.iter().filter_map(move |recipient| {
        let key: String = recipient.chars().take(SAID_CHARACTERS).collect();
        let said = match drilled.at(recipient) {
            None => "no drill is known to have restored what it can decrypt".to_owned(),
            // A drill that is still to come is one under another clock.
            Some(at) if at > now => format!("the drill that proved it ended in the future, at {}", second(at)),
            Some(at) if now - at > age => format!("the last drill that proved it ended at {}, too long ago", second(at)),
            Some(_) => return None,
        };
        Some(format!("recipient {key}: {said}; its identity may be lost: run a drill with it, or see dr-report(1)"))
    })
}

fn second(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}
