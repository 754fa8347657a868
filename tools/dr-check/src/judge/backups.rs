//! Are there backups: young enough, enough of them, of the size they should have?

use std::collections::{BTreeMap, BTreeSet};

use dr_pipe::record::{Depth, Kind, Manifest, State};

use super::Scene;
use super::verdict::{Verdict, above, below};
use crate::objectives::Age;
use crate::words::{self, moment, span};

const KINDS: [Kind; 3] = [Kind::Dump, Kind::Base, Kind::Files];

/// Whether there is any backup, where stores were asked.
pub fn any(scene: &Scene) -> Vec<Verdict> {
    let silent = scene.silent();
    if !scene.asked() && scene.backups.is_empty() {
        return Vec::new();
    }
    let count = scene.backups.len() as f64;
    let verdict = match (scene.backups.is_empty(), silent.is_empty()) {
        (false, _) => Verdict::new("backups", State::Ok, format!("{} in all", words::count(scene.backups.len(), "backup"))),
        (true, true) => Verdict::new("backups", State::Critical, "there is no backup at all"),
        (true, false) => Verdict::new("backups", State::Unknown, "no store answers that holds a backup"),
    };
    vec![
        verdict
            .measured(count, 1.0, "count")
            .hint("see whether the stores and the cluster's name are right: dr-list shows what is there"),
    ]
}

/// How old the newest backups are: of each database, of the cluster, of its files.
pub fn ages(scene: &Scene) -> Vec<Verdict> {
    let mut verdicts = dumps(scene);
    for (kind, check) in [(Kind::Base, "base-age"), (Kind::Files, "files-age")] {
        let limit = scene.objectives.age.of(kind);
        let newest = scene.backups.iter().rev().find(|manifest| manifest.kind == kind);
        verdicts.extend(age(scene, check, &kind.to_string(), newest.copied(), limit));
    }
    verdicts
}

/// Dumps by database. One that was dropped keeps no dump young: it is forgotten after a while, unless it is expected by name.
fn dumps(scene: &Scene) -> Vec<Verdict> {
    let limit = scene.objectives.age.of(Kind::Dump);
    let mut newest: BTreeMap<Option<&str>, &Manifest> = BTreeMap::new();
    for manifest in scene.backups.iter().filter(|manifest| is_whole(manifest) && manifest.kind == Kind::Dump) {
        newest.insert(manifest.produced.database.as_deref(), manifest);
    }
    let expected = &scene.objectives.databases;
    if !expected.is_empty() {
        let of = |database: &String| {
            let newest = newest.get(&Some(database.as_str())).copied();
            let asked = Age { asked: true, ..limit };
            age(scene, "dump-age", &format!("dump of {database}"), newest, asked).map(|verdict| verdict.about(database))
        };
        return expected.iter().filter_map(of).collect();
    }
    if newest.is_empty() {
        return age(scene, "dump-age", "dump", None, limit).into_iter().collect();
    }
    let last = newest.values().map(|manifest| manifest.taken_at).max();
    let forget = scene.objectives.forget.0;
    newest.retain(|_, manifest| Some(manifest.taken_at) == last || forget == 0.0 || scene.age(manifest.taken_at) <= forget);
    let of = |(database, manifest): (&Option<&str>, &&Manifest)| match database {
        Some(database) => {
            let verdict = age(scene, "dump-age", &format!("dump of {database}"), Some(manifest), limit);
            verdict.map(|verdict| verdict.about(*database))
        }
        None => age(scene, "dump-age", "dump", Some(manifest), limit),
    };
    newest.iter().filter_map(of).collect()
}

/// The age of the newest; none where it is not watched, or is not there and nobody asked for it.
fn age(scene: &Scene, check: &'static str, what: &str, newest: Option<&Manifest>, limit: Age) -> Option<Verdict> {
    if limit.seconds == 0.0 {
        return None;
    }
    let Some(newest) = newest else {
        let state = if scene.silent().is_empty() { State::Critical } else { State::Unknown };
        let missing = || Verdict::new(check, state, format!("there is no {what}")).hint("make one: see dr(7)");
        // Where no store was asked, the runs of the job say when it was made.
        let known = !scene.asked()
            && scene.facts.runs.iter().any(|run| run.is_done() && check.strip_suffix("-age") == Some(run.job.name()));
        return (limit.asked && !known).then(missing);
    };
    let age = scene.age(newest.taken_at);
    let message = format!("the newest {what} is {} old, of at most {}: {}", span(age), span(limit.seconds), newest.name);
    let verdict = Verdict::new(check, above(age, limit.seconds, State::Critical), message);
    Some(
        verdict
            .measured(age, limit.seconds, "seconds")
            .hint("see why the job does not run, or fails: its host's journal and run history say"),
    )
}

/// Whether a backup is of all there is, rather than of definitions or some tables.
fn is_whole(manifest: &Manifest) -> bool {
    manifest.produced.only.is_none()
}

