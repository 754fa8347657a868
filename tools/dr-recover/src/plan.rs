//! From what was asked to what will be done: the catalogue, the WAL and the archive are read, nothing is written.

use dr_catalogue::{Catalogue, Entry, Found, Scope, Selector};
use dr_crypt::Identities;
use dr_pipe::record::{self, Base, Kind, Manifest, SignatureState};
use dr_pipe::{Exit, Failure, warn};
use dr_wal::stamps::Creation;
use dr_wal::{Lsn, Planned as Seen, SegmentRange, SegmentSize, Timeline};

use crate::TOOL;
use crate::args::Args;
use crate::choose::{Chosen, choose};
use crate::log::Log;
use crate::made;
use crate::moment::both;
use crate::stored::Archive;
use crate::survey::{Proof, Survey};
use crate::target::{Aim, Target};
use dr_wal::window::{Point, Reach};

/// How much WAL is held at once to be looked into.
const SCAN_BYTES: u64 = 64 << 20;

/// All that is known before anything is written.
pub struct Planned<'a> {
    /// The backup.
    pub manifest: Manifest,
    /// What it says of itself.
    pub base: Base,
    /// Its archive.
    pub archive: Archive,
    /// How it goes on from there.
    pub chosen: Chosen,
    /// The WAL.
    pub survey: Survey<'a>,
    /// Tablespaces that the replay makes, where that is known.
    pub made: Vec<Creation>,
    /// How many segments are looked into at once.
    at_once: usize,
}

/// Chooses, and proves that it can be done.
///
/// # Errors
/// 66 where the target cannot be reached, 65 where something is damaged or belongs to another cluster, 81 where a signature is
/// wrong; as the stores say.
pub fn plan<'a>(args: &'a Args, identities: Option<&'a Identities>) -> Result<Planned<'a>, Failure> {
    let keyring = args.public_key.keyring()?;
    let trusted = keyring.of(&args.cluster)?;
    let catalogue = Catalogue::open(&args.from.from, &args.store, keyring.clone())?;
    let scope = Scope { cluster: Some(args.cluster.clone()), kind: Some(Kind::Base), database: None };
    let listing = catalogue.list(&scope)?;
    let entries = eligible(args, &listing.entries).map_err(|failure| other_kind(args, &catalogue).unwrap_or(failure))?;
    if entries.is_empty() {
        // The catalogue knows best why there is none.
        listing.choose(&Selector::Latest)?;
        return Err(no_base(args));
    }
    listing.warnings().iter().for_each(|warning| warn(TOOL, warning));
    let proof = Proof { identities, trusted, prefer_content: args.prefer_content.clone() };
    let mut survey = Survey::take(&args.from.from, &args.store, &args.cluster, proof, !args.no_partial)?;
    let points = points(&entries, &mut survey)?;
    let target = Target { follows: args.standby, ..args.target.target() };
    if args.standby && target.aim != Aim::Latest {
        return Err(Failure::new(
            Exit::Usage,
            "a standby has no target: it follows the archive",
            "leave --standby or the target out",
        ));
    }
    let at_once = (SCAN_BYTES / survey.held.size.bytes()).clamp(1, args.jobs.workers() as u64) as usize;
    let log = Log::new(&survey, at_once);
    let chosen = choose(&target, &points, &survey, &log)?;
    let name = entries[chosen.base.place].backup.manifest.name.clone();
    let Found { backup, store, object_key, .. } = catalogue.find(&scope, &Selector::Name(name))?;
    if backup.signature != SignatureState::Good {
        warn(TOOL, format!("the signature of {} was not checked: no public key is known (-p FILE)", backup.manifest.name));
    }
    let base = backup.manifest.produced.base.clone().ok_or_else(|| no_base(args))?;
    if base.damaged_pages > 0 {
        warn(TOOL, format!("{} has {} damaged pages: it was backed up so", backup.manifest.name, base.damaged_pages));
    }
    let archive = Archive::open(&store, &object_key, &backup.manifest, identities)?;
    for needed in ["backup_label", "global/pg_control", "PG_VERSION"] {
        if archive.contents().member(needed).is_none() {
            let message = format!("{} has no {needed}: a server started from it would be damaged in silence", backup.manifest.name);
            return Err(Failure::new(Exit::Damaged, message, "use another backup (--backup); nothing was written"));
        }
    }
    let system = backup.manifest.produced.system_identifier.as_deref();
    let suspected = made::suspected(&chosen, &base.tablespaces, system, &listing.entries, &log);
    let made = if suspected { made::creations(&chosen, &survey, &archive, at_once)? } else { Vec::new() };
    Ok(Planned { manifest: backup.manifest, base, archive, chosen, survey, made, at_once })
}

