//! Is a moment in the WAL? PostgreSQL stops before the first transaction that ended after it; where none did, it would replay
//! everything and then fail: "recovery ended before configured recovery target was reached".

use chrono::{DateTime, TimeDelta, Utc};
use dr_wal::stamps::Stamp;

use crate::log::Last;

/// Transactions that end at once are written in any order, so that moments go back a little.
const DISORDER: TimeDelta = TimeDelta::seconds(5);

/// How a moment lies to the WAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timed {
    /// A transaction ended after it: PostgreSQL stops there by itself.
    Stops,
    /// No transaction ended after it, and the WAL goes on to it: everything is to be replayed.
    Idle,
    /// The WAL ends before it.
    Beyond,
}

/// How `moment` lies to WAL whose last moments are `last`, and of which it is known that all that was committed by `as_of` is in it.
/// When it was stored says nothing: an archiver may have been behind, and a copy is younger than what it is a copy of.
pub fn judge(moment: DateTime<Utc>, inclusive: bool, last: &Last, as_of: Option<DateTime<Utc>>) -> Timed {
    match last {
        Last { ended: Some(at), .. } if is_after(*at, moment, inclusive) => Timed::Stops,
        Last { sign, .. } if (*sign).max(as_of).is_some_and(|at| at >= moment) => Timed::Idle,
        _ => Timed::Beyond,
    }
}

/// Whether PostgreSQL stops before a transaction that ended at `at`, on its way to `moment`.
pub fn is_after(at: DateTime<Utc>, moment: DateTime<Utc>, inclusive: bool) -> bool {
    if inclusive { at > moment } else { at >= moment }
}

/// Of the ends of transactions in their order: the first after `moment`, where PostgreSQL stops, and the last behind it that is not after
/// the moment. None where there are no such two: else the clock of the server was set back between them.
pub fn set_back<'s>(
    moment: DateTime<Utc>,
    inclusive: bool,
    mut ends: impl Iterator<Item = &'s Stamp>,
) -> Option<(&'s Stamp, &'s Stamp)> {
    let first = ends.find(|stamp| is_after(stamp.at, moment, inclusive))?;
    let last = ends.filter(|stamp| !is_after(stamp.at, moment, inclusive) && first.at - stamp.at > DISORDER).last()?;
    Some((first, last))
}

#[cfg(test)]
mod tests {
    use dr_wal::Lsn;
    use dr_wal::stamps::What;

    use super::*;

    #[test]
    fn a_clock_that_was_set_back_is_told_from_disorder() {
        let end = |second: i64| Stamp { lsn: Lsn(second as u64), what: What::Commit { xid: 1 }, at: at(second) };
        let back = |seconds: &[i64]| {
            let ends: Vec<_> = seconds.iter().map(|second| end(*second)).collect();
            set_back(at(100), true, ends.iter()).map(|(first, last)| (first.lsn.0, last.lsn.0))
        };
        assert_eq!(back(&[90, 100, 101, 102]), None);
        assert_eq!(back(&[90, 101, 99, 102]), None);
        assert_eq!(back(&[90, 3700, 91, 99, 120]), Some((3700, 99)));
        assert_eq!(back(&[]), None);
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("a moment")
    }

    fn judged(ended: i64, sign: i64, as_of: i64) -> Timed {
        let last = Last { ended: Some(at(ended)), sign: Some(at(sign)), record: None };
        judge(at(100), true, &last, Some(at(as_of)))
    }

    #[test]
    fn an_idle_database_is_told_from_wal_that_ends_too_early() {
        assert_eq!(judged(101, 101, 105), Timed::Stops);
        assert_eq!(judged(100, 100, 90), Timed::Idle);
        assert_eq!(judged(50, 120, 60), Timed::Idle);
        assert_eq!(judged(50, 50, 100), Timed::Idle);
        assert_eq!(judged(50, 50, 99), Timed::Beyond);
        let last = Last { ended: Some(at(100)), sign: Some(at(100)), record: None };
        assert_eq!(judge(at(100), false, &last, None), Timed::Stops);
        assert_eq!(judge(at(100), false, &Last::default(), None), Timed::Beyond);
    }
}
