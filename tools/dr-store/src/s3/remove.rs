//! Removing an object.

use chrono::Utc;

use super::Bucket;
use super::attempts::{Ended, PATIENCE, send};
use super::read::head;
use crate::{Error, Removed};

/// Removes an object, unless the server keeps it locked. In a bucket with versions a request to delete lays a marker over the
/// object, locked or not: so it is asked for its lock first. And it is asked afterwards whether it has done what it says.
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
        Ok(_) | Err(Ended::Absent) => {}
        Err(ended) => return Err(ended.unexpected(&request)),
    }
    let look = || bucket.client().head_object().bucket(&bucket.name).key(bucket.full(key)).send();
    match send(&request, PATIENCE, look).await {
        Err(Ended::Absent) => Ok(Removed::Gone),
        Ok(_) => {
            Err(Error::Protocol { object: request.object, why: "the server says that it is deleted, and has it still".into() })
        }
        Err(ended) => Err(ended.unexpected(&request)),
    }
}
