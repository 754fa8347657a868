//! Reads decisions, proves that they may be carried out, and does it.

use std::io::Write;

use chrono::Utc;
use dr_pipe::record::{self, Record};
use dr_pipe::{Failure, Outcome, stop, stream};
use dr_store::Store;

use crate::args::Args;
use crate::carry::carry_out;
use crate::clock::Clock;
use crate::decided::{self, Decided};
use crate::lock::Lock;
use crate::plan::{self, DeletePlan, Limits};
use crate::survey::{self, Survey};
use crate::{NOTHING, undelete, unsealed};

/// Does what is asked; nothing is written before all of it is known to be allowed.
pub fn delete(args: Args) -> Outcome {
    stop::hint("every step can be repeated: run it again");
    if let Some(name) = &args.undelete {
        return undelete::undelete(&args, name);
    }
    if args.unsealed {
        let _lock = Lock::take().map_err(|failure| failure.leaving(NOTHING))?;
        return unsealed::remove(&args);
    }
    let unsure = |failure: Failure| failure.leaving(NOTHING);
    let limits = args.grace().map(|grace| Limits { grace, max_age: args.max_age, confirm: args.confirm }).map_err(unsure)?;
    let decided = decisions(&args).map_err(unsure)?;
    // Whoever makes the decisions may take long: others need not wait for him.
    let _lock = Lock::take().map_err(unsure)?;
    let surveys = surveys(&args, decided.as_ref()).map_err(unsure)?;
    let stores: Vec<&Store> = surveys.iter().map(|survey| &survey.store).collect();
    let clock = Clock::prove(Utc::now(), &stores, surveys.iter().flat_map(Survey::times)).map_err(unsure)?;
    let plan = DeletePlan::make(clock, &surveys, decided.as_ref(), limits).map_err(unsure)?;
    carry_out(plan, &mut tell)
}

/// The decisions on standard input; none where only what is marked already is to go.
fn decisions(args: &Args) -> Result<Option<Decided>, Failure> {
    if args.finish {
        return Ok(None);
    }
    let records = record::read(&mut stream::input()?)?;
    decided::sort(records, &args.from, args.cluster.as_deref(), Utc::now()).map(Some)
}

/// Reads what every store holds of the clusters concerned.
fn surveys(args: &Args, decided: Option<&Decided>) -> Result<Vec<Survey>, Failure> {
    survey::apart(args)?;
    let mut surveys: Vec<Survey> = Vec::new();
    for location in &args.from {
        let clusters = match (decided, &args.cluster) {
            (Some(decided), _) => {
                decided.keys().filter(|(store, _)| *store == location.to_string()).map(|(_, it)| it.clone()).collect()
            }
            (None, Some(cluster)) => [cluster.clone()].into(),
            (None, None) => plan::clusters(survey::open(location, args)?.list("")?.iter().map(|listed| listed.key.as_str())),
        };
        for cluster in clusters {
            if surveys.iter().all(|known| known.named() != location.to_string() || known.cluster != cluster) {
                surveys.push(Survey::take(location, &cluster, args)?);
            }
        }
    }
    Ok(surveys)
}

/// Writes a record at once: what was done is known, whatever comes next.
pub fn tell(record: &Record) -> Result<(), Failure> {
    let mut output = stream::records()?;
    let written = record::write(&mut output, record).and_then(|()| output.flush());
    written.map_err(|error| Failure::io("standard output", &error).leaving("what was told before is done: run it again"))
}
