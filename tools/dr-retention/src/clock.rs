//! Can the times that are told of backups be right?

use crate::catalogue::Row;

const SECOND: i64 = 1_000_000;
/// How far clocks may be apart.
const SKEW: i64 = 5 * 60 * SECOND;
/// How long two runs of one backup may overlap: only then is the one that shows the older moment stored later.
const OVERLAP: i64 = 24 * 3600 * SECOND;

/// Whether a sequence is that of the moment at which a backup was stored.
pub(crate) fn is_sequence(sequence: u64, stored_at: i64) -> bool {
    let micros = i64::try_from(sequence).ok().and_then(|millis| millis.checked_mul(1000));
    micros.is_some_and(|micros| micros.abs_diff(stored_at) <= SKEW.unsigned_abs())
}

/// Whether a backup comes from a future that no skew explains.
pub(crate) fn is_future(row: &Row, now: i64) -> bool {
    row.taken_at.max(row.stored_at) > now.saturating_add(SKEW)
}

/// Whether a backup is a little newer than now.
pub(crate) fn is_newer(row: &Row, now: i64) -> bool {
    row.taken_at.max(row.stored_at) > now
}

/// Whether a backup shows a moment after that at which it was stored.
pub(crate) fn is_before_its_time(row: &Row) -> bool {
    row.taken_at > row.stored_at.saturating_add(SKEW)
}

/// Which of `count` rows, newest first, contradict another: of two, the one that shows the moment more than a day older was stored
/// later. Nobody can tell which of the two is wrong.
pub(crate) fn contradictions(count: usize, row: impl Fn(usize) -> Row) -> Vec<bool> {
    let mut found = vec![false; count];
    let (mut newer, mut first_stored) = (0, i64::MAX);
    for (place, found) in found.iter_mut().enumerate() {
        let Row { taken_at, stored_at, .. } = row(place);
        while row(newer).taken_at > taken_at.saturating_add(OVERLAP) {
            first_stored = first_stored.min(row(newer).stored_at);
            newer += 1;
        }
        *found = first_stored < stored_at;
    }
    let (mut older, mut last_stored) = (count, i64::MIN);
    for (place, found) in found.iter_mut().enumerate().rev() {
        let Row { taken_at, stored_at, .. } = row(place);
        while row(older - 1).taken_at < taken_at.saturating_sub(OVERLAP) {
            older -= 1;
            last_stored = last_stored.max(row(older).stored_at);
        }
        *found |= last_stored > stored_at;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600 * SECOND;

    fn row(taken_at: i64, stored_at: i64) -> Row {
        Row { taken_at: taken_at * HOUR, stored_at: stored_at * HOUR, group: 0, tags: 0 }
    }

    #[test]
    fn f87_a_sequence_is_in_milliseconds() {
        assert!(is_sequence(1_000, SECOND) && is_sequence(1_000, SECOND + SKEW) && !is_sequence(1_000, SECOND + SKEW + 1));
        assert!(!is_sequence(u64::MAX, SECOND) && !is_sequence(i64::MAX as u64, SECOND));
    }

    #[test]
    fn f87_a_backup_that_was_dated_back_contradicts_those_that_were_stored_since() {
        let found = |rows: &[(i64, i64)]| contradictions(rows.len(), |place| row(rows[place].0, rows[place].1));
        // One a night; the second was stored after the fourth.
        assert_eq!(found(&[(96, 97), (72, 73), (48, 49), (24, 25)]), [false; 4]);
        assert_eq!(found(&[(96, 97), (72, 73), (48, 90), (24, 25)]), [false; 4], "a run may last");
        assert_eq!(found(&[(96, 97), (72, 73), (48, 98), (24, 25)]), [true, false, true, false]);
        assert_eq!(found(&[(96, 97), (72, 73), (48, 49), (0, 98)]), [true, true, true, true]);
        assert_eq!(found(&[]), [false; 0]);
        let extremes = [row(0, 0), Row { taken_at: i64::MIN, stored_at: i64::MAX, group: 0, tags: 0 }];
        assert_eq!(contradictions(2, |place| extremes[place]), [true; 2]);
    }

    /// Against every pair.
    #[test]
    fn f87_contradictions_are_those_of_pairs() {
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            i64::try_from((state >> 33) % below).unwrap_or(0)
        };
        for _ in 0..2000 {
            let mut rows: Vec<Row> = (0..random(9)).map(|_| row(random(96), random(96))).collect();
            rows.sort_by_key(|row| std::cmp::Reverse(row.taken_at));
            let apart = |a: &Row, b: &Row| a.taken_at > b.taken_at + OVERLAP && a.stored_at < b.stored_at;
            let pairs: Vec<bool> = rows.iter().map(|a| rows.iter().any(|b| apart(a, b) || apart(b, a))).collect();
            assert_eq!(contradictions(rows.len(), |place| rows[place]), pairs, "{rows:?}");
        }
    }
}
