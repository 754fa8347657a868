//! One run of a job at a time. The lock is the kernel's: it ends with whoever held it, however that ended.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};
use dr_pipe::record::Job;
use dr_pipe::{Failure, lock, state, warn};

use crate::TOOL;

/// Held until it is dropped. None inside where there is no place for it, of which it warns: that is no reason not to back up.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "it is held")] Option<File>);

/// Another run, at work.
#[derive(Debug, PartialEq, Eq)]
pub struct Other {
    /// Its process, and when it began, as far as it could say so.
    pub since: Option<(u32, DateTime<Utc>)>,
}

impl Lock {
    /// Takes the lock of a job of a cluster; waits for it so long.
    ///
    /// # Errors
    /// Where another run has it.
    pub fn take(cluster: &str, job: Job, wait: Duration) -> Result<Lock, Other> {
        let nothing = |why: String| {
            warn(TOOL, format!("nothing keeps two runs of {job} apart: {why}"));
            Ok(Lock(None))
        };
        let Some(directory) = state::directory() else { return nothing("no state directory: set DR_STATE".into()) };
        let path = directory.join(format!("run-{cluster}-{job}.lock"));
        match state::make(&directory).and_then(|()| lock::wait(&path, wait)) {
            Ok(Some(file)) => {
                lock::sign(&file, &format!("{} {}", std::process::id(), Utc::now().trunc_subsecs(0).to_rfc3339()));
                Ok(Lock(Some(file)))
            }
            Ok(None) => Err(Other { since: holder(&path) }),
            Err(Failure { message, hint, .. }) => nothing(format!("{message} ({hint})")),
        }
    }
}

fn holder(path: &Path) -> Option<(u32, DateTime<Utc>)> {
    let text = fs::read_to_string(path).ok()?;
    let (pid, since) = text.trim_end().split_once(' ')?;
    Some((pid.parse().ok()?, DateTime::parse_from_rfc3339(since).ok()?.to_utc()))
}
