//! What dr-wal-fetch answers, whatever is wrong with the archive: the file, or proven absence, or a code that ends a recovery.
#![allow(clippy::unwrap_used)]
#![expect(clippy::disallowed_methods, reason = "a store is moved away, as an unmounted one would be")]

mod world;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use dr_testing::proxy::{Fault, OUTAGES, Proxy};
use dr_testing::s3::{BUCKET, S3sFs, environment};
use dr_wal::{Shelf, Shelved};
use world::{SEGMENT, SYSTEM, World, files, refused, said, segment, wait_for};

const NAME: &str = "000000010000000000000003";
const NEXT: &str = "000000010000000000000004";
const PLACE: &str = "s3://dr-test/wal";

fn find(world: &World, ends_with: &str) -> std::path::PathBuf {
    let folder = world.path("store/main/wal/00000001");
    folder.join(files(&folder).into_iter().find(|name| name.starts_with(NAME) && name.ends_with(ends_with)).unwrap())
}

#[test]
fn every_kind_of_file_comes_back_as_it_was() {
    for world in [World::new(), World::sealed()] {
        let store = world.directory("store");
        let backup = b"START WAL LOCATION: 0/300028 (file 000000010000000000000003)\n";
        for (name, bytes) in [
            (NAME, segment(NAME, SYSTEM, 1)),
            ("000000010000000000000004.partial", segment(NEXT, SYSTEM, 2)),
            ("0000000A.history", b"1\t0/300000\tno recovery target specified\n".to_vec()),
            ("000000010000000000000003.00000028.backup", backup.to_vec()),
        ] {
            world.put(&store, name, &bytes);
            assert!(world.fetched(name) == bytes, "{name}");
        }
        fs::write(world.target(), "another's").unwrap();
        let output = world.fetch(NAME).output().unwrap();
        assert!(said(&output).contains("RECOVERYXLOG exists already"), "{}", said(&output));
        assert_eq!((output.status.code(), world.taken().as_slice()), (Some(200), &b"another's"[..]));
    }
}

#[test]
fn f49_what_was_planned_is_never_absent_however_well_it_is_proven() {
    let world = World::new();
    let store = world.directory("store");
    world.put(&store, NAME, &segment(NAME, SYSTEM, 1));
    let planned = |name| world.fetch(name).args(["--planned", &format!("{NAME}..{NEXT}")]).output().unwrap();
    assert_eq!(planned(NAME).status.code(), Some(0));
    fs::remove_file(world.target()).unwrap();
    let said = refused(&world, &planned(NEXT), 200);
    assert!(said.contains(&format!("{NEXT} was in the stores when this recovery was planned")), "{said}");
    // Behind the plan the log ends as ever.
    assert_eq!(planned("000000010000000000000005").status.code(), Some(1));
    assert_eq!(planned("000000020000000000000004").status.code(), Some(1));
    let output = world.fetch(NAME).args(["--planned", &format!("{NEXT}..{NAME}")]).output().unwrap();
    assert!(refused(&world, &output, 200).contains("FIRST..LAST"));
}

#[test]
fn f49_absence_is_one_and_quiet_where_it_is_proven_and_200_where_it_is_not() {
    let world = World::new();
    let output = world.fetch(NAME).output().unwrap();
    assert!(refused(&world, &output, 200).contains("store: "), "a directory that is no store");
    let store = world.directory("store");
    for name in [NAME, "00000002.history", "000000010000000000000003.partial"] {
        let output = world.fetch(name).output().unwrap();
        assert_eq!((output.status.code(), said(&output)), (Some(1), String::new()), "{name}");
    }
    let output = world.fetch(NAME).args(["--cluster", "mian"]).output().unwrap();
    assert!(refused(&world, &output, 200).contains("no store has any WAL of cluster mian"));
    let output = world.fetch(NAME).args(["--standby", "--cluster", "mian"]).output().unwrap();
    refused(&world, &output, 66);
    world.put(&store, NAME, &segment(NAME, SYSTEM, 1));
    assert_eq!(world.fetched(NAME).len(), SEGMENT);
}

