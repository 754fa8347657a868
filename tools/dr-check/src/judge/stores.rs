//! Do the stores hold what they should: enough copies, locked, with room for more?

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use dr_pipe::record::{Backup, Kind, State};

use super::Scene;
use super::verdict::{Verdict, above, below};
use crate::words::{self, some, span};

/// A lock is asked for when an upload begins; clocks of stores count seconds.
const LOCK_SLACK: TimeDelta = TimeDelta::minutes(1);

/// In how many stores the backups of the last days lie.
pub fn copies(scene: &Scene) -> Vec<Verdict> {
    let silent = scene.silent();
    let stores: BTreeSet<&str> = scene
        .facts
        .backups
        .iter()
        .map(|backup| backup.store.as_str())
        .chain(scene.facts.storage.iter().map(|storage| storage.store.as_str()))
        .chain(silent.iter().copied())
        .collect();
    let limit = scene.objectives.copies.unwrap_or_else(|| stores.len().min(2) as u32);
    if limit == 0 || stores.is_empty() {
        return Vec::new();
    }
    let mut copies: BTreeMap<(Kind, &str), BTreeSet<&str>> = BTreeMap::new();
    for Backup { store, manifest, .. } in &scene.facts.backups {
        let age = scene.age(manifest.taken_at);
        let within = scene.objectives.copies_within.0;
        if age >= scene.objectives.copies_after.0 && (within == 0.0 || age <= within) {
            copies.entry((manifest.kind, &manifest.name)).or_default().insert(store);
        }
    }
    let fewest = copies.values().map(BTreeSet::len).min();
    let few: Vec<String> =
        copies.iter().filter(|(_, stores)| stores.len() < limit as usize).map(|((_, name), _)| (*name).to_owned()).collect();
    let state = match (few.is_empty(), silent.is_empty()) {
        (true, _) => State::Ok,
        (false, true) => State::Warning,
        (false, false) => State::Unknown,
    };
    let message = match state {
        State::Ok if copies.is_empty() => "no backup is of an age at which copies are counted".into(),
        State::Ok => format!(
            "{} of the last days, each in {} or more",
            words::count(copies.len(), "backup"),
            words::count(limit as usize, "store")
        ),
        State::Unknown => format!(
            "{} backups were seen in fewer than {limit} stores, and {} does not answer",
            few.len(),
            some(&silent.iter().map(|store| (*store).to_owned()).collect::<Vec<_>>())
        ),
        _ => format!("{} of {} backups lie in fewer than {limit} stores: {}", few.len(), copies.len(), some(&few)),
    };
    let verdict = Verdict::new("copies", state, message)
        .hint("see why dr-copy-offsite@.service does not run, or fails: dr-keeping(7), dr-copy(1)");
    vec![verdict.measured(fewest.unwrap_or(limit as usize) as f64, limit.into(), "count")]
}

/// Whether the newest backup of each store is locked there, as the store itself says.
pub fn locks(scene: &Scene) -> Vec<Verdict> {
    let of =
        |storage: &dr_pipe::record::Storage| {
            let own = scene.objectives.tier(&storage.store).and_then(|tier| tier.lock);
            let usual = Some(scene.objectives.lock).filter(|_| storage.store.starts_with("s3://"));
            let limit = own.or(usual).filter(|limit| limit.0 > 0.0)?.0;
            let newest = newest_in(scene, &storage.store, None)?;
            let manifest = &newest.manifest;
            let began = manifest.produced.base.as_ref().map_or(manifest.taken_at, |base| base.started_at);
            let kept = storage.locked_until.map_or(0.0, |until| ((until + LOCK_SLACK - began).num_seconds() as f64).max(0.0));
            let message = match storage.locked_until {
                Some(until) => format!("{} is locked until {}", manifest.name, words::moment(until)),
                None => format!("{} is not locked: whoever has the right credential can delete it", manifest.name),
            };
            let verdict = Verdict::new("lock", below(kept, limit, State::Critical), message).about(&storage.store);
            Some(verdict.measured(kept, limit, "seconds").hint(
                "push with --lock-until, into a bucket with object lock: dr-push(1); dr-doctor(1) tells what a store enforces",
            ))
        };
    let mut verdicts: Vec<Verdict> = scene.facts.storage.iter().filter_map(of).collect();
    // What is promised of a store that nobody asked must not pass for kept.
    let (silent, asked) = (scene.silent(), |name: &str| scene.facts.storage.iter().any(|storage| storage.store == name));
    let promised = scene.objectives.store.iter().filter(|tier| tier.lock.is_some_and(|lock| lock.0 > 0.0));
    let unasked = promised.filter(|tier| !scene.facts.storage.is_empty() && !asked(&tier.name) && !silent.contains(&&*tier.name));
    verdicts.extend(unasked.map(|tier| {
        Verdict::new("lock", State::Unknown, "this store was not asked")
            .about(&tier.name)
            .hint("name it with --from (DR_FROM), as the objectives name it")
    }));
    verdicts
}

