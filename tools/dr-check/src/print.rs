//! How is the answer said? To programs as records, to people as a table.

use std::io::{self, BufWriter, Write};

use dr_pipe::record::{self, Check, Record, State};
use dr_pipe::{Failure, table};

/// Prints records.
///
/// # Errors
/// As [`out`].
pub fn records(records: &[Record]) -> Result<(), Failure> {
    out(|mut output| records.iter().try_for_each(|record| record::write(&mut output, record)))
}

/// Prints checks for people, what is worst first.
///
/// # Errors
/// As [`out`].
pub fn table(checks: &[Check]) -> Result<(), Failure> {
    let header = ["STATE", "CHECK", "ABOUT", "SINCE (UTC)", "WHAT WAS FOUND"];
    let mut checks: Vec<&Check> = checks.iter().collect();
    checks.sort_by_key(|check| severity(check.state));
    let row = |check: &&Check| {
        let hint = check.hint.as_deref().map(|hint| format!("; {hint}")).unwrap_or_default();
        [
            word(check.state).into(),
            check.check.clone(),
            check.subject.clone().unwrap_or_else(|| "-".into()),
            check.since_at.map_or_else(|| "-".into(), |at| at.format("%Y-%m-%d %H:%M").to_string()),
            format!("{}{hint}", check.message),
        ]
    };
    out(|output| writeln!(output, "{}", table::table(header, &[], checks.iter().map(row))))
}

/// Prints on standard output. A reader that has seen enough and closes the pipe is no failure.
///
/// # Errors
/// 74 if standard output cannot be written for another reason.
pub fn out(print: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut output = BufWriter::new(dr_pipe::stream::records()?);
    match print(&mut output).and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done.map_err(|error| Failure::io("standard output", &error)),
    }
}

/// How bad a state is, worst first: what is not known may be critical, and is known not to be more.
pub fn severity(state: State) -> usize {
    [State::Critical, State::Unknown, State::Warning, State::Ok].iter().position(|other| *other == state).unwrap_or_default()
}

/// A state as it is shown.
pub fn word(state: State) -> &'static str {
    match state {
        State::Ok => "OK",
        State::Warning => "WARNING",
        State::Critical => "CRITICAL",
        State::Unknown => "UNKNOWN",
    }
}
