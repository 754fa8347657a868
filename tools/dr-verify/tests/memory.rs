//! What was read is remembered: nothing is read twice within the time, what was read longest ago comes first, and nothing that is
//! wrong is forgotten.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use chrono::{DateTime, TimeDelta, Utc};
use dr_pipe::record::Depth;
use support::{Said, World, flipped, key, segment, segment_bytes, write};

/// Five dumps of 1000 bytes each, and two segments.
fn world() -> World {
    let world = World::new();
    let store = world.store("store");
    for number in 1..=5 {
        world.dump(&store, number, &[number as u8; 1000]);
    }
    for number in 1..=2 {
        let name = segment(1, number);
        world.put(&store, &name, &segment_bytes(&name, 1));
    }
    world
}

/// When each backup was read last, oldest backup first.
fn read_at(said: &Said) -> Vec<Option<DateTime<Utc>>> {
    let mut verified: Vec<_> = said.verified.iter().collect();
    verified.sort_by_key(|it| it.backup.manifest.taken_at);
    verified.into_iter().map(|it| it.verified_at).collect()
}

/// Has all that was read have been read so much longer ago.
fn age(world: &World, by: TimeDelta) {
    let path = world.path("state/verified.json");
    let mut memory: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let sections = memory["stores"].as_object_mut().unwrap().values_mut().flat_map(|it| it.as_object_mut().unwrap().values_mut());
    for section in sections {
        let (objects, groups) = (section["objects"].clone(), section["wal"].clone());
        let mut section_of = |name: &str, value: serde_json::Value| section[name] = value;
        section_of("objects", earlier(objects, by));
        section_of("wal", earlier(groups, by));
    }
    fs::write(path, memory.to_string()).unwrap();
}

fn earlier(mut value: serde_json::Value, by: TimeDelta) -> serde_json::Value {
    match &mut value {
        serde_json::Value::Object(fields) => {
            for (name, field) in fields {
                *field = match field.as_str() {
                    Some(at) if name == "checked_at" => (at.parse::<DateTime<Utc>>().unwrap() - by).to_rfc3339().into(),
                    _ => earlier(field.take(), by),
                };
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| *item = earlier(item.take(), by)),
        _ => {}
    }
    value
}

#[test]
fn what_was_read_within_the_time_is_not_read_again() {
    let world = world();
    let first = read_at(&world.run("--from store --every 7d", 0));
    let second = world.run("--from store --every 7d", 0);
    assert_eq!(read_at(&second), first);
    assert!(second.verified.iter().all(|it| it.good && it.depth == Depth::Bytes), "{second:?}");
    age(&world, TimeDelta::days(6));
    assert!(read_at(&world.run("--from store --every 7d", 0)).iter().all(|at| at.unwrap() < Utc::now() - TimeDelta::days(5)));
    age(&world, TimeDelta::days(1));
    assert!(read_at(&world.run("--from store --every 7d", 0)).iter().all(|at| at.unwrap() > Utc::now() - TimeDelta::hours(1)));
    // Without it everything is read.
    let before = Utc::now();
    assert!(read_at(&world.run("--from store", 0)).iter().all(|at| at.unwrap() >= before));
}

#[test]
fn not_even_a_claim_is_read_twice() {
    let world = world();
    world.run("--from store --every 7d", 0);
    let claims = support::files(&world.path("store/main/wal/00000001"))
        .into_iter()
        .filter(|file| file.to_str().unwrap().ends_with(".claim"));
    // Other bytes of the same size at the same time: who reads them would see it.
    for claim in claims {
        let at = fs::metadata(&claim).unwrap().modified().unwrap();
        write(&claim, &flipped(&fs::read(&claim).unwrap(), 99));
        support::touch(&claim, at);
    }
    world.run("--from store --every 7d", 0);
    let said = world.run("--from store", 1);
    assert_eq!(said.codes(), ["signature", "signature"]);
}

#[test]
fn what_was_never_read_comes_first_and_then_what_was_read_longest_ago() {
    let world = world();
    // One at a time: which of two that are read together is the later one, nobody knows.
    let some = |arguments: &str| {
        let said = world.run(&format!("--from store --no-wal --every 7d -j 1 {arguments}"), 0);
        (read_at(&said), said.stderr)
    };
    let (read, stderr) = some("--max-bytes 2000");
    assert_eq!(read.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, false, false], "the oldest first");
    assert!(stderr.contains("3 objects are still due"), "{stderr}");
    let (read, _) = some("--max-bytes 2500");
    assert_eq!(read.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, true, true, false]);
    // One is read however large it is: else it would never be.
    let (read, stderr) = some("--max-bytes 1");
    assert!(read.iter().all(Option::is_some) && stderr.is_empty(), "{stderr}");
    age(&world, TimeDelta::days(8));
    let before = Utc::now();
    let (read, _) = some("--max-bytes 3000");
    assert_eq!(read.iter().map(|at| at.unwrap() >= before).collect::<Vec<_>>(), [true, true, true, false, false]);
}

