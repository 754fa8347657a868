//! Requests that a server should refuse, each made once and judged by its answer alone.

use std::future::Future;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use dr_pipe::Sha256;

use super::attempts::{Ended, PATIENCE};
use super::refusal::{Refusal, Request, judge};
use super::{Bucket, clock, versions};
use crate::{Answer, Attempt, Error, Reached};

/// How often a request is made that the server was too busy to answer, and the pause between.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);

/// The refusal of what is not there.
const ABSENT: &str = "404";
/// Other bytes than any that a probe creates.
const OTHER: &[u8] = b"written over by a probe\n";

/// How a request ended that got an answer.
enum Outcome<T> {
    Done(T),
    Not(Answer),
}

/// Whether the server is there and knows us, what it lets us do, and its clock.
pub(super) async fn reach(bucket: &Bucket) -> Result<Reached, Error> {
    let (listed, clock) = clock::look(bucket).await;
    match listed {
        Ok(()) => Ok(Reached { may_list: true, clock }),
        // Whoever is known, and only lacks the right, may still store.
        Err(Ended::Failed(Error::Denied { why, .. })) if why.contains("AccessDenied") => Ok(Reached { may_list: false, clock }),
        Err(ended) => Err(ended.unexpected(&bucket.request("", "s3:ListBucket"))),
    }
}

/// Makes the request.
pub(super) async fn attempt(bucket: &Bucket, key: &str, attempt: &Attempt) -> Result<Answer, Error> {
    match attempt {
        Attempt::WrongDigest => wrong_digest(bucket, key).await,
        Attempt::CreateInParts => create_in_parts(bucket, key).await,
        Attempt::Overwrite => overwrite(bucket, key).await,
        Attempt::Delete => delete(bucket, key, None).await,
        Attempt::DeleteVersion(version) => delete(bucket, key, Some(version.clone())).await,
    }
}

/// Removes every version of what is below `prefix`; gives the keys of what stays.
pub(super) async fn clear(bucket: &Bucket, prefix: &str) -> Result<Vec<String>, Error> {
    let there: Vec<(String, Option<String>)> = match versions::every(bucket, prefix, None).await {
        Ok(all) => all.into_iter().map(|version| (version.key, Some(version.id))).collect(),
        // A server without versions.
        Err(Ended::Unsupported(_)) => {
            let objects = super::list::list(bucket, prefix, "").await?;
            objects.into_iter().map(|object| (object.key, None)).collect()
        }
        Err(Ended::Failed(Error::Denied { .. })) => match super::list::list(bucket, prefix, "").await {
            Ok(objects) => objects.into_iter().map(|object| (object.key, None)).collect(),
            Err(Error::Denied { .. }) => return Ok(vec![prefix.to_owned()]),
            Err(error) => return Err(error),
        },
        Err(ended) => return Err(ended.unexpected(&bucket.request(prefix, "s3:ListBucketVersions"))),
    };
    let mut left = Vec::new();
    for (key, version) in there {
        if delete(bucket, &key, version).await? != Answer::Done && !left.contains(&key) {
            left.push(key);
        }
    }
    Ok(left)
}

async fn wrong_digest(bucket: &Bucket, key: &str) -> Result<Answer, Error> {
    let request = bucket.request(key, "s3:PutObject");
    let checksum = BASE64.encode(Sha256::of(b"other bytes").0);
    let tried = ask(&request, || {
        let put = bucket.client().put_object().bucket(&bucket.name).key(bucket.full(key)).if_none_match("*");
        let put = put.checksum_algorithm(ChecksumAlgorithm::Sha256).checksum_sha256(&checksum);
        put.body(ByteStream::from_static(OTHER)).send()
    });
    Ok(answer(tried.await?))
}

async fn overwrite(bucket: &Bucket, key: &str) -> Result<Answer, Error> {
    let request = bucket.request(key, "s3:PutObject");
    let checksum = BASE64.encode(Sha256::of(OTHER).0);
    let tried = ask(&request, || {
        let put = bucket.client().put_object().bucket(&bucket.name).key(bucket.full(key));
        let put = put.checksum_algorithm(ChecksumAlgorithm::Sha256).checksum_sha256(&checksum);
        put.body(ByteStream::from_static(OTHER)).send()
    });
    Ok(answer(tried.await?))
}

