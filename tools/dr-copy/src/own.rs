//! The WAL that a base cannot do without: that from its start to its stop, where the base does not bring it along itself.

use std::sync::PoisonError;

use dr_pipe::progress::Progress;
use dr_pipe::record::{Manifest, WalKept};
use dr_pipe::{Exit, Failure};
use dr_wal::{Inventory, Item, Lsn, SegmentName, SegmentSize, Shelf, Timeline, WalName};

use crate::tiers::{Tier, Tiers};
use crate::wal::{self, Held, Route, Written};

/// So many logs of 4 GiB are listed one by one; of more, all that comes after the first segment.
const FEW_LOGS: u32 = 16;

/// The WAL of one base.
pub struct Own<'a> {
    cluster: &'a str,
    timeline: Timeline,
    start: Lsn,
    stop: Lsn,
    size: SegmentSize,
}

impl<'a> Own<'a> {
    /// The WAL that a backup needs, and does not hold; none for a backup that needs none.
    ///
    /// # Errors
    /// 65 where the manifest says of it what makes no sense.
    pub fn of(manifest: &'a Manifest) -> Result<Option<Own<'a>>, Failure> {
        let Some(base) = manifest.produced.base.as_ref().filter(|base| base.wal != WalKept::Inside) else { return Ok(None) };
        let (start, stop) = (base.start_lsn.parse()?, base.stop_lsn.parse()?);
        let size = SegmentSize::try_from(base.wal_segment_bytes)?;
        Ok(Some(Own { cluster: &manifest.cluster, timeline: Timeline(base.timeline), start, stop, size }))
    }

    /// Brings it to a target; none where some of it failed, which `failed` was told.
    ///
    /// # Errors
    /// 66 where a segment is in no store; what keeps all of it from being copied.
    pub fn bring(
        &self,
        tiers: &Tiers,
        tier: &Tier,
        progress: &Progress,
        failed: impl Fn(Failure) + Sync,
    ) -> Result<Option<Written>, Failure> {
        let _alone = tiers.wal_of_a_base.lock().unwrap_or_else(PoisonError::into_inner);
        let found = tiers.trusted(self.cluster).and_then(|trusted| Ok((trusted, wal::sources(tiers, |tier| self.list(tier))?)));
        let (trusted, from) = match found {
            Ok(found) => found,
            // The target is not to blame.
            Err(failure) => {
                failed(failure);
                return Ok(None);
            }
        };
        let to = self.list(tier)?;
        let claimed = |item: &Item| !item.objects.is_empty() && !item.claims.is_empty();
        let has = |segment: &SegmentName| {
            let name = WalName::Segment(*segment);
            from.iter().any(|held| held.inventory.has(&name)) || to.inventory.files.get(&name).is_some_and(claimed)
        };
        if let Some(missing) = self.segments().find(|segment| !has(segment)) {
            let message =
                format!("the base could not be restored from {}: {missing}, WAL of its own, is missing", tier.store.location());
            let hint =
                "name a store that has it with --from, too: dr-list --wal shows what there is; nothing of the base was published";
            return Err(Failure::new(Exit::Missing, message, hint));
        }
        Route::new(tiers, &from, &to, &trusted, progress).travel(tiers, None, failed)
    }

    fn segments(&self) -> impl Iterator<Item = SegmentName> {
        SegmentName::holding(self.timeline, self.start, self.stop, self.size)
    }

    /// What a store has of it.
    fn list<'t>(&'t self, tier: &'t Tier) -> Result<Held<'t>, Failure> {
        let shelf = Shelf::new(&tier.store, self.cluster);
        let first = SegmentName::containing(self.timeline, self.start, self.size);
        let last = SegmentName::containing(self.timeline, Lsn(self.stop.0.saturating_sub(1).max(self.start.0)), self.size);
        let mut listed = vec![shelf.inventory_of_name(&WalName::History(self.timeline))?];
        if last.log - first.log < FEW_LOGS {
            for log in first.log..=last.log {
                listed.push(shelf.inventory_of_log(self.timeline, log)?);
            }
        } else {
            listed.push(shelf.inventory_from(first)?);
        }
        let takes = |name: &WalName| match name {
            WalName::Segment(segment) => (first..=last).contains(segment),
            WalName::Backup { segment, .. } => *segment == first,
            WalName::History(timeline) => *timeline == self.timeline,
            WalName::Partial(_) => false,
        };
        let files = listed.into_iter().flat_map(|listed| listed.files).filter(|(name, _)| takes(name)).collect();
        let inventory = Inventory { files, ..Inventory::default() };
        Ok(Held { tier, system: shelf.system()?, shelf, inventory, gaps: Vec::new() })
    }
}
