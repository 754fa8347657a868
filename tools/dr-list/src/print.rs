//! How do backups look: to people a table, to programs JSON Lines?

use std::io::{self, BufWriter, Write};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use dr_pipe::record::{self, Backup, Kind, Record, SignatureState};
use dr_pipe::{Failure, table, words};
use indicatif::HumanBytes;

use crate::estimate::Estimates;

/// A backup to be shown.
pub struct Row {
    /// The backup.
    pub backup: Backup,
    /// In how many of the stores that were named it lies.
    pub copies: usize,
}

/// Prints backups on standard output: as a table where there are estimates of how long they take to restore.
///
/// # Errors
/// As [`out`].
pub fn rows(rows: &[Row], estimates: Option<&Estimates>, now: DateTime<Utc>) -> Result<(), Failure> {
    out(|output| match estimates {
        Some(estimates) => writeln!(output, "{}", table(rows, estimates, now)),
        None => json(rows, output),
    })
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

fn json(rows: &[Row], mut output: &mut dyn Write) -> io::Result<()> {
    rows.iter().try_for_each(|row| record::write(&mut output, &Record::Backup(Box::new(row.backup.clone()))))
}

const HEADER: [&str; 11] =
    ["NAME", "TAKEN (UTC)", "AGE", "KIND", "DATABASE", "PLAIN", "STORED", "ROWS", "RESTORE", "SIGNATURE", "STORES"];

fn table(rows: &[Row], estimates: &Estimates, now: DateTime<Utc>) -> String {
    let numbers = ["AGE", "PLAIN", "STORED", "ROWS", "RESTORE", "STORES"];
    table::table(HEADER, &numbers, rows.iter().map(|row| cells(row, estimates, now)))
}

fn cells(Row { backup, copies }: &Row, estimates: &Estimates, now: DateTime<Utc>) -> [String; 11] {
    let manifest = &backup.manifest;
    let produced = &manifest.produced;
    let unknown = || "-".to_owned();
    [
        manifest.name.clone(),
        second(manifest.kind, manifest.taken_at).format("%Y-%m-%d %H:%M:%S").to_string(),
        // Where the clocks disagree.
        if manifest.taken_at > now { "future".into() } else { words::age(now - manifest.taken_at) },
        manifest.kind.to_string(),
        produced.database.clone().unwrap_or_else(unknown),
        produced.plain_bytes.map_or_else(unknown, |bytes| HumanBytes(bytes).to_string()),
        HumanBytes(manifest.bytes).to_string(),
        produced.rows.map_or_else(unknown, |rows| rows.to_string()),
        estimates.of(manifest),
        match backup.signature {
            SignatureState::Good => "good".into(),
            SignatureState::Unchecked => "unchecked".into(),
        },
        copies.to_string(),
    ]
}

/// The moment that a backup shows, as a whole second. A base shows its end: any second before it could not be recovered to.
fn second(kind: Kind, moment: DateTime<Utc>) -> DateTime<Utc> {
    let whole = moment.trunc_subsecs(0);
    if kind == Kind::Base && whole < moment { whole + TimeDelta::seconds(1) } else { whole }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_end_of_a_base_is_never_shown_as_a_moment_before_it() {
        let shown = |kind, text: &str| second(kind, text.parse().unwrap()).format("%H:%M:%S").to_string();
        assert_eq!(shown(Kind::Base, "2026-01-25T02:00:00Z"), "02:00:00");
        assert_eq!(shown(Kind::Base, "2026-01-25T02:59:59.000001Z"), "03:00:00");
        assert_eq!(shown(Kind::Dump, "2026-01-25T02:59:59.999Z"), "02:59:59");
    }
}
