//! Is a file really not there? An answer of "no" ends a recovery, and with it whatever was lost on the way: a listing alone does
//! not prove it, as servers have lost their index, and lines change a byte.

use std::path::Path;

use dr_pipe::{Exit, Failure};
use dr_wal::{Inventory, SegmentName, Shelf, System, WalName, layout};

use crate::ask::same_system;
use crate::server::Server;

/// Proves that a file that a listing does not have is not in a store. Gives what the store says of the cluster; none where it
/// knows no such cluster.
///
/// # Errors
/// Where the store contradicts itself or cannot tell; where the cluster is another system than the server; where segments
/// follow after one that is missing.
pub fn prove(shelf: &Shelf, name: &WalName, server: Option<&Server>, path: &Path) -> Result<Option<System>, Failure> {
    for encrypted in [true, false] {
        let key = layout::object(shelf.cluster(), name, encrypted);
        if shelf.store().size(&key)?.is_some() {
            return Err(contradicts(shelf, &format!("it lists no {name}, and has it")));
        }
    }
    let system = shelf.system()?;
    if let (Some(system), Some(server)) = (&system, server) {
        same_system(shelf, &system.system_identifier, server)?;
    }
    if let WalName::Segment(segment) = name
        && !lies_beside(path, segment)
    {
        no_later_one(shelf, segment)?;
    }
    Ok(system)
}

/// Holds a second listing against the first: of a segment that is being streamed there may be more by now, and never less.
///
/// # Errors
/// Where something has gone.
pub fn hold_against(shelf: &Shelf, segment: &SegmentName, first: &Inventory, second: &Inventory) -> Result<(), Failure> {
    let of = |inventory: &Inventory| inventory.pieces.get(segment).cloned().unwrap_or_default();
    let now = of(second);
    if of(first).iter().all(|piece| now.contains(piece)) {
        return Ok(());
    }
    Err(contradicts(shelf, &format!("two listings of {segment} do not agree")))
}

/// Whether the server has the segment itself, and will read it where the archive has none.
fn lies_beside(path: &Path, segment: &SegmentName) -> bool {
    path.with_file_name(segment.to_string()).exists()
}

/// To a server the log ends where a segment is missing, or only begun. Where more of it follows on the same timeline, it does
/// not.
///
/// # Errors
/// Where more follows.
pub fn no_later_one(shelf: &Shelf, segment: &SegmentName) -> Result<(), Failure> {
    let inventory = shelf.inventory_from(*segment)?;
    if inventory.has(&WalName::Segment(*segment)) {
        return Err(contradicts(shelf, &format!("it lists {segment} only sometimes")));
    }
    if let Some(at) = inventory.torn(segment) {
        let why = format!("{}: of {segment} a piece is missing: there is more of it, from byte {at} on", shelf.store().location());
        let hint = "look for it in another store, or in pg_wal of a server: without it recovery ends there";
        return Err(Failure::new(Exit::Damaged, why, hint));
    }
    let streamed = inventory.pieces.keys().copied();
    let later = inventory.segments(segment.timeline).chain(streamed).filter(|later| later > segment).min();
    if let Some(later) = later {
        let why = format!("{}: {segment} is not there whole, and {later} is", shelf.store().location());
        let hint = "look for it in another store, or in pg_wal of a server: without it recovery ends there";
        return Err(Failure::new(Exit::Damaged, why, hint));
    }
    Ok(())
}

fn contradicts(shelf: &Shelf, why: &str) -> Failure {
    let hint = "do not rely on this server for backups until this is understood";
    Failure::new(Exit::Protocol, format!("{}: {why}", shelf.store().location()), hint)
}
