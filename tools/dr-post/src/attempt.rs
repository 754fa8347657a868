//! One attempt, and what its outcome means for the next one.

use std::io::Read;
use std::time::{Duration, Instant};

use dr_pipe::{Exit, Failure};
use ureq::http;

use crate::{Answer, Method, Request};

/// How long one attempt may take.
const LONGEST: Duration = Duration::from_secs(10);

/// No attempt is begun for less.
const SHORTEST: Duration = Duration::from_millis(50);

/// As much of an answer is read.
const BODY_BYTES: u64 = 64 << 10;

/// How an attempt ended.
pub enum Attempt {
    /// Well.
    Answered(Answer),
    /// As every other one will.
    Refused(Failure),
    /// As the next one may not: after this while, where the server has said so.
    Again { failure: Failure, after: Option<Duration> },
}

/// Sends the request once, and waits for the answer until `end` at most.
pub fn attempt(agent: &ureq::Agent, request: &Request, end: Instant) -> Attempt {
    let left = end.saturating_duration_since(Instant::now()).clamp(SHORTEST, LONGEST);
    let answer = match whole(request) {
        Ok(whole) => {
            let whole = agent.configure_request(whole).timeout_global(Some(left)).build();
            agent.run(whole)
        }
        Err(error) => return Attempt::Refused(config(request, &format!("a header cannot be sent: {error}"), "mend the header")),
    };
    match answer {
        Err(error) => unanswered(request, &error),
        Ok(answer) => answered(request, answer),
    }
}

/// How long to wait after so many pauses: about a second, then twice as long, with some chance, so that many hosts do not come
/// back at once.
pub fn pause(before: u32) -> Duration {
    let mut chance = [0; 1];
    // Without chance it is as good, for one host.
    let (Ok(()) | Err(_)) = getrandom::fill(&mut chance);
    Duration::from_millis(700 << before.min(3)) + Duration::from_millis(u64::from(chance[0]) << before.min(3))
}

fn whole(request: &Request) -> Result<http::Request<Vec<u8>>, http::Error> {
    let method = match request.method {
        Method::Post => http::Method::POST,
        Method::Put => http::Method::PUT,
        Method::Get => http::Method::GET,
    };
    let mut whole = http::Request::builder().method(method).uri(request.url.bare());
    for (name, value) in &request.headers {
        whole = whole.header(name, value);
    }
    if let Some(value) = request.url.authorization() {
        whole = whole.header(http::header::AUTHORIZATION, value);
    }
    whole.body(request.body.clone())
}

/// There was no answer.
fn unanswered(request: &Request, error: &ureq::Error) -> Attempt {
    let unavailable = |why: String| Attempt::Again {
        failure: Failure::new(
            Exit::Unavailable,
            format!("{}: {why}", request.url),
            "is the server up, and reached from this host?",
        ),
        after: None,
    };
    // Words of its own for each: those of the library may hold the URL.
    match error {
        ureq::Error::Timeout(_) => unavailable("no answer in time".into()),
        ureq::Error::HostNotFound => unavailable("no such host is known".into()),
        ureq::Error::ConnectionFailed => unavailable("no connection".into()),
        ureq::Error::ConnectProxyFailed(_) => unavailable("the proxy makes no connection".into()),
        ureq::Error::InvalidProxyUrl => {
            Attempt::Refused(config(request, "$HTTPS_PROXY or its like is no URL", "mend it, or unset it"))
        }
        ureq::Error::Rustls(error) => tls(request, error),
        ureq::Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error) => tls(request, error),
            None => unavailable(error.to_string()),
        },
        ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => {
            let message = format!("{}: its answer is not HTTP", request.url);
            Attempt::Refused(Failure::new(Exit::Protocol, message, "is it the right host and port, and the right scheme?"))
        }
        _ => Attempt::Refused(config(request, "the request cannot be sent", "check the URL")),
    }
}

/// A certificate does not become right by asking again.
fn tls(request: &Request, error: &rustls::Error) -> Attempt {
    match error {
        rustls::Error::InvalidCertificate(why) => {
            let hint = "name the issuer's certificate with --ca-file; check the host's name, and the clock";
            Attempt::Refused(config(request, &format!("its certificate is not trusted: {why}"), hint))
        }
        error => {
            let hint = "is it a server with TLS?";
            Attempt::Again { failure: Failure::new(Exit::Unavailable, format!("{}: TLS: {error}", request.url), hint), after: None }
        }
    }
}

fn answered(request: &Request, answer: http::Response<ureq::Body>) -> Attempt {
    let (head, body) = answer.into_parts();
    let status = head.status.as_u16();
    let said = format!("{} answered {}", request.url, head.status);
    let again = |after| Attempt::Again { failure: Failure::new(Exit::Unavailable, said.clone(), "its own log may say why"), after };
    let refused = |exit, hint: &str| Attempt::Refused(Failure::new(exit, said.clone(), hint));
    match status {
        200..=299 => {}
        408 | 429 | 500..=599 => {
            let after = head.headers.get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            return again(after.map(Duration::from_secs));
        }
        300..=399 => return refused(Exit::Config, "it is elsewhere: give the URL to which it has moved"),
        401 | 403 => return refused(Exit::Denied, "check the token in the URL or the header"),
        404 | 410 => return refused(Exit::Config, "it knows no such URL: was it deleted there, or mistyped?"),
        400..=499 => return refused(Exit::Config, "it does not take such a request: check the URL"),
        _ => return refused(Exit::Protocol, "is it the right host?"),
    }
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let mut content = Vec::new();
    match body.into_reader().take(BODY_BYTES).read_to_end(&mut content) {
        Ok(_) => Attempt::Answered(Answer { status, headers, body: content }),
        // What was asked for may have been done: that it is done twice does no harm.
        Err(_) => {
            let message = format!("{said}, and its answer broke off");
            let hint = "is there a proxy on the way that does not answer in time?";
            Attempt::Again { failure: Failure::new(Exit::Unavailable, message, hint), after: None }
        }
    }
}

fn config(request: &Request, why: &str, hint: &str) -> Failure {
    Failure::new(Exit::Config, format!("{}: {why}", request.url), hint)
}
