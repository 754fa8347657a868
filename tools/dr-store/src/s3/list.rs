//! Which objects lie below a prefix? All pages of it, or an error.
//!
//! A server that leaves out what it does not mention is not found out here. Whatever it says that cannot all be true is.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use aws_sdk_s3::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_types::DateTime as SdkTime;
use chrono::{DateTime, Utc};

use super::attempts::{PATIENCE, send};
use super::refusal::Request;
use super::{Bucket, versions};
use crate::{Error, Listed};

/// How many pages in a row may have nothing on them: servers skip what was deleted, page by page.
const EMPTY_PAGES: usize = 1000;

/// All objects whose key starts with `prefix` and comes after `after` (empty: all), sorted by key, whatever order the server
/// gave them in.
pub(super) async fn list(bucket: &Bucket, prefix: &str, after: &str) -> Result<Vec<Listed>, Error> {
    if let Some(moment) = bucket.as_of {
        return versions::list_at(bucket, prefix, after, moment).await;
    }
    let request = bucket.request(prefix, "s3:ListBucket");
    let start = (!after.is_empty()).then(|| bucket.full(after));
    let (mut found, mut pages) = (BTreeMap::new(), Pages::new(&request));
    let mut token: Option<String> = None;
    loop {
        let page = send(&request, PATIENCE, || {
            let list = bucket.client().list_objects_v2().bucket(&bucket.name).prefix(bucket.full(prefix));
            // With a token it counts no more; a server that does not know it at all lists too much, which is passed over.
            let list = list.set_start_after(start.clone()).set_continuation_token(token.clone());
            list.customize().interceptor(Whole("</ListBucketResult>")).send()
        });
        let page = page.await.map_err(|ended| ended.unexpected(&request))?;
        let objects = page.contents();
        if page.key_count().and_then(|count| usize::try_from(count).ok()).is_some_and(|count| count > objects.len()) {
            return Err(broken(&request, "the listing has fewer keys than it says"));
        }
        for object in objects {
            let key = object.key().and_then(|key| key.strip_prefix(&bucket.prefix));
            let Some(key) = key.filter(|key| key.starts_with(prefix)) else {
                return Err(broken(&request, "the listing has keys that were not asked for"));
            };
            let bytes = object.size().and_then(|size| u64::try_from(size).ok());
            let bytes = bytes.ok_or_else(|| broken(&request, "the listing has an object without size"))?;
            let modified_at = object.last_modified().and_then(timed);
            match found.entry(key.to_owned()) {
                // Where one page comes twice, another one may never have come.
                Entry::Occupied(_) => return Err(broken(&request, "the listing repeats what it has listed before")),
                Entry::Vacant(place) => place.insert(Listed { key: key.into(), bytes, modified_at }),
            };
        }
        match pages.next(page.is_truncated(), page.next_continuation_token().map(str::to_owned), objects.len())? {
            Some(next) => token = Some(next),
            None => return Ok(found.into_values().filter(|object| object.key.as_str() > after).collect()),
        }
    }
}

/// Whether a listing goes on, and where.
pub(super) struct Pages<'a, T> {
    request: &'a Request,
    from: Option<T>,
    empty: usize,
}

impl<'a, T: Clone + PartialEq> Pages<'a, T> {
    pub(super) fn new(request: &'a Request) -> Self {
        Pages { request, from: None, empty: 0 }
    }

    /// Where the next page begins after one of `keys` keys; none after the last one.
    ///
    /// # Errors
    /// 76 where the server does not say, or leads nowhere.
    pub(super) fn next(&mut self, truncated: Option<bool>, next: Option<T>, keys: usize) -> Result<Option<T>, Error> {
        self.empty = if keys == 0 { self.empty + 1 } else { 0 };
        match (truncated, next) {
            (None, None) => Err(broken(self.request, "the listing does not say whether it is complete")),
            (Some(true), None) => Err(broken(self.request, "the listing is cut off, and does not say where it goes on")),
            (_, next @ Some(_)) if next == self.from => Err(broken(self.request, "the listing goes on where it was before")),
            _ if self.empty > EMPTY_PAGES => Err(broken(self.request, "the listing goes on and on without any key")),
            // Both at once are a contradiction; asking on finds out which of them is true.
            (_, next) => {
                self.from.clone_from(&next);
                Ok(next)
            }
        }
    }
}

/// Refuses an answer that does not end as it has to: the SDK takes XML that breaks off for XML that has ended.
#[derive(Debug)]
pub(super) struct Whole(pub(super) &'static str);

impl Intercept for Whole {
    fn name(&self) -> &'static str {
        "whole listings"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let refused = context.output_or_error().is_err();
        let whole = context.response().body().bytes().is_some_and(|xml| xml.trim_ascii_end().ends_with(self.0.as_bytes()));
        if whole || refused { Ok(()) } else { Err("the listing breaks off".into()) }
    }
}

/// A server that says of its objects what cannot be.
pub(super) fn broken(request: &Request, why: &str) -> Error {
    Error::Protocol { object: request.object.clone(), why: why.into() }
}

/// A time as the SDK has it.
pub(super) fn timed(at: &SdkTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(at.secs(), at.subsec_nanos())
}
