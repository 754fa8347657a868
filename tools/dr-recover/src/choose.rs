//! Which base, which WAL, and what is PostgreSQL told? Decided, and proved, before a byte is written.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use dr_pipe::{Exit, Failure, warn};
use dr_wal::stamps::{Stamp, What};
use dr_wal::{Leg, Lsn, SegmentName, Timeline, WalName};

use crate::TOOL;
use crate::fork;
use crate::log::{Last, Log};
use crate::moment::{both, postgres};
use crate::survey::Survey;
use crate::target::{Aim, Target};
use crate::timed::{Timed, judge, set_back};
use dr_wal::window::{Blocked, Held, Limit, Point, Reach, TimelineChoice, Way};

/// How many segments are asked by when all that was committed is in them: the last ones may be streamed, and say nothing.
const ASKED: usize = 16;

/// In how many of the last segments it is looked whether the clock was set back.
const DOUBTED: usize = 4;

/// How a refusal ends.
const NOTHING: &str = "nothing was written";

/// Where PostgreSQL is to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// At the end of the WAL.
    End,
    /// Where the base is consistent.
    Consistent,
    /// Before the first transaction that ended after this moment.
    Time(DateTime<Utc>),
    /// At the record that begins there.
    Lsn(Lsn),
    /// At the end of this transaction.
    Xid(u32),
}

/// A base, the way from it to the target, and what proves it.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The base.
    pub base: Point,
    /// The timelines.
    pub way: Way,
    /// The WAL.
    pub reach: Reach,
    /// What PostgreSQL is told.
    pub goal: Goal,
    /// Whether what stands at the goal is replayed.
    pub inclusive: bool,
    /// Replay that ends before has lost something.
    pub at_least: Lsn,
    /// Segments that are fetched; for a time, at most.
    pub segments: usize,
    /// The last transaction that is known in the WAL.
    pub latest_at: Option<DateTime<Utc>>,
    /// Where nothing ended between it and the target: the last transaction before.
    pub idle_since: Option<DateTime<Utc>>,
}

/// Chooses for `target` among `bases`.
///
/// # Errors
/// 66 where the target cannot be reached, with what is missing and what can be reached; 65 where two contents claim to be a
/// segment that is needed, or a history is damaged that is needed; 69 where a store did not answer that may hold more.
pub fn choose(target: &Target, bases: &[Point], survey: &Survey<'_>, log: &Log<'_>) -> Result<Chosen, Failure> {
    let mut asked = Asked { target, bases, survey, log, held: survey.held.clone(), spoilt: BTreeMap::new() };
    let chosen = loop {
        match asked.choose() {
            Ok(chosen) => break chosen,
            Err(failure) => match log.spoilt().into_iter().find(|(name, _)| asked.held.has(name)) {
                // There may be a way that ends before it.
                Some((name, why)) => asked.leave_out(name, why),
                None => return Err(asked.or_elsewhere(failure)),
            },
        }
    };
    asked.must_know_timelines(&chosen)?;
    asked.must_have_histories(&chosen)?;
    asked.mention(&chosen);
    Ok(chosen)
}

/// A question, and whom to ask.
struct Asked<'a> {
    target: &'a Target,
    bases: &'a [Point],
    survey: &'a Survey<'a>,
    log: &'a Log<'a>,
    /// What the stores hold that can be used.
    held: Held,
    /// Segments that are there and cannot be used, and why.
    spoilt: BTreeMap<SegmentName, Failure>,
}

