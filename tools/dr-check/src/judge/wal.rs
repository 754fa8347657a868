//! Does WAL reach the stores, without a gap, and soon enough?

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use dr_pipe::record::{Job, Kind, State, WalKept};
use dr_wal::gaps::{self, Gaps};
use dr_wal::window::{Held, Point};
use dr_wal::{Lsn, SegmentName, SegmentSize, Timeline};

use super::Scene;
use super::verdict::{Verdict, above};
use crate::words::{self, some, span};

/// A server that has written less than this since is idle: PostgreSQL notes that it is, and archives nothing for that.
const IDLE_BYTES: u64 = 8192;
/// Under which name it is remembered when the stores had all that the server had written.
const KEPT_UP: &str = "wal";

/// How far the WAL of a store goes, and since when.
struct Reached {
    until: Lsn,
    at: Option<DateTime<Utc>>,
}

fn reached(scene: &Scene) -> Option<Reached> {
    let until = |wal: &dr_pipe::record::Wal| {
        let size = SegmentSize::try_from(wal.wal_segment_bytes).ok()?;
        wal.until_lsn.as_deref().map_or_else(|| Some(wal.last.parse::<SegmentName>().ok()?.end(size)), |lsn| lsn.parse().ok())
    };
    // The newest timeline is that of the server, however far one before it went. And a copy of it that came late, or an old one
    // that came today, does not make it younger.
    let ends: Vec<_> = scene.facts.wal.iter().filter_map(|wal| Some(((wal.timeline, until(wal)?), wal.stored_at))).collect();
    let last = ends.iter().map(|(end, _)| *end).max()?;
    let at = ends.iter().filter(|(end, _)| *end == last).filter_map(|(_, at)| *at).min();
    Some(Reached { until: last.1, at })
}

/// Whether the stores have all that the server has written; none where no server was asked.
fn has_all(scene: &Scene, reached: &Reached) -> Option<bool> {
    let written = scene.facts.servers.iter().filter_map(|server| server.written_lsn.as_deref()?.parse::<Lsn>().ok()).max()?;
    let waiting: u64 = scene.facts.servers.iter().map(|server| server.waiting_segments).sum();
    Some(waiting == 0 && written.0 <= reached.until.0 + IDLE_BYTES)
}

/// What is to be remembered of it.
pub fn seen(scene: &Scene) -> Option<(String, DateTime<Utc>)> {
    has_all(scene, &reached(scene)?)?.then(|| (KEPT_UP.to_owned(), scene.now))
}

/// For how long the server has had WAL that no store has.
fn behind(scene: &Scene, reached: &Reached) -> Option<f64> {
    let kept_up = scene.memory.seen.get(KEPT_UP).copied();
    match has_all(scene, reached) {
        Some(true) => Some(0.0),
        Some(false) => reached.at.max(kept_up).map(|at| scene.age(at)),
        None => reached.at.map(|at| scene.age(at)),
    }
}

/// How far the stores are behind the server.
pub fn lag(scene: &Scene) -> Vec<Verdict> {
    let limit = scene.objectives.age.of_job(Job::Wal);
    if limit.seconds == 0.0 {
        return Vec::new();
    }
    let archives = scene.facts.servers.iter().any(|server| server.archiving && !server.standby);
    let stores = !scene.facts.storage.is_empty() || !scene.silent().is_empty();
    let Some(reached) = reached(scene) else {
        let state = if scene.silent().is_empty() { State::Critical } else { State::Unknown };
        let verdict = Verdict::new("wal-lag", state, "no WAL is stored")
            .hint("see dr-wal-push(1); dr-doctor(1) prints the settings it needs");
        return if limit.asked || archives && stores { vec![verdict] } else { Vec::new() };
    };
    let (asked, behind) = (has_all(scene, &reached), behind(scene, &reached));
    let Some(behind) = behind else {
        return vec![Verdict::new("wal-lag", State::Unknown, "the stores do not say when they got WAL")];
    };
    let message = match asked {
        Some(true) => format!("the stores have all that was written, up to {}", reached.until),
        Some(false) => format!("for {} the server has had WAL that no store has, behind {}", span(behind), reached.until),
        None => format!(
            "the newest WAL was stored {} ago, up to {}; whether the server went on is not known",
            span(behind),
            reached.until
        ),
    };
    let state = above(behind, limit.seconds, State::Critical);
    let hint = "see pg_stat_archiver, the server's log, and dr-wal-push(1) or dr-wal-receive(1); where the database is idle, let dr-check ask the server";
    vec![Verdict::new("wal-lag", state, message).measured(behind, limit.seconds, "seconds").hint(hint)]
}

/// Whether WAL is missing from any base on.
pub fn gaps(scene: &Scene) -> Vec<Verdict> {
    let Some((gaps, names)) = missing(scene) else { return Vec::new() };
    let lost: Vec<_> = gaps.holes.iter().filter(|hole| !hole.pruned).collect();
    let count = lost.iter().map(|hole| hole.segments).sum::<u64>() + gaps.broken.len() as u64;
    let message = if let Some((place, missing)) = gaps.broken.first() {
        format!("{} cannot be restored: WAL is missing, {missing}", names[*place])
    } else if let Some(hole) = lost.first() {
        let bases: Vec<String> = hole.bases.iter().map(|place| names[*place].clone()).collect();
        format!("WAL is missing, {}: {} can be recovered no further", hole.missing, some(&bases))
    } else {
        format!("no WAL is missing: {} to begin at", words::count(names.len(), "base"))
    };
    let state = match above(count as f64, 0.0, State::Critical) {
        State::Critical if !scene.silent().is_empty() => State::Unknown,
        state => state,
    };
    let hint = "push it again where the server still has it, or copy it from another store; else take a base now: dr-verify(1) tells what is lost";
    vec![Verdict::new("wal-gap", state, message).measured(count as f64, 0.0, "count").hint(hint)]
}

