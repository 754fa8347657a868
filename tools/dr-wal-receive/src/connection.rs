//! One connection: is it the right server, does the slot keep what is needed, which histories are missing, and where does the
//! stream begin?

use dr_pipe::{Exit, Failure, warn};
use dr_postgres::ConnInfo;
use dr_postgres::wire::{Identity, NextTimeline, Session, Streaming};
use dr_wal::{History, Lsn, SegmentSize, Timeline, WalName};

use crate::folder::Kept;
use crate::gap::{Gap, Tag};
use crate::receive::TOOL;
use crate::start::{Offer, Place, Start, start};
use crate::stream::{End, Receiver};
use crate::trouble::Trouble;

/// How the server is spoken to.
pub struct Link<'a> {
    /// Where it is.
    pub conn: &'a ConnInfo,
    /// What we are called there.
    pub name: &'a str,
    /// The slot.
    pub slot: &'a str,
    /// Whether to make the slot where it is missing or was given up.
    pub create_slot: bool,
}

/// A connection that was asked who it is.
pub struct Connection {
    session: Session,
    /// Who the server is.
    pub identity: Identity,
    /// The size of its segments.
    pub size: SegmentSize,
}

/// What the server answers about a slot that it has invalidated.
const INVALIDATED: &str = "55000";

impl Link<'_> {
    /// Connects.
    pub fn connect(&self) -> Result<Connection, Trouble> {
        let mut session = Session::connect_replication(self.conn, self.name)?;
        let identity = session.identify_system()?;
        let size = SegmentSize::try_from(session.wal_segment_bytes()?).map_err(|error| Trouble::Fatal(error.into()))?;
        Ok(Connection { session, identity, size })
    }
}

impl Connection {
    /// Receives over this connection, timeline after timeline, until the stream breaks or ends.
    pub fn receive(&mut self, link: &Link<'_>, receiver: &mut Receiver<'_>) -> Result<End, Trouble> {
        receiver.memory.hold_against(&self.identity, self.size)?;
        let history = self.histories(receiver)?;
        let own = receiver.own_end()?;
        let slot = self.slot(link, own.is_some())?;
        let end = Place { timeline: Timeline(self.identity.timeline), at: Lsn(self.identity.flushed) };
        let offer = Offer { end, history, slot };
        let mut at = self.place(&offer, own, receiver)?;
        loop {
            receiver.close_others(at)?;
            let streamed = self.stream(link, receiver, at);
            let next = match streamed {
                Ok(Ok(next)) => next,
                Ok(Err(end)) => return Ok(end),
                Err(Trouble::Removed(failure)) => {
                    at = pass_by(receiver, at, &offer, failure)?;
                    continue;
                }
                Err(Trouble::Invalidated(failure)) => return Err(self.renew(link, failure)),
                Err(trouble) => return Err(trouble),
            };
            self.history(receiver, Timeline(next.timeline))?;
            at = Place { timeline: Timeline(next.timeline), at: Lsn(next.from) };
            receiver.turn(at)?;
            at = at.rounded(self.size);
        }
    }

    /// Streams one timeline; the next one, or why it is over.
    fn stream(&mut self, link: &Link<'_>, receiver: &mut Receiver<'_>, at: Place) -> Result<Result<NextTimeline, End>, Trouble> {
        // What a standby has comes late, and what a timeline had that is over was written elsewhere.
        let primary = self.session.parameter("in_hot_standby") == Some("off") && at.timeline.0 == self.identity.timeline;
        receiver.begin(at, primary);
        let mut stream = match self.session.stream_wal(Some(link.slot), at.timeline.0, at.at.0) {
            Ok(Streaming::Ended(next)) => return Ok(Ok(next)),
            Ok(Streaming::Started(stream)) => stream,
            Err(error) if error.sqlstate() == Some(INVALIDATED) => return Err(Trouble::Invalidated(error.into())),
            Err(error) => return Err(error.into()),
        };
        receiver.status.ready();
        match receiver.receive(&mut stream)? {
            End::Timeline => {
                let next = stream.finish()?;
                let missing = || Failure::new(Exit::Protocol, "a timeline ended, and the server names no next one", "see its log");
                Ok(Ok(next.ok_or_else(|| Trouble::Passing(missing()))?))
            }
            end => {
                // What it has heard counts; whether it hears the good-bye does not.
                drop(stream.finish());
                Ok(Err(end))
            }
        }
    }

    /// Where to begin.
    fn place(&self, offer: &Offer, own: Option<Place>, receiver: &Receiver<'_>) -> Result<Place, Trouble> {
        let hint =
            "an old primary, or a standby that is behind? name the right server, or several with target_session_attrs=primary";
        match (start(own, offer, self.size), own) {
            (Start::At(at), _) => Ok(at),
            (Start::Forked { at, left_at }, own) => {
                let own = own.unwrap_or(at);
                warn(
                    TOOL,
                    format!("the server left timeline {} at {left_at}, and WAL of it was received up to {own}", own.timeline.0),
                );
                warn(TOOL, "the rest of it is of a server that was lost: it is kept and stored, and leads nowhere");
                receiver.outbox.progress(None);
                Ok(at)
            }
            (Start::Unknown, Some(own)) => {
                let message = format!("the server is at {}, whose history does not know timeline {}", offer.end, own.timeline.0);
                Err(Trouble::Passing(Failure::new(Exit::Busy, message, hint)))
            }
            (Start::Behind | Start::Unknown, own) => {
                let own = own.unwrap_or(offer.end);
                let message = format!("the server's WAL ends at {}, before what was received: {own}", offer.end);
                Err(Trouble::Passing(Failure::new(Exit::Busy, message, hint)))
            }
        }
    }

