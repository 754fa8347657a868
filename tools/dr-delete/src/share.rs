//! Would too much go at once? More than a fifth needs somebody who knows the number.

use dr_pipe::{Exit, Failure};

/// So many backups are never many.
const FEW_BACKUPS: u64 = 1;
/// So many segments are never many: 160 MiB of log, usually.
const FEW_SEGMENTS: u64 = 10;

/// How many of what is there a run marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many it marks.
    pub going: u64,
    /// How many were marked by an earlier run with these decisions, or are gone.
    pub before: u64,
    /// How many are there that are not marked.
    pub there: u64,
}

impl Share {
    /// Whether it is more than a fifth. `few` are never many, however few there are.
    fn is_large(self, few: u64) -> bool {
        self.going > few && self.going * 5 > self.there
    }
}

/// What a run marks, in all stores.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    /// Backups and segments, of one cluster in one store each.
    of: Vec<(String, Share, Share)>,
}

impl Shares {
    /// Adds one cluster of one store, named by `place`.
    pub fn add(&mut self, place: String, backups: Share, segments: Share) {
        self.of.push((place, backups, segments));
    }

    /// How many backups and segments it marks.
    fn going(&self) -> u64 {
        self.of.iter().map(|(_, backups, segments)| backups.going + segments.going).sum()
    }

    /// The same, and those that an earlier run with these decisions has marked.
    fn asked(&self) -> u64 {
        self.of.iter().map(|(_, backups, segments)| backups.before + segments.before).sum::<u64>() + self.going()
    }

    /// Passes where it is little, or `confirm` is the number.
    ///
    /// # Errors
    /// 80, with the number.
    pub fn judge(&self, confirm: Option<u64>) -> Result<(), Failure> {
        let (going, asked) = (self.going(), self.asked());
        match confirm {
            Some(number) if going == 0 || number == going || number == asked => Ok(()),
            Some(number) => {
                let message = format!("--confirm {number}, but {going} backups and segments would be marked");
                Err(Failure::new(
                    Exit::Refused,
                    message,
                    format!("look at the decisions again; if they are right: --confirm {going}"),
                ))
            }
            None => match self
                .of
                .iter()
                .find(|(_, backups, segments)| backups.is_large(FEW_BACKUPS) || segments.is_large(FEW_SEGMENTS))
            {
                None => Ok(()),
                Some((place, backups, segments)) => {
                    let (of_backups, of_segments) =
                        (format!("{} of {}", backups.going, backups.there), format!("{} of {}", segments.going, segments.there));
                    let message = format!("{place}: {of_backups} backups and {of_segments} segments would go at once");
                    Err(Failure::new(Exit::Refused, message, format!("if that is meant: --confirm {going}")))
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn judge(backups: (u64, u64), segments: (u64, u64), confirm: Option<u64>) -> bool {
        let share = |(going, there)| Share { going, before: 0, there };
        let mut shares = Shares::default();
        shares.add("main in s".into(), share(backups), share(segments));
        shares.judge(confirm).is_ok()
    }

    #[test]
    fn f90_a_fifth_goes_and_more_needs_its_number() {
        assert!(judge((2, 10), (20, 100), None) && judge((1, 3), (10, 12), None) && judge((0, 0), (0, 9), None));
        for (backups, segments) in [((3, 10), (0, 0)), ((0, 10), (21, 100)), ((0, 10), (11, 14)), ((2, 4), (0, 0))] {
            assert!(!judge(backups, segments, None), "{backups:?} {segments:?}");
            let number = backups.0 + segments.0;
            assert!(judge(backups, segments, Some(number)) && !judge(backups, segments, Some(number + 1)));
        }
        assert!(!judge((1, 10), (0, 0), Some(2)), "a number that is wrong is wrong, needed or not");
    }

    #[test]
    fn f91_a_second_run_takes_the_number_of_the_first() {
        let mut shares = Shares::default();
        shares.add("main in s".into(), Share { going: 4, before: 3, there: 9 }, Share::default());
        assert!(shares.judge(Some(7)).is_ok() && shares.judge(Some(4)).is_ok() && shares.judge(Some(5)).is_err());
    }
}