/// How old what stores and servers have said is: from facts of yesterday nobody sees what has failed since.
pub fn facts(scene: &Scene) -> Vec<Verdict> {
    let limit = scene.objectives.facts.0;
    let stores = scene.facts.storage.iter().map(|storage| (storage.store.as_str(), storage.seen_at));
    let servers = scene.facts.servers.iter().map(|server| (server.server.as_str(), server.seen_at));
    let mut newest: BTreeMap<&str, DateTime<Utc>> = BTreeMap::new();
    for (name, at) in stores.chain(servers) {
        let seen = newest.entry(name).or_insert(at);
        *seen = at.max(*seen);
    }
    let oldest = newest.into_iter().min_by_key(|(_, at)| *at).filter(|_| limit > 0.0);
    let of = |(name, at)| {
        let age = scene.age(at);
        let message = format!("what {name} said is {} old, of at most {}", span(age), span(limit));
        let verdict = Verdict::new("facts-age", above(age, limit, State::Unknown), message).measured(age, limit, "seconds");
        verdict.hint("see why dr-check --facts does not run, and judge what it says at once")
    };
    oldest.map(of).into_iter().collect()
}

/// How full the stores are whose size is known.
pub fn used(scene: &Scene) -> Vec<Verdict> {
    let limit = scene.objectives.storage_used;
    let of = |storage: &dr_pipe::record::Storage| {
        let (used, free) = (storage.used_ratio()? * 100.0, storage.free_bytes?);
        let message = format!("{used:.0} % are used, {} are free", indicatif::HumanBytes(free));
        let verdict = Verdict::new("storage-used", above(used, limit, State::Warning), message).about(&storage.store);
        Some(
            verdict
                .measured(used, limit, "percent")
                .hint("keep fewer backups (dr-prune(1)), or give it more room, before backups fail"),
        )
    };
    if limit == 0.0 { Vec::new() } else { scene.facts.storage.iter().filter_map(of).collect() }
}

/// How old the newest is in each store of which that is promised.
pub fn tiers(scene: &Scene) -> Vec<Verdict> {
    let silent = scene.silent();
    let mut verdicts = Vec::new();
    for tier in &scene.objectives.store {
        let unknown = silent.contains(&tier.name.as_str());
        for (check, kind) in [("store-dump-age", Kind::Dump), ("store-base-age", Kind::Base), ("store-files-age", Kind::Files)] {
            let newest = newest_in(scene, &tier.name, Some(kind)).map(|backup| backup.manifest.taken_at);
            verdicts.push((check, &tier.name, kind.to_string(), newest, tier.of(kind).0, unknown));
        }
        let wal = scene.facts.wal.iter().filter(|wal| wal.store == tier.name).filter_map(|wal| wal.stored_at).max();
        verdicts.push(("store-wal-age", &tier.name, "WAL".into(), wal, tier.wal.0, unknown));
    }
    let of = |(check, store, what, newest, limit, unknown): (_, &String, String, Option<_>, f64, bool)| {
        let verdict = match newest {
            Some(newest) => {
                let age = scene.age(newest);
                let message = format!("the newest {what} there is {} old, of at most {}", span(age), span(limit));
                Verdict::new(check, above(age, limit, State::Critical), message).measured(age, limit, "seconds")
            }
            None if unknown => Verdict::new(check, State::Unknown, "the store does not answer"),
            None => Verdict::new(check, State::Critical, format!("there is no {what} there")),
        };
        (limit > 0.0).then(|| {
            verdict.about(store).hint("see why dr-copy-offsite@.service does not run, or fails: dr-keeping(7), dr-copy(1)")
        })
    };
    verdicts.into_iter().filter_map(of).collect()
}

/// What dr-verify has found to be wrong.
pub fn findings(scene: &Scene) -> Vec<Verdict> {
    let facts = &scene.facts;
    let mut stores: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for verified in &facts.verified {
        stores.entry(&verified.backup.store).or_default();
    }
    for finding in &facts.findings {
        let object = finding.backup.as_ref().or(finding.object.as_ref()).map(|name| format!("{name}: ")).unwrap_or_default();
        stores.entry(&finding.store).or_default().push(format!("{object}{}", finding.message));
    }
    let of = |(store, wrong): (&str, Vec<String>)| {
        let message = match wrong.first() {
            None => "nothing is found to be wrong".into(),
            Some(first) if wrong.len() == 1 => first.clone(),
            Some(first) => format!("{} things are wrong; the first: {first}", wrong.len()),
        };
        let state = above(wrong.len() as f64, 0.0, State::Critical);
        let verdict = Verdict::new("findings", state, message).about(store).measured(wrong.len() as f64, 0.0, "count");
        verdict.hint("dr-verify(1) says what to do about each")
    };
    stores.into_iter().map(of).collect()
}

/// The newest backup in a store, of a kind.
fn newest_in<'a>(scene: &Scene<'a>, store: &str, kind: Option<Kind>) -> Option<&'a Backup> {
    // Of a kind, that is: all there is of it, and not definitions or some tables.
    let is_it = |backup: &&Backup| {
        let manifest = &backup.manifest;
        backup.store == store && kind.is_none_or(|kind| kind == manifest.kind && manifest.produced.only.is_none())
    };
    scene.facts.backups.iter().filter(is_it).max_by_key(|backup| backup.manifest.taken_at)
}
