//! What is going to be done, in all stores: made of proofs alone, before the first write.

use std::collections::BTreeSet;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use dr_catalogue::{RangeTombstone, Tombstone, name, tombstone};
use dr_pipe::record::{Action, Backup, Kind, Manifest};
use dr_pipe::{Exit, Failure, warn};
use dr_wal::{SegmentName, layout};

use crate::TOOL;
use crate::clock::{Clock, SKEW};
use crate::decided::{Decided, Range, Told};
use crate::grave::{Grave, MarkedRange};
use crate::rules::{self, Group};
use crate::share::{Share, Shares};
use crate::survey::Survey;
use crate::wal;

/// What whoever calls allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The time between mark and removal.
    pub grace: TimeDelta,
    /// How old the newest backup of a group may be.
    pub max_age: Option<TimeDelta>,
    /// How much may go at once.
    pub confirm: Option<u64>,
}

/// What is going to be done. Only [`DeletePlan::make`] makes one, from a clock and catalogues that were proved.
#[derive(Debug)]
pub struct DeletePlan<'s> {
    /// The time.
    pub(crate) clock: Clock,
    /// What is going to be done in each store.
    pub(crate) works: Vec<Work<'s>>,
}

/// What is going to be done about one cluster in one store.
#[derive(Debug)]
pub(crate) struct Work<'s> {
    pub(crate) survey: &'s Survey,
    pub(crate) marks: Vec<Grave>,
    pub(crate) waiting: Vec<Grave>,
    /// What is due: marked by an earlier run.
    pub(crate) removals: Vec<Removal>,
    /// What is marked and removed in this very run.
    pub(crate) at_once: Vec<Removal>,
}

/// Something whose data goes.
#[derive(Debug)]
pub(crate) struct Removal {
    pub(crate) grave: Grave,
    /// Keys and sizes, in the order in which they go; the tombstone goes last, and is looked for before each step.
    pub(crate) steps: Vec<Vec<(String, u64)>>,
    /// Until when its manifest says that the store keeps it locked.
    pub(crate) locked_until: Option<DateTime<Utc>>,
}

impl<'s> DeletePlan<'s> {
    /// Holds the decisions against the catalogues; without decisions, only what is marked already is looked at.
    ///
    /// # Errors
    /// 80 where any rule is broken, in any store; 76 where a store has what it did not list.
    pub fn make(clock: Clock, surveys: &'s [Survey], decided: Option<&Decided>, limits: Limits) -> Result<Self, Failure> {
        let mut shares = Shares::default();
        let mut works = Vec::new();
        for survey in surveys {
            let told = decided.and_then(|decided| decided.get(&(survey.named(), survey.cluster.clone())));
            let case = Case { survey, told, clock, limits };
            let (work, backups, segments) = case.judge().map_err(|failure| failure.within(survey.named()))?;
            shares.add(format!("{} in {}", survey.cluster, survey.named()), backups, segments);
            works.push(work);
        }
        shares.judge(limits.confirm)?;
        Ok(DeletePlan { clock, works })
    }
}

/// One cluster in one store, and what is asked of it.
struct Case<'s, 'a> {
    survey: &'s Survey,
    told: Option<&'a Told>,
    clock: Clock,
    limits: Limits,
}

