//! Listings that cannot be true.

use dr_store::{Error, Store};
use dr_testing::proxy::{Fault, Proxy};
use dr_testing::s3::S3sFs;

use crate::{address, behind, on, reading};

/// A page of a listing: what is said around its keys, and they.
fn page(around: &str, keys: &[&str]) -> Fault {
    let contents: String = keys.iter().map(|key| format!("<Contents><Key>a/b/{key}</Key><Size>1</Size></Contents>")).collect();
    answer(format!("<ListBucketResult>{around}{contents}</ListBucketResult>"))
}

fn answer(body: String) -> Fault {
    Fault::Answer("200 OK", "content-type: application/xml\r\n", body.leak())
}

const LAST: &str = "<IsTruncated>false</IsTruncated>";

/// What is said of a page that goes on at `token`.
fn more(token: &str) -> String {
    format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>")
}

/// What a listing says of the pages that a server gives it, one after the other.
fn of_pages(url: &str, pages: &[Fault], list: impl Fn(&Store) -> Result<Vec<String>, Error>) -> Result<Vec<String>, Error> {
    let pages = pages.to_vec();
    let proxy =
        Proxy::choosing(address(url), move |number, _| Some(pages.get(number).unwrap_or_else(|| pages.last().unwrap()).clone()));
    list(&behind(&proxy))
}

fn keys(store: &Store) -> Result<Vec<String>, Error> {
    Ok(store.list("main/")?.into_iter().map(|listed| listed.key).collect())
}

fn unfinished(store: &Store) -> Result<Vec<String>, Error> {
    Ok(store.unfinished("main/")?.into_iter().map(|upload| format!("{} {}", upload.key, upload.upload_id)).collect())
}

fn hidden(store: &Store) -> Result<Vec<String>, Error> {
    Ok(store.hidden("main/")?.into_iter().map(|hidden| format!("{} {}", hidden.key, hidden.version_id)).collect())
}