impl Planned<'_> {
    /// The record of it.
    pub fn record(&self, args: &Args) -> record::Plan {
        let Chosen { base, way, reach, .. } = &self.chosen;
        let target = args.target.target();
        let files = self.archive.contents().members().filter(|member| !member.is_directory());
        record::Plan {
            summary: self.about(args),
            backup: self.manifest.name.clone(),
            cluster: args.cluster.clone(),
            system_identifier: self.manifest.produced.system_identifier.clone(),
            directory: args.into.display().to_string(),
            target: target.aim.word().into(),
            target_value: self.chosen.setting().map(|(name, value)| format!("{name} = '{value}'")),
            target_at: if let Aim::Time(at) = target.aim { Some(at) } else { None },
            target_timeline: way.timeline().0,
            start_lsn: base.start.to_string(),
            earliest_lsn: base.stop.to_string(),
            earliest_at: base.stopped_at,
            latest_lsn: reach.until.to_string(),
            latest_at: self.chosen.latest_at,
            idle_since: self.chosen.idle_since,
            segments: self.chosen.segments as u64,
            stored_bytes: self.manifest.bytes,
            restored_bytes: files.clone().map(|member| member.bytes).sum(),
            files: files.count() as u64,
        }
    }

    /// The tablespaces that the replay makes, read out of all WAL up to the target.
    ///
    /// # Errors
    /// As reading it.
    pub fn creations(&self) -> Result<Vec<Creation>, Failure> {
        made::creations(&self.chosen, &self.survey, &self.archive, self.at_once)
    }

    /// The segments up to the target that a store has whole: should one not be there when the server asks for it, the log does not end
    /// there. And the beginning of the last one, where segments follow behind a hole: the target lies in it, and the log does not
    /// go on there. None for a standby, which outlives its stores.
    pub fn seen(&self, args: &Args) -> Vec<Seen> {
        if args.standby {
            return Vec::new();
        }
        let Reach { segments, inside, resumes, .. } = &self.chosen.reach;
        let held = &self.survey.held;
        let fetched = &segments[..self.chosen.segments.min(segments.len())];
        let whole = fetched.iter().skip(*inside).filter(|name| held.whole.contains(name));
        let last = fetched.last().filter(|_| resumes.is_some()).and_then(|name| Some((*name, *held.begun.get(name)?)));
        let beginning = last.map(|(name, bytes)| Seen::Beginning(name, u32::try_from(bytes).unwrap_or(u32::MAX)));
        SegmentRange::of(whole.copied(), held.size).into_iter().map(Seen::Whole).chain(beginning).collect()
    }

    /// Whether a server may read WAL ahead into what it will not replay. Not where what follows on the target was found to be missing or
    /// of no use; and not where nobody follows it, who could start it again without (`unwatched`), and there is a target.
    pub fn may_read_ahead(&self, unwatched: bool) -> bool {
        let Reach { resumes, missing, segments, .. } = &self.chosen.reach;
        // What is there and was left out: of a segment that only began, the beginning is replayed.
        let left_out = self.survey.held.has(missing) && segments.last() != Some(missing);
        let ends_early = resumes.is_some() || left_out;
        self.major().is_some_and(|major| major >= 15) && !ends_early && !(unwatched && self.chosen.setting().is_some())
    }

    /// The major version of the server that was backed up.
    pub fn major(&self) -> Option<u32> {
        self.manifest.produced.server_version.map(|version| version / 10_000)
    }

    /// What is done, in words: with the target in UTC and in the zone of this machine.
    pub fn about(&self, args: &Args) -> String {
        let target = args.target.target();
        let name = &self.manifest.name;
        let from = both(self.chosen.base.stopped_at);
        format!("{name} ({from}), replayed to {} on timeline {}", target.aim, self.chosen.way.timeline().0)
    }
}

