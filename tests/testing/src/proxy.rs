//! A proxy before a real server that loses replies, answers in its place, or breaks connections, request by request.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server gets it, and its reply is lost.
    LoseReply,
    /// The server does not get it; this is answered: status, headers with their line ends, body.
    Answer(&'static str, &'static str, &'static str),
    /// The server gets it, and of its reply only the first bytes arrive.
    CutReply(usize),
    /// The server gets it, and its reply has this body instead, under status 200.
    Body(&'static str),
    /// The server gets it with the first byte of its body changed.
    FlipByte,
    /// The server gets it, and one byte in the middle of its reply is changed.
    FlipReply,
    /// The server gets it, and its reply bears this ETag instead of its own.
    Etag(&'static str),
    /// The server does not get it; the connection stays open without a word until the client gives up.
    Stall,
}

/// Which fault meets a request: its number, counted from 0, and its first line.
type Choice = dyn Fn(usize, &str) -> Option<Fault> + Send + Sync;

/// What a store does that fails, stalls, lies or denies.
pub const OUTAGES: [Fault; 11] = [
    Fault::Answer("500 Internal Server Error", "", ""),
    Fault::Answer("503 Slow Down", "", "<Error><Code>SlowDown</Code></Error>"),
    Fault::Answer("403 Forbidden", "", "<Error><Code>AccessDenied</Code></Error>"),
    Fault::Answer("404 Not Found", "", "<Error><Code>NoSuchKey</Code></Error>"),
    Fault::Answer("404 Not Found", "", "<Error><Code>NoSuchBucket</Code></Error>"),
    Fault::Answer("200 OK", "", ""),
    // A listing without anything in it, by a server that has lost its index.
    Fault::Body(
        "<?xml version=\"1.0\"?><ListBucketResult><Name>dr-test</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>",
    ),
    Fault::LoseReply,
    Fault::CutReply(700),
    Fault::FlipReply,
    Fault::Stall,
];

/// A proxy on a loopback port of its own, until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    plan: Arc<Plan>,
}

struct Plan {
    upstream: SocketAddr,
    /// Each with the words that the request's first line must hold; used up in order.
    faults: Mutex<Vec<(String, Fault)>>,
    /// Asked about every request that none of `faults` met.
    choice: Mutex<Option<Box<Choice>>>,
    /// The heads of all requests, header lines and all.
    seen: Mutex<Vec<String>>,
    ended: AtomicBool,
}

impl Proxy {
    /// Starts a proxy before `upstream`. Each fault meets the first request, still unharmed, whose first line
    /// (`PUT /bucket/key?query HTTP/1.1`) holds all of its words.
    ///
    /// # Panics
    /// If no port can be had.
    pub fn start(upstream: SocketAddr, faults: &[(&str, Fault)]) -> Proxy {
        Proxy::serve(upstream, faults, None)
    }

    /// Starts a proxy before `upstream` that asks `choice` which fault meets a request.
    ///
    /// # Panics
    /// If no port can be had.
    pub fn choosing(upstream: SocketAddr, choice: impl Fn(usize, &str) -> Option<Fault> + Send + Sync + 'static) -> Proxy {
        Proxy::serve(upstream, &[], Some(Box::new(choice)))
    }

    /// From now on every request goes through unharmed.
    pub fn heal(&self) {
        *self.plan.choice.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.plan.faults.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn serve(upstream: SocketAddr, faults: &[(&str, Fault)], choice: Option<Box<Choice>>) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let faults = faults.iter().map(|(text, fault)| ((*text).to_owned(), fault.clone())).collect();
        let (faults, choice) = (Mutex::new(faults), Mutex::new(choice));
        let plan = Arc::new(Plan { upstream, faults, choice, seen: Mutex::default(), ended: AtomicBool::new(false) });
        let accepting = Arc::clone(&plan);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                let plan = Arc::clone(&accepting);
                // A connection that breaks is what this is for.
                std::thread::spawn(move || drop(plan.serve(&connection)));
            }
        });
        Proxy { address, plan }
    }

    /// Its URL, for `--endpoint-url`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The first lines of all requests so far.
    pub fn seen(&self) -> Vec<String> {
        self.heads().iter().map(|head| head.lines().next().unwrap_or_default().to_owned()).collect()
    }

    /// The heads of all requests so far: first lines and headers.
    pub fn heads(&self) -> Vec<String> {
        self.plan.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The faults that have not happened yet.
    pub fn unused(&self) -> Vec<(String, Fault)> {
        self.plan.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.plan.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts; if that fails, it has ended.
        drop(TcpStream::connect(self.address));
    }
}

