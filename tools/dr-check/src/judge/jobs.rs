//! Do the jobs run, and do drills pass?

use chrono::{DateTime, TimeDelta, Utc};
use dr_pipe::record::{Drill, Job, Kind, Manifest, Run, State};

use super::Scene;
use super::verdict::{Verdict, above};
use crate::words::{moment, span};

/// Runs, and what they should have left.
pub fn all(scene: &Scene) -> Vec<Verdict> {
    let runs = Job::ALL.into_iter().filter_map(|job| last_run(scene, job));
    let ages = [Job::Verify, Job::Drill, Job::Prune, Job::Copy, Job::Check].into_iter().filter_map(|job| age(scene, job));
    runs.chain(ages).chain(drills(scene)).collect()
}

/// The runs of a job, the last one first. What a wrong clock has put into the future is told of by the check of the clock, and must
/// not hide what has failed since.
fn runs<'a>(scene: &Scene<'a>, job: Job) -> impl Iterator<Item = &'a Run> + use<'a> {
    let until = scene.now + TimeDelta::milliseconds((scene.objectives.clock.0 * 1000.0) as i64);
    scene.facts.runs.iter().rev().filter(move |run| run.job == job && run.finished_at <= until)
}

/// Whether the last run of a job succeeded.
fn last_run(scene: &Scene, job: Job) -> Option<Verdict> {
    let mut runs = runs(scene, job);
    let last = runs.next()?;
    if last.is_done() {
        if let Some(verdict) = too_long_ago(scene, last) {
            return Some(verdict);
        }
        let message = format!("it succeeded at {} on {}", moment(last.finished_at), last.host);
        return Some(Verdict::new("job", State::Ok, message).about(job.name()).measured(0.0, 0.0, "count"));
    }
    let failures = 1 + runs.take_while(|run| !run.is_done()).count();
    let state = match job {
        Job::Dump | Job::Base | Job::Files | Job::Wal | Job::Drill => State::Critical,
        Job::Verify | Job::Prune | Job::Copy | Job::Check => State::Warning,
    };
    let words = last.message.as_deref().map(|words| format!(": {words}")).unwrap_or_default();
    let times = if failures > 1 { format!(", {failures} times in a row") } else { String::new() };
    let message = format!("it {} at {} on {}{times}{words}", ended(last), moment(last.finished_at), last.host);
    let verdict = Verdict::new("job", state, message).about(job.name()).measured(failures as f64, 0.0, "count");
    Some(verdict.hint("the journal of that host, or the mail of its cron, has all it said; run it by hand to see it fail"))
}

/// A backup that was not made for too long. Where stores are asked, what is in them says it.
fn too_long_ago(scene: &Scene, last: &Run) -> Option<Verdict> {
    let limit = scene.objectives.age.of_job(last.job).seconds;
    let age = scene.age(last.finished_at);
    let counts = matches!(last.job, Job::Dump | Job::Base | Job::Files) && !scene.asked() && limit > 0.0 && age > limit;
    counts.then(|| {
        let message = format!("it succeeded last {} ago, of at most {}, on {}", span(age), span(limit), last.host);
        let verdict = Verdict::new("job", State::Critical, message).about(last.job.name()).measured(age, limit, "seconds");
        verdict.hint("see whether its timer or line of cron is still there: systemctl list-timers 'dr-*'")
    })
}

fn ended(run: &Run) -> String {
    match (&run.signal, run.exit_code) {
        (Some(signal), _) => format!("was ended by SIG{}", signal.trim_start_matches("SIG")),
        (None, Some(code)) => format!("exited with {code}"),
        (None, None) => "failed".into(),
    }
}

