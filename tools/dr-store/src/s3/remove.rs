//! Removing an object.

use chrono::Utc;

use super::Bucket;
use super::attempts::{Ended, PATIENCE, send};
use super::read::head;
use crate::{Error, Removed};

/// Removes an object, unless the server keeps it locked. In a bucket with versions a request to delete lays a marker over the
/// object, locked or not: so it is asked for its lock first.
pub(super) async fn remove(bucket: &Bucket, key: &str) -> Result<Removed, Error> {
    let Some(head) = head(bucket, key, None).await? else { return Ok(Removed::Absent) };
    if head.legal_hold {
        return Ok(Removed::Held { until: None });
    }
    if let Some(until) = head.locked_until.filter(|until| *until > Utc::now()) {
        return Ok(Removed::Held { until: Some(until) });
    }
    let request = bucket.request(key, "s3:DeleteObject");
    let delete = || bucket.client().delete_object().bucket(&bucket.name).key(bucket.full(key)).send();
    match send(&request, PATIENCE, delete).await {
        // Between the question and the request somebody else may have removed it.
        Ok(_) | Err(Ended::Absent) => Ok(Removed::Gone),
        Err(ended) => Err(ended.unexpected(&request)),
    }
}