impl Plan {
    /// Serves one request and closes the connection, which every client must take.
    fn serve(&self, mut client: &TcpStream) -> io::Result<()> {
        client.set_read_timeout(Some(Duration::from_secs(60)))?;
        let (head, mut body) = read_request(client)?;
        let first = head.lines().next().unwrap_or_default().to_owned();
        let number = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push(head.clone());
            seen.len() - 1
        };
        let fault = self.fault(number, &first);
        if fault == Some(Fault::Stall) {
            // Ends with the client, or with the read timeout.
            return client.read(&mut [0]).map(drop);
        }
        if let Some(Fault::Answer(status, headers, body)) = fault {
            let length = body.len();
            return write!(client, "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
        }
        if fault == Some(Fault::FlipByte) && !body.is_empty() {
            body[0] ^= 1;
        }
        let mut reply = self.forward(&head, &body)?;
        if fault == Some(Fault::FlipReply) && !reply.is_empty() {
            let middle = reply.len() / 2;
            reply[middle] ^= 1;
        }
        if let Some(Fault::Etag(etag)) = fault {
            reply = with_etag(&reply, etag);
        }
        match fault {
            Some(Fault::LoseReply) => {}
            Some(Fault::CutReply(n)) => client.write_all(&reply[..n.min(reply.len())])?,
            Some(Fault::Body(text)) => {
                write!(
                    client,
                    "HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                    text.len()
                )?;
            }
            _ => client.write_all(&reply)?,
        }
        client.shutdown(Shutdown::Both)
    }

    fn fault(&self, number: usize, first: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = faults.iter().position(|(words, _)| words.split(' ').all(|word| first.contains(word))) {
            return Some(faults.remove(place).1);
        }
        let choice = self.choice.lock().unwrap_or_else(PoisonError::into_inner);
        choice.as_ref().and_then(|choice| choice(number, first))
    }

    fn forward(&self, head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut server = TcpStream::connect(self.upstream)?;
        server.set_read_timeout(Some(Duration::from_secs(60)))?;
        // Not among the headers that are signed.
        let head = head.trim_end_matches("\r\n");
        write!(server, "{head}\r\nconnection: close\r\n\r\n")?;
        server.write_all(body)?;
        let mut reply = Vec::new();
        server.read_to_end(&mut reply)?;
        Ok(reply)
    }
}

/// A reply whose header `ETag`, if it has one, says something else.
fn with_etag(reply: &[u8], etag: &str) -> Vec<u8> {
    let end = reply.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(reply.len());
    let head = String::from_utf8_lossy(&reply[..end]);
    let line = |line: &str| match line.to_ascii_lowercase().starts_with("etag:") {
        true => format!("etag: \"{etag}\""),
        false => line.to_owned(),
    };
    let lines: Vec<_> = head.split("\r\n").map(line).collect();
    [lines.join("\r\n").as_bytes(), &reply[end..]].concat()
}

/// The head of a request (without a `connection` header, and unfinished expectations met), and its body.
fn read_request(mut client: &TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut reader = BufReader::new(client);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (name, value) = line.split_once(':').unwrap_or((line.trim_end(), ""));
        match name.to_ascii_lowercase().as_str() {
            "" => break,
            "connection" => continue,
            "expect" => client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?,
            "content-length" => length = value.trim().parse().map_err(io::Error::other)?,
            _ => {}
        }
        if !name.eq_ignore_ascii_case("expect") {
            head.push_str(&line);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((head, body))
}
