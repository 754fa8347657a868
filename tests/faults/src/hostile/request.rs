//! Requests and replies of S3, read off the wire.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use dr_testing::s3::BUCKET;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Put,
    Get,
    Head,
    List,
    Begin,
    Part,
    Complete,
    Abort,
    Delete,
    Other,
}

/// A request, of which one byte is left unread: a connection that is closed then is reset.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its first line and headers, without `Connection` and `Expect`.
    pub head: String,
    pub kind: Kind,
    /// The object's key.
    pub key: String,
    pub query: String,
    /// Whether it waits for `100 Continue`.
    pub expects: bool,
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// Such as `200 OK`.
    pub status: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// Reads the head of a request.
    pub fn read(mut client: &TcpStream) -> io::Result<Request> {
        let mut peeked = vec![0; 64 << 10];
        let end = loop {
            let n = client.peek(&mut peeked)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match peeked[..n].windows(4).position(|four| four == b"\r\n\r\n") {
                Some(place) => break place + 4,
                None => std::thread::park_timeout(std::time::Duration::from_millis(1)),
            }
        };
        let length = header(&String::from_utf8_lossy(&peeked[..end]), "content-length").and_then(|it| it.parse().ok());
        let length: usize = length.unwrap_or(0);
        let mut head = vec![0; if length == 0 { end - 1 } else { end }];
        client.read_exact(&mut head)?;
        let text = String::from_utf8_lossy(&peeked[..end]).into_owned();
        let kept = |line: &&str| !["connection:", "expect:"].iter().any(|name| line.to_ascii_lowercase().starts_with(name));
        let lines: String = text.trim_end().split("\r\n").filter(kept).flat_map(|line| [line, "\r\n"]).collect();
        let target = text.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let kind = kind(text.split(' ').next().unwrap_or_default(), query);
        let key = path.trim_start_matches('/').strip_prefix(BUCKET).unwrap_or_default().trim_start_matches('/').to_owned();
        let expects = header(&text, "expect").is_some();
        Ok(Request { head: lines, kind, key, query: query.into(), expects, body: vec![0; length] })
    }

    /// Reads its body, but for the last byte.
    pub fn read_body(&mut self, mut client: &TcpStream) -> io::Result<()> {
        let most = self.body.len().saturating_sub(1);
        client.read_exact(&mut self.body[..most])
    }

    /// Reads its last byte.
    pub fn read_last(&mut self, mut client: &TcpStream) -> io::Result<()> {
        let mut last = [0];
        client.read_exact(&mut last)?;
        if let Some(byte) = self.body.last_mut() {
            *byte = last[0];
        }
        Ok(())
    }

    /// A parameter of its query, decoded.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| decoded(value)).next()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

fn kind(method: &str, query: &str) -> Kind {
    let has = |name: &str| query.split('&').any(|pair| pair == name || pair.starts_with(&format!("{name}=")));
    match method {
        "PUT" if has("partNumber") => Kind::Part,
        "PUT" => Kind::Put,
        "POST" if has("uploads") => Kind::Begin,
        "POST" if has("uploadId") => Kind::Complete,
        "DELETE" if has("uploadId") => Kind::Abort,
        "DELETE" => Kind::Delete,
        "HEAD" => Kind::Head,
        "GET" if has("list-type") => Kind::List,
        "GET" if !["uploads", "versions", "retention", "tagging"].iter().any(|name| has(name)) => Kind::Get,
        _ => Kind::Other,
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let pairs = head.split("\r\n").filter_map(|line| line.split_once(':'));
    pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = (byte == b'%').then(|| rest.by_ref().take(2).map(char::from).collect::<String>());
        bytes.push(hex.and_then(|hex| u8::from_str_radix(&hex, 16).ok()).unwrap_or(byte));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Reply {
    /// An answer of one's own.
    pub fn new(status: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Reply {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let mut reply = Reply { status: status.into(), headers, body: body.into() };
        reply.measure();
        reply
    }

    /// What a server has sent.
    pub fn parse(bytes: &[u8]) -> io::Result<Reply> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let head = String::from_utf8_lossy(&bytes[..end]);
        let status = head.split("\r\n").next().and_then(|line| line.split_once(' ')).map_or("", |(_, status)| status).to_owned();
        let headers = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        let mut reply = Reply { status, headers, body: bytes[end + 4..].to_vec() };
        if reply.header("transfer-encoding").is_some() {
            reply.body = unchunked(&reply.body);
            reply.remove("transfer-encoding");
            reply.measure();
        }
        reply.remove("connection");
        Ok(reply)
    }

    pub fn is_good(&self) -> bool {
        self.status.starts_with('2')
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.headers.push((name.into(), value.into()));
    }

    pub fn remove(&mut self, name: &str) {
        self.headers.retain(|(key, _)| key != name);
    }

    /// Says how long the body is.
    pub fn measure(&mut self) {
        let length = self.body.len().to_string();
        self.set("content-length", &length);
    }

    /// The head under a version of HTTP.
    pub fn head(&self, version: &str) -> String {
        let headers = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>();
        format!("{version} {}\r\n{headers}connection: close\r\n\r\n", self.status)
    }

    /// Sends it as it should be.
    pub fn send(&self, mut client: &TcpStream, of_head: bool) -> io::Result<()> {
        client.write_all(self.head("HTTP/1.1").as_bytes())?;
        client.write_all(if of_head { &[] } else { &self.body })
    }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(String::from_utf8_lossy(&bytes[..end]).trim(), 16).unwrap_or(0);
        let Some(chunk) = bytes.get(end + 2..end + 2 + size).filter(|_| size > 0) else { break };
        whole.extend_from_slice(chunk);
        bytes = bytes.get(end + 4 + size..).unwrap_or_default();
    }
    whole
}
