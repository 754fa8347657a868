//! dr-copy of WAL: what a target gets can be read from it, and what cannot be proved never gets there.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use dr_testing::s3::{BUCKET, Moto, S3sFs};
use dr_wal::{Error, Packing, Shelf, Shelved, Timeline, WalName};
use support::wal::{BYTES, Wal, name, segment};
use support::{NAMES, copied, records, run, states, stderr_of};

#[test]
fn f48_all_timelines_are_copied_byte_for_byte_and_can_be_read_from_the_copy() {
    let wal = Wal::new();
    wal.fill("near", 1, 1..6);
    wal.put("near", name(1, 5), &segment(name(1, 5), 7, 1));
    wal.put("near", WalName::Partial(name(1, 6)), &segment(name(1, 6), 7, 3));
    let history = b"1\t0/600100\tno recovery target specified\n";
    wal.put("near", WalName::History(Timeline(2)), history);
    wal.fill("near", 2, 6..9);
    let backup = WalName::Backup { segment: name(2, 7), offset: 0x28 };
    let text = b"START WAL LOCATION: 0/700028 (file 000000020000000000000007)\n";
    wal.put("near", backup, text);
    let store = wal.store("near");
    let key = wal.world.key();
    let packing =
        Packing { cluster: "main", recipients: Some(&wal.recipients), level: 1, signing_key: Some(&key), system_identifier: None };
    let shelf = Shelf::new(&store, "main");
    let whole = segment(name(2, 9), 7, 1);
    for (begin, end) in [(0, 8192), (8192, 20000)] {
        shelf.put_piece(name(2, 9), begin as u32, &whole[begin..end], &packing).unwrap();
    }
    // Nobody asks for the pieces of what is whole.
    shelf.put_piece(name(2, 8), 0, &segment(name(2, 8), 7, 1)[..8192], &packing).unwrap();
    store.put("main/wal/00000001/gap-0000000000000100-0000000000000200.json", b"{}\n").unwrap();
    store.put("main/wal/00000001/notes.txt", b"nobody's").unwrap();

    let output = wal.copy("--to far --to third");
    assert_eq!(stderr_of(&output, 0), "");
    assert_eq!(states(&output), ["copied far", "copied third"]);
    let mut expected = wal.world.files("near");
    expected.retain(|key, _| key.starts_with("main/wal/") && !key.contains("000008.part/") && !key.ends_with("notes.txt"));
    let far = wal.world.files("far");
    assert!(far.keys().eq(expected.keys()), "{:?}\n{:?}", far.keys(), expected.keys());
    assert!(far == expected && far == wal.world.files("third"));
    let record = &copied(&output)[0];
    assert_eq!((record.objects, record.kind, record.name.as_deref(), record.from.as_str()), (far.len() as u64, None, None, "near"));

    for (file, plain) in [
        (WalName::Segment(name(1, 1)), segment(name(1, 1), 7, 1)),
        (WalName::Segment(name(2, 8)), segment(name(2, 8), 7, 1)),
        (WalName::Partial(name(1, 6)), segment(name(1, 6), 7, 3)),
        (WalName::History(Timeline(2)), history.to_vec()),
        (backup, text.to_vec()),
    ] {
        assert!(wal.get("far", file).unwrap().unwrap() == plain, "{file}");
    }
    let streamed = wal.get("far", name(2, 9)).unwrap().unwrap();
    assert!(streamed[..20000] == whole[..20000]);

    let output = wal.copy("--to far");
    assert_eq!((stderr_of(&output, 0).as_str(), states(&output)), ("", vec!["present far".to_owned()]));
    let third = run(wal.world.command("--wal-only --cluster main --to fourth").env("DR_FROM", "far"), b"");
    stderr_of(&third, 0);
    assert!(wal.world.files("fourth") == far);
}

#[test]
fn backups_and_wal_go_together_and_what_is_new_is_all_that_goes_later() {
    let wal = Wal::new();
    wal.fill("near", 1, 1..4);
    let output = run(&mut wal.world.command("--wal --to far"), &records(&NAMES[..1]));
    assert_eq!(stderr_of(&output, 0), "");
    let all = copied(&output);
    assert_eq!(all.iter().map(|it| it.name.is_some()).collect::<Vec<_>>(), [true, false]);
    wal.fill("near", 1, 4..6);
    let output = run(&mut wal.world.command("--wal --cluster main --to far latest"), b"");
    stderr_of(&output, 0);
    assert_eq!(copied(&output).iter().map(|it| it.objects).collect::<Vec<_>>(), [0, 4]);
    // Without any record there is no backup to copy, and the WAL goes all the same.
    wal.fill("near", 1, 6..7);
    let output = run(&mut wal.world.command("--wal --cluster main --to far"), b"");
    stderr_of(&output, 66);
    assert_eq!(copied(&output)[0].objects, 2);
    assert!(stderr_of(&run(&mut wal.world.command("--wal-only --cluster other --to far"), b""), 66).contains("WAL of other"));
}