/// What is missing, and the names of the bases; none where there is no base. Where timelines came from is not known here: each
/// is looked at for itself, and what is missing on the way from one to another only dr-verify tells.
fn missing(scene: &Scene) -> Option<(Gaps, Vec<String>)> {
    // A list of backups alone says nothing of WAL.
    if scene.facts.wal.is_empty() && scene.facts.storage.is_empty() {
        return None;
    }
    let bases: Vec<_> = scene.backups.iter().filter_map(|manifest| Some((*manifest, manifest.produced.base.as_ref()?))).collect();
    let size = scene.facts.wal.iter().map(|wal| wal.wal_segment_bytes).chain(bases.iter().map(|(_, base)| base.wal_segment_bytes));
    let mut held = Held { size: size.filter_map(|size| SegmentSize::try_from(size).ok()).next()?, ..Held::default() };
    let lsn = |text: &Option<String>| text.as_deref().and_then(|lsn| lsn.parse::<Lsn>().ok());
    let mut streamed = Vec::new();
    for wal in &scene.facts.wal {
        let (Ok(first), Ok(last)) = (wal.first.parse::<SegmentName>(), wal.last.parse::<SegmentName>()) else { continue };
        if wal.segments == 0 {
            let bytes = |at: Option<Lsn>| at.map_or(0, |at| at.0.saturating_sub(first.start(held.size).0));
            streamed.push((first, bytes(lsn(&wal.until_lsn)), bytes(lsn(&wal.resumes_lsn))));
            continue;
        }
        held.whole.extend(SegmentName::holding(first.timeline, first.start(held.size), last.end(held.size), held.size));
    }
    held.add_streamed(streamed);
    let point = |(place, (manifest, base)): (usize, &(&dr_pipe::record::Manifest, &dr_pipe::record::Base))| {
        Some(Point {
            place,
            name: manifest.name.clone(),
            timeline: Timeline(base.timeline),
            start: base.start_lsn.parse().ok()?,
            stop: base.stop_lsn.parse().ok()?,
            stopped_at: base.stopped_at,
            wal_inside: base.wal == WalKept::Inside,
        })
    };
    let points: Vec<Point> = bases.iter().enumerate().filter_map(point).collect();
    let names = bases.iter().map(|(manifest, _)| manifest.name.clone()).collect();
    (!points.is_empty()).then(|| (gaps::find(&held, &points, &|_| false), names))
}

/// What would be lost if the cluster were lost now: what no store has of its WAL, where a base leads up to it; else all since the
/// newest backup.
pub fn rpo(scene: &Scene) -> Vec<Verdict> {
    let limit = scene.objectives.rpo.0;
    if limit == 0.0 {
        return Vec::new();
    }
    let newest = |kind: Kind| scene.backups.iter().rev().find(|manifest| manifest.kind == kind && manifest.produced.only.is_none());
    let usable = missing(scene).is_some_and(|(gaps, names)| {
        let last = names.len().saturating_sub(1);
        !gaps.broken.iter().any(|(place, _)| *place == last) && !gaps.holes.iter().any(|hole| hole.bases.contains(&last))
    });
    let by_wal = reached(scene).filter(|_| usable).and_then(|reached| behind(scene, &reached));
    let base = newest(Kind::Base).map(|manifest| scene.age(manifest.taken_at));
    let mut databases: BTreeMap<Option<&str>, f64> = BTreeMap::new();
    for manifest in scene.backups.iter().filter(|manifest| manifest.kind == Kind::Dump && manifest.produced.only.is_none()) {
        databases.insert(manifest.produced.database.as_deref(), scene.age(manifest.taken_at));
    }
    let forget = scene.objectives.forget.0;
    let dumps = databases.values().copied().filter(|age| forget == 0.0 || *age <= forget).max_by(f64::total_cmp);
    let lost = [by_wal, base, dumps].into_iter().flatten().min_by(f64::total_cmp);
    let hint = "see the checks wal-lag, base-age and dump-age";
    vec![match lost {
        Some(lost) => {
            let message = format!("if the cluster were lost now, {} would be lost, of at most {}", span(lost), span(limit));
            Verdict::new("rpo", above(lost, limit, State::Critical), message).measured(lost, limit, "seconds").hint(hint)
        }
        None if !scene.asked() && scene.facts.wal.is_empty() => {
            Verdict::new("rpo", State::Unknown, "no store was asked").hint("name the stores with --from, or DR_FROM")
        }
        None if scene.silent().is_empty() => {
            Verdict::new("rpo", State::Critical, "if the cluster were lost now, all would be lost").hint(hint)
        }
        None => Verdict::new("rpo", State::Unknown, "no store answers that holds a backup").hint(hint),
    }]
}
