//! Copies the WAL of one cluster: what a target does not have, in the order of the log, several files at a time.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::time::Instant;

use chrono::{DateTime, Utc};
use dr_catalogue::PublicKey;
use dr_pipe::progress::Progress;
use dr_pipe::record::Copied;
use dr_pipe::{Exit, Failure, workers};
use dr_store::{Listed, Put, Stored, UploadOptions};
use dr_wal::{Inventory, Item, Shelf, System, Timeline, WalName, layout};

use crate::args::{Args, Since};
use crate::report::{Report, TOOL, warn};
use crate::tiers::{Tier, Tiers};

/// The WAL of a cluster as one store has it.
pub struct Held<'a> {
    /// The store.
    pub tier: &'a Tier,
    /// Its WAL.
    pub shelf: Shelf<'a>,
    /// Which system it is of, as the store says.
    pub system: Option<System>,
    /// Files and pieces.
    pub inventory: Inventory,
    /// Keys and sizes of what says that WAL is missing for good.
    pub gaps: Vec<(String, u64)>,
}

/// The way of a cluster's WAL to one target.
pub struct Route<'a> {
    /// Where it comes from, nearest first.
    pub from: &'a [Held<'a>],
    /// Where it goes to.
    pub to: &'a Held<'a>,
    /// The cluster.
    pub cluster: &'a str,
    /// Whose claims are trusted; empty: all are.
    pub trusted: &'a [PublicKey],
    /// What is asked of segments there: nothing that keeps them from being read at once.
    pub options: &'a UploadOptions,
    /// What is asked of the files that tell what there is: no storage class, as they must be readable at once.
    pub plain: UploadOptions,
    /// What was read so far.
    pub progress: &'a Progress,
}

/// What is to be carried: a thing, and where it stands in the order. First come histories and gaps, then all else as it lies in the log.
type Task<'a> = ((bool, Timeline, String), Thing<'a>);

/// One thing to be carried.
pub enum Thing<'a> {
    /// A file of WAL, as each source that has it has it.
    File(WalName, Vec<(&'a Held<'a>, &'a Item)>),
    /// An object that nobody claims: a piece of a segment, or a gap. Its key and size, and who has it.
    Bare(&'a str, u64, Vec<&'a Held<'a>>),
}

impl Thing<'_> {
    /// How many bytes there are to be read, about.
    fn bytes(&self) -> u64 {
        match self {
            Thing::File(_, held) => held[0].1.objects.iter().map(|object| object.bytes).sum(),
            Thing::Bare(_, bytes, _) => *bytes,
        }
    }
}

/// What was written.
#[derive(Default)]
pub struct Written {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What the store says of one of them; of one that went into another class, if any did: of WAL, a segment's.
    pub stored: Option<Stored>,
}

impl Written {
    /// Adds a small object, unless it was there before.
    pub fn put(&mut self, put: Put, bytes: usize) {
        if put == Put::Created {
            self.objects += 1;
            self.bytes += bytes as u64;
        }
    }

    /// This, and what else was written.
    pub fn and(mut self, more: Written) -> Written {
        self.add(more);
        self
    }

    /// Adds what else was written.
    pub fn add(&mut self, more: Written) {
        self.objects += more.objects;
        self.bytes += more.bytes;
        let told = self.stored.as_ref().is_some_and(|told| told.storage_class.is_some());
        self.stored = if told { self.stored.take().or(more.stored) } else { more.stored.or(self.stored.take()) };
    }
}

/// Copies the WAL of `cluster` to every target, and says what became of it.
pub fn copy(tiers: &Tiers, cluster: &str, args: &Args, report: &Report) {
    let within = |failure: Failure| failure.within(format!("WAL of {cluster}"));
    let found = tiers.trusted(cluster).and_then(|trusted| Ok((trusted, sources(tiers, |tier| list(tier, cluster))?)));
    let (trusted, from) = match found {
        Ok((_, from)) if from.is_empty() => {
            let hint = "see whether --from and --cluster are right: dr-list --wal shows what there is";
            return report.failed(within(Failure::new(Exit::Missing, "there is none", hint)));
        }
        Ok(found) => found,
        Err(failure) => return report.failed(within(failure)),
    };
    for tier in tiers.to.iter().filter(|tier| !tier.is_lost()) {
        let begun = Instant::now();
        let copied = list(tier, cluster).and_then(|to| {
            let progress = Progress::new(TOOL, Some(0));
            let written = Route::new(tiers, &from, &to, &trusted, &progress).travel(tiers, args.wal_since, |it| report.failed(it));
            progress.finish();
            written
        });
        match copied {
            Ok(Some(written)) => report.copied(record(written, cluster, &from, tier, begun)),
            // What failed has been said.
            Ok(None) => {}
            Err(failure) => {
                tier.failed_to_write(&failure);
                report.failed(within(failure));
            }
        }
    }
}

/// The WAL that `list` finds in every store that can be read, and is of the same system as the first.
///
/// # Errors
/// What the first store says where there is none in those that can be read; 65 for two systems.
pub fn sources<'a>(tiers: &'a Tiers, list: impl Fn(&'a Tier) -> Result<Held<'a>, Failure>) -> Result<Vec<Held<'a>>, Failure> {
    let (mut found, mut failures) = (Vec::<Held>::new(), Vec::new());
    for tier in tiers.from.iter().filter(|tier| !tier.is_lost()) {
        match list(tier) {
            Ok(held) => {
                let first = found.iter().find_map(|held| held.system.as_ref());
                if let (Some(system), Some(first)) = (&held.system, first)
                    && system != first
                {
                    return Err(held.shelf.other_system(system, first.to_string()).into());
                }
                if !held.inventory.files.is_empty() || !held.inventory.pieces.is_empty() {
                    found.push(held);
                }
            }
            Err(failure) => {
                tier.failed_to_read(&failure);
                failures.push(failure);
            }
        }
    }
    if let (true, Some(failure)) = (found.is_empty(), failures.first()) {
        return Err(failure.clone());
    }
    failures.into_iter().for_each(|failure| warn(failure.message));
    Ok(found)
}

