//! The verb: read everything at one snapshot; print what it is, or hold it against what it should be.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;

use dr_pipe::record::{self, Fingerprint, Record};
use dr_pipe::{Exit, Failure, Outcome};
use dr_postgres::fingerprint::{Difference, differences};
use dr_postgres::reading;

use crate::args::Args;

const TOOL: &str = "dr-fingerprint";

/// How many differences are named.
const NAMED: usize = 20;

/// Fingerprints the database that `args` name. Prints the records to `output`, or compares them with `--against`.
pub fn fingerprint(args: &Args, output: &mut impl Write) -> Outcome {
    // What it is held against is read first: a wrong file should not cost an hour of reading.
    let expected = args.against.as_deref().map(expected).transpose()?;
    let conn = args.connect.resolve(TOOL, args.database.as_deref())?;
    let found = reading::fingerprints(TOOL, &conn, &args.scope, &args.snapshot, args.jobs.workers())?;
    match expected {
        Some(expected) => judge(&expected, &differences(&expected, &found)),
        None => print(found, output),
    }
}

fn print(found: Vec<Fingerprint>, output: &mut impl Write) -> Outcome {
    for fingerprint in found {
        record::write(output, &Record::Fingerprint(fingerprint)).map_err(|error| Failure::io("standard output", &error))?;
    }
    output.flush().map_err(|error| Failure::io("standard output", &error))?;
    Ok(Exit::Good)
}

fn judge(expected: &[Fingerprint], differences: &[Difference]) -> Outcome {
    if differences.is_empty() {
        return Ok(Exit::Good);
    }
    let all = expected.len() + differences.iter().filter(|difference| matches!(difference, Difference::Unexpected(_))).count();
    let named: Vec<_> = differences.iter().take(NAMED).map(Difference::to_string).collect();
    let more = differences.len().saturating_sub(NAMED);
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    Err(Failure::new(
        Exit::Bad,
        format!("{} of {} fingerprints differ: {}{rest}", differences.len(), all, named.join("; ")),
        "the databases differ, or one was written to meanwhile: compare again at rest",
    ))
}

/// Reads the fingerprint records of a file; other records are passed over.
fn expected(path: &Path) -> Result<Vec<Fingerprint>, Failure> {
    let records = if path == Path::new("-") {
        record::read(&mut dr_pipe::stream::input()?)?
    } else {
        let file = File::open(path).map_err(|error| Failure::io(path.display(), &error))?;
        record::read(&mut BufReader::new(file)).map_err(|failure| failure.within(path.display()))?
    };
    let prints: Vec<_> =
        records.into_iter().filter_map(|record| if let Record::Fingerprint(print) = record { Some(print) } else { None }).collect();
    if prints.is_empty() {
        return Err(Failure::new(
            Exit::Missing,
            format!("{} holds no fingerprint records", path.display()),
            "make some with dr-fingerprint, or take fingerprint.jsonl from a dump",
        ));
    }
    Ok(prints)
}
