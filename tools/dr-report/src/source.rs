//! Which drills are reported on? Those on standard input, or those that are stored.

use std::collections::BTreeMap;

use dr_catalogue::drills::read_drills;
use dr_pipe::record::{self, Drill, Record};
use dr_pipe::{Exit, Failure, drilled::Drilled, stream, warn};
use dr_store::Store;

use crate::TOOL;
use crate::args::Args;

/// The drills, oldest first; at least one.
///
/// # Errors
/// 66 where there is none; 65 where standard input holds other records; 78 where a drill is of another cluster, or no key is known that
/// would prove those that are stored; 81 where none of those is proved; else as stores say.
pub fn drills(args: &Args) -> Result<Vec<Drill>, Failure> {
    // What is stored already is not published.
    let mut drills = if args.publish || args.from.is_empty() { given(args)? } else { stored(args)? };
    drills.sort_by(|a, b| (a.finished_at, &a.name).cmp(&(b.finished_at, &b.name)));
    match drills.is_empty() {
        true => {
            let hint = "name the stores that have them with --from; dr-drill --finish makes the record of one, dr-report --publish --to STORE stores it";
            Err(Failure::new(Exit::Missing, "there is no drill to report on", hint))
        }
        false => Ok(drills),
    }
}

fn given(args: &Args) -> Result<Vec<Drill>, Failure> {
    let drill = |record| match record {
        Record::Drill(drill) => match &args.cluster {
            Some(cluster) if *cluster != drill.cluster => {
                let message = format!("the drill {:?} is of cluster {:?}, not of {cluster}", drill.name, drill.cluster);
                Err(Failure::new(Exit::Config, message, "give dr-drill and dr-report the same --cluster (or DR_CLUSTER)"))
            }
            _ => Ok(*drill),
        },
        _ => Err(Failure::new(Exit::Damaged, "a record that is no drill", "pipe in what dr-drill --finish prints")),
    };
    record::read(&mut stream::input()?)?.into_iter().map(drill).collect()
}

/// The drills of all stores that can be read, each once.
fn stored(args: &Args) -> Result<Vec<Drill>, Failure> {
    let cluster = args.cluster.as_deref().expect("clap asks for a cluster");
    let keyring = args.public_key.keyring()?;
    let mut found = BTreeMap::new();
    let mut failures = Vec::new();
    let mut passed_over = false;
    for location in &args.from {
        let opened = Store::open_for_read(location, &args.store).map_err(Failure::from);
        match opened.and_then(|store| Ok(read_drills(&store, cluster, &keyring, usize::MAX)?)) {
            Ok(read) => {
                read.warnings.iter().for_each(|warning| warn(TOOL, warning));
                passed_over |= !read.warnings.is_empty();
                for drill in read.drills {
                    found.entry(drill.name.clone()).or_insert(drill);
                }
            }
            Err(failure) => failures.push(failure),
        }
    }
    if failures.len() == args.from.len() {
        return Err(failures.swap_remove(0));
    }
    failures.iter().for_each(|failure| warn(TOOL, &failure.message));
    if found.is_empty() && passed_over {
        let hint = "name the public key of whoever signed them, in force then: -p KEY, or DR_PUBLIC_KEY";
        return Err(match keyring.of(cluster)?.is_empty() {
            true => Failure::new(Exit::Config, format!("no public key of {cluster} is known: no drill counts"), hint),
            false => Failure::new(Exit::Untrusted, "none of the drills that are stored counts: the warnings say why", hint),
        });
    }
    if let Err(warning) = Drilled::witness(found.values()) {
        warn(TOOL, warning);
    }
    Ok(found.into_values().collect())
}
