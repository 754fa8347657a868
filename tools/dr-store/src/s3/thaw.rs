//! Objects in cold storage: asking for them, and waiting until they can be read.

use std::time::Duration;

use aws_sdk_s3::types::{GlacierJobParameters, RestoreRequest, Tier};

use super::Bucket;
use super::attempts::{Ended, PATIENCE, send};
use super::read::{Found, Head, head};
use crate::options::is_cold;
use crate::warn::warn;
use crate::{Error, Thaw};

/// The first pause between two looks; each next one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Whether an object can be read.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Readable,
    /// It can be asked for; its class.
    Frozen(String),
    /// It has been asked for; its class.
    Thawing(String),
}

/// Passes an object that can be read; one in cold storage when it has been thawed, where that was allowed.
///
/// # Errors
/// [`Error::Frozen`] where it was not.
pub(super) async fn readable(bucket: &Bucket, key: &str, found: &Found) -> Result<(), Error> {
    let object = || bucket.request(key, "").object;
    let (class, asked) = match state(&found.head) {
        State::Readable => return Ok(()),
        State::Frozen(class) => (class, false),
        State::Thawing(class) => (class, true),
    };
    let Some(days) = bucket.thaw else { return Err(Error::Frozen { object: object(), class, asked }) };
    if ask(bucket, key, found, days).await? == Thaw::Ready {
        return Ok(());
    }
    warn(format!("waiting for {}, which is being thawed from {class}: {}", object(), how_long(&class)));
    let mut pause = PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        let head = head(bucket, key, found.version.as_deref()).await?.ok_or_else(|| Error::Absent { object: object() })?;
        match state(&head) {
            State::Readable => return Ok(()),
            State::Thawing(_) => {}
            State::Frozen(class) => return Err(Error::Frozen { object: object(), class, asked: false }),
        }
    }
}

/// Asks for an object to be readable for `days`, unless it is, or has been asked for.
pub(super) async fn ask(bucket: &Bucket, key: &str, found: &Found, days: u16) -> Result<Thaw, Error> {
    match state(&found.head) {
        State::Readable => return Ok(Thaw::Ready),
        State::Thawing(_) => return Ok(Thaw::Ongoing),
        State::Frozen(_) => {}
    }
    let request = bucket.request(key, "s3:RestoreObject");
    // What an archive tier of INTELLIGENT_TIERING gives back stays.
    let days = found.head.archive_status.is_none().then_some(i32::from(days));
    let tier = GlacierJobParameters::builder().tier(Tier::Standard).build();
    let tier = tier.map_err(|error| Error::Protocol { object: request.object.clone(), why: error.to_string() })?;
    let wish = RestoreRequest::builder().set_days(days).glacier_job_parameters(tier).build();
    let tried = send(&request, PATIENCE, || {
        let restore = bucket.client().restore_object().bucket(&bucket.name).key(bucket.full(key));
        restore.set_version_id(found.version.clone()).restore_request(wish.clone()).send()
    });
    match tried.await {
        Ok(_) => Ok(Thaw::Asked),
        // Somebody else has asked since we looked.
        Err(Ended::Precondition) => Ok(Thaw::Ongoing),
        Err(ended) => Err(ended.unexpected(&request)),
    }
}

/// Whether an object can be read, by its storage class and the header `x-amz-restore`.
fn state(head: &Head) -> State {
    let class = head.storage_class.clone().unwrap_or_default();
    if !is_cold(&class) && head.archive_status.is_none() {
        return State::Readable;
    }
    match head.restore.as_deref() {
        Some(restore) if restore.contains("ongoing-request=\"false\"") => State::Readable,
        Some(_) => State::Thawing(class),
        None => State::Frozen(class),
    }
}

/// How long that takes, as AWS says of the tier Standard.
fn how_long(class: &str) -> &'static str {
    match class {
        "GLACIER" => "mostly 3 to 5 hours",
        "DEEP_ARCHIVE" => "mostly 12 hours",
        _ => "mostly 3 to 12 hours",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cold_storage_is_told_by_class_and_header() {
        let head = |class: Option<&str>, restore: Option<&str>, archive: Option<&str>| {
            state(&Head {
                storage_class: class.map(Into::into),
                restore: restore.map(Into::into),
                archive_status: archive.map(Into::into),
                ..Head::default()
            })
        };
        let done = "ongoing-request=\"false\", expiry-date=\"Fri, 21 Dec 2012 00:00:00 GMT\"";
        assert_eq!(head(None, None, None), State::Readable);
        assert_eq!(head(Some("GLACIER_IR"), None, None), State::Readable);
        assert_eq!(head(Some("GLACIER"), None, None), State::Frozen("GLACIER".into()));
        assert_eq!(head(Some("DEEP_ARCHIVE"), Some("ongoing-request=\"true\""), None), State::Thawing("DEEP_ARCHIVE".into()));
        assert_eq!(head(Some("DEEP_ARCHIVE"), Some(done), None), State::Readable);
        assert_eq!(head(Some("INTELLIGENT_TIERING"), None, None), State::Readable);
        let tiering = "INTELLIGENT_TIERING";
        assert_eq!(head(Some(tiering), None, Some("ARCHIVE_ACCESS")), State::Frozen(tiering.into()));
    }
}
