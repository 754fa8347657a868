//! What was found, check by check, and how is it shown?

use std::io::{self, BufWriter, Write};

use chrono::{DateTime, Utc};
use clap::ValueEnum;
use dr_pipe::record::{self, Check, Record, State};
use dr_pipe::{Failure, stream, table};

/// Every check there is, in the order in which they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// The file of settings can be read, by nobody else written, and has no unknown names.
    Settings,
    /// At least two can read the backups.
    Recipients,
    /// The key that signs is there, and fits the public one.
    SigningKey,
    /// What decrypts is where backups are restored, and not where they are made.
    Identity,
    /// There is a key that signatures are checked with.
    PublicKey,
    /// Nobody else can read the files of passwords and access keys.
    Credentials,
    /// Somebody can be told when something fails.
    Channels,
    /// The programs of the bad day are here.
    StockTools,
    /// There is room in the directories that tools write to.
    Space,
    /// This host's clock is that of the server and of the stores.
    Clock,
    /// The server lets us in.
    Server,
    /// Nobody in between can read or change what the server sends.
    Transport,
    /// The role may do what backups take.
    Rights,
    /// The client programs are those of the server's version.
    Clients,
    /// The client programs have no flaw that a dump can use.
    ClientFlaws,
    /// WAL holds what recovery needs.
    WalLevel,
    /// Each segment of WAL is archived, by dr-wal-push.
    Archiving,
    /// Archiving does not fail.
    Archiver,
    /// A crash of the host does not damage the database.
    Durability,
    /// Replication slots are there, in use, and not lost.
    Slots,
    /// There are enough connections for replication.
    WalSenders,
    /// Damaged pages are noticed.
    Checksums,
    /// Increments can be small.
    WalSummary,
    /// There is room for WAL.
    WalSpace,
    /// The store answers, and knows us.
    Store,
    /// A copy lies elsewhere than on this host.
    Elsewhere,
    /// Probe: what was stored comes back as it was.
    ReadBack,
    /// Probe: a name that is taken is refused.
    CreateOnly,
    /// Probe: bytes that are not those of their digest are refused.
    Digests,
    /// Probe: a listing shows at once all that is there.
    Listing,
    /// Probe: what is overwritten or deleted can be had back.
    Versions,
    /// Probe: what is locked cannot be deleted.
    Lock,
    /// Probe: this host cannot write over what it has stored.
    Overwrite,
    /// Probe: this host cannot delete what it has stored.
    Delete,
    /// Probe: what the probe has made is removed again.
    Leftovers,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

/// What one check has come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    state: State,
    message: String,
    hint: Option<String>,
    measured: Option<(f64, f64, &'static str)>,
}

impl Finding {
    /// It is as it should be.
    pub fn ok(message: impl Into<String>) -> Self {
        Finding { state: State::Ok, message: message.into(), hint: None, measured: None }
    }

    /// It can wait for the day.
    pub fn warning(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Finding::bad(State::Warning, message, hint)
    }

    /// It cannot wait.
    pub fn critical(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Finding::bad(State::Critical, message, hint)
    }

    /// Nobody knows.
    pub fn unknown(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Finding::bad(State::Unknown, message, hint)
    }

    /// In whichever of these states.
    pub fn bad(state: State, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Finding { state, message: message.into(), hint: Some(hint.into()), measured: None }
    }

    /// As somebody else has found it.
    pub fn of(state: State, message: String, hint: Option<String>) -> Self {
        Finding { state, message, hint, measured: None }
    }

    /// What a tool would say if it failed so.
    pub fn failed(state: State, failure: impl Into<Failure>) -> Self {
        let Failure { message, hint, .. } = failure.into();
        Finding::bad(state, message, hint)
    }

    /// With a value, the limit of it, and the unit of both.
    pub fn measured(self, value: f64, limit: f64, unit: &'static str) -> Self {
        Finding { measured: Some((value, limit, unit)), ..self }
    }

    /// How bad it is.
    #[cfg(test)]
    pub fn state(&self) -> State {
        self.state
    }
}

/// All that was found.
pub struct Findings {
    cluster: String,
    only: Vec<Name>,
    now: DateTime<Utc>,
    checks: Vec<Check>,
}

