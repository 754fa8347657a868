//! ETags that look like digests and are none, as those of encrypted objects and of uploads in parts.

use dr_store::{Confirmed, Error, Put, UploadOptions};
use dr_testing::proxy::{Fault, Proxy};
use dr_testing::s3::S3sFs;

use super::{PARTS, address, behind, bytes, exit, on, upload, whole};

/// What all objects have: the MD5 of `abc`.
const SAME: Fault = Fault::Etag("900150983cd24fb0d6963f7d28e17f72");

on! { S3sFs:
    fn f35_an_etag_is_never_a_digest_of_what_is_stored(url) {
        let proxy = Proxy::choosing(address(url), |_, _| Some(SAME));
        let store = behind(&proxy);
        assert_eq!(store.put("main/x.json", b"one").unwrap(), Put::Created);
        assert_eq!(store.put("main/x.json", b"one").unwrap(), Put::Identical);
        // Of the same length and the same ETag, and not the same.
        assert!(matches!(store.put("main/x.json", b"two"), Err(Error::Exists { comparable: true, .. })));
        assert_eq!(store.read("main/x.json", 100).unwrap(), b"one");

        let options = UploadOptions::default();
        assert_eq!(upload(&store, "main/dump/small", &bytes(100_000), &options).unwrap().confirmed, Confirmed::Checksum);
        assert!(whole(&store, "main/dump/small") == bytes(100_000));
        let again = upload(&store, "main/dump/small", &vec![1; 100_000], &options);
        assert!(matches!(again, Err(Error::Exists { comparable: true, .. })), "{again:?}");

        // This server looks at no checksums of parts: what its ETag says does not stand in for them.
        assert_eq!(upload(&store, "main/dump/large", &bytes(PARTS), &options).unwrap().confirmed, Confirmed::Unconfirmed);
        assert!(whole(&store, "main/dump/large") == bytes(PARTS));
        let again = upload(&store, "main/dump/large", &vec![1; PARTS], &options);
        assert!(matches!(again, Err(Error::Exists { comparable: true, .. })), "{again:?}");
    }

    fn f35_an_object_that_is_swapped_under_the_same_etag_is_noticed_by_its_size(url) {
        use std::io::Read;
        let proxy = Proxy::choosing(address(url), |_, _| Some(SAME));
        let store = behind(&proxy);
        upload(&store, "main/dump/x", &bytes(3_000_000), &UploadOptions::default()).unwrap();
        let mut reader = store.reader("main/dump/x").unwrap();
        reader.read_exact(&mut [0; 10]).unwrap();
        let data = std::path::PathBuf::from(std::env::var("DR_TEST_DIRECTORY").unwrap()).join("data");
        std::fs::write(data.join(super::path("main/dump/x").trim_start_matches('/')), bytes(3_000_001)).unwrap();
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(exit(Error::from_read("x", error)), dr_pipe::Exit::Damaged);
    }

    fn f35_an_etag_that_is_another_each_time_gives_no_bytes_that_are_not_one_objects(url) {
        let proxy = Proxy::choosing(address(url), |number, _| Some(Fault::Etag(["a", "b", "c"][number % 3])));
        let store = behind(&proxy);
        assert_eq!(store.put("main/x.json", b"one").unwrap(), Put::Created);
        let error = store.read("main/x.json", 100).unwrap_err();
        assert_eq!(exit(error), dr_pipe::Exit::Damaged);
    }

    fn f28_a_success_that_does_not_say_what_was_taken_is_none(url) {
        for answer in [
            Fault::Answer("200 OK", "", ""),
            Fault::Answer("204 No Content", "", ""),
            Fault::Answer("200 OK", "content-type: text/html\r\n", "<html>Please log in</html>"),
            Fault::Answer("200 OK", "", "<Error><Code>InternalError</Code></Error>"),
        ] {
            let once = answer.clone();
            let proxy = Proxy::start(address(url), &[("PUT", once)]);
            let key = format!("main/{}", proxy.url().rsplit_once(':').unwrap().1);
            assert_eq!(behind(&proxy).put(&key, b"one").unwrap(), Put::Created, "it is asked again: {answer:?}");
            assert_eq!(whole(&super::store(url), &key), b"one");

            let proxy = Proxy::choosing(address(url), move |_, line| line.starts_with("PUT").then(|| answer.clone()));
            let error = super::impatient(&proxy).put("main/never", b"one").unwrap_err();
            assert_eq!(exit(error), dr_pipe::Exit::Protocol);
            assert_eq!(super::store(url).size("main/never").unwrap(), None);
            // Of a part as of a whole object: the first of them ends it.
            let error = upload(&super::impatient(&proxy), "main/never", &bytes((16 << 20) + 1), &UploadOptions::default()).unwrap_err();
            assert_eq!(exit(error), dr_pipe::Exit::Protocol);
        }
    }

    fn f31_a_deletion_that_is_acknowledged_and_not_done_is_an_error(url) {
        for answer in [Fault::Answer("204 No Content", "", ""), Fault::Answer("404 Not Found", "", "")] {
            let store = super::store(url);
            store.put("main/x", b"one").unwrap();
            let proxy = Proxy::start(address(url), &[("DELETE", answer)]);
            assert_eq!(exit(behind(&proxy).remove("main/x").unwrap_err()), dr_pipe::Exit::Protocol);
            assert_eq!(proxy.unused(), []);
            assert_eq!(behind(&proxy).remove("main/x").unwrap(), dr_store::Removed::Gone);
            assert_eq!(store.size("main/x").unwrap(), None);
        }
    }
}
