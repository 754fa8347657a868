//! Archives one file of WAL: answers from memory where it was pushed ahead, else packs it once and puts it into every store.

use std::os::unix::fs::FileExt;

use chrono::Utc;
use dr_catalogue::SigningKey;
use dr_crypt::Recipients;
use dr_pipe::{Exit, Failure, Outcome, Sha256, warn};
use dr_wal::header::{self, Header};
use dr_wal::{Packed, Packing, SegmentName, WalName};

use crate::ahead::{self, Room};
use crate::args::Args;
use crate::asked::{Asked, Identity};
use crate::journal::{Journal, Settings};
use crate::memory::{Forks, Memory};
use crate::stores::Stores;
use crate::{demoted, forecast, identity};

/// What stands before every message.
pub const TOOL: &str = "dr-wal-push";

/// Threads for each processor: while one segment is packed, several wait for the disks of the stores.
const THREADS_PER_JOB: usize = 4;

/// Memory for objects that are being stored, in bytes. One that is larger is stored alone.
const STORING_BYTES: u64 = 24 << 20;

/// Said wherever the answer is not 0.
const STATE: &str = "it is not archived: the server keeps it, and will ask again";

/// What to do where a segment is there for later alone.
const UNWRITTEN: &str = "it was recycled for later, and nothing is written to it yet: the newest that was written is the newest by \
                         time, which `ls -t` shows first, and not by name";

/// Archives the file that PostgreSQL asks for; succeeds once it is durable in every required store.
pub fn push(args: Args) -> Outcome {
    let asked = Asked::new(&args.path)?;
    archive(&args, &asked).map_err(|failure| failure.leaving(STATE))?;
    Ok(Exit::Good)
}

fn archive(args: &Args, asked: &Asked) -> Result<(), Failure> {
    let required = dr_store::required(&args.to, args.require)? as usize;
    args.names_readers()?;
    let journal = Journal::of(&args.cluster.cluster, Settings { stores: args.store_names(), required });
    if journal.answers(asked) {
        return Ok(());
    }
    let header = header_of(asked)?;
    let pushed = push_now(args, asked, header.as_ref(), &journal, required);
    if pushed.is_err()
        && let Some(header) = header
    {
        warn(TOOL, forecast::forecast(asked, header.segment_size));
    }
    pushed
}

/// Pushes the file and, if it is a segment, those after it that are ready.
fn push_now(args: &Args, asked: &Asked, header: Option<&Header>, journal: &Journal, required: usize) -> Result<(), Failure> {
    let cluster = &args.cluster.cluster;
    let (recipients, signing_key) = (args.readers(TOOL)?, args.signing_key.load_if_there(cluster)?);
    let stores = Stores::open(args, required)?;
    let mut memory = Memory::recall(cluster);
    let before = memory.clone();
    let admitted = admit(args, asked, header, &stores, signing_key.as_ref(), &mut memory);
    let next = header.map_or_else(Vec::new, |header| asked.ready_after(header.segment_size, args.ahead.into()));
    if let Some(header) = header
        && next.len() == usize::from(args.ahead.max(1))
        && admitted.is_ok()
        && forecast::is_due(memory.warned_at, Utc::now())
    {
        memory.warned_at = Some(Utc::now());
        warn(TOOL, forecast::forecast(asked, header.segment_size));
    }
    if memory != before
        && let Err(warning) = memory.remember(cluster)
    {
        warn(TOOL, warning);
    }
    admitted?;
    let system = header.map(|header| header.system_identifier).or_else(|| identity::remembered(&memory));
    let forks = if args.allow_fork { Forks::default() } else { memory.forks };
    let jobs = args.jobs.workers();
    let pusher = Pusher {
        args,
        stores,
        recipients,
        signing_key,
        system,
        forks,
        packing: Room::of(jobs as u64),
        storing: Room::of(STORING_BYTES),
    };
    let next: Vec<_> = next.into_iter().filter(|ahead| !journal.holds(ahead)).collect();
    let answer = ahead::push_all(&pusher, asked, &next, journal, THREADS_PER_JOB * jobs);
    if !next.is_empty() {
        journal.clean();
    }
    answer
}

