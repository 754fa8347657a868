//! Takes in what a server streams: contiguous, on our own disk, and only then reported as safe.

use std::time::{Duration, Instant};

use dr_pipe::{Exit, Failure};
use dr_postgres::wire::{Streamed, WalStream};
use dr_wal::{Lsn, SegmentSize, header};

use crate::as_of::AsOf;
use crate::folder::{Folder, Kept};
use crate::memory::Memory;
use crate::outbox::Outbox;
use crate::segment::Segment;
use crate::start::Place;
use crate::status::Status;
use crate::trouble::Trouble;

/// How long nothing may come before signals and the watchdog are looked at.
const TICK: Duration = Duration::from_millis(100);

/// How long what has come may wait to be synced, where no commit waits for it.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// How much may come before it is synced, where commits wait, and the server does not stop sending.
const SYNC_BYTES: u64 = 1 << 20;

/// How often the server is told what is safe here, at least, and asked for a sign of life: for [`AsOf`].
const REPORT_EVERY: Duration = Duration::from_millis(250);

/// A server that was silent so long is taken for dead.
const SILENCE: Duration = Duration::from_secs(60);

/// How a stream is received.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Sync and report at once.
    pub synchronous: bool,
    /// End when everything up to here is safe.
    pub until: Option<Lsn>,
}

/// Why a stream has ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The timeline has.
    Timeline,
    /// What was asked for is here.
    Until,
    /// A signal asks to stop.
    Stopped,
}

/// The receiving side, over all streams and connections.
pub struct Receiver<'a> {
    /// The own disk.
    pub folder: &'a Folder,
    /// Where it goes from there.
    pub outbox: &'a Outbox,
    /// What outlives this process.
    pub memory: Memory,
    /// How it goes.
    pub status: Status,
    /// How it is done.
    pub manner: Manner,
    /// The position that comes next.
    next: Place,
    segment: Option<Segment>,
    /// What was reported as safe.
    told: Lsn,
    reported: Instant,
    synced: Instant,
    heard: Instant,
    as_of: AsOf,
}

impl<'a> Receiver<'a> {
    /// A receiver that nothing has come to.
    pub fn new(folder: &'a Folder, outbox: &'a Outbox, memory: Memory, status: Status, manner: Manner) -> Self {
        let next = Place { timeline: dr_wal::Timeline(1), at: Lsn(0) };
        let now = Instant::now();
        Receiver {
            folder,
            outbox,
            memory,
            status,
            manner,
            next,
            segment: None,
            told: Lsn(0),
            reported: now,
            synced: now,
            heard: now,
            as_of: AsOf::default(),
        }
    }

    fn size(&self) -> SegmentSize {
        self.memory.size()
    }

    /// Takes a place, the beginning of a segment, as the next; what is there of that segment will be compared. `primary`: whether
    /// the server is one.
    pub fn begin(&mut self, at: Place, primary: bool) {
        (self.next, self.segment, self.as_of) = (at, None, AsOf::new(primary));
        let now = Instant::now();
        (self.reported, self.synced, self.heard) = (now, now, now);
    }

    /// Receives until the timeline ends, or we are to.
    pub fn receive(&mut self, stream: &mut WalStream<'_>) -> Result<End, Trouble> {
        self.report(stream, false)?;
        loop {
            self.status.received = Some((self.next, self.safe()));
            self.status.tick(self.outbox);
            if let Some(failure) = self.outbox.fatal() {
                return Err(Trouble::Fatal(failure));
            }
            if self.outbox.stopping() {
                self.sync()?;
                self.report(stream, false)?;
                return Ok(End::Stopped);
            }
            let hurry = self.manner.synchronous && self.dirty() > 0;
            match stream.next(if hurry { Duration::ZERO } else { TICK })? {
                Streamed::Nothing if hurry => self.sync_and_report(stream)?,
                Streamed::Nothing => {}
                Streamed::Wal { start, server_end, sent_at, bytes } => {
                    self.heard = Instant::now();
                    self.status.server_end = Lsn(server_end);
                    self.as_of.wal(Lsn(start), Lsn(server_end), sent_at);
                    self.take(Lsn(start), bytes)?;
                }
                Streamed::Keepalive { server_end, sent_at, reply_wanted } => {
                    self.heard = Instant::now();
                    self.status.server_end = Lsn(server_end);
                    self.as_of.alive(sent_at);
                    // A server that shuts down waits until everything is safe here.
                    if reply_wanted {
                        self.sync_and_report(stream)?;
                    }
                }
                Streamed::TimelineEnd => {
                    self.sync()?;
                    return Ok(End::Timeline);
                }
            }
            self.keep_up(stream)?;
            if self.manner.until.is_some_and(|until| self.next.at >= until) {
                self.sync_and_report(stream)?;
                return Ok(End::Until);
            }
        }
    }

    /// Syncs and reports where it is time to, and notices a dead server.
    fn keep_up(&mut self, stream: &mut WalStream<'_>) -> Result<(), Trouble> {
        let dirty = self.dirty();
        if dirty > 0 && (self.synced.elapsed() >= SYNC_EVERY || self.manner.synchronous && dirty >= SYNC_BYTES) {
            self.sync_and_report(stream)?;
        }
        let silent = self.heard.elapsed();
        if silent >= SILENCE {
            let message = format!("the server has been silent for {} seconds", silent.as_secs());
            return Err(Trouble::Passing(Failure::new(Exit::Unavailable, message, "is its host up, and the network?")));
        }
        // A segment that was finished is safe and was not reported, where nothing came after it.
        let news = self.manner.synchronous && self.safe() > self.told;
        if news || self.reported.elapsed() >= REPORT_EVERY {
            self.report(stream, true)?;
        }
        Ok(())
    }

