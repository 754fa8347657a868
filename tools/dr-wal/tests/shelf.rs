//! WAL into a store and back. (Buckets are reached by the tools' own tests: credentials come from the environment alone.)
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dr_catalogue::SigningKey;
use dr_crypt::{Identities, IdentityArgs, RecipientArgs, Recipients};
use dr_store::{Store, StoreArgs};
use dr_testing::postgres::{Server, majors};
use dr_wal::header::{self, Header};
use dr_wal::{Error, Got, Opening, Packed, Packing, SegmentName, SegmentSize, Shelf, Shelved, System, Timeline, WalName};

const BYTES: u32 = 1 << 20;

/// Keys of a test.
struct Keys {
    recipients: Recipients,
    identities: Identities,
    signing: SigningKey,
}

impl Keys {
    fn new(directory: &Path) -> Keys {
        let secret = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path.display().to_string()
        };
        let identity = secret("identity", "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33\n");
        let recipients = RecipientArgs {
            recipients: vec!["age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa".into()],
            ..RecipientArgs::default()
        };
        Keys {
            recipients: Recipients::read(&recipients, "test").unwrap(),
            identities: Identities::read(&IdentityArgs { identities: vec![identity] }, "test").unwrap(),
            signing: SigningKey::load(&secret("key", include_str!("../../dr-seal/tests/main.key"))).unwrap(),
        }
    }

    fn packing(&self) -> Packing<'_> {
        Packing {
            cluster: "main",
            recipients: Some(&self.recipients),
            level: 1,
            signing_key: Some(&self.signing),
            system_identifier: None,
        }
    }
}

fn name(number: u32) -> SegmentName {
    SegmentName { timeline: Timeline(1), log: 0, number }
}

/// A segment as PostgreSQL 18 begins it, with `bytes` bytes.
fn segment(number: u32, bytes: u32, seed: u8) -> Vec<u8> {
    let mut segment = vec![0; bytes as usize];
    segment[..2].copy_from_slice(&0xD118_u16.to_ne_bytes());
    segment[2..4].copy_from_slice(&2_u16.to_ne_bytes());
    segment[4..8].copy_from_slice(&1_u32.to_ne_bytes());
    segment[8..16].copy_from_slice(&(u64::from(number) * u64::from(bytes)).to_ne_bytes());
    segment[24..32].copy_from_slice(&7_u64.to_ne_bytes());
    segment[32..36].copy_from_slice(&bytes.to_ne_bytes());
    segment[36..40].copy_from_slice(&8192_u32.to_ne_bytes());
    segment[1000..3000].fill(seed);
    segment
}

fn packed(keys: &Keys, number: u32, seed: u8) -> Packed {
    Packed::new(name(number).into(), &segment(number, BYTES, seed), &keys.packing()).unwrap()
}

/// Does something with a new store.
fn with_store(test: impl Fn(&Store, &Keys)) {
    let directory = tempfile::tempdir().unwrap();
    let keys = Keys::new(directory.path());
    let location = directory.path().join("store").to_str().unwrap().parse().unwrap();
    test(&Store::init(&location, &StoreArgs::default()).unwrap(), &keys);
}

fn good(got: Result<Option<Got>, Error>) -> Vec<u8> {
    let got = got.unwrap().unwrap();
    assert_eq!(got.partial, None);
    got.bytes
}

#[test]
fn what_was_put_comes_back_proved() {
    with_store(|store, keys| {
        let shelf = Shelf::new(store, "main");
        assert_eq!(shelf.put(&packed(keys, 1, 1)).unwrap(), Shelved::Stored);
        let trusted = [keys.signing.public_key()];
        let opening = Opening { identities: Some(&keys.identities), trusted: &trusted, prefer_content: None };
        assert_eq!(good(shelf.get(&name(1).into(), &opening)), segment(1, BYTES, 1));
        assert!(shelf.get(&name(2).into(), &opening).unwrap().is_none());
        assert!(shelf.get(&WalName::History(Timeline(2)), &opening).unwrap().is_none());
        assert_eq!(shelf.put(&packed(keys, 1, 1)).unwrap(), Shelved::Same, "another encryption of the same");
        assert_eq!(good(shelf.get(&name(1).into(), &opening)), segment(1, BYTES, 1));
        let inventory = shelf.inventory().unwrap();
        assert_eq!(inventory.segments(Timeline(1)).collect::<Vec<_>>(), [name(1)]);
        assert_eq!(inventory.timelines(), [Timeline(1)]);
        let nobody = Opening { identities: None, ..opening };
        assert!(matches!(shelf.get(&name(1).into(), &nobody), Err(Error::Crypt(dr_crypt::Error::NoIdentity))));
    });
}

