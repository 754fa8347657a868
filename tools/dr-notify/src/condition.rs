//! What is known of one thing: of a check, a job, a drill, a store, a unit.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use dr_pipe::record::{Check, Drill, Finding, Job, Record, Run, Severity, State};
use dr_pipe::words::{lines, one_line, shortened, span};
use dr_pipe::{Exit, Failure, redact};
use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing is to be done.
    Good,
    /// Somebody should look in the daytime.
    Warning,
    /// Somebody has to act at once.
    Critical,
}

/// What it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A `check` record.
    Check,
    /// The newest `run` record of a job.
    Run,
    /// The newest `drill` record of its sort and database.
    Drill,
    /// `finding` records of one code in one store.
    Finding,
    /// A unit of systemd.
    Unit,
    /// Standard input itself.
    Input,
    /// Nothing: somebody tries a channel.
    Test,
}

impl Kind {
    /// Its name in the type of a notice.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Check => "check",
            Kind::Run => "run",
            Kind::Drill => "drill",
            Kind::Finding => "finding",
            Kind::Unit => "unit",
            Kind::Input => "input",
            Kind::Test => "test",
        }
    }

    /// Whether it is certain that somebody says when it is well again: of a unit only where its OnSuccess= has us called.
    pub fn ends(self) -> bool {
        matches!(self, Kind::Check | Kind::Run | Kind::Drill)
    }
}

/// What is known of one thing. No text in it has a secret, or a character that steers anything.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Condition {
    /// What it is about.
    pub kind: Kind,
    /// What it is recognised by in the next run.
    pub key: String,
    /// How bad it is.
    pub level: Level,
    /// That in the word of its record, such as unknown or failed.
    pub state: &'static str,
    /// What people call it.
    pub name: String,
    /// The cluster, where one is known.
    pub cluster: Option<String>,
    /// What of the cluster.
    pub subject: Option<String>,
    /// The host it was on.
    pub host: String,
    /// What was found.
    pub message: String,
    /// What it said last.
    pub last_words: Vec<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Since when.
    pub since_at: Option<DateTime<Utc>>,
    /// When that was found.
    pub found_at: DateTime<Utc>,
    /// What happened once, such as one run of a job; none for what lasts.
    pub event: Option<String>,
    /// Where to read more.
    pub manual: &'static str,
}

/// Longest name that is told, in characters.
const NAME: usize = 200;
/// Longest message and hint.
const TEXT: usize = 600;
/// As many last words are told: lines, and characters of each.
const LAST_WORDS: (usize, usize) = (10, 200);

/// What turns records into conditions.
#[derive(Debug)]
pub struct Reader {
    /// The host this runs on.
    pub host: String,
    /// The cluster of what names none.
    pub cluster: Option<String>,
    /// What no notice may have.
    pub secrets: Vec<String>,
    /// The moment.
    pub now: DateTime<Utc>,
}

impl Reader {
    /// What the records say, the newest word on everything.
    pub fn conditions(&self, records: Vec<Record>) -> Vec<Condition> {
        let mut newest: BTreeMap<(Option<String>, String), (Condition, usize)> = BTreeMap::new();
        for condition in records.into_iter().filter_map(|record| self.condition(record)) {
            let key = (condition.cluster.clone(), condition.key.clone());
            match newest.get_mut(&key) {
                None => drop(newest.insert(key, (condition, 1))),
                Some((_, count)) if condition.kind == Kind::Finding => *count += 1,
                Some((known, _)) if (condition.found_at, condition.level) > (known.found_at, known.level) => *known = condition,
                Some(_) => {}
            }
        }
        let counted = |(mut condition, count): (Condition, usize)| {
            if count > 1 {
                condition.message += &format!("; and {} more of this kind", count - 1);
            }
            condition
        };
        newest.into_values().map(counted).collect()
    }

    /// What one record says; none where it says nothing of how anything is.
    fn condition(&self, record: Record) -> Option<Condition> {
        match record {
            Record::Check(check) => Some(self.check(&check)),
            Record::Run(run) => Some(self.run(&run)),
            Record::Drill(drill) => Some(self.drill(&drill)),
            Record::Finding(finding) if finding.severity == Severity::Error => Some(self.finding(&finding)),
            _ => None,
        }
    }

    fn check(&self, check: &Check) -> Condition {
        let (level, state) = match check.state {
            State::Ok => (Level::Good, "ok"),
            State::Warning => (Level::Warning, "warning"),
            State::Critical => (Level::Critical, "critical"),
            // What could not be found out may be anything.
            State::Unknown => (Level::Critical, "unknown"),
        };
        let mut condition = self.bare(Kind::Check, &check.check, check.subject.as_deref(), (level, state));
        condition.cluster = check.cluster.as_deref().map(|name| self.name(name)).or(condition.cluster);
        condition.message = self.text(&check.message);
        condition.hint = check.hint.as_deref().map(|hint| self.text(hint));
        condition.since_at = check.since_at;
        condition.found_at = check.checked_at;
        condition
    }