/// The header of a segment, held against its name; none of files that have none.
fn header_of(asked: &Asked) -> Result<Option<Header>, Failure> {
    let (file, identity) = asked.open()?;
    let (WalName::Segment(segment) | WalName::Partial(segment)) = asked.name else { return Ok(None) };
    let mut first = [0; header::LONG_HEADER_BYTES];
    let there = usize::try_from(identity.bytes).unwrap_or(usize::MAX).min(first.len());
    let read = file.read_exact_at(&mut first[..there], 0);
    read.map_err(|error| Failure::io(asked.path.display(), &error))?;
    let checked = match asked.name {
        WalName::Segment(_) => header::check_segment(&first[..there], identity.bytes, &segment),
        _ => header::check_beginning(&first[..there], &segment),
    };
    checked.map(Some).map_err(|error| {
        let failure = Failure::from(error).within("pg_wal");
        match &asked.name {
            WalName::Segment(segment) if is_unwritten(&first[..there], segment) => Failure { hint: UNWRITTEN.into(), ..failure },
            _ => failure,
        }
    })
}

/// Whether nothing was written to a segment yet: it begins as it did under an earlier name.
fn is_unwritten(first: &[u8], segment: &SegmentName) -> bool {
    header::read(first).is_ok_and(|header| header.page_address < segment.start(header.segment_size))
}

/// Whether WAL of this server belongs into these stores.
fn admit(
    args: &Args,
    asked: &Asked,
    header: Option<&Header>,
    stores: &Stores,
    key: Option<&SigningKey>,
    memory: &mut Memory,
) -> Result<(), Failure> {
    let Some(header) = header else { return Ok(()) };
    identity::check(args, stores, header, memory)?;
    if let Some(segment) = asked.segment().filter(|_| !args.allow_fork) {
        let trusted: Vec<_> = key.map(SigningKey::public_key).into_iter().collect();
        demoted::look(stores, segment.timeline, &trusted, Utc::now(), &mut memory.forks);
        demoted::refuse(&memory.forks, segment, header.segment_size)?;
    }
    Ok(())
}

/// Everything that pushing one file after the other needs.
pub struct Pusher<'a> {
    args: &'a Args,
    stores: Stores,
    recipients: Option<Recipients>,
    signing_key: Option<SigningKey>,
    system: Option<u64>,
    forks: Forks,
    packing: Room,
    storing: Room,
}

impl Pusher<'_> {
    /// Reads a file once, packs it once, and puts it into every store. Gives which file it was, and its digest.
    ///
    /// # Errors
    /// Where it is not durable in every required store, or does not belong there.
    pub fn push(&self, asked: &Asked) -> Result<(Identity, Sha256), Failure> {
        let (mut file, identity) = asked.open()?;
        let packing = Packing {
            cluster: &self.args.cluster.cluster,
            recipients: self.recipients.as_ref(),
            level: self.args.level,
            signing_key: self.signing_key.as_ref(),
            system_identifier: self.system,
        };
        let path = asked.path.display().to_string();
        let processor = self.packing.enter(1);
        let packed = Packed::from_file(asked.name, &path, (&mut file, identity.bytes), asked.as_of(&identity), &packing)?;
        // Where the stores are slow no more is packed than they take.
        let _memory = self.storing.enter(packed.memory_bytes());
        drop(processor);
        if let Some(header) = packed.header() {
            if self.system.is_some_and(|system| system != header.system_identifier) {
                let message = format!("{}: it is of another server than the segment before it", asked.name);
                return Err(Failure::new(Exit::Damaged, message, "what is in pg_wal was not all written by this server"));
            }
            if let Some(segment) = asked.segment() {
                demoted::refuse(&self.forks, segment, header.segment_size)?;
            }
        }
        self.stores.put(&packed)?;
        Ok((identity, packed.claim().sha256))
    }
}
