//! Credentials that are replaced while a store is open.

use std::fs;
use std::path::Path;

use dr_pipe::Exit;
use dr_store::{Put, Store, UploadOptions};
use dr_testing::proxy::{Fault, Proxy};
use dr_testing::s3::{ACCESS_KEY, S3sFs, SECRET_KEY};

use crate::{PARTS, address, behind, bytes, exit, reading, upload, whole};

const EXPIRED: &str = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";

fn write(file: &Path, key: &str, secret: &str) {
    fs::write(file, format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")).unwrap();
}

/// The same credentials as the server's, with a token beside them that it passes over.
fn write_with_token(file: &Path) {
    write(file, ACCESS_KEY, &format!("{SECRET_KEY}\naws_session_token = old"));
}

/// Runs a test whose credentials stand in a file, which it is given.
fn with_a_file(path: &str, body: impl FnOnce(&str, &Path)) {
    if let Ok(url) = std::env::var("DR_TEST_SERVER") {
        return body(&url, Path::new(&std::env::var("AWS_SHARED_CREDENTIALS_FILE").unwrap()));
    }
    let (server, scratch) = (S3sFs::start(), tempfile::tempdir().unwrap());
    let file = scratch.path().join("credentials");
    write(&file, ACCESS_KEY, SECRET_KEY);
    let environment = server.environment().into_iter().filter(|(name, _)| !name.contains("ACCESS_KEY"));
    let mut test = crate::child(path, &server.url());
    crate::passes(test.envs(environment).env("AWS_SHARED_CREDENTIALS_FILE", file));
}

/// What has come of a put with credentials that the server does not know.
fn refused(store: &Store, key: &str) {
    assert_eq!(exit(store.put(key, b"x").unwrap_err()), Exit::Denied);
}

#[test]
fn f37_credentials_that_are_replaced_in_their_file_are_read_again() {
    with_a_file(concat!(module_path!(), "::f37_credentials_that_are_replaced_in_their_file_are_read_again"), |url, file| {
        let proxy = Proxy::start(address(url), &[]);
        write(file, "GKanother", SECRET_KEY);
        let (put, read) = (behind(&proxy), reading(&proxy.url(), |_| {}));
        refused(&put, "main/x");
        assert_eq!(exit(read.size("main/x").unwrap_err()), Exit::Denied);
        assert_eq!(proxy.seen().len(), 2, "once each: no credentials are tried twice");
        write(file, ACCESS_KEY, SECRET_KEY);
        assert_eq!(put.put("main/x", b"x").unwrap(), Put::Created);
        // An answer to HEAD does not say why.
        assert_eq!(read.size("main/x").unwrap(), Some(1));
        assert_eq!(proxy.seen().len(), 6, "and once more each");
        assert_eq!(put.put("main/y", b"y").unwrap(), Put::Created);
        assert_eq!(proxy.seen().len(), 7, "what was read again is kept");
    });
}

#[test]
fn f37_a_token_that_expires_midway_is_read_again_once() {
    with_a_file(concat!(module_path!(), "::f37_a_token_that_expires_midway_is_read_again_once"), |url, file| {
        let expired = || Fault::Answer("400 Bad Request", "content-type: application/xml\r\n", EXPIRED);
        let upstream = address(url);
        write_with_token(file);
        let proxy = Proxy::start(upstream, &[("PUT", expired())]);
        let kept = behind(&proxy);
        refused(&kept, "main/x");
        assert_eq!(proxy.seen().len(), 1, "the file still has what expired");
        let proxy = Proxy::start(upstream, &[("PUT main/y", expired())]);
        let renewed = behind(&proxy);
        assert_eq!(renewed.put("main/x", b"x").unwrap(), Put::Created);
        write(file, ACCESS_KEY, SECRET_KEY);
        assert_eq!(renewed.put("main/y", b"y").unwrap(), Put::Created);
        assert_eq!(proxy.unused(), []);
        let proxy = Proxy::choosing(upstream, move |_, _| Some(expired()));
        write_with_token(file);
        let again = behind(&proxy);
        refused(&again, "main/z");
        write(file, ACCESS_KEY, SECRET_KEY);
        refused(&again, "main/z");
        assert_eq!(proxy.seen().len(), 3, "once, and once with the new ones");
    });
}

#[test]
fn f37_parts_on_their_way_at_once_go_on_with_new_credentials() {
    with_a_file(concat!(module_path!(), "::f37_parts_on_their_way_at_once_go_on_with_new_credentials"), |url, file| {
        let expired = || Fault::Answer("400 Bad Request", "content-type: application/xml\r\n", EXPIRED);
        let faults = [("PUT partNumber=1&", expired()), ("PUT partNumber=2&", expired())];
        let proxy = Proxy::start(address(url), &faults);
        write_with_token(file);
        let store = behind(&proxy);
        assert_eq!(store.put("main/x", b"x").unwrap(), Put::Created);
        write(file, ACCESS_KEY, SECRET_KEY);
        upload(&store, "main/dump/x", &bytes(PARTS), &UploadOptions::default()).unwrap();
        assert_eq!(proxy.unused(), []);
        assert!(whole(&store, "main/dump/x") == bytes(PARTS));
    });
}
