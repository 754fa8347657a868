//! What does a server mean when it does not say yes? One judgement for all operations.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use chrono::{TimeDelta, Utc};

use super::clock::date;
use super::connection::Connection;
use crate::Error;

/// What was asked, of which object, and which right that takes.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// The object as a user would name it.
    pub(super) object: String,
    /// The bucket it is in.
    pub(super) bucket: String,
    /// The right that is needed, such as `s3:PutObject`.
    pub(super) right: &'static str,
    /// No attempt is begun later than this after the first.
    pub(super) patience: Duration,
    /// What it is sent through.
    pub(super) connection: Arc<Connection>,
}

/// An attempt that did not succeed.
#[derive(Debug)]
pub(super) enum Refusal {
    /// 404: the object (or upload) is proven not to be there.
    Absent,
    /// 412: a precondition does not hold; or the object is being thawed already.
    Precondition,
    /// A success, in words that nobody understands.
    Unintelligible(String),
    /// Another attempt may succeed. `last` is the error if there is none.
    Again { last: Error, after: Option<Duration> },
    /// 501: the server does not know this request.
    Unsupported(Error),
    /// The clocks differ by a little: another attempt may succeed, signed by the server's.
    Skewed(Error),
    /// Another attempt may succeed if the credentials have been replaced since they were read.
    Stale(Error),
    /// No attempt will succeed.
    Final(Error),
}

/// Judges a failed attempt.
pub(super) fn judge<E>(request: &Request, error: SdkError<E, HttpResponse>) -> Refusal
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let SdkError::ServiceError(service) = &error else { return without_answer(request, &error) };
    let answer = Answer {
        status: service.raw().status().as_u16(),
        code: service.err().code().unwrap_or_default(),
        message: service.err().message().unwrap_or_default(),
        region: service.raw().headers().get("x-amz-bucket-region"),
        ahead: service.raw().headers().get("date").and_then(date).map(|server| Utc::now() - server),
        after: service.raw().headers().get("retry-after").and_then(|value| value.trim().parse().ok()).map(Duration::from_secs),
    };
    answer.judge(request)
}

/// A server's error, taken apart.
struct Answer<'a> {
    status: u16,
    /// Empty where the server gave none, as in answers to HEAD.
    code: &'a str,
    message: &'a str,
    region: Option<&'a str>,
    /// By how much this host's clock is ahead of the server's.
    ahead: Option<TimeDelta>,
    after: Option<Duration>,
}

