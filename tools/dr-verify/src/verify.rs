//! The whole of it: list, read what is due, and say what is known.

use std::collections::BTreeSet;

use chrono::Utc;
use dr_catalogue::{Error, Selector};
use dr_crypt::Identities;
use dr_pipe::progress::Progress;
use dr_pipe::record::{Backup, Depth, Finding, Kind, Verified};
use dr_pipe::{Exit, Failure, Outcome, warn};
use dr_wal::WalName;

use crate::args::Args;
use crate::memory::{Face, Memory};
use crate::object::Eyes;
use crate::place::{self, Cluster, Kept, Place, Question};
use crate::print::Answer;
use crate::wal::Log;
use crate::work::{self, Job, What, Work};
use crate::{TOOL, finding, trial};

/// Looks at all that the stores hold. What is wrong is a finding; a store that fails is a failure once all else is done.
pub fn verify(args: &Args) -> Outcome {
    let now = Utc::now();
    let given = !args.identities.identities.is_empty();
    let identities = given.then(|| Identities::read(&args.identities, TOOL)).transpose()?;
    let keyring = args.catalogue.public_key.keyring()?;
    let mut failures = Vec::new();
    // What a store was at another time says nothing of what it is.
    let memory = if args.is_of_now() { Memory::recall() } else { Memory::none() };
    let places = places(&Question { args, keyring: &keyring, now, memory: memory.into() }, &mut failures)?;
    if let Some(selector) = &args.backup
        && failures.is_empty()
        && places.iter().flat_map(|place| &place.clusters).all(|cluster| cluster.backups.is_empty() && cluster.findings.is_empty())
    {
        return Err(Error::NotFound(selector.to_string()).into());
    }
    if args.is_whole() && failures.is_empty() && places.iter().all(Place::is_empty) {
        return nothing(&places, args);
    }
    warn_of_empty(&places, args);
    place::warn_of_unchecked(&places);
    let mut jobs = work::due(&places, args, now);
    if let Some(identities) = &identities {
        failures.extend(trial::hold(&places, &mut jobs, identities)?);
    }
    let answer = Answer::new(args.table.wanted())?;
    say_listed(&places, &jobs, &answer)?;
    let progress = Progress::new(TOOL, Some(jobs.iter().map(|job| job.bytes).sum()));
    let eyes = Eyes { depth: args.depth(), identities: identities.as_ref(), progress: &progress };
    failures.extend(Work::new(&places, &jobs, eyes, args, now, &answer).run());
    progress.finish();
    say_rest(&places, args, &answer)?;
    let errors = answer.finish()?;
    end(failures, errors)
}

/// The stores that can be read.
fn places(question: &Question, failures: &mut Vec<Failure>) -> Result<Vec<Place>, Failure> {
    let from = &question.args.catalogue.from.from;
    if from.is_empty() {
        return Err(Error::NoStore.into());
    }
    let mut places: Vec<Place> = Vec::new();
    for location in from {
        match Place::survey(location, question) {
            // Named twice, it is read once.
            Ok(place) if places.iter().any(|other| other.full == place.full) => {}
            Ok(place) => places.push(place),
            // Several backups may be meant, or a key is none: no other store changes that.
            Err(failure) if failure.exit == Exit::Usage => return Err(failure),
            Err(failure) => failures.push(failure),
        }
    }
    match failures.first() {
        Some(failure) if places.is_empty() => Err(failure.clone()),
        _ => Ok(places),
    }
}

/// There is nothing of what was asked for: nothing is proved by that, and it is no good answer.
fn nothing(places: &[Place], args: &Args) -> Outcome {
    let answer = Answer::new(args.table.wanted())?;
    places.iter().try_for_each(|place| answer.say(&place.findings, None))?;
    if places.iter().any(|place| !place.findings.is_empty()) {
        answer.finish()?;
    }
    Err(Error::NotFound(Selector::Latest.to_string()).into())
}

/// Warns of stores that hold nothing of what is in others.
fn warn_of_empty(places: &[Place], args: &Args) {
    for place in places.iter().filter(|place| args.is_whole() && place.is_empty()) {
        let of = args.cluster.as_ref().map(|cluster| format!(" of {cluster}")).unwrap_or_default();
        warn(TOOL, format!("{}: nothing{of} is there", place.store.location()));
    }
}

