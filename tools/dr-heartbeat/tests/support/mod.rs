//! A host with jobs, and an endpoint that waits for their sign of life.
#![allow(clippy::unwrap_used, dead_code, reason = "no file of tests needs all of it")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Polls until it is so.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < deadline, "it does not come to this: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

pub struct Rig {
    pub scratch: TempDir,
}

impl Rig {
    pub fn new() -> Rig {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir(scratch.path().join("tmp")).unwrap();
        Rig { scratch }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The program, without a terminal, whoever runs the tests.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("setsid");
        command.arg(env!("CARGO_BIN_EXE_dr-heartbeat")).args(arguments);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.scratch.path());
        command.env("DR_STATE", self.path("state")).env("TMPDIR", self.path("tmp"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// `run --job dump --cluster main OPTIONS -- sh -c SCRIPT`.
    pub fn job(&self, options: &[&str], script: &str) -> Command {
        let head: &[&str] = &["run", "--job", "dump", "--cluster", "main"];
        self.command(&[head, options, &["--", "sh", "-c", script]].concat())
    }

    /// A file of URLs that only its owner can read.
    pub fn ping_file(&self, text: &str) -> String {
        let path = self.path("main.ping");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    }

    /// The run history of the cluster main.
    pub fn runs(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("state/runs-main.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// All that lies in the state directory, as text.
    pub fn state(&self) -> String {
        let files = fs::read_dir(self.path("state")).unwrap().map(|entry| entry.unwrap().path());
        files.map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()).collect()
    }
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A request that an endpoint has had.
#[derive(Clone, Debug)]
pub struct Had {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub body: String,
}

impl Had {
    /// The path alone.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    /// What the query says of the run.
    pub fn run(&self) -> &str {
        self.target.split_once("rid=").unwrap().1
    }
}

/// What an endpoint does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answers so: status line, and headers with their ends.
    Say(&'static str, &'static str, &'static str),
    /// Says nothing, and keeps the connection.
    Nothing,
    /// Says what is no HTTP.
    Garbage,
}

pub const OK: Reply = Reply::Say("200 OK", "", "OK");

/// A server of HTTP, that does with each request what stands at its place in a list, and with the rest as with the last one.
pub struct Endpoint {
    pub port: u16,
    had: Arc<Mutex<Vec<Had>>>,
}

impl Endpoint {
    pub fn new(replies: &[Reply]) -> Endpoint {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let had = Arc::new(Mutex::new(Vec::new()));
        let (kept, replies) = (Arc::clone(&had), replies.to_vec());
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let Some(request) = receive(&connection) else { continue };
                let place = {
                    let mut kept = kept.lock().unwrap();
                    kept.push(request);
                    kept.len() - 1
                };
                match &replies[place.min(replies.len() - 1)] {
                    Reply::Say(status, headers, body) => {
                        let length = body.len();
                        let text =
                            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}Connection: close\r\n\r\n{body}");
                        // The client may have given up.
                        drop(connection.write_all(text.as_bytes()));
                    }
                    Reply::Garbage => drop(connection.write_all(b"220 mail.example ESMTP\r\n")),
                    Reply::Nothing => open.push(connection),
                }
            }
        });
        Endpoint { port, had }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/ping/canary-of-the-url", self.port)
    }

    pub fn had(&self) -> Vec<Had> {
        self.had.lock().unwrap().clone()
    }

    /// The paths that were asked for, after that of the URL.
    pub fn paths(&self) -> Vec<String> {
        self.had().iter().map(|had| had.path().trim_start_matches("/ping/canary-of-the-url").to_owned()).collect()
    }
}

fn receive(connection: &TcpStream) -> Option<Had> {
    let mut reader = BufReader::new(connection);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut words = first.split(' ').map(str::to_owned);
    Some(Had { method: words.next()?, target: words.next()?, body: String::from_utf8(body).unwrap() })
}

/// Sends a signal, by its name.
pub fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status().unwrap();
    assert!(status.success());
}
