//! Every byte that is not what it was, or not where it was, is found; and what is none of that is not.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dr_pipe::record::{Depth, Severity};
use support::{World, copy_but, files, flipped, key, segment, segment_bytes, write};

/// How many stores are looked at in one run.
const BATCH: usize = 200;

/// Of what is signed not every change is tried, as checking a signature takes long in a debug build. It shares no factor with the
/// eight bits of a byte, so that each of them is tried.
const STEP: usize = 7;

/// A small store with a backup and two files of WAL.
fn small(world: &World) -> PathBuf {
    let store = world.store("store");
    world.dump(&store, 1, b"01234567");
    let name = segment(1, 1);
    world.put_plain(&store, &name, &segment_bytes(&name, 1));
    world.put_plain(&store, "00000002.history", b"1\t0/100080\tno recovery target specified\n");
    world.path("store")
}

/// Its files that only a signature proves, and the others; without the instructions, which nobody has signed.
fn signed_and_others(root: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let proved = files(root).into_iter().filter(|path| !path.ends_with("RECOVERY.txt"));
    proved.partition(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name != "system.json"
            && !name.starts_with("system.")
            && [".json", ".minisig", ".claim"].iter().any(|end| name.ends_with(end))
    })
}

/// Checks that something is found in each of these copies of a store, in which one file is another.
fn all_are_found(world: &World, trusting: bool, changes: impl IntoIterator<Item = (PathBuf, Vec<u8>)>) {
    let root = world.path("store");
    let changes: Vec<_> = changes.into_iter().collect();
    for batch in changes.chunks(BATCH) {
        let scratch = tempfile::tempdir_in(root.parent().unwrap()).unwrap();
        let mut command = world.verify("");
        // Nothing is remembered: syncing that for each store is what takes time.
        command.env("DR_STATE", "/dev/null/none");
        if !trusting {
            command.env_remove("DR_PUBLIC_KEY");
        }
        for (number, (file, bytes)) in batch.iter().enumerate() {
            let place = scratch.path().join(number.to_string());
            copy_but(&root, &place, file, bytes);
            command.arg("--from").arg(&place);
        }
        let said = support::said(&command.output().unwrap(), 1);
        let errors = said.findings.iter().filter(|finding| finding.severity == Severity::Error);
        let found: BTreeSet<&str> = errors.map(|finding| finding.store.rsplit('/').next().unwrap()).collect();
        for (number, (file, bytes)) in batch.iter().enumerate() {
            let before = fs::read(file).unwrap();
            let at = bytes.iter().zip(&before).position(|(a, b)| a != b);
            assert!(found.contains(number.to_string().as_str()), "{} ({} bytes) at {at:?}", file.display(), bytes.len());
        }
    }
}

#[test]
fn what_is_whole_is_good() {
    let world = World::new();
    let store = world.store("store");
    let manifest = world.dump(&store, 1, b"bytes");
    let name = segment(1, 1);
    world.put(&store, &name, &segment_bytes(&name, 1));
    let said = world.run("--from store", 0);
    assert!(said.findings.is_empty() && said.stderr.is_empty(), "{said:?}");
    let verified = &said.verified[0];
    assert_eq!((said.verified.len(), verified.good, verified.depth, verified.findings), (1, true, Depth::Bytes, 0));
    assert_eq!(verified.backup.manifest, manifest);
    assert!(verified.verified_at.is_some());
    let said = world.verify("--from store").env_remove("DR_PUBLIC_KEY").output().unwrap();
    assert!(support::said(&said, 0).stderr.contains("signatures of main are not checked"), "who knows no key is told so");
}

/// The file with single bits flipped.
fn flips(file: &PathBuf, step: usize) -> impl Iterator<Item = (PathBuf, Vec<u8>)> {
    let bytes = fs::read(file).unwrap();
    (0..bytes.len() * 8).step_by(step).map(move |bit| (file.clone(), flipped(&bytes, bit)))
}

#[test]
fn f68_every_single_bit_flip_is_found() {
    let world = World::new();
    let (_, others) = signed_and_others(&small(&world));
    assert_eq!(others.len(), 5, "{others:?}");
    let step = |file: &PathBuf| if file.file_name().unwrap().to_str().unwrap().starts_with("system.") { 3 } else { 1 };
    all_are_found(&world, false, others.iter().flat_map(|file| flips(file, step(file))));
}

#[test]
fn f68_bit_flips_in_what_only_a_signature_proves_are_found() {
    let world = World::new();
    let (signed, _) = signed_and_others(&small(&world));
    assert_eq!(signed.len(), 4, "{signed:?}");
    all_are_found(&world, true, signed.iter().flat_map(|file| flips(file, STEP)));
}

