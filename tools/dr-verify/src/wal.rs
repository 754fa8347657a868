//! The write-ahead log of a cluster in one store, as its listing and the claims of its histories show it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use dr_catalogue::{PublicKey, name};
use dr_pipe::record::{Backup, Finding, WalKept};
use dr_pipe::{Failure, Sha256};
use dr_store::{Listed, Store};
use dr_wal::layout::{self, Entry};
use dr_wal::window::{Held, Point};
use dr_wal::{Content, Fork, Inventory, Item, Lsn, SegmentName, SegmentSize, Shelf, System, Timeline, WalName, gaps};

use crate::finding::{Scene, about, first_of, on};
use crate::memory::Range;
use crate::{hidden, histories, strays};

/// A claim that is older than this, and has no object, gets none any more.
const PUSHED: TimeDelta = TimeDelta::hours(1);
/// Largest description of a system that is read, in bytes.
const MAX_SYSTEM_BYTES: u64 = 4 << 10;

/// The log of one cluster.
pub struct Log {
    /// What there is.
    pub inventory: Inventory,
    /// For every file, a digest of what the listing says of its objects and claims.
    marks: BTreeMap<WalName, u64>,
    /// Ranges whose deletion was announced, now or before.
    pub announced: BTreeSet<Range>,
    /// Where timelines came from, as claims say.
    pub forks: BTreeMap<Timeline, Option<Fork>>,
    /// Which system it is of.
    pub system: Option<System>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Log {
    /// Puts together what was listed, and reads what it needs to know.
    ///
    /// # Errors
    /// As the store says.
    pub fn survey(scene: &Scene, store: &Store, cluster: &str, listed: Vec<Listed>, trusted: &[PublicKey]) -> Result<Log, Failure> {
        let marks = marks(cluster, &listed);
        let claimed_at = claimed_at(cluster, &listed);
        let others: Vec<Listed> = listed.iter().filter(|object| layout::parse(cluster, &object.key).is_none()).cloned().collect();
        let inventory = Inventory::of(cluster, listed);
        let mut log =
            Log { inventory, marks, announced: BTreeSet::new(), forks: BTreeMap::new(), system: None, findings: Vec::new() };
        let shelf = Shelf::new(store, cluster);
        log.read_system(scene, store, cluster, &others)?;
        log.read_forks(&shelf, trusted)?;
        let gap = |object: &&Listed| {
            object.key.rsplit('/').next().is_some_and(|file| file.starts_with("gap-") && file.ends_with(".json"))
        };
        let told: Vec<Listed> = others.iter().filter(gap).cloned().collect();
        log.findings.extend(told.iter().map(|object| told_gap(scene, object)));
        for object in &others {
            if let Some(range) = announcement(&object.key) {
                log.announced.extend(hidden::is_announced(store, &object.key, trusted)?.then_some(range));
            }
        }
        let ours = |object: &Listed| {
            let key = object.key.strip_suffix(name::MINISIG).unwrap_or(&object.key);
            gap(&object) || is_of_system(cluster, key) || announcement(key).is_some()
        };
        let unknown: Vec<Listed> = others.iter().filter(|object| !ours(object)).cloned().collect();
        log.findings.extend(strays::unknown(scene, &unknown));
        log.findings.extend(first_of(log.conflicts(scene)));
        log.findings.extend(first_of(log.unclaimed(scene)));
        log.findings.extend(first_of(log.unfilled(scene, &claimed_at)));
        log.findings.extend(first_of(log.torn(scene)));
        Ok(log)
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.inventory.files.is_empty() && self.inventory.pieces.is_empty()
    }

    /// The digest of what the listing says of a file.
    pub fn mark(&self, name: &WalName) -> u64 {
        self.marks.get(name).copied().unwrap_or_default()
    }

    /// All of these.
    pub fn marks(&self) -> HashSet<u64> {
        self.marks.values().copied().collect()
    }

    /// Whether the first object of a file is at `key`.
    pub fn has_key(&self, key: &str) -> bool {
        let cluster = key.split('/').next().unwrap_or_default();
        match layout::parse(cluster, key) {
            Some(Entry::Object { name, .. } | Entry::Claim { name, .. }) => self.inventory.files.contains_key(&name),
            Some(Entry::Piece { piece, .. }) => self.inventory.pieces.contains_key(&piece.segment),
            None => false,
        }
    }

    fn read_system(&mut self, scene: &Scene, store: &Store, cluster: &str, others: &[Listed]) -> Result<(), Failure> {
        let key = layout::system(cluster);
        if !others.iter().any(|object| object.key == key) {
            if !self.is_empty() {
                let message = format!("{key} is missing: nobody knows which server the log is of");
                self.findings.push(on(&key, scene.error("system", message, "the next push of a segment writes it")));
            }
            return Ok(());
        }
        let text = match store.read(&key, MAX_SYSTEM_BYTES) {
            Err(dr_store::Error::Damaged { .. }) => Vec::new(),
            text => text?,
        };
        let claim = layout::system_claim(cluster, Content::of(&Sha256::of(&text)));
        self.system = serde_json::from_slice(&text).ok();
        let claims: Vec<&str> =
            others.iter().map(|object| object.key.as_str()).filter(|it| *it != key && is_of_system(cluster, it)).collect();
        if self.system.is_none() || !claims.contains(&claim.as_str()) {
            let message = format!("{key} is not what was claimed for it: it was changed");
            self.findings
                .push(on(&key, scene.error("system", message, "compare it with another store, and with what pg_controldata says")));
        }
        for claim in claims {
            let told = match store.read(claim, MAX_SYSTEM_BYTES) {
                Err(dr_store::Error::Damaged { .. }) => Vec::new(),
                told => told?,
            };
            if layout::system_claim(cluster, Content::of(&Sha256::of(&told))) != claim {
                let message = format!("{claim} does not hold what its name says: it was changed");
                self.findings.push(on(claim, scene.error("system", message, "compare it with another store")));
            } else if told != text {
                let message = format!("{claim} says that the log is of another server than {key} does");
                let hint =
                    "two servers have archived as one cluster: give one another name; where it was refused, remove that claim";
                self.findings.push(on(claim, scene.error("conflict", message, hint)));
            }
        }
        Ok(())
    }

    /// What is wrong with claims is told when their files are looked at.
    fn read_forks(&mut self, shelf: &Shelf, trusted: &[PublicKey]) -> Result<(), Failure> {
        for timeline in self.inventory.histories() {
            let name = WalName::History(timeline);
            for claimed in &self.inventory.files[&name].claims {
                match shelf.claim_of(claimed, &name, trusted) {
                    Ok((claim, _)) => drop(self.forks.insert(timeline, claim.fork)),
                    Err(dr_wal::Error::Store(error @ (dr_store::Error::Absent { .. } | dr_store::Error::Damaged { .. }))) => {
                        drop(error)
                    }
                    Err(dr_wal::Error::Store(error)) => return Err(error.into()),
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }

    fn conflicts(&self, scene: &Scene) -> Vec<Finding> {
        let conflicts = self.inventory.files.iter().filter(|(_, item)| item.is_conflict());
        conflicts
            .map(|(name, item)| {
                let contents: Vec<String> = item.contents().iter().map(ToString::to_string).collect();
                let message = format!("{name} has two contents, {}", contents.join(" and "));
                let key = &item.objects[0].key;
                // Each server that saw the end of a timeline has its own last, unfinished segment.
                on(
                    key,
                    match name {
                        WalName::Partial(_) => scene.note(
                            "conflict",
                            message,
                            "two servers saw the end of that timeline; nothing needs it unless it is named",
                        ),
                        _ => scene.error(
                            "conflict",
                            message,
                            "two servers archive to one place: find out which is right; --prefer-content names it when it is read",
                        ),
                    },
                )
            })
            .collect()
    }

    /// Objects that nobody has claimed.
    fn unclaimed(&self, scene: &Scene) -> Vec<Finding> {
        let mut findings = Vec::new();
        for item in self.inventory.files.values() {
            let contents = item.contents();
            for object in &item.objects {
                let claimed = object.beside.map_or(!contents.is_empty(), |content| contents.contains(&content));
                if !claimed {
                    let message = format!("{} has no claim that says what it holds: nothing reads it", object.key);
                    findings.push(on(
                        &object.key,
                        scene.error("claim", message, "take the claim from another store, or from older versions of the bucket"),
                    ));
                }
            }
        }
        findings
    }

    /// Claims whose objects are not there: lost, or never pushed.
    fn unfilled(&self, scene: &Scene, claimed_at: &BTreeMap<WalName, DateTime<Utc>>) -> Vec<Finding> {
        let size = self.size();
        let unfilled = self.inventory.files.iter().filter(|(_, item)| item.objects.is_empty());
        let unfilled = unfilled.filter(|(name, _)| claimed_at.get(name).is_none_or(|at| Utc::now() - *at > PUSHED));
        unfilled
            .filter_map(|(name, item)| {
                let (key, _) = item.claims.first()?;
                let message = format!("{name} was claimed, and is not there: it is lost, or its push never ended");
                let finding = if self.is_left(name, size) {
                    scene.note("claim", message, "its timeline was left there, and nothing on the way to a newer one needs it")
                } else {
                    scene.error("claim", message, "push it again where the server still has it; or take it from another store")
                };
                Some(on(key, finding))
            })
            .collect()
    }

    /// Whether a newer timeline has left that of a file before the file ends.
    fn is_left(&self, name: &WalName, size: SegmentSize) -> bool {
        let left = |segment: SegmentName| {
            let forks = self.forks.values().flatten();
            forks.into_iter().any(|fork| fork.parent_timeline == segment.timeline && fork.forked_at < segment.end(size))
        };
        name.segment().is_some_and(left)
    }

    /// Pieces behind a gap between pieces, where the whole segment is not there.
    fn torn(&self, scene: &Scene) -> Vec<Finding> {
        let missing = self.inventory.pieces.iter().filter(|(segment, _)| !self.inventory.has(&WalName::Segment(**segment)));
        missing
            .filter_map(|(segment, pieces)| {
                let reached = self.inventory.streamed(segment);
                let behind = pieces.iter().filter(|item| item.piece.begin > reached).min_by_key(|item| item.piece.begin)?;
                let message = format!("of {segment} the bytes {reached} to {} are missing between its pieces", behind.piece.begin);
                Some(on(
                    &behind.key,
                    scene.error(
                        "gap",
                        message,
                        "nothing behind them can be recovered: look at another store, or at the server's pg_wal",
                    ),
                ))
            })
            .collect()
    }

    /// The size of segments.
    pub fn size(&self) -> SegmentSize {
        self.system.as_ref().map_or(SegmentSize::DEFAULT, |system| system.wal_segment_bytes)
    }

    /// The same log, listed again: a listing is no picture of one moment, and what it lacks may have come since.
    ///
    /// # Errors
    /// As the store says.
    pub fn again(&self, store: &Store, cluster: &str) -> Result<Log, Failure> {
        let inventory = Shelf::new(store, cluster).inventory()?;
        let (announced, forks, system) = (self.announced.clone(), self.forks.clone(), self.system.clone());
        Ok(Log { inventory, announced, forks, system, marks: BTreeMap::new(), findings: Vec::new() })
    }

    /// What is missing for `bases`; files in `bad` are there, and cannot be used. Findings about a base have its name.
    pub fn gaps(&self, scene: &Scene, bases: &[&Backup], bad: &BTreeSet<WalName>, all: bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        let points = self.points(scene, bases, &mut findings);
        let held = self.held(bases, bad);
        let announced = |segment: &SegmentName| self.announced.iter().any(|range| range.holds(segment));
        let gaps = gaps::find(&held, &points, &announced);
        let named = |place: &usize| bases[*place].manifest.name.as_str();
        for (place, missing) in &gaps.broken {
            let message = format!("it cannot be restored: WAL that it needs is missing here, {missing}");
            findings.push(about(
                named(place),
                scene.error("gap", message, "look at another store, or at the server's pg_wal, and take another base"),
            ));
        }
        if !all {
            return findings;
        }
        for hole in &gaps.holes {
            findings.push(self.lost(scene, hole, bases));
        }
        for timeline in &gaps.unknown {
            let message = format!("nobody knows where timeline {} came from: its history is not here", timeline.0);
            let hint = "push its history file again; until then nothing recovers to the newest timeline";
            findings.push(scene.error("history", message, hint));
        }
        findings
    }

    /// What a hole costs: how far bases lead, and from when on moments can be reached again.
    fn lost(&self, scene: &Scene, hole: &gaps::Hole, bases: &[&Backup]) -> Finding {
        let names: Vec<&str> = hole.bases.iter().map(|place| bases[*place].manifest.name.as_str()).collect();
        let stopped =
            hole.bases.iter().filter_map(|place| bases[*place].manifest.produced.base.as_ref()).map(|base| base.stopped_at);
        let before = hole.before.and_then(|segment| self.stored_at(&segment));
        let until = before.into_iter().chain(stopped).max();
        let second = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%M:%S UTC").to_string();
        let until = until.map_or_else(|| "that".to_owned(), |at| format!("about {}", second(at)));
        let again = match &hole.next {
            Some((name, at)) => format!("until {}, the end of {name}", second(*at)),
            None => "on".into(),
        };
        let timelines: Vec<String> = hole.timelines.iter().map(|timeline| timeline.0.to_string()).collect();
        let message = format!(
            "WAL on the way to timeline {} is missing, {}: {} can be recovered no further, and no moment from {until} {again}",
            timelines.join(", "),
            hole.missing,
            names.join(", "),
        );
        if hole.pruned {
            return scene.note("pruned", message, "that is what a policy leaves that keeps old bases for longer than the log");
        }
        scene.error(
            "gap",
            message,
            "push it again where a server still has it, or copy it from another store; else take a base now",
        )
    }

    /// When a segment was stored, or as much of it as was streamed.
    fn stored_at(&self, segment: &SegmentName) -> Option<DateTime<Utc>> {
        let whole = self.inventory.files.get(&WalName::Segment(*segment)).and_then(|item| item.objects.first()?.modified_at);
        let reached = self.inventory.streamed(segment);
        let pieces = self.inventory.pieces.get(segment).into_iter().flatten();
        whole.or_else(|| pieces.filter(|item| item.piece.end <= reached).filter_map(|item| item.modified_at).max())
    }

    /// The bases of the system that the log is of, by their places.
    fn points(&self, scene: &Scene, bases: &[&Backup], findings: &mut Vec<Finding>) -> Vec<Point> {
        let mut points = Vec::new();
        for (place, backup) in bases.iter().enumerate() {
            let manifest = &backup.manifest;
            let Some(base) = &manifest.produced.base else { continue };
            let wrong = |message: String, hint: &str| about(&manifest.name, scene.error("system", message, hint));
            let known = self.system.as_ref().map(|system| system.system_identifier.as_str());
            if let (Some(of), Some(known)) = (manifest.produced.system_identifier.as_deref(), known)
                && of != known
            {
                // It needs nothing of what is here where it has its own WAL.
                if base.wal != WalKept::Inside {
                    let message = format!("it is of system {of}, and the WAL here is of system {known}: it cannot be restored");
                    findings.push(wrong(message, "a cluster that was made anew needs a name of its own"));
                }
                continue;
            }
            let (Ok(start), Ok(stop)) = (base.start_lsn.parse::<Lsn>(), base.stop_lsn.parse::<Lsn>()) else {
                findings.push(wrong("its manifest does not say where it begins and ends".into(), "use another base"));
                continue;
            };
            points.push(Point {
                place,
                name: manifest.name.clone(),
                timeline: Timeline(base.timeline),
                start,
                stop,
                stopped_at: base.stopped_at,
                wal_inside: base.wal == WalKept::Inside,
            });
        }
        points
    }

    fn held(&self, bases: &[&Backup], bad: &BTreeSet<WalName>) -> Held {
        let said =
            bases.iter().find_map(|backup| SegmentSize::try_from(backup.manifest.produced.base.as_ref()?.wal_segment_bytes).ok());
        let size = self.system.as_ref().map(|system| system.wal_segment_bytes).or(said).unwrap_or_default();
        let usable = |(name, item): (&WalName, &Item)| match name {
            WalName::Segment(segment) if !item.objects.is_empty() && !item.claims.is_empty() && !bad.contains(name) => {
                Some(*segment)
            }
            _ => None,
        };
        let whole: BTreeSet<SegmentName> = self.inventory.files.iter().filter_map(usable).collect();
        let begun = self.inventory.pieces.keys().filter(|segment| !whole.contains(segment));
        let begun = begun.map(|segment| (*segment, u64::from(self.inventory.streamed(segment)).min(size.bytes())));
        // That a segment is torn is told of the segment itself.
        let begun = begun.filter(|(_, bytes)| *bytes > 0).collect();
        Held { size, begun, whole, timelines: histories::known(&self.forks), ..Held::default() }
    }
}

/// The range of WAL whose deletion the tombstone at `key` announces.
pub fn announcement(key: &str) -> Option<Range> {
    let file = key.rsplit('/').next()?.strip_prefix("delete-")?.strip_suffix(name::TOMBSTONE)?;
    let (first, last) = file.split_once('-')?;
    Some(Range { first: first.parse().ok()?, last: last.parse().ok()? })
}

/// What a receiver has noticed: the server had removed WAL before it could be had.
fn told_gap(scene: &Scene, object: &Listed) -> Finding {
    let message = format!("{} says that a server removed WAL before dr-wal-receive could have it", object.key);
    on(&object.key, scene.note("gap", message, "unless dr-wal-push brought it, no recovery leads across; take a base behind it"))
}

fn is_of_system(cluster: &str, key: &str) -> bool {
    let file = key.strip_prefix(&layout::root(cluster)).unwrap_or_default();
    file == "system.json" || file.starts_with("system.") && file.ends_with(".claim") && !file.contains('/')
}

/// For every file, a digest of key, size and time of each of its objects and claims, in whatever order they are listed.
fn marks(cluster: &str, listed: &[Listed]) -> BTreeMap<WalName, u64> {
    let mut marks = BTreeMap::new();
    for Listed { key, bytes, modified_at } in listed {
        let name = match layout::parse(cluster, key) {
            Some(Entry::Object { name, .. } | Entry::Claim { name, .. }) => name,
            _ => continue,
        };
        let at = modified_at.and_then(|at| at.timestamp_nanos_opt()).unwrap_or_default();
        let Sha256(digest) = Sha256::of(format!("{key}\0{bytes}\0{at}").as_bytes());
        let (first, _) = digest.as_chunks();
        *marks.entry(name).or_default() ^= u64::from_le_bytes(first[0]);
    }
    marks
}

/// When the last claim of each file was made.
fn claimed_at(cluster: &str, listed: &[Listed]) -> BTreeMap<WalName, DateTime<Utc>> {
    let mut claimed = BTreeMap::<WalName, DateTime<Utc>>::new();
    for Listed { key, modified_at, .. } in listed {
        if let (Some(Entry::Claim { name, .. }), Some(at)) = (layout::parse(cluster, key), *modified_at) {
            let last = claimed.entry(name).or_insert(at);
            *last = (*last).max(at);
        }
    }
    claimed
}
