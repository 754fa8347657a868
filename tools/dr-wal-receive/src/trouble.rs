//! Does a failure end the service, or will the next attempt do?

use dr_pipe::{Exit, Failure};

/// Why receiving was interrupted.
#[derive(Debug)]
pub enum Trouble {
    /// It will not pass: the service ends.
    Fatal(Failure),
    /// It may pass: the server is away, or another one will answer next time.
    Passing(Failure),
    /// The WAL that is needed next is not on the server any more.
    Removed(Failure),
    /// The server has given up our slot.
    Invalidated(Failure),
}

impl Trouble {
    /// The failure itself.
    pub fn failure(self) -> Failure {
        match self {
            Trouble::Fatal(failure) | Trouble::Passing(failure) | Trouble::Removed(failure) | Trouble::Invalidated(failure) => {
                failure
            }
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
