//! Did an older timeline go on, while a newer one stood still where it had left it? Then a moment is one of both, and they differ.

use chrono::{DateTime, Utc};
use dr_pipe::Failure;
use dr_wal::{Lsn, SegmentName, SegmentSize, Timeline};

use crate::choose::Chosen;
use crate::log::Log;
use dr_wal::window::Held;

/// A timeline that had not begun at a moment, and the one it had left, which went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The one that is followed.
    pub newer: Timeline,
    /// The one that went on.
    pub older: Timeline,
    /// Where they part.
    pub at: Lsn,
}

/// The fork on the way at which `moment` finds only the older timeline at work. None where the older one's WAL is not there.
///
/// # Errors
/// As reading WAL.
pub fn standing_at(chosen: &Chosen, moment: DateTime<Utc>, held: &Held, log: &Log<'_>) -> Result<Option<Fork>, Failure> {
    for pair in chosen.way.legs.windows(2) {
        let fork = Fork { newer: pair[1].timeline, older: pair[0].timeline, at: pair[1].from };
        if fork.at < chosen.base.stop || fork.at >= chosen.reach.until {
            continue;
        }
        let own = &chosen.reach.segments[chosen.reach.inside..];
        let own = &own[own.partition_point(|name| name.end(held.size) <= fork.at)..];
        let begins = log.first_end(own, fork.at)?;
        if begins.is_some_and(|at| at <= moment) {
            continue;
        }
        if log.first_end(&behind(fork, held), fork.at)?.is_some_and(|at| at <= moment) {
            return Ok(Some(fork));
        }
    }
    Ok(None)
}

/// The segments of the older timeline from the fork on, up to the first that is not there whole.
fn behind(fork: Fork, held: &Held) -> Vec<SegmentName> {
    let size: SegmentSize = held.size;
    let mut names = Vec::new();
    let mut name = SegmentName::containing(fork.older, fork.at, size);
    while held.whole.contains(&name) {
        names.push(name);
        name = SegmentName::containing(fork.older, name.end(size), size);
    }
    names.extend(held.begun.contains_key(&name).then_some(name));
    names
}
