//! Which uploads were begun, and neither completed nor aborted? What a killed run has left is paid for, and no listing shows it.

use std::collections::HashSet;

use super::Bucket;
use super::attempts::{Ended, PATIENCE, send};
use super::list::{Pages, Whole, broken, timed};
use crate::{Error, Unfinished};

/// Every unfinished upload of a key that starts with `prefix`, in the server's order. None where the server does not know the request.
pub(super) async fn list(bucket: &Bucket, prefix: &str) -> Result<Vec<Unfinished>, Error> {
    let request = bucket.request(prefix, "s3:ListBucketMultipartUploads");
    let (mut found, mut seen, mut pages) = (Vec::new(), HashSet::new(), Pages::new(&request));
    let mut from: (Option<String>, Option<String>) = (None, None);
    loop {
        let page = send(&request, PATIENCE, || {
            let list = bucket.client().list_multipart_uploads().bucket(&bucket.name).prefix(bucket.full(prefix));
            let list = list.set_key_marker(from.0.clone()).set_upload_id_marker(from.1.clone());
            list.customize().interceptor(Whole("</ListMultipartUploadsResult>")).send()
        });
        let page = match page.await {
            Ok(page) => page,
            Err(Ended::Unsupported(_)) => return Ok(Vec::new()),
            Err(ended) => return Err(ended.unexpected(&request)),
        };
        for upload in page.uploads() {
            let key = upload.key().and_then(|key| key.strip_prefix(&bucket.prefix)).filter(|key| key.starts_with(prefix));
            let Some(key) = key else { return Err(broken(&request, "the listing has uploads that were not asked for")) };
            let Some(id) = upload.upload_id() else { return Err(broken(&request, "the listing has an upload without its id")) };
            if !seen.insert((key.to_owned(), id.to_owned())) {
                return Err(broken(&request, "the listing repeats what it has listed before"));
            }
            let begun_at = upload.initiated().and_then(timed);
            found.push(Unfinished { key: key.into(), upload_id: id.into(), begun_at });
        }
        // Servers name the last one on the last page, too.
        let more = page.is_truncated() == Some(true);
        let marker = |marker: Option<&str>| marker.filter(|marker| more && !marker.is_empty()).map(str::to_owned);
        let next = marker(page.next_key_marker()).map(|key| (Some(key), marker(page.next_upload_id_marker())));
        match pages.next(page.is_truncated(), next, page.uploads().len())? {
            Some(next) => from = next,
            None => return Ok(found),
        }
    }
}

/// Makes the server forget an upload, parts and all; tells whether it was there.
pub(super) async fn abort(bucket: &Bucket, key: &str, id: &str) -> Result<bool, Error> {
    let request = bucket.request(key, "s3:AbortMultipartUpload");
    let abort = || bucket.client().abort_multipart_upload().bucket(&bucket.name).key(bucket.full(key)).upload_id(id).send();
    match send(&request, PATIENCE, abort).await {
        Ok(_) => Ok(true),
        Err(Ended::Absent) => Ok(false),
        Err(ended) => Err(ended.unexpected(&request)),
    }
}
