//! Is each objective met? Pure: a function of facts, objectives, what is remembered, and a moment.

mod backups;
mod jobs;
mod server;
mod stores;
#[cfg(test)]
mod tests;
mod verdict;
mod wal;
#[cfg(test)]
mod world;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use dr_pipe::record::{Check, Manifest, State};

use crate::facts::Facts;
use crate::memory::Memory;
use crate::objectives::Objectives;
use verdict::Verdict;

/// All that is judged.
pub struct Scene<'a> {
    facts: &'a Facts,
    objectives: &'a Objectives,
    /// What is remembered, and what was seen now.
    memory: Memory,
    /// Whether what is seen now will be forgotten, as it cannot be written down.
    forgets: bool,
    now: DateTime<Utc>,
    /// Every backup once, in the order of their moments.
    backups: Vec<&'a Manifest>,
}

/// What has come out.
#[derive(Debug)]
pub struct Judged {
    /// Every check.
    pub checks: Vec<Check>,
    /// What is to be remembered.
    pub memory: Memory,
}

impl<'a> Scene<'a> {
    /// Puts it together.
    pub fn new(facts: &'a Facts, objectives: &'a Objectives, memory: Memory, forgets: bool, now: DateTime<Utc>) -> Self {
        let mut backups: Vec<&Manifest> = facts.backups.iter().map(|backup| &backup.manifest).collect();
        backups.sort_by_key(|manifest| (manifest.taken_at, manifest.sequence, &manifest.name));
        backups.dedup_by_key(|manifest| (manifest.kind, manifest.name.as_str()));
        let mut scene = Scene { facts, objectives, memory: memory.until(now), forgets, now, backups };
        let seen = server::seen(&scene).into_iter().chain(wal::seen(&scene)).collect::<Vec<_>>();
        scene.memory.seen.extend(seen);
        scene
    }

    /// How long ago a moment was, in seconds: nothing, for one that is still to come.
    fn age(&self, at: DateTime<Utc>) -> f64 {
        ((self.now - at).num_milliseconds() as f64 / 1000.0).max(0.0)
    }

    /// Whether any store was asked.
    fn asked(&self) -> bool {
        !self.facts.storage.is_empty() || self.facts.checks.iter().any(|check| check.check == "store")
    }

    /// Stores that did not answer.
    fn silent(&self) -> Vec<&'a str> {
        let silent = self.facts.checks.iter().filter(|check| check.check == "store" && check.state != State::Ok);
        silent.filter_map(|check| check.subject.as_deref()).collect()
    }
}

/// Judges all there is; what others have checked is passed on.
pub fn judge(mut scene: Scene, cluster: &str) -> Judged {
    let rules: [fn(&Scene) -> Vec<Verdict>; 17] = [
        backups::any,
        backups::ages,
        backups::sizes,
        backups::verified,
        backups::recipients,
        backups::clock,
        stores::facts,
        stores::copies,
        stores::locks,
        stores::used,
        stores::tiers,
        stores::findings,
        wal::lag,
        wal::gaps,
        wal::rpo,
        server::all,
        jobs::all,
    ];
    let own = rules.iter().flat_map(|rule| rule(&scene)).map(|verdict| verdict.into_check(cluster, scene.now));
    let mut checks: Vec<Check> = own.chain(scene.facts.checks.iter().cloned()).collect();
    let mut states = BTreeMap::new();
    for check in &mut checks {
        let key = format!("{} {}", check.check, check.subject.as_deref().unwrap_or_default());
        let since = match scene.memory.states.get(&key) {
            Some((state, since)) if *state == check.state => *since,
            _ => scene.now,
        };
        check.since_at = check.since_at.or(Some(since));
        states.insert(key, (check.state, since));
    }
    scene.memory.states = states;
    Judged { checks, memory: scene.memory }
}