#[test]
fn f68_damaged_wal_is_never_copied_and_another_store_is_asked() {
    let wal = Wal::new();
    wal.fill("near", 1, 1..5);
    assert!(wal.world.shell("cp -r near second").status().unwrap().success());
    let (objects, _) = wal.paths("near", "000000010000000000000002");
    wal.world.damage(&objects[0]);
    let output = wal.copy("--to far");
    let stderr = stderr_of(&output, 65);
    assert!(stderr.contains("000000010000000000000002") && stderr.contains("not what was claimed"), "{stderr}");
    assert!(copied(&output).is_empty(), "not all of it is there");
    assert!(!wal.names("far").iter().any(|key| key.contains("000000010000000000000002")), "{:?}", wal.names("far"));
    assert!(wal.get("far", name(1, 4)).unwrap().is_some(), "the others are");

    let output = wal.copy("--from near --from second --to far");
    assert!(stderr_of(&output, 0).contains("copied from another store"));
    assert_eq!(copied(&output)[0].objects, 2);
    assert!(wal.get("far", name(1, 2)).unwrap().unwrap() == segment(name(1, 2), 7, 1));
    // Without a claim nobody knows what it holds.
    let (_, claims) = wal.paths("near", "000000010000000000000003");
    fs::remove_file(&claims[0]).unwrap();
    assert!(stderr_of(&wal.copy("--to third"), 65).contains("no claim"));
    assert_eq!(wal.names("third").iter().filter(|key| key.ends_with(".age")).count(), 2);
}

#[test]
fn f71_wal_that_no_trusted_key_has_claimed_is_not_copied() {
    let wal = Wal::new();
    wal.fill("near", 1, 1..3);
    let (_, claims) = wal.paths("near", "000000010000000000000001");
    let text = fs::read_to_string(&claims[0]).unwrap();
    fs::write(&claims[0], text.replace("\"system_identifier\":\"7\"", "\"system_identifier\":\"8\"")).unwrap();
    stderr_of(&wal.copy("--to far"), 81);
    assert!(!wal.names("far").iter().any(|key| key.contains("000000010000000000000001")));
    assert!(wal.get("far", name(1, 2)).unwrap().is_some());
}

#[test]
fn f44_two_contents_of_one_name_are_both_copied_and_a_third_is_an_alarm() {
    let wal = Wal::new();
    wal.fill("near", 1, 1..2);
    assert!(matches!(wal.put("near", name(1, 1), &segment(name(1, 1), 7, 2)), Shelved::Conflict { .. }));
    stderr_of(&wal.copy("--to far"), 0);
    let mut near = wal.world.files("near");
    near.retain(|key, _| key.starts_with("main/wal/"));
    assert!(wal.world.files("far") == near);
    assert!(matches!(wal.get("far", name(1, 1)), Err(Error::Conflict { .. })));

    wal.put("other", name(1, 1), &segment(name(1, 1), 7, 3));
    let before = wal.world.files("other");
    let stderr = stderr_of(&wal.copy("--to other"), 65);
    assert!(stderr.contains("with another content"), "{stderr}");
    assert!(wal.world.files("other") == before, "it is left as it is");
}

#[test]
fn f43_what_a_push_has_left_in_the_target_is_completed_and_another_packing_is_no_conflict() {
    let wal = Wal::new();
    wal.fill("near", 1, 1..5);
    wal.fill("far", 1, 1..5);
    let gone = |number: u32, what: &str| {
        let (objects, claims) = wal.paths("far", &name(1, number).to_string());
        let files = if what == "object" { objects } else { claims };
        files.iter().for_each(|file| fs::remove_file(file).unwrap());
    };
    // The claim of a packing whose object never came; an object whose claim never came; and both, whole.
    gone(1, "object");
    gone(2, "claim");
    let stderr = stderr_of(&wal.copy("--to far"), 65);
    assert!(stderr.contains("000000010000000000000002") && stderr.contains("with another content"), "{stderr}");
    let (objects, claims) = wal.paths("far", "000000010000000000000001");
    assert_eq!((objects.len(), claims.len()), (1, 2), "a claim of the object that there is");
    for number in [1, 3, 4] {
        assert!(wal.get("far", name(1, number)).unwrap().unwrap() == segment(name(1, number), 7, 1), "{number}");
    }
    // Of the very same packing, the object itself tells.
    stderr_of(&wal.copy("--to third"), 0);
    let (_, claims) = wal.paths("third", "000000010000000000000002");
    fs::remove_file(&claims[0]).unwrap();
    stderr_of(&wal.copy("--to third"), 0);
    assert!(wal.get("third", name(1, 2)).unwrap().is_some());
}