#[test]
fn a_bit_that_flips_later_is_found_within_the_time_and_told_until_it_is_mended() {
    let world = world();
    let manifest = support::dump(3, &[3; 1000]);
    let object = world.path("store").join(key(&manifest));
    world.run("--from store --every 7d", 0);
    let (good, at) = (fs::read(&object).unwrap(), fs::metadata(&object).unwrap().modified().unwrap());
    write(&object, &flipped(&good, 4000));
    support::touch(&object, at);
    world.run("--from store --every 7d", 0);
    age(&world, TimeDelta::days(7));
    for arguments in ["--every 7d", "--every 7d", "--remembered", ""] {
        let said = world.run(&format!("--from store {arguments}"), 1);
        assert_eq!(said.only().code, "digest", "{arguments}");
        assert_eq!(said.verified.iter().filter(|it| !it.good).count(), 1);
    }
    write(&object, &good);
    let said = world.run("--from store --every 7d", 0);
    assert!(said.verified.iter().all(|it| it.good));
}

#[test]
fn what_was_written_since_is_read_at_once() {
    let world = world();
    world.run("--from store --every 7d", 0);
    let manifest = support::dump(3, &[3; 1000]);
    write(&world.path("store").join(key(&manifest)), &[4; 1000]);
    let wal = world.path(&format!("store/main/wal/00000001/{}.zst.age", segment(1, 1)));
    let bytes = fs::read(&wal).unwrap();
    write(&wal, &flipped(&bytes, 999));
    assert_eq!(world.run("--from store --every 7d", 1).codes(), ["digest", "digest"]);
}

#[test]
fn what_is_remembered_can_be_asked_without_reading() {
    let world = world();
    let said = world.run("--from store --remembered", 0);
    assert!(said.verified.iter().all(|it| !it.good && it.verified_at.is_none() && it.depth == Depth::Manifest && it.findings == 0));
    world.run("--from store", 0);
    let object = world.path("store").join(key(&support::dump(1, &[1; 1000])));
    fs::remove_file(object).unwrap();
    let said = world.run("--from store --remembered", 1);
    assert_eq!(said.only().code, "missing");
    assert_eq!(said.verified.iter().filter(|it| it.good).count(), 4);
}

#[test]
fn what_is_remembered_of_one_store_or_in_the_future_counts_for_nothing_else() {
    let world = world();
    let far = world.store("far");
    for number in 1..=5 {
        world.dump(&far, number, &[number as u8; 1000]);
    }
    world.run("--from store", 0);
    assert!(world.run("--from far --remembered", 0).verified.iter().all(|it| !it.good));
    // Looking at one kind, or one backup, forgets nothing of the others.
    world.run("--from store --kind base", 0);
    world.run("--from store --kind dump --remembered", 0);
    world.run("--from store latest", 0);
    assert!(world.run("--from store --remembered", 0).verified.iter().all(|it| it.good));
    age(&world, -TimeDelta::days(1));
    assert!(world.run("--from store --remembered", 0).verified.iter().all(|it| !it.good));
}

#[test]
fn a_memory_that_cannot_be_kept_is_a_warning() {
    let world = world();
    let output = world.verify("--from store").env("DR_STATE", "/dev/null/none").output().unwrap();
    let said = support::said(&output, 0);
    assert!(said.stderr.contains("warning: cannot remember what was read"), "{}", said.stderr);
}
