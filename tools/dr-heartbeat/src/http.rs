//! One exchange of HTTP/1.x over a connection that somebody else has accepted.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use chrono::Utc;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The longest request that is read, in bytes, without its body, which nobody reads.
const REQUEST_BYTES: usize = 8 << 10;

/// As many headers may it have.
const HEADERS: usize = 64;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method, as GET.
    pub method: String,
    /// The path, without the query.
    pub path: String,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its number.
    pub status: u16,
    /// JSON.
    pub body: String,
}

impl Response {
    /// One that says what is wrong with the request.
    pub fn wrong(status: u16) -> Self {
        Response { status, body: format!("{{\"status\":\"{}\"}}\n", reason(status)) }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    }
}

/// Reads a request until `end` at most. None where there is nobody to answer: the other side hung up, and said nothing.
///
/// # Errors
/// The answer to what is no request.
pub fn read(mut input: impl Read + AsFd, end: Instant) -> Result<Option<Request>, Response> {
    let mut text = Vec::new();
    let mut piece = [0; 1024];
    loop {
        if !ready(&input, PollFlags::IN, end).map_err(|_| Response::wrong(400))? {
            return Err(Response::wrong(408));
        }
        let n = match input.read(&mut piece) {
            Ok(0) | Err(_) if text.is_empty() => return Ok(None),
            Ok(0) | Err(_) => return Err(Response::wrong(400)),
            Ok(n) => n,
        };
        let room = REQUEST_BYTES - text.len();
        text.extend_from_slice(&piece[..n.min(room)]);
        match parse(&text) {
            Ok(None) if n >= room => return Err(Response::wrong(431)),
            Ok(None) => {}
            other => return other,
        }
    }
}

/// None where it is not whole.
fn parse(text: &[u8]) -> Result<Option<Request>, Response> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(text) {
        Ok(httparse::Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(Response::wrong(431)),
        Err(_) => Err(Response::wrong(400)),
        Ok(httparse::Status::Complete(_)) => {
            let part = |part: Option<&str>| part.unwrap_or_default().to_owned();
            let path = part(request.path).split('?').next().unwrap_or_default().to_owned();
            Ok(Some(Request { method: part(request.method), path }))
        }
    }
}

/// Writes a response until `end` at most; `head`: without its body.
///
/// # Errors
/// As `output` fails; one that takes nothing has timed out.
pub fn write(mut output: impl Write + AsFd, response: &Response, head: bool, end: Instant) -> io::Result<()> {
    let allow = if response.status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
    let text = format!(
        "HTTP/1.1 {} {}\r\nDate: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{allow}Connection: \
         close\r\n\r\n{}",
        response.status,
        reason(response.status),
        Utc::now().format("%a, %d %b %Y %H:%M:%S GMT"),
        response.body.len(),
        if head { "" } else { &response.body },
    );
    if !ready(&output, PollFlags::OUT, end)? {
        return Err(io::ErrorKind::TimedOut.into());
    }
    // It is far smaller than what any pipe or socket takes at once.
    output.write_all(text.as_bytes()).and_then(|()| output.flush())
}

/// Whether it is ready before `end`.
fn ready(stream: &impl AsFd, what: PollFlags, end: Instant) -> io::Result<bool> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left.max(Duration::from_millis(1))).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(stream, what)], Some(&left)) {
            Ok(0) if Instant::now() >= end => return Ok(false),
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            other => return other.map(|_| true).map_err(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn asked(text: &[u8]) -> Result<Option<Request>, u16> {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(text).unwrap();
        drop(writer);
        read(reader, Instant::now() + Duration::from_secs(5)).map_err(|response| response.status)
    }

    #[test]
    fn requests_are_read_and_garbage_is_refused() {
        let request = |method: &str, path: &str| Ok(Some(Request { method: method.into(), path: path.into() }));
        assert_eq!(asked(b"GET /healthz/backup?x=1 HTTP/1.1\r\nHost: x\r\n\r\n"), request("GET", "/healthz/backup"));
        assert_eq!(asked(b"HEAD /healthz HTTP/1.0\r\n\r\n"), request("HEAD", "/healthz"));
        assert_eq!(asked(b"GET / HTTP/1.1\n\n"), request("GET", "/"));
        assert_eq!(asked(b""), Ok(None));
        for (garbage, status) in [
            (&b"\x16\x03\x01\x02\x00\x01\x00"[..], 400),
            (b"GET /\r\n\r\n", 400),
            (b"GET / HTTP/2.0\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: x\r\n", 400),
            (b"SSH-2.0-x\r\n", 400),
        ] {
            assert_eq!(asked(garbage), Err(status), "{}", String::from_utf8_lossy(garbage));
        }
        assert_eq!(asked(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(9000)).as_bytes()), Err(431));
        assert_eq!(asked(format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65)).as_bytes()), Err(431));
    }

    #[test]
    fn a_slow_client_is_cut_off() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"GET / HT").unwrap();
        let answer = read(reader, Instant::now() + Duration::from_millis(50));
        assert_eq!(answer, Err(Response::wrong(408)));
    }
}
