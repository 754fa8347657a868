//! When does dr-delete refuse? Each refusal says so, and changes nothing.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use support::{Made, World, base, decision, delete_first, dump, segment, states, stderr_of, wal_decision};

/// Decisions with these actions, and whether each was verified.
fn decisions(dumps: &[Made], told: &[(&str, bool)]) -> String {
    dumps.iter().zip(told).map(|(made, (action, verified))| decision(action, made, *verified)).collect()
}

#[test]
fn f86_two_verified_backups_of_each_group_always_stay() {
    let (world, dumps) = World::daily(4);
    let (keep, gone, doubtful) = (("keep", true), ("delete", true), ("keep", false));
    for told in [[gone, gone, gone, keep], [gone, doubtful, doubtful, keep], [gone, doubtful, doubtful, doubtful]] {
        let said = world.refuses(world.delete("--confirm 3"), &decisions(&dumps, &told), 80);
        assert!(said.contains("--confirm 3") || said.contains("that are verified would stay, and 2 must"), "{said}");
    }
    let said = world.refuses(world.delete(""), &decisions(&dumps, &[gone, doubtful, doubtful, keep]), 80);
    assert!(said.contains("of the dump backups of database shop only 1 that are verified would stay, and 2 must"), "{said}");
    // Those of another database are no comfort.
    let mut other = dump(30);
    other.manifest.produced.database = Some("books".into());
    world.put("store", &other);
    let all = decisions(&dumps, &[keep; 4]) + &decision("delete", &other, true);
    let said = world.refuses(world.delete(""), &all, 80);
    assert!(said.contains("of database books only 0 that are verified"), "{said}");
}

#[test]
fn f86_what_is_marked_goes_only_while_two_stay() {
    let (world, dumps) = World::daily(4);
    stderr_of(&world.decide("", &decisions(&dumps, &[("delete", true), ("keep", true), ("keep", true), ("keep", true)])), 0);
    for made in &dumps[1..3] {
        for suffix in ["json", "json.minisig", "bin"] {
            fs::remove_file(world.path("store/main/dump").join(format!("{}.{suffix}", made.manifest.name))).unwrap();
        }
    }
    let said = world.refuses(world.delete_at("+80h", "--finish --max-age 30d"), "", 80);
    assert!(said.contains("only 1 would stay, and 2 must"), "{said}");
}

#[test]
fn f87_a_clock_that_is_wrong_deletes_nothing() {
    let (world, dumps) = World::daily(12);
    stderr_of(&world.decide("", &delete_first(1, &dumps)), 0);
    fs::remove_file(world.path("state/clock.json")).unwrap();
    // Far ahead: what comes would have come; what was decided is of long ago.
    for off in ["+30d", "+2y", "+70y"] {
        let said = world.refuses(world.delete_at(off, "--finish"), "", 80);
        assert!(said.contains("the newest of the dump backups of database shop is"), "{off}: {said}");
        let said = world.refuses(world.delete_at(off, ""), &delete_first(2, &dumps), 80);
        assert!(said.contains("a decision about main was made for"), "{off}: {said}");
    }
    // Behind: what is there is of the future.
    for off in ["-3h", "-1y", "-40y"] {
        let said = world.refuses(world.delete_at(off, "--finish"), "", 80);
        assert!(said.contains(" here, and ") && said.contains("somebody's clock is wrong"), "{off}: {said}");
        assert!(said.contains("see \"A backup of the future\" in dr-delete(1)"), "{off}: {said}");
        world.refuses(world.delete_at(off, ""), &delete_first(2, &dumps), 80);
    }
    // A little behind, where no backup is that new: files are.
    let said = world.refuses(world.delete_at("-20m", "--finish"), "", 80);
    assert!(said.contains(" here, and store/main/dump/main_dump_"), "{said}");
    // It was later the last time.
    stderr_of(&world.delete_at("+20m", "--finish").output().unwrap(), 0);
    let said = world.refuses(world.delete("--finish"), "", 80);
    assert!(said.contains("the last run of dr-delete here is of ") && said.contains("clock.json"), "{said}");
}

