//! WAL that is claimed and encrypted, in stores of a [`World`].

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use dr_crypt::{Identities, IdentityArgs, RecipientArgs, Recipients};
use dr_store::{Store, StoreArgs};
use dr_wal::header;
use dr_wal::{Error, Opening, Packed, Packing, SegmentName, Shelf, Shelved, System, Timeline, WalName};

use super::{World, run};

pub const BYTES: u32 = 1 << 20;

/// WAL of the cluster `main` in the store `near`.
pub struct Wal {
    pub world: World,
    pub recipients: Recipients,
    identities: Identities,
}

pub fn name(timeline: u32, number: u32) -> SegmentName {
    SegmentName { timeline: Timeline(timeline), log: 0, number }
}

/// A segment as PostgreSQL 18 begins it, of a system with this identifier.
pub fn segment(name: SegmentName, system: u64, seed: u8) -> Vec<u8> {
    let mut segment = vec![0; BYTES as usize];
    segment[..2].copy_from_slice(&0xD118_u16.to_ne_bytes());
    segment[2..4].copy_from_slice(&2_u16.to_ne_bytes());
    segment[4..8].copy_from_slice(&name.timeline.0.to_ne_bytes());
    segment[8..16].copy_from_slice(&(u64::from(name.number) * u64::from(BYTES)).to_ne_bytes());
    segment[24..32].copy_from_slice(&system.to_ne_bytes());
    segment[32..36].copy_from_slice(&BYTES.to_ne_bytes());
    segment[36..40].copy_from_slice(&8192_u32.to_ne_bytes());
    segment[1000..3000].fill(seed);
    segment
}

impl Wal {
    pub fn new() -> Wal {
        let world = World::new(9);
        let identity = world.path("identity");
        fs::write(&identity, "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33\n").unwrap();
        fs::set_permissions(&identity, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let recipients = RecipientArgs {
            recipients: vec!["age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa".into()],
            ..RecipientArgs::default()
        };
        let identities = IdentityArgs { identities: vec![identity.display().to_string()] };
        Wal {
            recipients: Recipients::read(&recipients, "test").unwrap(),
            identities: Identities::read(&identities, "test").unwrap(),
            world,
        }
    }

    pub fn store(&self, store: &str) -> Store {
        self.world.mark(store);
        Store::open_for_read(&self.world.path(store).to_str().unwrap().parse().unwrap(), &StoreArgs::default()).unwrap()
    }

    pub fn packed(&self, file: impl Into<WalName>, plain: &[u8]) -> Packed {
        let key = self.world.key();
        let packing = Packing {
            cluster: "main",
            recipients: Some(&self.recipients),
            level: 1,
            signing_key: Some(&key),
            system_identifier: Some(7),
        };
        Packed::new(file.into(), plain, &packing).unwrap()
    }

    /// Puts a file of WAL into a store.
    pub fn put(&self, store: &str, file: impl Into<WalName>, plain: &[u8]) -> Shelved {
        let store = self.store(store);
        let shelf = Shelf::new(&store, "main");
        if let Ok(header) = header::read(plain) {
            shelf.put_system(&System::of(&header)).unwrap();
        }
        shelf.put(&self.packed(file, plain)).unwrap()
    }

    /// Segments of a timeline.
    pub fn fill(&self, store: &str, timeline: u32, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.put(store, name(timeline, number), &segment(name(timeline, number), 7, 1));
        }
    }

    /// A file as a reader with the key gets it from a store.
    pub fn get(&self, store: &str, file: impl Into<WalName>) -> Result<Option<Vec<u8>>, Error> {
        let (store, trusted) = (self.store(store), [self.world.public_key()]);
        let opening = Opening { identities: Some(&self.identities), trusted: &trusted, prefer_content: None };
        Shelf::new(&store, "main").get(&file.into(), &opening).map(|got| got.map(|got| got.bytes))
    }

    /// Copies the WAL alone.
    pub fn copy(&self, arguments: &str) -> Output {
        run(&mut self.world.command(&format!("--wal-only --cluster main {arguments}")), b"")
    }

    /// The files of a segment, or of what else begins so: `(objects, claims)`.
    pub fn paths(&self, store: &str, stem: &str) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let named = |key: &String| key.rsplit('/').next().unwrap().starts_with(stem);
        let keys = self.world.names(store).into_iter().filter(|key| key.starts_with("main/wal/") && named(key));
        keys.map(|key| self.world.path(store).join(key)).partition(|path| path.extension().is_some_and(|it| it == "age"))
    }

    /// The WAL of a store, as names.
    pub fn names(&self, store: &str) -> Vec<String> {
        self.world.names(store).into_iter().filter(|key| key.starts_with("main/wal/")).collect()
    }
}