/// How the newest backup of each database compares with the one before it.
pub fn sizes(scene: &Scene) -> Vec<Verdict> {
    let limit = scene.objectives.size_change;
    if limit == 0.0 {
        return Vec::new();
    }
    let mut groups: BTreeMap<(Kind, Option<&str>), Vec<&Manifest>> = BTreeMap::new();
    for manifest in scene.backups.iter().copied().filter(|manifest| is_whole(manifest)) {
        groups.entry((manifest.kind, manifest.produced.database.as_deref())).or_default().push(manifest);
    }
    let of = |((kind, database), backups): ((Kind, Option<&str>), Vec<&Manifest>)| {
        let [.., before, newest] = backups[..] else { return None };
        let change = (newest.bytes as f64 - before.bytes as f64) / (before.bytes.max(1)) as f64 * 100.0;
        let message = format!(
            "{} is {:.0} % {} than {}",
            newest.name,
            change.abs(),
            if change < 0.0 { "smaller" } else { "larger" },
            before.name
        );
        let verdict = Verdict::new("size", above(change.abs(), limit, State::Warning), message);
        let verdict = verdict.about(database.map_or_else(|| kind.to_string(), Into::into)).measured(change.abs(), limit, "percent");
        Some(verdict.hint("see whether that much data has come or gone; a drill tells what can be restored"))
    };
    groups.into_iter().filter_map(of).collect()
}

/// How many backups of each kind are known to be good.
pub fn verified(scene: &Scene) -> Vec<Verdict> {
    let limit = scene.objectives.verified.unwrap_or(2);
    let facts = &scene.facts.verified;
    if limit == 0 || facts.is_empty() && scene.objectives.verified.is_none() {
        return Vec::new();
    }
    if facts.is_empty() {
        let verdict = Verdict::new("verified", State::Unknown, "nothing is known of what was verified");
        return vec![verdict.hint("pipe what `dr-verify --remembered --json` says into dr-check, with the other facts")];
    }
    let of = |kind: Kind| {
        let of_kind = facts.iter().filter(|verified| verified.backup.manifest.kind == kind);
        let all: BTreeSet<&str> = of_kind.clone().map(|verified| verified.backup.manifest.name.as_str()).collect();
        let good = of_kind.filter(|verified| verified.good && verified.depth >= Depth::Bytes);
        let good = good.map(|verified| verified.backup.manifest.name.as_str()).collect::<BTreeSet<_>>().len();
        let message = format!("of {}, {good} known to be good, of at least {limit}", words::count(all.len(), &kind.to_string()));
        let verdict =
            Verdict::new("verified", below(good as f64, f64::from(limit), State::Warning), message).about(kind.to_string());
        let verdict = verdict.measured(good as f64, limit.into(), "count").hint("enable dr-verify@.timer, see dr-keeping(7)");
        (!all.is_empty()).then_some(verdict)
    };
    KINDS.into_iter().filter_map(of).collect()
}

/// How many can decrypt the newest backup of each kind.
pub fn recipients(scene: &Scene) -> Vec<Verdict> {
    let limit = scene.objectives.recipients;
    let of = |kind: Kind| {
        let newest = scene.backups.iter().rev().find(|manifest| manifest.kind == kind)?;
        let count = newest.recipients.len();
        let message = match count {
            0 => format!("{} is not encrypted", newest.name),
            1 => format!("one key alone decrypts {}: whoever loses it loses all", newest.name),
            _ => format!("{count} keys decrypt {}", newest.name),
        };
        let verdict =
            Verdict::new("recipients", below(count as f64, f64::from(limit), State::Warning), message).about(kind.to_string());
        Some(
            verdict
                .measured(count as f64, limit.into(), "count")
                .hint("encrypt to a second key that is kept elsewhere: dr-encrypt -r, or -R FILE"),
        )
    };
    if limit == 0 { Vec::new() } else { KINDS.into_iter().filter_map(of).collect() }
}

/// Whether something is newer than now: then no age means anything.
pub fn clock(scene: &Scene) -> Vec<Verdict> {
    let limit = scene.objectives.clock.0;
    let backups = scene.backups.iter().map(|manifest| (manifest.taken_at.max(manifest.stored_at), &manifest.name));
    let facts = scene.facts;
    let runs = facts.runs.iter().map(|run| (run.finished_at, &run.host));
    let drills = facts.drills.iter().map(|drill| (drill.finished_at, &drill.name));
    let wal = facts.wal.iter().filter_map(|wal| Some((wal.stored_at?, &wal.last)));
    let verified = facts.verified.iter().filter_map(|verified| Some((verified.verified_at?, &verified.backup.manifest.name)));
    let servers = facts.servers.iter().map(|server| (server.seen_at, &server.server));
    let stores = facts.storage.iter().map(|storage| (storage.seen_at, &storage.store));
    let all = backups.chain(runs).chain(drills).chain(wal).chain(verified).chain(servers).chain(stores);
    let Some((newest, of)) = all.max().filter(|_| limit > 0.0) else { return Vec::new() };
    let ahead = ((newest - scene.now).num_milliseconds() as f64 / 1000.0).max(0.0);
    let state = above(ahead, limit, State::Critical);
    let message = match state {
        State::Ok => format!("nothing is newer than now, {}", moment(scene.now)),
        _ => format!("{} is of {}, {} from now: a clock is wrong", of, moment(newest), span(ahead)),
    };
    vec![
        Verdict::new("clock", state, message)
            .measured(ahead, limit, "seconds")
            .hint("see chronyc tracking, or timedatectl, on both hosts; ages mean nothing until then"),
    ]
}