#[test]
fn f87_a_time_that_cannot_be_read_any_more_is_not_taken_for_none() {
    let (world, dumps) = World::daily(6);
    fs::create_dir(world.path("state")).unwrap();
    for damaged in ["", "{}", "{\"latest_at\":\"2026"] {
        fs::write(world.path("state/clock.json"), damaged).unwrap();
        assert!(world.refuses(world.delete(""), &delete_first(1, &dumps), 78).contains("state/clock.json does not tell the time"));
        assert!(world.refuses(world.delete("--unsealed"), "", 78).contains("if the clock of this host is right, remove it"));
    }
    fs::remove_file(world.path("state/clock.json")).unwrap();
    stderr_of(&world.decide("", &delete_first(1, &dumps)), 0);
}

#[test]
fn f87_what_was_left_goes_by_a_clock_that_is_right_only() {
    let (world, _) = World::daily(6);
    world.write("store", "main/dump/main_dump_20200125T020000Z_0001.tar", b"left");
    for off in ["-20m", "-1y"] {
        let said = world.refuses(world.delete_at(off, "--unsealed"), "", 80);
        assert!(said.contains("somebody's clock is wrong"), "{off}: {said}");
    }
    stderr_of(&world.delete_at("+20m", "--finish").output().unwrap(), 0);
    let said = world.refuses(world.delete("--unsealed"), "", 80);
    assert!(said.contains("the last run of dr-delete here is of "), "{said}");
}

#[test]
fn one_store_under_two_names_is_refused() {
    let (world, dumps) = World::daily(6);
    std::os::unix::fs::symlink("store", world.path("twin")).unwrap();
    for arguments in ["", "--unsealed"] {
        let mut command = world.delete(arguments);
        command.env("DR_FROM", "store,twin");
        let said = world.refuses(command, &delete_first(1, &dumps), 64);
        assert!(said.contains("--from twin is the same store as --from store"), "{said}");
    }
}