#[test]
fn f68_f71_what_was_changed_is_never_given() {
    with_store(|store, keys| {
        let shelf = Shelf::new(store, "main");
        shelf.put(&packed(keys, 1, 1)).unwrap();
        let trusted = [keys.signing.public_key()];
        let opening = Opening { identities: Some(&keys.identities), trusted: &trusted, prefer_content: None };
        let root = store.location().to_string();
        let inventory = shelf.inventory().unwrap();
        let item = &inventory.files[&name(1).into()];
        let object = format!("{root}/{}", item.objects[0].key);
        let bytes = fs::read(&object).unwrap();
        for place in (0..bytes.len()).step_by(97) {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            fs::write(&object, changed).unwrap();
            assert!(matches!(shelf.get(&name(1).into(), &opening), Err(Error::Damaged { .. })), "{place}");
        }
        fs::write(&object, &bytes[..bytes.len() - 1]).unwrap();
        assert!(matches!(shelf.get(&name(1).into(), &opening), Err(Error::Damaged { .. })));
        fs::write(&object, &bytes).unwrap();
        let claim = format!("{root}/{}", item.claims[0].0);
        let text = fs::read_to_string(&claim).unwrap();
        fs::write(&claim, text.replace("\"bytes\":1048576", "\"bytes\":1048577")).unwrap();
        assert!(matches!(shelf.get(&name(1).into(), &opening), Err(Error::Untrusted { .. })));
        fs::remove_file(&claim).unwrap();
        assert!(matches!(shelf.get(&name(1).into(), &opening), Err(Error::Damaged { .. })), "nothing claims it");
    });
}

#[test]
fn f31_an_object_whose_own_claim_was_lost_is_known_by_what_is_in_it() {
    with_store(|store, keys| {
        let shelf = Shelf::new(store, "main");
        let (left, right) = (packed(keys, 1, 1), packed(keys, 1, 1));
        shelf.put(&left).unwrap();
        // As on a server that lets two create one name: the claim of one is left, and the object of the other.
        let object = format!("{}/{}", store.location(), shelf.inventory().unwrap().files[&name(1).into()].objects[0].key);
        let other = Shelf::new(store, "other");
        other.put(&right).unwrap();
        fs::copy(object.replace("/main/", "/other/"), &object).unwrap();
        let trusted = [keys.signing.public_key()];
        let opening = Opening { identities: Some(&keys.identities), trusted: &trusted, prefer_content: None };
        assert_eq!(good(shelf.get(&name(1).into(), &opening)), segment(1, BYTES, 1));
    });
}

#[test]
fn f43_the_same_again_mends_an_object_that_was_cut_off_or_whose_claim_is_lost() {
    with_store(|store, keys| {
        let shelf = Shelf::new(store, "main");
        for number in 0..4 {
            shelf.put(&packed(keys, number, 1)).unwrap();
            let file = WalName::from(name(number));
            let item = &shelf.inventory().unwrap().files[&file];
            let path = |key: &str| format!("{}/{key}", store.location());
            match number {
                0 => fs::File::options().write(true).open(path(&item.objects[0].key)).unwrap().set_len(1000).unwrap(),
                1 => fs::write(path(&item.objects[0].key), "").unwrap(),
                2 => fs::remove_file(path(&item.claims[0].0)).unwrap(),
                _ => fs::remove_file(path(&item.claims[0].0)).and_then(|()| fs::write(path(&item.objects[0].key), "?")).unwrap(),
            }
            let put = shelf.put(&packed(keys, number, 1)).unwrap();
            assert!(matches!(put, Shelved::Mended { .. }), "{number}: {put:?}");
            let opening = Opening { identities: Some(&keys.identities), ..Opening::default() };
            assert_eq!(good(shelf.get(&file, &opening)), segment(number, BYTES, 1));
        }
    });
}

#[test]
fn f41_a_claim_of_somebody_else_under_the_name_of_ours_is_no_success() {
    with_store(|store, keys| {
        let shelf = Shelf::new(store, "main");
        shelf.put(&packed(keys, 1, 1)).unwrap();
        let item = &shelf.inventory().unwrap().files[&name(1).into()];
        let path = |key: &str| format!("{}/{key}", store.location());
        // No reader would take the segment that is stored beside it.
        fs::write(path(&item.claims[0].0), "another's\n").unwrap();
        fs::remove_file(path(&item.objects[0].key)).unwrap();
        let put = shelf.put(&packed(keys, 1, 1));
        assert!(matches!(put, Err(Error::Damaged { .. })), "{put:?}");
    });
}

