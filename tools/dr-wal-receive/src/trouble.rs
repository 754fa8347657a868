//! Does a failure end the service, or will the next attempt do?

use std::time::Duration;

use dr_pipe::{Exit, Failure};

/// The longest pause between two attempts.
const LONGEST: Duration = Duration::from_secs(60);

/// Why receiving was interrupted.
#[derive(Debug)]
pub enum Trouble {
    /// It will not pass: the service ends.
    Fatal(Failure),
    /// It may pass: the server is away, or another one will answer next time.
    Passing(Failure),
    /// The WAL that is needed next is not on the server any more.
    Removed(Failure),
}

impl Trouble {
    /// The failure itself.
    pub fn failure(self) -> Failure {
        match self {
            Trouble::Fatal(failure) | Trouble::Passing(failure) | Trouble::Removed(failure) => failure,
        }
    }
}

/// What happens on our own disk does not pass.
impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble::Fatal(failure)
    }
}

impl From<dr_postgres::Error> for Trouble {
    fn from(error: dr_postgres::Error) -> Self {
        let removed = error.sqlstate() == Some("58P01");
        let failure = Failure::from(error);
        if removed { Trouble::Removed(failure) } else { Trouble::Passing(failure) }
    }
}

/// Whether a failure of the very first connection may pass; a wrong password will not.
pub fn may_pass(failure: &Failure) -> bool {
    matches!(failure.exit, Exit::Unavailable | Exit::Busy)
}

/// Pauses between attempts that fail: they double, from one second to a minute.
#[derive(Debug, Default)]
pub struct Backoff(u32);

impl Backoff {
    /// The pause after one more failure.
    pub fn pause(&mut self) -> Duration {
        let pause = Duration::from_secs(1) * 2_u32.pow(self.0.min(6));
        self.0 += 1;
        pause.min(LONGEST)
    }

    /// An attempt went well.
    pub fn reset(&mut self) {
        self.0 = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..9).map(|_| backoff.pause().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        backoff.reset();
        assert_eq!(backoff.pause().as_secs(), 1);
    }
}
