//! Gives the verdict on a drill. It passes only where everything says that it has.

use chrono::{DateTime, SecondsFormat, Utc};
use dr_pipe::record::{self, Drill, Phase, Record, Step};
use dr_pipe::{Exit, Failure, Outcome, Sha256, host, stream, warn};

use crate::args::Args;
use crate::notes::{NoteFile, Noted, Notes};
use crate::reached::{Reached, replay_seconds};
use crate::{TOOL, operator};

/// Prints the record of the drill.
pub fn finish(args: &Args) -> Outcome {
    let mut output = stream::records()?;
    let mut file = NoteFile::open(&args.record)?;
    let notes = file.read()?;
    let drill = match notes.drill {
        Some(drill) => {
            warn(TOOL, format!("this drill was over at {}: its record is printed again", second(drill.finished_at)));
            drill
        }
        None => {
            let drill = judge(args, &notes, Utc::now());
            file.close(&drill)?;
            drill
        }
    };
    for issue in &drill.issues {
        warn(TOOL, issue);
    }
    let passed = drill.passed;
    record::write(&mut output, &Record::Drill(Box::new(drill))).map_err(|error| Failure::io("standard output", &error))?;
    Ok(if passed { Exit::Good } else { Exit::Bad })
}

/// The record of a drill that ends `now`.
fn judge(args: &Args, notes: &Notes, now: DateTime<Utc>) -> Drill {
    let cluster = args.cluster.clone().expect("clap asks for a cluster");
    let reached = Reached::of(notes);
    let times = Times::of(notes);
    let started_at = notes.steps.iter().map(|noted| noted.step.started_at).min().unwrap_or(now);
    let host = host::name();
    let lost = reached.at.map(|at| (started_at - at).as_seconds_f64().max(0.0));
    let recipients = if args.recipient.is_empty() { &reached.recipients } else { &args.recipient };
    let mut drill = Drill {
        name: name(&cluster, started_at, &host, notes),
        drill: args.drill.clone().expect("clap asks for a kind of drill"),
        cluster,
        database: reached.database.clone().unwrap_or_else(|| args.database.clone()),
        passed: false,
        started_at,
        finished_at: now,
        operator: args.operator.clone().unwrap_or_else(operator::name),
        host,
        environment: args.environment.clone(),
        backup: reached.backups.last().or(args.backup.as_ref()).cloned(),
        stored_bytes: reached.stored_bytes,
        restored_bytes: reached.restored_bytes,
        reached_at: reached.at,
        target: reached.target.as_ref().map(|(target, ..)| target.clone()),
        target_at: reached.target.as_ref().and_then(|(_, at, _)| *at),
        segments: reached.target.as_ref().map(|(.., segments)| *segments),
        files: reached.files.clone(),
        recipients: recipients.clone(),
        rto_seconds: times.fetch + times.restore + times.replay + times.check,
        rto_objective_seconds: args.rto,
        rpo_seconds: lost,
        rpo_objective_seconds: args.rpo,
        fetch_seconds: times.fetch,
        restore_seconds: times.restore,
        replay_seconds: times.replay,
        check_seconds: times.check,
        steps: notes.steps.iter().map(|noted| noted.step.clone()).collect(),
        issues: Vec::new(),
        next_actions: args.next_action.clone(),
    };
    drill.issues = issues(args, &drill, &reached);
    drill.passed = drill.issues.is_empty();
    drill
}

/// All that speaks against the drill. It has passed where nothing does.
fn issues(args: &Args, drill: &Drill, reached: &Reached) -> Vec<String> {
    let mut issues = args.issue.clone();
    let steps = &drill.steps;
    issues.extend(steps.iter().filter(|step| !step.passed).map(failed));
    for name in &args.require {
        if !steps.iter().any(|step| step.name == *name) {
            issues.push(format!("required step {name} did not run"));
        }
    }
    let checks = |step: &Step| step.phase == Phase::Check && step.passed;
    match steps.as_slice() {
        [] => issues.push("no step was run".into()),
        // What nobody has looked at may be empty, or old.
        some if !reached.proved && !some.iter().any(checks) => issues.push("nothing that was restored was checked".into()),
        _ => {}
    }
    match &args.backup {
        Some(wanted) if reached.backups.iter().any(|used| used != wanted) => {
            issues.push(format!("backup {} was used, and not {wanted}", reached.backups.join(", ")));
        }
        _ => {}
    }
    match (drill.rto_objective_seconds, drill.rto_seconds) {
        (Some(objective), taken) if taken > objective => issues.push(missed("RTO", taken, objective)),
        _ => {}
    }
    match (drill.rpo_objective_seconds, drill.rpo_seconds) {
        (Some(objective), Some(lost)) if lost > objective => issues.push(missed("RPO", lost, objective)),
        (Some(_), None) => issues.push("RPO objective not proved: no step has said which moment was restored".into()),
        _ => {}
    }
    issues
}

fn failed(step: &Step) -> String {
    match step.exit_code {
        Some(code) => format!("step {} failed: exit code {code}", step.name),
        // Then the last line says how it ended.
        None => {
            let last = step.output.as_deref().and_then(|output| output.lines().last()).unwrap_or("nobody knows how it ended");
            format!("step {} failed: {last}", step.name)
        }
    }
}

fn missed(objective: &str, seconds: f64, limit: f64) -> String {
    format!("{objective} objective missed: {seconds:.1} s, and at most {limit} s are promised")
}

/// Seconds of each phase that counts.
#[derive(Default)]
struct Times {
    fetch: f64,
    restore: f64,
    replay: f64,
    check: f64,
}

impl Times {
    fn of(notes: &Notes) -> Self {
        let mut times = Times::default();
        for noted @ Noted { step, .. } in &notes.steps {
            let replay = replay_seconds(noted);
            let phase = match step.phase {
                Phase::Prepare => continue,
                Phase::Fetch => &mut times.fetch,
                Phase::Restore => &mut times.restore,
                Phase::Replay => &mut times.replay,
                Phase::Check => &mut times.check,
            };
            *phase += step.duration_seconds - replay;
            times.replay += replay;
        }
        times
    }
}

/// The name of a drill. Its last four digits are those of what was done, so that two that began in one second stay apart.
fn name(cluster: &str, started_at: DateTime<Utc>, host: &str, notes: &Notes) -> String {
    let digest = Sha256::of(format!("{host} {notes:?}").as_bytes()).to_string();
    format!("{cluster}_drill_{}_{}", started_at.format("%Y%m%dT%H%M%SZ"), &digest[..4])
}

fn second(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::Secs, true)
}
