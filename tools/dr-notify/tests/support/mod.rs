//! Endpoints that are told, and a host that tells them.
#![allow(clippy::unwrap_used, dead_code, reason = "each test uses its part")]

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;
use tempfile::TempDir;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub method: String,
    pub path: String,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Arrived {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What an endpoint answers: 0 is nothing at all, for as long as somebody waits.
type Answers = VecDeque<(u16, &'static str)>;

/// A server of HTTP that keeps what arrives.
pub struct Endpoint {
    port: u16,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    answers: Arc<Mutex<Answers>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// One that answers 200 and `ok`.
    pub fn new() -> Self {
        Self::saying("ok")
    }

    /// One that answers 200 and this.
    pub fn saying(usual: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (arrived, answers, over) = (Arc::default(), Arc::default(), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (arrived, answers, over) = (Arc::clone(&arrived), Arc::clone(&answers), Arc::clone(&over));
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    serve(stream.unwrap(), &arrived, &answers, usual);
                }
            })
        };
        Endpoint { port, arrived, answers, over, thread: Some(thread) }
    }

    /// What it answers next; then 200 again.
    pub fn answer(&self, answers: &[(u16, &'static str)]) {
        *self.answers.lock().unwrap() = answers.iter().copied().collect();
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/services/canary-path", self.port)
    }

    /// What has arrived since this was asked last.
    pub fn arrived(&self) -> Vec<Arrived> {
        std::mem::take(&mut self.arrived.lock().unwrap())
    }

    /// The one request that has arrived.
    pub fn one(&self) -> Arrived {
        let mut arrived = self.arrived();
        assert_eq!(arrived.len(), 1, "{arrived:#?}");
        arrived.remove(0)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A URL at which nobody listens.
pub fn nowhere() -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("http://127.0.0.1:{port}/canary-path")
}

fn serve(mut stream: TcpStream, arrived: &Mutex<Vec<Arrived>>, answers: &Mutex<Answers>, usual: &'static str) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let request = loop {
        let n = stream.read(&mut chunk).unwrap_or(0);
        if n == 0 {
            return;
        }
        bytes.extend_from_slice(&chunk[..n]);
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(head) = request.parse(&bytes).unwrap() else { continue };
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        let headers: BTreeMap<_, _> =
            request.headers.iter().map(|header| (header.name.to_lowercase(), text(header.value))).collect();
        let length: usize = headers["content-length"].parse().unwrap();
        if bytes.len() - head < length {
            continue;
        }
        let (method, path) = (request.method.unwrap().to_owned(), request.path.unwrap().to_owned());
        break Arrived { method, path, headers, body: bytes[head..].to_vec() };
    };
    let (status, body) = answers.lock().unwrap().pop_front().unwrap_or((200, usual));
    arrived.lock().unwrap().push(request);
    if status == 0 {
        // Until the other side gives up.
        drop(stream.read(&mut chunk));
        return;
    }
    let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).unwrap();
    drop(stream.shutdown(Shutdown::Write));
}

/// A host with channels and a memory.
pub struct Host(TempDir);

impl Host {
    pub fn new() -> Self {
        let host = Host(tempfile::tempdir().unwrap());
        for name in ["channels", "state", "bin"] {
            fs::create_dir(host.path(name)).unwrap();
        }
        host
    }

    /// A host with one channel.
    pub fn with(settings: &str) -> Self {
        let host = Host::new();
        host.channel("a", settings);
        host
    }

    /// A host with a webhook at an endpoint.
    pub fn with_webhook() -> (Self, Endpoint) {
        let endpoint = Endpoint::new();
        (Host::with(&webhook(&endpoint.url())), endpoint)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Describes a channel.
    pub fn channel(&self, name: &str, settings: &str) {
        self.file(&format!("channels/{name}.toml"), settings, 0o600);
    }

    /// Puts a program where the tool finds it.
    pub fn program(&self, name: &str, script: &str) -> PathBuf {
        self.file(&format!("bin/{name}"), &format!("#!/bin/sh\n{script}\n"), 0o755);
        self.path("bin").join(name)
    }

    fn file(&self, name: &str, text: &str, mode: u32) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The tool, with nothing of this test's environment.
    pub fn tool(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dr-notify"));
        command.env_clear().env("DR_STATE", self.path("state")).env("DR_CHANNELS", self.path("channels"));
        command.env("PATH", self.path("bin")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What becomes of these records.
    pub fn tell(&self, records: &str) -> Output {
        fed(&mut self.tool(), records)
    }

    /// Tells, and it must work without a word.
    pub fn told(&self, records: &str) {
        let output = self.tell(records);
        assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
    }

    /// What every notice was told, so many hours ago.
    pub fn age(&self, hours: i64) {
        for entry in fs::read_dir(self.path("state")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let mut memory: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
                older(&mut memory, hours);
                fs::write(&path, memory.to_string()).unwrap();
            }
        }
    }
}

/// Makes all moments below `told_at` and its like earlier.
fn older(value: &mut Value, hours: i64) {
    let Value::Object(fields) = value else { return };
    for (name, value) in fields {
        match value.as_str().and_then(|text| text.parse::<chrono::DateTime<chrono::Utc>>().ok()) {
            Some(at) if name.ends_with("_at") => *value = (at - chrono::TimeDelta::hours(hours)).to_rfc3339().into(),
            _ => older(value, hours),
        }
    }
}

/// Runs a command with this input; its standard output must stay empty.
pub fn fed(command: &mut Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    // A tool that fails before it reads closes the pipe.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    assert!(output.stdout.is_empty(), "{output:?}");
    output
}

pub fn said(output: &Output) -> String {
    format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr))
}

/// Asserts the exit code, and that the last two lines are an error and its hint; gives what was said.
pub fn failed(output: &Output, code: i32) -> String {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    let lines: Vec<_> = said.lines().collect();
    let [.., error, hint] = &lines[..] else { panic!("{said}") };
    assert!(error.contains("dr-notify: error: ") && hint.starts_with("dr-notify: hint: "), "{said}");
    said
}

/// What python3 makes of standard input, with this script.
pub fn python(script: &str, input: &[u8]) -> Value {
    let mut child =
        Command::new("python3").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 runs");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What an ntfy server says of a message it has taken.
pub const NTFY: &str = r#"{"id":"hwQ2YpKdmg","time":1769306400,"event":"message","topic":"t"}"#;
/// What PagerDuty says of an event.
pub const PAGERDUTY: &str = r#"{"status":"success","message":"Event processed","dedup_key":"x"}"#;

pub fn webhook(url: &str) -> String {
    format!("kind = \"webhook\"\nurl = \"{url}\"\n")
}

/// A `check` record of the cluster main.
pub fn check(name: &str, state: &str, more: &[(&str, &str)]) -> String {
    let mut record = serde_json::json!({
        "type": "check", "check": name, "state": state, "cluster": "main", "message": format!("{name} is {state}"),
        "checked_at": chrono::Utc::now(),
    });
    for (key, value) in more {
        record[*key] = (*value).into();
    }
    format!("{record}\n")
}

/// A `run` record of the job dump.
pub fn run(id: &str, exit_code: i32, message: &str) -> String {
    let record = serde_json::json!({
        "type": "run", "run": id, "cluster": "main", "job": "dump", "host": "db1", "started_at": "2026-01-25T02:00:00Z",
        "finished_at": "2026-01-25T02:12:05Z", "succeeded": exit_code == 0, "exit_code": exit_code, "message": message,
    });
    format!("{record}\n")
}
