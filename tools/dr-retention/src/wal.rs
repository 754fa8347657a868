//! Which WAL does no kept base need?
//!
//! What a base needs is a stretch of the log, in bytes: its own, from where its replay begins to where it is consistent; and, where
//! recovery is to go on from it, all that follows. Which timeline came from which is not asked: it may be any that is newer.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::catalogue::{Needs, RunRow};
use crate::{Catalogue, Policy, Range, Verdict};

/// The end of the log.
const END: u64 = u64::MAX;
/// How many reasons a range is given at most.
const MOST_REASONS: usize = 4;

/// What was decided about a range of WAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalDecision<'a> {
    /// The range.
    pub range: Range<'a>,
    /// Whether it stays.
    pub keep: bool,
    /// Why, or what allows it to go.
    pub reasons: Vec<String>,
}

/// A stretch of the log that somebody needs, in bytes: from the first to before the last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stretch {
    from: u64,
    to: u64,
    why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    /// The base at this place of the catalogue cannot be restored without it, nor can so many others.
    Own { backup: u32, others: u32 },
    /// Recovery may begin at this base.
    Window { backup: u32 },
    /// It is not known who needs it.
    Doubt(String),
}

/// A base that stays.
#[derive(Clone, Copy, Debug)]
struct Kept {
    backup: u32,
    needs: Needs,
    counts: bool,
}

/// What is known of the bases of one cluster in one store.
#[derive(Debug, Default)]
struct Site {
    /// Those that stay.
    bases: Vec<Kept>,
    /// Those of them from which recovery is to go on.
    starts: Vec<Kept>,
    /// Why nothing may go, as far as bases of this site need it, wherever it lies.
    doubt: Option<String>,
    /// What is needed of each timeline that was asked for, in order and apart.
    needed: HashMap<u32, Vec<Stretch>>,
}

pub(crate) fn decide<'a>(
    catalogue: &'a Catalogue,
    policy: &Policy,
    verdicts: &[Verdict],
    frozen: &[bool],
    now: DateTime<Utc>,
) -> Vec<WalDecision<'a>> {
    let mut sites = sites(catalogue, policy, verdicts, frozen, now);
    let mut decisions = Vec::new();
    for run in &catalogue.runs {
        let stretches = needed(catalogue, &mut sites, run);
        split(catalogue, run, &stretches, &mut decisions);
    }
    decisions
}

fn sites(catalogue: &Catalogue, policy: &Policy, verdicts: &[Verdict], frozen: &[bool], now: DateTime<Utc>) -> Vec<Site> {
    let mut sites: Vec<Site> = catalogue.places.iter().map(|_| Site::default()).collect();
    for base in catalogue.bases.iter().filter(|base| verdicts[base.backup as usize].keeps()) {
        let row = &catalogue.rows[base.backup as usize];
        let site = &mut sites[catalogue.groups[row.group as usize].place as usize];
        match base.needs {
            Some(needs) => site.bases.push(Kept { backup: base.backup, needs, counts: verdicts[base.backup as usize].counts() }),
            None => site.doubt = Some(format!("what {} needs is not known", catalogue.name(base.backup as usize))),
        }
    }
    for ((site, place), frozen) in sites.iter_mut().zip(&catalogue.places).zip(frozen) {
        if *frozen && !site.bases.is_empty() {
            site.doubt = Some("clock".into());
        }
        let windows = policy.windows.iter().filter(|window| window.scope.has_place(&place.store, &place.cluster));
        // Of several the widest; one that goes back before all time is.
        let since = windows.map(|window| window.age.before(now).map_or(i64::MIN, |at| at.timestamp_micros())).min();
        site.starts = starts(&site.bases, since);
    }
    sites
}

/// The bases from which recovery is to go on: those of the window, and the last verified one before it, from which its beginning is
/// reached. Those that are not verified never stand for it: what is between them and it stays as well.
fn starts(bases: &[Kept], since: Option<i64>) -> Vec<Kept> {
    let since = since.unwrap_or(i64::MIN);
    let before = bases.iter().filter(|base| base.counts && base.needs.stopped_at < since);
    let first = before.map(|base| base.needs.stopped_at).max().unwrap_or(i64::MIN);
    bases.iter().filter(|base| base.needs.stopped_at >= first.min(since)).copied().collect()
}

/// Every stretch that is needed of a run, by bases of its own site, or of another that lacks it.
fn needed(catalogue: &Catalogue, sites: &mut [Site], run: &RunRow) -> Vec<Stretch> {
    let (from, to) = (run.first.saturating_mul(run.segment_bytes), (run.last + 1).saturating_mul(run.segment_bytes));
    let cluster = &catalogue.places[run.place as usize].cluster;
    let mut found = sites[run.place as usize].of(run.timeline, from, to);
    found.extend(sites[run.place as usize].doubts(run));
    for (place, other) in catalogue.places.iter().enumerate() {
        if place == run.place as usize || other.cluster != *cluster {
            continue;
        }
        for stretch in sites[place].of(run.timeline, from, to) {
            let lacking = lacking(catalogue, place as u32, run.timeline, &stretch);
            found.extend(lacking.into_iter().map(|(from, to)| Stretch { from, to, why: stretch.why.clone() }));
        }
    }
    found
}

