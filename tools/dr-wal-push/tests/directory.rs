//! dr-wal-push into directories: what is stored, what is refused, and what is left.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use support::{BYTES, World, name, segment, segment_of, stderr_of};

#[test]
fn every_kind_of_file_is_kept_under_its_name() {
    let world = World::new();
    let files = [
        (name(1), segment(1, 1)),
        (format!("{}.partial", name(2)), segment(2, 2)),
        (format!("{}.00000028.backup", name(1)), b"START WAL LOCATION: 0/100028 (file 000000010000000000000001)\n".to_vec()),
        ("0000000A.history".into(), b"1\t0/200000\tno recovery target specified\n".to_vec()),
    ];
    for (name, bytes) in &files {
        world.ready(name, bytes);
        stderr_of(&world.push_here(name).output().unwrap(), 0);
        assert_eq!(&world.plain(&format!("{}/{name}.zst", &name[..8])), bytes);
    }
    assert_eq!(world.objects().iter().filter(|key| key.ends_with(".claim")).count(), 5, "one is the system's");
    let history = world.objects().into_iter().find(|key| key.starts_with("0000000A/") && key.ends_with(".claim")).unwrap();
    let claim = fs::read_to_string(world.path("store/main/wal").join(history)).unwrap();
    assert!(claim.contains(r#""parent_timeline":1,"forked_at":"0/200000""#), "{claim}");
    let system = fs::read_to_string(world.path("store/main/wal/system.json")).unwrap();
    assert_eq!(system, "{\"system_identifier\":\"7000000000000000001\",\"wal_segment_bytes\":1048576}\n");
}

#[test]
fn a_claim_says_by_when_all_was_in_the_segment_where_a_primary_runs() {
    // Not where nobody runs, and not where WAL comes late, from another server.
    let ours = std::process::id();
    let mut other = std::process::Command::new("sleep").arg("100").spawn().unwrap();
    for (server, there, known) in [
        (None, &[][..], false),
        (Some(ours), &[], true),
        (Some(ours), &["standby.signal"], false),
        (Some(ours), &["pg_wal/00000001.history"], true),
        // What was promoted has the older timeline's from another, and a copy of a directory that of a server that is no more.
        (Some(ours), &["pg_wal/00000003.history"], false),
        (Some(other.id()), &[], false),
    ] {
        let world = World::new();
        there.iter().for_each(|name| fs::write(world.path("data").join(name), "").unwrap());
        server.iter().for_each(|pid| fs::write(world.path("data/postmaster.pid"), format!("{pid}\n/data\n")).unwrap());
        world.ready(&name(1), &segment(1, 1));
        let written = fs::File::open(world.wal(&name(1))).unwrap();
        written.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_micros(1_700_000_000_000_001)).unwrap();
        stderr_of(&world.push_here(&name(1)).output().unwrap(), 0);
        let claim = world.objects().into_iter().find(|key| key.contains(&name(1)) && key.ends_with(".claim")).unwrap();
        let claim = fs::read_to_string(world.path("store/main/wal").join(claim)).unwrap();
        assert_eq!(claim.contains(r#""as_of":"2023-11-14T22:13:20.000001Z""#), known, "{there:?}: {claim}");
        assert_eq!(claim.contains("as_of"), known);
    }
    other.kill().and_then(|()| other.wait()).unwrap();
}

#[test]
fn f43_the_same_content_again_is_success() {
    let world = World::new();
    world.ready(&name(1), &segment(1, 1));
    for _ in 0..3 {
        stderr_of(&world.push_here(&name(1)).output().unwrap(), 0);
    }
    let objects = world.objects();
    // A host that remembers nothing, as after a failover, or a standby with archive_mode = always.
    fs::remove_dir_all(world.path("state")).unwrap();
    assert_eq!(stderr_of(&world.push_here(&name(1)).output().unwrap(), 0), "");
    assert_eq!(world.objects(), objects);
}

#[test]
fn f43_a_claim_whose_object_never_came_is_no_obstacle() {
    let world = World::new();
    world.ready(&name(1), &segment(1, 1));
    stderr_of(&world.push_here(&name(1)).output().unwrap(), 0);
    fs::remove_file(world.path(&format!("store/main/wal/00000001/{}.zst", name(1)))).unwrap();
    stderr_of(&world.push_here(&name(1)).args(["--level", "9"]).output().unwrap(), 0);
    assert_eq!(world.plain(&format!("00000001/{}.zst", name(1))), segment(1, 1));
}

#[test]
fn f44_other_content_is_refused_and_kept() {
    let world = World::new();
    world.ready(&name(1), &segment(1, 1));
    stderr_of(&world.push_here(&name(1)).output().unwrap(), 0);
    world.ready(&name(1), &segment(1, 2));
    for _ in 0..2 {
        let stderr = stderr_of(&world.push_here(&name(1)).output().unwrap(), 65);
        assert!(stderr.contains("is there with other content") && stderr.contains("two primaries"), "{stderr}");
    }
    assert_eq!(world.plain(&format!("00000001/{}.zst", name(1))), segment(1, 1));
    let kept: Vec<_> = world.objects().into_iter().filter(|key| key.ends_with(".zst")).collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert_eq!(world.plain(&kept[0]), segment(1, 2));
    // The first one may be pushed again by its own server.
    world.ready(&name(1), &segment(1, 1));
    stderr_of(&world.push_here(&name(1)).output().unwrap(), 0);
}

#[test]
fn f44_another_end_of_a_timeline_is_kept_beside_and_holds_nothing_up() {
    let world = World::new();
    let partial = format!("{}.partial", name(1));
    for content in [1, 2] {
        world.ready(&partial, &segment(1, content));
        let stderr = stderr_of(&world.push_here(&partial).output().unwrap(), 0);
        assert_eq!(stderr.contains("with other content"), content == 2, "{stderr}");
    }
    assert_eq!(world.objects().into_iter().filter(|key| key.ends_with(".zst")).count(), 2);
}

#[test]
fn f45_another_server_is_refused() {
    let world = World::new();
    world.ready(&name(1), &segment(1, 1));
    stderr_of(&world.push_here(&name(1)).output().unwrap(), 0);
    world.ready(&name(2), &segment_of(8, 1, 2, 2));
    for _ in 0..2 {
        let stderr = stderr_of(&world.push_here(&name(2)).output().unwrap(), 65);
        assert!(stderr.contains("WAL is of system 8") && stderr.contains("initdb, pg_upgrade"), "{stderr}");
    }
    assert!(!world.objects().iter().any(|key| key.contains(&name(2))));
}

#[test]
fn f45_which_server_it_was_is_not_forgotten_in_silence() {
    let world = World::new();
    world.ready(&name(1), &segment(1, 1));
    stderr_of(&world.push_here(&name(1)).output().unwrap(), 0);
    let memory = world.path("state/wal/main/memory.json");
    assert!(memory.exists());
    fs::write(&memory, "{").unwrap();
    world.ready(&name(2), &segment_of(8, 1, 2, 2));
    let stderr = stderr_of(&world.push_here(&name(2)).output().unwrap(), 65);
    assert!(stderr.contains("memory.json cannot be read any more (") && stderr.contains("WAL is of system 8"), "{stderr}");
    world.ready(&name(2), &segment(2, 2));
    assert_eq!(stderr_of(&world.push_here(&name(2)).output().unwrap(), 0), "", "it has begun anew");
}

#[test]
fn f46_what_is_no_whole_segment_is_refused() {
    let world = World::new();
    let good = segment(1, 1);
    for bad in [&good[..BYTES / 2], &good[..10], &[], &vec![0; BYTES], &segment(2, 1)] {
        world.ready(&name(1), bad);
        stderr_of(&world.push_here(&name(1)).output().unwrap(), 65);
    }
    fs::remove_file(world.wal(&name(1))).unwrap();
    stderr_of(&world.push_here(&name(1)).output().unwrap(), 66);
    fs::create_dir(world.wal(&name(1))).unwrap();
    stderr_of(&world.push_here(&name(1)).output().unwrap(), 65);
    for (name, bad) in [("00000002.history", ""), ("00000002.history", "2\t0/0\tx\n"), ("00000002.history", "nonsense\n")] {
        world.ready(name, bad.as_bytes());
        stderr_of(&world.push_here(name).output().unwrap(), 65);
    }
    assert!(!world.path("store/main").exists(), "nothing was stored");
}

#[test]
fn a_segment_that_was_recycled_and_not_written_yet_is_told_as_that() {
    let world = World::new();
    let said = |number: u32, bytes: &[u8]| {
        world.ready(&name(number), bytes);
        stderr_of(&world.push_here(&name(number)).output().unwrap(), 65)
    };
    let recycled = said(9, &segment(3, 1));
    assert!(recycled.contains("hint: it was recycled for later") && recycled.contains("`ls -t`"), "{recycled}");
    for other in [said(3, &segment(9, 1)), said(8, &vec![0; BYTES])] {
        assert!(!other.contains("recycled"), "one that is ahead of its name, or lost, is no recycled one: {other}");
    }
}

#[test]
fn segments_ahead_are_pushed_once_and_answered_without_their_files() {
    let world = World::new();
    for number in 1..=5 {
        world.ready(&name(number), &segment(number, number as u8));
    }
    world.ready(&name(7), &segment(7, 7));
    let markers = world.markers();
    stderr_of(&world.push_here(&name(1)).args(["--jobs", "3"]).output().unwrap(), 0);
    assert_eq!(world.journal(), [name(2), name(3), name(4), name(5)], "not beyond the gap");
    for number in 2..=5 {
        assert_eq!(world.plain(&format!("00000001/{}.zst", name(number))), segment(number, number as u8));
    }
    // Neither store nor segment is read.
    assert!(world.shell("mv $STORE $HOME/elsewhere").status().unwrap().success());
    let line = format!("strace -f -o $HOME/trace -e trace=openat dr-wal-push pg_wal/{} --to $STORE", name(2));
    stderr_of(&world.shell(&line).output().unwrap(), 0);
    let trace = fs::read_to_string(world.path("trace")).unwrap();
    assert!(!trace.contains(&format!("pg_wal/{}", name(2))) && !trace.contains("/store"), "{trace}");
    // Other stores, or another file of that name, are another matter.
    stderr_of(&world.push(&name(3)).args(["--to", world.path("other").to_str().unwrap()]).output().unwrap(), 0);
    assert!(world.path(&format!("other/main/wal/00000001/{}.zst", name(3))).exists());
    assert!(world.shell("mv $HOME/elsewhere $STORE").status().unwrap().success());
    world.ready(&name(4), &segment(4, 99));
    stderr_of(&world.push_here(&name(4)).output().unwrap(), 65);
    assert_eq!(world.markers().len(), markers.len());
}

#[test]
fn f54_nothing_in_archive_status_is_opened_listed_or_changed() {
    let world = World::new();
    for number in 1..=4 {
        world.ready(&name(number), &segment(number, number as u8));
    }
    let markers = world.markers();
    for number in 1..=4 {
        let line = format!("strace -f -y -A -o $HOME/trace dr-wal-push pg_wal/{} --to $STORE", name(number));
        stderr_of(&world.shell(&line).output().unwrap(), 0);
    }
    let trace = fs::read_to_string(world.path("trace")).unwrap();
    let calls: Vec<_> = trace.lines().filter(|line| line.contains("archive_status")).collect();
    assert!(!calls.is_empty());
    for call in calls {
        assert!(call.contains("statx(") || call.contains("stat("), "{call}");
    }
    assert_eq!(world.markers(), markers);
}

#[test]
fn a_failure_ahead_is_left_to_its_own_call() {
    let world = World::new();
    world.ready(&name(1), &segment(1, 1));
    world.ready(&name(2), &segment_of(8, 1, 2, 2));
    let stderr = stderr_of(&world.push_here(&name(1)).output().unwrap(), 0);
    assert!(stderr.contains("ahead of its turn") && stderr.contains("another server"), "{stderr}");
    stderr_of(&world.push_here(&name(2)).output().unwrap(), 65);
}

#[test]
fn two_stores_hold_the_same_and_one_may_fail_where_one_is_enough() {
    let world = World::new();
    world.ready(&name(1), &segment(1, 1));
    fs::write(world.path("a-file"), "").unwrap();
    let broken = world.path("a-file/store");
    let both = ["--to", broken.to_str().unwrap()];
    let stderr = stderr_of(&world.push_here(&name(1)).args(both).output().unwrap(), 74);
    assert!(stderr.contains("1 of 2 required stores") && stderr.contains("1 segment (1.00 MiB) waits"), "{stderr}");
    stderr_of(&world.push_here(&name(1)).args(both).args(["--require", "1"]).output().unwrap(), 0);
    assert_eq!(world.plain(&format!("00000001/{}.zst", name(1))), segment(1, 1));
    let second = world.path("second");
    stderr_of(&world.push_here(&name(1)).arg("--to").arg(&second).output().unwrap(), 0);
    let key = format!("main/wal/00000001/{}.zst", name(1));
    assert_eq!(fs::read(second.join(&key)).unwrap(), fs::read(world.path("store").join(&key)).unwrap());
}

#[test]
fn a_demoted_primary_is_refused_once_its_timeline_was_left_behind() {
    let world = World::new();
    for number in 1..=3 {
        world.ready(&name(number), &segment(number, number as u8));
    }
    world.ready("00000002.history", b"1\t0/280000\tno recovery target specified\n");
    stderr_of(&world.push_here("00000002.history").output().unwrap(), 0);
    // The fork is inside of segment 2.
    for number in 1..=2 {
        stderr_of(&world.push_here(&name(number)).args(["--ahead", "0"]).output().unwrap(), 0);
    }
    let stderr = stderr_of(&world.push_here(&name(3)).output().unwrap(), 80);
    assert!(stderr.contains("this server was demoted: timeline 00000002"), "{stderr}");
    assert!(!world.objects().iter().any(|key| key.contains(&name(3))));
    stderr_of(&world.push_here(&name(3)).arg("--allow-fork").output().unwrap(), 0);
}

#[test]
fn f53_a_backlog_is_warned_of_in_one_line() {
    let world = World::new();
    for number in 1..=40 {
        world.ready(&name(number), &segment(number, 0));
    }
    let stderr = stderr_of(&world.push_here(&name(1)).args(["--ahead", "4"]).output().unwrap(), 0);
    let warning = stderr.lines().find(|line| line.contains("wait to be archived")).unwrap_or_else(|| panic!("{stderr}"));
    assert!(warning.starts_with("dr-wal-push: warning: 40 segments (40.00 MiB)") && warning.contains("free where pg_wal lies"));
    stderr_of(&world.push_here(&name(6)).args(["--ahead", "4"]).output().unwrap(), 0);
}

#[test]
fn f51_no_failure_ends_above_125() {
    let world = World::new();
    world.ready(&name(1), &segment(1, 1));
    for limit in ["-n 5", "-n 6", "-n 8", "-n 12", "-f 1", "-f 100", "-u 1"] {
        let line = format!("exec 2>> $HOME/said; ulimit {limit}; dr-wal-push pg_wal/{} --to $STORE", name(1));
        let code = world.shell(&line).status().unwrap().code();
        assert!(code.is_some_and(|code| code <= 125), "{limit}: {code:?}");
    }
    // Too little to be loaded with is 127, as of a program that is not there; from there on it is we who have no memory.
    let mut large = segment(1, 1);
    large.resize(16 << 20, 0);
    large[8..16].copy_from_slice(&(16_u64 << 20).to_ne_bytes());
    large[32..36].copy_from_slice(&(16_u32 << 20).to_ne_bytes());
    // Does not compress, and so is large in memory, too.
    let mut state = 1_u64;
    for word in large[8192..].chunks_exact_mut(8) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        word.copy_from_slice(&(state ^ (state >> 29)).to_le_bytes());
    }
    fs::write(world.wal(&name(1)), large).unwrap();
    let without_memory = (40_000..100_000).step_by(4_000).filter(|kib| {
        let line = format!("exec 2> $HOME/said; ulimit -v {kib}; dr-wal-push pg_wal/{} --to $HOME/{kib}", name(1));
        let code = world.shell(&line).status().unwrap().code();
        let said = fs::read_to_string(world.path("said")).unwrap();
        assert!(code.is_some_and(|code| code <= 125 || said.contains("loading shared libraries")), "{kib}: {code:?} {said}");
        said.contains("dr-wal-push: error: aborted")
    });
    assert!(without_memory.count() > 0);
    fs::write(world.wal(&name(1)), segment(1, 1)).unwrap();
    let closed = format!("dr-wal-push pg_wal/{} --to $STORE <&- >&- 2>&-", name(1));
    assert_eq!(world.shell(&closed).status().unwrap().code(), Some(0));
}
