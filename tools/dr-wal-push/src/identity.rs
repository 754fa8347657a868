//! Is this WAL of the server that the cluster is in each store?

use dr_pipe::{Failure, warn};
use dr_wal::header::Header;
use dr_wal::{Error, Identity, System, layout};

use crate::args::Args;
use crate::memory::{Memory, Seen};
use crate::push::TOOL;
use crate::stores::Stores;

/// Holds a segment's system against what each store says, and has the store say it where it does not yet. Asks once per
/// host and store, and remembers the answer.
///
/// # Errors
/// 65 where the cluster is another system in any store. Where a store fails and all are required, its failure.
pub fn check(args: &Args, stores: &Stores, header: &Header, memory: &mut Memory) -> Result<(), Failure> {
    let system = System::of(header);
    for (location, shelf) in stores.shelves() {
        let name = args.store_name(location);
        let seen = memory.systems.get(&name).filter(|seen| seen.system == system).map(|seen| seen.refused);
        // To look costs nothing in a directory, and it may have been emptied.
        if seen == Some(false) && (location.is_s3() || shelf.store().size(&layout::system(shelf.cluster()))?.is_some()) {
            continue;
        }
        let said = match shelf.put_system(&system) {
            Ok(Identity::Claimed) if seen == Some(true) => Err(shelf.other_system(&system, "another, as it said before".into())),
            said => said,
        };
        let refused = matches!(said, Err(Error::OtherSystem { .. }));
        if let Err(error) = &said
            && !refused
            && !stores.are_all_required()
        {
            warn(TOOL, format!("{location}: cannot tell which server the cluster is there: {error}"));
            continue;
        }
        if refused || said.is_ok() {
            memory.systems.insert(name, Seen { system: system.clone(), refused });
        }
        said?;
    }
    Ok(())
}

/// The system that all stores agree upon, for files that do not say whose they are.
pub fn remembered(memory: &Memory) -> Option<u64> {
    let mut identifiers = memory.systems.values().filter(|seen| !seen.refused).map(|seen| &seen.system.system_identifier);
    let first = identifiers.next()?;
    identifiers.all(|other| other == first).then(|| first.parse().ok())?
}
