//! Removing objects.

use chrono::{DateTime, TimeDelta, Utc};
use dr_pipe::Exit;
use dr_store::{Error, Hidden, HiddenKind, LockMode, Put, Removed, Store, UploadOptions};
use dr_testing::proxy::{Fault, Proxy};
use dr_testing::s3::{Garage, Moto, S3sFs};

use crate::{address, behind, bytes, exit, hint, on, path, send, store, upload};

/// What is beside the objects that a listing shows: keys and kinds.
fn beside(store: &Store) -> Vec<(String, HiddenKind)> {
    store.hidden("").unwrap().into_iter().map(|Hidden { key, kind, .. }| (key, kind)).collect()
}

fn locked(until: DateTime<Utc>) -> UploadOptions {
    UploadOptions { lock_until: Some(until), lock_mode: LockMode::Compliance, ..UploadOptions::default() }
}

on! { S3sFs:
    fn what_is_removed_is_gone_and_what_is_not_there_is_absent(url) {
        let store = store(url);
        for key in ["main/x", "main/y"] {
            store.put(key, b"x").unwrap();
        }
        assert_eq!(store.remove("main/x").unwrap(), Removed::Gone);
        assert_eq!(store.remove("main/x").unwrap(), Removed::Absent);
        assert_eq!(store.size("main/x").unwrap(), None);
        assert_eq!(store.list("").unwrap().len(), 1);
        assert_eq!(store.put("main/x", b"new").unwrap(), Put::Created);
        assert_eq!(store.unfinished("main/").unwrap(), []);
    }

    fn a_removal_whose_reply_is_lost_is_one(url) {
        let proxy = Proxy::start(address(url), &[("DELETE", Fault::LoseReply)]);
        let store = behind(&proxy);
        store.put("main/x", b"x").unwrap();
        assert_eq!(store.remove("main/x").unwrap(), Removed::Gone);
        assert_eq!(proxy.unused(), []);
        assert_eq!(store.size("main/x").unwrap(), None);
    }
}

