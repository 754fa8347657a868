//! Are enough stores left, or which failure is ours?

use dr_pipe::{Exit, Failure};

/// The failure that a run ends with where too few stores have the bytes: the one that is least likely to pass by itself.
pub fn worst(failures: Vec<Failure>) -> Option<Failure> {
    failures.into_iter().min_by_key(|failure| rank(failure.exit))
}

/// Lower is worse: what never heals before what somebody must set right, and that before what heals by waiting.
fn rank(exit: Exit) -> usize {
    const ORDER: [Exit; 9] = [
        Exit::Bug,
        Exit::Damaged,
        Exit::Protocol,
        Exit::Config,
        Exit::Denied,
        Exit::Exists,
        Exit::Io,
        Exit::Unavailable,
        Exit::Busy,
    ];
    ORDER.iter().position(|known| *known == exit).unwrap_or(ORDER.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_failure_that_will_not_pass_by_itself_is_told() {
        let failures = [Exit::Busy, Exit::Denied, Exit::Unavailable].map(|exit| Failure::new(exit, "", ""));
        assert_eq!(worst(failures.into()).unwrap().exit, Exit::Denied);
        assert_eq!(worst(Vec::new()), None);
    }
}
