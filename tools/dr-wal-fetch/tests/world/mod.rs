//! A server that recovers, as far as dr-wal-fetch sees it, and an archive for it.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use dr_catalogue::SigningKey;
use dr_crypt::{RecipientArgs, Recipients};
use dr_store::{Location, Store, StoreArgs};
use dr_wal::{Packed, Packing, SegmentName, SegmentSize, Shelf, System, WalName};

/// Segments of these tests have 1 MiB.
pub const SEGMENT: usize = 1 << 20;
/// The system identifier of the server.
pub const SYSTEM: u64 = 7_000_000_000_000_000_001;

/// A scratch directory with a data directory, a state, and a store that is a directory.
pub struct World {
    scratch: tempfile::TempDir,
    /// Whether what is stored is encrypted and signed.
    pub sealed: bool,
}

impl World {
    pub fn new() -> World {
        let world = World { scratch: tempfile::tempdir().unwrap(), sealed: false };
        fs::create_dir_all(world.path("data/global")).unwrap();
        fs::create_dir_all(world.path("data/pg_wal")).unwrap();
        fs::write(world.path("data/global/pg_control"), [&SYSTEM.to_ne_bytes()[..], &[1; 100]].concat()).unwrap();
        let seal = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dr-seal/tests");
        for file in ["main.pub", "main.key"] {
            fs::copy(seal.join(file), world.path(file)).unwrap();
            fs::set_permissions(world.path(file), fs::Permissions::from_mode(0o600)).unwrap();
        }
        for name in ["identity", "other"] {
            let made = Command::new("age-keygen").arg("-o").arg(world.path(name)).output().unwrap();
            assert!(made.status.success());
        }
        world
    }

    /// As [`World::new`], but with everything encrypted and signed.
    pub fn sealed() -> World {
        World { sealed: true, ..World::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().into()
    }

    /// Where PostgreSQL wants a segment.
    pub fn target(&self) -> PathBuf {
        self.path("data/pg_wal/RECOVERYXLOG")
    }

    /// Opens a store that is a directory, and says which system the cluster is.
    pub fn directory_at(&self, path: &Path) -> Store {
        let place: Location = path.to_str().unwrap().parse().unwrap();
        let store = Store::init(&place, &StoreArgs::default()).unwrap();
        let size = SegmentSize::try_from(SEGMENT as u64).unwrap();
        let system = System { system_identifier: SYSTEM.to_string(), wal_segment_bytes: size };
        Shelf::new(&store, "main").put_system(&system).unwrap();
        store
    }

    /// The store that is a directory of this name.
    pub fn directory(&self, name: &str) -> Store {
        self.directory_at(&self.path(name))
    }

    pub fn pack(&self, name: &str, bytes: &[u8]) -> Packed {
        self.packing(|packing| Packed::new(name.parse().unwrap(), bytes, packing).unwrap())
    }

    /// Stores a piece of a segment.
    pub fn put_piece(&self, store: &Store, name: &str, begin: usize, plain: &[u8]) {
        let segment: SegmentName = name.parse().unwrap();
        self.packing(|packing| Shelf::new(store, "main").put_piece(segment, begin as u32, plain, packing).unwrap());
    }

    fn packing<T>(&self, then: impl FnOnce(&Packing) -> T) -> T {
        let public = Command::new("age-keygen").arg("-y").arg(self.path("identity")).output().unwrap();
        let public = String::from_utf8(public.stdout).unwrap().trim().to_owned();
        let args = RecipientArgs { recipients: vec![public], ..RecipientArgs::default() };
        let recipients = self.sealed.then(|| Recipients::read(&args, "test").unwrap());
        let signing_key = self.sealed.then(|| SigningKey::load(&self.text("main.key")).unwrap());
        then(&Packing {
            cluster: "main",
            recipients: recipients.as_ref(),
            level: 1,
            signing_key: signing_key.as_ref(),
            system_identifier: None,
        })
    }

    pub fn put(&self, store: &Store, name: &str, bytes: &[u8]) {
        Shelf::new(store, "main").put(&self.pack(name, bytes)).unwrap();
    }

    /// dr-wal-fetch as the server calls it, with nothing of this machine's settings.
    pub fn fetch(&self, name: &str) -> Command {
        self.fetch_by(Path::new(env!("CARGO_BIN_EXE_dr-wal-fetch")), name)
    }

    /// As [`World::fetch`], by a copy of the program.
    pub fn fetch_by(&self, program: &Path, name: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.scratch.path()).current_dir(self.path("data"));
        command.env("DR_STATE", self.path("state")).env("DR_CLUSTER", "main").env("DR_FROM", self.path("store"));
        command.env("DR_PATIENCE", "1").env("DR_AHEAD", "0");
        if self.sealed {
            command.env("DR_IDENTITY", self.path("identity")).env("DR_PUBLIC_KEY", self.path("main.pub"));
        }
        command.args([name, "pg_wal/RECOVERYXLOG"]);
        command
    }