#[test]
fn f43_what_was_mended_is_copied_without_what_is_broken() {
    let wal = Wal::new();
    wal.fill("near", 1, 1..3);
    let (objects, _) = wal.paths("near", "000000010000000000000001");
    fs::write(&objects[0], b"cut off").unwrap();
    assert!(matches!(wal.put("near", name(1, 1), &segment(name(1, 1), 7, 1)), Shelved::Mended { .. }));
    for _ in 0..2 {
        let stderr = stderr_of(&wal.copy("--to far"), 0);
        assert!(stderr.contains("is read in its place"), "{stderr}");
        assert!(wal.get("far", name(1, 1)).unwrap().unwrap() == segment(name(1, 1), 7, 1));
    }
}

#[test]
fn f45_wal_of_another_system_is_not_mixed_in() {
    let wal = Wal::new();
    wal.fill("near", 1, 1..3);
    wal.put("far", name(1, 1), &segment(name(1, 1), 8, 1));
    let before = wal.world.files("far");
    assert!(stderr_of(&wal.copy("--to far"), 65).contains("this WAL is of system"));
    assert!(wal.world.files("far") == before);
    stderr_of(&wal.copy("--from near --from far --to third"), 65);
    assert!(wal.world.names("third").is_empty());
}

#[test]
fn f47_the_copy_never_has_a_hole_that_the_source_has_not() {
    let wal = Wal::new();
    wal.put("near", WalName::History(Timeline(2)), b"1\t0/600100\tx\n");
    wal.fill("near", 1, 1..30);
    wal.fill("near", 2, 6..12);
    let mut kills = 0;
    for n in [2, 3, 4, 5, 6, 7, 8, 9, 10] {
        let line = format!(
            "exec strace -f -qq -o /dev/null -e trace=linkat -e inject=linkat:signal=KILL:when={n} \
             $COPY --wal-only --cluster main --jobs 1 --to far"
        );
        let output = wal.world.shell(&line).env("DR_STATE", format!("state{n}")).output().unwrap();
        kills += usize::from(output.status.code() != Some(0));
        let store = wal.store("far");
        let inventory = Shelf::new(&store, "main").inventory().unwrap();
        for (timeline, first) in [(1, 1), (2, 6)] {
            let there: Vec<_> = inventory.segments(Timeline(timeline)).map(|it| it.number).collect();
            let expected: Vec<_> = (first..).take(there.len()).collect();
            assert_eq!(there, expected, "killed at {n}");
            if let Some(last) = there.last() {
                assert!(wal.get("far", name(timeline, *last)).unwrap().is_some());
                assert!(inventory.histories().eq([Timeline(2)]), "where timelines come from is there first");
            }
        }
    }
    assert_eq!(kills, 9, "all are killed on the way");
    stderr_of(&wal.copy("--to far"), 0);
    let (mut near, mut far) = (wal.world.files("near"), wal.world.files("far"));
    near.retain(|key, _| key.starts_with("main/wal/"));
    far.retain(|key, _| !key.contains(".tmp-"));
    assert!(far == near);
}

#[test]
fn old_wal_can_be_left_out() {
    let wal = Wal::new();
    wal.put("near", WalName::History(Timeline(2)), b"1\t0/300100\tx\n");
    wal.fill("near", 1, 1..4);
    wal.fill("near", 2, 3..6);
    stderr_of(&wal.copy("--to far --wal-since 000000010000000000000003"), 0);
    for (file, there) in [(name(1, 2), false), (name(1, 3), true), (name(2, 3), true), (name(2, 5), true)] {
        assert_eq!(wal.get("far", file).unwrap().is_some(), there, "{file}");
    }
    assert!(wal.get("far", WalName::History(Timeline(2))).unwrap().is_some());

    let aged = wal.world.shell("find near/main/wal/00000001 -type f | xargs touch -d '3 days ago'").status().unwrap();
    assert!(aged.success());
    stderr_of(&wal.copy("--to third --wal-since 2d"), 0);
    assert!(wal.get("third", name(1, 3)).unwrap().is_none() && wal.get("third", name(2, 3)).unwrap().is_some());
}

