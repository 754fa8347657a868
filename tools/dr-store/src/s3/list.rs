//! Which objects lie below a prefix? All pages of it, or an error.

use std::collections::BTreeMap;

use chrono::DateTime;

use super::Bucket;
use super::attempts::{PATIENCE, send};
use crate::{Error, Listed};

/// All objects whose key starts with `prefix` and comes after `after` (empty: all), sorted by key, whatever order the server
/// gave them in.
pub(super) async fn list(bucket: &Bucket, prefix: &str, after: &str) -> Result<Vec<Listed>, Error> {
    let request = bucket.request(prefix, "s3:ListBucket");
    let broken = |why: &str| Error::Protocol { object: request.object.clone(), why: why.into() };
    let start = (!after.is_empty()).then(|| bucket.full(after));
    let mut found = BTreeMap::new();
    let mut token: Option<String> = None;
    loop {
        let page = send(&request, PATIENCE, || {
            let list = bucket.client.list_objects_v2().bucket(&bucket.name).prefix(bucket.full(prefix));
            // With a token it counts no more; a server that does not know it at all lists too much, which is passed over.
            list.set_start_after(start.clone()).set_continuation_token(token.clone()).send()
        });
        let page = page.await.map_err(|ended| ended.unexpected(&request))?;
        for object in page.contents() {
            let key = object.key().and_then(|key| key.strip_prefix(&bucket.prefix));
            let Some(key) = key.filter(|key| key.starts_with(prefix)) else {
                return Err(broken("the listing has keys that were not asked for"));
            };
            let bytes = object.size().and_then(|size| u64::try_from(size).ok());
            let bytes = bytes.ok_or_else(|| broken("the listing has an object without size"))?;
            let modified = object.last_modified();
            let modified_at = modified.and_then(|at| DateTime::from_timestamp(at.secs(), at.subsec_nanos()));
            if key > after {
                found.insert(key.to_owned(), Listed { key: key.into(), bytes, modified_at });
            }
        }
        let next = page.next_continuation_token().map(str::to_owned);
        match (page.is_truncated(), next) {
            (Some(true), None) => return Err(broken("the listing is cut off, and does not say where it goes on")),
            (Some(true), next) if next == token => return Err(broken("the listing goes on where it was before")),
            (Some(true), next) => token = next,
            _ => return Ok(found.into_values().collect()),
        }
    }
}
