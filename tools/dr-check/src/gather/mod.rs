//! Where do facts come from? From the stores, the server, and this host. Who does not answer is a check that failed.

mod server;
mod stores;

use chrono::{DateTime, Utc};
use dr_pipe::record::{Check, Record, State};
use dr_pipe::{Exit, Failure, runs};

use crate::args::Args;

/// Asks all that were named, and the run history of this host.
///
/// # Errors
/// 64 where the call is wrong; 66 or 78 where a key is none.
pub fn gather(args: &Args, now: DateTime<Utc>) -> Result<Vec<Record>, Failure> {
    let mut records = stores::gather(args, now)?;
    if args.asks_server() {
        records.extend(server::gather(args, now)?);
    }
    match runs::read(&args.cluster) {
        Ok(runs) => records.extend(runs.into_iter().map(|run| Record::Run(Box::new(run)))),
        Err(failure) => records.push(told(args, now, "history", None, Err(failure))),
    }
    Ok(records)
}

/// What a check of this cluster has come to.
fn told(args: &Args, now: DateTime<Utc>, check: &str, subject: Option<String>, outcome: Result<String, Failure>) -> Record {
    let (state, message, hint) = match outcome {
        Ok(message) => (State::Ok, message, None),
        Err(failure) => (State::Critical, failure.message, Some(failure.hint)),
    };
    Record::Check(Box::new(Check {
        check: check.into(),
        state,
        cluster: Some(args.cluster.clone()),
        subject,
        message,
        hint,
        value: None,
        limit: None,
        unit: None,
        since_at: None,
        checked_at: now,
    }))
}

/// Whether the call itself is wrong, so that no answer is to be had.
fn is_of_call(failure: &Failure) -> bool {
    failure.exit == Exit::Usage
}
