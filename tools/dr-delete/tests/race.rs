//! Backups are made, deleted and read at the same time, by tools that know nothing of each other.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dr_pipe::record::Record;
use support::{Made, World, decision, dump, fed, stderr_of};

/// How many backups are made; `$DR_TEST_RACES` for more.
const BACKUPS: usize = 12;
/// So many of the newest stay.
const KEPT: usize = 4;

/// Makes a backup of `text` with real tools; gives nothing, as whoever restores finds it by itself.
fn back_up(world: &World, text: &str) {
    let line = format!(
        "set -e; export DR_RECEIPT=receipts-$$; dr-run --database shop -- printf '{text}' | dr-push --to store; \
         dr-seal -s main.key < $DR_RECEIPT > sealed"
    );
    let mut shell = Command::new("bash");
    shell.args(["-o", "pipefail", "-c", &line]);
    stderr_of(&world.settled(shell).output().unwrap(), 0);
}

/// What dr-list shows, oldest first.
fn list(world: &World) -> Vec<Made> {
    let output = world.tool("dr-list").env("DR_STATE", world.path("reader")).output().unwrap();
    stderr_of(&output, 0);
    let made = |record| match record {
        Record::Backup(backup) => Made { manifest: backup.manifest, bytes: Vec::new() },
        other => panic!("{other:?}"),
    };
    dr_pipe::record::read(&mut output.stdout.as_slice()).unwrap().into_iter().map(made).collect()
}

/// Marks all but the newest, and removes what is marked as if three days had gone by; gives how many were removed.
fn delete(world: &World) -> usize {
    let listed = list(world);
    let goes = listed.len().saturating_sub(KEPT);
    let told: String =
        listed.iter().enumerate().map(|(n, made)| decision(if n < goes { "delete" } else { "keep" }, made, true)).collect();
    let output = fed(world.delete(&format!("--confirm {goes}")), &told);
    // One that was sealed between listing and deciding was not decided on.
    let changed = output.status.code() == Some(80) && String::from_utf8_lossy(&output.stderr).contains("has changed since");
    assert!(changed || output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut finish = world.delete_at("+73h", "--finish --max-age 30d");
    let output = finish.env("DR_STATE", world.path("finisher")).output().unwrap();
    stderr_of(&output, 0);
    support::states(&output).len()
}

/// Reads some of what is listed; `seed` says which.
fn restore(world: &World, seed: &mut u64) -> bool {
    let listed = list(world);
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let place = (*seed >> 33) as usize % listed.len();
    let manifest = &listed[place].manifest;
    let pulled = world.tool("dr-pull").env("DR_STATE", world.path("reader")).arg(&manifest.name).output().unwrap();
    if pulled.status.success() {
        assert_eq!(dr_pipe::Sha256::of(&pulled.stdout), manifest.sha256, "{}", manifest.name);
        return true;
    }
    // It may have gone since; what is listed must be there.
    let gone = list(world).iter().all(|made| made.manifest.name != manifest.name);
    assert!(gone && place + KEPT < listed.len(), "{}: {}", manifest.name, String::from_utf8_lossy(&pulled.stderr));
    false
}

#[test]
fn f88_backup_deletion_and_restore_at_once_lose_nothing() {
    let backups = std::env::var("DR_TEST_RACES").map_or(BACKUPS, |count| count.parse().unwrap());
    let world = World::new();
    (1..6).rev().map(dump).for_each(|made| world.put("store", &made));
    let unknown = BTreeMap::from([
        ("main/dump/main_dump_20260125T020000Z_0001.tar".to_owned(), b"being pushed".to_vec()),
        ("main/dump/main_dump_20260125T020000Z_0002.json.minisig".to_owned(), b"being sealed".to_vec()),
        ("main/dump/notes".to_owned(), b"mine".to_vec()),
    ]);
    unknown.iter().for_each(|(key, bytes)| world.write("store", key, bytes));
    let (done, removed, read) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..backups).for_each(|n| back_up(&world, &format!("content {n}")));
            done.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                removed.fetch_add(delete(&world), Ordering::SeqCst);
            }
        });
        scope.spawn(|| {
            let mut seed = 20_260_125;
            while !done.load(Ordering::SeqCst) {
                read.fetch_add(usize::from(restore(&world, &mut seed)), Ordering::SeqCst);
            }
        });
    });
    delete(&world);
    let listed = list(&world);
    assert_eq!(listed.len(), KEPT);
    for made in &listed {
        let pulled = world.tool("dr-pull").arg(&made.manifest.name).output().unwrap();
        assert!(stderr_of(&pulled, 0).is_empty() && pulled.stdout.starts_with(b"content "));
    }
    let files = world.files("store");
    assert!(unknown.iter().all(|(key, bytes)| files.get(key) == Some(bytes)));
    let ours = |key: &&String| !unknown.contains_key(*key) && key.starts_with("main/dump/");
    assert_eq!(files.keys().filter(ours).count(), 3 * KEPT, "{:?}", files.keys());
    assert!(removed.into_inner() > 0 && read.into_inner() > 0);
}