#[test]
fn f43_two_hosts_that_push_the_same_at_once_are_no_conflict() {
    with_store(|store, keys| {
        let shelf = Shelf::new(store, "main");
        for number in 0..40 {
            let (left, right) = (packed(keys, number, 1), packed(keys, number, 1));
            let barrier = std::sync::Barrier::new(2);
            let put = |packed: &Packed| {
                barrier.wait();
                shelf.put(packed).unwrap()
            };
            let put = &put;
            let both = std::thread::scope(|scope| {
                let one = scope.spawn(move || put(&left));
                [put(&right), one.join().unwrap()]
            });
            assert!(both.contains(&Shelved::Stored), "{both:?}");
            assert!(both.iter().all(|shelved| matches!(shelved, Shelved::Stored | Shelved::Same)), "{both:?}");
            let opening = Opening { identities: Some(&keys.identities), ..Opening::default() };
            assert_eq!(good(shelf.get(&name(number).into(), &opening)), segment(number, BYTES, 1));
        }
    });
}

#[test]
fn f44_two_contents_are_both_kept_and_neither_is_given_unasked() {
    with_store(|store, keys| {
        let shelf = Shelf::new(store, "main");
        for number in 0..20 {
            let (left, right) = (packed(keys, number, 1), packed(keys, number, 2));
            let (first, second) = (left.content().to_string(), right.content().to_string());
            let both = std::thread::scope(|scope| {
                let one = scope.spawn(move || shelf.put(&left).unwrap());
                [shelf.put(&right).unwrap(), one.join().unwrap()]
            });
            assert!(both.contains(&Shelved::Stored) && both.iter().any(|put| matches!(put, Shelved::Conflict { .. })), "{both:?}");
            let opening = Opening { identities: Some(&keys.identities), ..Opening::default() };
            let file = WalName::from(name(number));
            assert!(matches!(shelf.get(&file, &opening), Err(Error::Conflict { contents, .. }) if contents.len() == 2));
            for (content, seed) in [(&first, 1), (&second, 2)] {
                let preferred = Opening { prefer_content: Some(&content[..8]), ..opening };
                assert_eq!(good(shelf.get(&file, &preferred)), segment(number, BYTES, seed));
            }
            assert!(shelf.inventory_of_name(&file).unwrap().files[&file].is_conflict());
        }
    });
}

#[test]
fn pieces_are_given_as_far_as_they_reach_and_the_whole_segment_before_them() {
    with_store(|store, keys| {
        let shelf = Shelf::new(store, "main");
        let whole = segment(1, BYTES, 1);
        let opening = Opening { identities: Some(&keys.identities), ..Opening::default() };
        for (begin, end) in [(0, 8192), (8192, 20000), (0, 16384), (30000, 40000)] {
            shelf.put_piece(name(1), begin as u32, &whole[begin..end], &keys.packing()).unwrap();
        }
        let inventory = shelf.inventory_of_log(Timeline(1), 0).unwrap();
        assert_eq!(inventory.streamed(&name(1)), 20000);
        let got = shelf.read_listed(&inventory, &name(1).into(), &opening).unwrap().unwrap();
        assert_eq!(got.partial, Some(20000));
        assert_eq!(got.bytes.len(), BYTES as usize);
        assert!(got.bytes[..20000] == whole[..20000] && got.bytes[20000..].iter().all(|byte| *byte == 0));
        shelf.put(&packed(keys, 1, 1)).unwrap();
        assert_eq!(good(shelf.get(&name(1).into(), &opening)), whole);
        shelf.put_piece(name(2), 4096, &whole[4096..8192], &keys.packing()).unwrap();
        assert!(shelf.get(&name(2).into(), &opening).unwrap().is_none(), "nothing begins it");
    });
}

#[test]
fn f71_pieces_that_no_trusted_key_signed_or_that_were_moved_are_refused() {
    with_store(|store, keys| {
        let whole = segment(1, BYTES, 1);
        let trusted = [keys.signing.public_key()];
        let opening = Opening { identities: Some(&keys.identities), trusted: &trusted, ..Opening::default() };
        let unsigned = Packing { signing_key: None, ..keys.packing() };
        let elsewhere = Packing { cluster: "other", ..keys.packing() };
        for (cluster, packing, good) in [("main", keys.packing(), true), ("bare", unsigned, false), ("moved", elsewhere, false)] {
            let shelf = Shelf::new(store, cluster);
            // What is signed is what its name says: here, that of another cluster is put under this one's.
            let from = Shelf::new(store, packing.cluster);
            let key = if cluster == "moved" { from } else { shelf }.put_piece(name(1), 0, &whole[..8192], &packing).unwrap();
            if cluster == "moved" {
                let object = store.read(&key, 1 << 20).unwrap();
                store.put(&key.replacen("other/", "moved/", 1), &object).unwrap();
            }
            let got = shelf.get(&name(1).into(), &opening);
            assert!(if good { got.is_ok() } else { matches!(got, Err(Error::Untrusted { .. })) }, "{cluster}");
            let untold = Opening { trusted: &[], ..opening };
            assert_eq!(shelf.get(&name(1).into(), &untold).unwrap().unwrap().partial, Some(8192));
        }
    });
}

