//! Stores with sealed backups and claimed WAL, and dr-verify run on them.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use chrono::{DateTime, Utc};
use dr_catalogue::{RECOVERY, SigningKey, Tombstone, manifest, name, signature, tombstone};
use dr_crypt::{RecipientArgs, Recipients};
use dr_pipe::Sha256;
use dr_pipe::record::{Base, Finding, Kind, Manifest, Produced, Record, Settings, Verified, WalKept};
use dr_store::{Location, Store, StoreArgs};
use dr_wal::{Packed, Packing, SegmentName, SegmentSize, Shelf, System};

/// Segments of these tests have 1 MiB.
pub const SEGMENT: u64 = 1 << 20;
/// The system identifier of the server.
pub const SYSTEM: u64 = 7_000_000_000_000_000_001;

/// A scratch directory with keys.
pub struct World {
    scratch: tempfile::TempDir,
    signing: SigningKey,
    deleting: SigningKey,
    recipient: String,
}

impl World {
    pub fn new() -> World {
        let scratch = tempfile::tempdir().unwrap();
        let seal = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dr-seal/tests");
        for file in ["main.pub", "main.key"] {
            fs::copy(seal.join(file), scratch.path().join(file)).unwrap();
            fs::set_permissions(scratch.path().join(file), fs::Permissions::from_mode(0o600)).unwrap();
        }
        for name in ["identity", "other"] {
            assert!(Command::new("age-keygen").arg("-o").arg(scratch.path().join(name)).output().unwrap().status.success());
        }
        let public = Command::new("age-keygen").arg("-y").arg(scratch.path().join("identity")).output().unwrap();
        let recipient = String::from_utf8(public.stdout).unwrap().trim().to_owned();
        let made = "minisign -GW -p deleting.pub -s deleting.key";
        assert!(Command::new("bash").args(["-c", made]).current_dir(scratch.path()).output().unwrap().status.success());
        let key = |name: &str| SigningKey::load(scratch.path().join(name).to_str().unwrap()).unwrap();
        World { signing: key("main.key"), deleting: key("deleting.key"), recipient, scratch }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub fn recipient(&self) -> &str {
        &self.recipient
    }

    /// A directory store.
    pub fn store(&self, name: &str) -> Store {
        let place: Location = self.path(name).to_str().unwrap().parse().unwrap();
        Store::init(&place, &StoreArgs::default()).unwrap()
    }

    /// Publishes a backup whose object has these bytes.
    pub fn seal(&self, store: &Store, manifest: &Manifest, bytes: &[u8]) {
        store.put(&key(manifest), bytes).unwrap();
        let text = manifest::to_bytes(manifest);
        let signed = signature::sign(&self.signing, &text, &manifest.name);
        store.put(&name::recovery_key(&manifest.cluster), RECOVERY.as_bytes()).unwrap();
        store.put(&name::signature_key(&manifest.cluster, manifest.kind, &manifest.name), &signed).unwrap();
        store.put(&name::manifest_key(&manifest.cluster, manifest.kind, &manifest.name), &text).unwrap();
    }

    /// Marks a backup for deletion, in the hand of whoever deletes, or of the host that backs up.
    pub fn bury(&self, store: &Store, manifest: &Manifest, deleting: bool) {
        let tombstone = Tombstone {
            format: 1,
            cluster: manifest.cluster.clone(),
            kind: manifest.kind,
            name: manifest.name.clone(),
            object: manifest.object.clone(),
            sha256: manifest.sha256,
            bytes: manifest.bytes,
            reasons: Vec::new(),
            deleted_at: manifest.stored_at,
            not_before_at: manifest.stored_at,
            host: "host".into(),
        };
        self.mark(store, &tombstone.stem(), &tombstone.to_bytes(), deleting);
    }

    /// Announces that something is deleted whose keys begin with `stem`.
    pub fn mark(&self, store: &Store, stem: &str, text: &[u8], deleting: bool) {
        let signed = tombstone::sign(if deleting { &self.deleting } else { &self.signing }, text, stem);
        store.put(&format!("{stem}.tombstone.minisig"), &signed).unwrap();
        store.put(&format!("{stem}.tombstone"), text).unwrap();
    }

    /// A dump of these bytes, sealed.
    pub fn dump(&self, store: &Store, number: u32, bytes: &[u8]) -> Manifest {
        let manifest = dump(number, bytes);
        self.seal(store, &manifest, bytes);
        manifest
    }

    /// A base that begins and ends in a segment of a timeline, sealed; its object is no archive.
    pub fn base(&self, store: &Store, timeline: u32, segment: u64) -> Manifest {
        let bytes = format!("base {timeline} {segment}");
        let manifest = base(timeline, segment, bytes.as_bytes());
        self.seal(store, &manifest, bytes.as_bytes());
        manifest
    }

    /// Stores a file of WAL, signed and encrypted.
    pub fn put(&self, store: &Store, name: &str, bytes: &[u8]) {
        let args = RecipientArgs { recipients: vec![self.recipient.clone()], ..RecipientArgs::default() };
        let recipients = Recipients::read(&args, "test").unwrap();
        self.pack(store, name, bytes, Some(&recipients));
    }

    /// Stores a file of WAL, signed and not encrypted.
    pub fn put_plain(&self, store: &Store, name: &str, bytes: &[u8]) {
        self.pack(store, name, bytes, None);
    }

    fn pack(&self, store: &Store, name: &str, bytes: &[u8], recipients: Option<&Recipients>) {
        let packing =
            Packing { cluster: "main", recipients, level: 1, signing_key: Some(&self.signing), system_identifier: Some(SYSTEM) };
        let shelf = Shelf::new(store, "main");
        let system = System { system_identifier: SYSTEM.to_string(), wal_segment_bytes: SegmentSize::try_from(SEGMENT).unwrap() };
        shelf.put_system(&system).unwrap();
        shelf.put(&Packed::new(name.parse().unwrap(), bytes, &packing).unwrap()).unwrap();
    }

    /// Stores a piece of a segment, signed, encrypted or not.
    pub fn put_piece(&self, store: &Store, name: &str, range: std::ops::Range<usize>) {
        let packing =
            Packing { cluster: "main", recipients: None, level: 1, signing_key: Some(&self.signing), system_identifier: None };
        let segment: SegmentName = name.parse().unwrap();
        let plain = segment_bytes(name, 1);
        Shelf::new(store, "main").put_piece(segment, range.start as u32, &plain[range], &packing).unwrap();
    }

    /// Segments of a timeline, by number.
    pub fn segments(&self, store: &Store, timeline: u32, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            let name = segment(timeline, number);
            self.put_plain(store, &name, &segment_bytes(&name, 1));
        }
    }

