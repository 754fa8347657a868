//! Do the stores answer, know us, and agree about the time?

use dr_pipe::record::State;
use dr_store::{Error, Location, Store};

use crate::args::Args;
use crate::findings::{Finding, Findings, Name};
use crate::{probe, server};

/// What these checks need of a store.
const OURS: [Name; 2] = [Name::Store, Name::Clock];

/// Knocks at every store, and tries out those that are written to, if that is asked for.
pub fn check(args: &Args, to: &[Location], cluster: &str, found: &mut Findings) {
    if !to.is_empty() {
        found.note(Name::Elsewhere, None, elsewhere(to));
    }
    let probed = args.probe && found.want(&probe::NAMES);
    let also_read = |store: &&Location| !to.iter().any(|other| other.to_string() == store.to_string());
    for location in to.iter().chain(args.from.from.iter().filter(also_read)) {
        let written = to.contains(location);
        if !(found.want(&OURS) || probed && written) {
            continue;
        }
        let store = match open(location, args, written, probed) {
            Ok(store) => store,
            Err(error) => {
                found.blocked(Name::Store, location.to_string(), Finding::failed(State::Critical, error));
                continue;
            }
        };
        let must_list = args.from.from.contains(location);
        if knock(&store, must_list, found) && probed && written {
            probe::try_out(&store, args, cluster, found);
        }
    }
}

/// Opens a store. A directory that is none is not made one, and a look that tries nothing leaves no trace.
fn open(location: &Location, args: &Args, written: bool, probed: bool) -> Result<Store, Error> {
    if location.is_s3() && written {
        return Store::open_for_write(location, &args.store);
    }
    let store = Store::open_for_read(location, &args.store)?;
    if written && probed { Store::open_for_write(location, &args.store) } else { Ok(store) }
}

/// Whether the store answers and knows us.
fn knock(store: &Store, must_list: bool, found: &mut Findings) -> bool {
    let name = store.location().to_string();
    let reached = match store.reach() {
        Ok(reached) => reached,
        Err(error) => {
            found.blocked(Name::Store, name, Finding::failed(State::Critical, error));
            return false;
        }
    };
    if let Some(clock) = reached.clock {
        found.note(Name::Clock, name.clone(), server::skew(clock));
    }
    let finding = match (reached.may_list, must_list) {
        (true, _) => Finding::ok("it answers, and lists what is there"),
        (false, false) => Finding::ok("it answers and knows us, who may not list it: right for a host that only stores"),
        (false, true) => {
            Finding::critical("it answers, and lets us not list what is there", "the credential needs s3:ListBucket on the bucket")
        }
    };
    found.note(Name::Store, name, finding);
    true
}

fn elsewhere(to: &[Location]) -> Finding {
    if to.iter().any(Location::is_s3) {
        return Finding::ok("a copy goes to a bucket");
    }
    let hint = "add a bucket to DR_TO, or copy it from another host: copy-offsite in dr-keeping(7); is it a disk of another host, all is well";
    Finding::warning("all stores are directories: what destroys this host may take the backups with it", hint)
}
