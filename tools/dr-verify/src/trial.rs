//! Do the identities that were given open what is to be looked into? Tried on headers, before anything is read.

use std::collections::{BTreeMap, BTreeSet};

use dr_crypt::Identities;
use dr_pipe::record::Depth;
use dr_pipe::{Exit, Failure};

use crate::object;
use crate::place::Place;
use crate::work::{Job, What};

/// What opens and what does not.
#[derive(Debug, Default)]
pub struct Trial {
    /// Whether something was opened.
    opened: bool,
    /// What was refused, each with its reason.
    refused: Vec<Failure>,
}

/// Tries one object of each group of recipients, and of each log; what is locked is only read, not looked into.
///
/// # Errors
/// 77 where nothing opens that is encrypted.
pub fn hold(places: &[Place], jobs: &mut [Job], identities: &Identities) -> Result<Option<Failure>, Failure> {
    let mut trial = Trial::default();
    let mut locked = BTreeSet::new();
    let mut groups: BTreeMap<Vec<String>, &Job> = BTreeMap::new();
    for job in jobs.iter().filter(|job| job.depth == Depth::Content) {
        if let Some(group) = group(places, job) {
            groups.entry(group).or_insert(job);
        }
    }
    for (group, job) in groups {
        let Some((key, recipients)) = example(places, job) else { continue };
        match attempt(&places[job.place], &key, &recipients, identities) {
            Ok(opened) => trial.opened |= opened,
            Err(failure) if failure.exit == Exit::Denied => {
                trial.refused.push(failure);
                locked.insert(group);
            }
            // Damage, or a store that fails, is told by whoever reads it.
            Err(_) => {}
        }
    }
    let mut refused = trial.refused.into_iter();
    match (trial.opened, refused.next()) {
        (_, None) => Ok(None),
        (false, Some(failure)) => Err(failure.leaving("nothing was read")),
        (true, Some(failure)) => {
            for job in jobs.iter_mut() {
                if group(places, job).is_some_and(|group| locked.contains(&group)) {
                    job.depth = Depth::Bytes;
                }
            }
            Ok(Some(failure.leaving("of what it is encrypted to only the bytes were checked")))
        }
    }
}

/// What is encrypted to the same recipients: backups whose manifests say so, and what is one log in one store.
fn group(places: &[Place], job: &Job) -> Option<Vec<String>> {
    let cluster = &places[job.place].clusters[job.cluster];
    match job.what {
        What::Backup(place) => {
            let recipients = &cluster.backups[place].backup.manifest.recipients;
            (!recipients.is_empty()).then(|| recipients.clone())
        }
        What::Wal(_) | What::Pieces(_) => {
            example(places, job).map(|_| vec![format!("wal {} {}", places[job.place].full, cluster.name)])
        }
    }
}

/// An encrypted object of a job, and to whom its manifest says that it is encrypted.
fn example(places: &[Place], job: &Job) -> Option<(String, Vec<String>)> {
    let cluster = &places[job.place].clusters[job.cluster];
    match &job.what {
        What::Backup(place) => {
            let kept = &cluster.backups[*place];
            Some((kept.key.clone(), kept.backup.manifest.recipients.clone()))
        }
        What::Wal(name) => {
            let item = cluster.log.as_ref()?.inventory.files.get(name)?;
            item.objects.iter().find(|object| object.encrypted).map(|object| (object.key.clone(), Vec::new()))
        }
        What::Pieces(segment) => {
            let pieces = cluster.log.as_ref()?.inventory.pieces.get(segment)?;
            pieces.iter().find(|item| item.encrypted).map(|item| (item.key.clone(), Vec::new()))
        }
    }
}

/// Opens the header; whether there was one.
fn attempt(place: &Place, key: &str, recipients: &[String], identities: &Identities) -> Result<bool, Failure> {
    let mut object = place.store.reader(key)?;
    match object::unlock(&mut object, Some(identities)) {
        Ok(unlocked) => Ok(unlocked.is_some()),
        Err(error) => Err(Failure::from(error.to(recipients)).within(key)),
    }
}