#[test]
fn one_runs_at_a_time_and_rescues_need_not_wait() {
    let (world, dumps) = World::daily(8);
    stderr_of(&world.decide("", &delete_first(1, &dumps)), 0);
    fs::write(world.path("state/delete.lock"), "4711\n").unwrap();
    let lock = fs::File::open(world.path("state/delete.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    for (arguments, told) in [("", delete_first(2, &dumps)), ("--finish", String::new()), ("--unsealed", String::new())] {
        let said = world.refuses(world.delete(arguments), &told, 75);
        assert!(said.contains("another dr-delete is at work (pid 4711)") && said.contains("run it again later"), "{said}");
    }
    stderr_of(&world.delete(&format!("--undelete {}", dumps[0].manifest.name)).output().unwrap(), 0);
    drop(lock);
    stderr_of(&world.decide("", &delete_first(1, &dumps)), 0);
}

#[test]
fn f89_where_backups_stop_coming_none_goes() {
    let world = World::new();
    let weekly: Vec<Made> = [58, 51, 44, 37, 30, 23, 16].map(|days| dump(24 * days)).into();
    weekly.iter().for_each(|made| world.put("store", made));
    let said = world.refuses(world.delete(""), &delete_first(1, &weekly), 80);
    assert!(said.contains("is 16 d old, and one would be there after 14 d") && said.contains("--max-age"), "{said}");
    assert!(world.refuses(world.delete("--max-age 15d"), &delete_first(1, &weekly), 80).contains("after 15 d"));
    assert_eq!(states(&world.decide("--max-age 17d", &delete_first(1, &weekly))), ["marked"]);
    // Nor what is marked already.
    let said = world.refuses(world.delete_at("+73h", "--finish"), "", 80);
    assert!(said.contains("is 19 d old, and one would be there after 14 d"), "{said}");
}

/// A backup of database `books`.
fn of_books(mut made: Made) -> Made {
    made.manifest.produced.database = Some("books".into());
    made
}

#[test]
fn f89_a_database_that_was_dropped_does_not_stop_the_others() {
    let (world, shop) = World::daily(8);
    let books: Vec<Made> = (20..28).rev().map(|day| of_books(dump(2 + 24 * day))).collect();
    books.iter().for_each(|made| world.put("store", made));
    let output = world.decide("", &(delete_first(1, &books) + &delete_first(1, &shop)));
    let said = stderr_of(&output, 0);
    assert!(
        said.starts_with("dr-delete: warning: the newest of the dump backups of database books is 20 d old")
            && said.contains("dump backups of database shop come, so it is taken for dropped, and all but 2 may go"),
        "{said}"
    );
    assert_eq!((states(&output), said.lines().count()), (vec!["marked".to_owned(), "marked".to_owned()], 1));
    // Two of them stay for ever.
    let said = world.refuses(world.delete("--confirm 6"), &(delete_first(7, &books) + &delete_first(1, &shop)), 80);
    assert!(said.contains("of the dump backups of database books only 1 that are verified would stay"), "{said}");
    // An hour that is asked for is held against those that come.
    let told = delete_first(1, &books) + &delete_first(2, &shop);
    assert!(world.refuses(world.delete("--max-age 1h"), &told, 80).contains("and one would be there after 60 min"));
}

#[test]
fn f89_where_the_backups_of_all_databases_stop_none_goes() {
    let world = World::new();
    let shop: Vec<Made> = (5..13).rev().map(|day| dump(1 + 24 * day)).collect();
    let books: Vec<Made> = (20..28).rev().map(|day| of_books(dump(2 + 24 * day))).collect();
    shop.iter().chain(&books).for_each(|made| world.put("store", made));
    for told in [delete_first(1, &books) + &delete_first(0, &shop), delete_first(0, &books) + &delete_first(1, &shop)] {
        assert!(world.refuses(world.delete(""), &told, 80).contains("and one would be there after 2 d"));
    }
    // A part of a database tells nothing of the whole of another, nor does a kind of another one.
    let mut part = dump(3);
    part.manifest.produced.only = Some("schema".into());
    let base = base(4, 1, 2);
    world.put("store", &part);
    world.put("store", &base);
    let told = delete_first(1, &books) + &delete_first(0, &shop) + &decision("keep", &part, true) + &decision("keep", &base, true);
    assert!(world.refuses(world.delete(""), &told, 80).contains("of database books is 20 d old"));
    // The whole of another does, even where it is the first: twice the interval of those that stopped.
    let mut first = dump(5);
    first.manifest.produced.database = Some("new".into());
    world.put("store", &first);
    let output = world.decide("", &(told + &decision("keep", &first, true)));
    assert!(stderr_of(&output, 0).contains("dump backups of database new come, so it is taken for dropped"));
    assert_eq!(states(&output), ["marked"]);
}

#[test]
fn f90_a_flood_of_new_backups_does_not_push_out_the_good_ones() {
    let (world, mut all) = World::daily(8);
    let flood: Vec<Made> = (0..40).map(|_| dump(0)).enumerate().map(flooded).collect();
    flood.iter().for_each(|made| world.put("store", made));
    // Somebody decided by their number alone: what he found to be newest is not verified.
    let mut told: String = all.iter().map(|made| decision("delete", made, true)).collect();
    told.extend(flood.iter().map(|made| decision("keep", made, false)));
    assert!(world.refuses(world.delete(""), &told, 80).contains("only 0 that are verified would stay"));
    // Even verified they would not, without a number that tells how many go.
    all.extend(flood);
    let said = world.refuses(world.delete(""), &delete_first(10, &all), 80);
    assert!(said.contains("main in store: 10 of 48 backups and 0 of 0 segments would go at once"), "{said}");
    assert!(said.contains("if that is meant: --confirm 10"), "{said}");
}

fn flooded((n, mut made): (usize, Made)) -> Made {
    let name = format!("{}{n:02}", made.manifest.name);
    made.manifest.object = format!("{name}.bin");
    made.manifest.name = name;
    made.manifest.sequence += n as u64;
    made
}

#[test]
fn d6_a_pinned_backup_is_never_deleted() {
    let (world, mut dumps) = World::daily(8);
    let mut pinned = dump(24 * 100);
    pinned.manifest.tags = vec!["why=audit".into(), "pin=2031".into()];
    world.put("store", &pinned);
    dumps.insert(0, pinned);
    let said = world.refuses(world.delete("--confirm 1"), &delete_first(1, &dumps), 80);
    assert!(said.contains("is pinned, with the tag pin=2031"), "{said}");
}

#[test]
fn decisions_that_are_not_of_this_catalogue_are_refused() {
    let (world, dumps) = World::daily(8);
    let good = delete_first(1, &dumps);
    let cases = [
        ("", 66, "there are no decisions"),
        ("{\"type\":\"start\",\"tool\":\"t\",\"started_at\":\"2026-01-25T02:00:00Z\",\"suffix\":\"\"}\n", 65, "no decision"),
        (&good.replace("\"store\":\"store\"", "\"store\":\"elsewhere\""), 64, "deletes in elsewhere, which is not named"),
        (&good.replace("\"cluster\":\"main\"", "\"cluster\":\"other\""), 64, "deletes in cluster other"),
        (&delete_first(1, &dumps[..7]), 80, "nothing was decided about"),
        (&good.replacen(&dumps[0].manifest.sha256.to_string(), &"ab".repeat(32), 1), 80, "is another backup than was decided on"),
        (&(good.clone() + &decision("keep", &dump(500), true)), 80, "is to be kept, and is not in the catalogue any more"),
        (&(good.clone() + &decision("keep", &dumps[0], true)), 65, "two are about"),
        (&good.replace("\"kind\":\"dump\",", ""), 65, "neither about a backup nor about WAL"),
        (&good.trim_end()[..good.len() - 9], 65, "record line 8"),
    ];
    for (told, code, why) in cases {
        let said = world.refuses(world.delete(""), told, code);
        assert!(said.contains(why), "{why}: {said}");
    }
    // One that is gone already is a repetition, and what was made since is not decided on.
    world.put("store", &dump(0));
    let output = world.decide("", &(good + &decision("delete", &dump(400), true)));
    assert_eq!(states(&output), ["marked"], "{}", stderr_of(&output, 0));
}

#[test]
fn yesterdays_decisions_are_refused() {
    let (world, dumps) = World::daily(8);
    let today = support::now();
    for (hours, good) in [(-23, true), (-25, false), (1, false)] {
        let then = (today + chrono::TimeDelta::hours(hours)).to_rfc3339();
        let told = delete_first(1, &dumps[..8]);
        let told: Vec<_> = told.lines().map(|line| format!("{}\"{then}\"}}\n", &line[..line.rfind("\"20").unwrap()])).collect();
        if good {
            stderr_of(&world.decide("", &told.concat()), 0);
            stderr_of(&world.delete(&format!("--undelete {}", dumps[0].manifest.name)).output().unwrap(), 0);
        } else {
            assert!(world.refuses(world.delete(""), &told.concat(), 80).contains("a decision about main was made for"));
        }
    }
}

#[test]
fn without_keys_or_with_a_flaw_nothing_is_deleted() {
    let (world, dumps) = World::daily(8);
    let good = delete_first(1, &dumps);
    let mut command = world.delete("");
    command.env_remove("DR_PUBLIC_KEY");
    assert!(world.refuses(command, &good, 78).contains("there is no public key of main"));
    let said = world.refuses(world.delete("-s absent.key"), &good, 66);
    assert!(said.contains("name the file of the key: -s FILE, or DR_SIGNING_KEY"), "{said}");
    let manifest = format!("main/dump/{}.json", dumps[5].manifest.name);
    let text = fs::read(world.path("store").join(&manifest)).unwrap();
    world.write("store", &manifest, &[&text[..], b" "].concat());
    let said = world.refuses(world.delete(""), &good, 81);
    assert!(said.contains("was changed or forged") && said.contains("see \"A catalogue with a flaw\" in dr-delete(1)"), "{said}");
    world.write("store", &manifest, &text);
    world.write("store", "main/dump/main_dump_20260101T000000Z_0000.json", b"{}");
    let said = world.refuses(world.delete(""), &good, 81);
    assert!(said.contains("has no signature") && said.contains("see \"A catalogue with a flaw\" in dr-delete(1)"), "{said}");
    fs::remove_file(world.path("store/main/dump/main_dump_20260101T000000Z_0000.json")).unwrap();
    // The newest is hidden.
    assert_eq!(world.listed().len(), 8);
    fs::remove_file(world.path("store/main/dump").join(format!("{}.json", dumps[7].manifest.name))).unwrap();
    assert!(world.refuses(world.delete(""), &delete_first(1, &dumps[..7]), 81).contains("was seen there before"));
}

#[test]
fn f39_a_catalogue_that_lacks_an_object_is_no_ground_to_delete() {
    let (world, dumps) = World::daily(8);
    fs::remove_file(world.path("store/main/dump").join(&dumps[4].manifest.object)).unwrap();
    let said = world.refuses(world.delete(""), &delete_first(1, &dumps), 76);
    assert!(said.contains("there is a manifest, but not the object itself"), "{said}");
    world.refuses(world.delete("--unsealed"), "", 76);
    let mut command = world.delete("");
    command.env("DR_FROM", "absent");
    world.refuses(command, &delete_first(1, &dumps).replace("\"store\":\"store\"", "\"store\":\"absent\""), 78);
}

#[test]
fn f83_wal_that_a_base_needs_never_goes() {
    let world = World::new();
    // Four bases; the newest two begin at segments 40 and 60.
    let bases = [base(24 * 4, 10, 12), base(24 * 3, 20, 22), base(24 * 2, 40, 42), base(24, 60, 62)];
    bases.iter().for_each(|made| world.put("store", made));
    world.put_wal("store", 1..=70);
    world.write("store", "main/wal/00000001/00000001.history.zst", b"history");
    let keep: String = bases.iter().map(|made| decision("keep", made, true)).collect();
    let wal = |first, last| wal_decision("delete", &segment(first), &segment(last));
    for (first, last, needed_by) in
        [(1, 10, 0), (12, 12, 0), (5, 15, 0), (15, 20, 1), (22, 30, 1), (23, 40, 2), (43, 50, 2), (60, 60, 2)]
    {
        let said = world.refuses(world.delete("--confirm 99"), &(keep.clone() + &wal(first, last)), 80);
        assert!(said.contains(&format!("is needed by {}, which stays", bases[needed_by].manifest.name)), "{first}-{last}: {said}");
    }
    let told = keep.clone() + &wal(13, 19) + &wal_decision("keep", &segment(19), &segment(70));
    assert!(world.refuses(world.delete(""), &told, 65).contains("is to be kept and deleted"));
    let said = world.refuses(world.delete(""), &(keep.clone() + &wal(1, 9) + &wal(23, 39)), 80);
    assert!(said.contains("0 of 4 backups and 26 of 70 segments would go at once") && said.contains("--confirm 26"), "{said}");
    // No base tells what is needed.
    let bare = World::new();
    bare.put_wal("store", 1..=9);
    assert!(bare.refuses(bare.delete(""), &wal(1, 1), 80).contains("no base backup stays that would tell"));
}
