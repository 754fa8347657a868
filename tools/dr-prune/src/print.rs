//! How do decisions look: to people a table, to programs JSON Lines?

use std::collections::HashMap;
use std::io::{self, BufWriter, IsTerminal, Write};

use chrono::{DateTime, Utc};
use dr_pipe::record::{Action, Kind};
use dr_pipe::{Failure, table};
use dr_retention::{Catalogue, Decisions, Known, Policy, Verdict, WalDecision};
use indicatif::HumanBytes;
use serde::Serialize;

/// Everything that is to be shown.
pub struct Shown<'a> {
    /// What there is.
    pub catalogue: &'a Catalogue,
    /// What was decided about it.
    pub decisions: &'a Decisions<'a>,
    /// By which policy.
    pub policy: &'a Policy,
    /// For which moment.
    pub now: DateTime<Utc>,
}

/// Prints every decision on standard output: those about backups, then those about WAL. A terminal's standard error gets the sum. A
/// reader that has seen enough and closes the pipe is no failure.
///
/// # Errors
/// 74 if standard output cannot be written for another reason.
pub fn decisions(shown: &Shown<'_>, as_table: bool) -> Result<(), Failure> {
    let mut output = BufWriter::with_capacity(dr_pipe::stream::CHUNK_BYTES, dr_pipe::stream::records()?);
    let written = if as_table { writeln!(output, "{}", table(shown)) } else { json(shown, &mut output) };
    match written.and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        done => done.map_err(|error| Failure::io("standard output", &error))?,
    }
    if io::stderr().is_terminal() {
        // Where a terminal has gone away there is nobody left to tell.
        drop(writeln!(io::stderr(), "{}", sum(shown)));
    }
    Ok(())
}

/// [`dr_pipe::record::Decision`], borrowed.
#[derive(Serialize)]
#[serde(tag = "type", rename = "decision")]
struct Line<'a> {
    action: Action,
    reasons: &'a [String],
    store: &'a str,
    cluster: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeline: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<&'a str>,
    decided_at: &'a str,
}

fn json(shown: &Shown<'_>, output: &mut impl Write) -> io::Result<()> {
    // As every record has it.
    let now = serde_json::to_value(shown.now)?;
    let decided_at = now.as_str().unwrap_or_default();
    let mut known = HashMap::new();
    for place in shown.catalogue.backups() {
        let (backup, verdict) = (shown.catalogue.backup(place), shown.decisions.backups[place]);
        let reasons: &Vec<String> = known.entry(verdict).or_insert_with(|| verdict.reasons(shown.policy));
        let mut digest = [0; 64];
        hex::encode_to_slice(backup.sha256.0, &mut digest).expect("two digits for each byte");
        let line = Line {
            action: action(verdict.keeps()),
            reasons,
            store: backup.store,
            cluster: backup.cluster,
            kind: Some(backup.kind),
            name: Some(backup.name),
            sha256: std::str::from_utf8(&digest).ok(),
            verified: Some(verdict.counts()),
            timeline: None,
            first: None,
            last: None,
            decided_at,
        };
        write(output, &line)?;
    }
    for WalDecision { range, keep, reasons } in &shown.decisions.wal {
        let line = Line {
            action: action(*keep),
            reasons,
            store: range.store,
            cluster: range.cluster,
            kind: None,
            name: None,
            sha256: None,
            verified: None,
            timeline: Some(range.timeline),
            first: Some(&range.first),
            last: Some(&range.last),
            decided_at,
        };
        write(output, &line)?;
    }
    Ok(())
}

fn write(output: &mut impl Write, line: &Line<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *output, line)?;
    output.write_all(b"\n")
}

fn action(keep: bool) -> Action {
    if keep { Action::Keep } else { Action::Delete }
}

const HEADER: [&str; 7] = ["ACTION", "NAME", "TAKEN (UTC)", "KIND", "STORE", "VERIFIED", "WHY"];

fn table(shown: &Shown<'_>) -> String {
    let backups = shown.catalogue.backups();
    let backups = backups.map(|place| backup(&shown.catalogue.backup(place), shown.decisions.backups[place], shown.policy));
    table::table(HEADER, &[], backups.chain(shown.decisions.wal.iter().map(wal)))
}

