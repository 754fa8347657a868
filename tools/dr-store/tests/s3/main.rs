//! The S3 store against real servers.
#![allow(clippy::unwrap_used)]

mod clocks;
mod credentials;
mod etags;
mod listings;
mod removal;
mod thawing;
mod versions;

use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use dr_pipe::{Exit, Failure};
use dr_store::{Confirmed, Error, LockMode, Put, Store, StoreArgs, Stored, UploadOptions};
use dr_testing::proxy::Proxy;
use dr_testing::s3::{ACCESS_KEY, BUCKET, Moto, S3sFs};

/// Runs a test in a process of its own, whose environment leads to a server: the SDK takes credentials from there alone.
macro_rules! on {
    ($server:ident: $(fn $name:ident($url:ident) $body:block)*) => {$(
        #[test]
        fn $name() {
            let body = |$url: &str| $body;
            match std::env::var("DR_TEST_SERVER") {
                Ok(url) => body(&url),
                Err(_) => {
                    let server = $server::start();
                    let mut test = $crate::child(concat!(module_path!(), "::", stringify!($name)), &server.url());
                    $crate::passes(test.envs(server.environment()).env("DR_TEST_DIRECTORY", server.directory()));
                }
            }
        }
    )*};
}

pub(crate) use on;

/// The test `path` once more, in a process of its own that is told of a server.
fn child(path: &str, url: &str) -> Command {
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", path.split_once("::").unwrap().1, "--nocapture"]).env("DR_TEST_SERVER", url);
    test
}

/// Runs a test that has to pass; gives what it said on stderr.
fn passes(test: &mut Command) -> String {
    let Output { status, stdout, stderr } = test.output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    assert!(status.success(), "{stderr}");
    assert!(String::from_utf8_lossy(&stdout).contains("1 passed"), "it was found");
    stderr
}

