//! Hooks tell how jobs have ended that something else has run, and pings speak the protocol of their server.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::json;
use support::{Endpoint, OK, Reply, Rig, code, stderr};

const COPIED: &str = r#"{"type":"copied","state":"copied","from":"/a","to":"/b","cluster":"main","objects":3,"bytes":77,"duration_seconds":1.0,"copied_at":"2026-01-25T02:00:00Z"}"#;

fn piped(rig: &Rig, arguments: &[&str], text: &str) -> Output {
    let mut child = rig.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
    // It may not want to read.
    drop(child.stdin.take().unwrap().write_all(text.as_bytes()));
    child.wait_with_output().unwrap()
}

#[test]
fn f05_the_end_that_systemd_tells_is_a_success_only_if_it_is_one() {
    let (rig, endpoint) = (Rig::new(), Endpoint::new(&[OK]));
    let file = rig.ping_file(&endpoint.url());
    let beat = |status: &str, result: &str| {
        let words = ["beat", "--job", "base", "--cluster", "main", "--exit-status", status, "--service-result", result];
        let output = rig.command(&[&words[..], &["--ping-file", &file]].concat()).output().unwrap();
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let run = rig.runs().pop().unwrap();
        (run["succeeded"].clone(), run["exit_code"].clone(), run["signal"].clone())
    };
    for (status, result, expected) in [
        ("TERM", "signal", (json!(false), json!(null), json!("TERM"))),
        ("0", "timeout", (json!(false), json!(null), json!(null))),
        ("", "resources", (json!(false), json!(null), json!(null))),
        ("75", "success", (json!(false), json!(75), json!(null))),
    ] {
        assert_eq!(beat(status, result), expected, "{status} {result}");
        assert!(!rig.path("state/LAST_BASEBACKUP.txt").exists());
    }
    assert_eq!(beat("0", "success"), (json!(true), json!(0), json!(null)));
    assert!(rig.path("state/LAST_BASEBACKUP.txt").exists());
    assert_eq!(endpoint.paths(), ["/fail", "/fail", "/fail", "/75", ""]);
    for wrong in [
        &["beat", "--job", "base", "--cluster", "main", "--exit-status", "what"][..],
        &["beat", "--job", "base", "--cluster", "main"],
    ] {
        assert_eq!(code(&rig.command(wrong).output().unwrap()), 64);
    }
}

#[test]
fn the_end_of_input_is_no_success() {
    let rig = Rig::new();
    let beat = ["beat", "--job", "copy", "--cluster", "main"];
    for (text, expected, done) in [
        ("", 66, false),
        ("{\"type\":\"start\",\"tool\":\"dr-dump\",\"started_at\":\"2026-01-25T02:00:00Z\",\"suffix\":\"x\"}\n", 66, false),
        ("no record\n", 65, false),
        (&COPIED[..COPIED.len() - 9], 65, false),
        (&format!("{COPIED}\n"), 0, true),
    ] {
        let output = piped(&rig, &beat, text);
        assert_eq!(code(&output), expected, "{text}: {}", stderr(&output));
        let run = rig.runs().pop().unwrap();
        assert_eq!(run["succeeded"], json!(done), "{text}");
        assert_eq!(rig.path("state/LAST_COPY.txt").exists(), done);
    }
    assert_eq!(rig.runs().pop().unwrap()["stored_bytes"], 77);
    let text = fs::read_to_string(rig.path("state/LAST_COPY.txt")).unwrap();
    assert!(text.ends_with("bytes=77\n"), "{text}");
}

#[test]
fn uptime_kuma_hears_ends_alone() {
    let (rig, endpoint) = (Rig::new(), Endpoint::new(&[Reply::Say("200 OK", "", "{\"ok\":true}")]));
    let file = rig.ping_file(&format!("http://127.0.0.1:{}/api/push/canary?status=up&msg=OK&ping=", endpoint.port));
    assert_eq!(code(&rig.job(&["--ping-file", &file], "true").output().unwrap()), 0);
    assert_eq!(code(&rig.job(&["--ping-file", &file], "echo 'disk full & lost' >&2; exit 9").output().unwrap()), 9);
    let had = endpoint.had();
    assert_eq!(had.len(), 2);
    assert!(had.iter().all(|had| had.method == "GET" && had.path() == "/api/push/canary"));
    assert!(had[0].target.contains("?status=up&msg=OK&ping="), "{}", had[0].target);
    assert!(had[1].target.contains("?status=down&msg=exited+with+9%3A+disk+full+%26+lost&ping="), "{}", had[1].target);
    assert!(had[1].target.rsplit('=').next().unwrap().parse::<u64>().is_ok());

    let refused = Endpoint::new(&[Reply::Say("404 Not Found", "", "{\"ok\":false,\"msg\":\"Monitor not found or not active.\"}")]);
    let file = rig.ping_file(&format!("http://127.0.0.1:{}/api/push/canary", refused.port));
    let output = rig.command(&["ping", "--ping-file", &file]).output().unwrap();
    assert_eq!(code(&output), 78, "{}", stderr(&output));
}

#[test]
fn a_log_is_sent_as_far_as_the_server_keeps_it() {
    let rig = Rig::new();
    let endpoint = Endpoint::new(&[Reply::Say("200 OK", "Ping-Body-Limit: 8\r\n", "OK")]);
    let file = rig.ping_file(&endpoint.url());
    let script = "i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done";
    assert_eq!(code(&rig.job(&["--ping-file", &file], script).output().unwrap()), 0);
    assert_eq!(endpoint.had()[1].body, ("ine 2999"));

    let endpoint = Endpoint::new(&[OK]);
    let file = rig.ping_file(&endpoint.url());
    assert_eq!(code(&rig.job(&["--ping-file", &file], &script.replace("echo line", "printf '%0100d\\n'")).output().unwrap()), 0);
    let body = endpoint.had()[1].body.clone();
    assert!(body.ends_with("0002999") && (9_000..=10_000).contains(&body.len()), "{}", body.len());

    let output = piped(&rig, &["ping", "--log", "--ping-file", &file], "first\npassword=canary\n");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let had = endpoint.had().pop().unwrap();
    assert_eq!((had.path().rsplit('/').next().unwrap(), &had.body[..]), ("log", "first\npassword=***"));
    for (words, path) in
        [(&["--start"][..], "start"), (&["--fail"], "fail"), (&["--exit-status", "TERM"], "fail"), (&["--exit-status", "3"], "3")]
    {
        let output = rig.command(&[&["ping", "--ping-file", &file][..], words].concat()).output().unwrap();
        assert_eq!((code(&output), endpoint.had().pop().unwrap().path().rsplit('/').next().unwrap()), (0, path));
    }
}
