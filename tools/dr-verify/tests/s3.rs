//! Buckets: read like directories, and what their versions hide is told.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;

use dr_testing::s3::{BUCKET, Moto, S3sFs, environment};
use support::{Said, World, files, flipped, key, segment};

/// Puts the objects of the directory store into a bucket, below `pg`.
fn upload(world: &World, server: &Moto) {
    let root = world.path("store");
    for file in files(&root) {
        put(server, file.strip_prefix(&root).unwrap().to_str().unwrap(), &std::fs::read(&file).unwrap());
    }
}

fn put(server: &Moto, key: &str, bytes: &[u8]) {
    let mut command = Command::new("curl");
    let url = format!("{}/{BUCKET}/pg/{key}", server.url());
    command.args([
        "-sSf",
        "-X",
        "PUT",
        "--data-binary",
        "@-",
        "-H",
        "Content-Type: application/octet-stream",
        "-H",
        "Authorization: AWS4-HMAC-SHA256 Credential=a/20260125/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0",
        &url,
    ]);
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), bytes).unwrap();
    assert!(child.wait().unwrap().success());
}

fn run(world: &World, url: &str, arguments: &str, code: i32) -> Said {
    let mut command = world.verify(&format!("--from s3://{BUCKET}/pg {arguments}"));
    support::said(&command.envs(environment(url)).output().unwrap(), code)
}

/// A store with two dumps, a base and a segment.
fn world() -> World {
    let world = World::new();
    let store = world.store("store");
    world.dump(&store, 1, b"one");
    world.dump(&store, 2, b"two");
    world.segments(&store, 1, 2..=4);
    world.base(&store, 1, 2);
    world
}

#[test]
fn a_bucket_is_read_like_a_directory() {
    let (world, server) = (world(), S3sFs::start());
    let place = server.directory().join("data").join(BUCKET).join("pg");
    for file in files(&world.path("store")) {
        let there = place.join(file.strip_prefix(world.path("store")).unwrap());
        std::fs::create_dir_all(there.parent().unwrap()).unwrap();
        std::fs::copy(&file, &there).unwrap();
    }
    let said = run(&world, &server.url(), "", 0);
    assert!(said.findings.is_empty() && said.verified.len() == 3 && said.verified.iter().all(|it| it.good), "{said:?}");
    let object = place.join(key(&support::dump(1, b"one")));
    std::fs::write(&object, flipped(b"one", 5)).unwrap();
    std::fs::remove_file(place.join(format!("main/wal/00000001/{}.zst", segment(1, 3)))).unwrap();
    let said = run(&world, &server.url(), "", 1);
    assert_eq!(said.codes(), ["digest", "gap"], "a claim without its object may be a push under way");
    server.kill();
    let output = world
        .verify(&format!("--from s3://{BUCKET}/pg --from store"))
        .envs(environment(&server.url()))
        .env("DR_PATIENCE", "1")
        .output()
        .unwrap();
    let said = support::said(&output, 69);
    assert_eq!(said.verified.iter().filter(|it| it.good).count(), 3, "the other store is read all the same");
}

#[test]
fn f41_what_was_deleted_or_overwritten_without_a_tombstone_is_told() {
    let (world, server) = (world(), Moto::start());
    upload(&world, &server);
    let said = run(&world, &server.url(), "", 0);
    assert!(said.findings.is_empty() && said.verified.len() == 3, "{said:?}");
    // The second dump is deleted, the object of the first overwritten, and then put right: its history stays.
    let (first, second) = (support::dump(1, b"one"), support::dump(2, b"two"));
    for suffix in [".bin", ".json", ".json.minisig"] {
        let answer = server.send("DELETE", &format!("/{BUCKET}/pg/main/dump/{}{suffix}", second.name), "");
        assert!(answer.contains(" 204 "), "{answer}");
    }
    put(&server, &key(&first), b"evil");
    put(&server, &key(&first), b"one");
    let said = run(&world, &server.url(), "", 1);
    assert_eq!(said.codes(), ["marker", "marker", "marker", "overwritten", "overwritten", "rolled-back"]);
    let marker = said.findings.iter().find(|it| it.object.as_deref() == Some(&format!("main/dump/{}.json", second.name))).unwrap();
    assert_eq!((marker.code.as_str(), marker.backup.as_ref()), ("marker", Some(&second.name)));
}

#[test]
fn f41_what_a_tombstone_has_announced_may_be_gone() {
    let (world, server) = (world(), Moto::start());
    let (store, first) = (world.store("store"), support::dump(1, b"one"));
    let stem = format!("main/wal/00000001/delete-{}-{}", segment(1, 4), segment(1, 4));
    world.bury(&store, &first, true);
    world.mark(&store, &stem, b"{}\n", true);
    upload(&world, &server);
    let trusting = "-p main.pub -p deleting.pub";
    assert!(run(&world, &server.url(), trusting, 0).findings.is_empty());
    // S3 tells times to the second: what is deleted in the second in which it was announced looks as if it never was.
    let written = std::time::Instant::now();
    while written.elapsed() < std::time::Duration::from_millis(1100) {
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
    let wal =
        files(&world.path("store/main/wal/00000001")).into_iter().filter(|file| file.to_str().unwrap().contains(&segment(1, 4)));
    let mut keys: Vec<String> =
        wal.map(|file| file.strip_prefix(world.path("store")).unwrap().to_str().unwrap().to_owned()).collect();
    keys.sort_by_key(|key| key.contains("tombstone"));
    for suffix in [".json", ".json.minisig", ".bin", ".tombstone", ".tombstone.minisig"] {
        keys.push(format!("main/dump/{}{suffix}", first.name));
    }
    for key in keys {
        let answer = server.send("DELETE", &format!("/{BUCKET}/pg/{key}"), "");
        assert!(answer.contains(" 204 "), "{answer}");
    }
    let said = run(&world, &server.url(), trusting, 0);
    assert!(said.findings.is_empty() && said.verified.len() == 2, "{said:?}");
}
