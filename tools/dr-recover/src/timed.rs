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
    Idle {
        /// Whether the server said so itself, by a checkpoint or the like after the moment. Else it is only known that the WAL
        /// was stored after it.
        proved: bool,
    },
    /// The WAL ends before it.
    Beyond,
}

/// How `moment` lies to WAL whose last moments are `last`, and that was stored completely at `stored_at`.
pub fn judge(moment: DateTime<Utc>, inclusive: bool, last: &Last, stored_at: Option<DateTime<Utc>>) -> Timed {
    let after = |at: DateTime<Utc>| if inclusive { at > moment } else { at >= moment };
    match last {
        Last { ended: Some(at), .. } if after(*at) => Timed::Stops,
        Last { sign: Some(at), .. } if *at >= moment => Timed::Idle { proved: true },
        _ if stored_at.is_some_and(|at| at >= moment) => Timed::Idle { proved: false },
        _ => Timed::Beyond,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("a moment")
    }

    fn judged(ended: i64, sign: i64, stored: i64) -> Timed {
        let last = Last { ended: Some(at(ended)), sign: Some(at(sign)), record: None };
        judge(at(100), true, &last, Some(at(stored)))
    }

    #[test]
    fn an_idle_database_is_told_from_wal_that_ends_too_early() {
        assert_eq!(judged(101, 101, 105), Timed::Stops);
        assert_eq!(judged(100, 100, 90), Timed::Idle { proved: true });
        assert_eq!(judged(50, 120, 130), Timed::Idle { proved: true });
        assert_eq!(judged(50, 50, 100), Timed::Idle { proved: false });
        assert_eq!(judged(50, 50, 99), Timed::Beyond);
        let last = Last { ended: Some(at(100)), sign: Some(at(100)), record: None };
        assert_eq!(judge(at(100), false, &last, None), Timed::Stops);
        assert_eq!(judge(at(100), false, &Last::default(), None), Timed::Beyond);
    }
}