/// Sends a request as somebody else would, past all that we do; gives the whole answer. For moto, which looks for a signature, and
/// not at it.
fn send(url: &str, method: &str, path: &str, body: &str) -> String {
    let host = address(url);
    let mut connection = TcpStream::connect(host).unwrap();
    let credential = format!("Credential={ACCESS_KEY}/20260125/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0");
    let length = body.len();
    write!(
        connection,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: AWS4-HMAC-SHA256 {credential}\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

/// The address in a server's URL.
fn address(url: &str) -> SocketAddr {
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

/// The path of an object of [`store`] in requests of somebody else.
fn path(key: &str) -> String {
    format!("/{BUCKET}/a/b/{key}")
}

/// A store at the server that is reached through the proxy.
fn behind(proxy: &Proxy) -> Store {
    store(&proxy.url())
}

/// As [`behind`], of somebody who gives up after a second.
fn impatient(proxy: &Proxy) -> Store {
    let args = StoreArgs { endpoint_url: Some(proxy.url()), patience: 1, ..StoreArgs::default() };
    Store::open_for_write(&format!("s3://{BUCKET}/a/b").parse().unwrap(), &args).unwrap()
}

/// A store as `change` has it, opened to be read.
fn reading(url: &str, change: impl FnOnce(&mut StoreArgs)) -> Store {
    let mut args = StoreArgs { endpoint_url: Some(url.into()), ..StoreArgs::default() };
    change(&mut args);
    Store::open_for_read(&format!("s3://{BUCKET}/a/b").parse().unwrap(), &args).unwrap()
}

/// Waits for a moment.
fn await_moment(moment: DateTime<Utc>) {
    while Utc::now() < moment {
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// The hint that a user sees.
fn hint(error: Error) -> String {
    Failure::from(error).hint
}

fn store_at(url: &str, bucket: &str) -> Store {
    let location = format!("s3://{bucket}/a/b").parse().unwrap();
    let args = StoreArgs { endpoint_url: Some(url.into()), ..StoreArgs::default() };
    Store::open_for_write(&location, &args).unwrap()
}

fn store(url: &str) -> Store {
    store_at(url, BUCKET)
}

fn exit(error: Error) -> Exit {
    Failure::from(error).exit
}

/// Several parts: the first ones have 16 MiB.
const PARTS: usize = (40 << 20) + 12_345;

/// Bytes that no compression or coincidence makes equal.
fn bytes(n: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut out = Vec::with_capacity(n + 8);
    while out.len() < n {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(n);
    out
}

fn upload(store: &Store, key: &str, bytes: &[u8], options: &UploadOptions) -> Result<Stored, Error> {
    let mut upload = store.upload(key, options)?;
    for chunk in bytes.chunks(256 << 10) {
        upload.write(chunk)?;
    }
    upload.finish()
}

/// The whole object, by way of one reader.
fn whole(store: &Store, key: &str) -> Vec<u8> {
    let mut got = Vec::new();
    store.reader(key).unwrap().read_to_end(&mut got).unwrap();
    got
}

on! { S3sFs:
    fn a_small_object_is_created_once_and_read_back(url) {
        let store = store(url);
        assert_eq!(store.size("main/x.json").unwrap(), None);
        assert_eq!(store.put("main/x.json", b"one").unwrap(), Put::Created);
        assert_eq!(store.put("main/x.json", b"one").unwrap(), Put::Identical);
        assert!(matches!(store.put("main/x.json", b"two"), Err(Error::Exists { comparable: true, .. })));
        assert!(matches!(store.put("main/x.json", b"longer"), Err(Error::Exists { comparable: true, .. })));
        assert_eq!(store.read("main/x.json", 100).unwrap(), b"one");
        assert_eq!(store.size("main/x.json").unwrap(), Some(3));
        assert_eq!(exit(store.read("main/x.json", 2).unwrap_err()), Exit::Damaged);
        assert_eq!(exit(store.read("main/y.json", 2).unwrap_err()), Exit::Missing);
    }

    fn an_upload_of_one_part_is_confirmed_by_its_checksum(url) {
        let store = store(url);
        let stored = upload(&store, "main/dump/small", &bytes(100_000), &UploadOptions::default()).unwrap();
        assert_eq!(stored.confirmed, Confirmed::Checksum);
        assert_eq!(whole(&store, "main/dump/small"), bytes(100_000));
    }

    fn an_upload_of_many_parts_comes_back_byte_by_byte(url) {
        let store = store(url);
        upload(&store, "main/dump/large", &bytes(PARTS), &UploadOptions::default()).unwrap();
        assert!(whole(&store, "main/dump/large") == bytes(PARTS));
    }

    fn an_upload_of_exactly_one_part_and_of_nothing_are_whole(url) {
        let store = store(url);
        for n in [16 << 20, (16 << 20) + 1, 0] {
            let key = format!("main/dump/{n}");
            upload(&store, &key, &bytes(n), &UploadOptions::default()).unwrap();
            assert!(whole(&store, &key) == bytes(n), "{n}");
        }
    }

    fn f21_an_upload_never_overwrites(url) {
        let store = store(url);
        upload(&store, "main/dump/x", &bytes(10), &UploadOptions::default()).unwrap();
        let again = upload(&store, "main/dump/x", &bytes(11), &UploadOptions::default());
        assert!(matches!(again, Err(Error::Exists { comparable: true, .. })), "{again:?}");
        let again = upload(&store, "main/dump/x", &bytes(PARTS), &UploadOptions::default());
        assert!(matches!(again, Err(Error::Exists { comparable: true, .. })), "{again:?}");
        assert_eq!(whole(&store, "main/dump/x"), bytes(10));
    }

    fn ranges_are_read_here_and_there_and_by_clones(url) {
        let store = store(url);
        let all = bytes(3_000_000);
        upload(&store, "main/dump/x", &all, &UploadOptions::default()).unwrap();
        let mut reader = store.reader("main/dump/x").unwrap();
        assert_eq!(reader.size(), 3_000_000);
        let mut buf = vec![0; 70_000];
        for offset in [2_900_000, 0, 1_234_567, 1_304_567, 2_930_000] {
            reader.seek(SeekFrom::Start(offset)).unwrap();
            reader.read_exact(&mut buf).unwrap();
            let offset = usize::try_from(offset).unwrap();
            assert!(buf == all[offset..offset + 70_000], "at {offset}");
        }
        reader.seek(SeekFrom::End(-5)).unwrap();
        let mut tail = Vec::new();
        reader.clone().read_to_end(&mut tail).unwrap();
        assert_eq!(tail, all[2_999_995..]);
        assert_eq!(reader.seek(SeekFrom::Start(9_999_999)).unwrap(), 9_999_999);
        assert_eq!(reader.read(&mut buf).unwrap(), 0);
    }

    fn an_object_that_is_swapped_while_it_is_read_is_noticed(url) {
        let store = store(url);
        upload(&store, "main/dump/x", &bytes(3_000_000), &UploadOptions::default()).unwrap();
        let mut reader = store.reader("main/dump/x").unwrap();
        reader.read_exact(&mut [0; 10]).unwrap();
        let file = std::path::Path::new(&std::env::var("DR_TEST_DIRECTORY").unwrap()).join("data").join(BUCKET).join("a/b/main/dump/x");
        std::fs::write(file, bytes(3_000_001)).unwrap();
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(exit(Error::from_read("x", error)), Exit::Damaged);
    }

    fn a_lock_that_a_server_cannot_keep_is_an_error(url) {
        let options = UploadOptions { lock_until: Some(Utc::now() + TimeDelta::days(1)), ..UploadOptions::default() };
        let outcome = upload(&store(url), "main/dump/x", &bytes(10), &options);
        assert!(matches!(exit(outcome.unwrap_err()), Exit::Config | Exit::Protocol));
    }
}

on! { Moto:
    fn a_listing_has_all_pages_in_order(url) {
        let store = store(url);
        for n in 0..1100 {
            store.put(&format!("main/list/{n}"), b"x").unwrap();
        }
        let keys: Vec<_> = store.list("main/li").unwrap().into_iter().map(|listed| listed.key).collect();
        let mut expected: Vec<_> = (0..1100).map(|n| format!("main/list/{n}")).collect();
        expected.sort_unstable();
        assert_eq!(keys, expected);
        assert_eq!(store.list("main/list/109").unwrap().len(), 11);
        assert_eq!(store.list("other/").unwrap(), []);
    }

    fn lock_storage_class_and_tags_are_read_back(url) {
        let store = store(url);
        let until = Utc::now() + TimeDelta::days(30);
        let options = UploadOptions {
            storage_class: Some("STANDARD_IA".into()),
            tags: vec![("team".into(), "data + more=1".into())],
            lock_until: Some(until),
            lock_mode: LockMode::Compliance,
            expected_bytes: None,
        };
        let stored = upload(&store, "main/dump/small", &bytes(10), &options).unwrap();
        assert_eq!(stored.storage_class.as_deref(), Some("STANDARD_IA"));
        assert_eq!(stored.locked_until.map(|at| at.timestamp()), Some(until.timestamp()));
        assert_eq!(stored.warnings, Vec::<String>::new());
        // moto forgets the lock of a multipart upload, and fails when it is asked for it.
        let stored = upload(&store, "main/dump/large", &bytes(PARTS), &options).unwrap();
        assert_eq!(stored.storage_class.as_deref(), Some("STANDARD_IA"));
        assert_eq!(stored.locked_until, None);
        assert!(stored.warnings[0].starts_with("the lock is accepted, and unconfirmed: "), "{:?}", stored.warnings);
        let tags = send(url, "GET", &format!("{}?tagging", path("main/dump/large")), "");
        assert!(tags.contains("<Key>team</Key>") && tags.contains("<Value>data + more=1</Value>"), "{tags}");
    }

    fn an_upload_of_many_parts_asks_for_lock_storage_class_and_tags_as_one_of_a_single_request(url) {
        let proxy = Proxy::start(address(url), &[]);
        let until = "2099-01-25T02:00:00Z".parse().unwrap();
        let options = UploadOptions {
            storage_class: Some("STANDARD_IA".into()),
            tags: vec![("team".into(), "data".into())],
            lock_until: Some(until),
            lock_mode: LockMode::Governance,
            expected_bytes: None,
        };
        for (key, n) in [("main/dump/small", 10), ("main/dump/large", PARTS)] {
            upload(&behind(&proxy), key, &bytes(n), &options).unwrap();
        }
        for line in ["PUT /dr-test/a/b/main/dump/small?", "POST /dr-test/a/b/main/dump/large?uploads"] {
            let heads = proxy.heads();
            let head = heads.iter().find(|head| head.starts_with(line)).unwrap().to_ascii_lowercase();
            for header in [
                "x-amz-storage-class: standard_ia\r\n",
                "x-amz-tagging: team=data\r\n",
                "x-amz-object-lock-mode: governance\r\n",
                "x-amz-object-lock-retain-until-date: 2099-01-25t02:00:00z\r\n",
            ] {
                assert!(head.contains(header), "{header} in {head}");
            }
        }
    }

    fn f36_a_bucket_that_is_not_there_is_wrong_configuration(url) {
        let store = store_at(url, "absent");
        assert_eq!(exit(store.put("main/x", b"x").unwrap_err()), Exit::Config);
        assert_eq!(exit(store.size("main/x").unwrap_err()), Exit::Config);
        assert_eq!(exit(store.list("").unwrap_err()), Exit::Config);
        assert_eq!(exit(upload(&store, "main/x", &bytes(PARTS), &UploadOptions::default()).unwrap_err()), Exit::Config);
    }

    fn an_unknown_storage_class_is_refused(url) {
        let options = UploadOptions { storage_class: Some("ATTIC".into()), ..UploadOptions::default() };
        let outcome = upload(&store(url), "main/dump/x", &bytes(10), &options);
        assert!(matches!(exit(outcome.unwrap_err()), Exit::Config | Exit::Protocol));
    }

    fn an_upload_of_many_parts_is_created_once(url) {
        let store = store(url);
        upload(&store, "main/dump/x", &bytes(PARTS), &UploadOptions::default()).unwrap();
        let again = upload(&store, "main/dump/x", &bytes(PARTS + 1), &UploadOptions::default());
        assert!(matches!(again, Err(Error::Exists { .. })), "{again:?}");
        assert!(whole(&store, "main/dump/x") == bytes(PARTS));
    }
}

#[test]
fn f25_a_server_that_is_not_there_is_unavailable_within_a_minute() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let begun = Instant::now();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "inside_without_a_server", "--nocapture"])
        .envs(dr_testing::s3::environment(&format!("http://127.0.0.1:{port}")))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(begun.elapsed() < Duration::from_secs(60));
}

/// Proves something only as the child of the test above, which gives it its environment.
#[test]
fn inside_without_a_server() {
    let Ok(url) = std::env::var("DR_ENDPOINT_URL") else { return };
    let error = store(&url).put("main/x", b"x").unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    assert_eq!(exit(error), Exit::Unavailable);
}