    /// Fetches a segment that is there, and gives its bytes.
    pub fn fetched(&self, name: &str) -> Vec<u8> {
        let output = self.fetch(name).output().unwrap();
        assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), ""));
        self.taken()
    }

    /// What lies where PostgreSQL wants it; takes it away.
    pub fn taken(&self) -> Vec<u8> {
        let bytes = fs::read(self.target()).unwrap();
        fs::remove_file(self.target()).unwrap();
        bytes
    }

    /// Every file in pg_wal.
    pub fn left(&self) -> Vec<String> {
        files(&self.path("data/pg_wal"))
    }

    /// The files in the queue of the one server that has asked, but the lock.
    pub fn spooled(&self) -> Vec<String> {
        let Some(queue) = files(&self.path("state/wal-fetch")).pop() else { return Vec::new() };
        files(&self.path("state/wal-fetch").join(queue)).into_iter().filter(|name| name != "lock").collect()
    }
}

pub fn files(directory: &Path) -> Vec<String> {
    let files = fs::read_dir(directory).into_iter().flatten().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<_> = files.collect();
    files.sort_unstable();
    files
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Checks that it failed in two lines, with this code, and left nothing under PATH.
pub fn refused(world: &World, output: &Output, code: i32) -> String {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    let lines: Vec<_> = said.lines().filter(|line| !line.starts_with("dr-wal-fetch: warning: ")).collect();
    assert!(matches!(lines[..], [error, hint] if error.contains(": error: ") && hint.contains(": hint: ")), "{said}");
    assert_eq!(world.left(), Vec::<String>::new(), "{said}");
    said
}

/// The segment of that number on timeline 1, of a server with that system identifier; `seed` varies its content.
pub fn segment(name: &str, system: u64, seed: u8) -> Vec<u8> {
    let name: SegmentName = name.parse().unwrap();
    let start = name.start(SegmentSize::try_from(SEGMENT as u64).unwrap());
    let mut bytes: Vec<u8> = (0..SEGMENT).map(|place| (place / 511) as u8 ^ seed).collect();
    bytes[..2].copy_from_slice(&0xD118_u16.to_ne_bytes());
    bytes[2..4].copy_from_slice(&2_u16.to_ne_bytes());
    bytes[4..8].copy_from_slice(&name.timeline.0.to_ne_bytes());
    bytes[8..16].copy_from_slice(&start.0.to_ne_bytes());
    bytes[16..24].fill(0);
    bytes[24..32].copy_from_slice(&system.to_ne_bytes());
    bytes[32..36].copy_from_slice(&(SEGMENT as u32).to_ne_bytes());
    bytes[36..40].copy_from_slice(&8192_u32.to_ne_bytes());
    bytes
}

/// The names of so many segments from a number on, on timeline 1.
pub fn names(first: u32, count: u32) -> Vec<String> {
    (first..first + count).map(|number| format!("0000000100000000{number:08X}")).collect()
}

/// Waits until a condition holds.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

pub fn name(text: &str) -> WalName {
    text.parse().unwrap()
}
