//! Reading a bucket as it was.

use chrono::{DateTime, TimeDelta, Utc};
use dr_pipe::Exit;
use dr_store::{Error, Hidden, HiddenKind, Store, StoreArgs};
use dr_testing::proxy::{Fault, Proxy};
use dr_testing::s3::{BUCKET, Moto, S3sFs};

use crate::{address, await_moment, behind, exit, hint, on, path, reading, send, store, whole};

fn at(url: &str, moment: DateTime<Utc>) -> Store {
    reading(url, |args| args.as_of = Some(moment))
}

fn keys(store: &Store) -> Vec<String> {
    store.list("").unwrap().into_iter().map(|listed| listed.key).collect()
}

/// The moment, and then the beginning of the next second but one: servers tell the time to the second.
fn pass() -> DateTime<Utc> {
    let now = Utc::now();
    let whole = DateTime::from_timestamp(now.timestamp() + 1, 0).unwrap();
    await_moment(whole + TimeDelta::seconds(1));
    whole
}

/// Whatever somebody does who has the right, past all that we do.
fn does(url: &str, method: &str, key: &str, body: &str) {
    let answer = send(url, method, &path(key), body);
    assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
}

on! { Moto:
    fn f41_what_was_deleted_or_overwritten_is_read_as_it_was(url) {
        let now = store(url);
        let before = pass();
        now.put("main/a", b"good").unwrap();
        now.put("main/b", b"good, too").unwrap();
        let good = pass();
        does(url, "PUT", "main/a", "evil instead");
        does(url, "DELETE", "main/b", "");
        now.put("main/c", b"new").unwrap();
        let overwritten = pass();
        does(url, "DELETE", "main/a", "");
        let deleted = pass();
        does(url, "PUT", "main/a", "evil again");

        assert_eq!(keys(&now), ["main/a", "main/c"]);
        assert_eq!(keys(&at(url, before)), Vec::<String>::new());
        assert_eq!(at(url, before).size("main/a").unwrap(), None);
        assert!(matches!(at(url, before).read("main/a", 99), Err(Error::Absent { .. })));

        let then = at(url, good);
        assert_eq!(keys(&then), ["main/a", "main/b"]);
        let sizes: Vec<_> = then.list("main/").unwrap().iter().map(|listed| listed.bytes).collect();
        assert_eq!(sizes, [4, 9]);
        assert_eq!(then.size("main/a").unwrap(), Some(4));
        assert_eq!(whole(&then, "main/a"), b"good");
        assert_eq!(whole(&then, "main/b"), b"good, too");
        assert_eq!(then.list_after("main/", "main/a").unwrap().len(), 1);

        assert_eq!(whole(&at(url, overwritten), "main/a"), b"evil instead");
        assert_eq!(keys(&at(url, overwritten)), ["main/a", "main/c"]);
        assert_eq!(keys(&at(url, deleted)), ["main/c"]);
        assert_eq!(at(url, deleted).size("main/a").unwrap(), None);
        assert_eq!(whole(&at(url, Utc::now() + TimeDelta::seconds(1)), "main/a"), b"evil again");
    }

    fn f41_markers_and_hidden_versions_are_told(url) {
        let store = store(url);
        store.put("main/a", b"good").unwrap();
        store.put("main/a.json", b"good").unwrap();
        assert_eq!(store.hidden("").unwrap(), []);
        pass();
        does(url, "PUT", "main/a", "evil");
        does(url, "DELETE", "main/a.json", "");
        let hidden = store.hidden("main/").unwrap();
        let mut kinds: Vec<_> = hidden.iter().map(|Hidden { key, kind, .. }| (key.as_str(), *kind)).collect();
        kinds.sort_by_key(|(key, kind)| (*key, *kind == HiddenKind::Overwritten));
        assert_eq!(
            kinds,
            [
                ("main/a", HiddenKind::Overwritten),
                ("main/a.json", HiddenKind::Marker),
                ("main/a.json", HiddenKind::Overwritten)
            ]
        );
        assert!(hidden.iter().all(|hidden| hidden.written_at.is_some() && !hidden.version_id.is_empty()));
        assert_eq!(store.hidden("main/a.").unwrap().len(), 2);
        assert_eq!(store.hidden("other/").unwrap(), []);
    }

    fn f41_all_pages_of_versions_are_read(url) {
        let store = store(url);
        for n in 0..10 {
            does(url, "PUT", &format!("main/{n}"), "x");
        }
        let moment = pass();
        let each: String = (0..10).map(|n| format!("<Object><Key>a/b/main/{n}</Key></Object>")).collect();
        for _ in 0..2 {
            let answer = send(url, "POST", &format!("/{BUCKET}?delete"), &format!("<Delete>{}</Delete>", each.repeat(60)));
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        let hidden = store.hidden("").unwrap();
        assert_eq!(hidden.iter().filter(|hidden| hidden.kind == HiddenKind::Marker).count(), 1200);
        assert_eq!(hidden.len(), 1210);
        assert_eq!(at(url, moment).list("").unwrap().len(), 10);
        assert_eq!(whole(&at(url, moment), "main/7"), b"x");
    }

    fn f41_of_keys_that_begin_alike_each_is_its_own(url) {
        let now = store(url);
        for n in 0..12 {
            now.put(&format!("main/x{n}"), format!("{n}").as_bytes()).unwrap();
        }
        let moment = pass();
        assert_eq!(at(url, moment).size("main/x").unwrap(), None);
        assert_eq!(whole(&at(url, moment), "main/x1"), b"1");
    }

    fn f41_the_past_is_not_written_to(url) {
        let (moment, location) = (Utc::now(), format!("s3://{BUCKET}/a/b").parse().unwrap());
        let args = StoreArgs { endpoint_url: Some(url.into()), as_of: Some(moment), ..StoreArgs::default() };
        assert_eq!(exit(Store::open_for_write(&location, &args).unwrap_err()), Exit::Usage);
        assert_eq!(exit(Store::init(&location, &args).unwrap_err()), Exit::Usage);
        store(url).put("main/x", b"x").unwrap();
        let then = at(url, moment);
        assert_eq!(exit(then.put("main/y", b"y").unwrap_err()), Exit::Usage);
        assert_eq!(exit(then.upload("main/y", &dr_store::UploadOptions::default()).map(drop).unwrap_err()), Exit::Usage);
        assert_eq!(exit(then.remove("main/x").unwrap_err()), Exit::Usage);
        assert_eq!(keys(&store(url)), ["main/x"]);
    }

    fn f41_a_denied_look_into_the_past_names_the_right_that_it_needs(url) {
        let denied = || {
            let body = "<Error><Code>AccessDenied</Code></Error>";
            Fault::Answer("403 Forbidden", "content-type: application/xml\r\n", body)
        };
        let faults = [("GET versions", denied()), ("GET versions", denied()), ("HEAD main/x", Fault::Answer("403 Forbidden", "", ""))];
        let proxy = Proxy::start(address(url), &faults);
        store(url).put("main/x", b"x").unwrap();
        let then = at(&proxy.url(), pass());
        let needs = |right: &str| format!("the credential needs {right} on bucket {BUCKET}");
        assert_eq!(hint(behind(&proxy).hidden("").unwrap_err()), needs("s3:ListBucketVersions"));
        assert_eq!(hint(then.size("main/x").unwrap_err()), needs("s3:ListBucketVersions"));
        assert_eq!(hint(then.size("main/x").unwrap_err()), needs("s3:GetObjectVersion"));
        assert_eq!(proxy.unused(), []);
    }
}

on! { S3sFs:
    fn f41_a_server_without_versions_hides_nothing_and_has_no_past(url) {
        let store = store(url);
        store.put("main/x", b"x").unwrap();
        assert_eq!(store.hidden("").unwrap(), []);
        assert_eq!(exit(at(url, Utc::now()).list("").unwrap_err()), Exit::Config);
        assert_eq!(exit(at(url, Utc::now()).size("main/x").unwrap_err()), Exit::Config);
    }
}
