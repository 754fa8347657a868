//! dr-push into real S3 servers that die, refuse and forget.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use dr_testing::proxy::{Fault, Proxy};
use dr_testing::s3::{BUCKET, Garage, Moto, MotoTls, S3sFs};
use support::{World, stderr_of, until};

/// More than two parts.
const LARGE: usize = 40 << 20;

fn to_s3(world: &World, environment: Vec<(&'static str, String)>) -> Command {
    let mut push = world.push();
    push.args(["--to", &format!("s3://{BUCKET}/pg")]).envs(environment);
    push
}

fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // It may end before it has read everything, which its exit code tells.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    })
}

/// Files of an s3s-fs bucket, unfinished ones and bookkeeping included.
fn bucket_files(server: &S3sFs) -> Vec<String> {
    let output = Command::new("find").arg(server.directory().join("data")).args(["-type", "f"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_directory_and_a_bucket_get_the_same_bytes_from_one_stream() {
    let (world, server) = (World::new(), S3sFs::start());
    let bytes: Vec<u8> = (0..LARGE / 4).flat_map(|n| (n as u32).to_le_bytes()).collect();
    let output = run(to_s3(&world, server.environment()).args(["--to", &world.store()]), &bytes);
    stderr_of(&output, 0);
    assert!(world.object() == bytes);
    let key = world.files()[0].rsplit_once(' ').unwrap().0.to_owned();
    assert!(fs::read(server.directory().join("data").join(BUCKET).join("pg").join(key)).unwrap() == bytes);
    let receipt = String::from_utf8(output.stdout).unwrap();
    assert!(receipt.contains(r#""confirmed":"fsync""#) && receipt.contains(r#""required":2"#), "{receipt}");
}

#[test]
fn a_lock_a_class_and_tags_are_asked_for_and_recorded() {
    let (world, server) = (World::new(), Moto::start());
    let mut push = to_s3(&world, server.environment());
    push.args(["--lock-until", "+30d", "--storage-class", "STANDARD_IA", "--tag", "team=data", "--tag", "tier=1"]);
    let output = run(&mut push, b"x");
    assert_eq!(stderr_of(&output, 0), "");
    let receipt = String::from_utf8(output.stdout).unwrap();
    assert!(receipt.contains(r#""locked_until":"2"#) && receipt.contains(r#""storage_class":"STANDARD_IA""#), "{receipt}");
    let key = receipt.split(r#""object":""#).nth(1).unwrap().split('"').next().unwrap();
    let tags = server.send("GET", &format!("/{BUCKET}/pg/{key}?tagging"), "");
    assert!(tags.contains("<Key>team</Key><Value>data</Value>") && tags.contains("<Key>tier</Key>"), "{tags}");
}

#[test]
fn f05_a_signal_aborts_a_multipart_upload() {
    let (world, server) = (World::new(), Moto::start());
    let mut child = to_s3(&world, server.environment()).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&vec![1; LARGE]).unwrap();
    until("a multipart upload", || server.multipart_uploads().contains("<UploadId>"));
    assert!(world.shell(&format!("kill -TERM {}", child.id())).status().unwrap().success());
    let begun = Instant::now();
    stderr_of(&child.wait_with_output().unwrap(), 75);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(!server.multipart_uploads().contains("<UploadId>"), "{}", server.multipart_uploads());
    drop(input);
}

#[test]
fn f34_an_upload_that_fails_is_aborted() {
    let (world, server) = (World::new(), Moto::start());
    fs::write(world.path("receipts"), "{\"type\":\"start\",\"tool\":\"dr-dump\",\"started_at\":\"2026-01-25T02:00:00Z\",\"kind\":\"dump\",\"suffix\":\"tar.zst\"}\n").unwrap();
    let receipts = world.path("receipts");
    let output = run(to_s3(&world, server.environment()).arg("--receipt").arg(receipts), &vec![1; LARGE]);
    stderr_of(&output, 66);
    assert!(!server.multipart_uploads().contains("<UploadId>"), "{}", server.multipart_uploads());
    assert!(!server.send("GET", &format!("/{BUCKET}?list-type=2"), "").contains("<Key>"));
}

#[test]
fn f25_a_server_that_dies_during_the_upload_is_unavailable_and_shows_nothing() {
    let (world, server) = (World::new(), S3sFs::start());
    let mut child = to_s3(&world, server.environment()).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&vec![1; LARGE]).unwrap();
    until("a part", || !bucket_files(&server).is_empty());
    server.kill();
    // It may have given up already.
    drop(input.write_all(&vec![1; LARGE]));
    drop(input);
    let stderr = stderr_of(&child.wait_with_output().unwrap(), 69);
    assert!(stderr.contains("nothing was published"), "{stderr}");
    assert!(
        !bucket_files(&server).iter().any(|file| file.contains("main_dump_") && !file.contains("/.")),
        "{:?}",
        bucket_files(&server)
    );
}

#[test]
fn one_store_of_two_is_enough_where_one_is_required() {
    let (world, server) = (World::new(), S3sFs::start());
    server.kill();
    let mut push = to_s3(&world, server.environment());
    push.args(["--to", &world.store(), "--require", "1"]);
    let output = run(&mut push, b"x");
    let stderr = stderr_of(&output, 0);
    assert!(stderr.contains(&format!("warning: s3://{BUCKET}/pg is left out: ")), "{stderr}");
    assert_eq!(world.object(), b"x");
}

#[test]
fn f37_wrong_credentials_are_denied_at_once() {
    let (world, server) = (World::new(), S3sFs::start());
    let wrong = [("AWS_SECRET_ACCESS_KEY", "wrong"), ("AWS_ACCESS_KEY_ID", "unknown")];
    for (name, value) in wrong {
        let begun = Instant::now();
        let output = run(to_s3(&world, server.environment()).env(name, value), b"x");
        let stderr = stderr_of(&output, 77);
        assert!(begun.elapsed() < Duration::from_secs(5), "no retries");
        assert_eq!(stderr.lines().count(), 2, "{stderr}");
    }
    let mut none = to_s3(&world, server.environment());
    let output = run(none.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY"), b"x");
    let stderr = stderr_of(&output, 77);
    assert!(stderr.contains("hint: give credentials as for the aws command"), "{stderr}");
}

#[test]
fn f40_an_endpoint_in_the_clear_is_refused_before_anything_is_sent() {
    let world = World::new();
    let stderr = stderr_of(&run(&mut to_s3(&world, dr_testing::s3::environment("http://192.0.2.1:9000")), b"x"), 78);
    assert!(stderr.contains("--insecure-http"), "{stderr}");
}

#[test]
fn f40_a_certificate_is_trusted_only_when_it_is_named() {
    let (world, server) = (World::new(), MotoTls::start());
    let push = || to_s3(&world, dr_testing::s3::environment(&server.tls_url()));
    let begun = Instant::now();
    let stderr = stderr_of(&run(&mut push(), b"x"), 78);
    assert!(stderr.contains("certificate") && stderr.contains("--ca-file"), "{stderr}");
    assert!(begun.elapsed() < Duration::from_secs(5), "no retries");
    let stderr = stderr_of(&run(push().arg("--ca-file").arg(server.directory().join("certificate.pem")), b"x"), 78);
    assert!(stderr.contains("NoSuchBucket"), "the server was reached, and has no bucket: {stderr}");
    let stderr = stderr_of(&run(push().args(["--ca-file", "/dev/null"]), b"x"), 78);
    assert!(stderr.contains("there is no certificate in it"), "{stderr}");
}

#[test]
fn a_server_that_ignores_conditions_and_locks_is_used_and_not_believed() {
    let Some(server) = Garage::start() else {
        println!("skipped: garage is not installed (scripts/setup full)");
        return;
    };
    let world = World::new();
    stderr_of(&run(&mut to_s3(&world, server.environment()), &vec![1; LARGE]), 0);
    let output = run(to_s3(&world, server.environment()).args(["--lock-until", "+1d"]), b"x");
    let stderr = stderr_of(&output, 76);
    assert!(stderr.contains("is not enforced by this server"), "{stderr}");
}

/// Pushes through a proxy with faults, all of which must happen.
fn through(server: std::net::SocketAddr, faults: &[(&str, Fault)], input: &[u8]) -> (Output, Proxy) {
    let (world, proxy) = (World::new(), Proxy::start(server, faults));
    let output = run(&mut to_s3(&world, dr_testing::s3::environment(&proxy.url())), input);
    assert_eq!(proxy.unused(), [], "{:?}", proxy.seen());
    (output, proxy)
}

#[test]
fn f26_a_reply_that_is_lost_after_the_object_was_stored_is_no_failure() {
    let server = S3sFs::start();
    let (output, proxy) = through(server.address(), &[("PUT /", Fault::LoseReply)], b"x");
    assert_eq!(stderr_of(&output, 0), "");
    let puts = proxy.seen().iter().filter(|line| line.starts_with("PUT")).count();
    assert_eq!(puts, 2, "{:?}", proxy.seen());
}

#[test]
fn f26_a_lost_reply_to_any_request_of_a_multipart_upload_is_no_failure() {
    let server = S3sFs::start();
    for request in ["POST ?uploads", "PUT partNumber=2", "POST uploadId="] {
        let (output, _) = through(server.address(), &[(request, Fault::LoseReply)], &vec![1; LARGE]);
        assert_eq!(stderr_of(&output, 0), "", "{request}");
    }
}

#[test]
fn f27_a_server_that_is_overloaded_is_asked_again() {
    let server = S3sFs::start();
    let faults = [
        ("PUT", Fault::Answer("503 Slow Down", "retry-after: 1\r\n", "")),
        ("PUT", Fault::Answer("500 Internal Server Error", "", "")),
        ("PUT", Fault::Answer("429 Too Many Requests", "", "")),
    ];
    let begun = Instant::now();
    let (output, _) = through(server.address(), &faults, b"x");
    assert_eq!(stderr_of(&output, 0), "");
    assert!(begun.elapsed() >= Duration::from_secs(1), "Retry-After is honoured");
}

#[test]
fn f27_a_server_that_stays_overloaded_ends_the_run() {
    let server = S3sFs::start();
    let faults = vec![("PUT", Fault::Answer("503 Service Unavailable", "", "")); 7];
    let (output, _) = through(server.address(), &faults, b"x");
    let stderr = stderr_of(&output, 69);
    assert!(stderr.contains("status 503"), "{stderr}");
}

#[test]
fn f28_an_error_inside_a_success_is_no_success() {
    let server = S3sFs::start();
    let error = "<?xml version=\"1.0\"?><Error><Code>InternalError</Code><Message>try again</Message></Error>";
    let (output, _) = through(server.address(), &vec![("POST uploadId=", Fault::Answer("200 OK", "", error)); 7], &vec![1; LARGE]);
    let stderr = stderr_of(&output, 76);
    assert!(stderr.contains("status 200 with an error inside: 200 InternalError: try again"), "{stderr}");
    let visible = bucket_files(&server).into_iter().filter(|file| file.ends_with(".bin")).count();
    assert_eq!(visible, 0);
    // Where the server has made the object all the same, that bears witness at the second attempt.
    let (output, _) = through(server.address(), &[("POST uploadId=", Fault::Body(error))], &vec![1; LARGE]);
    assert_eq!(stderr_of(&output, 0), "");
}

#[test]
fn f28_a_success_that_says_nothing_is_a_broken_protocol() {
    let server = S3sFs::start();
    let (output, _) = through(server.address(), &[("POST uploadId=", Fault::Answer("200 OK", "", ""))], &vec![1; LARGE]);
    stderr_of(&output, 76);
}

#[test]
fn f30_bytes_that_change_on_the_way_are_sent_again() {
    let server = S3sFs::start();
    let (output, _) = through(server.address(), &[("PUT", Fault::FlipByte)], b"PGDMP");
    assert_eq!(stderr_of(&output, 0), "");
    let stored = bucket_files(&server).into_iter().find(|file| file.ends_with(".dump")).unwrap();
    assert_eq!(fs::read(stored).unwrap(), b"PGDMP");
}

#[test]
fn f32_a_conflict_is_tried_again() {
    let server = S3sFs::start();
    let (output, _) = through(server.address(), &[("PUT", Fault::Answer("409 Conflict", "", ""))], b"x");
    assert_eq!(stderr_of(&output, 0), "");
}

#[test]
fn f36_a_bucket_in_another_region_is_named_and_nothing_is_sent_there() {
    let server = S3sFs::start();
    let headers = "x-amz-bucket-region: eu-central-1\r\nlocation: http://127.0.0.1:1/\r\n";
    let (output, proxy) = through(server.address(), &[("PUT", Fault::Answer("301 Moved Permanently", headers, ""))], b"x");
    let stderr = stderr_of(&output, 78);
    assert!(stderr.contains("is in region eu-central-1") && stderr.contains("hint: set AWS_REGION=eu-central-1"), "{stderr}");
    assert_eq!(proxy.seen().len(), 1);
}

#[test]
fn f42_a_credential_that_may_only_write_is_enough() {
    let server = S3sFs::start();
    let (output, proxy) = through(server.address(), &[], &vec![1; LARGE]);
    assert_eq!(stderr_of(&output, 0), "");
    assert!(proxy.seen().iter().all(|line| line.starts_with("PUT ") || line.starts_with("POST ")), "{:?}", proxy.seen());
}

#[test]
fn f42_a_lock_that_may_not_be_read_back_is_unconfirmed() {
    let (world, server) = (World::new(), Moto::start());
    let proxy = Proxy::start(server.address(), &[("HEAD", Fault::Answer("403 Forbidden", "", ""))]);
    let mut push = to_s3(&world, dr_testing::s3::environment(&proxy.url()));
    let output = run(push.args(["--lock-until", "+30d"]), b"x");
    let stderr = stderr_of(&output, 0);
    assert!(stderr.contains("unconfirmed"), "{stderr}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("locked_until"));
}
