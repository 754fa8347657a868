//! Removing an object, and asking the server what time it is.

use chrono::{DateTime, Utc};

use super::Bucket;
use super::attempts::{Ended, PATIENCE, send};
use super::read::head;
use crate::{Error, Removed};

/// Removes an object, unless the server keeps it locked. In a bucket with versions a request to delete lays a marker over the
/// object, locked or not: so it is asked for its lock first.
pub(super) async fn remove(bucket: &Bucket, key: &str) -> Result<Removed, Error> {
    let Some(head) = head(bucket, key).await? else { return Ok(Removed::Absent) };
    if head.legal_hold {
        return Ok(Removed::Held { until: None });
    }
    if let Some(until) = head.locked_until.filter(|until| *until > Utc::now()) {
        return Ok(Removed::Held { until: Some(until) });
    }
    let request = bucket.request(key, "s3:DeleteObject");
    let delete = || bucket.client.delete_object().bucket(&bucket.name).key(bucket.full(key)).send();
    match send(&request, PATIENCE, delete).await {
        // Between the question and the request somebody else may have removed it.
        Ok(_) | Err(Ended::Absent) => Ok(Removed::Gone),
        Err(ended) => Err(ended.unexpected(&request)),
    }
}

/// What time it is by the server's clock, to the second.
pub(super) async fn clock(bucket: &Bucket) -> Result<DateTime<Utc>, Error> {
    use std::sync::{Arc, Mutex};

    let request = bucket.request("", "s3:ListBucket");
    let broken = |why: &str| Error::Protocol { object: request.object.clone(), why: why.into() };
    let said = Arc::new(Mutex::new(None::<String>));
    send(&request, PATIENCE, || {
        let list = bucket.client.list_objects_v2().bucket(&bucket.name).prefix(bucket.full("")).max_keys(1);
        list.customize().interceptor(HeardDate(Arc::clone(&said))).send()
    })
    .await
    .map_err(|ended| ended.unexpected(&request))?;
    let said = said.lock().expect("no thread panics while it holds the lock").take();
    let said = said.ok_or_else(|| broken("its answers bear no date"))?;
    DateTime::parse_from_rfc2822(&said).map(|date| date.to_utc()).map_err(|_| broken("the date of its answer is none"))
}

/// Notes the header `Date` of an answer.
#[derive(Debug)]
struct HeardDate(std::sync::Arc<std::sync::Mutex<Option<String>>>);

impl aws_sdk_s3::config::Intercept for HeardDate {
    fn name(&self) -> &'static str {
        "the server's clock"
    }

    fn read_after_transmit(
        &self,
        context: &aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef<'_>,
        _: &aws_sdk_s3::config::RuntimeComponents,
        _: &mut aws_sdk_s3::config::ConfigBag,
    ) -> Result<(), aws_sdk_s3::error::BoxError> {
        let date = context.response().headers().get("date").map(str::to_owned);
        *self.0.lock().expect("no thread panics while it holds the lock") = date;
        Ok(())
    }
}
