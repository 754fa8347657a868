//! dr-wal-push killed at any system call: what was acknowledged is there, and the same call again always succeeds.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use support::{World, name, segment, stderr_of};

/// System calls at which it is killed: as many of them as `$DR_TEST_SWEEP` says, spread over all.
const SAMPLE: usize = 30;

#[test]
fn f01_f43_killed_at_any_system_call_an_acknowledged_segment_is_always_there() {
    let world = World::new();
    for number in 1..=3 {
        world.ready(&name(number), &segment(number, number as u8));
    }
    let all = calls(&world);
    let sample = std::env::var("DR_TEST_SWEEP").map_or(SAMPLE, |count| count.parse().unwrap()).min(all.len());
    assert!(all.len() > 100, "{all:?}");
    let mut killed = 0;
    for (call, n) in all.iter().step_by(all.len().div_ceil(sample)) {
        fs::remove_dir_all(world.path("store")).unwrap_or_default();
        fs::remove_dir_all(world.path("state")).unwrap_or_default();
        let strace = format!("strace -f -qq -o $HOME/trace -e inject={call}:signal=KILL:when={n}");
        let line = format!("exec 2> /dev/null; {strace} dr-wal-push pg_wal/{} --to $STORE", name(1));
        killed += usize::from(!world.shell(&line).status().unwrap().success());
        for number in 1..=3 {
            let journaled = world.journal().contains(&name(number));
            let there = |world: &World| world.plain(&format!("00000001/{}.zst", name(number))) == segment(number, number as u8);
            assert!(!journaled || there(&world), "killed at {call} {n}: {} was noted, and is not there", name(number));
            stderr_of(&world.push_here(&name(number)).output().unwrap(), 0);
            assert!(there(&world), "killed at {call} {n}: {} was acknowledged", name(number));
        }
    }
    assert!(killed > sample / 3, "{killed} of {sample} were killed");
}

/// Every system call that it makes: its name, and the how manyth of its thread it is.
fn calls(world: &World) -> Vec<(String, usize)> {
    let line = format!("exec 2> /dev/null; strace -f -qq -o $HOME/trace dr-wal-push pg_wal/{} --to $STORE", name(1));
    assert!(world.shell(&line).status().unwrap().success());
    let trace = fs::read_to_string(world.path("trace")).unwrap();
    let mut counts = std::collections::BTreeMap::<(&str, &str), usize>::new();
    let mut calls = std::collections::BTreeSet::new();
    for line in trace.lines().filter(|line| !line.contains("resumed>")) {
        let (thread, call) = line.split_once(' ').unwrap();
        let Some((call, _)) = call.trim_start().split_once('(') else { continue };
        let count = counts.entry((thread, call)).or_default();
        *count += 1;
        calls.insert((call.to_owned(), *count));
    }
    calls.into_iter().collect()
}