#[test]
fn f22_f49_a_store_that_is_gone_or_may_not_be_read_proves_nothing() {
    let world = World::new();
    drop(world.directory("store"));
    fs::rename(world.path("store"), world.path("elsewhere")).unwrap();
    refused(&world, &world.fetch(NAME).output().unwrap(), 200);
    fs::create_dir(world.path("store")).unwrap();
    refused(&world, &world.fetch(NAME).output().unwrap(), 200);
    fs::remove_dir(world.path("store")).unwrap();
    fs::rename(world.path("elsewhere"), world.path("store")).unwrap();
    fs::create_dir_all(world.path("store/main/wal/00000001")).unwrap();
    fs::set_permissions(world.path("store/main/wal/00000001"), fs::Permissions::from_mode(0o000)).unwrap();
    let mut as_nobody = world.fetch(NAME);
    let ours = world.path("dr-wal-fetch");
    fs::copy(env!("CARGO_BIN_EXE_dr-wal-fetch"), &ours).unwrap();
    if rustix::process::geteuid().is_root() {
        for open in ["", "data", "data/pg_wal", "store", "store/main", "store/main/wal"] {
            fs::set_permissions(world.path(open), fs::Permissions::from_mode(0o777)).unwrap();
        }
        let files = ["store/dr-store.json", "store/main/wal/system.json", "data/global/pg_control"];
        files.iter().for_each(|file| fs::set_permissions(world.path(file), fs::Permissions::from_mode(0o644)).unwrap());
        as_nobody = world.fetch_by(&ours, NAME);
        as_nobody.uid(65534).gid(65534);
    }
    assert!(refused(&world, &as_nobody.output().unwrap(), 200).contains("Permission denied"));
    fs::set_permissions(world.path("store/main/wal/00000001"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn f49_another_store_answers_for_one_that_cannot_but_not_that_there_is_none() {
    let world = World::new();
    let both = format!("{},{}", world.text("nowhere"), world.text("store"));
    let store = world.directory("store");
    let output = world.fetch(NAME).env("DR_FROM", &both).output().unwrap();
    refused(&world, &output, 200);
    world.put(&store, NAME, &segment(NAME, SYSTEM, 1));
    let output = world.fetch(NAME).env("DR_FROM", &both).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).starts_with("dr-wal-fetch: warning: ") && said(&output).contains("going on with"), "{}", said(&output));
    assert!(world.taken() == segment(NAME, SYSTEM, 1));
}

/// A recovery ends where a segment is missing: not if more of the log follows.
#[test]
fn f47_a_hole_is_not_the_end_of_the_log() {
    let world = World::new();
    let store = world.directory("store");
    world.put(&store, NEXT, &segment(NEXT, SYSTEM, 1));
    assert!(refused(&world, &world.fetch(NAME).output().unwrap(), 200).contains(NEXT));
    // However large the hole is: here, more than the 4 GiB that share the middle of their names.
    let (wide, beyond) = (world.directory("wide"), "000000010000000200000004");
    world.put(&wide, beyond, &segment(beyond, SYSTEM, 1));
    let asked = world.fetch(NAME).env("DR_FROM", world.text("wide")).output().unwrap();
    assert!(refused(&world, &asked, 200).contains(beyond));
    // Another one has it; or the server itself, which reads its own where the archive has none.
    fs::write(world.path("data/pg_wal").join(NAME), "").unwrap();
    assert_eq!(world.fetch(NAME).output().unwrap().status.code(), Some(1));
    fs::remove_file(world.path("data/pg_wal").join(NAME)).unwrap();
    world.put_piece(&store, NAME, 0, &segment(NAME, SYSTEM, 1)[..SEGMENT / 2]);
    assert!(refused(&world, &world.fetch(NAME).output().unwrap(), 200).contains("is not there whole"));
    let far = world.directory("far");
    world.put(&far, NAME, &segment(NAME, SYSTEM, 1));
    let both = format!("{},{}", world.text("store"), world.text("far"));
    assert_eq!(world.fetch(NAME).env("DR_FROM", both).output().unwrap().status.code(), Some(0));
    assert!(world.taken() == segment(NAME, SYSTEM, 1));
}

#[test]
fn f49_what_cannot_be_proved_is_200_and_never_under_path() {
    let world = World::sealed();
    let store = world.directory("store");
    world.put(&store, NAME, &segment(NAME, SYSTEM, 1));
    let other = world.fetch(NAME).env("DR_IDENTITY", world.path("other")).output().unwrap();
    assert!(refused(&world, &other, 200).contains("no identity"));
    let none = world.fetch(NAME).env_remove("DR_IDENTITY").output().unwrap();
    refused(&world, &none, 200);
    let nowhere = world.fetch(NAME).env("DR_IDENTITY", "/nowhere").output().unwrap();
    refused(&world, &nowhere, 200);
    let standby = world.fetch(NAME).env("DR_IDENTITY", world.path("other")).arg("--standby").output().unwrap();
    refused(&world, &standby, 77);
    // Two signatures: of the right line by another key, and none at all.
    let claim = find(&world, ".claim");
    let signed = fs::read_to_string(&claim).unwrap();
    let unsigned = format!("{}\n", signed.lines().next().unwrap());
    let changed = signed.replace("\"bytes\":1048576", "\"bytes\":1048577");
    for forged in [unsigned, changed] {
        fs::write(&claim, &forged).unwrap();
        refused(&world, &world.fetch(NAME).output().unwrap(), 200);
        refused(&world, &world.fetch(NAME).arg("--standby").output().unwrap(), 81);
    }
    fs::write(&claim, signed).unwrap();
    let object = find(&world, ".zst.age");
    let good = fs::read(&object).unwrap();
    for place in [0, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[place] ^= 1;
        fs::write(&object, bad).unwrap();
        refused(&world, &world.fetch(NAME).arg("--standby").output().unwrap(), 65);
    }
    fs::write(&object, &good[..good.len() - 1]).unwrap();
    refused(&world, &world.fetch(NAME).output().unwrap(), 200);
    fs::write(&object, good).unwrap();
    assert!(world.fetched(NAME) == segment(NAME, SYSTEM, 1));
}

#[test]
fn f44_two_contents_are_200_unless_it_is_said_which() {
    let world = World::new();
    let store = world.directory("store");
    let (first, second) = (segment(NAME, SYSTEM, 1), segment(NAME, SYSTEM, 2));
    world.put(&store, NAME, &first);
    let packed = world.pack(NAME, &second);
    let shelved = Shelf::new(&store, "main").put(&packed).unwrap();
    assert!(matches!(shelved, Shelved::Conflict { .. }), "{shelved:?}");
    let contents = [world.pack(NAME, &first).content(), packed.content()];
    let words = refused(&world, &world.fetch(NAME).output().unwrap(), 200);
    assert!(contents.iter().all(|content| words.contains(&content.to_string())), "{words}");
    for (content, bytes) in contents.iter().zip([first, second]) {
        let output = world.fetch(NAME).env("DR_PREFER_CONTENT", &content.to_string()[..8]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(world.taken() == bytes);
    }
}

#[test]
fn f45_wal_of_another_system_is_200() {
    let world = World::new();
    let store = world.directory("store");
    world.put(&store, NAME, &segment(NAME, 8, 1));
    let words = refused(&world, &world.fetch(NAME).output().unwrap(), 200);
    assert!(words.contains("the WAL of main is of system 8") && words.contains(&SYSTEM.to_string()), "{words}");
    fs::write(world.path("data/global/pg_control"), 9_u64.to_ne_bytes()).unwrap();
    refused(&world, &world.fetch(NEXT).output().unwrap(), 200);
}

#[test]
fn pieces_of_an_unfinished_segment_are_served_with_zeros_behind_them() {
    let world = World::sealed();
    let store = world.directory("store");
    let whole = segment(NAME, SYSTEM, 1);
    for (begin, end) in [(0, 8192), (8192, 100_000)] {
        world.put_piece(&store, NAME, begin, &whole[begin..end]);
    }
    for standby in [false, true] {
        let mut fetch = world.fetch(NAME);
        let output = fetch.args(standby.then_some("--standby")).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(said(&output).contains("its first 100000 bytes were streamed"), "{}", said(&output));
        let bytes = world.taken();
        assert!(bytes[..100_000] == whole[..100_000] && bytes[100_000..].iter().all(|byte| *byte == 0));
        assert_eq!(bytes.len(), SEGMENT);
    }
    let output = world.fetch(NAME).arg("--no-partial").output().unwrap();
    assert_eq!((output.status.code(), said(&output)), (Some(1), String::new()));
    // Where a store that may have it whole cannot be asked, a part of it would be the end of the log.
    let both = format!("{},{}", world.text("store"), world.text("nowhere"));
    refused(&world, &world.fetch(NAME).env("DR_FROM", both).output().unwrap(), 200);
    // Nor is what lies before a hole the end.
    world.put_piece(&store, NAME, 200_000, &whole[200_000..300_000]);
    assert!(
        refused(&world, &world.fetch(NAME).output().unwrap(), 200)
            .contains("a piece is missing: there is more of it, from byte 200000")
    );
    refused(&world, &world.fetch(NAME).arg("--standby").output().unwrap(), 65);
    let planned = world.fetch(NAME).args(["--planned", &format!("{NAME}:100000")]).output().unwrap();
    assert_eq!(planned.status.code(), Some(0), "as much as the target needs: {}", said(&planned));
    world.taken();
    world.put(&store, NAME, &whole);
    assert!(world.fetched(NAME) == whole);
}

#[test]
fn f49_wrong_usage_and_signals_end_a_recovery_and_not_a_standby() {
    let world = World::new();
    for (words, code) in [(&["--form", "x"][..], 200), (&["--standby", "--form", "x"], 64), (&["--ahead", "-1", "--standby"], 64)] {
        refused(&world, &world.fetch(NAME).args(words).output().unwrap(), code);
    }
    refused(&world, &world.fetch("RECOVERYXLOG").output().unwrap(), 200);
    refused(&world, &world.fetch("RECOVERYXLOG").env("DR_STANDBY", "yes").output().unwrap(), 64);
    refused(&world, &world.fetch("RECOVERYXLOG").env("DR_STANDBY", "0").output().unwrap(), 200);
    refused(&world, &world.fetch(NAME).env_remove("DR_FROM").output().unwrap(), 200);
    let s3 = S3sFs::start();
    let proxy = Proxy::choosing(s3.address(), |_, _| Some(Fault::Stall));
    for (standby, signal, code) in [(false, "TERM", 143), (true, "TERM", 75), (false, "INT", 200), (false, "HUP", 200)] {
        let mut fetch = world.fetch(NAME);
        fetch.envs(environment(&proxy.url())).env("DR_FROM", PLACE).env("DR_PATIENCE", "100");
        let seen = proxy.seen().len();
        let child = fetch.args(standby.then_some("--standby")).stderr(Stdio::piped()).spawn().unwrap();
        wait_for("a request", || proxy.seen().len() > seen);
        let began = std::time::Instant::now();
        assert!(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap().success());
        refused(&world, &child.wait_with_output().unwrap(), code);
        assert!(began.elapsed().as_secs() < 3);
    }
    let mut fetch = world.fetch(NAME);
    fetch.envs(environment(&proxy.url())).env("DR_FROM", PLACE).env("DR_PATIENCE", "100");
    let words = refused(&world, &fetch.args(["--timeout", "1"]).output().unwrap(), 200);
    assert!(words.contains("no answer within 1 seconds"), "{words}");
}

/// Whatever a store does to any one request, or to all from one on, and whether the segment is there or not: it is served as it
/// was, or the answer is 200; it is absent only if it is.
#[test]
fn f49_no_fault_of_a_store_looks_like_absence() {
    let world = World::new();
    let s3 = S3sFs::start();
    // Its objects are files: written by us, as a server with credentials in this process's environment is not to be had.
    let store = world.directory_at(&s3.directory().join("data").join(BUCKET).join("wal"));
    let bytes = segment(NAME, SYSTEM, 1);
    world.put(&store, NAME, &bytes);
    let moved = Fault::Answer("301 Moved Permanently", "x-amz-bucket-region: eu-central-1\r\n", "");
    let faults = OUTAGES.into_iter().chain([moved]);
    let absent: usize = std::thread::scope(|scope| {
        let trials: Vec<_> = faults.map(|fault| scope.spawn(|| tried(&s3, fault, &bytes))).collect();
        trials.into_iter().map(|trial| trial.join().unwrap()).sum()
    });
    assert!(absent > 20, "a fault that is over is no reason not to answer: {absent}");
}

/// A fault at many places; gives how often the answer was that there is none.
fn tried(s3: &S3sFs, fault: Fault, bytes: &[u8]) -> usize {
    let world = World::new();
    let mut absent = 0;
    for (from, to) in [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (2, 9), (3, 4), (4, 5), (0, usize::MAX)] {
        for (name, there) in [(NAME, true), (NEXT, false)] {
            let met = fault.clone();
            let proxy = Proxy::choosing(s3.address(), move |number, _| (from <= number && number < to).then(|| met.clone()));
            let mut fetch = world.fetch(name);
            fetch.envs(environment(&proxy.url())).env("DR_FROM", PLACE).args(["--timeout", "2"]);
            let output = fetch.output().unwrap();
            let code = output.status.code().unwrap();
            let told = format!("{fault:?} {from}..{to} {name}: {code} {} {:?}", said(&output), proxy.seen());
            match code {
                0 => assert!(there && world.taken() == bytes, "{told}"),
                1 => assert!(!there && said(&output).is_empty(), "{told}"),
                200 => assert_eq!(world.left(), Vec::<String>::new(), "{told}"),
                _ => panic!("{told}"),
            }
            absent += usize::from(code == 1);
        }
    }
    absent
}