on! { S3sFs:
    fn f39_pages_are_one_listing_in_order_whatever_order_they_come_in(url) {
        let got = of_pages(url, &[page(&more("1"), &["main/c", "main/a"]), page(&more("2"), &[]), page(LAST, &["main/b"])], keys);
        assert_eq!(got.unwrap(), ["main/a", "main/b", "main/c"]);
        assert_eq!(of_pages(url, &[page(LAST, &[])], keys).unwrap(), Vec::<String>::new());
    }

    fn f39_a_listing_that_cannot_be_true_is_a_broken_protocol(url) {
        let truncated = "<IsTruncated>true</IsTruncated>";
        for (pages, why) in [
            (vec![page(truncated, &["main/a"])], "does not say where it goes on"),
            (vec![page(&more("1"), &["main/a"]), page(&more("1"), &["main/b"])], "goes on where it was before"),
            (vec![page(&more("1"), &["main/a"]), page(LAST, &["main/a", "main/b"])], "repeats"),
            (vec![page(&more("1"), &["main/a"]), page(&more("2"), &["main/b"]), page(&more("1"), &["main/a"])], "repeats"),
            (vec![page(LAST, &["main/a", "main/a"])], "repeats"),
            (vec![page("", &["main/a"])], "does not say whether it is complete"),
            (vec![page("", &[])], "does not say whether it is complete"),
            (vec![page(&format!("{LAST}<KeyCount>3</KeyCount>"), &["main/a", "main/b"])], "fewer keys than it says"),
            (vec![page(LAST, &["main/a", "other/b"])], "not asked for"),
            (vec![answer(format!("<ListBucketResult>{LAST}<Contents><Key>a/b/main/x</Key></Contents></ListBucketResult>"))], "without size"),
            (vec![answer("<html>welcome</html>".into())], "does not fit"),
        ] {
            let got = of_pages(url, &pages, keys);
            assert!(matches!(&got, Err(Error::Protocol { why: said, .. }) if said.contains(why)), "{why}: {got:?}");
        }
    }

    fn f39_a_page_that_breaks_off_is_asked_for_again(url) {
        let whole = page(LAST, &["main/a", "main/b"]);
        let Fault::Answer(_, _, text) = whole else { unreachable!() };
        for length in [text.len() - 1, text.find("</ListBucketResult>").unwrap(), text.rfind("<Contents>").unwrap(), text.find("main/b").unwrap()] {
            let cut = answer(text[..length].to_owned());
            let got = of_pages(url, &[cut.clone(), page(LAST, &["main/a", "main/b"])], keys);
            assert_eq!(got.unwrap(), ["main/a", "main/b"]);
            let proxy = Proxy::choosing(address(url), move |_, _| Some(cut.clone()));
            let got = keys(&reading(&proxy.url(), |args| args.patience = 1));
            assert!(matches!(&got, Err(Error::Protocol { why, .. }) if why.contains("breaks off")), "{got:?}");
        }
    }

    fn f39_a_listing_without_end_ends(url) {
        let upstream = address(url);
        let proxy = Proxy::choosing(upstream, |number, _| Some(page(&more(&number.to_string()), &[])));
        let got = keys(&behind(&proxy));
        assert!(matches!(&got, Err(Error::Protocol { why, .. }) if why.contains("on and on")), "{got:?}");
    }

    fn f39_a_page_that_fails_is_not_left_out(url) {
        let failed = Fault::Answer("403 Forbidden", "content-type: application/xml\r\n", "<Error><Code>AccessDenied</Code></Error>");
        let got = of_pages(url, &[page(&more("1"), &["main/a"]), failed], keys);
        assert!(matches!(&got, Err(Error::Denied { .. })), "{got:?}");
    }

    fn f34_unfinished_uploads_come_in_pages_and_what_cannot_be_true_is_found_out(url) {
        let uploads = |around: &str, all: &[(&str, &str)]| {
            let one = |(key, id): &(&str, &str)| {
                let at = "<Initiated>2026-01-25T02:00:00.000Z</Initiated>";
                format!("<Upload><Key>a/b/{key}</Key><UploadId>{id}</UploadId>{at}</Upload>")
            };
            answer(format!("<ListMultipartUploadsResult>{around}{}</ListMultipartUploadsResult>", all.iter().map(one).collect::<String>()))
        };
        let next = |id: &str| format!("<NextKeyMarker>a/b/main/x</NextKeyMarker><NextUploadIdMarker>{id}</NextUploadIdMarker>");
        let more = |id: &str| format!("<IsTruncated>true</IsTruncated>{}", next(id));
        // Servers say where the last page ends, too.
        let last = format!("{LAST}{}", next("3"));
        let pages = [uploads(&more("2"), &[("main/x", "1"), ("main/x", "2")]), uploads(&last, &[("main/x", "3")])];
        assert_eq!(of_pages(url, &pages, unfinished).unwrap(), ["main/x 1", "main/x 2", "main/x 3"]);
        let empty = "<NextKeyMarker></NextKeyMarker><NextUploadIdMarker></NextUploadIdMarker>";
        assert_eq!(of_pages(url, &[uploads(&format!("{LAST}{empty}"), &[])], unfinished).unwrap(), Vec::<String>::new());
        for (pages, why) in [
            (vec![uploads("<IsTruncated>true</IsTruncated>", &[("main/x", "1")])], "does not say where it goes on"),
            (vec![uploads(&more("1"), &[("main/x", "1")]), uploads(&more("1"), &[("main/x", "2")])], "goes on where it was before"),
            (vec![uploads(&more("1"), &[("main/x", "1")]), uploads(LAST, &[("main/x", "1")])], "repeats"),
            (vec![uploads("", &[("main/x", "1")])], "does not say whether it is complete"),
            (vec![uploads(LAST, &[("other/x", "1")])], "not asked for"),
            (vec![page(LAST, &["main/a"])], "does not fit"),
        ] {
            let got = of_pages(url, &pages, unfinished);
            assert!(matches!(&got, Err(Error::Protocol { why: said, .. }) if said.contains(why)), "{why}: {got:?}");
        }
        let unknown = Fault::Answer("501 Not Implemented", "", "<Error><Code>NotImplemented</Code><Message>no</Message></Error>");
        assert_eq!(of_pages(url, &[unknown], unfinished).unwrap(), Vec::<String>::new());
    }

    fn f41_versions_come_in_pages_too_and_what_cannot_be_true_is_found_out(url) {
        let versions = |around: &str, ids: &[&str]| {
            let one = |id: &&str| {
                let said = format!("<Key>a/b/main/x</Key><VersionId>{id}</VersionId><IsLatest>false</IsLatest>");
                format!("<Version>{said}<LastModified>2026-01-25T02:00:00.000Z</LastModified><Size>1</Size></Version>")
            };
            answer(format!("<ListVersionsResult>{around}{}</ListVersionsResult>", ids.iter().map(one).collect::<String>()))
        };
        let more = |id: &str| {
            let next = format!("<NextKeyMarker>a/b/main/x</NextKeyMarker><NextVersionIdMarker>{id}</NextVersionIdMarker>");
            format!("<IsTruncated>true</IsTruncated>{next}")
        };
        let got = of_pages(url, &[versions(&more("2"), &["1", "2"]), versions(LAST, &["3"])], hidden);
        assert_eq!(got.unwrap(), ["main/x 1", "main/x 2", "main/x 3"]);
        for (pages, why) in [
            (vec![versions("<IsTruncated>true</IsTruncated>", &["1"])], "does not say where it goes on"),
            (vec![versions(&more("1"), &["1"]), versions(&more("1"), &["2"])], "goes on where it was before"),
            (vec![versions(&more("1"), &["1"]), versions(LAST, &["1"])], "repeats"),
            (vec![versions("", &["1"])], "does not say whether it is complete"),
            (vec![page(LAST, &["main/a"])], "does not fit"),
        ] {
            let got = of_pages(url, &pages, hidden);
            assert!(matches!(&got, Err(Error::Protocol { why: said, .. }) if said.contains(why)), "{why}: {got:?}");
        }
    }
}