impl Asked<'_> {
    fn leave_out(&mut self, name: SegmentName, why: Failure) {
        self.held.whole.remove(&name);
        self.held.begun.remove(&name);
        self.spoilt.insert(name, why);
    }

    /// What is missing on the way from a base may be there, and not to be used.
    fn or_spoilt(&self, failure: Failure, way: &Way, base: &Point) -> Failure {
        match self.spoilt.get_key_value(&way.reach(&self.held, base).missing) {
            Some((name, why)) => {
                let message = format!("{}; {name} is there, and cannot be used: {}", failure.message, why.message);
                Failure::new(why.exit, message, format!("{}; {}", why.hint, failure.hint))
            }
            None => failure,
        }
    }

    fn choose(&self) -> Result<Chosen, Failure> {
        let Asked { target, bases, survey, .. } = self;
        let limit = target.aim.limit();
        let way = Way::find(&self.held, bases, target.timeline, limit).map_err(|why| self.blocked(None, why))?;
        let found = match &target.aim {
            Aim::Xid(_) | Aim::Name(_) => Some(self.find(&way)?),
            _ => None,
        };
        let limit = found.map_or(limit, Limit::Lsn);
        let base = way.base(limit).map_err(|why| self.blocked(Some(&way), why))?.clone();
        let reach = way.reach(&self.held, &base);
        if !reach.is_consistent(&base) {
            let message = format!("{} cannot be used: WAL that it needs is missing, {}", base.name, reach.gap(self.held.size));
            return Err(self.refusal(message, &way, &base));
        }
        let mut chosen = self.settle(way, base, reach, found)?;
        let needed = chosen.reach.segments[chosen.reach.inside.min(chosen.segments)..chosen.segments].to_vec();
        if let (Some(name), None) = (survey.conflict(&needed), survey.prefers_content()) {
            let message = format!("segment {name} has two contents: two servers archived to one place");
            let hint = format!("find out which is right, and name it with --prefer-content; {NOTHING}");
            return Err(Failure::new(Exit::Damaged, message, hint));
        }
        survey.must_agree(&needed)?;
        let fetched: Vec<_> = needed.into_iter().filter(|name| self.held.whole.contains(name)).collect();
        survey.hold(&fetched).map_err(|(name, why)| self.log.spoil(name, why))?;
        chosen.segments = chosen.segments.max(1);
        Ok(chosen)
    }

    /// What is missing may be where nobody answers.
    fn or_elsewhere(&self, failure: Failure) -> Failure {
        match self.survey.unreachable.first() {
            Some((location, why)) if failure.exit == Exit::Missing || !self.spoilt.is_empty() => {
                let message = format!("{}; {location} may have more, and cannot be asked: {}", failure.message, why.message);
                Failure::new(why.exit, message, failure.hint)
            }
            _ => failure,
        }
    }

    /// Which timeline is the newest, and where it left the others, nobody knows while a store is out of sight, or its history.
    fn must_know_timelines(&self, chosen: &Chosen) -> Result<(), Failure> {
        if self.target.timeline != TimelineChoice::Latest || self.target.aim == Aim::Immediate {
            return Ok(());
        }
        let known = chosen.way.timeline().0;
        if let Some((location, why)) = self.survey.unreachable.first() {
            let message = format!("{location} may know of a newer timeline, and cannot be asked: {}", why.message);
            let hint = format!(
                "wait for it, or say which timeline is right: --timeline {known} is the newest in sight; leave a store out of --from that is gone for good; {NOTHING}"
            );
            return Err(Failure::new(why.exit, message, hint));
        }
        match self.survey.only_claimed_history().filter(|claimed| claimed.0 > known) {
            Some(claimed) => {
                let message =
                    format!("timeline {} began, and its {claimed}.history is in no store: it was only claimed", claimed.0);
                let hint = format!("push the file from pg_wal of a server, or go on without it: --timeline {known}; {NOTHING}");
                Err(Failure::new(Exit::Missing, message, hint))
            }
            None => Ok(()),
        }
    }

    /// PostgreSQL asks for the histories of all timelines from that of the base on (`restoreTimeLineHistoryFiles`), and at the end of
    /// recovery for those of all newer ones (`findNewestTimeLine`).
    fn must_have_histories(&self, chosen: &Chosen) -> Result<(), Failure> {
        match self.survey.damaged.range(chosen.base.timeline..).next() {
            Some((timeline, failure)) => {
                let hint = format!(
                    "{}; a server asks for it whichever timeline it follows: with every key that signed here (-p), from another store, or moved out of \
                     the stores with its claim where timeline {} is not wanted; {NOTHING}",
                    failure.hint, timeline.0
                );
                Err(Failure { hint, ..failure.clone() })
            }
            None => Ok(()),
        }
    }

    /// What PostgreSQL is told, and what must be there for it.
    fn settle(&self, way: Way, base: Point, reach: Reach, found: Option<Lsn>) -> Result<Chosen, Failure> {
        let size = self.held.size;
        let fetched = &reach.segments[reach.inside..];
        let last = if self.target.aim == Aim::Immediate { Last::default() } else { self.log.last(fetched)? };
        let mut chosen = Chosen {
            at_least: base.stop,
            segments: reach.segments.len(),
            goal: Goal::End,
            inclusive: self.target.inclusive,
            latest_at: last.ended,
            idle_since: None,
            way,
            base,
            reach,
        };
        match &self.target.aim {
            Aim::Immediate => {
                chosen.goal = Goal::Consistent;
                chosen.segments = chosen.reach.up_to(Lsn(chosen.base.stop.0.saturating_sub(1)), size).len();
            }
            Aim::Latest => {
                self.must_be_whole(&chosen)?;
                chosen.at_least = last.record.map_or(chosen.base.stop, |(_, end)| end.max(chosen.base.stop));
                // Where the newest timeline has only its history, PostgreSQL would go on with the older one's segment of that
                // number, beyond the fork: into what the newer one was to undo.
                if !self.target.follows || chosen.unreached().is_some() {
                    self.stop_at_last(&mut chosen, &last);
                }
            }
            Aim::Time(at) => self.settle_time(&mut chosen, *at, &last)?,
            Aim::Lsn(lsn) => self.settle_lsn(&mut chosen, *lsn, &last)?,
            Aim::Xid(_) | Aim::Name(_) => {
                let lsn = found.unwrap_or(chosen.base.stop);
                chosen.goal = match &self.target.aim {
                    Aim::Xid(xid) => Goal::Xid(*xid),
                    // PostgreSQL stops at the first of that name; this is the last.
                    _ => Goal::Lsn(lsn),
                };
                chosen.at_least = lsn;
                chosen.segments = chosen.reach.up_to(lsn, size).len();
                if lsn >= chosen.reach.until {
                    let message =
                        format!("{} was found, and WAL before it is missing, {}", self.target.aim, chosen.reach.gap(size));
                    return Err(self.refusal(message, &chosen.way, &chosen.base));
                }
            }
        }
        Ok(chosen)
    }

    fn settle_time(&self, chosen: &mut Chosen, at: DateTime<Utc>, last: &Last) -> Result<(), Failure> {
        let as_of = self.as_of(chosen)?;
        match judge(at, self.target.inclusive, last, as_of) {
            Timed::Stops => {
                let ends = self.log.last_ends(&chosen.reach.segments[chosen.reach.inside..], DOUBTED)?;
                if let Some((first, last)) = set_back(at, self.target.inclusive, ends.iter()) {
                    return Err(clock(first, last));
                }
                chosen.goal = Goal::Time(at);
            }
            Timed::Idle => self.stop_at_last(chosen, last),
            Timed::Beyond => return Err(self.beyond(chosen, last)),
        }
        Ok(())
    }

    /// By when all that was committed is in the WAL, as the last of its segments says of which anybody knows: pieces say nothing.
    fn as_of(&self, chosen: &Chosen) -> Result<Option<DateTime<Utc>>, Failure> {
        for name in chosen.reach.segments.iter().rev().take(ASKED) {
            if let Some(at) = self.survey.as_of(name)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn settle_lsn(&self, chosen: &mut Chosen, lsn: Lsn, last: &Last) -> Result<(), Failure> {
        if lsn > chosen.reach.until {
            return Err(self.beyond(chosen, last));
        }
        match last.record {
            // Nothing begins there or behind it, be it inside the last record: that one is the last before it.
            Some((begins, _)) if begins < lsn => self.stop_at_last(chosen, last),
            None => chosen.goal = Goal::Consistent,
            Some(_) => {
                chosen.goal = Goal::Lsn(lsn);
                chosen.at_least = lsn;
                chosen.segments = chosen.reach.up_to(lsn, self.held.size).len();
            }
        }
        Ok(())
    }

    /// Everything that is there is replayed, and nothing that is archived from now on: the source may live still.
    fn stop_at_last(&self, chosen: &mut Chosen, last: &Last) {
        chosen.idle_since = last.ended;
        chosen.inclusive = true;
        match last.record {
            Some((begins, _)) if begins >= chosen.base.stop => {
                (chosen.goal, chosen.at_least) = (Goal::Lsn(begins), begins);
            }
            _ => chosen.goal = Goal::Consistent,
        }
    }

    /// The end of the WAL is an end only where nothing lies behind it, and no store is out of sight.
    fn must_be_whole(&self, chosen: &Chosen) -> Result<(), Failure> {
        if chosen.reach.resumes.is_some() || self.spoilt.contains_key(&chosen.reach.missing) {
            let message = format!("the WAL has a hole: {} is missing", chosen.reach.gap(self.held.size));
            return Err(self.refusal(message, &chosen.way, &chosen.base));
        }
        match self.survey.unreachable.first() {
            None => Ok(()),
            Some((location, failure)) => {
                let hint =
                    format!("where its last WAL is wanted, wait for it; if it is gone for good, leave it out of --from; {NOTHING}");
                Err(Failure::new(failure.exit, format!("{location} may hold later WAL: {}", failure.message), hint))
            }
        }
    }

    /// Where a transaction or a restore point lies.
    fn find(&self, way: &Way) -> Result<Lsn, Failure> {
        let mut segments: Vec<SegmentName> = Vec::new();
        for base in &way.bases {
            let reach = way.reach(&self.held, base);
            segments.extend(&reach.segments[reach.inside..]);
        }
        segments.sort_by_key(|name| name.start(self.held.size));
        segments.dedup();
        let found = self.log.find(&segments, |what| match (&self.target.aim, what) {
            (Aim::Xid(wanted), What::Commit { xid } | What::Abort { xid }) => wanted == xid,
            (Aim::Name(wanted), What::RestorePoint(name)) => wanted == name,
            _ => false,
        })?;
        found.map(|(_, stamp)| stamp.lsn).ok_or_else(|| {
            let message = format!("{} is not in the WAL that can be replayed", self.target.aim);
            match way.bases.first() {
                Some(first) => {
                    let hint = format!("{} segments were read; {}; {NOTHING}", segments.len(), self.window(way, first));
                    self.or_spoilt(Failure::new(Exit::Missing, message, hint), way, first)
                }
                None => Failure::new(Exit::Missing, message, NOTHING),
            }
        })
    }

    fn beyond(&self, chosen: &Chosen, last: &Last) -> Failure {
        let size = self.held.size;
        let (aim, reach) = (&self.target.aim, &chosen.reach);
        let message = match (reach.resumes, last.ended) {
            (Some(_), _) => format!("{aim} cannot be reached: the WAL has a hole before it, {} is missing", reach.gap(size)),
            (None, Some(at)) => {
                format!("{aim} is not reached: the WAL ends at {}, its last transaction at {}", reach.until, both(at))
            }
            (None, None) => format!("{aim} is not reached: the WAL ends at {}", reach.until),
        };
        let mut failure = self.refusal(message, &chosen.way, &chosen.base);
        if reach.resumes.is_none() {
            failure.hint = format!("without --target-{} it goes to the end of the WAL; {}", aim.word(), failure.hint);
        }
        failure
    }

    fn blocked(&self, way: Option<&Way>, why: Blocked) -> Failure {
        if let Blocked::NoHistory(timeline) | Blocked::NoTimeline(timeline) = &why
            && let Some(failure) = self.survey.damaged.get(timeline)
        {
            return failure.clone();
        }
        match why {
            Blocked::NoHistory(timeline) => Failure::new(
                Exit::Missing,
                format!(
                    "{timeline}.history is missing: there is WAL of timeline {}, and nobody knows where it came from",
                    timeline.0
                ),
                format!("push the file from pg_wal of a server, or name another timeline with --timeline; {NOTHING}"),
            ),
            Blocked::NoTimeline(timeline) => Failure::new(
                Exit::Missing,
                format!("timeline {} is not known: there is no {timeline}.history", timeline.0),
                format!("known are {}; {NOTHING}", self.timelines()),
            ),
            Blocked::NoBase(timeline) => Failure::new(
                Exit::Missing,
                format!("no base backup lies on the way to timeline {}", timeline.0),
                format!("dr-list --kind base shows what there is, --timeline chooses another; {NOTHING}"),
            ),
            Blocked::TooEarly(first) => {
                let message = format!("{} lies before the end of the first backup, {}", self.target.aim, first.name);
                let window = way.map(|way| self.window(way, &first)).unwrap_or_default();
                Failure::new(Exit::Missing, message, format!("{window}; {NOTHING}"))
            }
        }
    }

    fn refusal(&self, message: String, way: &Way, base: &Point) -> Failure {
        let later = way.bases.iter().find(|other| other.stop > base.stop);
        let later = later.map(|other| format!(", and {}", self.window(way, other))).unwrap_or_default();
        let older = self.older(way, way.reach(&self.held, base).until);
        let older = older.map(|(until, older)| format!("; --timeline {} goes on to {until}", older.0)).unwrap_or_default();
        let failure = Failure::new(Exit::Missing, message, format!("{}{later}{older}; {NOTHING}", self.window(way, base)));
        self.or_spoilt(failure, way, base)
    }

    /// The timeline on the way whose own WAL goes farthest, if it goes on behind `until`; and how far.
    fn older(&self, way: &Way, until: Lsn) -> Option<(Lsn, Timeline)> {
        let held = &self.held;
        let reaches = way.legs.iter().rev().skip(1).filter_map(|leg| {
            let way = Way::find(held, self.bases, TimelineChoice::Exactly(leg.timeline), Limit::None).ok()?;
            let base = way.base(self.target.aim.limit()).ok()?;
            let reach = way.reach(held, base);
            (reach.is_consistent(base) && reach.until > until).then_some((reach.until, leg.timeline))
        });
        reaches.max()
    }

    /// What can be reached from a base, in words.
    fn window(&self, way: &Way, base: &Point) -> String {
        let reach = way.reach(&self.held, base);
        if !reach.is_consistent(base) {
            return format!("{} cannot be recovered at all", base.name);
        }
        let last = self.log.last(&reach.segments[reach.inside..]).ok().and_then(|last| last.ended);
        let last = last.filter(|at| *at > base.stopped_at).map(|at| format!(" ({})", both(at))).unwrap_or_default();
        let (from, at) = (base.stop, both(base.stopped_at));
        format!("{} reaches from {from} ({at}) to {}{last}", base.name, reach.until)
    }

    fn timelines(&self) -> String {
        let mut known: Vec<_> = self.held.timelines.histories().map(|history| history.timeline.0).collect();
        known.extend(self.bases.iter().map(|base| base.timeline.0));
        known.sort_unstable();
        known.dedup();
        known.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// What the operator should know although the way is clear.
    fn mention(&self, chosen: &Chosen) {
        let since = || chosen.idle_since.map_or("the backup".into(), both);
        match (&self.target.aim, &chosen.goal) {
            (Aim::Time(at), Goal::Lsn(_) | Goal::Consistent) => {
                warn(TOOL, format!("no transaction after {} is in the WAL: all of it is replayed, up to {}", both(*at), since()));
            }
            (Aim::Lsn(lsn), Goal::Consistent) if *lsn > chosen.base.stop => {
                warn(TOOL, format!("the WAL has no record up to {lsn}: the end of the backup is as far"));
            }
            (Aim::Lsn(lsn), Goal::Lsn(last)) if last < lsn => {
                warn(TOOL, format!("the WAL has no record at {lsn} or behind it: all of it is replayed, up to the one at {last}"));
            }
            _ => {}
        }
        if let Aim::Time(at) = &self.target.aim
            && let Ok(Some(fork)) = fork::standing_at(chosen, *at, &self.held, self.log)
        {
            let (newer, older, at) = (fork.newer.0, fork.older.0, both(*at));
            let state =
                format!("timeline {newer} left timeline {older} at {}, and no transaction had ended on it by {at}", fork.at);
            warn(
                TOOL,
                format!("{state}: this is how it was at the fork; --timeline {older} has what was done on that one until then"),
            );
        }
        if let (Aim::Latest, Some(newest)) = (&self.target.aim, chosen.unreached())
            && let Some((_, older)) = self.older(&chosen.way, chosen.reach.until)
        {
            let (newer, fork, until) = (newest.timeline.0, newest.from, chosen.reach.until);
            let state = format!("of timeline {newer} only the history is there: replay ends at {until}, and the fork is at {fork}");
            warn(TOOL, format!("{state}; --timeline {} --target-lsn {fork} --exclusive goes as far as that", older.0));
        }
        let before = chosen.way.legs.iter().rev().skip(1).map(|leg| SegmentName { timeline: leg.timeline, ..chosen.reach.missing });
        let partial = before.map(WalName::Partial).find(|name| self.survey.has(name));
        if let (Aim::Latest, Some(name)) = (&self.target.aim, partial) {
            warn(TOOL, format!("{name} may hold later transactions: see dr-recover(1), CAVEATS"));
        }
        if let Aim::Latest = &self.target.aim {
            self.mention_claims(chosen);
        }
        for failure in self.survey.damaged.values() {
            warn(TOOL, format!("{}; it is not needed here", failure.message));
        }
        for (location, failure) in &self.survey.unreachable {
            warn(TOOL, format!("{location} is left out: {}", failure.message));
        }
    }

    /// A segment is claimed before it is stored: at the end of the WAL nobody can tell one that never came from one that was removed.
    fn mention_claims(&self, chosen: &Chosen) {
        let size = self.held.size;
        let until = chosen.reach.missing.start(size);
        let is_behind = |name: &SegmentName| name.start(size) >= until && chosen.way.segment_at(name.start(size), size) == *name;
        let gone: Vec<_> = self.survey.only_claimed().into_iter().filter(is_behind).collect();
        let ([first, ..], [.., last]) = (&gone[..], &gone[..]) else { return };
        let which = if first == last { first.to_string() } else { format!("{first} to {last} ({} segments)", gone.len()) };
        warn(TOOL, format!("{which}: claimed, and in no store: its host was lost while it was pushed, or it was removed since"));
    }
}

/// That a moment is not one place in the log.
fn clock(first: &Stamp, last: &Stamp) -> Failure {
    let message = format!(
        "the server's clock was set back: PostgreSQL would stop before a transaction of {}, and leave one of {} out that comes after it",
        both(first.at),
        both(last.at)
    );
    let hint = format!(
        "--target-lsn {} goes up to the latter, --target-lsn {} --exclusive stops before the former; {NOTHING}",
        last.lsn, first.lsn
    );
    Failure::new(Exit::Refused, message, hint)
}

impl Chosen {
    /// The newest timeline, where nothing that was written on it is there.
    fn unreached(&self) -> Option<&Leg> {
        self.way.legs.last().filter(|leg| self.reach.until <= leg.from)
    }

    /// What PostgreSQL is told, as name and value of a setting; none where it goes to the end.
    pub fn setting(&self) -> Option<(&'static str, String)> {
        match &self.goal {
            Goal::End => None,
            Goal::Consistent => Some(("recovery_target", "immediate".into())),
            Goal::Time(at) => Some(("recovery_target_time", postgres(*at))),
            Goal::Lsn(lsn) => Some(("recovery_target_lsn", lsn.to_string())),
            Goal::Xid(xid) => Some(("recovery_target_xid", xid.to_string())),
        }
    }
}
