//! dr-delete killed at every step: a backup is whole or gone for everybody, and a second run completes the first.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use support::{Made, World, base, decision, delete_first, fed, segment, stderr_of, wal_decision};

/// System calls that name or remove a file.
const CALLS: [&str; 3] = ["linkat", "unlinkat", "unlink"];

type Files = BTreeMap<String, Vec<u8>>;

/// Runs dr-delete with `arguments` on `decisions`, killed at each step, in a world as it is now; `judge` looks at the store after
/// each kill, and after the second run, which must succeed.
fn kill_at_every_step(world: &World, arguments: &str, decisions: &str, judge: impl Fn(&Files, bool, &str)) {
    let fresh = world.files("store");
    let run = |inject: Option<String>| {
        let mut strace = Command::new("strace");
        strace.args(["-f", "--seccomp-bpf", "-qq", "-o", "trace"]);
        match &inject {
            Some(inject) => strace.args(["-e", inject]),
            None => strace.args(["-e", &format!("trace={}", CALLS.join(","))]),
        };
        strace.arg(support::bin().join("dr-delete")).args(arguments.split_whitespace());
        let mut command = world.settled(strace);
        command.env("DR_SIGNING_KEY", "delete.key");
        fed(command, decisions)
    };
    stderr_of(&run(None), 0);
    judge(&world.files("store"), true, "not at all");
    let trace = fs::read_to_string(world.path("trace")).unwrap();
    // Calls for the state directory are steps, too: they may fail without harm.
    let count = |call: &str| trace.lines().filter(|line| line.contains(&format!(" {call}("))).count();
    let steps: Vec<(&str, usize)> = CALLS.iter().flat_map(|call| (1..=count(call)).map(|n| (*call, n))).collect();
    assert!(steps.len() > 15, "{trace}");
    let mut killed = 0;
    for (call, n) in steps {
        reset(world, &fresh);
        let output = run(Some(format!("inject={call}:signal=KILL:when={n}")));
        killed += usize::from(!output.status.success());
        let at = format!("killed at {call} {n}");
        judge(&world.files("store"), false, &at);
        let second = world.decide(arguments, decisions);
        assert!(second.status.success(), "{at}: {}", String::from_utf8_lossy(&second.stderr));
        judge(&world.files("store"), true, &at);
    }
    assert!(killed > 15, "{killed} were killed");
}

fn reset(world: &World, fresh: &Files) {
    fs::remove_dir_all(world.path("store")).unwrap();
    fs::remove_dir_all(world.path("state")).unwrap();
    fresh.iter().for_each(|(key, bytes)| world.write("store", key, bytes));
}

/// Files of the store, without those that a killed upload leaves.
fn whole(files: &Files) -> impl Iterator<Item = &String> {
    files.keys().filter(|key| !key.contains(".tmp-"))
}

#[test]
fn f91_killed_at_every_step_a_backup_is_whole_or_gone() {
    let (world, dumps) = World::daily(6);
    let fresh = world.files("store");
    kill_at_every_step(&world, "--grace 0 --confirm 2", &delete_first(2, &dumps), |files, complete, at| {
        for (key, bytes) in &fresh {
            let goes = dumps[..2].iter().any(|made| key.contains(&made.manifest.name));
            assert!(goes || files.get(key) == Some(bytes), "{at}: {key} is not what it was");
        }
        for Made { manifest, .. } in &dumps[..2] {
            let has = |suffix: &str| files.contains_key(&format!("main/dump/{}.{suffix}", manifest.name));
            let marked = has("tombstone") && has("tombstone.minisig");
            if complete {
                assert!(whole(files).all(|key| !key.contains(&manifest.name)), "{at}: {:?}", files.keys());
            } else if has("json") {
                assert!(has("json.minisig") && has("bin"), "{at}: a backup is listed, and not whole");
            } else {
                assert!(marked || !(has("json.minisig") || has("bin")), "{at}: what is left is named by no tombstone");
            }
        }
    });
    assert_eq!(world.listed().len(), 4);
}

#[test]
fn f91_killed_at_every_step_wal_goes_oldest_first() {
    let world = World::new();
    let bases = [base(24 * 2, 40, 42), base(24, 60, 62)];
    bases.iter().for_each(|made| world.put("store", made));
    world.put_wal("store", 1..=15);
    let fresh = world.files("store");
    let told = bases.iter().map(|made| decision("keep", made, true)).collect::<String>()
        + &wal_decision("delete", &segment(1), &segment(4));
    kill_at_every_step(&world, "--grace 0 --confirm 4", &told, |files, complete, at| {
        let there: Vec<u64> = (1..=15).filter(|n| files.contains_key(&format!("main/wal/00000001/{}.zst", segment(*n)))).collect();
        assert!(there.windows(2).all(|pair| pair[0] + 1 == pair[1]) && there.last() == Some(&15), "{at}: a hole: {there:?}");
        assert!(there.len() >= 11, "{at}");
        if complete {
            assert!(
                whole(files).eq(fresh.keys().filter(|key| !(1..=4).any(|n| key.contains(&segment(n))))),
                "{at}: {:?}",
                files.keys()
            );
        }
    });
}
