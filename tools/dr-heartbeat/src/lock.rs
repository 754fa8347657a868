//! One run of a job at a time. The lock is the kernel's: it ends with whoever held it, however that ended.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound, Utc};
use dr_pipe::record::Job;
use dr_pipe::{runs, state, warn};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::TOOL;

/// How often another run is looked at.
const LOOK: Duration = Duration::from_millis(200);

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
        let end = Instant::now() + wait;
        loop {
            match lock(&directory, &path) {
                Ok(Some(file)) => return Ok(Lock(Some(file))),
                Ok(None) if Instant::now() >= end => return Err(Other { since: holder(&path) }),
                Ok(None) => std::thread::park_timeout(LOOK),
                Err(error) => return nothing(format!("{}: {error}", path.display())),
            }
        }
    }
}

/// None if another run has it.
fn lock(directory: &Path, path: &Path) -> io::Result<Option<File>> {
    fs::create_dir_all(directory)?;
    let mut file = runs::open(OpenOptions::new().create(true).truncate(false).write(true).mode(0o600), path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // Whose it is, is a help, and no need: a disk that is full has no room for it.
            let now = Utc::now().trunc_subsecs(0).to_rfc3339();
            drop(file.set_len(0).and_then(|()| writeln!(file, "{} {now}", std::process::id())));
            Ok(Some(file))
        }
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn holder(path: &Path) -> Option<(u32, DateTime<Utc>)> {
    let text = fs::read_to_string(path).ok()?;
    let (pid, since) = text.trim_end().split_once(' ')?;
    Some((pid.parse().ok()?, DateTime::parse_from_rfc3339(since).ok()?.to_utc()))
}
