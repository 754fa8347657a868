//! What is marked for deletion, and until when can it be had back?

use chrono::{DateTime, Utc};
use dr_catalogue::Marked;
use dr_pipe::record::{self, Deleted, Record};
use dr_pipe::{Failure, table};

use crate::print;

/// Prints the backups that are marked.
///
/// # Errors
/// As [`print::out`].
pub fn list(marked: Vec<Marked>, as_table: bool) -> Result<(), Failure> {
    print::out(|mut output| {
        if as_table {
            return writeln!(output, "{}", table(&marked));
        }
        marked.into_iter().try_for_each(|marked| record::write(&mut output, &Record::Deleted(Box::new(deleted(marked)))))
    })
}

fn deleted(Marked { entry, tombstone }: Marked) -> Deleted {
    Deleted {
        state: "marked".into(),
        store: entry.backup.store,
        cluster: tombstone.cluster,
        kind: Some(tombstone.kind),
        name: Some(tombstone.name),
        first: None,
        last: None,
        object: None,
        objects: 0,
        bytes: 0,
        not_before_at: Some(tombstone.not_before_at),
        held_until_at: None,
        done_at: tombstone.deleted_at,
    }
}

fn table(marked: &[Marked]) -> String {
    let second = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%M:%S").to_string();
    let row = |Marked { entry, tombstone }: &Marked| {
        [tombstone.name.clone(), second(tombstone.deleted_at), second(tombstone.not_before_at), entry.backup.store.clone()]
    };
    table::table(["NAME", "MARKED (UTC)", "GOES AFTER (UTC)", "STORE"], &[], marked.iter().map(row))
}
