//! WAL that is missing, damaged, or of somebody else; and what is lost by it.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

use dr_pipe::record::{Kind, Severity, WalKept};
use dr_store::Store;
use support::{SEGMENT, World, base, files, segment, segment_bytes, write};

/// Timeline 1 with segments 1 to 9 and bases in 2 and 7; and timeline 2, which left it inside segment 5, up to 9, with a base in 7.
fn world() -> (World, Store) {
    let world = World::new();
    let store = world.store("store");
    world.segments(&store, 1, 1..=9);
    world.segments(&store, 2, 5..=9);
    world.put_plain(&store, "00000002.history", b"1\t0/500080\tno recovery target specified\n");
    for (timeline, number) in [(1, 2), (1, 7), (2, 7)] {
        world.base(&store, timeline, number);
    }
    (world, store)
}

fn remove(world: &World, timeline: u32, number: u64) {
    let folder = world.path(&format!("store/main/wal/{timeline:08X}"));
    let name = segment(timeline, number);
    for file in files(&folder).iter().filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with(&name)) {
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn f47_a_missing_segment_is_told_with_its_range_its_bases_and_what_is_lost() {
    let (world, _) = world();
    let said = world.run("--from store", 0);
    assert!(said.findings.is_empty() && said.verified.iter().all(|it| it.good), "{said:?}");
    remove(&world, 1, 3);
    remove(&world, 1, 4);
    let said = world.run("--from store", 1);
    let finding = said.only();
    assert_eq!((finding.code.as_str(), finding.backup.as_ref(), finding.cluster.as_deref()), ("gap", None, Some("main")));
    let message = &finding.message;
    for part in [
        "timeline 1, 2 is missing, 000000010000000000000003 to 000000010000000000000004 (2 segments)",
        "main_base_20260103T020000Z_0001 can be recovered no further",
        "until 2026-01-08 02:00:00 UTC, the end of main_base_20260108T020000Z_0001",
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert!(said.verified.len() == 3 && said.verified.iter().all(|it| it.good), "the bases themselves can be restored");
}

#[test]
fn f47_after_a_fork_each_timeline_is_told_apart() {
    for (timeline, number, told, bases) in [
        (1, 6, "timeline 1 is missing", vec!["main_base_20260103T020000Z_0001"]),
        (1, 8, "timeline 1 is missing", vec!["main_base_20260103T020000Z_0001, main_base_20260108T020000Z_0001"]),
        (2, 5, "timeline 2 is missing", vec!["main_base_20260103T020000Z_0001"]),
        (2, 8, "timeline 2 is missing", vec!["main_base_20260103T020000Z_0001, main_base_20260108T020000Z_0002"]),
    ] {
        let (world, _) = world();
        remove(&world, timeline, number);
        let said = world.run("--from store", 1);
        let message = &said.only().message;
        assert!(message.contains(told) && message.contains(&segment(timeline, number)), "{message}");
        assert!(bases.iter().all(|base| message.contains(&format!("{base} can be"))), "{message}");
    }
}

#[test]
fn f47_a_base_whose_own_wal_is_missing_is_not_good() {
    let (world, _) = world();
    remove(&world, 2, 7);
    let said = world.run("--from store", 1);
    let of_base = said.findings.iter().find(|finding| finding.backup.is_some()).unwrap();
    assert_eq!((of_base.code.as_str(), of_base.backup.as_deref()), ("gap", Some("main_base_20260108T020000Z_0002")));
    assert!(of_base.message.ends_with("is missing here, 000000020000000000000007"), "{}", of_base.message);
    let bad: Vec<_> = said.verified.iter().filter(|it| !it.good).map(|it| it.backup.manifest.name.as_str()).collect();
    assert_eq!(bad, ["main_base_20260108T020000Z_0002"]);
    // One alone is held against the WAL that it needs, and no more.
    assert_eq!(world.run("--from store main_base_20260108T020000Z_0002", 1).only().code, "gap");
    assert!(world.run("--from store main_base_20260103T020000Z_0001", 0).verified[0].good);
    assert!(world.run("--from store --no-wal", 0).findings.is_empty());
    assert!(world.run("--from store --kind dump", 0).verified.is_empty());
}

#[test]
fn f47_a_base_that_brings_its_wal_along_needs_none() {
    let world = World::new();
    let store = world.store("store");
    let mut manifest = base(1, 2, b"base");
    manifest.produced.base.as_mut().unwrap().wal = WalKept::Inside;
    world.seal(&store, &manifest, b"base");
    assert!(world.run("--from store", 0).verified[0].good);
    let (far, bytes) = (world.store("far"), b"base");
    world.seal(&far, &base(1, 2, bytes), bytes);
    assert_eq!(world.run("--from far", 1).only().code, "gap");
}

#[test]
fn f47_wal_that_is_whole_only_in_two_stores_together_is_missing_in_each() {
    let world = World::new();
    let (near, far) = (world.store("near"), world.store("far"));
    for (store, numbers) in [(&near, [2, 3, 5]), (&far, [2, 4, 5])] {
        world.segments(store, 1, numbers);
        world.base(store, 1, 2);
    }
    let said = world.run("--from near --from far", 1);
    assert_eq!(said.codes(), ["gap", "gap"]);
    assert!(said.findings[0].message.contains(&segment(1, 4)) && said.findings[1].message.contains(&segment(1, 3)), "{said:?}");
}

#[test]
fn f47_a_damaged_segment_is_a_gap_as_well() {
    let (world, _) = world();
    let object = world.path(&format!("store/main/wal/00000001/{}.zst", segment(1, 3)));
    write(&object, &support::flipped(&fs::read(&object).unwrap(), 99));
    for arguments in ["--from store", "--from store --remembered", "--from store --every 7d"] {
        let said = world.run(arguments, 1);
        assert_eq!(said.codes(), ["digest", "gap"], "{arguments}");
        let gap = said.findings.iter().find(|finding| finding.code == "gap").unwrap();
        assert!(gap.message.contains(&segment(1, 3)), "{gap:?}");
    }
}

#[test]
fn f47_streamed_pieces_count_as_far_as_they_reach() {
    let world = World::new();
    let store = world.store("store");
    world.segments(&store, 1, 2..=3);
    world.base(&store, 1, 2);
    let last = segment(1, 4);
    world.put_piece(&store, &last, 0..8192);
    world.put_piece(&store, &last, 8192..65536);
    assert!(world.run("--from store", 0).findings.is_empty());
    world.put_piece(&store, &last, 70000..80000);
    let said = world.run("--from store", 1);
    assert!(said.only().code == "gap" && said.only().message.contains("65536 to 70000"), "{said:?}");
    // The second: the first is not what is named.
    let piece = files(&world.path(&format!("store/main/wal/00000001/{last}.part"))).remove(1);
    write(&piece, &support::flipped(&fs::read(&piece).unwrap(), 3000));
    let said = world.run("--from store", 1);
    let found = said.findings.iter().find(|finding| ["digest", "signature"].contains(&finding.code.as_str())).unwrap();
    assert!(piece.ends_with(found.object.as_ref().unwrap()), "{found:?}");
}

#[test]
fn f47_moments_reach_as_far_as_pieces_before_a_hole() {
    let world = World::new();
    let store = world.store("store");
    world.segments(&store, 1, 2..=3);
    world.base(&store, 1, 2);
    world.put_piece(&store, &segment(1, 4), 0..8192);
    world.segments(&store, 1, 6..=6);
    let said = world.run("--from store", 1);
    // The base is of January; the piece of just now.
    let today = chrono::Utc::now().format("no moment from about %Y-%m-%d").to_string();
    assert!(said.findings.iter().any(|finding| finding.message.contains(&today)), "{today}: {said:?}");
}

#[test]
fn f48_a_timeline_whose_history_is_missing_is_told() {
    let (world, _) = world();
    for file in files(&world.path("store/main/base")).iter().filter(|file| file.to_str().unwrap().contains("Z_0002")) {
        fs::remove_file(file).unwrap();
    }
    fs::remove_dir_all(world.path("state")).unwrap_or_default();
    for file in files(&world.path("store/main/wal/00000002")).iter().filter(|file| file.to_str().unwrap().contains("history")) {
        fs::remove_file(file).unwrap();
    }
    let said = world.run("--from store", 1);
    assert!(said.only().code == "history" && said.only().message.contains("timeline 2"), "{said:?}");
}

#[test]
fn claims_and_objects_belong_together() {
    let (world, _) = world();
    let folder = world.path("store/main/wal/00000001");
    let of = |number: u64, end: &str| {
        let name = segment(1, number);
        files(&folder)
            .into_iter()
            .find(|file| file.to_str().unwrap().contains(&name) && file.to_str().unwrap().ends_with(end))
            .unwrap()
    };
    fs::remove_file(of(9, ".claim")).unwrap();
    let said = world.run("--from store", 1);
    assert!(said.only().code == "claim" && said.only().message.contains("has no claim"), "{said:?}");
    fs::remove_file(of(9, ".zst")).unwrap();
    // The last segment: no gap, but its claim says that it was there. One that is being pushed looks so for a moment.
    fs::remove_file(of(8, ".zst")).unwrap();
    world.run("--from store", 0);
    support::touch(&of(8, ".claim"), SystemTime::now() - Duration::from_secs(7200));
    let said = world.run("--from store", 0);
    assert_eq!((said.only().code.as_str(), said.only().severity), ("claim", Severity::Note), "its timeline was left before");
    let claim = files(&world.path("store/main/wal/00000002")).into_iter();
    let claim = claim.filter(|file| file.to_str().unwrap().ends_with(".claim")).max().unwrap();
    fs::remove_file(world.path(&format!("store/main/wal/00000002/{}.zst", segment(2, 9)))).unwrap();
    support::touch(&claim, SystemTime::now() - Duration::from_secs(7200));
    let said = world.run("--from store", 1);
    assert!(said.findings.iter().any(|it| it.code == "claim" && it.severity == Severity::Error), "{said:?}");
}

#[test]
fn f44_two_contents_of_one_name_are_told() {
    let (world, store) = world();
    let name = segment(1, 3);
    world.put_plain(&store, &name, &segment_bytes(&name, 2));
    let said = world.run("--from store", 1);
    assert!(said.only().code == "conflict" && said.only().message.contains(&name), "{said:?}");
}

#[test]
fn f45_the_system_is_what_it_was() {
    let (world, _) = world();
    let system = world.path("store/main/wal/system.json");
    let text = fs::read_to_string(&system).unwrap();
    write(&system, text.replace("7000000000000000001", "7000000000000000002").as_bytes());
    let said = world.run("--from store", 1);
    assert!(said.codes().contains(&"system"), "{said:?}");
    fs::remove_file(&system).unwrap();
    assert_eq!(world.run("--from store", 1).only().code, "system");
}

#[test]
fn with_the_key_segments_are_what_their_names_say() {
    let world = World::new();
    let store = world.store("store");
    let names = [segment(1, 2), segment(1, 3)];
    world.put(&store, &names[0], &segment_bytes(&names[0], 1));
    let mut torn = segment_bytes(&names[1], 1);
    // The second page is one of the segment behind it.
    page_of(&mut torn, 1, 4);
    world.put(&store, &names[1], &torn);
    world.put(&store, "00000002.history", b"1\t0/300080\tno recovery target specified\n");
    assert!(world.run("--from store", 0).findings.is_empty());
    let said = world.run("--from store -i identity", 1);
    assert!(said.only().code == "wal" && said.only().message.contains("page at byte 8192"), "{said:?}");
    assert!(said.only().object.as_ref().unwrap().contains(&names[1]));
}

/// Makes a page of a segment one of another segment.
fn page_of(bytes: &mut [u8], page: usize, number: u64) {
    let at = page * 8192;
    bytes[at..at + 2].copy_from_slice(&0xD118_u16.to_ne_bytes());
    bytes[at + 8..at + 16].copy_from_slice(&(number * SEGMENT + at as u64).to_ne_bytes());
}

/// Segment 5 as a server leaves it that crashed: two pages are written, and behind them are those of segment 2, whose file it was.
fn crashed() -> Vec<u8> {
    let mut bytes = segment_bytes(&segment(1, 5), 1);
    page_of(&mut bytes, 1, 5);
    (2..SEGMENT as usize / 8192 - 1).for_each(|page| page_of(&mut bytes, page, 2));
    bytes
}

/// A cluster whose log ends with that.
fn crashed_world() -> (World, Store) {
    let world = World::new();
    let store = world.store("store");
    world.segments(&store, 1, 2..=4);
    world.put_plain(&store, &segment(1, 5), &crashed());
    world.base(&store, 1, 2);
    (world, store)
}

#[test]
fn f46_what_a_crashed_server_left_in_its_last_segment_is_no_damage() {
    let (world, store) = crashed_world();
    let said = world.run("--from store --content", 0);
    let note = said.only();
    assert!(note.severity == Severity::Note && note.message.contains("the log ends before byte 16384"), "{note:?}");
    assert!(note.object.as_ref().unwrap().contains(&segment(1, 5)) && said.verified.iter().all(|it| it.good));
    // A timeline that left it there, too, needs nothing of what is behind.
    world.segments(&store, 2, 5..=6);
    world.put_plain(&store, "00000002.history", b"1\t0/503000\tno recovery target specified\n");
    assert_eq!(world.run("--from store --content", 0).only().severity, Severity::Note);
    // What was only encrypted anew is still what was claimed.
    let path = world.path(&format!("store/main/wal/00000001/{}.zst", segment(1, 5)));
    let plain = world.path("plain");
    fs::write(&plain, crashed()).unwrap();
    let again = Command::new("zstd").args(["-qc19"]).arg(&plain).output().unwrap().stdout;
    assert!(!again.is_empty() && fs::read(&path).unwrap() != again);
    write(&path, &again);
    assert_eq!(world.run("--from store --content", 0).only().severity, Severity::Note);
}

#[test]
fn f46_pages_of_an_older_segment_are_a_hole_where_the_log_goes_on() {
    type Change = fn(&World, &Store);
    let goes_on: [(&str, Change); 5] = [
        ("the next segment", |world, store| world.segments(store, 1, [6])),
        ("a later segment", |world, store| world.segments(store, 1, [8])),
        ("a piece of the next one", |world, store| world.put_piece(store, &segment(1, 6), 0..8192)),
        ("a timeline that left it later", |world, store| {
            world.put_plain(store, "00000002.history", b"1\t0/600080\tno recovery target specified\n");
        }),
        ("a base that ends there", |world, store| {
            let mut manifest = base(1, 5, b"base");
            manifest.produced.base.as_mut().unwrap().stop_lsn = "0/508000".into();
            world.seal(store, &manifest, b"base");
        }),
    ];
    for (what, change) in goes_on {
        let (world, store) = crashed_world();
        change(&world, &store);
        let said = world.run("--from store --content", 1);
        let found = said.findings.iter().find(|finding| finding.code == "wal").unwrap();
        assert!(found.severity == Severity::Error && found.message.contains("page at byte 16384"), "{what}: {found:?}");
        assert!(found.hint.contains("a recovery ends there"), "{what}: {found:?}");
    }
    // In the last segment: pages behind it that were written, and pages that no file that is used again holds.
    for (page, number) in [(9, 5), (9, 7), (2, 7)] {
        let (world, store) = (World::new(), "store");
        let (store, mut bytes) = (world.store(store), crashed());
        page_of(&mut bytes, page, number);
        world.put_plain(&store, &segment(1, 5), &bytes);
        assert_eq!(world.run("--from store --content", 1).only().severity, Severity::Error, "{page} {number}");
    }
    let (world, store) = (World::new(), "store");
    let (store, mut bytes) = (world.store(store), crashed());
    bytes[2 * 8192 + 8] += 1;
    world.put_plain(&store, &segment(1, 5), &bytes);
    assert_eq!(world.run("--from store --content", 1).only().severity, Severity::Error, "an address that no page has");
}

#[test]
fn a_table_names_the_file_that_a_finding_is_about() {
    let (world, store) = crashed_world();
    world.segments(&store, 1, [6]);
    write(&world.path(&format!("store/main/wal/00000001/{}.zst", segment(1, 4))), b"nothing");
    let output = world.verify("--from store --content --table").output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let line = |code: &str| table.lines().filter(|line| line.starts_with(&format!("  error {code}"))).collect::<Vec<_>>();
    assert!(line("wal").len() == 1 && line("wal")[0].contains(&segment(1, 5)), "{table}");
    assert!(!line("digest").is_empty() && line("digest").iter().all(|line| line.contains(&segment(1, 4))), "{table}");
}

#[test]
fn what_a_receiver_could_not_have_is_worth_a_note() {
    let (world, store) = world();
    store.put("main/wal/00000001/gap-0000000000300000-0000000000400000.json", b"{}\n").unwrap();
    store.put("main/wal/00000001/notes", b"mine").unwrap();
    let said = world.run("--from store", 0);
    assert_eq!(said.codes(), ["gap", "unknown"]);
    assert!(said.verified.iter().all(|it| it.backup.manifest.kind == Kind::Base && it.good));
}

#[test]
fn f47_wal_that_was_announced_to_be_deleted_is_no_gap_not_even_when_the_announcement_is_gone() {
    let (world, store) = world();
    let stem = format!("main/wal/00000001/delete-{}-{}", segment(1, 3), segment(1, 3));
    world.mark(&store, &stem, b"{}\n", true);
    let trusting = "--from store -p main.pub -p deleting.pub";
    assert!(world.run(trusting, 0).findings.is_empty());
    remove(&world, 1, 3);
    assert!(world.run(trusting, 0).findings.is_empty());
    // To who does not trust whoever signed it, it announces nothing.
    let output = world.verify("--from store").env("DR_STATE", world.path("other")).output().unwrap();
    assert_eq!(support::said(&output, 1).only().code, "gap");
    for suffix in ["tombstone", "tombstone.minisig"] {
        fs::remove_file(world.path(&format!("store/{stem}.{suffix}"))).unwrap();
    }
    assert!(world.run(trusting, 0).findings.is_empty());
    remove(&world, 1, 4);
    assert_eq!(world.run(trusting, 1).only().code, "gap", "more is missing than was announced");
}

#[test]
fn what_a_policy_lets_go_between_bases_is_worth_a_note() {
    let (world, _) = world();
    for (timeline, number) in [(1, 3), (1, 4), (1, 5), (1, 6), (2, 5), (2, 6)] {
        remove(&world, timeline, number);
    }
    let said = world.run("--from store", 0);
    assert!(said.findings.iter().all(|finding| finding.code == "pruned" && finding.severity == Severity::Note), "{said:?}");
}