#[test]
fn f69_every_truncation_and_what_is_appended_is_found() {
    let world = World::new();
    let (signed, others) = signed_and_others(&small(&world));
    let more = |bytes: &[u8]| [&b"\n"[..], b"\0", b"x", b"\r\n", &[0; 4096]].map(|more| [bytes, more].concat());
    let changes = |file: &PathBuf, step: usize| {
        let (bytes, file) = (fs::read(file).unwrap(), file.clone());
        let lengths = (0..bytes.len()).rev().step_by(step);
        let cut: Vec<_> =
            lengths.map(|length| bytes[..length].to_vec()).chain(more(&bytes)).chain([vec![0; bytes.len()]]).collect();
        cut.into_iter().map(move |bytes| (file.clone(), bytes))
    };
    all_are_found(&world, false, others.iter().flat_map(|file| changes(file, 1)));
    all_are_found(&world, true, signed.iter().flat_map(|file| changes(file, STEP)));
}

#[test]
fn f70_all_pairs_that_are_swapped_are_found() {
    let world = World::new();
    let store = world.store("store");
    world.dump(&store, 1, b"one");
    world.dump(&store, 2, b"two");
    for number in [1, 2] {
        let name = segment(1, number);
        world.put(&store, &name, &segment_bytes(&name, 1));
    }
    let root = world.path("store");
    let all = files(&root);
    let pairs = all.iter().enumerate().flat_map(|(number, one)| all[number + 1..].iter().map(move |other| (one, other)));
    let mut command = world.verify("");
    command.env("DR_STATE", "/dev/null/none");
    let mut swapped = Vec::new();
    for (number, (one, other)) in pairs.enumerate() {
        let (left, right) = (fs::read(one).unwrap(), fs::read(other).unwrap());
        // The system and its claim are the same bytes.
        if left == right {
            continue;
        }
        let place = world.path(&format!("pair{number}"));
        copy_but(&root, &place, one, &right);
        write(&place.join(other.strip_prefix(&root).unwrap()), &left);
        command.arg("--from").arg(&place);
        swapped.push((place.display().to_string(), one, other));
    }
    assert!(swapped.len() > 70);
    let said = support::said(&command.output().unwrap(), 1);
    for (place, one, other) in swapped {
        let found = said.findings.iter().any(|finding| finding.store == place && finding.severity == Severity::Error);
        assert!(found, "{} and {}", one.display(), other.display());
    }
}

#[test]
fn f70_f71_what_is_another_clusters_or_was_forged_is_found() {
    let world = World::new();
    let store = world.store("store");
    let manifest = world.dump(&store, 1, b"one");
    let place = world.path("store/main/dump");
    fs::create_dir_all(world.path("store/other/dump")).unwrap();
    for file in files(&place) {
        fs::copy(&file, world.path("store/other/dump").join(file.file_name().unwrap())).unwrap();
    }
    let said = world.run("--from store --cluster other", 1);
    assert!(said.codes().contains(&"signature") || said.codes().contains(&"manifest"), "{said:?}");
    assert!(said.verified.is_empty());
    // Another object under the same name, with a manifest that fits it and an old signature.
    let forged = dr_pipe::record::Manifest { sha256: dr_pipe::Sha256::of(b"two"), ..manifest.clone() };
    write(&place.join(format!("{}.json", manifest.name)), &dr_catalogue::manifest::to_bytes(&forged));
    write(&place.join(&manifest.object), b"two");
    let said = world.run("--from store --cluster main", 1);
    assert_eq!(said.codes(), ["signature"]);
    assert_eq!(said.only().backup.as_ref(), Some(&manifest.name));
}

#[test]
fn f72_a_catalogue_that_is_older_than_before_is_found() {
    let world = World::new();
    let store = world.store("store");
    world.dump(&store, 1, b"one");
    let newest = world.dump(&store, 2, b"two");
    world.run("--from store", 0);
    for file in files(&world.path("store/main/dump")).iter().filter(|file| file.to_str().unwrap().contains(&newest.name)) {
        fs::remove_file(file).unwrap();
    }
    let said = world.run("--from store", 1);
    assert_eq!(said.only().code, "rolled-back");
    assert_eq!(said.verified.len(), 1);
    // All of the cluster, too.
    fs::remove_dir_all(world.path("store/main")).unwrap();
    assert_eq!(world.run("--from store", 1).only().code, "rolled-back");
}

