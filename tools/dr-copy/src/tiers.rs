//! The stores of a run: those that are read, nearest first, and those that are written, all of them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::Utc;
use dr_catalogue::{Catalogue, Error, Keyring, PublicKey};
use dr_pipe::{Exit, Failure};
use dr_store::{Location, Store, StoreArgs, UploadOptions};

use crate::args::Args;
use crate::report::{Report, warn};
use crate::wanted::Wanted;

/// All stores of a run, and what is asked of them.
pub struct Tiers {
    /// Those that are read, nearest first.
    pub from: Vec<Tier>,
    /// Those that are written.
    pub to: Vec<Tier>,
    /// What is asked of objects there.
    pub options: UploadOptions,
    /// What is asked of WAL: no cold storage, as recovery needs thousands of files, one after the other.
    pub wal_options: UploadOptions,
    /// How many files of WAL are copied at once.
    pub files_at_once: usize,
    /// Held while the WAL of a base is copied: two bases may need the same files.
    pub wal_of_a_base: Mutex<()>,
    keyring: Keyring,
}

/// A store, as long as it is of use.
pub struct Tier {
    /// The store.
    pub store: Store,
    args: StoreArgs,
    lost: AtomicBool,
}

impl Tiers {
    /// Opens all stores. One that cannot be opened does not keep the others from being used: of those that are read it is enough
    /// that there is another, for those that are written it is a failure.
    ///
    /// # Errors
    /// 64 for a store that is named twice or is both; what the first one says where none can be opened.
    pub fn open(args: &Args, report: &Report) -> Result<Tiers, Failure> {
        let options = args.upload.options(&args.to, Utc::now())?;
        dr_store::required(&args.to, None)?;
        let keyring = args.catalogue.public_key.keyring()?;
        let from_args = &args.catalogue.store;
        let open = |location: &Location| Store::open_for_read(location, from_args).map(|store| Tier::new(store, from_args));
        let from = some_of(args.catalogue.from.from.iter().map(open), |failure| warn(failure.message))?;
        let to_args = args.target_store();
        let mut to: Vec<Tier> = Vec::new();
        let opened =
            args.to.iter().map(|location| Store::open_for_write(location, &to_args).map(|store| Tier::new(store, &to_args)));
        for tier in some_of(opened, |failure| report.failed(failure))? {
            tier.store.is_none_of(to.iter().map(|tier| &tier.store))?;
            tier.is_no_source(&from)?;
            tier.store.warnings().iter().for_each(warn);
            to.push(tier);
        }
        let (wal_options, files_at_once) = (options.readable(), args.files_at_once());
        Ok(Tiers { from, to, options, wal_options, files_at_once, wal_of_a_base: Mutex::default(), keyring })
    }

    /// The keys that are trusted for a cluster.
    ///
    /// # Errors
    /// If one is there and cannot be read.
    pub fn trusted(&self, cluster: &str) -> Result<Vec<PublicKey>, Failure> {
        Ok(self.keyring.of(cluster)?)
    }

    /// Whether the catalogue of `tier` says that a backup is marked for deletion, by somebody who may do that.
    ///
    /// # Errors
    /// Where the catalogue cannot be read.
    pub fn is_marked(&self, tier: &Tier, wanted: &Wanted) -> Result<bool, Failure> {
        let catalogue = Catalogue::open(&[tier.store.location().clone()], &tier.args, self.keyring.clone())?;
        let listing = catalogue.list(&wanted.scope())?;
        Ok(listing.deleted.iter().any(|marked| marked.tombstone.name == wanted.name))
    }
}

impl Tier {
    fn new(store: Store, args: &StoreArgs) -> Tier {
        Tier { store, args: args.clone(), lost: AtomicBool::new(false) }
    }

    fn is_no_source(&self, from: &[Tier]) -> Result<(), Failure> {
        self.store.is_none_of(from.iter().map(|tier| &tier.store)).map_err(|failure| match failure.exit {
            Exit::Usage => {
                let message = format!("--to {} is a store that --from names", self.store.location());
                Failure::new(Exit::Usage, message, "a copy beside itself is none: name another store")
            }
            _ => failure,
        })
    }

    /// Whether nothing is expected of it any more.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Takes note of what failed in a store that is read: one that does not answer is not asked again, which takes minutes each time.
    pub fn failed_to_read(&self, failure: &Failure) {
        if failure.exit == Exit::Unavailable {
            self.lost.store(true, Ordering::Relaxed);
        }
    }

    /// Takes note of what failed in a store that is written: unless it is about the data alone, the next would fail as well.
    pub fn failed_to_write(&self, failure: &Failure) {
        if !matches!(failure.exit, Exit::Damaged | Exit::Missing | Exit::Exists | Exit::Untrusted) {
            self.lost.store(true, Ordering::Relaxed);
        }
    }
}

/// Those stores that could be opened; `otherwise` hears of the others.
fn some_of(opened: impl Iterator<Item = Result<Tier, dr_store::Error>>, otherwise: impl Fn(Failure)) -> Result<Vec<Tier>, Failure> {
    let (mut tiers, mut failures) = (Vec::new(), Vec::new());
    for opened in opened {
        match opened {
            Ok(tier) => tiers.push(tier),
            Err(error) => failures.push(Failure::from(error)),
        }
    }
    match (tiers.is_empty(), failures.first()) {
        (false, _) => failures.into_iter().for_each(otherwise),
        (true, Some(failure)) => return Err(failure.clone()),
        (true, None) => return Err(Error::NoStore.into()),
    }
    Ok(tiers)
}
