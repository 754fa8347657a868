//! How is the answer said? To programs as records, each as soon as it is known; to people as a table, at the end.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use dr_pipe::record::{self, Finding, Record, Severity, Verified};
use dr_pipe::table::printable;
use dr_pipe::{Failure, table};
use indicatif::HumanBytes;

/// Where the answer goes.
pub struct Answer {
    as_table: bool,
    said: Mutex<Said>,
}

/// What was said so far.
#[derive(Default)]
struct Said {
    verified: Vec<Verified>,
    findings: Vec<Finding>,
    errors: u64,
    /// Whoever read it has seen enough.
    closed: bool,
}

impl Answer {
    /// Nothing is said yet.
    ///
    /// # Errors
    /// 74 where standard output is closed.
    pub fn new(as_table: bool) -> Result<Self, Failure> {
        drop(dr_pipe::stream::records()?);
        Ok(Answer { as_table, said: Mutex::default() })
    }

    /// Says what was found, and then what is known of the backup that it is about.
    ///
    /// # Errors
    /// 74 where standard output cannot be written.
    pub fn say(&self, findings: &[Finding], verified: Option<Verified>) -> Result<(), Failure> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.errors += findings.iter().filter(|finding| finding.severity == Severity::Error).count() as u64;
        if self.as_table {
            said.findings.extend_from_slice(findings);
            said.verified.extend(verified);
            return Ok(());
        }
        let records = findings.iter().map(|finding| Record::Finding(Box::new(finding.clone())));
        let mut text = Vec::new();
        for record in records.chain(verified.map(|verified| Record::Verified(Box::new(verified)))) {
            record::write(&mut text, &record).map_err(|error| Failure::io("a record", &error))?;
        }
        said.write(&text)
    }

    /// Says the table, if that is wanted; gives how many errors were found.
    ///
    /// # Errors
    /// 74 where standard output cannot be written.
    pub fn finish(&self) -> Result<u64, Failure> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if self.as_table {
            said.verified.sort_by(|a, b| {
                let order = |one: &Verified| (one.backup.store.clone(), one.backup.manifest.taken_at);
                order(a).cmp(&order(b))
            });
            let text = table(&said.verified) + &list(&said.findings);
            said.write(text.as_bytes())?;
        }
        Ok(said.errors)
    }
}

impl Said {
    fn write(&mut self, text: &[u8]) -> Result<(), Failure> {
        if self.closed {
            return Ok(());
        }
        let mut output = io::stdout().lock();
        match output.write_all(text).and_then(|()| output.flush()) {
            // All is read to the end all the same: it is remembered, and the exit status says what came of it.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.closed = true,
            done => done.map_err(|error| Failure::io("standard output", &error))?,
        }
        Ok(())
    }
}

const HEADER: [&str; 8] = ["NAME", "STORE", "KIND", "STORED", "DEPTH", "VERIFIED (UTC)", "RESULT", "FINDINGS"];

fn table(verified: &[Verified]) -> String {
    let row = |one: &Verified| {
        let manifest = &one.backup.manifest;
        [
            manifest.name.clone(),
            one.backup.store.clone(),
            manifest.kind.to_string(),
            HumanBytes(manifest.bytes).to_string(),
            format!("{:?}", one.depth).to_lowercase(),
            one.verified_at.map_or_else(|| "never".into(), |at| at.format("%Y-%m-%d %H:%M:%S").to_string()),
            result(one).into(),
            one.findings.to_string(),
        ]
    };
    table::table(HEADER, &["STORED", "FINDINGS"], verified.iter().map(row)) + "\n"
}

fn result(one: &Verified) -> &'static str {
    match (one.good, one.verified_at) {
        (true, _) => "good",
        (false, None) if one.findings == 0 => "unread",
        (false, _) => "bad",
    }
}

/// The findings, those of one backup together, each with what to do.
fn list(findings: &[Finding]) -> String {
    let mut groups = BTreeMap::<(&str, &str), Vec<&Finding>>::new();
    for finding in findings {
        let of = finding.backup.as_deref().or(finding.cluster.as_deref()).unwrap_or_default();
        groups.entry((&finding.store, of)).or_default().push(finding);
    }
    let mut text = String::new();
    for ((store, of), findings) in groups {
        text.push_str(&format!("\n{}\n", printable(&format!("{store} {of}"))));
        for finding in findings {
            let severity = if finding.severity == Severity::Error { "error" } else { "note" };
            let offset = finding.offset_bytes.map(|offset| format!(" at byte {offset}")).unwrap_or_default();
            let line = format!("  {severity} {}{}{offset}: {}", finding.code, place(finding), finding.message);
            text.push_str(&format!("{}\n    {}\n", printable(&line), printable(&finding.hint)));
        }
    }
    text
}

/// The object that a finding is about, where neither its backup nor its message names it.
fn place(finding: &Finding) -> String {
    let named = |object: &&String| {
        let file = object.rsplit('/').next().unwrap_or_default();
        let stem = file.split('.').next().unwrap_or_default();
        finding.backup.is_some() || finding.message.contains(stem)
    };
    finding.object.as_ref().filter(|object| !named(object)).map(|object| format!(" {object}")).unwrap_or_default()
}