impl<'s> Case<'s, '_> {
    fn judge(&self) -> Result<(Work<'s>, Share, Share), Failure> {
        let Survey { live, marked, .. } = self.survey;
        let nothing = Told::default();
        let told = self.told.unwrap_or(&nothing);
        let chosen = if told.deletes() { rules::chosen(live, told)? } else { Vec::new() };
        let before = self.others(told)?;
        rules::may_go(live, &chosen)?;
        self.may_be_marked(&chosen)?;

        let mut removals = Vec::new();
        let mut waiting = Vec::new();
        let mut groups: BTreeSet<Group> = chosen.iter().map(|backup| Group::of(&backup.manifest)).collect();
        for it in marked {
            let grave = Grave::Backup(it.tombstone.clone());
            if !self.is_due(&grave) {
                waiting.push(grave);
            } else if it.ours {
                groups.insert(Group::of(&it.backup.manifest));
                removals.push(self.removal(it.tombstone.clone(), Some(&it.backup.manifest)));
            } else {
                warn(TOOL, format!("{} was marked with another key than --signing-key: it is left", it.tombstone.name));
                waiting.push(grave);
            }
        }
        for tombstone in &self.survey.orphans {
            let grave = Grave::Backup(tombstone.clone());
            if self.is_due(&grave) { removals.push(self.removal(tombstone.clone(), None)) } else { waiting.push(grave) }
        }
        self.fresh(&groups)?;
        rules::floor(&groups, live, self.told)?;

        let mut marks: Vec<Grave> = chosen.iter().map(|backup| self.mark(&backup.manifest, told)).collect();
        let backups = Share { going: marks.len() as u64, before, there: live.len() as u64 };
        let staying: Vec<&Backup> = live.iter().filter(|backup| !chosen.contains(backup)).collect();
        let segments = self.wal(told, &staying, &mut marks, &mut waiting, &mut removals)?;
        let at_once =
            if self.limits.grace.is_zero() { marks.iter().map(|grave| self.removal_at_once(grave)).collect() } else { vec![] };
        Ok((Work { survey: self.survey, marks, waiting, removals, at_once }, backups, segments))
    }

    /// All backups that are there, marked ones too.
    fn known(&self) -> Vec<&'s Backup> {
        let Survey { live, marked, .. } = self.survey;
        live.iter().chain(marked.iter().map(|marked| &marked.backup)).collect()
    }

    /// Decisions about backups that are not there, or marked already; gives how many of them delete.
    fn others(&self, told: &Told) -> Result<u64, Failure> {
        let mut before = 0;
        for ((kind, named), choice) in &told.backups {
            let is_it = |backup: &Backup| backup.manifest.kind == *kind && backup.manifest.name == *named;
            if self.survey.live.iter().any(is_it) {
                continue;
            }
            let deletes = choice.action == Action::Delete;
            before += u64::from(deletes);
            let marked = self.survey.marked.iter().any(|marked| is_it(&marked.backup));
            if marked || !told.deletes() {
                continue;
            }
            let key = name::manifest_key(&self.survey.cluster, *kind, named);
            if self.survey.is_there(&key)? {
                let message = format!("{key} is there, and was not listed");
                return Err(Failure::new(
                    Exit::Protocol,
                    message,
                    "run it again; a store that lists so is no ground to delete anything",
                ));
            }
            if !deletes {
                let message = format!("{named} is to be kept, and is not in the catalogue any more");
                return Err(Failure::new(Exit::Refused, message, "find out where it went, then decide again"));
            }
        }
        Ok(before)
    }

    /// Passes backups that our key may mark: made with another, and not marked by who knows whom.
    fn may_be_marked(&self, chosen: &[&Backup]) -> Result<(), Failure> {
        for backup in chosen {
            let Manifest { name, kind, .. } = &backup.manifest;
            if self.survey.contested.contains(&(*kind, name.clone())) {
                let hint = format!("find out who wrote it; --undelete {name} removes it");
                return Err(Failure::new(Exit::Untrusted, format!("{name} has a tombstone that does not count"), hint));
            }
            if self.survey.is_made_by_us(backup)? {
                let hint = "give whoever deletes a key of its own: minisign -GW -p delete.pub -s delete.key";
                return Err(Failure::new(Exit::Config, format!("--signing-key is the key that made {name}"), hint));
            }
        }
        Ok(())
    }

    /// What becomes of WAL.
    fn wal(
        &self,
        told: &Told,
        staying: &[&Backup],
        marks: &mut Vec<Grave>,
        waiting: &mut Vec<Grave>,
        removals: &mut Vec<Removal>,
    ) -> Result<Share, Failure> {
        let Survey { wal, ranges, segment_size, .. } = self.survey;
        let covered = |segment: &SegmentName| ranges.iter().any(|range| range.holds(segment));
        let mut share = Share { there: wal.segments().filter(|segment| !covered(segment)).count() as u64, ..Share::default() };
        for range in &told.ranges {
            wal::judge(range, staying, *segment_size)?;
            let inside = wal.segments().filter(|segment| range.first <= **segment && **segment <= range.last);
            let (before, going): (Vec<&SegmentName>, Vec<&SegmentName>) = inside.partition(|segment| covered(segment));
            share.before += before.len() as u64;
            share.going += going.len() as u64;
            if let (Some(first), Some(last)) = (going.first(), going.last()) {
                // From the first that was decided on, so that what is left of it without an object goes, too.
                let first = if before.is_empty() { range.first } else { **first };
                marks.push(self.mark_range(first, **last, &range.reasons));
            }
        }
        for it in ranges {
            let grave = Grave::Wal(it.clone());
            if !self.is_due(&grave) {
                waiting.push(grave);
                continue;
            }
            wal::judge(&Range { first: it.first, last: it.last, reasons: Vec::new() }, staying, *segment_size)?;
            self.fresh_bases(staying)?;
            removals.push(Removal { steps: wal.steps(it.first, it.last), grave, locked_until: None });
        }
        if share.going > 0 {
            self.fresh_bases(staying)?;
        }
        Ok(share)
    }

    /// WAL goes only while bases come: how often, those tell that are marked, too.
    fn fresh_bases(&self, staying: &[&Backup]) -> Result<(), Failure> {
        let bases = staying.iter().filter(|backup| backup.manifest.kind == Kind::Base);
        self.fresh(&bases.map(|backup| Group::of(&backup.manifest)).collect())
    }

    fn fresh(&self, groups: &BTreeSet<Group>) -> Result<(), Failure> {
        let warnings = rules::fresh(groups, &self.survey.live, &self.known(), self.limits.max_age, self.clock.now())?;
        warnings.iter().for_each(|warning| warn(TOOL, warning));
        Ok(())
    }

    /// Whether its time has come, by what it says and by since when it lies there: one that was put back later begins anew.
    fn is_due(&self, grave: &Grave) -> bool {
        if grave.not_before_at() > self.clock.now() {
            return false;
        }
        let since = self.survey.since(&grave.key());
        let Some(until) = since.map(|at| at + grave.grace()).filter(|until| *until > self.clock.now()) else { return true };
        if until > grave.not_before_at() + SKEW {
            let until = until.to_rfc3339_opts(SecondsFormat::Secs, true);
            warn(TOOL, format!("{} was marked before its tombstone came to lie there: it waits until {until}", grave.name()));
        }
        false
    }

    fn mark(&self, manifest: &Manifest, told: &Told) -> Grave {
        let choice = told.backups.get(&(manifest.kind, manifest.name.clone()));
        Grave::Backup(Tombstone {
            format: tombstone::FORMAT,
            cluster: manifest.cluster.clone(),
            kind: manifest.kind,
            name: manifest.name.clone(),
            object: manifest.object.clone(),
            sha256: manifest.sha256,
            bytes: manifest.bytes,
            reasons: choice.map(|choice| choice.reasons.clone()).unwrap_or_default(),
            deleted_at: self.clock.now(),
            not_before_at: self.clock.now() + self.limits.grace,
            host: dr_pipe::host::name(),
        })
    }

    fn mark_range(&self, first: SegmentName, last: SegmentName, reasons: &[String]) -> Grave {
        let tombstone = RangeTombstone {
            format: tombstone::FORMAT,
            cluster: self.survey.cluster.clone(),
            timeline: first.timeline.0,
            first: first.to_string(),
            last: last.to_string(),
            reasons: reasons.to_vec(),
            deleted_at: self.clock.now(),
            not_before_at: self.clock.now() + self.limits.grace,
            host: dr_pipe::host::name(),
        };
        Grave::Wal(MarkedRange { first, last, tombstone })
    }

    /// The removal of what is marked in this run.
    fn removal_at_once(&self, grave: &Grave) -> Removal {
        match grave {
            Grave::Backup(tombstone) => {
                let is_it = |backup: &&Backup| tombstone.is_of(&backup.manifest);
                let backup = self.survey.live.iter().find(is_it);
                self.removal(tombstone.clone(), backup.map(|backup| &backup.manifest))
            }
            Grave::Wal(range) => {
                Removal { steps: self.survey.wal.steps(range.first, range.last), grave: grave.clone(), locked_until: None }
            }
        }
    }

    /// The manifest first: then there is no backup any more, and whatever happens nobody takes the rest for one.
    fn removal(&self, tombstone: Tombstone, manifest: Option<&Manifest>) -> Removal {
        let Tombstone { cluster, kind, name, .. } = &tombstone;
        let manifest_key = name::manifest_key(cluster, *kind, name);
        let keys = [manifest_key, name::signature_key(cluster, *kind, name), tombstone.object_key()];
        let size = |key: &String| self.survey.files.get(key).map_or(0, |listed| listed.bytes);
        let here = self.survey.named();
        let lock = manifest.and_then(|manifest| manifest.stores.iter().find(|at| at.store == here)?.locked_until);
        Removal {
            steps: vec![keys.into_iter().map(|key| (key.clone(), size(&key))).collect()],
            locked_until: lock.filter(|until| *until > self.clock.now()),
            grave: Grave::Backup(tombstone),
        }
    }
}

/// The clusters that a store's keys are of.
pub fn clusters<'k>(keys: impl Iterator<Item = &'k str>) -> BTreeSet<String> {
    let of = |key: &'k str| {
        let (cluster, rest) = key.split_once('/')?;
        let ours = name::KINDS.iter().any(|kind| rest.starts_with(&format!("{kind}/"))) || key.starts_with(&layout::root(cluster));
        (ours && dr_pipe::args::cluster_name(cluster).is_ok()).then(|| cluster.to_owned())
    };
    keys.filter_map(of).collect()
}
