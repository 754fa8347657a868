//! What time is it by the server's clock?

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use chrono::{DateTime, Utc};

use super::Bucket;
use super::attempts::{Ended, PATIENCE, send};
use super::list::broken;
use crate::Error;

/// What time it is by the server's clock, to the second.
pub(super) async fn clock(bucket: &Bucket) -> Result<DateTime<Utc>, Error> {
    let request = bucket.request("", "s3:ListBucket");
    let (listed, clock) = look(bucket).await;
    listed.map_err(|ended| ended.unexpected(&request))?;
    clock.ok_or_else(|| broken(&request, "its answer bears no date, or none that can be read"))
}

/// Whether the server lists what is there, and what time it is by the clock of whatever it answers.
pub(super) async fn look(bucket: &Bucket) -> (Result<(), Ended>, Option<DateTime<Utc>>) {
    let request = bucket.request("", "s3:ListBucket");
    let said = Arc::new(Mutex::new(None::<String>));
    let asked = send(&request, PATIENCE, || {
        let list = bucket.client().list_objects_v2().bucket(&bucket.name).prefix(bucket.full("")).max_keys(1);
        list.customize().interceptor(HeardDate(Arc::clone(&said))).send()
    });
    let listed = asked.await.map(drop);
    let said = said.lock().unwrap_or_else(PoisonError::into_inner).take();
    (listed, said.as_deref().and_then(date))
}

/// The moment in a header `Date` (RFC 9110, section 5.6.7).
pub(super) fn date(header: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(header).ok().map(|date| date.to_utc())
}

/// Notes the header `Date` of an answer.
#[derive(Debug)]
struct HeardDate(Arc<Mutex<Option<String>>>);

impl Intercept for HeardDate {
    fn name(&self) -> &'static str {
        "the server's clock"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date").map(str::to_owned);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn the_date_of_an_answer_is_a_moment() {
        assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT").map(|at| at.timestamp()), Some(784_111_777));
        for wrong in ["", "now", "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 25:49:37 GMT"] {
            assert_eq!(date(wrong), None, "{wrong}");
        }
    }
}
