//! Does the server archive, and do its standbys follow?

use chrono::{DateTime, Utc};
use dr_pipe::record::{Replica, Server, Slot, State};
use indicatif::HumanBytes;

use super::Scene;
use super::verdict::{Verdict, above};
use crate::words::{self, moment, span};

/// Connections that come and go: a base is read through one of the first state.
const PASSING: [&str; 2] = ["backup", "startup"];

/// What to do where nothing is remembered.
const WRITE: &str = "let dr-check write to its state directory, or name another with DR_STATE";

/// What is there now, and what is expected and was never seen: since now, then.
pub fn seen(scene: &Scene) -> Vec<(String, DateTime<Utc>)> {
    let mut seen = Vec::new();
    let known = |key: &String| scene.memory.seen.contains_key(key);
    let replicas: Vec<&Replica> = scene.facts.servers.iter().flat_map(|server| &server.replicas).collect();
    for name in &scene.objectives.standbys {
        let here = replicas.iter().any(|replica| replica.name == *name && replica.state == "streaming");
        let key = standby_key(name);
        if here || !known(&key) && !scene.forgets {
            seen.push((key, scene.now));
        }
    }
    for slot in scene.facts.servers.iter().flat_map(|server| &server.slots) {
        let key = slot_key(slot);
        if slot.active || !known(&key) && !scene.forgets {
            seen.push((key, scene.now));
        }
    }
    seen
}

fn standby_key(name: &str) -> String {
    format!("standby {name}")
}

fn slot_key(slot: &Slot) -> String {
    format!("slot {}", slot.name)
}

/// All that is said of each server.
pub fn all(scene: &Scene) -> Vec<Verdict> {
    let mut verdicts: Vec<Verdict> = scene
        .facts
        .servers
        .iter()
        .flat_map(|server| {
            let archiver = if server.archiving { [failure(scene, server), waiting(scene, server)] } else { [None, None] };
            let replicas = server.replicas.iter().filter_map(|replica| lag(scene, replica));
            let slots = server.slots.iter().filter_map(|one| slot(scene, one));
            archiver.into_iter().flatten().chain(replicas).chain(slots).collect::<Vec<_>>()
        })
        .collect();
    verdicts.extend(standbys(scene));
    verdicts
}

/// Whether archiving fails, or has failed a moment ago.
fn failure(scene: &Scene, server: &Server) -> Option<Verdict> {
    let limit = scene.objectives.archive_failure.0;
    if limit == 0.0 {
        return None;
    }
    let verdict = |state, message: String| {
        Verdict::new("archive-failure", state, message).measured(server.archive_failures as f64, 0.0, "count")
    };
    let hint = "the server's log has what archive_command said; dr-doctor --archive-settings looks into its settings";
    let (segment, at) = match (&server.archive_failed, server.archive_failed_at) {
        (Some(segment), Some(at)) => (segment, at),
        _ => return Some(verdict(State::Ok, "archiving has never failed".into())),
    };
    let failing = server.archived_at.is_none_or(|archived| archived <= at);
    Some(match (failing, scene.age(at) <= limit) {
        (true, _) => verdict(State::Critical, format!("archiving fails: {segment}, at {} the last time", moment(at))).hint(hint),
        (false, true) => verdict(State::Warning, format!("archiving failed at {} ({segment}), and goes on", moment(at))).hint(hint),
        (false, false) => verdict(State::Ok, format!("archiving goes on; it failed last at {}", moment(at))),
    })
}

/// How many segments wait.
fn waiting(scene: &Scene, server: &Server) -> Option<Verdict> {
    let (count, limit) = (server.waiting_segments as f64, f64::from(scene.objectives.waiting_segments));
    let message = format!(
        "{} to be archived; pg_wal has {}",
        words::count(server.waiting_segments as usize, "segment"),
        HumanBytes(server.wal_bytes)
    );
    let verdict = Verdict::new("archive-waiting", above(count, limit, State::Critical), message).measured(count, limit, "count");
    (limit > 0.0).then(|| verdict.hint("archiving fails or is too slow: pg_wal fills until the server stops"))
}

/// How far one that receives WAL is behind.
fn lag(scene: &Scene, replica: &Replica) -> Option<Verdict> {
    let limit = scene.objectives.replication_lag.0;
    if limit == 0 || PASSING.contains(&replica.state.as_str()) {
        return None;
    }
    let message = format!("{} behind, {}", HumanBytes(replica.lag_bytes), replica.state);
    let state = if replica.lag_bytes > limit { State::Critical } else { State::Ok };
    let verdict = Verdict::new("replication-lag", state, message).about(&replica.name);
    Some(
        verdict
            .measured(replica.lag_bytes as f64, limit as f64, "bytes")
            .hint("see the standby's log, its disks and the network between; a long query there can hold replay back"),
    )
}

/// Whether those who should be connected are.
fn standbys(scene: &Scene) -> Vec<Verdict> {
    let limit = scene.objectives.standby_away.0;
    // A server that does not answer is told by another check, and says nothing of its standbys.
    if limit == 0.0 || scene.facts.servers.is_empty() {
        return Vec::new();
    }
    let of = |name: &String| {
        let Some(seen) = scene.memory.seen.get(&standby_key(name)) else {
            let message = "it is not connected, and since when cannot be remembered";
            return Verdict::new("standby", State::Unknown, message).about(name).hint(WRITE);
        };
        let away = scene.age(*seen);
        let message = if away == 0.0 {
            "it is connected, or was not expected before".into()
        } else {
            format!("it has been away for {}", span(away))
        };
        let verdict = Verdict::new("standby", above(away, limit, State::Critical), message).about(name);
        verdict
            .measured(away, limit, "seconds")
            .hint("see whether it runs, and its log: without a slot the server does not keep WAL for it")
    };
    scene.objectives.standbys.iter().map(of).collect()
}

/// Whether a slot is used, and what it keeps back.
fn slot(scene: &Scene, slot: &Slot) -> Option<Verdict> {
    let (limit, kept) = (scene.objectives.standby_away.0, scene.objectives.slot_kept.0);
    let seen = scene.memory.seen.get(&slot_key(slot));
    let away = seen.map_or(0.0, |at| scene.age(*at));
    let (state, message) = if slot.lost {
        (State::Critical, "WAL that it needs is gone: who uses it cannot go on".to_owned())
    } else if kept > 0 && slot.kept_bytes > kept {
        (State::Critical, format!("it keeps {} of WAL back", HumanBytes(slot.kept_bytes)))
    } else if limit > 0.0 && seen.is_none() {
        let message = "nobody receives from it, and since when cannot be remembered";
        return Some(Verdict::new("slot", State::Unknown, message).about(&slot.name).hint(WRITE));
    } else if limit > 0.0 && away > limit {
        (
            State::Critical,
            format!("nobody has received from it for {}; it keeps {} of WAL", span(away), HumanBytes(slot.kept_bytes)),
        )
    } else {
        (State::Ok, format!("it keeps {} of WAL", HumanBytes(slot.kept_bytes)))
    };
    let verdict = Verdict::new("slot", state, message).about(&slot.name);
    let hint = "start who uses it, or make it anew; one that nobody needs fills pg_wal: pg_drop_replication_slot";
    (limit > 0.0 || kept > 0 || slot.lost).then(|| verdict.measured(slot.kept_bytes as f64, kept as f64, "bytes").hint(hint))
}