impl Answer<'_> {
    fn judge(&self, request: &Request) -> Refusal {
        match (self.status, self.code) {
            (_, "NoSuchBucket") => {
                self.config(request, "create the bucket, or correct its name; to reach another server: --endpoint-url")
            }
            (_, "RequestTimeTooSkewed") => self.skewed(request),
            // An answer to HEAD does not say why. Servers refuse what is a quarter of an hour off.
            (403, "") if self.ahead.is_some_and(|ahead| ahead.abs() > TimeDelta::minutes(15)) => self.skewed(request),
            (301 | 302 | 307 | 308, _) | (_, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
                self.elsewhere(request)
            }
            (404, _) => Refusal::Absent,
            (412, _) | (409, "RestoreAlreadyInProgress") => Refusal::Precondition,
            // Ranges are asked for within the size that the server itself gave.
            (416, _) => Refusal::Final(Error::Damaged {
                object: request.object.clone(),
                why: "it was replaced by a shorter one while it was being read".into(),
            }),
            (409, _) | (429, _) | (503, "SlowDown") => {
                let last = Error::Busy { object: request.object.clone(), why: self.said() };
                Refusal::Again { last, after: self.after }
            }
            (_, "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch") => {
                let why = format!("the bytes arrived altered: {}", self.said());
                Refusal::Again { last: Error::Damaged { object: request.object.clone(), why }, after: None }
            }
            (_, "InvalidObjectState") => {
                let (object, class) = (request.object.clone(), "cold storage".into());
                Refusal::Final(Error::Frozen { object, class, asked: false })
            }
            // Servers have many words for credentials that they do not know any more; an answer to HEAD has none.
            (401 | 403, _) | (400, "" | "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => {
                Refusal::Stale(self.denied(request))
            }
            (501, _) | (_, "NotImplemented") => {
                let hint = "this server cannot do what was asked: leave out the option, or use another server".into();
                Refusal::Unsupported(Error::Config { object: request.object.clone(), why: self.said(), hint })
            }
            (500..=599, _) | (408, _) | (400, "RequestTimeout") => {
                let last = Error::Unavailable { object: request.object.clone(), why: self.said() };
                Refusal::Again { last, after: self.after }
            }
            (200..=299, "") => Refusal::Unintelligible(format!("status {} with an answer that does not fit", self.status)),
            // An error inside a success, as CompleteMultipartUpload gives when it fails after its status line has gone out.
            (200..=299, _) => {
                let why = format!("status {} with an error inside: {}", self.status, self.said());
                Refusal::Again { last: Error::Protocol { object: request.object.clone(), why }, after: None }
            }
            _ => self.config(request, "correct the option that the server names"),
        }
    }

    /// What the server said, in one line.
    fn said(&self) -> String {
        let status = self.status;
        match (self.code, self.message) {
            ("", _) => format!("status {status}"),
            (code, "") => format!("{status} {code}"),
            (code, message) => format!("{status} {code}: {message}"),
        }
    }

    fn config(&self, request: &Request, hint: &str) -> Refusal {
        Refusal::Final(Error::Config { object: request.object.clone(), why: self.said(), hint: hint.into() })
    }

    /// The server finds our clock wrong. By a little, where the server is strict, one attempt by its own clock is made.
    fn skewed(&self, request: &Request) -> Refusal {
        let by = self.ahead.map_or_else(String::new, |ahead| {
            let side = if ahead > TimeDelta::zero() { "ahead of" } else { "behind" };
            format!("; this host's clock is {} seconds {side} the server's", ahead.num_seconds().abs())
        });
        let hint = "set this host's clock (timedatectl), then run it again".into();
        let error = Error::Config { object: request.object.clone(), why: format!("{}{by}", self.said()), hint };
        match self.ahead {
            Some(ahead) if ahead.abs() <= TimeDelta::minutes(5) => Refusal::Skewed(error),
            _ => Refusal::Final(error),
        }
    }

    /// The bucket is in another region, or at another server. Our credentials are not shown there unasked.
    fn elsewhere(&self, request: &Request) -> Refusal {
        let (why, hint) = match self.region {
            Some(region) => (format!("bucket {} is in region {region}", request.bucket), format!("set AWS_REGION={region}")),
            None => (self.said(), "set AWS_REGION to the bucket's region, or --endpoint-url to its server".into()),
        };
        Refusal::Final(Error::Config { object: request.object.clone(), why, hint })
    }

    fn denied(&self, request: &Request) -> Error {
        let hint = match self.code {
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" => {
                "the server does not know this access key, or its secret is another: check the credentials".into()
            }
            "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => "the credentials have expired: renew them".into(),
            "" if self.status == 400 => "the credentials may have expired, or be for another region: check both".into(),
            _ => format!("the credential needs {} on bucket {}", request.right, request.bucket),
        };
        Error::Denied { object: request.object.clone(), why: self.said(), hint }
    }
}

/// Judges an attempt that no server answered in full.
fn without_answer<E>(request: &Request, error: &SdkError<E, HttpResponse>) -> Refusal
where
    E: std::error::Error + 'static,
{
    let object = request.object.clone();
    let why = reason(error);
    let config = |hint: &str| Refusal::Final(Error::Config { object: object.clone(), why: why.clone(), hint: hint.into() });
    match error {
        SdkError::DispatchFailure(failure) if !(failure.is_io() || failure.is_timeout()) && why.contains("credentials") => {
            let hint = "give credentials as for the aws command: environment, ~/.aws, or the role of this machine".into();
            Refusal::Final(Error::Denied { object: object.clone(), why: why.clone(), hint })
        }
        SdkError::DispatchFailure(_) if why.contains("certificate") => {
            config("its certificate is not trusted here: name the issuer's certificate with --ca-file; check the host's name")
        }
        SdkError::ConstructionFailure(_) => config("check the settings for S3: region, endpoint, profile"),
        SdkError::ResponseError(_) => {
            let last = Error::Protocol { object: object.clone(), why: why.clone() };
            Refusal::Again { last, after: None }
        }
        _ => Refusal::Again { last: Error::Unavailable { object: object.clone(), why: why.clone() }, after: None },
    }
}

/// The chain of causes, each said once. The SDK's own first word ("dispatch failure") says nothing to a user.
fn reason<E: std::error::Error + 'static>(error: &SdkError<E, HttpResponse>) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !said.iter().any(|known| known.contains(&text)) {
            said.push(text);
        }
        cause = error.source();
    }
    if said.is_empty() { error.to_string() } else { said.join(": ") }
}
