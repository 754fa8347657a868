//! Clocks that differ.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use dr_pipe::{Exit, Failure};
use dr_store::{Put, Store, StoreArgs};
use dr_testing::clock;
use dr_testing::proxy::{Fault, Proxy};
use dr_testing::s3::{Moto, S3sFs};

use crate::{address, behind, exit, on, store};

/// What a server says whose clock shows `date`, of a request that it finds too old or too new.
fn skewed(date: DateTime<Utc>) -> Fault {
    let header = format!("content-type: application/xml\r\ndate: {}\r\n", date.format("%a, %d %b %Y %H:%M:%S GMT"));
    let body = "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference is too large.</Message></Error>";
    Fault::Answer("403 Forbidden", header.leak(), body)
}

/// When the request with this head says that it was signed.
fn signed_at(head: &str) -> DateTime<Utc> {
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    let (_, date) = headers.find(|(name, _)| name.eq_ignore_ascii_case("x-amz-date")).unwrap();
    NaiveDateTime::parse_from_str(date.trim(), "%Y%m%dT%H%M%SZ").unwrap().and_utc()
}

fn is_about(left: DateTime<Utc>, right: DateTime<Utc>) -> bool {
    (left - right).abs() < TimeDelta::seconds(20)
}

/// Runs a test beside a server whose clock is right, with a clock of its own that is wrong.
fn with_the_wrong_time(path: &str, by: &str) {
    let server = S3sFs::start();
    let mut test = crate::child(path, &server.url());
    crate::passes(clock::set(test.envs(server.environment()), by));
}

/// Put, and read, from a host whose clock is far off. The proxy is there to count.
fn refused_from_here(url: &str, side: &str) {
    let proxy = Proxy::start(address(url), &[]);
    let failure = Failure::from(behind(&proxy).put("main/x", b"x").unwrap_err());
    assert_eq!(failure.exit, Exit::Config);
    assert!(failure.message.contains("RequestTimeTooSkewed") && failure.message.contains(side), "{}", failure.message);
    assert!(failure.hint.contains("timedatectl"), "{}", failure.hint);
    assert_eq!(proxy.seen().len(), 1, "no second attempt");
    // An answer to HEAD does not say why.
    let failure = Failure::from(behind(&proxy).size("main/x").unwrap_err());
    assert!(failure.exit == Exit::Config && failure.message.contains(side), "{failure:?}");
}

#[test]
fn f38_a_clock_that_is_far_behind_is_wrong_configuration() {
    match std::env::var("DR_TEST_SERVER") {
        Ok(url) => refused_from_here(&url, "seconds behind the server's"),
        Err(_) => with_the_wrong_time(concat!(module_path!(), "::f38_a_clock_that_is_far_behind_is_wrong_configuration"), "-20m"),
    }
}

#[test]
fn f38_a_clock_that_is_far_ahead_is_wrong_configuration() {
    match std::env::var("DR_TEST_SERVER") {
        Ok(url) => refused_from_here(&url, "seconds ahead of the server's"),
        Err(_) => with_the_wrong_time(concat!(module_path!(), "::f38_a_clock_that_is_far_ahead_is_wrong_configuration"), "+20m"),
    }
}

/// A server that is strict about a clock that is off by two minutes: once, and then always.
#[test]
fn f38_a_clock_that_is_a_little_off_is_set_right_once_and_warned_of() {
    if let Ok(url) = std::env::var("DR_TEST_SERVER") {
        let upstream = address(&url);
        let theirs = Utc::now() - TimeDelta::seconds(120);
        let proxy = Proxy::start(upstream, &[("PUT", skewed(theirs))]);
        assert_eq!(behind(&proxy).put("main/x", b"x").unwrap(), Put::Created);
        let heads = proxy.heads();
        assert_eq!(heads.len(), 2);
        assert!(is_about(signed_at(&heads[0]), Utc::now()) && is_about(signed_at(&heads[1]), theirs), "{heads:?}");
        let proxy = Proxy::choosing(upstream, move |_, _| Some(skewed(theirs)));
        assert_eq!(exit(behind(&proxy).put("main/y", b"x").unwrap_err()), Exit::Config);
        assert_eq!(proxy.seen().len(), 2, "one second attempt");
        return;
    }
    let server = S3sFs::start();
    let path = concat!(module_path!(), "::f38_a_clock_that_is_a_little_off_is_set_right_once_and_warned_of");
    let said = crate::passes(crate::child(path, &server.url()).envs(server.environment()));
    let warnings: Vec<_> = said.lines().filter(|line| line.contains(": warning: ")).collect();
    assert_eq!(warnings.len(), 2, "{said}");
    assert!(warnings[0].contains("seconds ahead of the server's: trying again by the server's clock"), "{said}");
}

on! { Moto:
    fn the_clock_of_a_store_is_its_servers(url) {
        let told = store(url).clock().unwrap().unwrap();
        assert!(is_about(told, Utc::now()), "{told}");
        let empty = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
        let answer = |headers| Fault::Answer("200 OK", headers, empty);
        let faults = [
            ("GET", answer("content-type: application/xml\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n")),
            ("GET", answer("content-type: application/xml\r\n")),
            ("GET", answer("content-type: application/xml\r\ndate: today\r\n")),
        ];
        let proxy = Proxy::start(address(url), &faults);
        let store = behind(&proxy);
        assert_eq!(store.clock().unwrap().map(|at| at.timestamp()), Some(784_111_777));
        assert_eq!(exit(store.clock().unwrap_err()), Exit::Protocol);
        assert_eq!(exit(store.clock().unwrap_err()), Exit::Protocol);
    }
}

#[test]
fn a_directory_has_no_clock_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("dr-store.json"), r#"{"format":1,"id":"0123456789abcdef0123456789abcdef"}"#).unwrap();
    let location = directory.path().to_str().unwrap().parse().unwrap();
    assert_eq!(Store::open_for_read(&location, &StoreArgs::default()).unwrap().clock().unwrap(), None);
}
