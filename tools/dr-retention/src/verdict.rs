//! Why does a backup stay?

use crate::Policy;

/// Why a backup stays; it may go where nothing keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Verdict(u64);

/// Its words, in the order of its bits.
const WORDS: [&str; 8] = [
    "clock",
    "newer than now",
    "not verified",
    "signature not checked",
    "not understood",
    "pinned",
    "floor",
    "no rule is about it",
];

/// The first bit of rules.
const RULES: usize = 16;

impl Verdict {
    /// The times that are told of it, or of another of its group, cannot be right.
    pub(crate) const CLOCK: Verdict = Verdict(1);
    /// It is newer than the moment for which is decided.
    pub(crate) const NEWER: Verdict = Verdict(1 << 1);
    /// Nobody has proved its bytes.
    pub(crate) const UNVERIFIED: Verdict = Verdict(1 << 2);
    /// Its signature was not checked.
    pub(crate) const UNSIGNED: Verdict = Verdict(1 << 3);
    /// It says things that are not understood.
    pub(crate) const UNKNOWN: Verdict = Verdict(1 << 4);
    /// It is pinned.
    pub(crate) const PINNED: Verdict = Verdict(1 << 5);
    /// It is one of the last verified ones.
    pub(crate) const FLOOR: Verdict = Verdict(1 << 6);
    /// The policy says nothing about it.
    pub(crate) const NO_RULE: Verdict = Verdict(1 << 7);
    /// It is verified, and counts: no reason to keep it.
    const COUNTS: u64 = 1 << 63;

    /// That of the rule at `place`.
    pub(crate) fn rule(place: usize) -> Self {
        Verdict(1 << (RULES + place))
    }

    pub(crate) fn add(&mut self, other: Verdict) {
        self.0 |= other.0;
    }

    pub(crate) fn count(&mut self) {
        self.0 |= Verdict::COUNTS;
    }

    /// Whether it stays.
    pub fn keeps(self) -> bool {
        self.0 & !Verdict::COUNTS != 0
    }

    /// Whether it is verified, and so counts for rules and the floor.
    pub fn counts(self) -> bool {
        self.0 & Verdict::COUNTS != 0
    }

    /// Why, in words: what keeps it, or what allows it to go.
    pub fn reasons(self, policy: &Policy) -> Vec<String> {
        if !self.keeps() {
            return vec!["no rule keeps it".into()];
        }
        let has = |bit: usize| self.0 >> bit & 1 == 1;
        let fixed = WORDS.iter().enumerate().filter(|(bit, _)| has(*bit)).map(|(_, words)| (*words).to_owned());
        let rules = policy.rules.iter().enumerate().filter(|(place, _)| has(RULES + place)).map(|(_, rule)| rule.words.clone());
        fixed.chain(rules).collect()
    }
}
