//! Could every channel be told? Looked at before something is wrong, without a notice to anybody.

use std::io::{BufWriter, Write};

use chrono::Utc;
use dr_pipe::record::{self, Check, Record, State};
use dr_pipe::{Exit, Failure, Outcome, stream};

use crate::args::Args;
use crate::channel::{self, Described};

/// The name of its checks.
const CHECK: &str = "channels";

/// Prints a check of each channel, and one more where none takes notices of the cluster. 0: none is critical.
pub fn preflight(args: &Args) -> Outcome {
    let checks = match channel::each(&args.channel, &args.channels) {
        Ok(channels) => of_channels(args, channels),
        Err(nobody) => vec![bad(args, None, State::Warning, nobody)],
    };
    let exit = if checks.iter().any(|check| check.state > State::Warning) { Exit::Bad } else { Exit::Good };
    let mut output = BufWriter::new(stream::records()?);
    let mut records = checks.into_iter().map(|check| Record::Check(Box::new(check)));
    let printed = records.try_for_each(|check| record::write(&mut output, &check)).and_then(|()| output.flush());
    printed.map_err(|error| Failure::io("standard output", &error))?;
    Ok(exit)
}

fn of_channels(args: &Args, channels: Vec<Described>) -> Vec<Check> {
    let cluster = args.cluster.as_deref();
    let (mut checks, mut sound, mut heard) = (Vec::new(), 0, false);
    for (name, channel) in channels {
        checks.push(match channel.and_then(|channel| channel.look().map(|()| channel)) {
            Ok(channel) => {
                sound += 1;
                heard |= channel.takes(cluster);
                check(args, Some(name), State::Ok, "it can be read, by nobody else, and says all that it must", None)
            }
            Err(failure) => bad(args, Some(name), State::Critical, failure),
        });
    }
    if let (Some(cluster), true, false) = (cluster, sound > 0, heard) {
        let message = format!("no channel takes notices of cluster {cluster}");
        let hint = "add it to the clusters of a channel, or name none there";
        checks.push(bad(args, None, State::Warning, Failure::new(Exit::Config, message, hint)));
    }
    checks
}

fn bad(args: &Args, subject: Option<String>, state: State, Failure { message, hint, .. }: Failure) -> Check {
    check(args, subject, state, &message, Some(hint))
}

fn check(args: &Args, subject: Option<String>, state: State, message: &str, hint: Option<String>) -> Check {
    Check {
        check: CHECK.into(),
        state,
        cluster: args.cluster.clone(),
        subject,
        message: message.into(),
        hint,
        value: None,
        limit: None,
        unit: None,
        since_at: None,
        checked_at: Utc::now(),
    }
}
