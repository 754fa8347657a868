//! What is marked for deletion, and until when can it be had back?

use chrono::{DateTime, Utc};
use comfy_table::{Table, presets};
use dr_catalogue::Marked;
use dr_pipe::Failure;
use dr_pipe::record::{self, Deleted, Record};

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
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["NAME", "MARKED (UTC)", "GOES AFTER (UTC)", "STORE"]);
    let second = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%M:%S").to_string();
    for Marked { entry, tombstone } in marked {
        let store = entry.backup.store.clone();
        table.add_row([tombstone.name.clone(), second(tombstone.deleted_at), second(tombstone.not_before_at), store]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}