#[test]
fn f45_a_cluster_is_one_system_in_a_store() {
    with_store(|store, _| {
        let shelf = Shelf::new(store, "main");
        assert_eq!(shelf.system().unwrap(), None);
        let header = |system| Header { system_identifier: system, ..header::read(&segment(1, BYTES, 1)).unwrap() };
        let system = System::of(&header(7));
        for _ in 0..2 {
            shelf.put_system(&system).unwrap();
            assert_eq!(shelf.system().unwrap().as_ref(), Some(&system));
            assert!(matches!(shelf.put_system(&System::of(&header(8))), Err(Error::OtherSystem { .. })));
            let left = store.list("main/wal/").unwrap();
            assert_eq!(left.len(), 2, "a refusal leaves nothing behind: {left:?}");
        }
        // What was said is lost: what was claimed is there, where nobody has changed it, and nobody else has claimed it too.
        store.remove("main/wal/system.json").unwrap();
        assert_eq!(shelf.system().unwrap().as_ref(), Some(&system));
        // Or a digit of it has changed.
        store.put("main/wal/system.json", &serde_json::to_vec(&System::of(&header(9))).unwrap()).unwrap();
        assert_eq!(shelf.system().unwrap().as_ref(), Some(&system));
        store.remove("main/wal/system.json").unwrap();
        store.put("main/wal/system.00000000000000000000000000000000.claim", b"{}").unwrap();
        assert_eq!(shelf.system().unwrap().as_ref(), Some(&system));
        shelf.put_system(&System::of(&header(8))).unwrap();
        store.remove("main/wal/system.json").unwrap();
        assert!(matches!(shelf.system(), Err(Error::Damaged { .. })));
    });
}

#[test]
fn f47_an_object_without_a_byte_is_a_hole() {
    with_store(|store, keys| {
        let shelf = Shelf::new(store, "main");
        (1..=3).for_each(|number| drop(shelf.put(&packed(keys, number, 1)).unwrap()));
        let size = SegmentSize::try_from(u64::from(BYTES)).unwrap();
        assert_eq!(shelf.inventory().unwrap().runs(size).len(), 1);
        let key = format!("main/wal/00000001/{}.zst.age", name(2));
        store.remove(&key).unwrap();
        store.put(&key, b"").unwrap();
        let runs = shelf.inventory().unwrap().runs(size);
        assert_eq!(runs.iter().map(|run| (run.first, run.segments)).collect::<Vec<_>>(), [(name(1), 1), (name(3), 1)]);
    });
}

#[test]
fn a_segment_larger_than_memory_allows_is_spooled() {
    with_store(|store, keys| {
        const LARGE: u32 = 128 << 20;
        let whole = segment(1, LARGE, 1);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&whole).and_then(|()| file.rewind()).unwrap();
        let packed = Packed::from_file(name(1).into(), "a file", (&mut file, LARGE.into()), None, &keys.packing()).unwrap();
        let shelf = Shelf::new(store, "main");
        assert_eq!(shelf.put(&packed).unwrap(), Shelved::Stored);
        let opening = Opening { identities: Some(&keys.identities), ..Opening::default() };
        assert!(good(shelf.get(&name(1).into(), &opening)) == whole);
    });
}

#[test]
fn f45_f46_headers_of_every_major_are_known() {
    for major in majors() {
        let server = Server::start(major);
        let system: u64 = server.psql("postgres", "select system_identifier from pg_control_system()").parse().unwrap();
        let current = server.psql("postgres", "select pg_walfile_name(pg_current_wal_lsn())");
        let bytes = fs::read(server.data_dir().join("pg_wal").join(&current)).unwrap();
        let header = header::check_segment(&bytes, bytes.len() as u64, &current.parse().unwrap()).unwrap();
        assert_eq!((header.major, header.system_identifier, header.page_bytes), (major, system, 8192));
        let lsn = server.psql("postgres", "select pg_current_wal_lsn()").parse().unwrap();
        assert_eq!(SegmentName::containing(Timeline(1), lsn, header.segment_size).to_string(), current);
    }
}