/// How long ago a job has done what it is for.
fn age(scene: &Scene, job: Job) -> Option<Verdict> {
    let limit = scene.objectives.age.of_job(job);
    if limit.seconds == 0.0 || !limit.asked && scene.backups.is_empty() {
        return None;
    }
    let (check, hint) = match job {
        Job::Verify => ("verify-age", "enable dr-verify@.timer, see dr-keeping(7): what is stored may have rotted"),
        Job::Drill => {
            let hint =
                "enable dr-restore-test@.timer, see dr-drills(7), or run it below dr-heartbeat(1): until then a backup is a hope";
            ("drill-age", hint)
        }
        Job::Prune => ("prune-age", "enable dr-prune@.timer, see dr-keeping(7)"),
        Job::Copy => ("copy-age", "enable dr-copy-offsite@.timer, see dr-keeping(7)"),
        _ => ("check-age", "enable dr-check@.timer: Schedules in dr(7) has it for cron, too"),
    };
    let run = runs(scene, job).find(|run| run.is_done()).map(|run| run.finished_at);
    Some(match run.max(proof(scene, job)) {
        Some(last) => {
            let age = scene.age(last);
            let message = format!("it was done {} ago, of at most {}", span(age), span(limit.seconds));
            Verdict::new(check, above(age, limit.seconds, State::Warning), message)
                .measured(age, limit.seconds, "seconds")
                .hint(hint)
        }
        None => Verdict::new(check, State::Warning, "it was never done, as far as is known here").hint(hint),
    })
}

/// When a job did last what it is for, by what it has left.
fn proof(scene: &Scene, job: Job) -> Option<DateTime<Utc>> {
    match job {
        Job::Verify => scene.facts.verified.iter().filter_map(|verified| verified.verified_at).max(),
        Job::Drill => scene.facts.drills.iter().filter(|drill| drill.passed).map(|drill| drill.finished_at).max(),
        _ => None,
    }
}

/// Whether the newest drill of each sort and database has passed, and how long it took.
fn drills(scene: &Scene) -> Vec<Verdict> {
    let newest = Drill::newest(&scene.facts.drills).into_iter().filter(|drill| is_of_today(scene, drill));
    newest.flat_map(|drill| [passed(drill), rto(scene, drill), rpo(scene, drill)]).flatten().collect()
}

/// Whether the database of a drill is still there, as far as anybody knows: one that is expected is, and dumps of any may be in a store
/// that does not answer.
fn is_of_today(scene: &Scene, drill: &Drill) -> bool {
    let is_expected = drill.database.as_ref().is_some_and(|database| scene.objectives.databases.contains(database));
    let is_dump = |manifest: &&Manifest| manifest.kind == Kind::Dump && manifest.produced.database == drill.database;
    let may_be_hidden = !scene.silent().is_empty() && !scene.backups.iter().any(is_dump);
    let forget = Some(scene.objectives.forget.0).filter(|forget| *forget > 0.0);
    let forget = forget.map(|forget| TimeDelta::milliseconds((forget * 1000.0) as i64));
    is_expected || may_be_hidden || drill.is_of_today(scene.backups.iter().copied(), forget, scene.now)
}

fn passed(drill: &Drill) -> Option<Verdict> {
    let at = moment(drill.finished_at);
    let verdict = if drill.passed {
        Verdict::new("drill", State::Ok, format!("it passed at {at}"))
    } else {
        let why = drill.issues.first().map(|issue| format!(": {issue}")).unwrap_or_default();
        Verdict::new("drill", State::Critical, format!("it failed at {at}{why}"))
    };
    Some(
        verdict
            .about(drill.what())
            .hint("dr-report(1) shows what it did; until it passes, nothing proves that the backups can be restored"),
    )
}

fn rto(scene: &Scene, drill: &Drill) -> Option<Verdict> {
    let limit =
        Some(scene.objectives.rto.0).filter(|limit| *limit > 0.0).or(drill.rto_objective_seconds).filter(|_| drill.passed)?;
    let message = format!("the drill took {}, of at most {}", span(drill.rto_seconds), span(limit));
    let verdict = Verdict::new("drill-rto", above(drill.rto_seconds, limit, State::Critical), message).about(drill.what());
    Some(verdict.measured(drill.rto_seconds, limit, "seconds").hint("dr-report(1) shows which phase took how long"))
}

/// A restore of a dump cannot keep an objective that WAL is to keep: only what the drill itself was held against counts there.
fn rpo(scene: &Scene, drill: &Drill) -> Option<Verdict> {
    let promised = Some(scene.objectives.rpo.0).filter(|limit| *limit > 0.0 && drill.target.is_some());
    let limit = promised.or(drill.rpo_objective_seconds).filter(|_| drill.passed)?;
    let lost = drill.rpo_seconds?;
    let message = format!("{} would have been lost, of at most {}", span(lost), span(limit));
    let verdict = Verdict::new("drill-rpo", above(lost, limit, State::Critical), message).about(drill.what());
    Some(verdict.measured(lost, limit, "seconds").hint("back up more often, or stream WAL: dr-wal-receive(1)"))
}
