//! Root prunes a store of another user, who must be able to read it afterwards.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use dr_testing::programs::reachable;
use support::{World, base, decision, delete_first, segment, stderr_of, wal_decision};

/// The user nobody.
const NOBODY: u32 = 65534;

#[test]
fn what_root_marks_in_a_store_of_another_user_that_one_reads() {
    // Nobody else can do what this is about.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (world, mut dumps) = World::daily(6);
    dumps.extend([base(48, 40, 42), base(24, 60, 62), base(2, 70, 72)]);
    dumps[6..].iter().for_each(|made| world.put("store", made));
    world.put_wal("store", 1..=80);
    let walk = || walkdir::WalkDir::new(world.path("store")).into_iter().map(Result::unwrap);
    for entry in walk() {
        let mode = if entry.file_type().is_dir() { 0o700 } else { 0o600 };
        fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode)).unwrap();
        chown(entry.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let told = delete_first(1, &dumps[..6])
        + &dumps[6..].iter().map(|made| decision("keep", made, true)).collect::<String>()
        + &wal_decision("delete", &segment(1), &segment(9));
    stderr_of(&world.decide("", &told), 0);
    for entry in walk() {
        let metadata = entry.metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (NOBODY, NOBODY), "{}", entry.path().display());
    }

    let programs = reachable(&support::bin(), &["dr-list"]);
    fs::set_permissions(world.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(world.path("reader")).unwrap();
    chown(world.path("reader"), Some(NOBODY), Some(NOBODY)).unwrap();
    for key in ["main.pub", "delete.pub"] {
        fs::set_permissions(world.path(key), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let list = |arguments: &[&str]| {
        let mut command = world.settled(Command::new(programs.path().join("dr-list")));
        let output = command.args(arguments).env("DR_STATE", world.path("reader")).uid(NOBODY).gid(NOBODY).output().unwrap();
        assert_eq!(stderr_of(&output, 0), "");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(list(&["--kind", "dump"]).lines().count(), 5);
    let marked = list(&["--deleted"]);
    assert!(marked.lines().count() == 2 && marked.contains(&segment(9)), "{marked}");
}
