//! Every check: as it should be, at its limit, beyond it, not known, and not watched.
#![allow(clippy::unwrap_used)]

mod backups;
mod jobs;
mod wal;

use chrono::TimeDelta;
use dr_pipe::record::{Depth, Finding, Job, Kind, Severity, State};

use super::world::{World, replica, slot};
use State::{Critical, Ok, Unknown, Warning};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const LIMIT: i64 = 26 * HOUR;

fn world(objectives: &str) -> World {
    World::new(objectives)
}
