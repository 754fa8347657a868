//! How did a job end?

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use dr_pipe::{Exit, Failure};

use crate::args::usage;

/// The end of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    With(i32),
    /// By a signal, such as TERM.
    By(String),
    /// In another way that is no success: this says how.
    Badly(String),
}

impl Ended {
    /// The end of a process.
    pub fn of(status: ExitStatus) -> Self {
        match status.signal() {
            Some(signal) => Ended::By(name(signal)),
            None => Ended::With(status.code().unwrap_or_default()),
        }
    }

    /// What systemd says of a service: `$EXIT_STATUS`, which has the name of a signal where one ended it, and
    /// `$SERVICE_RESULT`, which may know better.
    ///
    /// # Errors
    /// 64 where the status is neither a code nor a name.
    pub fn said(status: &str, result: Option<&str>) -> Result<Self, Failure> {
        let result = result.filter(|result| *result != "success");
        let named = |status: &str| {
            let name = status.strip_prefix("SIG").unwrap_or(status);
            let legal = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "+-".contains(c);
            (name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(legal)).then(|| Ended::By(name.to_owned()))
        };
        match (status.parse::<u8>(), result) {
            (Ok(0), Some(result)) => Ok(Ended::Badly(format!("the service manager says {result}"))),
            (Ok(code), _) => Ok(Ended::With(code.into())),
            // systemd does so where the process was never started.
            (Err(_), _) if status.is_empty() => Ok(Ended::Badly("it was never started".into())),
            (Err(_), _) => named(status).ok_or_else(|| {
                usage("--exit-status is neither 0 to 255 nor the name of a signal", "give \"$EXIT_STATUS\" of systemd, or $?")
            }),
        }
    }

    /// Whether it was a success.
    pub fn is_good(&self) -> bool {
        *self == Ended::With(0)
    }

    /// What whoever called us sees.
    pub fn code(&self) -> u8 {
        match self {
            Ended::With(code) => u8::try_from(*code).unwrap_or(Exit::Bad.code()),
            Ended::By(_) => Exit::Busy.code(),
            Ended::Badly(_) => Exit::Bad.code(),
        }
    }

    /// In words that follow a name; none for a success.
    pub fn words(&self) -> Option<String> {
        match self {
            Ended::With(0) => None,
            Ended::With(code) => Some(format!("exited with {code}")),
            Ended::By(signal) => Some(format!("was killed by SIG{signal}")),
            Ended::Badly(how) => Some(format!("failed: {how}")),
        }
    }
}

/// The name of a signal, without SIG.
pub fn name(signal: i32) -> String {
    let name = signal_hook::low_level::signal_name(signal);
    name.map_or_else(|| signal.to_string(), |name| name.trim_start_matches("SIG").to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_systemd_says_is_a_success_only_if_all_of_it_is() {
        let said = |status, result| Ended::said(status, result).unwrap();
        assert!(said("0", None).is_good() && said("0", Some("success")).is_good());
        assert_eq!(said("TERM", Some("signal")), Ended::By("TERM".into()));
        assert_eq!(said("SIGKILL", None), Ended::By("KILL".into()));
        assert_eq!(said("RTMIN+3", None), Ended::By("RTMIN+3".into()));
        assert_eq!(said("75", Some("success")), Ended::With(75));
        assert_eq!(said("", Some("resources")), Ended::Badly("it was never started".into()));
        for (status, result) in [("0", Some("timeout")), ("0", Some("watchdog")), ("143", None), ("1", None), ("", None)] {
            assert!(!said(status, result).is_good(), "{status} {result:?}");
        }
        for wrong in ["-1", "256", "ok", "0 ", "$EXIT_STATUS", "Term"] {
            assert_eq!(Ended::said(wrong, None).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }
}
