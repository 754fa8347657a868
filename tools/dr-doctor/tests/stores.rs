//! Is each lie of a store told? On servers as they are, and on one that a proxy makes worse.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;
use std::process::Command;

use dr_pipe::record::State::{self, Critical, Ok, Warning};
use dr_testing::proxy::{Fault, Proxy};
use dr_testing::s3::{BUCKET, Garage, Moto, S3sFs};
use support::{Found, Host, run};

const DENIED: Fault = Fault::Answer(
    "403 Forbidden",
    "Content-Type: application/xml\r\n",
    "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
);

/// What a probe makes of the server at an address, with further options.
fn probe(host: &Host, environment: &[(&'static str, String)], url: &str, words: &[&str]) -> Found {
    let mut command = probing(host, &format!("s3://{BUCKET}/a"));
    run(command.envs(environment.iter().cloned()).env("DR_ENDPOINT_URL", url).args(words))
}

fn probing(host: &Host, to: &str) -> Command {
    let mut command = host.command();
    command.env("DR_PATIENCE", "5").args(["--to", to, "--probe"]);
    let names = "store,read-back,create-only,digests,listing,versions,lock,overwrite,delete,leftovers";
    command.args(["--check", names]);
    command
}

/// Holds what was found against a list of name and state.
fn came_to(found: &Found, expected: &[(&str, State)]) {
    for (name, state) in expected {
        assert_eq!(found.state(name), Some(*state), "{name}: {}\n{}", found.words(name), found.said);
    }
}

#[test]
fn f31_a_directory_creates_only_lists_and_is_left_as_it_was() {
    let host = Host::new();
    let store = host.path("store");
    mark(&store);
    let found = run(&mut probing(&host, store.to_str().unwrap()));
    came_to(&found, &[("store", Ok), ("read-back", Ok), ("create-only", Ok), ("listing", Ok), ("leftovers", Ok)]);
    assert_eq!(found.state("digests"), None, "a directory has no such request");
    assert_eq!(walk(&store), [store.join("dr-store.json").display().to_string()]);
}

#[test]
fn what_an_earlier_probe_had_to_leave_goes_and_what_another_one_is_at_work_with_stays() {
    let host = Host::new();
    let store = host.path("store");
    mark(&store);
    let now = chrono::Utc::now().format("%Y%m%dT%H%M%SZ-1");
    let (old, new, other) = ("main/probe/20200101T000000Z-1", format!("main/probe/{now}"), "main/dump/20200101T000000Z-1");
    for folder in [old, &new, other] {
        fs::create_dir_all(store.join(folder)).unwrap();
        fs::write(store.join(folder).join("locked"), "x").unwrap();
    }
    came_to(&run(&mut probing(&host, store.to_str().unwrap())), &[("leftovers", Ok)]);
    assert!(!store.join(old).exists() && store.join(new).join("locked").exists() && store.join(other).join("locked").exists());
}

#[test]
fn a_directory_that_is_no_store_or_not_mounted_is_found_and_not_made_one() {
    let host = Host::new();
    let store = host.path("store");
    let check = || run(&mut host.checking("store"));
    came_to(&check(), &[("store", Critical)]);
    came_to(&run(&mut probing(&host, store.to_str().unwrap())), &[("store", Critical)]);
    assert_eq!(fs::read_dir(&store).unwrap().count(), 0, "a look leaves no trace");
    mark(&store);
    came_to(&check(), &[("store", Ok)]);
    fs::remove_file(store.join("dr-store.json")).unwrap();
    came_to(&check(), &[("store", Critical)]);
    came_to(&run(&mut host.checking("elsewhere")), &[("elsewhere", Warning)]);
    came_to(&run(&mut host.backing_up("/store,s3://b", "elsewhere")), &[("elsewhere", Ok)]);
}

#[test]
fn f31_s3s_fs_creates_only_checks_digests_and_keeps_no_versions() {
    let host = Host::new();
    let server = S3sFs::start();
    let found = probe(&host, &server.environment(), &server.url(), &[]);
    assert_eq!(found.code, 0, "{:#?}", found.checks);
    let expected = [
        ("store", Ok),
        ("read-back", Ok),
        ("create-only", Ok),
        ("digests", Ok),
        ("listing", Ok),
        ("versions", Warning),
        ("overwrite", Warning),
        ("delete", Warning),
        ("leftovers", Ok),
    ];
    came_to(&found, &expected);
    assert_eq!(found.of("create-only").count(), 2, "in one request, and in parts");
    assert_eq!(found.state("lock"), None, "nobody asked for one");
    assert_eq!(walk(&server.directory().join("data").join(BUCKET)), Vec::<String>::new(), "nothing is left");
    let locked = probe(&host, &server.environment(), &server.url(), &["--lock-until", "+30d"]);
    came_to(&locked, &[("lock", Critical), ("leftovers", Ok)]);
}

#[test]
fn f31_moto_keeps_versions_and_locks_and_does_not_check_digests() {
    let host = Host::new();
    let server = Moto::start();
    let found = probe(&host, &server.environment(), &server.url(), &["--lock-until", "+30d"]);
    assert_eq!(found.code, 0, "{:#?}", found.checks);
    let expected = [
        ("read-back", Ok),
        ("create-only", Ok),
        ("digests", Warning),
        ("listing", Ok),
        ("versions", Ok),
        ("lock", Ok),
        ("overwrite", Warning),
        ("delete", Warning),
        ("leftovers", Ok),
    ];
    came_to(&found, &expected);
    assert!(found.words("digests").contains("bytes with the digest of others were taken"), "{}", found.words("digests"));
    assert!(found.words("overwrite").contains("older version survives"), "{}", found.words("overwrite"));
    assert!(found.words("leftovers").contains("1 of the probe stay") && found.words("leftovers").contains("/locked"));
    let versions = server.send("GET", &format!("/{BUCKET}?versions"), "");
    assert_eq!(versions.matches("<Key>").count(), 1, "only what is locked: {versions}");
    assert!(!server.multipart_uploads().contains("<Upload>"), "no upload is left");
}

#[test]
fn f31_garage_overwrites_and_does_not_keep_locks() {
    if std::env::var_os("DR_TEST_FULL").is_none() {
        return;
    }
    let host = Host::new();
    let server = Garage::start().expect("scripts/setup full installs it");
    let found = probe(&host, &server.environment(), &server.url(), &["--lock-until", "+30d"]);
    assert_eq!(found.code, 1);
    came_to(&found, &[("read-back", Ok), ("create-only", Critical), ("digests", Ok), ("listing", Ok)]);
    came_to(&found, &[("versions", Warning), ("lock", Critical), ("delete", Warning), ("leftovers", Ok)]);
    assert!(found.words("versions").contains("names versions and keeps none"), "{}", found.words("versions"));
    let words = found.words("create-only");
    assert!(words.contains("a second object was taken") && words.contains("an upload in parts was taken"), "{words}");
}

#[test]
fn a_host_that_may_only_store_is_found_to_be_right_and_what_it_cannot_remove_is_said() {
    let host = Host::new();
    let server = S3sFs::start();
    // What the policy of a bucket does: only what stores goes through.
    let stores = |line: &str| line.starts_with("PUT ") || line.starts_with("POST ");
    let proxy = Proxy::choosing(server.address(), move |_, line| (!stores(line)).then_some(DENIED));
    let found = probe(&host, &server.environment(), &proxy.url(), &[]);
    assert_eq!(found.code, 0, "{:#?}", found.checks);
    came_to(&found, &[("store", Ok), ("read-back", Ok), ("create-only", Ok), ("listing", Ok), ("delete", Ok), ("leftovers", Ok)]);
    assert!(found.words("store").contains("right for a host that only stores"), "{}", found.words("store"));
    assert!(found.words("delete").contains("cannot delete"), "{}", found.words("delete"));
    assert!(found.words("leftovers").contains("a/main/probe/") || found.words("leftovers").contains("main/probe/"));
    assert!(!walk(&server.directory().join("data").join(BUCKET)).is_empty());
}

#[test]
fn a_clock_that_is_off_is_critical_even_where_nothing_may_be_listed() {
    let host = Host::new();
    let server = S3sFs::start();
    let late = Fault::Answer(
        "403 Forbidden",
        "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
        "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>no</Message></Error>",
    );
    let proxy = Proxy::choosing(server.address(), move |_, line| line.starts_with("GET ").then(|| late.clone()));
    let clock = || {
        let mut command = host.backing_up(&format!("s3://{BUCKET}/a"), "clock");
        run(command.envs(server.environment()).env("DR_ENDPOINT_URL", proxy.url()).args(["--host", "/nowhere"]))
    };
    came_to(&clock(), &[("clock", Critical)]);
    assert!(clock().words("clock").contains("seconds ahead"), "{}", clock().words("clock"));
    proxy.heal();
    came_to(&clock(), &[("clock", Ok)]);
}

#[test]
fn a_server_that_is_gone_or_does_not_know_us_is_critical() {
    let host = Host::new();
    let server = S3sFs::start();
    let mut environment = server.environment();
    environment.retain(|(name, _)| *name != "AWS_SECRET_ACCESS_KEY");
    environment.push(("AWS_SECRET_ACCESS_KEY", "wrong".into()));
    let found = probe(&host, &environment, &server.url(), &[]);
    assert_eq!((found.code, found.state("store"), found.state("create-only")), (1, Some(Critical), None));
    // Whoever asks for something else is not told that all is well.
    let mut one = host.command();
    one.envs(environment).args(["--to", "s3://dr-test/a", "--probe", "--check", "lock", "--lock-until", "+1d"]);
    came_to(&run(&mut one), &[("store", Critical)]);
    server.kill();
    let found = probe(&host, &server.environment(), &server.url(), &["--patience", "1"]);
    assert_eq!((found.code, found.state("store"), found.state("create-only")), (1, Some(Critical), None));
}

#[test]
fn f26_replies_that_are_lost_change_no_answer() {
    let host = Host::new();
    let server = S3sFs::start();
    let lost = ["PUT ", "POST ", "DELETE "].map(|method| (method, Fault::LoseReply));
    let upload = [("uploadId=", Fault::LoseReply)];
    let proxy = Proxy::start(server.address(), &[&lost[..], &upload[..]].concat());
    let found = probe(&host, &server.environment(), &proxy.url(), &[]);
    assert_eq!(found.code, 0, "{:#?}", found.checks);
    came_to(&found, &[("read-back", Ok), ("create-only", Ok), ("digests", Ok), ("delete", Warning), ("leftovers", Ok)]);
}

#[test]
fn f09_probes_at_the_same_time_are_not_in_each_others_way() {
    let host = Host::new();
    let server = S3sFs::start();
    let codes = std::thread::scope(|scope| {
        let one = || probe(&host, &server.environment(), &server.url(), &[]).code;
        let all: Vec<_> = (0..6).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(codes, [0; 6]);
    assert_eq!(walk(&server.directory().join("data").join(BUCKET)), Vec::<String>::new(), "nothing is left");
}

#[test]
fn a_listing_that_leaves_out_and_an_object_that_comes_back_changed_are_critical() {
    let host = Host::new();
    let server = S3sFs::start();
    let empty =
        "<?xml version=\"1.0\"?><ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>";
    let proxy = Proxy::choosing(server.address(), move |_, line| {
        let listing = line.contains("list-type=2");
        let reading = line.starts_with("GET ") && line.contains("/first");
        if listing { Some(Fault::Body(empty)) } else { reading.then_some(Fault::FlipReply) }
    });
    let found = probe(&host, &server.environment(), &proxy.url(), &[]);
    assert_eq!(found.code, 1);
    came_to(&found, &[("listing", Critical), ("read-back", Critical)]);
    assert!(found.words("listing").contains("of 3 objects just stored a listing shows 0"), "{}", found.words("listing"));
}

/// Makes a directory a store.
fn mark(directory: &std::path::Path) {
    fs::write(directory.join("dr-store.json"), "{\"format\":1,\"id\":\"00112233445566778899aabbccddeeff\"}\n").unwrap();
}

/// Every file below a directory.
fn walk(directory: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path.display().to_string()) }
    }
    found
}
