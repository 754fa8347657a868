//! How often is a request tried, and how long is the pause between?
//!
//! Full jitter over exponential steps (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>), a
//! server's Retry-After where it asks for more, and an end to both.

use std::future::Future;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use tokio::time::Instant;

use super::refusal::{Refusal, Request, judge};
use crate::Error;
use crate::warn::warn;

/// Attempts in all.
const ATTEMPTS: u32 = 7;
/// The first step; each next one is twice as long.
const STEP: Duration = Duration::from_millis(250);
/// The longest step.
const LONGEST_STEP: Duration = Duration::from_secs(20);
/// The longest pause that a server's Retry-After is granted.
const LONGEST_WISH: Duration = Duration::from_secs(60);
/// Time for a request that carries few bytes either way.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Time for a request that carries `bytes`: what a line of 256 KiB/s needs, and [`PATIENCE`] on top. (A line on which
/// nothing moves at all is noticed after 30 seconds, by the SDK.)
pub(super) fn patience_for(bytes: usize) -> Duration {
    PATIENCE + Duration::from_secs(bytes as u64 / (256 << 10))
}

/// How a request ended that did not succeed.
#[derive(Debug)]
pub(super) enum Ended {
    /// 404.
    Absent,
    /// 412.
    Precondition,
    /// With a success, in words that nobody understands.
    Unintelligible(String),
    /// 501: the server does not know this request.
    Unsupported(Error),
    /// Any other way.
    Failed(Error),
}

impl Ended {
    /// The error, where neither absence nor a precondition was to be expected.
    pub(super) fn unexpected(self, request: &Request) -> Error {
        match self {
            Ended::Failed(error) | Ended::Unsupported(error) => error,
            Ended::Absent => Error::Absent { object: request.object.clone() },
            Ended::Precondition => {
                Error::Protocol { object: request.object.clone(), why: "412 to a request without condition".into() }
            }
            Ended::Unintelligible(why) => Error::Protocol { object: request.object.clone(), why },
        }
    }
}

/// Sends a request until it succeeds, cannot succeed, or has been tried enough. One attempt may take `patience`; that part of it
/// which is not for moving bytes is no longer than the whole request may take.
pub(super) async fn send<T, E, F>(request: &Request, patience: Duration, mut attempt: impl FnMut() -> F) -> Result<T, Ended>
where
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let begun = Instant::now();
    let patience = patience.saturating_sub(PATIENCE) + PATIENCE.min(request.patience);
    let (mut set_right, mut renewed) = (false, false);
    for number in 1.. {
        let generation = request.connection.generation();
        let refusal = match tokio::time::timeout(patience, attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => judge(request, error),
            Err(_) => timed_out(request, patience),
        };
        let (last, after) = match refusal {
            Refusal::Absent => return Err(Ended::Absent),
            Refusal::Precondition => return Err(Ended::Precondition),
            Refusal::Unintelligible(why) => return Err(Ended::Unintelligible(why)),
            Refusal::Unsupported(error) => return Err(Ended::Unsupported(error)),
            Refusal::Final(error) => return Err(Ended::Failed(error)),
            // The SDK has taken the server's time from this answer, and signs by it from now on.
            Refusal::Skewed(error) if set_right => return Err(Ended::Failed(error)),
            Refusal::Skewed(error) => {
                warn(format!("{error}: trying again by the server's clock"));
                set_right = true;
                continue;
            }
            Refusal::Stale(error) if renewed || !request.connection.renew(generation).await => return Err(Ended::Failed(error)),
            Refusal::Stale(_) => {
                renewed = true;
                continue;
            }
            Refusal::Again { last, after } => (last, after),
        };
        let pause = pause(number, after, random());
        if number >= ATTEMPTS || begun.elapsed() + pause > request.patience {
            return Err(Ended::Failed(last));
        }
        tokio::time::sleep(pause).await;
    }
    unreachable!("the loop above has no end but its returns")
}

fn timed_out(request: &Request, patience: Duration) -> Refusal {
    let why = format!("no answer within {} seconds", patience.as_secs());
    Refusal::Again { last: Error::Unavailable { object: request.object.clone(), why }, after: None }
}

/// The pause after attempt `number`; `random` is uniform in 0..=1.
fn pause(number: u32, after: Option<Duration>, random: f64) -> Duration {
    let step = STEP.saturating_mul(1 << (number - 1).min(16)).min(LONGEST_STEP);
    step.mul_f64(random) + after.unwrap_or_default().min(LONGEST_WISH)
}

/// Uniform in 0..=1; 1, the longest pause, where the system has no random numbers.
fn random() -> f64 {
    let mut bytes = [0xff; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) | Err(_) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_are_bounded_and_honour_what_the_server_asks() {
        assert_eq!(pause(1, None, 1.0), STEP);
        assert_eq!(pause(4, None, 1.0), 8 * STEP);
        assert_eq!(pause(30, None, 1.0), LONGEST_STEP);
        assert_eq!(pause(3, None, 0.0), Duration::ZERO);
        assert_eq!(pause(1, Some(Duration::from_secs(7)), 0.0), Duration::from_secs(7));
        assert_eq!(pause(1, Some(Duration::from_secs(9999)), 0.0), LONGEST_WISH);
    }
}
