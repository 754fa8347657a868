//! One store's thread: brings whole files and pieces there, by the protocol of dr-store(5), and tries again for ever.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use dr_catalogue::SigningKey;
use dr_crypt::Recipients;
use dr_pipe::state::{self, Lost};
use dr_pipe::{Backoff, Exit, Failure, warn};
use dr_store::{Location, Store};
use dr_wal::{Error, Identity, Packed, Packing, Shelf, Shelved, System, WalName};

use crate::folder::{Folder, Kept};
use crate::outbox::{Job, Outbox, Reach};
use crate::receive::TOOL;
use crate::stores::Stores;
use crate::trouble::Trouble;

/// What the threads of all stores share.
pub struct Shipment {
    /// The cluster.
    pub cluster: String,
    /// Whose WAL it is.
    pub system: System,
    /// For whom it is encrypted; none: it is not.
    pub recipients: Option<Recipients>,
    /// How hard it is compressed.
    pub level: i32,
    /// Signs claims.
    pub signing_key: Option<SigningKey>,
    /// The stores that are open.
    pub stores: Stores,
    /// Where the files lie.
    pub folder: Arc<Folder>,
    /// What is to be done.
    pub outbox: Arc<Outbox>,
    /// Files that are packed at this moment: packed once for all stores that work on them.
    pub packed: Mutex<BTreeMap<WalName, Weak<Packed>>>,
}

/// One store's part.
struct Branch<'a> {
    shipment: &'a Shipment,
    place: usize,
    location: &'a Location,
}

impl Shipment {
    /// Works for the store in this place until the outbox says that it is over.
    pub fn work(&self, place: usize, location: &Location) {
        if let Err(failure) = self.serve(place, location) {
            self.outbox.fail(failure);
        }
        self.outbox.ended(place);
    }

    fn serve(&self, place: usize, location: &Location) -> Result<(), Failure> {
        let branch = Branch { shipment: self, place, location };
        let (mut store, mut backoff) = (None, Backoff::default());
        loop {
            let job = self.outbox.next(place);
            if job == Job::End {
                return Ok(());
            }
            match branch.open(&mut store).and_then(|store| branch.carry_out(store, &job)) {
                Ok(()) => backoff.reset(),
                Err(Trouble::Fatal(failure)) => return Err(failure),
                Err(trouble) => {
                    // Opened again next time: a directory may have been mounted, credentials renewed.
                    store = None;
                    let failure = trouble.failure();
                    warn(TOOL, format!("{location}: {}; it is tried again ({})", failure.message, failure.hint));
                    self.remove(self.outbox.failed(place, failure, &mut backoff))?;
                }
            }
        }
    }

    /// Removes files from the own disk.
    fn remove(&self, files: Vec<(Kept, Vec<String>)>) -> Result<(), Failure> {
        for (kept, lacking) in files {
            if !lacking.is_empty() {
                warn(TOOL, format!("{} is not in {}: enough others have it", kept.name(), lacking.join(", ")));
            }
            self.folder.remove(&kept)?;
        }
        Ok(())
    }
}