/// The WAL of a cluster in one store.
fn list<'a>(tier: &'a Tier, cluster: &'a str) -> Result<Held<'a>, Failure> {
    let shelf = Shelf::new(&tier.store, cluster);
    let system = shelf.system()?;
    let listed = tier.store.list(&layout::root(cluster))?;
    let gaps = listed.iter().filter(|it| is_gap(cluster, &it.key)).map(|Listed { key, bytes, .. }| (key.clone(), *bytes)).collect();
    Ok(Held { tier, shelf, system, inventory: Inventory::of(cluster, listed), gaps })
}

/// Whether a key is that of a gap: dr-wal-receive(1) writes them.
fn is_gap(cluster: &str, key: &str) -> bool {
    let parts = key.strip_prefix(&layout::root(cluster)).and_then(|rest| rest.split_once('/'));
    parts.is_some_and(|(timeline, file)| {
        timeline.parse::<Timeline>().is_ok() && file.starts_with("gap-") && file.ends_with(".json") && !file.contains('/')
    })
}

impl<'a> Route<'a> {
    /// The way from these stores to that one.
    pub fn new(
        tiers: &'a Tiers,
        from: &'a [Held<'a>],
        to: &'a Held<'a>,
        trusted: &'a [PublicKey],
        progress: &'a Progress,
    ) -> Route<'a> {
        let plain = UploadOptions { storage_class: None, ..tiers.options.clone() };
        Route { from, to, cluster: to.shelf.cluster(), trusted, options: &tiers.wal_options, plain, progress }
    }

    /// Carries all that the target lacks; none where some of it failed, which `failed` was told.
    ///
    /// # Errors
    /// What keeps all of it from being carried: 65 where the target is of another system.
    pub fn travel(&self, tiers: &Tiers, since: Option<Since>, failed: impl Fn(Failure) + Sync) -> Result<Option<Written>, Failure> {
        let mut written = Written::default();
        if let Some(system) = self.from.iter().find_map(|held| held.system.as_ref()) {
            // What is only claimed, as by a copy that was killed, is said now; another system is refused.
            match self.to.shelf.said_system() {
                Ok(Some(there)) if there == *system => {}
                // Of one that is damaged the claim decides.
                Err(dr_wal::Error::Damaged { .. }) => drop(self.to.shelf.put_system(system)?),
                said => {
                    said?;
                    self.to.shelf.put_system(system)?;
                    // Its claim and itself.
                    written.objects += 2;
                }
            }
        }
        let total = Mutex::new((written, true));
        let lacking = self.lacking(since, Utc::now());
        self.progress.expect(lacking.iter().map(|(_, thing)| thing.bytes()).sum());
        workers::each(tiers.files_at_once, &lacking, |(_, thing)| {
            let carried = if self.to.tier.is_lost() { None } else { Some(self.carry(thing)) };
            let mut total = total.lock().expect("no thread panics while it holds the lock");
            match carried {
                // Whoever lost it has said why.
                None => total.1 = false,
                Some(Ok(more)) => total.0.add(more),
                Some(Err(failure)) => {
                    total.1 = false;
                    failed(failure);
                }
            }
        });
        let (written, all) = total.into_inner().expect("no thread panics while it holds the lock");
        Ok(all.then_some(written))
    }

    /// What the target lacks, in order.
    fn lacking(&self, since: Option<Since>, now: DateTime<Utc>) -> Vec<Task<'a>> {
        let takes = |segment, at| since.is_none_or(|since| since.takes(segment, at, now));
        let mut files = BTreeMap::<WalName, Vec<(&Held, &Item)>>::new();
        let mut bare = BTreeMap::<&str, (bool, Timeline, u64, Vec<&Held>)>::new();
        for held in self.from {
            for (name, item) in &held.inventory.files {
                let newest = item.objects.iter().map(|object| object.modified_at).max();
                if newest.is_some_and(|at| takes(name.segment(), at)) {
                    files.entry(*name).or_default().push((held, item));
                }
            }
            for (segment, pieces) in &held.inventory.pieces {
                // Nobody asks for the pieces of a segment that is whole.
                if self.from.iter().chain([self.to]).any(|it| it.inventory.has(&(*segment).into())) {
                    continue;
                }
                for piece in pieces.iter().filter(|piece| takes(Some(*segment), piece.modified_at)) {
                    let entry = bare.entry(&piece.key).or_insert((true, segment.timeline, piece.bytes, Vec::new()));
                    entry.3.push(held);
                }
            }
            for (key, bytes) in &held.gaps {
                bare.entry(key).or_insert((false, Timeline(0), *bytes, Vec::new())).3.push(held);
            }
        }
        let there = self.to.keys();
        let bare = bare.into_iter().filter(|(key, _)| !there.contains(key)).map(|(key, (later, timeline, bytes, held))| {
            let file = key.strip_prefix(&layout::folder(self.cluster, timeline)).unwrap_or(key);
            ((later, timeline, file.to_owned()), Thing::Bare(key, bytes, held))
        });
        let files = files.into_iter().filter(|(name, held)| self.lacks(name, held[0].1)).map(|(name, held)| {
            let later = !matches!(name, WalName::History(_));
            ((later, name.timeline(), name.to_string()), Thing::File(name, held))
        });
        let mut tasks: Vec<Task> = bare.chain(files).collect();
        tasks.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        tasks
    }

    /// Whether the target has not all of a file.
    fn lacks(&self, name: &WalName, item: &Item) -> bool {
        let Some(there) = self.to.inventory.files.get(name) else { return true };
        !self.missing(item, there).is_nothing()
    }

    /// What there is of a file in the target.
    pub fn there(&self, name: &WalName) -> Item {
        self.to.inventory.files.get(name).cloned().unwrap_or_default()
    }
}

impl Held<'_> {
    /// The keys of all objects that nobody claims.
    fn keys(&self) -> HashSet<&str> {
        let pieces = self.inventory.pieces.values().flatten().map(|piece| piece.key.as_str());
        pieces.chain(self.gaps.iter().map(|(key, _)| key.as_str())).collect()
    }
}

fn record(written: Written, cluster: &str, from: &[Held], tier: &Tier, begun: Instant) -> Copied {
    let (storage_class, locked_until) = written.stored.map_or((None, None), |stored| (stored.storage_class, stored.locked_until));
    Copied {
        state: if written.objects == 0 { "present" } else { "copied" }.into(),
        from: from[0].tier.store.location().to_string(),
        to: tier.store.location().to_string(),
        cluster: cluster.into(),
        kind: None,
        name: None,
        objects: written.objects,
        bytes: written.bytes,
        storage_class,
        locked_until,
        duration_seconds: begun.elapsed().as_secs_f64(),
        copied_at: Utc::now(),
    }
}