/// As an upload does that is larger than one part: all servers take a single part that is small.
async fn create_in_parts(bucket: &Bucket, key: &str) -> Result<Answer, Error> {
    let request = bucket.request(key, "s3:PutObject");
    let begun = ask(&request, || {
        let create = bucket.client().create_multipart_upload().bucket(&bucket.name).key(bucket.full(key));
        create.checksum_algorithm(ChecksumAlgorithm::Sha256).send()
    });
    let id = match begun.await? {
        Outcome::Done(begun) => begun.upload_id().unwrap_or_default().to_owned(),
        Outcome::Not(answer) => return Ok(answer),
    };
    let completed = complete(bucket, &request, key, &id).await;
    if !matches!(completed, Ok(Answer::Done)) {
        // Nobody needs it; where it may not even be aborted, the bucket's lifecycle rule removes it.
        let aborted = ask(&request, || {
            bucket.client().abort_multipart_upload().bucket(&bucket.name).key(bucket.full(key)).upload_id(&id).send()
        });
        drop(aborted.await);
    }
    completed
}

async fn complete(bucket: &Bucket, request: &Request, key: &str, id: &str) -> Result<Answer, Error> {
    let checksum = BASE64.encode(Sha256::of(OTHER).0);
    let sent = ask(request, || {
        let part = bucket.client().upload_part().bucket(&bucket.name).key(bucket.full(key)).upload_id(id).part_number(1);
        part.checksum_sha256(&checksum).body(ByteStream::from_static(OTHER)).send()
    });
    let etag = match sent.await? {
        Outcome::Done(sent) => sent.e_tag().map(str::to_owned),
        Outcome::Not(answer) => return Ok(answer),
    };
    let part = CompletedPart::builder().part_number(1).set_e_tag(etag).checksum_sha256(&checksum).build();
    let parts = CompletedMultipartUpload::builder().parts(part).build();
    let tried = ask(request, || {
        let complete = bucket.client().complete_multipart_upload().bucket(&bucket.name).key(bucket.full(key));
        complete.upload_id(id).if_none_match("*").multipart_upload(parts.clone()).send()
    });
    match answer(tried.await?) {
        // The reply to an earlier attempt was lost, and the upload has gone meanwhile: perhaps into the object.
        Answer::Refused(why) if why == ABSENT => {
            let why = "what became of an upload in parts is not known, as the reply was lost".into();
            Err(Error::Unavailable { object: request.object.clone(), why })
        }
        answer => Ok(answer),
    }
}

async fn delete(bucket: &Bucket, key: &str, version: Option<String>) -> Result<Answer, Error> {
    let right = if version.is_some() { "s3:DeleteObjectVersion" } else { "s3:DeleteObject" };
    let request = bucket.request(key, right);
    let tried = ask(&request, || {
        bucket.client().delete_object().bucket(&bucket.name).key(bucket.full(key)).set_version_id(version.clone()).send()
    });
    match answer(tried.await?) {
        Answer::Refused(why) if why == ABSENT => Ok(Answer::Done),
        answer => Ok(answer),
    }
}

fn answer<T>(outcome: Outcome<T>) -> Answer {
    match outcome {
        Outcome::Done(_) => Answer::Done,
        Outcome::Not(answer) => answer,
    }
}

/// Makes a request whose refusal is an answer; again only where the server had no time for it.
async fn ask<T, E, F>(request: &Request, attempt: impl Fn() -> F) -> Result<Outcome<T>, Error>
where
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let patience = PATIENCE.min(request.patience);
    let silence =
        || Error::Unavailable { object: request.object.clone(), why: format!("no answer within {} seconds", patience.as_secs()) };
    let mut last = silence();
    for number in 0..TRIES {
        if number > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let refusal = match tokio::time::timeout(patience, attempt()).await {
            Err(_) => return Err(silence()),
            Ok(Ok(value)) => return Ok(Outcome::Done(value)),
            Ok(Err(error)) => judge(request, error),
        };
        let said = |error: Error| error.to_string().trim_start_matches(&format!("{}: ", request.object)).to_owned();
        let answer = match refusal {
            Refusal::Precondition => Answer::Refused("412".into()),
            Refusal::Absent => Answer::Refused(ABSENT.into()),
            Refusal::Again { last: error @ Error::Damaged { .. }, .. } => Answer::Refused(said(error)),
            Refusal::Unsupported(error) => Answer::Unsupported(said(error)),
            Refusal::Stale(error) => Answer::Denied(said(error)),
            Refusal::Final(error) => Answer::Refused(said(error)),
            Refusal::Unintelligible(why) => return Err(Error::Protocol { object: request.object.clone(), why }),
            Refusal::Again { last: error, .. } | Refusal::Skewed(error) => {
                last = error;
                continue;
            }
        };
        return Ok(Outcome::Not(answer));
    }
    Err(last)
}