/// The bases that may be chosen.
fn eligible<'e>(args: &Args, entries: &'e [Entry]) -> Result<Vec<&'e Entry>, Failure> {
    let bases: Vec<_> = entries.iter().filter(|entry| entry.backup.manifest.produced.base.is_some()).collect();
    match &args.backup {
        None => Ok(bases),
        Some(name) => {
            let chosen = Selector::Name(name.clone()).choose(bases.iter().map(|entry| &entry.backup))?.manifest.name.clone();
            Ok(bases.into_iter().filter(|entry| entry.backup.manifest.name == chosen).collect())
        }
    }
}

/// What is said of a name that is no base's: that it is another backup's, which other tools restore.
fn other_kind(args: &Args, catalogue: &Catalogue) -> Option<Failure> {
    let all = Scope { cluster: Some(args.cluster.clone()), kind: None, database: None };
    let listing = catalogue.list(&all).ok()?;
    let name = Selector::Name(args.backup.clone()?);
    let manifest = &name.choose(listing.entries.iter().map(|entry| &entry.backup)).ok()?.manifest;
    let hint = match manifest.produced.kind {
        Kind::Dump => format!("dr-restore {} restores it into a database; nothing was written", manifest.name),
        _ => format!("dr-pull {} fetches it; nothing was written", manifest.name),
    };
    let message = format!("{} is no base backup: its kind is {}", manifest.name, manifest.produced.kind);
    Some(Failure::new(Exit::Missing, message, hint))
}

fn no_base(args: &Args) -> Failure {
    let message = format!("there is no base backup of {}", args.cluster);
    Failure::new(Exit::Missing, message, "dr-base makes them, dr-list --kind base shows them; nothing was written")
}

/// The bases of the cluster's present system, by their places among `entries`.
fn points(entries: &[&Entry], survey: &mut Survey<'_>) -> Result<Vec<Point>, Failure> {
    let newest = entries.iter().rev().find_map(|entry| entry.backup.manifest.produced.system_identifier.clone());
    let system = survey.system.as_ref().map(|system| system.system_identifier.clone()).or(newest);
    let mut points = Vec::new();
    let mut size = survey.system.as_ref().map(|system| system.wal_segment_bytes);
    for (place, entry) in entries.iter().enumerate() {
        let manifest = &entry.backup.manifest;
        let Some(base) = &manifest.produced.base else { continue };
        let foreign = |what: String| {
            let hint = "a cluster that was made anew (initdb, pg_upgrade) needs a name of its own; nothing was written";
            Failure::new(Exit::Damaged, format!("{} is of {what}", manifest.name), hint)
        };
        if let (Some(of), Some(system)) = (&manifest.produced.system_identifier, &system)
            && of != system
        {
            let failure = foreign(format!("system {of}, and the WAL of {} is of system {system}", manifest.cluster));
            if entries.len() == 1 {
                return Err(failure);
            }
            warn(TOOL, format!("{}: it is passed over", failure.message));
            continue;
        }
        let bytes = SegmentSize::try_from(base.wal_segment_bytes)?;
        if *size.get_or_insert(bytes) != bytes {
            return Err(foreign(format!("a server with segments of {} bytes, and the WAL is not", bytes.bytes())));
        }
        points.push(Point {
            place,
            name: manifest.name.clone(),
            timeline: Timeline(base.timeline),
            start: base.start_lsn.parse::<Lsn>()?,
            stop: base.stop_lsn.parse::<Lsn>()?,
            stopped_at: base.stopped_at,
            wal_inside: base.wal == record::WalKept::Inside,
        });
    }
    survey.held.size = size.unwrap_or_default();
    Ok(points)
}