impl Branch<'_> {
    /// The store, opened, and asked whether it is this system's.
    fn open<'s>(&self, store: &'s mut Option<Arc<Store>>) -> Result<&'s Store, Trouble> {
        // Looked at twice because a reference out of a first look would live as long as the second.
        if store.is_none() {
            let opened = self.shipment.stores.open(self.place, self.location)?;
            self.ask_system(&opened)?;
            return Ok(store.insert(opened));
        }
        Ok(store.as_ref().expect("just seen"))
    }

    /// Holds the system against what the store says. A refusal is remembered: a store that may not be read gives it only once.
    fn ask_system(&self, store: &Store) -> Result<(), Trouble> {
        let Shipment { cluster, system, .. } = self.shipment;
        let key = dr_pipe::Sha256::of(format!("{cluster} {}", self.location).as_bytes()).to_string();
        let memory = format!("wal-refused-{}.json", &key[..16]);
        match Shelf::new(store, cluster).put_system(system) {
            Ok(Identity::Proved) => Ok(()),
            Ok(Identity::Claimed) if !was_refused(&state::witnessed(&memory), system) => Ok(()),
            Ok(Identity::Claimed) => {
                let message = format!("{}: cluster {cluster} there was another system than {system}", self.location);
                let hint =
                    format!("give this cluster a name of its own; if that was put right, remove {memory} from the state directory");
                Err(Trouble::Fatal(Failure::new(Exit::Damaged, message, hint)))
            }
            Err(error @ Error::OtherSystem { .. }) => {
                if let Err(error) = state::remember(&memory, system) {
                    warn(TOOL, format!("{memory} cannot be remembered in the state directory: {error}"));
                }
                Err(Trouble::Fatal(error.into()))
            }
            Err(error) => Err(passing(error)),
        }
    }

    fn carry_out(&self, store: &Store, job: &Job) -> Result<(), Trouble> {
        match job {
            Job::File(kept) => {
                match kept {
                    Kept::Wal(name) => self.put(store, *name)?,
                    Kept::Gap(_) => self.put_gap(store, kept)?,
                }
                Ok(self.shipment.remove(self.shipment.outbox.stored(self.place, kept))?)
            }
            Job::Piece(piece) => self.put_piece(store, piece),
            Job::End => Ok(()),
        }
    }

    fn packing(&self) -> Packing<'_> {
        let Shipment { cluster, recipients, level, signing_key, system, .. } = self.shipment;
        Packing {
            cluster,
            recipients: recipients.as_ref(),
            level: *level,
            signing_key: signing_key.as_ref(),
            system_identifier: system.system_identifier.parse().ok(),
        }
    }

    fn put(&self, store: &Store, name: WalName) -> Result<(), Trouble> {
        let Some(packed) = self.pack(name)? else { return Ok(()) };
        let location = self.location;
        match Shelf::new(store, &self.shipment.cluster).put(&packed).map_err(passing)? {
            Shelved::Stored | Shelved::Same => {}
            Shelved::KeptBeside { kept_as } => {
                warn(TOOL, format!("{location}: {name} was there, and may not be read: it is kept as {kept_as}, too"));
            }
            Shelved::Mended { kept_as } => {
                warn(TOOL, format!("{location}: {name} was there, damaged, or its claim is lost: it is kept as {kept_as}, too"));
            }
            // The server fills the last segment of a timeline up with whatever its file held.
            Shelved::Conflict { kept_as, .. } if matches!(name, WalName::Partial(_)) => {
                warn(
                    TOOL,
                    format!("{location}: {name} was there with other content, perhaps only after its end: kept as {kept_as}"),
                );
            }
            Shelved::Conflict { kept_as, .. } => {
                warn(
                    TOOL,
                    format!("{location}: CONFLICT: {name} was there with other content; what was received is kept as {kept_as}"),
                );
                warn(TOOL, "usually two primaries write one archive: find out which of them is right, and stop the other");
            }
        }
        Ok(())
    }

    /// Packs a file, unless another store's thread has just done so; none if the file has gone.
    fn pack(&self, name: WalName) -> Result<Option<Arc<Packed>>, Trouble> {
        let mut cache = self.shipment.packed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(packed) = cache.get(&name).and_then(Weak::upgrade) {
            return Ok(Some(packed));
        }
        let Some((mut file, bytes)) = self.shipment.folder.open_whole(&Kept::Wal(name))? else { return Ok(None) };
        let as_of = self.shipment.outbox.as_of(&Kept::Wal(name));
        let packed = Packed::from_file(name, &name.to_string(), (&mut file, bytes), as_of, &self.packing());
        let packed = packed.map_err(|error| match error {
            // What we have received is no WAL: nothing that comes after it can be trusted.
            Error::Damaged { .. } => Trouble::Fatal(error.into()),
            error => passing(error),
        });
        let packed = Arc::new(packed?);
        cache.retain(|_, packed| packed.strong_count() > 0);
        cache.insert(name, Arc::downgrade(&packed));
        Ok(Some(packed))
    }

    fn put_gap(&self, store: &Store, kept: &Kept) -> Result<(), Trouble> {
        let Some(gap) = self.shipment.folder.gap(kept)? else { return Ok(()) };
        match store.put(&gap.key(), &gap.encode()) {
            // Its name says what it is about, whoever has put it there.
            Ok(_) | Err(dr_store::Error::Exists { .. }) => Ok(()),
            Err(error) => Err(passing(error)),
        }
    }

    fn put_piece(&self, store: &Store, piece: &Reach) -> Result<(), Trouble> {
        if let Some(bytes) = self.shipment.folder.read(piece.segment, piece.from, piece.to)? {
            let begin = u32::try_from(piece.from).expect("a segment has 1 GiB at most");
            Shelf::new(store, &self.shipment.cluster).put_piece(piece.segment, begin, &bytes, &self.packing()).map_err(passing)?;
        }
        self.shipment.outbox.stored_piece(self.place, piece);
        Ok(())
    }
}

/// What a store does passes.
fn passing(error: impl Into<Failure>) -> Trouble {
    Trouble::Passing(error.into())
}

/// Whether a store has refused this system before. Nothing but a refusal is remembered: one that cannot be read any more stays one.
fn was_refused(remembered: &Result<Option<System>, Lost>, system: &System) -> bool {
    remembered.as_ref().map_or(true, |remembered| remembered.as_ref() == Some(system))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f45_a_refusal_that_cannot_be_read_any_more_stays_one() {
        let system =
            |identifier: &str| System { system_identifier: identifier.into(), wal_segment_bytes: dr_wal::SegmentSize::DEFAULT };
        let lost = Lost { path: "/state/wal-refused-1.json".into(), why: "EOF".into() };
        for (remembered, refused) in
            [(Ok(None), false), (Ok(Some(system("7"))), false), (Ok(Some(system("8"))), true), (Err(lost), true)]
        {
            assert_eq!(was_refused(&remembered, &system("8")), refused, "{remembered:?}");
        }
    }
}