    fn run(&self, run: &Run) -> Condition {
        let level = match run.exit_code {
            _ if run.succeeded => Level::Good,
            // It may succeed by itself.
            Some(code) if code == i32::from(Exit::Busy.code()) => Level::Warning,
            _ => Level::Critical,
        };
        let state = if run.succeeded { "succeeded" } else { "failed" };
        let took = span((run.finished_at - run.started_at).as_seconds_f64());
        let how = match (&run.signal, run.exit_code) {
            _ if run.succeeded => "succeeded".into(),
            (Some(signal), _) => format!("was ended by signal {}", self.name(signal)),
            (None, Some(code)) => format!("exited with {code}"),
            (None, None) => "failed".into(),
        };
        let mut condition = self.bare(Kind::Run, run.job.name(), None, (level, state));
        condition.cluster = Some(self.name(&run.cluster));
        condition.host = self.name(&run.host);
        condition.message = format!("the job {how} after {took}");
        if level > Level::Good {
            condition.last_words = self.last_words(run.message.as_deref().unwrap_or_default());
            condition.hint = Some("mend what its last words say, and run it again; dr(7) has the exit codes".into());
        }
        condition.since_at = Some(run.started_at);
        condition.found_at = run.finished_at;
        condition.event = Some(self.name(&run.run));
        condition.manual = page_of(run.job);
        condition
    }

    fn drill(&self, drill: &Drill) -> Condition {
        let (level, state) = if drill.passed { (Level::Good, "passed") } else { (Level::Critical, "failed") };
        let mut condition = self.bare(Kind::Drill, &drill.drill, drill.database.as_deref(), (level, state));
        condition.cluster = Some(self.name(&drill.cluster));
        condition.host = self.name(&drill.host);
        condition.message = match drill.passed {
            true => format!("a recovery would have taken {}", span(drill.rto_seconds)),
            false if drill.issues.is_empty() => "it has not passed, and does not say why".into(),
            false => self.text(&drill.issues.join("; ")),
        };
        if !drill.passed {
            let failed = drill.steps.iter().rev().find(|step| !step.passed);
            condition.last_words = self.last_words(failed.and_then(|step| step.output.as_deref()).unwrap_or_default());
            let hint = "until a drill passes nobody knows whether these backups can be restored; dr-report(1) shows its steps";
            let hint = if drill.next_actions.is_empty() { hint.into() } else { drill.next_actions.join("; ") };
            condition.hint = Some(self.text(&hint));
        }
        condition.since_at = Some(drill.started_at);
        condition.found_at = drill.finished_at;
        condition.event = Some(self.name(&drill.name));
        condition.manual = "dr-drills(7)";
        condition
    }

    fn finding(&self, finding: &Finding) -> Condition {
        let mut condition = self.bare(Kind::Finding, &finding.code, Some(&finding.store), (Level::Critical, "error"));
        condition.cluster = finding.cluster.as_deref().map(|name| self.name(name)).or(condition.cluster);
        let about = finding.backup.as_deref().or(finding.object.as_deref());
        condition.message = match about {
            Some(about) if !finding.message.contains(about) => self.text(&format!("{about}: {}", finding.message)),
            _ => self.text(&finding.message),
        };
        condition.hint = Some(self.text(&finding.hint));
        condition.found_at = finding.found_at;
        condition.manual = "dr-verify(1)";
        condition
    }

    /// That standard input is damaged: what failed may not be among what could be read.
    pub fn damage(&self, failure: &Failure) -> Condition {
        let mut condition = self.bare(Kind::Input, "records", None, (Level::Critical, "failed"));
        condition.message = self.text(&failure.message);
        condition.hint = Some("whatever was to be told may be missing: run by hand what writes the records".into());
        condition
    }

    /// That a channel is tried.
    pub fn test(&self) -> Condition {
        let mut condition = self.bare(Kind::Test, "test", None, (Level::Good, "test"));
        condition.message = "this is a test: whoever reads it would be told of failures, too; nothing is wrong".into();
        condition
    }

    /// A condition of which nothing is known but its name and how bad it is.
    pub fn bare(&self, kind: Kind, name: &str, subject: Option<&str>, (level, state): (Level, &'static str)) -> Condition {
        let (name, subject) = (self.name(name), subject.map(|subject| self.name(subject)));
        let key = [Some(kind.name()), Some(&name), subject.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("/");
        Condition {
            kind,
            key,
            level,
            state,
            name,
            cluster: self.cluster.clone(),
            subject,
            host: self.host.clone(),
            message: String::new(),
            last_words: Vec::new(),
            hint: None,
            since_at: None,
            found_at: self.now,
            event: None,
            manual: if kind == Kind::Check { "dr-check(1)" } else { "dr-notify(1)" },
        }
    }

    /// A name as it may be told.
    pub fn name(&self, text: &str) -> String {
        shortened(&one_line(&redact::line(text, &self.secrets)), NAME)
    }

    /// A sentence as it may be told.
    pub fn text(&self, text: &str) -> String {
        let clean = text.lines().map(|line| redact::line(line, &self.secrets)).collect::<Vec<_>>().join(" ");
        shortened(&one_line(&clean), TEXT)
    }

    /// The last lines of a text, as they may be told.
    pub fn last_words(&self, text: &str) -> Vec<String> {
        let clean = lines(text).into_iter().filter(|line| !line.trim().is_empty());
        let mut clean: Vec<_> = clean.map(|line| shortened(&redact::line(&line, &self.secrets), LAST_WORDS.1)).collect();
        clean.split_off(clean.len().saturating_sub(LAST_WORDS.0))
    }
}

/// Where a job is described.
fn page_of(job: Job) -> &'static str {
    match job {
        Job::Dump => "dr-dump(1)",
        Job::Base => "dr-base(1)",
        Job::Wal => "dr-wal-push(1)",
        Job::Verify => "dr-verify(1)",
        Job::Prune => "dr-delete(1)",
        Job::Copy => "dr-copy(1)",
        Job::Drill => "dr-drills(7)",
        Job::Check => "dr-check(1)",
        Job::Files => "dr(7)",
    }
}
