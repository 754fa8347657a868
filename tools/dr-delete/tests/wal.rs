//! WAL goes by ranges: marked, then removed, oldest first.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use support::{Made, World, base, decision, deleted, segment, states, stderr_of, wal_decision};

/// That of a server with segments of 1 MiB.
const SYSTEM: &[u8] = b"{\"system_identifier\":\"7\",\"wal_segment_bytes\":1048576}\n";

/// Four bases and the WAL from segment 1 to 70 of two timelines.
fn world() -> (World, String) {
    let world = World::new();
    let bases: Vec<Made> = vec![base(24 * 4, 20, 22), base(24 * 3, 30, 32), base(24 * 2, 40, 42), base(24, 60, 62)];
    bases.iter().for_each(|made| world.put("store", made));
    world.put_wal("store", 1..=70);
    (world, bases.iter().map(|made| decision("keep", made, true)).collect())
}

#[test]
fn a_range_of_wal_is_marked_rescued_and_goes_with_all_that_belongs_to_it() {
    let (world, keep) = world();
    let folder = "main/wal/00000001";
    let of_range = [
        format!("{folder}/{}.{}.zst", segment(5), "cd".repeat(16)),
        format!("{folder}/{}.part/00000000-00012000.7f3a.zst", segment(6)),
        format!("{folder}/{}.00000028.backup.zst", segment(7)),
        format!("{folder}/{}.partial.zst", segment(8)),
    ];
    let not_of_it = [
        format!("{folder}/00000001.history.zst"),
        format!("{folder}/gap-0000000000100000-0000000000200000.json"),
        format!("{folder}/{}.zst.mine", segment(5)),
        format!("main/wal/00000002/{}.zst", segment(5).replacen("00000001", "00000002", 1)),
    ];
    world.write("store", "main/wal/system.json", SYSTEM);
    of_range.iter().chain(&not_of_it).for_each(|key| world.write("store", key, b"x"));
    let before = world.files("store");
    let told = keep.clone() + &wal_decision("delete", &segment(1), &segment(12));
    let output = world.decide("", &told);
    assert_eq!((stderr_of(&output, 0), states(&output)), (String::new(), vec!["marked".to_owned()]));
    assert_eq!(deleted(&output)[0].first, Some(segment(1)));
    assert_eq!(world.files("store").len(), before.len() + 2);

    // It is there still, and may be kept after all.
    let named = format!("{}-{}", segment(1), segment(12));
    let rescued = world.delete(&format!("--undelete {named}")).output().unwrap();
    assert!(stderr_of(&rescued, 0).contains("what was removed of") && rescued.stdout.is_empty());
    assert!(world.files("store") == before);
    stderr_of(&world.decide("", &told), 0);
    // The next day decides on the same WAL again, and on a little more.
    let more = world.decide("", &(keep.clone() + &wal_decision("delete", &segment(1), &segment(14))));
    assert_eq!((stderr_of(&more, 0), states(&more)), (String::new(), vec!["marked".to_owned(), "waiting".to_owned()]));
    assert_eq!(deleted(&more)[0].first, Some(segment(13)));

    world.put("store", &base(-72, 65, 66));
    let output = world.delete_at("+73h", "--finish").output().unwrap();
    assert_eq!((stderr_of(&output, 0), states(&output)), (String::new(), vec!["removed".to_owned(); 2]));
    let after = world.files("store");
    let gone: Vec<_> = before.keys().filter(|key| !after.contains_key(*key)).collect();
    let mut expected: Vec<_> = before.keys().filter(|key| (1..=14).any(|n| key.contains(&segment(n)))).collect();
    expected.retain(|key| !not_of_it.contains(key));
    assert_eq!(gone, expected);
    assert_eq!(deleted(&output).iter().map(|deleted| deleted.objects).sum::<u64>(), gone.len() as u64);
    assert!(!after.keys().any(|key| key.contains("tombstone")));
}

#[test]
fn wal_that_a_rescued_base_needs_stays() {
    let (world, keep) = world();
    let oldest = base(24 * 5, 5, 6);
    world.put("store", &oldest);
    let told = keep + &decision("delete", &oldest, true) + &wal_decision("delete", &segment(1), &segment(12));
    assert_eq!(states(&world.decide("", &told)), ["marked", "marked"]);
    stderr_of(&world.delete(&format!("--undelete {}", oldest.manifest.name)).output().unwrap(), 0);
    world.put("store", &base(-72, 65, 66));
    let said = world.refuses(world.delete_at("+73h", "--finish"), "", 80);
    assert!(said.contains(&format!("is needed by {}, which stays", oldest.manifest.name)) && said.contains("--undelete"), "{said}");
}

#[test]
fn f89_wal_stays_where_bases_stop_coming() {
    let (world, keep) = world();
    stderr_of(&world.decide("", &(keep + &wal_decision("delete", &segment(1), &segment(12)))), 0);
    let said = world.refuses(world.delete_at("+73h", "--finish"), "", 80);
    assert!(said.contains("the newest of the base backups is 4 d old"), "{said}");
    fs::remove_dir_all(world.path("state")).unwrap();
}

