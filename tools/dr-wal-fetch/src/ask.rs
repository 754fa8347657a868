//! Asks the stores for a file, nearest first. Only stores that have all answered prove that there is none.

use dr_catalogue::PublicKey;
use dr_crypt::Identities;
use dr_pipe::{Exit, Failure, warn};
use dr_store::{Location, Store};
use dr_wal::{Error, Got, Opening, Shelf, WalName, header};

use crate::absent;
use crate::args::Args;
use crate::fetch::TOOL;
use crate::server::Server;

/// What is needed to open what stores hold.
pub struct Keys {
    identities: Option<Identities>,
    trusted: Vec<PublicKey>,
}

impl Keys {
    /// Reads the keys that are named.
    ///
    /// # Errors
    /// Where one cannot be read.
    pub fn read(args: &Args) -> Result<Keys, Failure> {
        let named = !args.identities.identities.is_empty();
        let identities = named.then(|| Identities::read(&args.identities, TOOL)).transpose()?;
        Ok(Keys { identities, trusted: args.catalogue.public_key.keyring()?.of(&args.cluster.cluster)? })
    }
}

/// One store's answer.
enum Answer {
    Here(Got),
    Absent { cluster_is_known: bool },
}

/// The file, from the nearest store that has it whole; else the longest beginning of it that was streamed. None where every
/// store says that there is none, and one of them knows the cluster.
///
/// # Errors
/// Where no store has it whole and one of them cannot tell; where two contents are in conflict.
pub fn ask(args: &Args, server: Option<&Server>) -> Result<Option<Got>, Failure> {
    let stores = &args.catalogue.from.from;
    if stores.is_empty() {
        return Err(Failure::new(Exit::Usage, "no store is named", "name one with --from STORE, or DR_FROM"));
    }
    let keys = Keys::read(args)?;
    let (mut beginning, mut failed, mut known) = (None::<Got>, None, false);
    for (place, location) in stores.iter().enumerate() {
        match ask_one(args, location, &keys, server) {
            Ok(Answer::Here(got)) if got.partial.is_none() => return Ok(Some(got)),
            Ok(Answer::Here(got)) => {
                known = true;
                if beginning.as_ref().is_none_or(|best| best.partial < got.partial) {
                    beginning = Some(got);
                }
            }
            Ok(Answer::Absent { cluster_is_known }) => known |= cluster_is_known,
            Err(Refused::Final(failure)) => return Err(failure),
            Err(Refused::Here(failure)) => {
                if let Some(next) = stores.get(place + 1) {
                    warn(TOOL, format!("{}; going on with {next}", failure.message));
                }
                failed.get_or_insert(failure);
            }
        }
    }
    // As much as the target needs is as good as all of it, whatever another store might have.
    let enough = beginning.as_ref().is_some_and(|got| is_enough(args, got));
    if let Some(failure) = failed.filter(|_| !enough) {
        return Err(failure);
    }
    if !known {
        let cluster = &args.cluster.cluster;
        let hint = "nothing was ever archived there: is it the right cluster, and the right place?";
        return Err(Failure::new(Exit::Missing, format!("no store has any WAL of cluster {cluster}"), hint));
    }
    Ok(beginning.filter(|_| !args.no_partial))
}

/// Why a store does not answer.
enum Refused {
    /// Another one may.
    Here(Failure),
    /// Which of two contents is right, another store cannot tell.
    Final(Failure),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match error {
            Error::Conflict { .. } => Refused::Final(error.into()),
            _ => Refused::Here(error.into()),
        }
    }
}

fn ask_one(args: &Args, location: &Location, keys: &Keys, server: Option<&Server>) -> Result<Answer, Refused> {
    let store = Store::open_for_read(location, &args.catalogue.store).map_err(Error::from)?;
    let shelf = Shelf::new(&store, &args.cluster.cluster);
    let mut inventory = shelf.inventory_of_name(&args.name)?;
    if args.no_partial {
        inventory.pieces.clear();
    }
    if let (false, WalName::Segment(segment)) = (inventory.has(&args.name), &args.name)
        && inventory.pieces.contains_key(segment)
    {
        let second = shelf.inventory_of_name(&args.name)?;
        absent::hold_against(&shelf, segment, &inventory, &second).map_err(Refused::Here)?;
        inventory = second;
    }
    if let Some(got) = open(args, keys, |opening| shelf.read_listed(&inventory, &args.name, opening))? {
        hold(&shelf, &args.name, &got.bytes, got.bytes.len() as u64, server).map_err(Refused::Here)?;
        if let (Some(reached), WalName::Segment(segment)) = (got.partial, &args.name)
            && got.bytes.len() as u64 > reached.into()
            && !is_enough(args, &got)
        {
            absent::no_later_one(&shelf, segment).map_err(Refused::Here)?;
        }
        return Ok(Answer::Here(got));
    }
    let system = absent::prove(&shelf, &args.name, server, &args.path).map_err(Refused::Here)?;
    // Where what says of which system it is was lost, its WAL still says of which cluster.
    let cluster_is_known = system.is_some() || !shelf.inventory()?.files.is_empty();
    Ok(Answer::Absent { cluster_is_known })
}

/// Whether as much of a segment was streamed as the target of this recovery needs: what follows is not asked for.
fn is_enough(args: &Args, got: &Got) -> bool {
    let WalName::Segment(segment) = &args.name else { return false };
    args.planned_beginning(segment).is_some_and(|bytes| got.partial.is_some_and(|reached| reached >= bytes))
}

/// Reads a file out of a store by `read`, proved; which of two contents it is, `--prefer-content` may say.
///
/// # Errors
/// As [`Shelf::get`].
pub fn open<T>(args: &Args, keys: &Keys, mut read: impl FnMut(&Opening) -> Result<T, Error>) -> Result<T, Error> {
    let opening = Opening { identities: keys.identities.as_ref(), trusted: &keys.trusted, prefer_content: None };
    match read(&opening) {
        Err(Error::Conflict { store, name, contents }) => {
            // A conflict names contents by the first half of their digests.
            let meant = |hex: &&String| contents.iter().any(|content| hex.starts_with(content) || content.starts_with(*hex));
            match args.prefer_content.iter().find(meant) {
                Some(hex) => read(&Opening { prefer_content: Some(hex), ..opening }),
                None => Err(Error::Conflict { store, name, contents }),
            }
        }
        answer => answer,
    }
}

/// Holds a segment of `bytes` bytes, by the first of them, against its name and the server that asks: to PostgreSQL one of another system is the end of the log.
///
/// # Errors
/// 65 where it is not that segment, or another system's.
pub fn hold(shelf: &Shelf, name: &WalName, first: &[u8], bytes: u64, server: Option<&Server>) -> Result<(), Failure> {
    let WalName::Segment(segment) = name else { return Ok(()) };
    let header = header::check_segment(first, bytes, segment)?;
    server.map_or(Ok(()), |server| same_system(shelf, &header.system_identifier.to_string(), server))
}

/// Holds a system identifier against that of the server that asks.
///
/// # Errors
/// 65 where it is another.
pub fn same_system(shelf: &Shelf, found: &str, server: &Server) -> Result<(), Failure> {
    let Server { data_directory, system_identifier } = server;
    if found == system_identifier.to_string() {
        return Ok(());
    }
    let (store, cluster) = (shelf.store().location(), shelf.cluster());
    let why = format!("{store}: the WAL of {cluster} is of system {found}");
    let hint = "is it the right cluster, and the right data directory?";
    Err(Failure::new(Exit::Damaged, format!("{why}, and {} is system {system_identifier}", data_directory.display()), hint))
}
