//! The records that tools speak: JSON Lines, one struct per `type`, each described in dr-records(5).
//!
//! A record is open on fields (unknown ones are ignored) and the family is closed on types (unknown ones are refused).

mod backup;
mod base;
mod drill;
mod fingerprint;
mod kept;
mod receipt;
mod recovered;
mod restored;
mod watched;

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

pub use backup::{Backup, Manifest, SignatureState, StoredAt};
pub use base::{Base, Settings, Tablespace, WalKept};
pub use drill::{Drill, Phase, Step};
pub use fingerprint::{Fingerprint, Subject};
pub use kept::{Action, Copied, Decision, Deleted, Depth, Finding, Severity, Verified, Wal};
pub use receipt::{ArchiveRoot, Encrypted, Extent, Kind, Produced, Pushed, PushedTo, Receipt, Start};
pub use recovered::{Plan, Recovered};
pub use restored::Restored;
pub use watched::{Check, Job, Replica, Run, Server, Slot, State, Storage};

use crate::{Exit, Failure};

/// Any record. The JSON key `type` names the variant in lower case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Record {
    /// A tool has begun to write.
    Start(Start),
    /// A tool's work is complete and durable.
    Receipt(Box<Receipt>),
    /// What makes a backup exist.
    Manifest(Box<Manifest>),
    /// A backup as found in a store.
    Backup(Box<Backup>),
    /// The content of one table, sequence, or all large objects, in 32 bytes.
    Fingerprint(Fingerprint),
    /// A restore that is complete.
    Restored(Restored),
    /// A recovery of a cluster that is proved to be possible.
    Plan(Box<Plan>),
    /// A recovery of a cluster that is complete.
    Recovered(Box<Recovered>),
    /// A run of WAL in a store.
    Wal(Wal),
    /// What is known of a backup's bytes.
    Verified(Box<Verified>),
    /// Something that was found in a store.
    Finding(Box<Finding>),
    /// What is to become of a backup, or of WAL.
    Decision(Box<Decision>),
    /// What was done about a decision.
    Deleted(Box<Deleted>),
    /// What was copied to another store.
    Copied(Box<Copied>),
    /// One step of a drill.
    Step(Box<Step>),
    /// A drill that is over.
    Drill(Box<Drill>),
    /// A run of a scheduled job that is over.
    Run(Box<Run>),
    /// What a server says of itself.
    Server(Box<Server>),
    /// How full a store is, and what it enforces.
    Storage(Box<Storage>),
    /// One named check.
    Check(Box<Check>),
}

/// Longest record line that is read, in bytes: a manifest with a thousand stores is far below it.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// Reads records, one per line; empty lines are passed over.
///
/// # Errors
/// 65 for a line that is not a record or longer than [`MAX_LINE_BYTES`], naming the line; 74 if reading fails.
pub fn read(input: &mut impl BufRead) -> Result<Vec<Record>, Failure> {
    let mut records = Vec::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let limit = MAX_LINE_BYTES as u64 + 1;
        let n = io::Read::take(&mut *input, limit)
            .read_until(b'\n', &mut line)
            .map_err(|error| Failure::io("reading records", &error))?;
        if n == 0 {
            break;
        }
        let malformed = |why: String| {
            Failure::new(Exit::Damaged, format!("record line {number}: {why}"), "records are JSON Lines: see dr-records(5)")
        };
        if n > MAX_LINE_BYTES {
            return Err(malformed("longer than 1 MiB".into()));
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if line.last() != Some(&b'\n') {
            return Err(malformed("cut short: no newline at its end".into()));
        }
        records.push(serde_json::from_slice(&line).map_err(|error| malformed(error.to_string()))?);
    }
    Ok(records)
}

/// Writes one record and its newline in a single write.
///
/// # Errors
/// Whatever `output` does.
pub fn write(output: &mut impl Write, record: &Record) -> io::Result<()> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    output.write_all(&line)
}
