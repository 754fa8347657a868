//! The whole of it: facts are gathered or read, judged, and printed.

use std::fs::File;
use std::io::{BufReader, IsTerminal};
use std::path::Path;

use chrono::{DateTime, Utc};
use dr_pipe::record::{self, Record, State};
use dr_pipe::{Exit, Failure, Outcome, stream, warn};

use crate::args::Args;
use crate::facts::Facts;
use crate::judge::{Scene, judge};
use crate::memory::Memory;
use crate::objectives::Objectives;
use crate::{TOOL, gather, plugin, print};

/// Says of each objective whether it is met. What cannot be reached is a check that failed, and the others are judged all the same.
pub fn check(args: &Args) -> Outcome {
    let now = args.now.unwrap_or_else(Utc::now);
    let objectives = Objectives::load(args.objectives.as_deref(), &args.cluster)?;
    let records = records(args, now)?;
    if args.facts {
        print::records(&records)?;
        return Ok(Exit::Good);
    }
    let facts = Facts::of(records, &args.cluster);
    if facts.is_empty() {
        let message = format!("there are no facts about cluster {}", args.cluster);
        return Err(Failure::new(Exit::Missing, message, "is the cluster's name right? dr-check --facts prints what there is"));
    }
    let judge = |forgets| judge(Scene::new(&facts, &objectives, Memory::recall(&args.cluster), forgets, now), &args.cluster);
    let mut judged = judge(false);
    if let Err(error) = judged.memory.remember(&args.cluster) {
        warn(TOOL, format!("cannot remember since when things are as they are: {error}"));
        judged = judge(true);
    }
    match () {
        () if args.nagios => plugin::print(&args.cluster, &judged.checks)?,
        () if args.table.wanted() => print::table(&judged.checks)?,
        () => print::records(&judged.checks.iter().cloned().map(|check| Record::Check(Box::new(check))).collect::<Vec<_>>())?,
    }
    let good = judged.checks.iter().all(|check| check.state == State::Ok);
    Ok(if good { Exit::Good } else { Exit::Bad })
}

fn records(args: &Args, now: DateTime<Utc>) -> Result<Vec<Record>, Failure> {
    match &args.file {
        _ if args.gathers() => gather::gather(args, now),
        Some(path) if path != Path::new("-") => {
            let file = File::open(path).map_err(|error| Failure::io(path.display(), &error))?;
            record::read(&mut BufReader::new(file)).map_err(|failure| failure.within(path.display()))
        }
        None if std::io::stdin().is_terminal() => Err(Failure::new(
            Exit::Usage,
            "there is nothing to check",
            "name stores with --from (DR_FROM), a server with --host (PGHOST), or pipe facts into it",
        )),
        _ => record::read(&mut BufReader::new(stream::input()?)),
    }
}
