//! Does the server keep what it accepted? A lock or storage class is believed only when it is read back.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::SdkError;
use chrono::{DateTime, Utc};

use super::Bucket;
use super::attempts::{Ended, PATIENCE, send};
use super::put::Taken;
use super::read::{Head, head};
use crate::{Error, Stored, UploadOptions};

/// What the server says of an object that it has just taken.
///
/// # Errors
/// 76 where it accepted a lock or storage class and does not keep it. Where it may not be asked, a warning says so.
pub(super) async fn read_back(bucket: &Bucket, key: &str, asked: &UploadOptions, taken: Taken) -> Result<Stored, Error> {
    let Taken { confirmed, version_id, .. } = taken;
    let mut stored = Stored { confirmed, version_id, locked_until: None, storage_class: None, warnings: Vec::new() };
    if asked.lock_until.is_none() && asked.storage_class.is_none() {
        return Ok(stored);
    }
    let object = bucket.request(key, "").object;
    let head = match head(bucket, key, None).await {
        Ok(Some(head)) => head,
        Ok(None) => return Err(Error::Protocol { object, why: "the server took it, and does not have it".into() }),
        Err(error @ (Error::Denied { .. } | Error::Unavailable { .. } | Error::Busy { .. })) => {
            stored.warnings.push(format!("lock and storage class are accepted, and unconfirmed: {error}"));
            return Ok(stored);
        }
        Err(error) => return Err(error),
    };
    if let Some(class) = &asked.storage_class {
        stored.storage_class = Some(class_of(&head, class).map_err(|why| Error::Protocol { object: object.clone(), why })?);
    }
    if let Some(until) = asked.lock_until {
        match locked_until(bucket, key, &head).await? {
            Lock::Until(kept) if kept.timestamp() >= until.timestamp() => stored.locked_until = Some(kept),
            Lock::Until(kept) => {
                let why = format!("a lock until {until} was accepted, and is kept until {kept} only");
                return Err(Error::Protocol { object, why });
            }
            Lock::None => {
                let why = "the lock was accepted, and is not enforced by this server".into();
                return Err(Error::Protocol { object, why });
            }
            Lock::Unknown(why) => stored.warnings.push(format!("the lock is accepted, and unconfirmed: {why}")),
        }
    }
    Ok(stored)
}

/// The class that is kept; servers leave out STANDARD.
fn class_of(head: &Head, asked: &str) -> Result<String, String> {
    let kept = head.storage_class.as_deref().unwrap_or("STANDARD");
    if kept == asked { Ok(kept.into()) } else { Err(format!("storage class {asked} was accepted, and it is kept as {kept}")) }
}

enum Lock {
    Until(DateTime<Utc>),
    None,
    /// Whoever pushes may not be allowed to ask.
    Unknown(String),
}

/// The lock that HEAD shows; it shows none to those without s3:GetObjectRetention, nor do all servers.
async fn locked_until(bucket: &Bucket, key: &str, head: &Head) -> Result<Lock, Error> {
    if let Some(until) = head.locked_until {
        return Ok(Lock::Until(until));
    }
    let request = bucket.request(key, "s3:GetObjectRetention");
    let tried = send(&request, PATIENCE, || async {
        let get = bucket.client().get_object_retention().bucket(&bucket.name).key(bucket.full(key));
        let got = get.set_version_id(head.version_id.clone()).send().await;
        Ok::<_, SdkError<_, HttpResponse>>(got?.retention.and_then(|retention| retention.retain_until_date))
    });
    match tried.await {
        Ok(Some(until)) => Ok(DateTime::from_timestamp(until.secs(), 0).map_or(Lock::None, Lock::Until)),
        // No such configuration, no such operation: then nothing enforces it.
        Ok(None) | Err(Ended::Absent | Ended::Unsupported(_) | Ended::Failed(Error::Config { .. })) => Ok(Lock::None),
        Err(ended) => Ok(Lock::Unknown(ended.unexpected(&request).to_string())),
    }
}
