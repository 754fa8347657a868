//! dr-wal-push into S3: with every right, and with the right to create alone.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::process::Command;

use dr_testing::proxy::{Fault, Proxy};
use dr_testing::s3::{BUCKET, S3sFs, environment};
use support::{World, name, segment, segment_of, stderr_of};

fn to_s3(world: &World, name: &str, environment: Vec<(&'static str, String)>) -> Command {
    let mut push = world.push(name);
    push.args(["--to", &format!("s3://{BUCKET}/pg")]).envs(environment);
    push
}

/// A server that lets objects be created, and nothing read or listed: such is the credential of a careful host.
fn put_only(server: &S3sFs) -> Proxy {
    let denied = Fault::Answer("403 Forbidden", "", "<Error><Code>AccessDenied</Code></Error>");
    let faults: Vec<_> = (0..200).flat_map(|_| [("GET", denied.clone()), ("HEAD", denied.clone())]).collect();
    Proxy::start(server.address(), &faults)
}

fn stored(server: &S3sFs, key: &str) -> Vec<u8> {
    let path = server.directory().join("data").join(BUCKET).join("pg/main/wal").join(key);
    zstd::decode_all(fs::File::open(path).unwrap()).unwrap()
}

#[test]
fn f43_f44_f45_with_a_bucket() {
    let (world, server) = (World::new(), S3sFs::start());
    for number in 1..=3 {
        world.ready(&name(number), &segment(number, number as u8));
    }
    assert_eq!(stderr_of(&to_s3(&world, &name(1), server.environment()).output().unwrap(), 0), "");
    assert_eq!(world.journal().len(), 2);
    for number in 1..=3 {
        assert_eq!(stored(&server, &format!("00000001/{}.zst", name(number))), segment(number, number as u8));
    }
    fs::remove_dir_all(world.path("state")).unwrap();
    assert_eq!(stderr_of(&to_s3(&world, &name(1), server.environment()).output().unwrap(), 0), "");
    world.ready(&name(1), &segment(1, 9));
    let stderr = stderr_of(&to_s3(&world, &name(1), server.environment()).output().unwrap(), 65);
    assert!(stderr.contains("other content"), "{stderr}");
    assert_eq!(stored(&server, &format!("00000001/{}.zst", name(1))), segment(1, 1));
    world.ready(&name(4), &segment_of(8, 1, 4, 1));
    let stderr = stderr_of(&to_s3(&world, &name(4), server.environment()).output().unwrap(), 65);
    assert!(stderr.contains("WAL is of system 8"), "{stderr}");
}

#[test]
fn f42_a_credential_that_may_only_create_is_enough() {
    let (world, server) = (World::new(), S3sFs::start());
    let proxy = put_only(&server);
    world.ready(&name(1), &segment(1, 1));
    world.ready(&name(2), &segment(2, 2));
    assert_eq!(stderr_of(&to_s3(&world, &name(1), environment(&proxy.url())).output().unwrap(), 0), "");
    assert_eq!(stderr_of(&to_s3(&world, &name(2), environment(&proxy.url())).output().unwrap(), 0), "");
    let reads = proxy.seen().into_iter().filter(|line| !line.starts_with("PUT")).count();
    assert!(reads <= 2, "it may try to see whose WAL it is, once, and newer timelines, once an hour: {:?}", proxy.seen());
    // The same again by a host that remembers nothing: to be sure it is kept a second time.
    fs::remove_dir_all(world.path("state")).unwrap();
    let stderr = stderr_of(&to_s3(&world, &name(1), environment(&proxy.url())).output().unwrap(), 0);
    assert!(stderr.contains("may not be read to compare it"), "{stderr}");
}

#[test]
fn f44_f45_are_noticed_without_the_right_to_read() {
    let (world, server) = (World::new(), S3sFs::start());
    let proxy = put_only(&server);
    world.ready(&name(1), &segment(1, 1));
    stderr_of(&to_s3(&world, &name(1), environment(&proxy.url())).output().unwrap(), 0);
    world.ready(&name(1), &segment(1, 2));
    let stderr = stderr_of(&to_s3(&world, &name(1), environment(&proxy.url())).output().unwrap(), 65);
    assert!(stderr.contains("other content"), "{stderr}");
    assert_eq!(stored(&server, &format!("00000001/{}.zst", name(1))), segment(1, 1));
    world.ready(&name(2), &segment_of(8, 1, 2, 1));
    for _ in 0..2 {
        let stderr = stderr_of(&to_s3(&world, &name(2), environment(&proxy.url())).output().unwrap(), 65);
        assert!(stderr.contains("WAL is of system 8"), "{stderr}");
    }
}

#[test]
fn f26_a_lost_reply_is_no_conflict() {
    let (world, server) = (World::new(), S3sFs::start());
    let faults = [("PUT .claim", Fault::LoseReply), ("PUT .zst", Fault::LoseReply), ("PUT system.json", Fault::LoseReply)];
    let proxy = Proxy::start(server.address(), &faults);
    world.ready(&name(1), &segment(1, 1));
    assert_eq!(stderr_of(&to_s3(&world, &name(1), environment(&proxy.url())).output().unwrap(), 0), "");
    assert!(proxy.unused().is_empty());
    assert_eq!(stored(&server, &format!("00000001/{}.zst", name(1))), segment(1, 1));
}

#[test]
fn f25_a_server_that_is_gone_is_a_failure_below_126_and_told_with_a_forecast() {
    let (world, server) = (World::new(), S3sFs::start());
    let environment = server.environment();
    world.ready(&name(1), &segment(1, 1));
    world.ready(&name(2), &segment(2, 1));
    server.kill();
    let stderr = stderr_of(&to_s3(&world, &name(1), environment).output().unwrap(), 69);
    assert!(stderr.contains("2 segments (2.00 MiB) wait to be archived") && stderr.contains("it is not archived"), "{stderr}");
}
