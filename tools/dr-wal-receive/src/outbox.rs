//! What has to go to which store, and how that is going: shared by the thread that receives and one thread for each store, so
//! that a slow or failing store is nobody else's trouble.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use dr_pipe::{Backoff, Failure};
use dr_wal::SegmentName;

use crate::folder::Kept;

/// The largest piece, in bytes: what a store's thread holds in memory.
const PIECE_BYTES: u64 = 16 << 20;

/// After so many small pieces comes one that holds all of them, so that nobody has to read thousands.
const CHAIN: u32 = 100;

/// What a store's thread is to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Job {
    /// Store a whole file.
    File(Kept),
    /// Store a piece of the segment that is being received.
    Piece(Reach),
    /// Nothing more: end.
    End,
}

/// A stretch of an unfinished segment, as offsets in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The segment.
    pub segment: SegmentName,
    /// The first byte.
    pub from: u64,
    /// The byte after the last.
    pub to: u64,
}

/// How the service ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Once everything is stored.
    Drained,
    /// After one last piece.
    Now,
}

/// How one store is going.
#[derive(Clone, Debug, Default)]
pub struct Going {
    /// The store, as it was named.
    pub store: String,
    /// Why its last attempt has failed.
    pub trouble: Option<Failure>,
    /// What it has of the segment that is being received.
    pub piece: Option<(SegmentName, u64)>,
    /// How many pieces it has of it, since the last that began at its first byte.
    pieces: u32,
    piece_at: Option<Instant>,
    retry_at: Option<Instant>,
    said_farewell: bool,
    ended: bool,
}

#[derive(Debug, Default)]
struct State {
    /// Which of the stores have a file.
    files: BTreeMap<Kept, Vec<bool>>,
    /// By when all that was committed is in a file or before it.
    as_of: BTreeMap<Kept, DateTime<Utc>>,
    /// The segment that is being received, and how much of it is safe here.
    current: Option<(SegmentName, u64)>,
    stores: Vec<Going>,
    /// Histories that have been stored and not been taken note of.
    stored: Vec<Kept>,
    ending: Option<Ending>,
    fatal: Option<Failure>,
    stopping: bool,
}

/// The shared state.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<State>,
    changed: Condvar,
    required: usize,
    every: Duration,
}

