//! When will `pg_wal` be full? A server whose disk fills stops; so whoever reads its log is told while there is time.

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use dr_wal::SegmentSize;
use indicatif::{HumanBytes, HumanDuration};

use crate::asked::Asked;

/// How many segments are counted at most: 64 GiB of 16 MiB each.
const MOST: usize = 4096;

/// How often a backlog is warned of while archiving works.
const PAUSE: TimeDelta = TimeDelta::minutes(1);

/// What waits to be archived.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Backlog {
    segments: usize,
    bytes: u64,
    /// Time from the first segment's end to the last one's; none where it cannot be told.
    took: Option<Duration>,
    /// Free space where `pg_wal` lies, in bytes.
    free: Option<u64>,
}

/// Whether a backlog is to be warned of again.
pub fn is_due(warned_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    warned_at.is_none_or(|warned_at| (now - warned_at).abs() >= PAUSE)
}

/// How much waits from `asked` on, and when there will be no more room for it.
pub fn forecast(asked: &Asked, size: SegmentSize) -> String {
    let ready = asked.ready_after(size, MOST);
    let ends = asked.identity().zip(ready.last().and_then(Asked::identity));
    let took = ends.and_then(|(first, last)| u64::try_from(last.modified_ns - first.modified_ns).ok());
    let segments = ready.len() + 1;
    let folder = asked.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let free = rustix::fs::statvfs(folder).ok().map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize));
    say(Backlog { segments, bytes: segments as u64 * size.bytes(), took: took.map(Duration::from_nanos), free }, size)
}

fn say(backlog: Backlog, size: SegmentSize) -> String {
    let Backlog { segments, bytes, took, free } = backlog;
    let mut said = match segments {
        1 => format!("1 segment ({}) waits to be archived", HumanBytes(bytes)),
        _ => format!("{segments} segments ({}) wait to be archived", HumanBytes(bytes)),
    };
    let written = size.bytes() as f64 * (segments - 1) as f64;
    let rate = took.map(|took| written / took.as_secs_f64()).filter(|rate| rate.is_finite() && *rate >= 1.0);
    if let Some(rate) = rate {
        said.push_str(&format!("; WAL grows by {} a second", HumanBytes(rate as u64)));
    }
    if let Some(free) = free {
        said.push_str(&format!("; {} are free where pg_wal lies", HumanBytes(free)));
    }
    if let Some((rate, free)) = rate.zip(free) {
        let left = Duration::try_from_secs_f64(free as f64 / rate).unwrap_or(Duration::MAX);
        said.push_str(&format!(": full in about {}", HumanDuration(left)));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f53_a_backlog_is_told_in_bytes_and_time() {
        let backlog = Backlog { segments: 61, bytes: 61 << 24, took: Some(Duration::from_secs(600)), free: Some(10 << 30) };
        assert_eq!(
            say(backlog, SegmentSize::DEFAULT),
            "61 segments (976.00 MiB) wait to be archived; WAL grows by 1.60 MiB a second; 10.00 GiB are free where pg_wal lies: full in about 2 hours"
        );
        let alone = Backlog { segments: 1, bytes: 1 << 24, took: None, free: Some(10 << 30) };
        assert_eq!(
            say(alone, SegmentSize::DEFAULT),
            "1 segment (16.00 MiB) waits to be archived; 10.00 GiB are free where pg_wal lies"
        );
    }
}
