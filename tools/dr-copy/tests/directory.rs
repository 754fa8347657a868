//! dr-copy between directories: what is copied is whole and signed, or is not there.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use dr_catalogue::{SigningKey, Tombstone, manifest, signature, tombstone};
use dr_pipe::record::{Depth, Finding, Record, Severity, Verified};
use support::{NAMES, World, content, copied, manifest_of, records, run, states, stderr_of};

#[test]
fn a_copy_is_the_same_byte_for_byte_and_so_is_a_copy_of_it() {
    let world = World::new(700_000);
    world.back_up("near", NAMES[1], &content(5));
    let output = world.copy(&NAMES, "--to far");
    assert_eq!(stderr_of(&output, 0), "");
    let mut records = copied(&output);
    records.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(states(&output), ["copied far", "copied far"]);
    assert_eq!(
        (records[0].name.as_deref(), records[0].from.as_str(), records[0].cluster.as_str()),
        (Some(NAMES[0]), "near", "main")
    );
    // Object, signature and manifest; and RECOVERY.txt by one of the two.
    assert_eq!(records.iter().map(|it| it.objects).sum::<u64>(), 7);
    let written: usize = world.files("far").values().map(Vec::len).sum();
    assert_eq!(records.iter().map(|it| it.bytes).sum::<u64>(), written as u64);

    stderr_of(&run(world.command("--to third").env("DR_FROM", "far"), &support::records(&NAMES)), 0);
    let (mut near, far) = (world.files("near"), world.files("far"));
    near.insert("main/RECOVERY.txt".into(), dr_catalogue::RECOVERY.into());
    assert!(near == far && far == world.files("third"));
    let mode = fs::metadata(world.file("far", NAMES[0], ".json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn what_is_there_already_is_passed_over() {
    let world = World::new(700_000);
    stderr_of(&world.copy(&NAMES[..1], "--to far"), 0);
    let before = fs::metadata(world.file("far", NAMES[0], ".tar.zst.age")).unwrap().modified().unwrap();
    world.back_up("near", NAMES[1], b"x");
    let output = world.copy(&[NAMES[0], NAMES[1], NAMES[0]], "--to far");
    assert_eq!(stderr_of(&output, 0), "");
    assert_eq!(states(&output), ["copied far", "present far"], "each backup once");
    let present = copied(&output).into_iter().find(|it| it.state == "present").unwrap();
    assert_eq!((present.objects, present.bytes), (0, 0));
    assert_eq!(fs::metadata(world.file("far", NAMES[0], ".tar.zst.age")).unwrap().modified().unwrap(), before);
}

#[test]
fn one_backup_can_be_named() {
    let world = World::new(9);
    world.back_up("near", NAMES[1], b"x");
    for (named, count) in [("main_dump_20260125", 1), ("latest", 2), ("--cluster main --kind dump --database shop latest", 2)] {
        let output = run(&mut world.command(&format!("--to far {named}")), b"");
        stderr_of(&output, 0);
        assert_eq!(world.names("far").iter().filter(|name| name.ends_with(".json")).count(), count, "{named}");
    }
    assert!(stderr_of(&run(&mut world.command("--to far main_dump_2025"), b""), 66).contains("main_dump_2025"));
    stderr_of(&run(&mut world.command("--to far --database other latest"), b""), 66);
}

#[test]
fn records_of_other_things_are_passed_over_and_what_is_no_backup_is_refused() {
    let world = World::new(9);
    let backup = dr_pipe::record::read(&mut records(&NAMES[..1]).as_slice()).unwrap().remove(0);
    let Record::Backup(backup) = backup else { panic!("a backup") };
    let verified = Verified { backup: *backup, good: false, depth: Depth::Bytes, verified_at: None, findings: 1 };
    let finding = Finding {
        severity: Severity::Note,
        code: "orphan".into(),
        store: "near".into(),
        cluster: None,
        backup: None,
        object: None,
        offset_bytes: None,
        message: "m".into(),
        hint: "h".into(),
        found_at: "2026-01-25T02:00:00Z".parse().unwrap(),
    };
    let mut lines = Vec::new();
    for record in [Record::Finding(Box::new(finding)), Record::Verified(Box::new(verified))] {
        dr_pipe::record::write(&mut lines, &record).unwrap();
    }
    let output = run(&mut world.command("--to far"), &lines);
    stderr_of(&output, 0);
    assert_eq!(states(&output), ["copied far"]);

    for (input, code, says) in [
        (&b""[..], 66, "standard input is empty"),
        (b"{\"type\":\"start\",\"tool\":\"x\",\"started_at\":\"2026-01-25T02:00:00Z\",\"suffix\":\"\"}\n", 65, "none of a backup"),
        (b"x\n", 65, "record line 1"),
    ] {
        let stderr = stderr_of(&run(&mut world.command("--to other"), input), code);
        assert!(stderr.contains(says), "{stderr}");
    }
    let elsewhere = String::from_utf8(records(&NAMES[..1])).unwrap();
    for (from, to) in [(r#""cluster":"main""#, r#""cluster":"../main""#), (NAMES[0], "../../x")] {
        stderr_of(&run(&mut world.command("--to other"), elsewhere.replace(from, to).as_bytes()), 65);
    }
    assert_eq!(states(&run(&mut world.command("--to other --cluster other"), elsewhere.as_bytes())), Vec::<String>::new());
    assert!(world.names("other").is_empty());
}

#[test]
fn f68_a_flipped_bit_is_never_published_and_another_store_is_asked() {
    let world = World::new(700_000);
    world.back_up("second", NAMES[0], &content(700_000));
    world.damage(&world.file("near", NAMES[0], ".tar.zst.age"));
    let stderr = stderr_of(&world.copy(&NAMES[..1], "--to far"), 65);
    assert!(stderr.contains("near/main/dump") && stderr.contains("it must be 700000"), "{stderr}");
    assert!(world.names("far").is_empty(), "{:?}", world.names("far"));

    let output = world.copy(&NAMES[..1], "--from near --from second --to far");
    let stderr = stderr_of(&output, 0);
    assert!(stderr.starts_with("dr-copy: warning: near: ") && stderr.contains("going on with second"), "{stderr}");
    assert_eq!(copied(&output)[0].from, "second");
    assert!(world.files("far")[&format!("main/dump/{}.tar.zst.age", NAMES[0])] == content(700_000));
}

#[test]
fn f69_an_object_that_is_cut_short_or_gone_is_never_published() {
    let world = World::new(9);
    for length in 0..9 {
        fs::write(world.file("near", NAMES[0], ".tar.zst.age"), &content(9)[..length]).unwrap();
        let stderr = stderr_of(&world.copy(&NAMES[..1], "--to far"), 65);
        assert!(stderr.contains(&format!("has {length} bytes")), "{stderr}");
    }
    fs::remove_file(world.file("near", NAMES[0], ".tar.zst.age")).unwrap();
    stderr_of(&world.copy(&NAMES[..1], "--to far"), 66);
    assert!(world.names("far").is_empty());
}

#[test]
fn f70_what_was_swapped_or_renamed_is_not_copied() {
    let world = World::new(9);
    world.back_up("near", NAMES[1], b"otherwise");
    let swap = |suffix: &str| {
        let [one, other] = NAMES.map(|name| world.file("near", name, suffix));
        let (left, right) = (fs::read(&one).unwrap(), fs::read(&other).unwrap());
        fs::write(&one, right).unwrap();
        fs::write(&other, left).unwrap();
    };
    for (suffixes, code) in
        [(&[".tar.zst.age"][..], 65), (&[".json"], 81), (&[".json.minisig"], 81), (&[".json", ".json.minisig"], 81)]
    {
        suffixes.iter().for_each(|suffix| swap(suffix));
        stderr_of(&world.copy(&NAMES, "--to far"), code);
        assert!(world.names("far").is_empty(), "{suffixes:?}");
        suffixes.iter().for_each(|suffix| swap(suffix));
    }
    stderr_of(&world.copy(&NAMES, "--to far"), 0);
}

#[test]
fn f71_what_no_trusted_key_has_signed_is_not_copied() {
    let world = World::new(9);
    let good = fs::read(world.file("near", NAMES[0], ".json")).unwrap();
    let mut forged = manifest_of(NAMES[0], &content(9));
    forged.tags.push("pin=forged".into());
    fs::write(world.file("near", NAMES[0], ".json"), manifest::to_bytes(&forged)).unwrap();
    let stderr = stderr_of(&world.copy(&NAMES[..1], "--to far"), 81);
    assert!(stderr.contains(NAMES[0]), "{stderr}");
    // Where no key is known, it is what it says.
    stderr_of(&run(world.command("--to unchecked").env_remove("DR_PUBLIC_KEY"), &records(&NAMES[..1])), 0);

    fs::write(world.file("near", NAMES[0], ".json"), good).unwrap();
    fs::remove_file(world.file("near", NAMES[0], ".json.minisig")).unwrap();
    stderr_of(&world.copy(&NAMES[..1], "--to far"), 81);
    assert!(world.names("far").is_empty());
    world.back_up("second", NAMES[0], &content(9));
    let output = world.copy(&NAMES[..1], "--from near --from second --to far");
    assert!(stderr_of(&output, 0).contains("going on with second"));
}

#[test]
fn several_targets_get_it_at_once_and_one_that_fails_keeps_no_other_from_it() {
    let world = World::new(700_000);
    let output = world.copy(&NAMES[..1], "--to far --to third");
    assert_eq!(stderr_of(&output, 0), "");
    assert_eq!(states(&output), ["copied far", "copied third"]);
    assert!(world.files("far") == world.files("third"));

    world.back_up("near", NAMES[1], b"x");
    fs::write(world.path("file"), "").unwrap();
    world.damage(&world.file("third", NAMES[0], ".json"));
    let output = world.copy(&NAMES, "--to far --to third --to file");
    let stderr = stderr_of(&output, 74);
    assert!(
        stderr.contains("says something else") && stderr.contains("file: ") && stderr.contains("only what is missing"),
        "{stderr}"
    );
    assert_eq!(states(&output), ["copied far", "copied third", "present far"]);
}

#[test]
fn one_backup_that_fails_keeps_no_other_from_being_copied_and_the_worst_is_told_last() {
    let world = World::new(9);
    world.back_up("near", NAMES[1], b"x");
    world.damage(&world.file("near", NAMES[0], ".tar.zst.age"));
    let output = world.copy(&["main_dump_20260101T020000Z_aaaa", NAMES[0], NAMES[1]], "--to far");
    let stderr = stderr_of(&output, 66);
    let lines: Vec<_> = stderr.lines().collect();
    assert!(lines[0].starts_with("dr-copy: warning: ") && lines[0].contains("it must be 9"), "{stderr}");
    assert!(lines[1].starts_with("dr-copy: error: main_dump_20260101T020000Z_aaaa: "), "{stderr}");
    assert_eq!((lines.len(), states(&output)), (3, vec!["copied far".into()]));
}

#[test]
fn f21_what_has_the_name_is_left_as_it_is_and_what_is_the_same_is_taken() {
    let world = World::new(700_000);
    // Of a run that was killed between the object and its manifest.
    world.mark("far");
    fs::create_dir_all(world.path("far/main/dump")).unwrap();
    let object = world.file("far", NAMES[0], ".tar.zst.age");
    fs::write(&object, content(700_000)).unwrap();
    let output = world.copy(&NAMES[..1], "--to far");
    stderr_of(&output, 0);
    let record = &copied(&output)[0];
    assert_eq!((record.state.as_str(), record.objects), ("copied", 3), "all but the object");

    for suffix in [".json", ".json.minisig"] {
        let file = world.file("far", NAMES[0], suffix);
        let good = fs::read(&file).unwrap();
        world.damage(&file);
        // A signature is looked at where it may have to be written, which its manifest says.
        fs::remove_file(world.file("far", NAMES[0], ".json"))
            .or_else(|error| if suffix == ".json" { Ok(()) } else { Err(error) })
            .unwrap();
        if suffix == ".json" {
            fs::write(&file, b"{}").unwrap();
        }
        let stderr = stderr_of(&world.copy(&NAMES[..1], "--to far"), 65);
        assert!(stderr.contains(suffix) && stderr.contains("left as it is"), "{stderr}");
        fs::write(&file, good).unwrap();
        fs::copy(world.file("near", NAMES[0], ".json"), world.file("far", NAMES[0], ".json")).unwrap();
    }
    // What was lost beside the manifest is copied again.
    for suffix in [".tar.zst.age", ".json.minisig"] {
        fs::remove_file(world.file("far", NAMES[0], suffix)).unwrap();
        assert_eq!(copied(&world.copy(&NAMES[..1], "--to far"))[0].objects, 1, "{suffix}");
    }
    assert!(world.files("far").iter().all(|(name, bytes)| world.files("near").get(name).is_none_or(|near| near == bytes)));

    fs::remove_file(world.file("far", NAMES[0], ".json")).unwrap();
    world.damage(&object);
    let other = fs::read(&object).unwrap();
    for bytes in [&other[..], b"short"] {
        fs::write(&object, bytes).unwrap();
        let stderr = stderr_of(&world.copy(&NAMES[..1], "--to far"), 65);
        assert!(stderr.contains("with other bytes") && stderr.contains("dr-delete --unsealed"), "{stderr}");
        assert_eq!(fs::read(&object).unwrap(), bytes);
        assert!(!world.file("far", NAMES[0], ".json").exists());
    }
}

#[test]
fn a_backup_that_is_marked_for_deletion_is_copied_only_if_it_is_named() {
    let world = World::new(9);
    let keys = world.shell("minisign -GW -p deletes.pub -s deletes.key >&2").output().unwrap();
    assert!(keys.status.success(), "minisign makes keys: scripts/setup test installs it");
    let mark = |store: &str| {
        let manifest = manifest_of(NAMES[0], &content(9));
        let at = "2026-01-25T02:00:00Z".parse().unwrap();
        let tombstone = Tombstone {
            format: 1,
            cluster: "main".into(),
            kind: manifest.kind,
            name: NAMES[0].into(),
            object: manifest.object,
            sha256: manifest.sha256,
            bytes: manifest.bytes,
            reasons: vec!["old".into()],
            deleted_at: at,
            not_before_at: at,
            host: "h".into(),
        };
        let key = SigningKey::load(world.path("deletes.key").to_str().unwrap()).unwrap();
        let text = tombstone.to_bytes();
        fs::write(world.file(store, NAMES[0], ".tombstone.minisig"), tombstone::sign(&key, &text, &tombstone.stem())).unwrap();
        fs::write(world.file(store, NAMES[0], ".tombstone"), &text).unwrap();
    };
    mark("near");
    let both = "--public-key main.pub --public-key deletes.pub";
    let stderr = stderr_of(&world.copy(&NAMES[..1], &format!("{both} --to far")), 66);
    assert!(stderr.contains("marked for deletion"), "{stderr}");
    // One that a key has signed which nobody trusts hides nothing.
    stderr_of(&world.copy(&NAMES[..1], "--to believed"), 0);
    let stderr = stderr_of(&run(&mut world.command(&format!("{both} --to far {}", NAMES[0])), b""), 0);
    assert!(stderr.contains("is marked for deletion"), "{stderr}");
    assert!(!world.file("far", NAMES[0], ".tombstone").exists());

    for suffix in [".tombstone", ".tombstone.minisig"] {
        fs::remove_file(world.file("near", NAMES[0], suffix)).unwrap();
    }
    mark("far");
    let stderr = stderr_of(&world.copy(&NAMES[..1], &format!("{both} --to far")), 73);
    assert!(stderr.contains("in far it is marked for deletion"), "{stderr}");
}

#[test]
fn f17_a_full_target_is_an_error_and_what_was_there_stays() {
    let world = World::new(100_000);
    fs::create_dir(world.path("mount")).unwrap();
    let mounted = world.shell("mount -t tmpfs -o size=1m,mode=700 none mount").output().unwrap();
    if !mounted.status.success() {
        println!("skipped: this user may not mount a tmpfs");
        return;
    }
    let others: Vec<String> = (0..5).map(|n| format!("main_dump_2026020{}T020000Z_7f3a", n + 1)).collect();
    others.iter().zip([3, 9, 13, 15, 17]).for_each(|(name, size)| world.back_up("near", name, &content(size << 16)));
    let outcomes: Vec<_> = [NAMES[0]]
        .into_iter()
        .chain(others.iter().map(String::as_str))
        .map(|name| (name, world.copy(&[name], "--to mount/store --to far")))
        .collect();
    let full = world.files("mount/store");
    assert!(world.shell("umount mount").output().unwrap().status.success());
    let mut failed = 0;
    for (name, output) in &outcomes {
        let there = full.contains_key(&format!("main/dump/{name}.json"));
        if output.status.code() == Some(0) {
            assert!(there, "{name}");
            continue;
        }
        let stderr = stderr_of(output, 74);
        assert!(stderr.contains("No space left on device") && !there, "{stderr}");
        assert_eq!(states(output), ["copied far"], "the other target has it");
        failed += 1;
    }
    assert!((1..=4).contains(&failed), "{failed} did not fit");
    assert!(full.iter().all(|(name, bytes)| world.files("far")[name] == *bytes), "{:?}", full.keys());
    assert!(!full.keys().any(|name| name.contains(".tmp-")), "{:?}", full.keys());
}

#[test]
fn f22_a_target_or_a_source_that_is_not_mounted_is_refused() {
    let world = World::new(9);
    fs::remove_file(world.path("near/dr-store.json")).unwrap();
    assert!(stderr_of(&world.copy(&NAMES[..1], "--to far"), 78).contains("not mounted?"));
    assert!(!world.path("far").exists(), "nothing is made where nothing can be read");
    world.back_up("second", NAMES[0], b"x");
    let stderr = stderr_of(&world.copy(&NAMES[..1], "--from near --from second --to far"), 0);
    assert!(stderr.starts_with("dr-copy: warning: near: "), "{stderr}");
    // An id of another store than was there before.
    fs::remove_file(world.path("far/dr-store.json")).unwrap();
    world.mark("far");
    assert!(stderr_of(&world.copy(&NAMES[..1], "--to far --from second"), 78).contains("another store is in its place"));
}

/// Kills a run at every call of a kind in turn; after each, the target shows a whole backup or none, and a second run completes it.
fn killed_at_every(call: &str, arguments: &str, at_least: usize) {
    let world = World::new(300_000);
    let mut kills = 0;
    for n in 1.. {
        let line = format!(
            "exec strace -f -qq -o /dev/null -e trace={call} -e inject={call}:signal=KILL:when={n} $COPY --to far{n} {arguments}"
        );
        // What it remembers of stores would grow from run to run, and with it the number of calls.
        let output = run(world.shell(&line).env("DR_STATE", format!("state{n}")), &records(&NAMES[..1]));
        let far = format!("far{n}");
        let files = world.files(&far);
        let manifest = format!("main/dump/{}.json", NAMES[0]);
        if files.contains_key(&manifest) {
            for (name, bytes) in world.files("near") {
                assert!(files.get(&name) == Some(&bytes), "killed at {call} {n}: {name}");
            }
        }
        if output.status.code() == Some(0) {
            break;
        }
        kills += 1;
        stderr_of(&world.copy(&NAMES[..1], &format!("--to {far}")), 0);
        let whole = world.files(&far);
        assert!(world.files("near").iter().all(|(name, bytes)| whole.get(name) == Some(bytes)), "after {call} {n}");
    }
    assert!(kills >= at_least, "{kills} calls of {call}");
}

#[test]
fn f05_a_run_that_is_killed_at_any_name_or_sync_leaves_no_partial_backup_and_the_next_completes_it() {
    // The marker of a store, the object, RECOVERY.txt, signature and manifest.
    killed_at_every("linkat", "", 5);
    killed_at_every("fsync", "", 15);
}

#[test]
fn f05_a_run_that_is_killed_at_any_write_leaves_no_partial_backup_and_the_next_completes_it() {
    killed_at_every("write", "", 6);
}

#[test]
fn f21_many_that_copy_the_same_at_once_are_in_nobodys_way() {
    let world = World::new(700_000);
    let outputs: Vec<_> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8).map(|_| scope.spawn(|| world.copy(&NAMES[..1], "--to far"))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    outputs.iter().for_each(|output| drop(stderr_of(output, 0)));
    let far = world.files("far");
    assert!(world.files("near").iter().all(|(name, bytes)| far.get(name) == Some(bytes)));
    assert_eq!(far.len(), 4, "{:?}", far.keys());
}

#[test]
fn a_store_is_not_copied_onto_itself() {
    let world = World::new(9);
    let link = world.shell("ln -s near alias").status().unwrap();
    assert!(link.success());
    for to in ["near", "alias", "./near/"] {
        let stderr = stderr_of(&world.copy(&NAMES[..1], &format!("--to {to}")), 64);
        assert!(stderr.contains("a store that --from names"), "{stderr}");
    }
    stderr_of(&world.copy(&NAMES[..1], "--to far --to far"), 64);
    stderr_of(&world.copy(&NAMES[..1], "--to far --to ./far"), 64);
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    let world = World::new(9);
    for arguments in [
        "",
        "--to far --wal-only",
        "--to far --wal-only --wal --cluster main",
        "--to far --wal-only --cluster main latest",
        "--to far --jobs 0",
        "--to far --wal-since yesterday",
        "--to far --lock-until +1d",
        "--to far --lock-until 2020-01-01T00:00:00Z",
        "--to far --as-of 2026-01-25T02:00:00Z",
    ] {
        let stderr = stderr_of(&world.copy(&NAMES[..1], arguments), 64);
        assert_eq!(stderr.lines().count(), 2, "{stderr}");
    }
    let stderr = stderr_of(&run(world.command("--to far").env_remove("DR_FROM"), &records(&NAMES[..1])), 64);
    assert!(stderr.contains("no store is named"), "{stderr}");
}

#[test]
fn a_reader_that_goes_away_is_told_of_and_loses_no_copy() {
    let world = World::new(9);
    let output = run(&mut world.shell("exec $COPY --to far >/dev/full"), &records(&NAMES[..1]));
    assert!(stderr_of(&output, 74).contains("what is copied is there all the same"));
    assert!(
        signature::verify(
            &[world.public_key()],
            "k",
            &world.files("far")[&format!("main/dump/{}.json", NAMES[0])],
            &world.files("far")[&format!("main/dump/{}.json.minisig", NAMES[0])],
            NAMES[0]
        )
        .is_ok()
    );
}