#[test]
fn what_is_missing_is_told_and_the_rest_is_read() {
    let world = World::new();
    let store = world.store("store");
    let [lost, cut, unsigned, good] = [1, 2, 3, 4].map(|number| world.dump(&store, number, format!("dump {number}").as_bytes()));
    fs::remove_file(world.path("store").join(key(&lost))).unwrap();
    write(&world.path("store").join(key(&cut)), b"dump");
    fs::remove_file(world.path(&format!("store/main/dump/{}.json.minisig", unsigned.name))).unwrap();
    let said = world.run("--from store", 1);
    assert_eq!(said.codes(), ["missing", "size", "unsigned"]);
    let of = |code| said.findings.iter().find(|finding| finding.code == code).unwrap().backup.clone().unwrap();
    assert_eq!((of("missing"), of("size"), of("unsigned")), (lost.name.clone(), cut.name, unsigned.name));
    assert_eq!(said.verified.iter().map(|it| (&it.backup.manifest.name, it.good)).collect::<Vec<_>>(), [(&good.name, true)]);
    // One backup alone.
    assert_eq!(world.run(&format!("--from store {}", good.name), 0).verified.len(), 1);
    assert_eq!(world.run("--from store latest", 0).verified[0].backup.manifest.name, good.name);
    assert_eq!(world.run(&format!("--from store {}", lost.name), 1).only().code, "missing");
    let output = world.verify("--from store main_dump_2031").output().unwrap();
    assert_eq!(output.status.code(), Some(66));
}

#[test]
fn f24_what_others_may_read_is_found() {
    let world = World::new();
    let store = world.store("store");
    let manifest = world.dump(&store, 1, b"one");
    let object = world.path("store").join(key(&manifest));
    fs::set_permissions(&object, fs::Permissions::from_mode(0o640)).unwrap();
    let said = world.run("--from store --cluster main", 1);
    assert_eq!((said.only().code.as_str(), said.only().object.as_deref()), ("mode", Some(key(&manifest).as_str())));
    assert!(said.only().message.contains("0640") && said.verified[0].good);
    fs::set_permissions(&object, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(world.path("store/main"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(world.run("--from store", 1).only().object.as_deref(), Some("main"));
    fs::set_permissions(world.path("store/main"), fs::Permissions::from_mode(0o700)).unwrap();
    world.run("--from store", 0);
}

#[test]
fn f06_what_a_run_has_left_is_worth_a_note_after_two_days() {
    let world = World::new();
    let store = world.store("store");
    world.dump(&store, 1, b"one");
    let orphan = "main/dump/main_dump_20260120T020000Z_aaaa.tar.zst.age";
    store.put(orphan, b"left").unwrap();
    store.put("main/dump/notes", b"mine").unwrap();
    store.put("elsewhere/notes", b"mine").unwrap();
    store.put("main/probe/1/locked", b"dr-doctor(1) removes it").unwrap();
    let said = world.run("--from store", 0);
    assert_eq!(said.codes(), ["unknown"], "a run may be under way: {said:?}");
    let old = SystemTime::now() - Duration::from_secs(49 * 3600);
    for file in [orphan, "main/dump/notes"] {
        support::touch(&world.path("store").join(file), old);
    }
    let said = world.run("--from store", 0);
    assert_eq!(said.codes(), ["orphan", "orphan", "unknown"]);
    assert!(said.findings.iter().all(|finding| finding.severity == Severity::Note), "{said:?}");
}

#[test]
fn the_instructions_are_there_and_ours() {
    let world = World::new();
    let store = world.store("store");
    world.dump(&store, 1, b"one");
    write(&world.path("store/main/RECOVERY.txt"), b"Call 555-0100\n");
    let said = world.run("--from store", 0);
    assert_eq!((said.only().code.as_str(), said.only().severity), ("recovery", Severity::Note));
    fs::remove_file(world.path("store/main/RECOVERY.txt")).unwrap();
    assert_eq!(world.run("--from store", 1).only().code, "recovery");
}

#[test]
fn a_backup_from_the_future_is_found() {
    let world = World::new();
    let store = world.store("store");
    let mut manifest = support::dump(1, b"one");
    manifest.stored_at = chrono::Utc::now() + chrono::TimeDelta::days(1);
    world.seal(&store, &manifest, b"one");
    let said = world.run("--from store", 1);
    assert_eq!(said.only().code, "future");
    assert!(!said.verified[0].good && said.verified[0].findings == 1, "{said:?}");
}

#[test]
fn each_store_is_told_for_itself_and_one_that_fails_hides_nothing() {
    let world = World::new();
    let (near, far) = (world.store("near"), world.store("far"));
    let manifest = world.dump(&near, 1, b"one");
    world.dump(&far, 1, b"one");
    write(&world.path("far").join(key(&manifest)), b"eno");
    let output = world.verify("--from nowhere --from near --from far --from near").output().unwrap();
    let said = support::said(&output, 78);
    assert!(said.stderr.contains("nowhere") && said.stderr.contains("there is 1 error"), "{}", said.stderr);
    assert_eq!(
        said.verified.iter().map(|it| (it.backup.store.as_str(), it.good)).collect::<BTreeSet<_>>(),
        [("near", true), ("far", false)].into()
    );
    assert_eq!((said.only().code.as_str(), said.only().store.as_str()), ("digest", "far"));
    // Findings of a backup come before what is known of it.
    let lines = String::from_utf8(output.stdout).unwrap();
    let at = |text: &str| lines.find(text).unwrap();
    assert!(at("\"digest\"") < at("\"type\":\"verified\",\"store\":\"far\""), "{lines}");
}

#[test]
fn nothing_of_a_cluster_is_no_good_answer() {
    let world = World::new();
    let (near, _far) = (world.store("near"), world.store("far"));
    let absent = |arguments: &str| {
        let output = world.verify(arguments).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(66), 0), "{arguments}: {output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            stderr.starts_with("dr-verify: error: no backup is there\ndr-verify: hint: see whether the store, the cluster"),
            "{stderr}"
        );
        assert_eq!(stderr.lines().count(), 2, "{stderr}");
    };
    absent("--from near,far");
    world.dump(&near, 1, b"one");
    for options in ["", "--table", "--remembered", "--every 7d", "--max-bytes 1", "--max-duration 1h", "--no-wal", "--kind dump"] {
        absent(&format!("--from near,far --cluster other {options}"));
        // A store that lacks what is in another is named.
        let said = world.verify(&format!("--from near,far --cluster main {options}")).output().unwrap();
        let stderr = String::from_utf8(said.stderr).unwrap();
        assert_eq!((said.status.code(), stderr.as_str()), (Some(0), "dr-verify: warning: far: nothing of main is there\n"));
        let all = world.verify(&format!("--from near {options}")).output().unwrap();
        assert_eq!((all.status.code(), all.stderr.len()), (Some(0), 0), "{options}");
    }
    // Nothing is due any more, and WAL alone is something.
    assert!(world.run("--from near --cluster main --every 7d --max-bytes 1", 0).stderr.is_empty());
    let log = world.store("log");
    world.segments(&log, 1, [1]);
    for options in ["", "--no-wal", "--kind dump"] {
        assert!(world.run(&format!("--from log --cluster main {options}"), 0).stderr.is_empty(), "{options}");
    }
    // Where a store fails, nobody knows.
    let said = world.verify("--from far,nowhere --cluster other").output().unwrap();
    assert_eq!(said.status.code(), Some(78));
    // What was there and is gone is told as that.
    fs::remove_dir_all(world.path("near/main")).unwrap();
    assert!(world.run("--from near --cluster main", 1).codes().contains(&"rolled-back"));
}

#[test]
fn people_get_a_table_and_the_findings_below_it() {
    let world = World::new();
    let store = world.store("store");
    let manifest = world.dump(&store, 1, b"one");
    world.dump(&store, 2, b"two");
    write(&world.path("store").join(key(&manifest)), b"eno");
    let output = world.verify("--from store --table").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("NAME ") && text.contains(" bad ") && text.contains(" good "), "{text}");
    assert!(text.contains("  error digest: its bytes have the digest"), "{text}");
}