#[test]
fn a_large_segment_is_carried_without_being_held_in_memory() {
    let wal = Wal::new();
    let bytes: u32 = 64 << 20;
    let mut plain = segment(name(1, 1), 7, 1);
    plain[8..16].copy_from_slice(&u64::from(bytes).to_ne_bytes());
    plain[32..36].copy_from_slice(&bytes.to_ne_bytes());
    // What does not compress.
    let mut state = 1_u64;
    plain.extend((0..(bytes - BYTES) / 8).flat_map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state ^ (state >> 29)).to_le_bytes()
    }));
    wal.put("near", name(1, 1), &plain);
    let output = run(&mut wal.world.shell("ulimit -v 400000; exec $COPY --wal-only --cluster main --to far"), b"");
    stderr_of(&output, 0);
    assert!(wal.get("far", name(1, 1)).unwrap().unwrap() == plain);
    let (objects, _) = wal.paths("near", "000000010000000000000001");
    wal.world.damage(&objects[0]);
    stderr_of(&wal.copy("--to third"), 65);
    assert!(!wal.names("third").iter().any(|key| key.contains("000000010000000000000001")));
}

#[test]
fn wal_goes_to_a_bucket_and_comes_back_the_same() {
    let (wal, server) = (Wal::new(), S3sFs::start());
    wal.put("near", WalName::History(Timeline(2)), b"1\t0/600100\tx\n");
    wal.fill("near", 1, 1..20);
    let copy =
        |arguments: &str| run(wal.world.command(&format!("--wal-only --cluster main {arguments}")).envs(server.environment()), b"");
    let output = copy("--to s3://dr-test/pg");
    assert_eq!(stderr_of(&output, 0), "");
    // Twenty files with their claims, and two objects that say which system it is.
    assert_eq!(copied(&output)[0].objects, 42);
    let output = copy("--to s3://dr-test/pg");
    assert_eq!(states(&output), ["present s3://dr-test/pg"]);
    stderr_of(&copy("--from s3://dr-test/pg --to back"), 0);
    let mut near = wal.world.files("near");
    near.retain(|key, _| key.starts_with("main/wal/"));
    assert!(wal.world.files("back") == near);
}

#[test]
fn wal_never_goes_to_cold_storage_and_segments_alone_to_any_other_class() {
    let (wal, server) = (Wal::new(), Moto::start());
    wal.put("near", WalName::History(Timeline(2)), b"1\t0/600100\tx\n");
    wal.fill("near", 1, 1..3);
    for (asked, kept) in [("GLACIER", "STANDARD"), ("DEEP_ARCHIVE", "STANDARD"), ("GLACIER_IR", "GLACIER_IR")] {
        let copy = || {
            let arguments = format!("--wal-only --cluster main --to s3://dr-test/{asked} --storage-class {asked} --lock-until +1d");
            run(wal.world.command(&arguments).envs(server.environment()), b"")
        };
        let output = copy();
        assert_eq!(stderr_of(&output, 0), "");
        let record = &copied(&output)[0];
        assert_eq!((record.storage_class.as_deref().unwrap_or("STANDARD"), record.locked_until.is_some()), (kept, true), "{asked}");
        for key in wal.names("near") {
            let head = server.send("HEAD", &format!("/{BUCKET}/{asked}/{key}"), "").to_lowercase();
            let (object, segment) = (key.ends_with(".age"), key.contains("/0000000100000000"));
            assert!(head.starts_with("http/1.1 200"), "{key}: {head}");
            assert!(!head.contains("storage-class: glacier\r") && !head.contains("deep_archive"), "{key}: {head}");
            assert_eq!(head.contains("storage-class: glacier_ir"), asked == kept && object && segment, "{key}: {head}");
            assert_eq!(head.contains("retain-until"), object, "{key}: {head}");
        }
        assert_eq!(states(&copy()), [format!("present s3://dr-test/{asked}")]);
    }
}

#[test]
fn f17_wal_that_does_not_fit_is_an_error_and_ends_the_copying_there_alone() {
    let wal = Wal::new();
    wal.fill("near", 1, 1..60);
    fs::create_dir(wal.world.path("mount")).unwrap();
    if !wal.world.shell("mount -t tmpfs -o size=256k,mode=700 none mount").status().unwrap().success() {
        println!("skipped: this user may not mount a tmpfs");
        return;
    }
    let output = wal.copy("--to mount/store --to far");
    let full = wal.world.files("mount/store");
    assert!(wal.world.shell("umount mount").status().unwrap().success());
    let stderr = stderr_of(&output, 74);
    assert!(stderr.contains("No space left on device") && stderr.lines().count() < 20, "{stderr}");
    assert_eq!(states(&output), ["copied far"]);
    let far = wal.world.files("far");
    assert!(full.iter().all(|(key, bytes)| far[key] == *bytes));
}
