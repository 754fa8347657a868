//! How well are the jobs? As old as their last success is.

use chrono::{DateTime, TimeDelta, Utc};
use dr_pipe::record::{Job, Run};
use dr_pipe::runs;
use serde::Serialize;

use crate::args::{Args, Limit};
use crate::mark;

/// How far a clock may be ahead of ours.
const AHEAD: TimeDelta = TimeDelta::seconds(60);

/// What is answered.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// `ok`, or `failing` where one job is not.
    status: &'static str,
    checked_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    jobs: Vec<Health>,
}

/// How one job is.
#[derive(Debug, Serialize)]
struct Health {
    job: Job,
    ok: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_seconds: Option<i64>,
    max_age_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

/// The last success of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Success {
    at: DateTime<Utc>,
    backup: Option<String>,
    bytes: Option<u64>,
}

impl Answer {
    /// Looks at the heartbeat files, and at the history of the cluster.
    pub fn now(args: &Args) -> Self {
        let history = args.cluster.as_deref().map(runs::read).unwrap_or(Ok(Vec::new()));
        let (history, unread) = match history {
            Ok(runs) => (runs, None),
            Err(failure) => (Vec::new(), Some(failure.message)),
        };
        let checked_at = Utc::now();
        let health = |limit: &Limit| {
            let (success, unmarked) = last_success(args, &history, limit.job);
            hold(*limit, success, unmarked.or(unread.clone()), checked_at)
        };
        let jobs: Vec<_> = args.max_age.iter().map(health).collect();
        let status = if jobs.iter().all(|job| job.ok) { "ok" } else { "failing" };
        Answer { status, checked_at, cluster: args.cluster.clone(), jobs }
    }

    /// Whether all are well.
    pub fn is_good(&self) -> bool {
        self.status == "ok"
    }
}

/// The newest that anything tells of, and why the heartbeat file tells of none.
fn last_success(args: &Args, history: &[Run], job: Job) -> (Option<Success>, Option<String>) {
    let of_file = match args.beats().and_then(|directory| mark::read(&directory, job)) {
        Ok(mark) => Ok(mark),
        Err(failure) => Err(failure.message),
    };
    let unmarked = of_file.as_ref().err().cloned();
    // A file of another cluster says nothing of this one.
    let ours = |cluster: &Option<String>| cluster.is_none() || args.cluster.is_none() || *cluster == args.cluster;
    let mark = of_file.ok().flatten().filter(|mark| ours(&mark.cluster));
    let marked = mark.map(|mark| Success { at: mark.at, backup: mark.backup, bytes: mark.bytes });
    let noted = runs::last_success(history, job);
    let noted = noted.map(|run| Success { at: run.finished_at, backup: run.backup.clone(), bytes: run.stored_bytes });
    // The file has whole seconds: where both tell of one run, they say the same.
    (marked.into_iter().chain(noted).max_by_key(|success| success.at), unmarked)
}

fn hold(limit: Limit, success: Option<Success>, unread: Option<String>, now: DateTime<Utc>) -> Health {
    let age = success.as_ref().map(|success| now - success.at);
    let why = match age {
        None => Some(unread.unwrap_or_else(|| "no success is known".into())),
        Some(age) if age < -AHEAD => Some("it is said to lie in the future: check the clocks".into()),
        Some(age) if age.as_seconds_f64() > limit.seconds => Some("the last success is too long ago".into()),
        Some(_) => None,
    };
    let (at, backup, bytes) = success.map_or((None, None, None), |success| (Some(success.at), success.backup, success.bytes));
    Health {
        job: limit.job,
        ok: why.is_none(),
        why,
        last_success_at: at,
        age_seconds: age.map(|age| age.num_seconds()),
        max_age_seconds: limit.seconds as u64,
        backup,
        bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f95_what_is_old_unknown_or_in_the_future_is_not_well() {
        let now = Utc::now();
        let limit = Limit { job: Job::Dump, seconds: 3600.0 };
        let health = |age| {
            let success = Success { at: now - TimeDelta::seconds(age), backup: None, bytes: None };
            hold(limit, Some(success), None, now)
        };
        assert!(health(0).ok && health(3600).ok && health(-30).ok);
        for (age, why) in [(3601, "too long ago"), (-61, "in the future"), (-1_000_000, "in the future")] {
            let health = health(age);
            assert!(!health.ok && health.why.is_some_and(|said| said.contains(why)), "{age}");
        }
        assert_eq!(hold(limit, None, None, now).why.as_deref(), Some("no success is known"));
        assert_eq!(hold(limit, None, Some("it is torn".into()), now).why.as_deref(), Some("it is torn"));
    }
}
