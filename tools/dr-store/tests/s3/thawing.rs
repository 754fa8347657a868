//! Objects in cold storage.

use std::io::Read;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use dr_pipe::{Exit, Failure};
use dr_store::{Error, Store, Thaw, UploadOptions};
use dr_testing::proxy::{Fault, Proxy};
use dr_testing::s3::{BUCKET, Moto};

use crate::{address, behind, bytes, exit, hint, on, reading, send, store, upload, whole};

fn freeze(store: &Store, key: &str, class: &str) {
    let options = UploadOptions { storage_class: Some(class.into()), ..UploadOptions::default() };
    upload(store, key, &bytes(1000), &options).unwrap();
}

/// Puts an object into cold storage, from where moto thaws it a second after it has first been looked at.
fn freezes_for_a_second(url: &str, key: &str, class: &str) {
    let body = r#"{"model_name": "s3::keyrestore", "transition": {"progression": "time", "seconds": 1}}"#;
    let answer = send(url, "POST", "/moto-api/state-manager/set-transition", body);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    freeze(&store(url), key, class);
    // Counted from the upload, it takes a second until it begins to thaw, too; moto calls it thawed before.
    crate::await_moment(Utc::now() + TimeDelta::milliseconds(1100));
}

fn xml(status: &'static str, body: &'static str) -> Fault {
    Fault::Answer(status, "content-type: application/xml\r\n", body)
}

on! { Moto:
    fn what_is_frozen_is_not_read_and_the_user_is_told_what_to_do(url) {
        let store = store(url);
        for class in ["GLACIER", "DEEP_ARCHIVE"] {
            let key = format!("main/dump/{class}");
            freeze(&store, &key, class);
            assert_eq!(store.size(&key).unwrap(), Some(1000));
            let failure = Failure::from(store.reader(&key).map(drop).unwrap_err());
            assert_eq!(failure.exit, Exit::Busy);
            assert_eq!(failure.message, format!("s3://{BUCKET}/a/b/{key} is frozen in {class}"));
            assert_eq!(failure.hint, "give --thaw DAYS to ask for it; that takes hours and costs money");
            assert!(matches!(store.read(&key, 9999), Err(Error::Frozen { asked: false, .. })));
        }
        // Nothing was asked for, and so nothing is paid for.
        assert_eq!(store.thaw("main/dump/GLACIER", 1).unwrap(), Thaw::Asked);
    }

    fn what_lies_warm_is_read_at_once(url) {
        let store = reading(url, |args| args.thaw = Some(1));
        freeze(&crate::store(url), "main/dump/x", "GLACIER_IR");
        assert_eq!(store.thaw("main/dump/x", 1).unwrap(), Thaw::Ready);
        assert_eq!(whole(&store, "main/dump/x"), bytes(1000));
        assert!(matches!(store.thaw("main/dump/y", 1), Err(Error::Absent { .. })));
    }

    fn an_object_is_asked_for_once_and_is_ready_when_it_has_thawed(url) {
        let store = store(url);
        freezes_for_a_second(url, "main/dump/x", "GLACIER");
        assert_eq!(store.thaw("main/dump/x", 2).unwrap(), Thaw::Asked);
        assert_eq!(store.thaw("main/dump/x", 2).unwrap(), Thaw::Ongoing);
        let error = store.read("main/dump/x", 9999).unwrap_err();
        assert!(matches!(error, Error::Frozen { asked: true, .. }) && error.to_string().contains("being thawed"), "{error}");
        assert!(hint(error).contains("asked for"));
        let begun = Instant::now();
        while store.thaw("main/dump/x", 2).unwrap() != Thaw::Ready {
            assert!(begun.elapsed() < Duration::from_secs(30));
            std::thread::park_timeout(Duration::from_millis(50));
        }
        assert_eq!(whole(&store, "main/dump/x"), bytes(1000));
    }

    fn who_asks_second_hears_that_it_is_on_its_way(url) {
        let conflict = "<Error><Code>RestoreAlreadyInProgress</Code><Message>Object restore is already in progress</Message></Error>";
        let proxy = Proxy::start(address(url), &[("POST restore", xml("409 Conflict", conflict))]);
        freeze(&store(url), "main/dump/x", "GLACIER");
        assert_eq!(behind(&proxy).thaw("main/dump/x", 1).unwrap(), Thaw::Ongoing);
        assert_eq!(proxy.seen().iter().filter(|line| line.starts_with("POST")).count(), 1);
    }

    fn a_denied_thaw_names_the_right_that_it_needs(url) {
        let denied = xml("403 Forbidden", "<Error><Code>AccessDenied</Code></Error>");
        let proxy = Proxy::start(address(url), &[("POST restore", denied)]);
        freeze(&store(url), "main/dump/x", "GLACIER");
        let error = reading(&proxy.url(), |args| args.thaw = Some(1)).reader("main/dump/x").map(drop).unwrap_err();
        assert_eq!(hint(error), format!("the credential needs s3:RestoreObject on bucket {BUCKET}"));
    }

    fn what_freezes_again_while_it_is_read_is_no_denial(url) {
        let frozen = "<Error><Code>InvalidObjectState</Code><Message>The operation is not valid</Message></Error>";
        let proxy = Proxy::start(address(url), &[("GET main/dump/x", xml("403 Forbidden", frozen))]);
        upload(&store(url), "main/dump/x", &bytes(1000), &UploadOptions::default()).unwrap();
        let error = behind(&proxy).reader("main/dump/x").unwrap().read(&mut [0; 10]).unwrap_err();
        let error = Error::from_read("x", error);
        assert!(matches!(error, Error::Frozen { .. }), "{error:?}");
        assert_eq!(exit(error), Exit::Busy);
    }
}

#[test]
fn a_reader_that_may_ask_waits_until_the_object_has_thawed() {
    if let Ok(url) = std::env::var("DR_TEST_SERVER") {
        freezes_for_a_second(&url, "main/dump/x", "DEEP_ARCHIVE");
        let begun = Instant::now();
        assert_eq!(whole(&reading(&url, |args| args.thaw = Some(3)), "main/dump/x"), bytes(1000));
        assert!(begun.elapsed() > Duration::from_secs(1));
        return;
    }
    let server = Moto::start();
    let path = concat!(module_path!(), "::a_reader_that_may_ask_waits_until_the_object_has_thawed");
    let said = crate::passes(crate::child(path, &server.url()).envs(server.environment()));
    let warnings: Vec<_> = said.lines().filter(|line| line.contains(": warning: ")).collect();
    assert_eq!(warnings.len(), 1, "{said}");
    assert!(warnings[0].ends_with("main/dump/x, which is being thawed from DEEP_ARCHIVE: mostly 12 hours"), "{said}");
}