    /// Takes in a stretch of WAL, which must be the next.
    fn take(&mut self, start: Lsn, bytes: &[u8]) -> Result<(), Trouble> {
        if start != self.next.at {
            let message = format!("the server sends WAL from {start} on, and {} comes next", self.next);
            let hint = "what was received is kept; the stream is begun anew where it ends";
            return Err(Trouble::Passing(Failure::new(Exit::Protocol, message, hint)));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (offset, size) = (self.next.offset(self.size()), self.size().bytes());
            let room = usize::try_from(size - offset).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at(room);
            if offset == 0 {
                self.open(now)?;
            }
            let segment = self.segment.as_mut().expect("streams begin where segments do");
            segment.write(now)?;
            self.next.at = Lsn(self.next.at.0 + now.len() as u64);
            if segment.length() == size {
                self.finish()?;
            }
            rest = later;
        }
        Ok(())
    }

    /// Opens the next segment; its first bytes say whether it is what we take it for.
    fn open(&mut self, first: &[u8]) -> Result<(), Trouble> {
        let name = self.next.segment(self.size());
        if first.len() >= header::LONG_HEADER_BYTES {
            let header = header::check_beginning(first, &name).map_err(|error| Trouble::Fatal(error.into()))?;
            if dr_wal::System::of(&header) != self.memory.system {
                let message =
                    format!("{name} is of system {}, and the server said {}", header.system_identifier, self.memory.system);
                return Err(Trouble::Fatal(Failure::new(Exit::Damaged, message, "nothing of it was kept")));
            }
        }
        self.segment = Some(Segment::open(self.folder, name)?);
        Ok(())
    }

    /// The segment is whole: on to the stores with it.
    fn finish(&mut self) -> Result<(), Trouble> {
        let segment = self.segment.take().expect("it is being received");
        let (name, as_of) = (segment.name, self.as_of.at(self.next.at));
        let kept = segment.finish(self.folder)?;
        self.synced = Instant::now();
        self.memory.end = Some(self.next);
        self.memory.as_of.extend(as_of.map(|at| (name, at)));
        self.remember()?;
        self.outbox.progress(None);
        self.outbox.add_segment(kept, as_of);
        Ok(())
    }

    /// The timeline has ended: its last segment stays as it is, under its own name, and `next` is where the next one goes on.
    pub fn turn(&mut self, next: Place) -> Result<(), Failure> {
        let next = next.rounded(self.size());
        self.memory.end = Some(next);
        self.remember()?;
        if let Some(segment) = self.segment.take() {
            let kept = segment.give_up(self.folder, self.size().bytes())?;
            self.outbox.progress(None);
            self.outbox.add(kept);
        }
        Ok(())
    }

    /// Closes unfinished segments that will never be: those of another place than `at`.
    pub fn close_others(&mut self, at: Place) -> Result<(), Failure> {
        let name = at.segment(self.size());
        for (segment, _) in self.folder.unfinished()? {
            if segment != name {
                let kept = Segment::open(self.folder, segment)?.give_up(self.folder, self.size().bytes())?;
                self.outbox.add(kept);
            }
        }
        Ok(())
    }

    /// Where our own data end, by what is on the disk.
    pub fn own_end(&self) -> Result<Option<Place>, Failure> {
        let size = self.size();
        let mut end = self.memory.end;
        for kept in self.folder.whole()? {
            if let Kept::Wal(dr_wal::WalName::Segment(segment)) = kept {
                end = end.max(Some(Place { timeline: segment.timeline, at: segment.end(size) }));
            }
        }
        for (segment, bytes) in self.folder.unfinished()? {
            // One that has all of its bytes and not its name yet was not synced, perhaps: it is received again.
            let bytes = bytes.min(size.bytes() - 1);
            end = end.max(Some(Place { timeline: segment.timeline, at: Lsn(segment.start(size).0 + bytes) }));
        }
        Ok(end)
    }

    /// Remembers what must outlive this process, and which histories are stored.
    pub fn remember(&mut self) -> Result<(), Failure> {
        for kept in self.outbox.take_stored() {
            match kept {
                Kept::Wal(dr_wal::WalName::History(timeline)) => self.memory.histories.push(timeline),
                Kept::Wal(dr_wal::WalName::Segment(segment)) => drop(self.memory.as_of.remove(&segment)),
                _ => {}
            }
        }
        self.folder.remember(&self.memory)
    }

    /// How many bytes have come and are not safe.
    fn dirty(&self) -> u64 {
        self.segment.as_ref().map_or(0, |segment| segment.length() - segment.synced())
    }

    fn safe(&self) -> Lsn {
        Lsn(self.next.at.0 - self.dirty())
    }

    /// Makes everything safe that has come.
    pub fn sync(&mut self) -> Result<(), Failure> {
        if let Some(segment) = &mut self.segment {
            segment.sync()?;
            self.outbox.progress(Some((segment.name, segment.synced())));
        }
        self.synced = Instant::now();
        Ok(())
    }

    fn sync_and_report(&mut self, stream: &mut WalStream<'_>) -> Result<(), Trouble> {
        self.sync()?;
        self.report(stream, false)
    }

    fn report(&mut self, stream: &mut WalStream<'_>, reply_wanted: bool) -> Result<(), Trouble> {
        (self.reported, self.told) = (Instant::now(), self.safe());
        Ok(stream.report(self.next.at.0, self.safe().0, reply_wanted)?)
    }
}