    /// The oldest WAL that the slot keeps. A slot that is missing, or keeps nothing any more, is made where that was asked for.
    fn slot(&mut self, link: &Link<'_>, used: bool) -> Result<Option<Place>, Trouble> {
        let name = link.slot;
        let found = self.session.read_slot(name)?;
        if let Some(restart) = found.as_ref().and_then(|slot| slot.restart) {
            return Ok(Some(Place { timeline: Timeline(restart.1), at: Lsn(restart.0) }));
        }
        if !link.create_slot {
            let what =
                if found.is_some() { "keeps no WAL: the server has given it up, or it was never used" } else { "does not exist" };
            let hint = "make it with --create-slot, before the first base backup; nothing was received";
            return Err(Trouble::Fatal(Failure::new(Exit::Config, format!("replication slot {name} {what}"), hint)));
        }
        if found.is_some() {
            self.session.drop_slot(name)?;
        }
        if used {
            warn(TOOL, format!("replication slot {name} is gone, or was given up by the server: it is made anew"));
        }
        self.session.create_slot(name)?;
        let made = self.session.read_slot(name)?.and_then(|slot| slot.restart);
        Ok(made.map(|(at, timeline)| Place { timeline: Timeline(timeline), at: Lsn(at) }))
    }

    /// Makes a slot anew that the server has given up, though it still says where it began: one that was idle for too long, say.
    fn renew(&mut self, link: &Link<'_>, Failure { message, .. }: Failure) -> Trouble {
        if !link.create_slot {
            let hint = "drop it, and make it anew with --create-slot, before the next base backup; nothing was received";
            return Trouble::Fatal(Failure::new(Exit::Config, message, hint));
        }
        match self.session.drop_slot(link.slot).and_then(|()| self.session.create_slot(link.slot)) {
            Ok(()) => {
                let message = format!("replication slot {} was given up by the server, and is made anew: {message}", link.slot);
                Trouble::Passing(Failure::new(Exit::Busy, message, "its settings, such as idle_replication_slot_timeout, say why"))
            }
            Err(error) => error.into(),
        }
    }

    /// How the server came to its timeline; all of that is put into the outbox.
    fn histories(&mut self, receiver: &mut Receiver<'_>) -> Result<History, Trouble> {
        let timeline = Timeline(self.identity.timeline);
        let Some(history) = self.history(receiver, timeline)? else { return Ok(History::root(timeline)) };
        for switch in &history.switches {
            if let Err(Trouble::Removed(failure)) = self.history(receiver, switch.timeline) {
                warn(TOOL, format!("{}.history is not on the server: {}", switch.timeline, failure.message));
            }
        }
        Ok(history)
    }

    /// Reads a timeline's history, and puts it into the outbox if it was never stored; none of the first timeline.
    fn history(&mut self, receiver: &mut Receiver<'_>, timeline: Timeline) -> Result<Option<History>, Trouble> {
        if timeline == Timeline(1) {
            return Ok(None);
        }
        let file = self.session.timeline_history(timeline.0)?;
        let history = History::parse(timeline, &file.content).map_err(|error| Trouble::Fatal(error.into()))?;
        if !receiver.memory.histories.contains(&timeline) {
            let kept = Kept::Wal(WalName::History(timeline));
            receiver.folder.create(&kept, &file.content)?;
            receiver.outbox.add(kept);
        }
        Ok(Some(history))
    }
}

/// The WAL from `at` on is not on the server any more: on record with that, and on to what the slot keeps.
fn pass_by(receiver: &mut Receiver<'_>, at: Place, offer: &Offer, failure: Failure) -> Result<Place, Trouble> {
    let size = receiver.memory.size();
    let Some(next) = offer.slot.map(|slot| slot.rounded(size)).filter(|next| next.at > at.at) else {
        return Err(Trouble::Passing(failure));
    };
    let from = receiver.own_end()?.filter(|own| own.timeline == at.timeline && own.at > at.at).unwrap_or(at);
    let gap = Gap {
        r#type: Tag::Gap,
        format: 1,
        cluster: receiver.memory.cluster.clone(),
        timeline: from.timeline,
        from: from.at,
        to: next.at,
        found_at: chrono::Utc::now(),
        reason: failure.message,
    };
    warn(TOOL, format!("GAP: WAL from {from} to {next} was not received: the server has removed it ({})", gap.reason));
    warn(TOOL, "unless dr-wal-push brought it, no recovery leads across: take a new base backup now");
    let kept = Kept::Gap(gap.name());
    receiver.folder.create(&kept, &gap.encode())?;
    receiver.outbox.add(kept);
    receiver.outbox.progress(None);
    receiver.memory.end = Some(next);
    receiver.remember()?;
    Ok(next)
}