/// Says what the listing shows, and what is remembered of backups that are not due.
fn say_listed(places: &[Place], jobs: &[Job], answer: &Answer) -> Result<(), Failure> {
    let due: BTreeSet<(usize, usize, &What)> = jobs.iter().map(|job| (job.place, job.cluster, &job.what)).collect();
    for (number, place) in places.iter().enumerate() {
        answer.say(&place.findings, None)?;
        for (of, cluster) in place.clusters.iter().enumerate() {
            answer.say(&cluster.findings, None)?;
            let is_due = |what: &What| due.contains(&(number, of, what));
            if let Some(log) = &cluster.log {
                answer.say(&log.findings, None)?;
                for (name, item) in &log.inventory.files {
                    let Some(key) =
                        item.objects.first().map(|object| &object.key).or_else(|| item.claims.first().map(|(key, _)| key))
                    else {
                        continue;
                    };
                    let bytes = item.objects.iter().map(|object| object.bytes).sum();
                    let face = Face { bytes, sha256: None, modified_at: None, mark: Some(log.mark(name)) };
                    let remembered = cluster.known().look(key, &face).map(|look| look.findings.clone());
                    if let Some(findings) = remembered.filter(|_| !is_due(&What::Wal(*name))) {
                        answer.say(&findings, None)?;
                        cluster.bad().insert(*name);
                    }
                }
            }
            for (at, kept) in cluster.backups.iter().enumerate() {
                if !waits(cluster, kept) && !is_due(&What::Backup(at)) {
                    cluster.told().insert(at);
                    tell(answer, cluster, kept, &[])?;
                }
            }
        }
    }
    Ok(())
}

/// Whether what is known of a backup depends on WAL that is still to be read.
pub fn waits(cluster: &Cluster, kept: &Kept) -> bool {
    cluster.log.is_some() && kept.backup.manifest.kind == Kind::Base
}

/// Says what is missing of the log, and what is known of all backups of which it is not said yet: bases, and what was not read.
fn say_rest(places: &[Place], args: &Args, answer: &Answer) -> Result<(), Failure> {
    for (place, cluster) in places.iter().flat_map(|place| place.clusters.iter().map(move |cluster| (place, cluster))) {
        let left = |at: &usize| !cluster.told().contains(at) && !cluster.gone().contains(at);
        let kept = cluster.backups.iter().enumerate().filter(|(at, _)| left(at)).map(|(_, kept)| kept);
        let kept: Vec<&Kept> = kept.collect();
        let bases: Vec<&Backup> = kept.iter().map(|kept| &kept.backup).collect();
        let bad: BTreeSet<WalName> = cluster.bad().clone();
        let gaps_of = |log: &Log| log.gaps(&cluster.scene, &bases, &bad, args.is_whole());
        let mut gaps = cluster.log.as_ref().map(gaps_of).unwrap_or_default();
        // A store that fails now has told enough before.
        if let (true, Some(Ok(log))) =
            (finding::is_bad(&gaps), cluster.log.as_ref().map(|log| log.again(&place.store, &cluster.name)))
        {
            gaps = gaps_of(&log);
        }
        let (of_bases, others): (Vec<Finding>, Vec<Finding>) = gaps.into_iter().partition(|finding| finding.backup.is_some());
        answer.say(&others, None)?;
        for kept in kept {
            let name = Some(&kept.backup.manifest.name);
            let own: Vec<Finding> = of_bases.iter().filter(|finding| finding.backup.as_ref() == name).cloned().collect();
            tell(answer, cluster, kept, &own)?;
        }
    }
    Ok(())
}

/// Says what is known of a backup.
///
/// # Errors
/// 74 where standard output cannot be written.
pub fn tell(answer: &Answer, cluster: &Cluster, kept: &Kept, more: &[Finding]) -> Result<(), Failure> {
    let look = cluster.known().look(&kept.key, &kept.face).cloned();
    let mut findings = [&kept.findings, more].concat();
    findings.extend(look.iter().flat_map(|look| look.findings.iter().cloned()));
    let verified = Verified {
        backup: kept.backup.clone(),
        good: look.is_some() && !finding::is_bad(&findings),
        depth: look.as_ref().map_or(Depth::Manifest, |look| look.depth),
        verified_at: look.map(|look| look.checked_at),
        findings: findings.len() as u64,
    };
    answer.say(&findings, Some(verified))
}

/// The worst failure decides; else whether anything was found.
fn end(mut failures: Vec<Failure>, errors: u64) -> Outcome {
    failures.sort_by_key(|failure| failure.exit);
    let Some(worst) = failures.pop() else { return Ok(if errors > 0 { Exit::Bad } else { Exit::Good }) };
    for failure in failures {
        warn(TOOL, failure.message);
    }
    Err(worst.leaving(match errors {
        0 => "in all that could be read nothing is wrong".to_owned(),
        1 => "in what could be read there is 1 error".to_owned(),
        more => format!("in what could be read there are {more} errors"),
    }))
}