impl Outbox {
    /// An outbox for these stores; a file leaves it once `required` of them have it, and a piece is due `every` so often.
    pub fn new(stores: &[String], required: usize, every: Duration) -> Self {
        let stores = stores.iter().map(|store| Going { store: store.clone(), ..Going::default() }).collect();
        Outbox { state: Mutex::new(State { stores, ..State::default() }), changed: Condvar::new(), required, every }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a segment in that was received up to its end, and by when all that was committed is in it or before it.
    pub fn add_segment(&self, kept: Kept, as_of: Option<DateTime<Utc>>) {
        let mut state = self.state();
        let stores = state.stores.len();
        state.as_of.extend(as_of.map(|at| (kept.clone(), at)));
        state.files.entry(kept).or_insert_with(|| vec![false; stores]);
        self.changed.notify_all();
    }

    /// By when all that was committed is in a file or before it, where that is known.
    pub fn as_of(&self, kept: &Kept) -> Option<DateTime<Utc>> {
        self.state().as_of.get(kept).copied()
    }

    /// Puts a whole file in.
    pub fn add(&self, kept: Kept) {
        self.add_segment(kept, None);
    }

    /// Says which segment is being received, and how much of it is safe here; none: none is.
    pub fn progress(&self, current: Option<(SegmentName, u64)>) {
        let mut state = self.state();
        if state.current != current {
            state.current = current;
            self.changed.notify_all();
        }
    }

    /// The next job of a store's thread; waits for one.
    pub fn next(&self, store: usize) -> Job {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            let due = match self.decide(&mut state, store, now) {
                Ok(job) => return job,
                Err(due) => due.saturating_duration_since(now),
            };
            state = self.changed.wait_timeout(state, due).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The job, or until when there is none.
    fn decide(&self, state: &mut State, store: usize, now: Instant) -> Result<Job, Instant> {
        let later = now + Duration::from_secs(60);
        if state.fatal.is_some() {
            return Ok(Job::End);
        }
        let piece = piece(state, store);
        if state.ending == Some(Ending::Now) {
            let last = piece.filter(|_| !std::mem::replace(&mut state.stores[store].said_farewell, true));
            return Ok(last.map_or(Job::End, Job::Piece));
        }
        let going = &state.stores[store];
        if let Some(at) = going.retry_at.filter(|at| *at > now) {
            return Err(at);
        }
        let file = state.files.iter().find(|(_, done)| !done[store]).map(|(kept, _)| kept.clone());
        let draining = state.ending == Some(Ending::Drained);
        let due = going.piece_at.map_or(now, |at| at + self.every);
        // No WAL of a timeline before its history.
        let first = matches!(&file, Some(Kept::Wal(dr_wal::WalName::History(_)) | Kept::Gap(_)));
        match (file, piece) {
            (Some(file), _) if first => Ok(Job::File(file)),
            (_, Some(piece)) if due <= now || draining => Ok(Job::Piece(piece)),
            (Some(file), _) => Ok(Job::File(file)),
            (None, _) if draining => Ok(Job::End),
            (None, Some(_)) => Err(due),
            (None, None) => Err(later),
        }
    }

    /// A store has a file. Those that are to be removed now, and which stores lack them.
    pub fn stored(&self, store: usize, kept: &Kept) -> Vec<(Kept, Vec<String>)> {
        let mut state = self.state();
        state.well(store);
        if let Some(done) = state.files.get_mut(kept) {
            done[store] = true;
        }
        self.clear(&mut state)
    }

    /// A store has a piece.
    pub fn stored_piece(&self, store: usize, piece: &Reach) {
        let mut state = self.state();
        state.well(store);
        let going = &mut state.stores[store];
        going.pieces = if piece.from == 0 { 1 } else { going.pieces + 1 };
        going.piece = Some((piece.segment, piece.to));
        state.stores[store].piece_at = Some(Instant::now());
        self.changed.notify_all();
    }

    /// A store has failed, and is tried again after a pause. As [`Outbox::stored`].
    pub fn failed(&self, store: usize, failure: Failure, backoff: &mut Backoff) -> Vec<(Kept, Vec<String>)> {
        let mut state = self.state();
        state.stores[store].trouble = Some(failure);
        state.stores[store].retry_at = Some(Instant::now() + backoff.pause());
        self.clear(&mut state)
    }

    /// Files that enough stores have, while all the others are in trouble.
    fn clear(&self, state: &mut State) -> Vec<(Kept, Vec<String>)> {
        let State { files, as_of, stores, stored, .. } = state;
        let mut gone = Vec::new();
        files.retain(|kept, done| {
            let enough = done.iter().filter(|done| **done).count() >= self.required;
            let hopeless = stores.iter().zip(done.iter()).all(|(going, done)| *done || going.trouble.is_some());
            if enough && hopeless {
                let lacking = stores.iter().zip(done.iter()).filter(|(_, done)| !**done).map(|(going, _)| going.store.clone());
                gone.push((kept.clone(), lacking.collect()));
            }
            !(enough && hopeless)
        });
        as_of.retain(|kept, _| files.contains_key(kept));
        stored.extend(gone.iter().map(|(kept, _)| kept.clone()));
        self.changed.notify_all();
        gone
    }

    /// Something has happened to a store's thread that ends the service.
    pub fn fail(&self, failure: Failure) {
        let mut state = self.state();
        state.fatal.get_or_insert(failure);
        self.changed.notify_all();
    }

    /// What ends the service, if anything has happened.
    pub fn fatal(&self) -> Option<Failure> {
        self.state().fatal.clone()
    }

    /// The files that the stores hold since this was asked last.
    pub fn take_stored(&self) -> Vec<Kept> {
        std::mem::take(&mut self.state().stored)
    }

    /// How many files wait, and how each store is going.
    pub fn going(&self) -> (usize, Vec<Going>) {
        let state = self.state();
        (state.files.len(), state.stores.clone())
    }

    /// A signal asks to stop.
    pub fn stop(&self) {
        self.state().stopping = true;
        self.changed.notify_all();
    }

    /// Whether a signal has asked to stop.
    pub fn stopping(&self) -> bool {
        self.state().stopping
    }

    /// Waits at most `limit`, or until something ends the service; whether it has.
    pub fn pause(&self, limit: Duration) -> bool {
        let state = self.state();
        let over = |state: &mut State| !state.stopping && state.fatal.is_none();
        let (state, _) = self.changed.wait_timeout_while(state, limit, over).unwrap_or_else(PoisonError::into_inner);
        state.stopping || state.fatal.is_some()
    }

    /// A store's thread has ended.
    pub fn ended(&self, store: usize) {
        self.state().stores[store].ended = true;
        self.changed.notify_all();
    }

    /// Has every store get one last piece at once; waits at most `limit`.
    pub fn end_now(&self, limit: Duration) {
        self.state().ending = Some(Ending::Now);
        self.changed.notify_all();
        let waiting = |state: &mut State| !state.stores.iter().all(|going| going.ended);
        drop(self.changed.wait_timeout_while(self.state(), limit, waiting));
    }

    /// Has everything stored, up to the last piece; waits at most `limit`.
    ///
    /// # Errors
    /// Why too few stores have everything.
    pub fn drain(&self, limit: Duration) -> Result<(), Failure> {
        self.state().ending = Some(Ending::Drained);
        self.changed.notify_all();
        let waiting = |state: &mut State| {
            let left = state.stores.iter().filter(|going| !going.ended && going.trouble.is_none()).count();
            state.fatal.is_none()
                && !state.stopping
                && (left > 0 || !self.enough(state) && state.stores.iter().any(|going| !going.ended))
        };
        let (state, _) = self.changed.wait_timeout_while(self.state(), limit, waiting).unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = &state.fatal {
            return Err(failure.clone());
        }
        if self.enough(&state) {
            return Ok(());
        }
        let trouble = state.stores.iter().find_map(|going| going.trouble.clone());
        Err(trouble.unwrap_or_else(|| {
            let message = "the stores did not take everything in time";
            Failure::new(dr_pipe::Exit::Unavailable, message, "what is missing there is in --dir: run it again")
        }))
    }

    /// Whether enough stores have all files, and all of the current segment.
    fn enough(&self, state: &State) -> bool {
        let whole = |store: &usize| {
            let files = state.files.values().all(|done| done[*store]);
            files && piece(state, *store).is_none()
        };
        (0..state.stores.len()).filter(whole).count() >= self.required
    }
}

impl State {
    fn well(&mut self, store: usize) {
        self.stores[store].trouble = None;
        self.stores[store].retry_at = None;
    }
}

/// What a store lacks of the segment that is being received.
fn piece(state: &State, store: usize) -> Option<Reach> {
    let (segment, safe) = state.current?;
    let going = &state.stores[store];
    let known = going.piece.filter(|(of, _)| *of == segment).map_or(0, |(_, to)| to);
    if safe <= known {
        return None;
    }
    let from = if going.pieces >= CHAIN && known < PIECE_BYTES { 0 } else { known };
    Some(Reach { segment, from, to: safe.min(from + PIECE_BYTES) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use dr_pipe::Exit;

    use super::*;

    fn outbox(required: usize) -> Outbox {
        Outbox::new(&["near".into(), "far".into()], required, Duration::from_secs(5))
    }

    fn kept(name: &str) -> Kept {
        Kept::Wal(name.parse().unwrap())
    }

    fn failure() -> Failure {
        Failure::new(Exit::Unavailable, "away", "wait")
    }

    const SEGMENT: &str = "000000010000000000000003";

    #[test]
    fn a_file_leaves_when_every_store_has_it_or_enough_have_and_the_rest_are_in_trouble() {
        let outbox = outbox(1);
        outbox.add(kept(SEGMENT));
        assert_eq!(outbox.next(0), Job::File(kept(SEGMENT)));
        assert_eq!(outbox.stored(0, &kept(SEGMENT)), []);
        assert_eq!(outbox.next(1), Job::File(kept(SEGMENT)), "the other one gets its chance");
        assert_eq!(outbox.failed(1, failure(), &mut Backoff::default()), [(kept(SEGMENT), vec!["far".into()])]);
        assert_eq!(outbox.take_stored(), [kept(SEGMENT)]);

        let both = self::outbox(2);
        both.add(kept(SEGMENT));
        both.failed(1, failure(), &mut Backoff::default());
        assert_eq!(both.stored(0, &kept(SEGMENT)), []);
        assert_eq!(both.stored(1, &kept(SEGMENT)), [(kept(SEGMENT), vec![])]);
    }

    #[test]
    fn pieces_join_and_no_wal_goes_before_its_history() {
        let outbox = outbox(2);
        let segment = SEGMENT.parse().unwrap();
        outbox.progress(Some((segment, 100)));
        let first = Reach { segment, from: 0, to: 100 };
        assert_eq!(outbox.next(0), Job::Piece(first));
        outbox.stored_piece(0, &first);
        outbox.progress(Some((segment, 150)));
        outbox.add(kept(SEGMENT));
        assert_eq!(outbox.next(0), Job::File(kept(SEGMENT)), "the next piece is not due");
        outbox.add(kept("00000001.history"));
        assert_eq!(outbox.next(1), Job::File(kept("00000001.history")));
        outbox.stored(0, &kept(SEGMENT));
        outbox.stored(0, &kept("00000001.history"));
        outbox.state().ending = Some(Ending::Now);
        assert_eq!(outbox.next(0), Job::Piece(Reach { segment, from: 100, to: 150 }));
        assert_eq!(outbox.next(0), Job::End, "one last piece, whether it was stored or not");
    }

    #[test]
    fn a_hundred_small_pieces_are_followed_by_one_that_holds_all() {
        let outbox = outbox(1);
        let segment = SEGMENT.parse().unwrap();
        let mut begins = Vec::new();
        for safe in 1..=203 {
            outbox.progress(Some((segment, safe)));
            let piece = piece(&outbox.state(), 0).unwrap();
            outbox.stored_piece(0, &piece);
            begins.push(piece.from);
        }
        let whole: Vec<_> = begins.iter().enumerate().filter(|(_, from)| **from == 0).map(|(n, _)| n).collect();
        assert_eq!(whole, [0, 100, 200]);
        assert!(begins.windows(2).all(|pair| pair[1] == 0 || pair[0] == 0 || pair[1] == pair[0] + 1));
    }

    #[test]
    fn draining_ends_when_enough_stores_have_everything() {
        let outbox = outbox(1);
        let segment = SEGMENT.parse().unwrap();
        outbox.progress(Some((segment, 100)));
        assert!(outbox.drain(Duration::ZERO).is_err());
        outbox.stored_piece(0, &Reach { segment, from: 0, to: 100 });
        assert_eq!(outbox.next(0), Job::End);
        assert_eq!(outbox.drain(Duration::ZERO), Ok(()));
        outbox.fail(failure());
        assert_eq!(outbox.next(1), Job::End);
        assert_eq!(outbox.drain(Duration::ZERO), Err(failure()));
    }
}