#[test]
fn a_mark_for_deletion_counts_if_it_is_in_the_hand_of_whoever_deletes() {
    let world = World::new();
    let store = world.store("store");
    let [marked, forged, kept] = [1, 2, 3].map(|number| world.dump(&store, number, format!("dump {number}").as_bytes()));
    world.bury(&store, &marked, true);
    let trusting = "--from store -p main.pub -p deleting.pub";
    let said = world.run(trusting, 0);
    assert!(said.findings.is_empty() && said.verified.len() == 2, "{said:?}");
    // Its manifest goes first.
    let folder = world.path("store/main/dump");
    for suffix in ["json", "json.minisig"] {
        fs::remove_file(folder.join(format!("{}.{suffix}", marked.name))).unwrap();
    }
    support::touch(&world.path("store").join(key(&marked)), SystemTime::now() - Duration::from_secs(49 * 3600));
    assert!(world.run(trusting, 0).findings.is_empty(), "it is no orphan");
    world.bury(&store, &forged, false);
    let said = world.run(trusting, 1);
    assert_eq!((said.only().code.as_str(), said.only().backup.as_ref()), ("tombstone", Some(&forged.name)));
    let mut good: Vec<_> = said.verified.iter().map(|it| (it.backup.manifest.name.as_str(), it.good)).collect();
    // Each is told when it has been read.
    good.sort_unstable();
    assert_eq!(good, [(forged.name.as_str(), false), (kept.name.as_str(), true)]);
}
