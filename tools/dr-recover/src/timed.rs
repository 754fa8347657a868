//! Is a moment in the WAL? PostgreSQL stops before the first transaction that ended after it; where none did, it would replay
//! everything and then fail: "recovery ended before configured recovery target was reached".

use chrono::{DateTime, Utc};

use crate::log::Last;

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
    let after = |at: DateTime<Utc>| if inclusive { at > moment } else { at >= moment };
    match last {
        Last { ended: Some(at), .. } if after(*at) => Timed::Stops,
        Last { sign, .. } if (*sign).max(as_of).is_some_and(|at| at >= moment) => Timed::Idle,
        _ => Timed::Beyond,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
