//! The fingerprint of rows: a count, and a digest that does not depend on their order.

use dr_pipe::Sha256;
use dr_pipe::record::{Fingerprint, Subject};
use sha2::Digest;

/// A sum of row digests modulo 2^256 (after Bellare and Micciancio's AdHash), with the number of rows.
///
/// Sums of parts add up to the sum of the whole, whatever the parts: that is what lets many workers read one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowSum {
    rows: u64,
    /// The sum, least significant limb first.
    limbs: [u64; 4],
}

impl RowSum {
    /// Adds one row: its line of COPY text without the newline.
    pub fn add_row(&mut self, line: &[u8]) {
        self.add_digest(sha2::Sha256::digest(line).into());
    }

    /// Adds one row by the SHA-256 of its line.
    pub fn add_digest(&mut self, digest: [u8; 32]) {
        let mut limbs = [0; 4];
        for (limb, bytes) in limbs.iter_mut().zip(digest.rchunks_exact(8)) {
            *limb = u64::from_be_bytes(bytes.try_into().expect("rchunks_exact(8) gives eight bytes"));
        }
        self.add_limbs(limbs, 1);
    }

    /// Adds all rows of another sum.
    pub fn add(&mut self, other: RowSum) {
        self.add_limbs(other.limbs, other.rows);
    }

    fn add_limbs(&mut self, limbs: [u64; 4], rows: u64) {
        let mut carry = false;
        for (sum, limb) in self.limbs.iter_mut().zip(limbs) {
            let (partial, over) = sum.overflowing_add(limb);
            let (total, over_again) = partial.overflowing_add(carry.into());
            *sum = total;
            carry = over | over_again;
        }
        self.rows += rows;
    }

    /// Number of rows added.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The record of this sum.
    pub fn record(&self, subject: Subject, name: impl Into<String>) -> Fingerprint {
        let mut digest = [0; 32];
        for (bytes, limb) in digest.rchunks_exact_mut(8).zip(self.limbs) {
            bytes.copy_from_slice(&limb.to_be_bytes());
        }
        Fingerprint { subject, name: name.into(), rows: self.rows, digest: Sha256(digest) }
    }
}

/// One difference between two databases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Here only on the left.
    Missing(Fingerprint),
    /// Here only on the right.
    Unexpected(Fingerprint),
    /// On both sides, with another content.
    Changed {
        /// The left side.
        expected: Fingerprint,
        /// The right side.
        found: Fingerprint,
    },
}

impl Difference {
    /// Whose it is.
    pub fn name(&self) -> &str {
        match self {
            Difference::Missing(print) | Difference::Unexpected(print) | Difference::Changed { found: print, .. } => &print.name,
        }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Difference::Missing(left) => write!(f, "{} is missing ({} rows expected)", left.name, left.rows),
            Difference::Unexpected(right) => write!(f, "{} is unexpected ({} rows)", right.name, right.rows),
            Difference::Changed { expected, found } if expected.rows != found.rows => {
                write!(f, "{} has {} rows, {} expected", found.name, found.rows, expected.rows)
            }
            Difference::Changed { found, .. } => {
                write!(f, "{} has the same number of rows, {}, with other content", found.name, found.rows)
            }
        }
    }
}

/// What differs between two lists of fingerprints, in the order of their names; empty where nothing does.
pub fn differences(expected: &[Fingerprint], found: &[Fingerprint]) -> Vec<Difference> {
    let key = |print: &Fingerprint| (print.subject, print.name.clone());
    let mut rest: std::collections::BTreeMap<_, _> = found.iter().map(|print| (key(print), print)).collect();
    let mut all: Vec<_> = expected
        .iter()
        .filter_map(|left| match rest.remove(&key(left)) {
            None => Some((key(left), Difference::Missing(left.clone()))),
            Some(right) if right == left => None,
            Some(right) => Some((key(left), Difference::Changed { expected: left.clone(), found: right.clone() })),
        })
        .collect();
    all.extend(rest.into_iter().map(|(key, right)| (key, Difference::Unexpected(right.clone()))));
    all.sort_by(|left, right| left.0.cmp(&right.0));
    all.into_iter().map(|(_, difference)| difference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_sum_of_one_row_is_its_digest() {
        let mut sum = RowSum::default();
        sum.add_row(b"abc");
        assert_eq!(sum.record(Subject::Table, "t").digest, Sha256::of(b"abc"));
    }

    #[test]
    fn the_sum_carries_and_wraps() {
        let mut sum = RowSum::default();
        sum.add_digest([0xff; 32]);
        let mut one = [0; 32];
        one[31] = 1;
        sum.add_digest(one);
        assert_eq!(sum.record(Subject::Table, "t").digest, Sha256([0; 32]));
        assert_eq!(sum.rows(), 2);
    }

    #[test]
    fn differences_name_what_differs() {
        let print =
            |name: &str, rows| Fingerprint { subject: Subject::Table, name: name.into(), rows, digest: Sha256([rows as u8; 32]) };
        let found = differences(&[print("a", 1), print("b", 2), print("c", 3)], &[print("b", 2), print("c", 4), print("d", 5)]);
        let text: Vec<_> = found.iter().map(Difference::to_string).collect();
        assert_eq!(text, ["a is missing (1 rows expected)", "c has 4 rows, 3 expected", "d is unexpected (5 rows)"]);
    }

    proptest! {
        #[test]
        fn order_and_parts_do_not_matter(rows in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..30), cut in 0_usize..30) {
            let mut whole = RowSum::default();
            rows.iter().for_each(|row| whole.add_row(row));
            let (mut left, mut right) = (RowSum::default(), RowSum::default());
            let cut = cut.min(rows.len());
            rows[cut..].iter().rev().for_each(|row| left.add_row(row));
            rows[..cut].iter().for_each(|row| right.add_row(row));
            left.add(right);
            prop_assert_eq!(left, whole);
        }
    }
}