    /// dr-verify with nothing of this machine's settings, told whom to trust.
    pub fn verify(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dr-verify"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.scratch.path()).current_dir(self.scratch.path());
        command.env("DR_STATE", self.path("state")).env("DR_PUBLIC_KEY", "main.pub").env("DR_JOBS", "2");
        command.args(arguments.split_whitespace());
        command
    }

    /// Runs it; gives what it said, after its exit code was found to be `code`.
    pub fn run(&self, arguments: &str, code: i32) -> Said {
        said(&self.verify(arguments).output().unwrap(), code)
    }
}

/// What a run said.
#[derive(Debug)]
pub struct Said {
    pub findings: Vec<Finding>,
    pub verified: Vec<Verified>,
    pub stderr: String,
}

impl Said {
    /// The codes of all findings, sorted.
    pub fn codes(&self) -> Vec<&str> {
        let mut codes: Vec<&str> = self.findings.iter().map(|finding| finding.code.as_str()).collect();
        codes.sort_unstable();
        codes
    }

    /// The one finding there is.
    pub fn only(&self) -> &Finding {
        assert_eq!(self.findings.len(), 1, "{self:#?}");
        &self.findings[0]
    }
}

pub fn said(output: &Output, code: i32) -> Said {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{stderr}{stdout}");
    let mut said = Said { findings: Vec::new(), verified: Vec::new(), stderr };
    for record in dr_pipe::record::read(&mut &output.stdout[..]).unwrap() {
        match record {
            Record::Finding(finding) => said.findings.push(*finding),
            Record::Verified(verified) => said.verified.push(*verified),
            other => panic!("{other:?}"),
        }
    }
    said
}

/// The key of a backup's object.
pub fn key(manifest: &Manifest) -> String {
    name::object_key(manifest)
}

