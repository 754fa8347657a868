//! Which backups are to be copied? Those on standard input, or the one that is named.

use std::collections::HashSet;

use dr_catalogue::{Scope, Selector, name};
use dr_pipe::args::cluster_name;
use dr_pipe::record::{self, Backup, Kind, Manifest, Record};
use dr_pipe::{Exit, Failure, stream};

use crate::args::Args;
use crate::report::warn;

/// A backup that is to be copied. What else there is to know of it, its signed manifest says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Its cluster.
    pub cluster: String,
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// How large its object is said to be.
    pub bytes: u64,
    /// Whether it was named on the command line.
    pub named: bool,
}

impl Wanted {
    /// The cluster and kind it is looked for in.
    pub fn scope(&self) -> Scope {
        Scope { cluster: Some(self.cluster.clone()), kind: Some(self.kind), database: None }
    }

    fn of(manifest: &Manifest, named: bool) -> Result<Wanted, Failure> {
        let Manifest { cluster, kind, name, bytes, .. } = manifest;
        let wrong = |why: String| Failure::new(Exit::Damaged, why, "give dr-copy what dr-list or dr-verify has printed");
        let cluster = cluster_name(cluster).map_err(wrong)?;
        name::is_safe(name).map_err(|error| wrong(error.to_string()))?;
        Ok(Wanted { cluster, kind: *kind, name: name.clone(), bytes: *bytes, named })
    }
}

/// The backups that are meant, each once, in the order they were named.
///
/// # Errors
/// 66 where there is none; 65 for what is no record of a backup; what the catalogue says of the one that is named.
pub fn wanted(args: &Args) -> Result<Vec<Wanted>, Failure> {
    match &args.backup {
        Some(selector) => named(args, selector).map(|wanted| vec![wanted]),
        None => read(&args.scope()),
    }
}

fn named(args: &Args, selector: &Selector) -> Result<Wanted, Failure> {
    let found = args.catalogue.open()?.find(&args.scope(), selector)?;
    found.warnings.iter().for_each(warn);
    Wanted::of(&found.backup.manifest, true)
}

fn read(scope: &Scope) -> Result<Vec<Wanted>, Failure> {
    let mut input = stream::input().map_err(|failure| Failure {
        hint: "name a backup, or pipe records into it: dr-list --json | dr-copy".into(),
        ..failure
    })?;
    let (mut wanted, mut seen) = (Vec::new(), HashSet::new());
    let records = record::read(&mut input)?;
    if records.is_empty() {
        let hint = "the program before this one has printed nothing: its own message says why; nothing was copied";
        return Err(Failure::new(Exit::Missing, "standard input is empty", hint));
    }
    for record in records {
        let Some(backup) = backup(record)? else { continue };
        let it = Wanted::of(&backup.manifest, false)?;
        if scope.holds(&backup) && seen.insert(it.clone()) {
            wanted.push(it);
        }
    }
    Ok(wanted)
}

/// The backup that a record is about; none for those that stand between such records, and are about something else.
fn backup(record: Record) -> Result<Option<Backup>, Failure> {
    match record {
        Record::Backup(backup) => Ok(Some(*backup)),
        Record::Verified(verified) => Ok(Some(verified.backup)),
        Record::Finding(_) | Record::Wal(_) => Ok(None),
        _ => {
            let message = "a record on standard input is none of a backup";
            Err(Failure::new(Exit::Damaged, message, "pipe the records of dr-list or dr-verify into it"))
        }
    }
}
