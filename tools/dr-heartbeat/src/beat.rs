//! Notes how a job has ended that something else has run.

use std::io;
use std::time::Instant;

use dr_pipe::{Exit, Failure, Outcome, stop, warn};

use crate::TOOL;
use crate::args::{Args, usage};
use crate::ended::Ended;
use crate::note::{Begun, note};
use crate::ping::is_given;
use crate::pinger::{News, Ping, Pinger};
use crate::uses::{self, Stored, Uses};

/// Notes the end that was said, or that records on standard input tell of.
pub fn beat(args: &Args) -> Outcome {
    let (job, cluster) = (args.job()?, args.cluster()?);
    stop::hint("nothing was noted");
    let begun = Begun::now(cluster, job);
    let (ended, stored, outcome) = match args.ended()? {
        Some(ended) => (ended, Stored::default(), Ok(Exit::Good)),
        None => told(uses::read(&mut records()?.lock())),
    };
    let run = begun.end(&ended, stored, None);
    let noted = note(args, &run);
    let text = run.message.clone().or_else(|| run.backup.clone()).unwrap_or_default();
    ping(args, &Ping { news: News::End(ended), run: Some(run.run), text, took: None });
    if noted {
        return outcome;
    }
    outcome.and(Err(Failure::new(Exit::Io, "the end of the job could not be noted in full", "see the warnings above")))
}

/// Standard input, if it has something to tell.
fn records() -> Result<io::Stdin, Failure> {
    let input = io::stdin();
    if is_given(&input) {
        return Ok(input);
    }
    Err(usage("how the job ended is not said", "give --exit-status \"$EXIT_STATUS\", or pipe its records into standard input"))
}

/// That the input ends says nothing: a success is what a record says is done.
fn told(uses: Result<Uses, Failure>) -> (Ended, Stored, Outcome) {
    let failed = |exit, why: String, hint: &str| (Ended::Badly(why.clone()), Err(Failure::new(exit, why, hint)));
    let (stored, (ended, outcome)) = match uses {
        Err(failure) => (Stored::default(), (Ended::Badly(failure.message.clone()), Err(failure))),
        Ok(Uses { stored, bad: Some(bad), .. }) => (stored, (Ended::Badly(bad), Ok(Exit::Bad))),
        Ok(Uses { done: 0, .. }) => {
            let why = "no record on standard input tells of work that is done".to_owned();
            (Stored::default(), failed(Exit::Missing, why, "the tool before it in the pipe says why; the job counts as failed"))
        }
        Ok(Uses { stored, .. }) => (stored, (Ended::With(0), Ok(Exit::Good))),
    };
    (ended, stored, outcome)
}

/// Pings where somebody is to be pinged; what fails in it is a warning.
fn ping(args: &Args, ping: &Ping) {
    let pinger = match Pinger::open(args) {
        Ok(None) => return,
        Ok(Some(pinger)) => pinger,
        Err(failure) => return warn(TOOL, format!("nobody is pinged: {} ({})", failure.message, failure.hint)),
    };
    let answers = pinger.send(ping, args.ping_patience()).wait(Instant::now() + args.ping_patience(), || false);
    if answers.is_err() {
        warn(TOOL, "a ping was not answered in time");
    }
    for failure in answers.unwrap_or_else(|some| some).into_iter().filter_map(|(_, answer)| answer.err()) {
        warn(TOOL, format!("{} ({})", failure.message, failure.hint));
    }
}
