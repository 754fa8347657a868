//! /healthz/backup, over a connection that was accepted for it, as systemd does.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use support::{Rig, code};

/// What a client gets for what it says.
fn exchange(rig: &Rig, options: &[&str], said: &str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let accepted = listener.accept().unwrap().0;
    let mut command = rig.command(&[&["health"], options].concat());
    let (input, output) = (OwnedFd::from(accepted.try_clone().unwrap()), OwnedFd::from(accepted));
    let mut child = command.stdin(Stdio::from(input)).stdout(Stdio::from(output)).spawn().unwrap();
    drop(command);
    client.write_all(said.as_bytes()).unwrap();
    let mut text = Vec::new();
    client.read_to_end(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    String::from_utf8(text).unwrap()
}

/// The number of the answer, and its body.
fn ask(rig: &Rig, options: &[&str]) -> (u16, Value) {
    let text = exchange(rig, options, "GET /healthz/backup HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())) && head.ends_with("\r\nConnection: close"), "{head}");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

fn beat(rig: &Rig, name: &str, age_seconds: i64) {
    fs::create_dir_all(rig.path("state")).unwrap();
    let at = Utc::now() - TimeDelta::seconds(age_seconds);
    let text = format!("{}\ncluster=main\nbackup=b1\nbytes=42\n", at.format("%Y-%m-%dT%H:%M:%SZ"));
    fs::write(rig.path("state").join(name), text).unwrap();
}

const LIMITS: [&str; 4] = ["--cluster", "main", "--max-age", "dump=26h,base=8d"];

#[test]
fn f94_what_is_absent_alarms() {
    let rig = Rig::new();
    let (status, said) = ask(&rig, &LIMITS);
    assert_eq!((status, &said["status"]), (503, &json!("failing")));
    assert_eq!(said["jobs"][0], json!({"job": "dump", "ok": false, "why": "no success is known", "max_age_seconds": 93_600}));
    beat(&rig, "LAST_SUCCESS.txt", 100);
    assert_eq!(ask(&rig, &LIMITS).0, 503, "the base is missing");
    beat(&rig, "LAST_BASEBACKUP.txt", 7 * 86_400);
    let (status, said) = ask(&rig, &LIMITS);
    assert_eq!((status, &said["status"], &said["cluster"]), (200, &json!("ok"), &json!("main")));
    let dump = &said["jobs"][0];
    assert_eq!((&dump["ok"], &dump["backup"], &dump["bytes"]), (&json!(true), &json!("b1"), &json!(42)));
    assert!((100..200).contains(&dump["age_seconds"].as_i64().unwrap()), "{dump}");
}

#[test]
fn f95_what_is_stale_or_in_the_future_alarms_whatever_the_scheduler_did() {
    let rig = Rig::new();
    for (age, status) in [(93_000, 200), (94_000, 503), (-30, 200), (-3600, 503)] {
        beat(&rig, "LAST_SUCCESS.txt", age);
        assert_eq!(ask(&rig, &["--max-age", "dump=26h"]).0, status, "{age}");
    }
    fs::write(rig.path("state/LAST_SUCCESS.txt"), "yesterday\n").unwrap();
    let (status, said) = ask(&rig, &["--max-age", "dump=26h"]);
    assert_eq!(status, 503);
    assert!(said["jobs"][0]["why"].as_str().unwrap().ends_with("its first line is no moment"), "{said}");
}

#[test]
fn the_history_counts_and_that_of_another_cluster_does_not() {
    let rig = Rig::new();
    let run = |job: &str, cluster: &str, script: &str| {
        code(&rig.command(&["run", "--job", job, "--cluster", cluster, "--", "sh", "-c", script]).output().unwrap())
    };
    assert_eq!((run("dump", "other", "true"), run("dump", "main", "exit 1")), (0, 1));
    // The file in the state directory is of the other one.
    assert_eq!(ask(&rig, &["--cluster", "main", "--max-age", "dump=1h"]).0, 503);
    assert_eq!(ask(&rig, &["--cluster", "other", "--max-age", "dump=1h"]).0, 200);
    assert_eq!(run("dump", "main", "true"), 0);
    assert_eq!(ask(&rig, &["--cluster", "main", "--max-age", "dump=1h"]).0, 200);
    assert_eq!(run("dump", "main", "exit 1"), 1);
    assert_eq!(ask(&rig, &["--cluster", "main", "--max-age", "dump=1h"]).0, 200, "the last success is as young as before");
}

#[test]
fn what_is_no_question_has_its_answer() {
    let rig = Rig::new();
    beat(&rig, "LAST_SUCCESS.txt", 0);
    let first = |said: &str| {
        let text = exchange(&rig, &["--max-age", "dump=1h"], said);
        text.lines().next().unwrap_or_default().to_owned()
    };
    for (said, status) in [
        ("GET /healthz HTTP/1.0\r\n\r\n", "200 OK"),
        ("GET /healthz/backup?verbose HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK"),
        ("GET /../../etc/passwd HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("POST /healthz HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "405 Method Not Allowed"),
        ("\x16\x03\x01\x02\r\n\r\n", "400 Bad Request"),
        ("hello\r\n\r\n", "400 Bad Request"),
    ] {
        assert_eq!(first(said), format!("HTTP/1.1 {status}"), "{said:?}");
    }
    // Of the size at which it stops reading, so that nothing unread breaks the connection off.
    let long = "GET /".to_owned() + &"x".repeat((8 << 10) - 5);
    assert_eq!(first(&long), "HTTP/1.1 431 Request Header Fields Too Large");
    let head = exchange(&rig, &["--max-age", "dump=1h"], "HEAD /healthz HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n") && !head.contains("Content-Length: 0"), "{head}");
    assert_eq!(code(&rig.command(&["health"]).output().unwrap()), 64);
}