#[test]
fn who_rescues_a_base_is_told_of_its_wal() {
    let (world, keep) = world();
    let (gone, stay) = keep.split_once('\n').unwrap();
    let gone = gone.replace("\"keep\"", "\"delete\"") + "\n";
    let told = gone + stay + &wal_decision("delete", &segment(1), &segment(29));
    stderr_of(&world.decide("--confirm 30", &told), 0);
    fs::remove_file(world.path("store/main/wal/00000001").join(format!("{}.zst", segment(21)))).unwrap();
    let name =
        serde_json::from_str::<serde_json::Value>(told.lines().next().unwrap()).unwrap()["name"].as_str().unwrap().to_owned();
    let said = stderr_of(&world.delete(&format!("--undelete {name}")).output().unwrap(), 0);
    assert!(
        said.contains(&format!("1 segments of WAL that {name} needs are not in this store, the first of them {}", segment(21))),
        "{said}"
    );
    assert!(said.contains(&format!("take that off, too, with --undelete {}-{}", segment(1), segment(29))), "{said}");
}

#[test]
fn a_range_that_is_rescued_while_it_goes_goes_no_further() {
    let (world, keep) = world();
    let mut strace = std::process::Command::new("strace");
    strace.args(["-f", "--seccomp-bpf", "-qq", "-o", "trace", "-e", "inject=unlink,unlinkat:delay_enter=400000"]);
    strace.arg(support::bin().join("dr-delete")).args(["--grace", "0", "--confirm", "12"]);
    let mut command = world.settled(strace);
    command.env("DR_SIGNING_KEY", "delete.key");
    let folder = world.path("store/main/wal/00000001");
    let told = keep + &wal_decision("delete", &segment(1), &segment(12));
    let output = std::thread::scope(|scope| {
        let run = scope.spawn(|| support::fed(command, &told));
        while folder.join(format!("{}.zst", segment(1))).exists() && !run.is_finished() {
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
        let named = format!("{}-{}", segment(1), segment(12));
        stderr_of(&world.delete(&format!("--undelete {named}")).output().unwrap(), 0);
        run.join().unwrap()
    });
    let said = stderr_of(&output, 0);
    assert!(said.contains("is not marked any more: it is left; ") && said.contains(" of its objects are gone"), "{said}");
    assert_eq!(states(&output), ["marked"]);
    assert!(folder.join(format!("{}.zst", segment(12))).exists());
    // No segment is left half.
    let files = world.files("store");
    let count = |end: &str| files.keys().filter(|key| key.contains("/wal/00000001/") && key.ends_with(end)).count();
    assert_eq!(count(".zst"), count(".claim"));
}

#[test]
fn f83_wal_that_a_base_of_other_segments_may_need_stays_and_the_base_is_named() {
    let (world, keep) = world();
    let told = keep.clone() + &wal_decision("delete", &segment(1), &segment(12));
    // The store says what its segments are, or else the newest base does.
    let system = String::from_utf8(SYSTEM.to_vec()).unwrap().replace("1048576", "16777216");
    world.write("store", "main/wal/system.json", system.as_bytes());
    let said = world.refuses(world.delete(""), &told, 80);
    assert!(said.contains("_base_") && said.contains("is of a server with segments of 1 MiB"), "{said}");
    fs::remove_file(world.path("store/main/wal/system.json")).unwrap();
    let mut old = base(24 * 90, 1, 2);
    old.manifest.tags = vec!["pin".into()];
    old.manifest.produced.base.as_mut().unwrap().wal_segment_bytes = 64 << 20;
    world.put("store", &old);
    let said = world.refuses(world.delete(""), &(told.clone() + &decision("keep", &old, true)), 80);
    let named = format!("{}, which stays, is of a server with segments of 64 MiB", old.manifest.name);
    assert!(said.contains(&named) && said.contains("see \"Segments of another size\" in dr-delete(1)"), "{said}");
    // Without WAL there is nothing to tell.
    stderr_of(&world.decide("", &(keep + &decision("keep", &old, true))), 0);
    fs::remove_file(world.path("store/main/base").join(format!("{}.json", old.manifest.name))).unwrap();
    fs::remove_file(world.path("store/main/base").join(format!("{}.json.minisig", old.manifest.name))).unwrap();
    assert_eq!(states(&world.decide("--confirm 12", &told)), ["marked"]);
}

#[test]
fn f87_a_clock_far_ahead_is_noticed_by_bases_that_are_marked() {
    let (world, keep) = world();
    let bases: Vec<&str> = keep.lines().collect();
    let told = bases[..2].join("\n").replace("\"keep\"", "\"delete\"") + "\n" + &bases[2..].join("\n") + "\n";
    stderr_of(&world.decide("--grace 700d --confirm 2", &told), 0);
    stderr_of(&world.decide("", &(told + &wal_decision("delete", &segment(1), &segment(9)))), 0);
    let said = world.refuses(world.delete_at("+365d", "--finish"), "", 80);
    assert!(said.contains("the newest of the base backups is 366 d old"), "{said}");
}
