//! What do the stores hold? All they are asked for is to list, and to read what is small.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use dr_catalogue::drills::read_drills;
use dr_catalogue::{Catalogue, Keyring, Listing, Scope, name, order};
use dr_pipe::record::{Backup, Record, Storage};
use dr_pipe::{Failure, warn};
use dr_store::{Listed, Location, Store, UploadOptions};
use dr_wal::{Inventory, Shelf};

use super::{is_of_call, told};
use crate::args::Args;
use crate::{TOOL, words};

/// Of so many drills the newest are read, and of so many more for each database that is dumped: each has drills of its own.
const DRILLS: (usize, usize) = (30, 3);

/// Asks one store after the other.
///
/// # Errors
/// 64 where the call is wrong; 66 or 78 where a public key is none.
pub fn gather(args: &Args, now: DateTime<Utc>) -> Result<Vec<Record>, Failure> {
    let keyring = args.public_key().keyring()?;
    keyring.of(&args.cluster)?;
    let mut records = Vec::new();
    for location in &args.from.from {
        let asked = Asked { args, location, keyring: &keyring, now };
        match asked.all() {
            Ok(facts) => {
                records.push(told(args, now, "store", Some(location.to_string()), Ok("it answers".into())));
                records.extend(facts);
            }
            Err(failure) if is_of_call(&failure) => return Err(failure),
            Err(failure) => records.push(told(args, now, "store", Some(location.to_string()), Err(failure))),
        }
    }
    Ok(records)
}

/// A store, and what is asked of it.
struct Asked<'a> {
    args: &'a Args,
    location: &'a Location,
    keyring: &'a Keyring,
    now: DateTime<Utc>,
}

impl Asked<'_> {
    fn all(&self) -> Result<Vec<Record>, Failure> {
        let cluster = &self.args.cluster;
        let store = Store::open_for_read(self.location, &self.args.store)?;
        let catalogue = Catalogue::open(std::slice::from_ref(self.location), &self.args.store, self.keyring.clone())?;
        let listing = catalogue.list(&Scope { cluster: Some(cluster.clone()), ..Scope::default() })?;
        let listed = store.list(&format!("{cluster}/"))?;
        let mut records = vec![self.trusted(&listing)];
        let backups: Vec<&Backup> = listing.entries.iter().map(|entry| &entry.backup).collect();
        records.push(Record::Storage(Box::new(self.storage(&store, &listed, &backups)?)));
        let databases: BTreeSet<_> = backups.iter().filter_map(|backup| backup.manifest.produced.database.as_ref()).collect();
        let drills = DRILLS.0 + DRILLS.1 * databases.len();
        records.extend(backups.into_iter().cloned().map(|backup| Record::Backup(Box::new(backup))));
        records.extend(Shelf::new(&store, cluster).kept(&Inventory::of(cluster, listed))?.into_iter().map(Record::Wal));
        let drills = read_drills(&store, cluster, self.keyring, drills)?;
        drills.warnings.iter().for_each(|warning| warn(TOOL, warning));
        records.extend(drills.drills.into_iter().map(|drill| Record::Drill(Box::new(drill))));
        Ok(records)
    }

    /// Whether the catalogue is to be trusted.
    fn trusted(&self, listing: &Listing) -> Record {
        listing.warnings.iter().for_each(|warning| warn(TOOL, warning));
        let flaw = listing.flaws.first().map(|flaw| Failure::from(flaw.clone()));
        let outcome = match flaw {
            Some(flaw) if listing.flaws.len() > 1 => {
                Err(flaw.within(format!("{} things are wrong; the first", listing.flaws.len())))
            }
            Some(flaw) => Err(flaw),
            None => Ok(format!("{}, and nothing wrong with any manifest", words::count(listing.entries.len(), "backup"))),
        };
        told(self.args, self.now, "catalogue", Some(self.location.to_string()), outcome)
    }

    fn storage(&self, store: &Store, listed: &[Listed], backups: &[&Backup]) -> Result<Storage, Failure> {
        let found = (!self.location.is_s3()).then(|| rustix::fs::statvfs(self.location.to_string()));
        let disk = found.transpose().map_err(|error| Failure::io(self.location, &error.into()))?;
        let newest = backups.iter().max_by(|a, b| order(a).cmp(&order(b)));
        Ok(Storage {
            store: self.location.to_string(),
            cluster: self.args.cluster.clone(),
            stored_bytes: listed.iter().map(|object| object.bytes).sum(),
            objects: listed.len() as u64,
            // What root alone may write is no room for anybody else.
            capacity_bytes: disk.as_ref().map(|disk| (disk.f_blocks - disk.f_bfree + disk.f_bavail) * disk.f_frsize),
            free_bytes: disk.map(|disk| disk.f_bavail * disk.f_frsize),
            locked_until: newest.map_or(Ok(None), |backup| locked_until(store, backup))?,
            seen_at: self.now,
        })
    }
}

/// Until when the store keeps the object of a backup locked, as it says itself.
fn locked_until(store: &Store, backup: &Backup) -> Result<Option<DateTime<Utc>>, Failure> {
    let manifest = &backup.manifest;
    let key = format!("{}{}", name::folder(&manifest.cluster, manifest.kind), manifest.object);
    // Any lock at all will do: how long it is, is judged elsewhere.
    let any = UploadOptions { lock_until: Some(DateTime::UNIX_EPOCH), ..UploadOptions::default() };
    match store.confirm(&key, &any) {
        Ok(stored) => {
            stored.warnings.iter().for_each(|warning| warn(TOOL, format!("{}: {key}: {warning}", store.location())));
            Ok(stored.locked_until)
        }
        Err(dr_store::Error::Protocol { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