/// What of a stretch does not lie at `place` itself.
fn lacking(catalogue: &Catalogue, place: u32, timeline: u32, stretch: &Stretch) -> Vec<(u64, u64)> {
    let mut there: Vec<(u64, u64)> = catalogue
        .runs
        .iter()
        .filter(|run| run.place == place && run.timeline == timeline)
        .map(|run| (run.first.saturating_mul(run.segment_bytes), (run.last + 1).saturating_mul(run.segment_bytes)))
        .collect();
    there.sort_unstable();
    let (mut at, mut lacking) = (stretch.from, Vec::new());
    for (from, to) in there {
        if at < from.min(stretch.to) {
            lacking.push((at, from.min(stretch.to)));
        }
        at = at.max(to);
    }
    if at < stretch.to {
        lacking.push((at, stretch.to));
    }
    lacking
}

impl Site {
    /// What its bases need of a timeline between `from` and `to`.
    fn of(&mut self, timeline: u32, from: u64, to: u64) -> Vec<Stretch> {
        if let Some(doubt) = &self.doubt {
            return vec![Stretch { from, to, why: Why::Doubt(doubt.clone()) }];
        }
        if !self.needed.contains_key(&timeline) {
            let all = self.all_of(timeline);
            self.needed.insert(timeline, all);
        }
        let all = &self.needed[&timeline];
        let begin = all.partition_point(|stretch| stretch.to <= from);
        all[begin..].iter().take_while(|stretch| stretch.from < to).cloned().collect()
    }

    fn all_of(&self, timeline: u32) -> Vec<Stretch> {
        let on = |base: &&Kept| base.needs.timeline <= timeline;
        let start = self.starts.iter().filter(on).min_by_key(|base| base.needs.start);
        let own = self.bases.iter().filter(on).filter(|base| !base.needs.inside);
        let mut own: Vec<&Kept> = own.filter(|base| start.is_none_or(|start| base.needs.start < start.needs.start)).collect();
        own.sort_by_key(|base| base.needs.start);
        let mut all: Vec<Stretch> = Vec::new();
        for base in own {
            let (from, to) = (base.needs.start, base.needs.stop.saturating_add(1));
            match all.last_mut() {
                Some(Stretch { to: end, why: Why::Own { others, .. }, .. }) if from < *end => {
                    (*end, *others) = ((*end).max(to), *others + 1);
                }
                _ => all.push(Stretch { from, to, why: Why::Own { backup: base.backup, others: 0 } }),
            }
        }
        all.extend(start.map(|base| Stretch { from: base.needs.start, to: END, why: Why::Window { backup: base.backup } }));
        all
    }

    /// Why a run of this site stays whole, though no base is known to need it.
    fn doubts(&self, run: &RunRow) -> Option<Stretch> {
        let all = |why: &str| Some(Stretch { from: 0, to: END, why: Why::Doubt(why.into()) });
        let counting = self.bases.iter().filter(|base| base.counts);
        let newest = counting.clone().map(|base| base.needs.timeline).max();
        let last = counting.map(|base| base.needs.stopped_at).max();
        match (newest, last) {
            (Some(newest), _) if run.timeline > newest => all("its timeline has no verified base yet"),
            (Some(_), Some(last)) => {
                // A log that grows where no recovery would read it is that of a cluster made anew, or left behind by a failover.
                let reads = |base: &&Kept| base.needs.timeline <= run.timeline && base.needs.start / run.segment_bytes <= run.last;
                let is_read = self.starts.iter().filter(|base| base.counts).any(|base| reads(&base));
                let grows = run.stored_at.is_some_and(|at| at > last) && !is_read;
                if grows { all("written to after the newest verified base") } else { None }
            }
            _ => all("no verified base is kept here"),
        }
    }
}

/// Cuts a run into what stays and what may go.
fn split<'a>(catalogue: &'a Catalogue, run: &RunRow, stretches: &[Stretch], decisions: &mut Vec<WalDecision<'a>>) {
    let segments = |stretch: &Stretch| {
        // A segment is needed of which any byte is.
        let last = if stretch.to == END { run.last } else { (stretch.to - 1) / run.segment_bytes };
        ((stretch.from / run.segment_bytes).max(run.first), last.min(run.last))
    };
    let mut kept: Vec<(u64, u64)> = stretches.iter().map(segments).filter(|(first, last)| first <= last).collect();
    kept.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (first, last) in kept {
        match joined.last_mut() {
            Some((_, end)) if first <= *end + 1 => *end = (*end).max(last),
            _ => joined.push((first, last)),
        }
    }
    let gone = |first, last| {
        let reasons = vec!["no kept base needs it".into()];
        WalDecision { range: catalogue.range(run, first, last), keep: false, reasons }
    };
    let mut at = run.first;
    for (first, last) in joined {
        if at < first {
            decisions.push(gone(at, first - 1));
        }
        let of_it = stretches.iter().filter(|stretch| {
            let (from, to) = segments(stretch);
            from <= to && from <= last && to >= first
        });
        decisions.push(WalDecision { range: catalogue.range(run, first, last), keep: true, reasons: reasons(catalogue, of_it) });
        at = last + 1;
    }
    if at <= run.last {
        decisions.push(gone(at, run.last));
    }
}

fn reasons<'a>(catalogue: &Catalogue, stretches: impl Iterator<Item = &'a Stretch>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for stretch in stretches {
        let name = |backup: u32| catalogue.name(backup as usize);
        let words = match &stretch.why {
            Why::Own { backup, others: 0 } => format!("{} needs it", name(*backup)),
            Why::Own { backup, others } => format!("{} and {others} more need it", name(*backup)),
            Why::Window { backup } => format!("recovery from {} on", name(*backup)),
            Why::Doubt(words) => words.clone(),
        };
        if !all.contains(&words) {
            all.push(words);
        }
    }
    if all.len() > MOST_REASONS {
        let more = format!("and {} more", all.len() - MOST_REASONS);
        all.truncate(MOST_REASONS);
        all.push(more);
    }
    all
}