on! { Moto:
    fn where_there_are_versions_a_removal_hides(url) {
        let store = store(url);
        store.put("main/x", b"x").unwrap();
        assert_eq!(beside(&store), []);
        assert_eq!(store.remove("main/x").unwrap(), Removed::Gone);
        assert_eq!(store.remove("main/x").unwrap(), Removed::Absent);
        assert_eq!(store.list("").unwrap(), []);
        let (mut kinds, x) = (beside(&store), || "main/x".to_owned());
        kinds.sort_by_key(|(_, kind)| *kind == HiddenKind::Overwritten);
        assert_eq!(kinds, [(x(), HiddenKind::Marker), (x(), HiddenKind::Overwritten)]);
    }

    fn f92_a_locked_object_is_held_until_its_lock_ends_and_no_marker_is_laid_over_it(url) {
        let store = store(url);
        let until = Utc::now() + TimeDelta::days(30);
        upload(&store, "main/dump/locked", &bytes(10), &locked(until)).unwrap();
        let removed = store.remove("main/dump/locked").unwrap();
        let Removed::Held { until: Some(held) } = removed else { panic!("{removed:?}") };
        assert_eq!(held.timestamp(), until.timestamp());
        assert_eq!(beside(&store), []);
        assert_eq!(store.size("main/dump/locked").unwrap(), Some(10));
    }

    fn f92_a_legal_hold_has_no_end(url) {
        let store = store(url);
        store.put("main/held", b"x").unwrap();
        let hold = |status| {
            let body = format!("<LegalHold><Status>{status}</Status></LegalHold>");
            let answer = send(url, "PUT", &format!("{}?legal-hold", path("main/held")), &body);
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        };
        hold("ON");
        assert_eq!(store.remove("main/held").unwrap(), Removed::Held { until: None });
        assert_eq!(beside(&store), []);
        assert_eq!(store.read("main/held", 9).unwrap(), b"x");
        hold("OFF");
        assert_eq!(store.remove("main/held").unwrap(), Removed::Gone);
    }

    fn f92_a_lock_that_has_ended_holds_nothing(url) {
        let store = store(url);
        let until = Utc::now() + TimeDelta::seconds(2);
        upload(&store, "main/dump/locked", &bytes(10), &locked(until)).unwrap();
        assert!(matches!(store.remove("main/dump/locked").unwrap(), Removed::Held { until: Some(_) }));
        crate::await_moment(until + TimeDelta::milliseconds(100));
        assert_eq!(store.remove("main/dump/locked").unwrap(), Removed::Gone);
    }

    fn f92_a_denied_removal_names_the_right_that_it_needs(url) {
        let denied = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
        let fault = Fault::Answer("403 Forbidden", "content-type: application/xml\r\n", denied);
        let proxy = Proxy::start(address(url), &[("DELETE", fault)]);
        let store = behind(&proxy);
        store.put("main/x", b"x").unwrap();
        let error = store.remove("main/x").unwrap_err();
        assert!(matches!(error, Error::Denied { .. }), "{error:?}");
        assert_eq!(hint(error), "the credential needs s3:DeleteObject on bucket dr-test");
        assert_eq!(store.read("main/x", 9).unwrap(), b"x");
        // Tried once, and not seven times.
        assert_eq!(proxy.seen().iter().filter(|line| line.starts_with("DELETE")).count(), 1);
    }

    fn f34_an_unfinished_upload_is_seen_and_aborted_once(url) {
        let store = store(url);
        assert_eq!(store.unfinished("").unwrap(), []);
        for key in ["main/dump/x", "other/dump/x"] {
            send(url, "POST", &format!("{}?uploads", path(key)), "");
        }
        let all = store.unfinished("main/").unwrap();
        assert_eq!(all.iter().map(|upload| upload.key.as_str()).collect::<Vec<_>>(), ["main/dump/x"]);
        assert!(all[0].begun_at.is_some());
        assert!(store.abort(&all[0]).unwrap());
        assert!(!store.abort(&all[0]).unwrap(), "it is gone");
        assert_eq!(store.unfinished("").unwrap().len(), 1);
    }

    fn nothing_is_removed_from_a_bucket_that_is_not_there(url) {
        let error = crate::store_at(url, "absent").remove("main/x").unwrap_err();
        assert_eq!(exit(error), Exit::Config);
    }
}

/// Where garage is installed (scripts/setup full), which is a server of its own kind.
#[test]
fn garage_lists_and_removes_and_keeps_no_versions() {
    if let Ok(url) = std::env::var("DR_TEST_SERVER") {
        let store = store(&url);
        for n in 0..3 {
            store.put(&format!("main/{n}"), b"x").unwrap();
        }
        assert_eq!(store.list("main/").unwrap().len(), 3);
        assert_eq!(store.remove("main/1").unwrap(), Removed::Gone);
        assert_eq!(store.remove("main/1").unwrap(), Removed::Absent);
        assert_eq!(store.list("main/").unwrap().len(), 2);
        assert_eq!(beside(&store), []);
        assert!(store.clock().unwrap().is_some());
        assert_eq!(store.unfinished("").unwrap(), []);
        let mut begun = store.upload("main/dump/large", &UploadOptions::default()).unwrap();
        begun.write(&bytes(crate::PARTS)).unwrap();
        let all = store.unfinished("main/").unwrap();
        assert_eq!(all.iter().map(|upload| upload.key.as_str()).collect::<Vec<_>>(), ["main/dump/large"]);
        assert!(all[0].begun_at.is_some_and(|at| (Utc::now() - at).num_minutes().abs() < 5), "{all:?}");
        assert!(store.abort(&all[0]).unwrap() && store.unfinished("").unwrap().is_empty());
        return;
    }
    let Some(server) = Garage::start() else { return };
    let path = concat!(module_path!(), "::garage_lists_and_removes_and_keeps_no_versions");
    crate::passes(crate::child(path, &server.url()).envs(server.environment()));
}
