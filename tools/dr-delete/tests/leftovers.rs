//! What runs that failed have left is collected, and nothing else.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::time::{Duration, SystemTime};

use support::{World, delete_first, deleted, dump, states, stderr_of};

/// Makes a file so many days old.
fn age(world: &World, key: &str, days: u64) {
    let file = fs::File::options().write(true).open(world.path("store").join(key)).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(days * 86_400)).unwrap();
}

#[test]
fn f06_what_a_run_that_was_killed_left_goes_after_a_week_and_nothing_else() {
    let (world, dumps) = World::daily(6);
    let old = [
        "main/dump/main_dump_20260125T020000Z_0001.tar.zst.age",
        "main/dump/main_dump_20260125T020000Z_0002.tar.zst",
        "main/dump/main_dump_20260125T020000Z_0002.json.minisig",
        "main/base/main_base_20260125T020000Z_0003",
        "main/wal/00000001/.tmp-000000010000000000000001.zst.0a0b",
        "main/dump/.tmp-main_dump_20260125T020000Z_0004.tar.0a0b",
    ];
    let stays = [
        "main/dump/main_dump_20260125T020000Z_0005.tar",
        "main/dump/.tmp-main_dump_20260125T020000Z_0006.tar.0a0b",
        "main/dump/README",
        "main/dump/other_dump_20260125T020000Z_0007.tar",
        "main/dump/deep/main_dump_20260125T020000Z_0008.tar",
        "main/wal/00000001/000000010000000000000001.zst",
        "main/RECOVERY.txt",
    ];
    old.iter().chain(&stays).for_each(|key| world.write("store", key, b"left"));
    for key in world.files("store").keys().filter(|key| !stays[..2].contains(&key.as_str())) {
        age(&world, key, 8);
    }
    // What is marked is not left.
    stderr_of(&world.decide("", &delete_first(1, &dumps)), 0);
    let before = world.files("store");
    let output = world.delete("--unsealed").output().unwrap();
    assert_eq!(stderr_of(&output, 0), "");
    let mut told: Vec<_> = deleted(&output).into_iter().map(|deleted| deleted.object.unwrap()).collect();
    told.sort();
    let mut expected = old.to_vec();
    expected.sort_unstable();
    assert_eq!(told, expected);
    let after = world.files("store");
    assert!(before.keys().filter(|key| !old.contains(&key.as_str())).eq(after.keys()), "{:?}", after.keys());
    let younger = world.delete("--unsealed --older-than 0 --confirm 2").output().unwrap();
    assert_eq!(states(&younger), ["removed", "removed"], "{}", stderr_of(&younger, 0));
}

#[test]
fn many_leftovers_need_their_number_and_any_flaw_stops_it() {
    let world = World::new();
    world.put("store", &dump(1));
    for n in 0..101 {
        let key = format!("main/dump/main_dump_20260125T020000Z_{n:04x}.tar");
        world.write("store", &key, b"left");
        age(&world, &key, 8);
    }
    assert!(world.refuses(world.delete("--unsealed"), "", 80).contains("101 objects and files were left"));
    assert!(world.refuses(world.delete("--unsealed --confirm 100"), "", 80).contains("--confirm 101"));
    world.write("store", "main/dump/main_dump_20260125T020000Z_0000.json", b"{}");
    world.refuses(world.delete("--unsealed --confirm 101"), "", 81);
    fs::remove_file(world.path("store/main/dump/main_dump_20260125T020000Z_0000.json")).unwrap();
    assert_eq!(states(&world.delete("--unsealed --confirm 101").output().unwrap()).len(), 101);
}