impl Findings {
    /// None yet, of a cluster; of the checks in `only`, if there are any.
    pub fn new(cluster: &str, only: &[Name], now: DateTime<Utc>) -> Self {
        Findings { cluster: cluster.into(), only: only.into(), now, checks: Vec::new() }
    }

    /// When the checks were begun.
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// Whether one of these checks is asked for.
    pub fn want(&self, names: &[Name]) -> bool {
        self.only.is_empty() || names.iter().any(|name| self.only.contains(name))
    }

    /// Notes what was found, unless nobody has asked for it.
    pub fn note(&mut self, name: Name, subject: impl Into<Option<String>>, finding: Finding) {
        if self.want(&[name]) {
            self.push(name, subject.into(), finding);
        }
    }

    /// Notes what keeps other checks from being made, whoever has asked for them: that nothing was found is not that all is well.
    pub fn blocked(&mut self, name: Name, subject: impl Into<Option<String>>, finding: Finding) {
        self.push(name, subject.into(), finding);
    }

    fn push(&mut self, name: Name, subject: Option<String>, finding: Finding) {
        let (value, limit, unit) =
            finding.measured.map_or((None, None, None), |(value, limit, unit)| (Some(value), Some(limit), Some(unit.to_owned())));
        self.checks.push(Check {
            check: name.to_string(),
            state: finding.state,
            cluster: Some(self.cluster.clone()),
            subject,
            message: finding.message,
            hint: finding.hint,
            value,
            limit,
            unit,
            since_at: None,
            checked_at: self.now,
        });
    }

    /// Whether anything is so bad that somebody must act: critical, or unknown.
    pub fn are_bad(&self) -> bool {
        self.checks.iter().any(|check| check.state > State::Warning)
    }

    /// Prints them, for people as a table. A reader that has seen enough and closes the pipe is no failure.
    ///
    /// # Errors
    /// 74 if standard output cannot be written for another reason.
    pub fn print(self, as_table: bool) -> Result<(), Failure> {
        let mut output = BufWriter::new(stream::records()?);
        let printed = if as_table { writeln!(output, "{}", self.table()) } else { self.records(&mut output) };
        match printed.and_then(|()| output.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            done => done.map_err(|error| Failure::io("standard output", &error)),
        }
    }

    fn records(self, output: &mut impl Write) -> io::Result<()> {
        self.checks.into_iter().try_for_each(|check| record::write(output, &Record::Check(Box::new(check))))
    }

    fn table(&self) -> String {
        let rows = self.checks.iter().flat_map(|check| {
            let about = check.subject.as_ref().map_or_else(String::new, |subject| format!("{subject}: "));
            let first = [word(check.state).to_owned(), check.check.clone(), format!("{about}{}", check.message)];
            let hint = check.hint.as_ref().map(|hint| [String::new(), String::new(), format!("-> {hint}")]);
            std::iter::once(first).chain(hint)
        });
        table::table(["STATE", "CHECK", "FOUND"], &[], rows)
    }
}

/// A state as people read it: what is bad stands out.
fn word(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Warning => "warning",
        State::Critical => "CRITICAL",
        State::Unknown => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_can_wait_for_is_bad_and_only_what_is_asked_for_is_noted() {
        let mut all = Findings::new("main", &[], DateTime::UNIX_EPOCH);
        all.note(Name::SigningKey, None, Finding::ok("there"));
        all.note(Name::Slots, "dr_main".to_owned(), Finding::warning("away", "start it"));
        assert!(!all.are_bad());
        let lines = "STATE    CHECK        FOUND\nok       signing-key  there\nwarning  slots        dr_main: away\n                      -> start it";
        assert_eq!(all.table(), lines);
        all.note(Name::Store, None, Finding::unknown("?", "ask"));
        assert!(all.are_bad());
        let mut some = Findings::new("main", &[Name::Slots], DateTime::UNIX_EPOCH);
        some.note(Name::Store, None, Finding::critical("gone", "find it"));
        assert!(!some.are_bad());
        some.blocked(Name::Store, None, Finding::critical("gone", "find it"));
        assert!(some.are_bad() && some.want(&[Name::Slots, Name::Store]) && !some.want(&[Name::Store]));
    }
}
