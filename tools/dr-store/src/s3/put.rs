//! Creating an object in one request, and settling what a refusal means.

use std::sync::Arc;

use aws_sdk_s3::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ObjectLockMode, StorageClass};
use aws_smithy_types::DateTime;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use dr_pipe::Sha256;

use super::attempts::{Ended, patience_for, send};
use super::{Bucket, read};
use crate::{Confirmed, Error, LockMode, Put, UploadOptions};

/// Metadata that tells our own upload from another's of the same name: a lost reply is settled by it.
pub(super) const TOKEN: &str = "dr-upload";

/// An object that a server has taken.
pub(super) struct Taken {
    /// Whether it came from this upload, and not from an earlier one of the same bytes.
    pub(super) put: Put,
    pub(super) confirmed: Confirmed,
    pub(super) version_id: Option<String>,
}

/// What goes with an object's bytes.
pub(super) struct Envelope {
    pub(super) token: String,
    pub(super) storage_class: Option<StorageClass>,
    /// Tags in the form of a query string.
    pub(super) tagging: Option<String>,
    pub(super) lock: Option<(ObjectLockMode, DateTime)>,
}

impl Envelope {
    pub(super) fn new(options: &UploadOptions) -> Result<Self, Error> {
        let mode = match options.lock_mode {
            LockMode::Compliance => ObjectLockMode::Compliance,
            LockMode::Governance => ObjectLockMode::Governance,
        };
        Ok(Envelope {
            token: token()?,
            storage_class: options.storage_class.as_deref().map(StorageClass::from),
            tagging: (!options.tags.is_empty()).then(|| query_string(&options.tags)),
            lock: options.lock_until.map(|until| (mode, DateTime::from_secs(until.timestamp()))),
        })
    }
}

/// Creates a small object; tells whether the same bytes were there before.
pub(super) async fn put_small(bucket: &Arc<Bucket>, key: &str, bytes: &[u8]) -> Result<Put, Error> {
    let envelope = Envelope::new(&UploadOptions::default())?;
    match put_once(bucket, key, Bytes::copy_from_slice(bytes), &envelope).await {
        Ok(taken) => Ok(taken.put),
        Err(Error::Exists { object, .. }) => match read::whole(bucket, key, bytes.len() as u64).await {
            Ok(Some(there)) if there == bytes => Ok(Put::Identical),
            Ok(_) => Err(Error::Exists { object, comparable: true }),
            Err(Error::Denied { .. }) => Err(Error::Exists { object, comparable: false }),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Creates an object in one request.
pub(super) async fn put_once(bucket: &Bucket, key: &str, bytes: Bytes, envelope: &Envelope) -> Result<Taken, Error> {
    let request = bucket.request(key, "s3:PutObject");
    let checksum = BASE64.encode(Sha256::of(&bytes).0);
    let patience = patience_for(bytes.len());
    let tried = send(&request, patience, || {
        let (mode, until) = envelope.lock.clone().unzip();
        let put = bucket.client().put_object().bucket(&bucket.name).key(bucket.full(key));
        put.if_none_match("*")
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(&checksum)
            .metadata(TOKEN, &envelope.token)
            .content_type("application/octet-stream")
            .set_storage_class(envelope.storage_class.clone())
            .set_tagging(envelope.tagging.clone())
            .set_object_lock_mode(mode)
            .set_object_lock_retain_until_date(until)
            .body(ByteStream::from(bytes.clone()))
            .customize()
            .interceptor(Receipted)
            .send()
    })
    .await;
    match tried {
        Ok(put) => {
            let confirmed = compare(&request.object, put.checksum_sha256(), &checksum)?;
            Ok(Taken { put: Put::Created, confirmed, version_id: put.version_id().map(str::to_owned) })
        }
        Err(Ended::Precondition) => settle(bucket, key, &envelope.token, bytes.len() as u64, &checksum).await,
        Err(Ended::Absent) => Err(Error::Protocol { object: request.object, why: "404 to the creation of an object".into() }),
        Err(ended) => Err(ended.unexpected(&request)),
    }
}

/// The name is taken: by our own upload, whose reply was lost, or by the same bytes? Else [`Error::Exists`].
pub(super) async fn settle(bucket: &Bucket, key: &str, token: &str, bytes: u64, checksum: &str) -> Result<Taken, Error> {
    let object = bucket.request(key, "").object;
    let head = match read::head(bucket, key, None).await {
        Ok(Some(head)) => head,
        Err(Error::Denied { .. }) => return Err(Error::Exists { object, comparable: false }),
        Ok(None) => {
            return Err(Error::Busy { object, why: "it existed, and is gone again".into() });
        }
        Err(error) => return Err(error),
    };
    let same = head.sha256.as_deref() == Some(checksum);
    let ours = head.token.as_deref() == Some(token);
    if head.bytes == bytes && (same || ours) {
        let put = if ours { Put::Created } else { Put::Identical };
        let confirmed = if same { Confirmed::Checksum } else { Confirmed::Unconfirmed };
        return Ok(Taken { put, confirmed, version_id: head.version_id });
    }
    Err(Error::Exists { object, comparable: true })
}

/// Refuses a success that says nothing of what was taken: it is that of a page to log in, say, on the way to the server.
#[derive(Debug)]
pub(super) struct Receipted;

impl Intercept for Receipted {
    fn name(&self) -> &'static str {
        "bytes that a server has taken"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let refused = context.output_or_error().is_err();
        let headers = context.response().headers();
        let told = ["etag", "x-amz-checksum-sha256"].iter().any(|name| headers.get(name).is_some_and(|value| !value.is_empty()));
        if told || refused {
            Ok(())
        } else {
            Err("the answer is a success without ETag or checksum: nothing says that the bytes were taken".into())
        }
    }
}

/// Holds the digest that the server gave back, if it did, against ours.
pub(super) fn compare(object: &str, echoed: Option<&str>, ours: &str) -> Result<Confirmed, Error> {
    match echoed {
        None => Ok(Confirmed::Unconfirmed),
        Some(echoed) if echoed == ours => Ok(Confirmed::Checksum),
        Some(echoed) => {
            let why = format!("the server has bytes with checksum {echoed}, we sent {ours}");
            Err(Error::Damaged { object: object.into(), why })
        }
    }
}

fn token() -> Result<String, Error> {
    let mut random = [0; 16];
    let filled = getrandom::fill(&mut random);
    filled.map_err(|error| Error::io("the system's random numbers", std::io::Error::other(error.to_string())))?;
    Ok(hex::encode(random))
}

fn query_string(tags: &[(String, String)]) -> String {
    let pairs: Vec<_> = tags.iter().map(|(key, value)| format!("{}={}", escape(key), escape(value))).collect();
    pairs.join("&")
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn escape(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_escaped_as_a_query_string() {
        let tags = [("team".into(), "a&b".into()), ("k e".into(), "ü=1".into())];
        assert_eq!(query_string(&tags), "team=a%26b&k%20e=%C3%BC%3D1");
    }

    #[test]
    fn f30_an_echoed_checksum_that_differs_is_damage() {
        assert_eq!(compare("o", None, "a").ok(), Some(Confirmed::Unconfirmed));
        assert_eq!(compare("o", Some("a"), "a").ok(), Some(Confirmed::Checksum));
        assert!(matches!(compare("o", Some("b"), "a"), Err(Error::Damaged { .. })));
    }
}
