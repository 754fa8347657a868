//! The note of a run: the line in the history, and the heartbeat file.

use chrono::{DateTime, Utc};
use dr_pipe::record::{Job, Run};
use dr_pipe::{host, runs, warn};

use crate::args::Args;
use crate::ended::Ended;
use crate::uses::Stored;
use crate::{TOOL, mark};

/// As many bytes of what a job has said go into the history.
pub const MESSAGE_BYTES: usize = 2000;

/// What is known of a run from its beginning.
#[derive(Clone, Debug)]
pub struct Begun {
    /// Its own name.
    pub run: String,
    /// The cluster.
    pub cluster: String,
    /// The job.
    pub job: Job,
    /// When it began.
    pub started_at: DateTime<Utc>,
}

impl Begun {
    /// A run that begins now.
    pub fn now(cluster: &str, job: Job) -> Self {
        Begun { run: uuid::Uuid::new_v4().to_string(), cluster: cluster.into(), job, started_at: Utc::now() }
    }

    /// The run, which ends now.
    pub fn end(self, ended: &Ended, stored: Stored, message: Option<String>) -> Run {
        let words = || match ended {
            Ended::Badly(how) => Some(how.clone()),
            _ => None,
        };
        Run {
            run: self.run,
            cluster: self.cluster,
            job: self.job,
            host: host::name(),
            started_at: self.started_at,
            finished_at: Utc::now(),
            succeeded: ended.is_good(),
            exit_code: if let Ended::With(code) = ended { Some(*code) } else { None },
            signal: if let Ended::By(name) = ended { Some(name.clone()) } else { None },
            backup: stored.backup,
            stored_bytes: stored.bytes,
            message: message.or_else(words),
        }
    }
}

/// Notes a run. What fails in it is a warning: true is how the job ended, and not what we could write. Whether all was written.
pub fn note(args: &Args, run: &Run) -> bool {
    let noted = runs::append(run);
    let marked = if run.succeeded { args.beats().and_then(|directory| mark::write(&directory, run)) } else { Ok(()) };
    let failures: Vec<_> = [noted, marked].into_iter().filter_map(Result::err).collect();
    failures.iter().for_each(|failure| warn(TOOL, format!("{} ({})", failure.message, failure.hint)));
    failures.is_empty()
}