fn backup(backup: &Known<'_>, verdict: Verdict, policy: &Policy) -> [String; 7] {
    [
        word(verdict.keeps()).into(),
        backup.name.into(),
        backup.taken_at.format("%Y-%m-%d %H:%M:%S").to_string(),
        backup.kind.to_string(),
        backup.store.into(),
        if verdict.counts() { "yes" } else { "no" }.into(),
        verdict.reasons(policy).join(", "),
    ]
}

fn wal(WalDecision { range, keep, reasons }: &WalDecision<'_>) -> [String; 7] {
    let name = if range.first == range.last { range.first.clone() } else { format!("{} to {}", range.first, range.last) };
    let none = || "-".to_owned();
    [word(*keep).into(), name, none(), "wal".into(), range.store.into(), none(), reasons.join(", ")]
}

fn word(keep: bool) -> &'static str {
    if keep { "keep" } else { "delete" }
}

/// How many may go, and how much that is.
fn sum(shown: &Shown<'_>) -> String {
    let going = || shown.catalogue.backups().filter(|place| !shown.decisions.backups[*place].keeps());
    let wal = || shown.decisions.wal.iter().filter(|decision| !decision.keep);
    let backup_bytes: u64 = going().map(|place| shown.catalogue.backup(place).bytes).fold(0, u64::saturating_add);
    let bytes = wal().map(|decision| decision.range.bytes).fold(backup_bytes, u64::saturating_add);
    let of_wal = if wal().next().is_some() { " with WAL" } else { "" };
    format!("{} of {} may go, {}{of_wal}", going().count(), shown.catalogue.backups().count(), HumanBytes(bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use dr_pipe::Sha256;
    use dr_pipe::record::{self, Decision, Record};

    use super::*;

    #[test]
    fn what_may_go_is_said_in_one_line() {
        let mut intake = dr_retention::Intake::default();
        for day in 1..=9 {
            let record = format!(
                r#"{{"type":"verified","store":"a","cluster":"main","kind":"dump","name":"main_dump_{day}","format":1,
                "signature":"good","sha256":"{}","bytes":1048576,"taken_at":"2026-01-0{day}T00:00:00Z","good":true,"depth":"bytes",
                "stored_at":"2026-01-0{day}T00:00:00Z","sequence":{},"produced":{{}}}}"#,
                Sha256::of(b""),
                1_767_225_600_000_u64 + (day - 1) * 86_400_000
            );
            crate::line::Line::parse(record.as_bytes()).unwrap().add_to(&mut intake).unwrap();
        }
        let catalogue = intake.finish().unwrap();
        let policy = Policy { rules: vec![dr_retention::Rule::within("1h".parse().unwrap())], floor: 2, ..Policy::default() };
        let now = "2026-01-31T00:00:00Z".parse().unwrap();
        let decisions = dr_retention::decide(&catalogue, &policy, now);
        assert_eq!(sum(&Shown { catalogue: &catalogue, decisions: &decisions, policy: &policy, now }), "7 of 9 may go, 7.00 MiB");
    }

    #[test]
    fn a_line_is_a_decision() {
        let now: DateTime<Utc> = "2026-01-25T02:00:00.123Z".parse().unwrap();
        let whole = Decision {
            action: Action::Delete,
            reasons: vec!["no \"rule\"".into()],
            store: "s3://acme-dr/pg".into(),
            cluster: "main".into(),
            kind: Some(Kind::Dump),
            name: Some("main_dump_20260125T020000Z_7f3a".into()),
            sha256: Some(Sha256::of(b"")),
            verified: Some(true),
            timeline: Some(1),
            first: Some("000000010000000000000001".into()),
            last: Some("000000010000000000000002".into()),
            decided_at: now,
        };
        let digest = Sha256::of(b"").to_string();
        let line = Line {
            action: whole.action,
            reasons: &whole.reasons,
            store: &whole.store,
            cluster: &whole.cluster,
            kind: whole.kind,
            name: whole.name.as_deref(),
            sha256: Some(&digest),
            verified: whole.verified,
            timeline: whole.timeline,
            first: whole.first.as_deref(),
            last: whole.last.as_deref(),
            decided_at: "2026-01-25T02:00:00.123Z",
        };
        let mut ours = Vec::new();
        write(&mut ours, &line).unwrap();
        let mut theirs = Vec::new();
        record::write(&mut theirs, &Record::Decision(Box::new(whole))).unwrap();
        assert_eq!(String::from_utf8(ours).unwrap(), String::from_utf8(theirs).unwrap());
    }
}