pub fn dump(number: u32, bytes: &[u8]) -> Manifest {
    let at: DateTime<Utc> = format!("2026-01-{:02}T02:00:00Z", number % 28 + 1).parse().unwrap();
    let name = format!("main_dump_202601{:02}T020000Z_{number:04x}", number % 28 + 1);
    let produced = Produced::new(Kind::Dump, at, "bin");
    Manifest {
        format: 1,
        cluster: "main".into(),
        kind: Kind::Dump,
        object: format!("{name}.bin"),
        name,
        bytes: bytes.len() as u64,
        sha256: Sha256::of(bytes),
        taken_at: at,
        stored_at: at,
        sequence: u64::from(number) + 1,
        recipients: Vec::new(),
        tags: Vec::new(),
        stores: Vec::new(),
        produced,
        tools: Vec::new(),
    }
}

pub fn base(timeline: u32, segment: u64, bytes: &[u8]) -> Manifest {
    let mut manifest = dump(segment as u32, bytes);
    manifest.kind = Kind::Base;
    manifest.name = format!("main_base_202601{:02}T020000Z_{timeline:04x}", segment % 28 + 1);
    manifest.object = format!("{}.bin", manifest.name);
    let lsn = |offset: u64| format!("0/{:X}", segment * SEGMENT + offset);
    manifest.produced.kind = Kind::Base;
    manifest.produced.system_identifier = Some(SYSTEM.to_string());
    manifest.produced.base = Some(Base {
        timeline,
        start_lsn: lsn(0x28),
        stop_lsn: lsn(0x100),
        started_at: manifest.taken_at,
        stopped_at: manifest.taken_at,
        wal_segment_bytes: SEGMENT,
        page_bytes: 8192,
        page_checksums: false,
        from_standby: false,
        tablespaces: Vec::new(),
        settings: Settings {
            max_connections: 1,
            max_worker_processes: 1,
            max_wal_senders: 1,
            max_prepared_transactions: 0,
            max_locks_per_transaction: 1,
        },
        wal: WalKept::Archived,
        damaged_pages: 0,
        catalog_version: 1,
        files: 1,
    });
    manifest
}

/// The name of a segment.
pub fn segment(timeline: u32, number: u64) -> String {
    format!("{timeline:08X}{:016X}", number)
}

/// A segment as PostgreSQL 18 begins it; `seed` varies its content.
pub fn segment_bytes(name: &str, seed: u8) -> Vec<u8> {
    let name: SegmentName = name.parse().unwrap();
    let start = name.start(SegmentSize::try_from(SEGMENT).unwrap());
    let mut bytes = vec![0; SEGMENT as usize];
    bytes[..2].copy_from_slice(&0xD118_u16.to_ne_bytes());
    bytes[2..4].copy_from_slice(&2_u16.to_ne_bytes());
    bytes[4..8].copy_from_slice(&name.timeline.0.to_ne_bytes());
    bytes[8..16].copy_from_slice(&start.0.to_ne_bytes());
    bytes[24..32].copy_from_slice(&SYSTEM.to_ne_bytes());
    bytes[32..36].copy_from_slice(&(SEGMENT as u32).to_ne_bytes());
    bytes[36..40].copy_from_slice(&8192_u32.to_ne_bytes());
    bytes[1000..1500].fill(seed);
    bytes
}

/// Every file below a directory, but a store's marker.
pub fn files(root: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.file_name().unwrap() != "dr-store.json" {
            all.push(path);
        }
    }
    all.sort();
    all
}

/// A copy of a store, of links; but for one file, which has other bytes.
pub fn copy_but(from: &Path, to: &Path, changed: &Path, bytes: &[u8]) {
    for file in files(from).into_iter().chain([from.join("dr-store.json")]) {
        let there = to.join(file.strip_prefix(from).unwrap());
        directories(to, there.parent().unwrap());
        if file == changed {
            write(&there, bytes);
        } else {
            fs::hard_link(&file, &there).unwrap();
        }
    }
}

/// Makes directories down from a store's root, for their owner alone.
fn directories(root: &Path, directory: &Path) {
    let mut path = root.to_owned();
    fs::create_dir_all(&path).unwrap();
    for part in directory.strip_prefix(root).unwrap() {
        path.push(part);
        if fs::create_dir(&path).is_ok() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        }
    }
}

/// Writes a file as a store does: for its owner alone.
pub fn write(path: &Path, bytes: &[u8]) {
    if path.exists() {
        fs::remove_file(path).unwrap();
    }
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The same bytes with one bit flipped.
pub fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

/// Sets the time of a file.
pub fn touch(path: &Path, at: std::time::SystemTime) {
    fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
}
