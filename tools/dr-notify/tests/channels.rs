//! Does each kind of channel get what its other side takes?
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Endpoint, Host, NTFY, PAGERDUTY, check, failed, nowhere, python, said, webhook};

/// A fault, its end, and its end again.
fn fault() -> [String; 3] {
    let more = [("subject", "shop"), ("hint", "look at <the log> & mend it"), ("since_at", "2026-01-25T02:00:00Z")];
    [check("dump-age", "critical", &more), check("dump-age", "ok", &more[..1]), check("dump-age", "ok", &more[..1])]
}

#[test]
fn f94_a_webhook_is_told_of_a_fault_and_once_of_its_end() {
    let endpoint = Endpoint::new();
    let host = Host::with(&format!("{}secret = \"canary-secret\"\n", webhook(&endpoint.url())));
    let [bad, good, still_good] = fault();
    host.told(&bad);
    let request = endpoint.one();
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/services/canary-path"));
    assert_eq!(request.headers["content-type"], "application/json");
    // Signed with its time, as another implementation says.
    let script = "import sys,hmac,json; s=sys.stdin.buffer.read(); \
                  print(json.dumps('sha256='+hmac.new(b'canary-secret', s, 'sha256').hexdigest()))";
    let stamp = &request.headers["x-dr-timestamp"];
    let signed = [stamp.as_bytes(), b".", &request.body].concat();
    assert_eq!(python(script, &signed), request.headers["x-dr-signature"].as_str());
    assert!((chrono::Utc::now().timestamp() - stamp.parse::<i64>().unwrap()).abs() < 60);
    let event = request.json();
    assert_eq!(event["type"], "dr.check.failed");
    assert_eq!((&event["cluster"], &event["level"]), (&json!("main"), &json!("critical")));
    assert_eq!(event["summary"], "main: critical: dump-age (shop)");
    assert!(event["id"].as_str().unwrap().len() == 36 && event["time"].as_str().unwrap().ends_with('Z'));
    let [problem] = &event["problems"].as_array().unwrap()[..] else { panic!("{event}") };
    let expected = json!({"kind": "check", "status": "failed", "name": "dump-age", "subject": "shop", "state": "critical",
        "message": "dump-age is critical", "hint": "look at <the log> & mend it", "since_at": "2026-01-25T02:00:00Z",
        "manual": "dr-check(1)", "key": "check/dump-age/shop"});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&problem[name], value, "{name}");
    }
    host.told(&good);
    let event = endpoint.one().json();
    assert_eq!((&event["type"], &event["problems"][0]["status"]), (&json!("dr.check.cleared"), &json!("cleared")));
    assert_eq!(event["problems"][0]["bad_since_at"], "2026-01-25T02:00:00Z");
    host.told(&still_good);
    assert_eq!(endpoint.arrived().len(), 0);
}

#[test]
fn f94_slack_is_told_of_a_fault_and_once_of_its_end() {
    let endpoint = Endpoint::new();
    let host = Host::with(&format!("kind = \"slack\"\nurl = \"{}\"\n", endpoint.url()));
    let [bad, good, still_good] = fault();
    host.told(&bad);
    let message = endpoint.one().json();
    assert_eq!(message["text"], "main: critical: dump-age (shop)");
    let blocks = message["blocks"].as_array().unwrap();
    let kinds: Vec<_> = blocks.iter().map(|block| block["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["header", "section", "context"]);
    let section = &blocks[1]["text"];
    assert_eq!(section["type"], "mrkdwn");
    let text = section["text"].as_str().unwrap();
    assert!(text.starts_with("*CRITICAL: dump-age (shop)*\ndump-age is critical\ncluster main, host "), "{text}");
    assert!(text.contains(", since 2026-01-25 02:00:00 UTC ("), "{text}");
    assert!(text.ends_with("\ndo: look at &lt;the log&gt; &amp; mend it\nread: man 1 dr-check"), "{text}");
    host.told(&good);
    let message = endpoint.one().json();
    assert_eq!(message["text"], "main: cleared: dump-age (shop)");
    assert!(message["blocks"][1]["text"]["text"].as_str().unwrap().contains("was bad since 2026-01-25 02:00:00 UTC"));
    host.told(&still_good);
    assert_eq!(endpoint.arrived().len(), 0);
}

#[test]
fn slack_stays_within_its_limits_and_nothing_becomes_markup() {
    let endpoint = Endpoint::new();
    let host = Host::with(&format!("kind = \"slack\"\nurl = \"{}\"\n", endpoint.url()));
    let long = "<!channel> ".repeat(400);
    let many: String =
        (0..70).map(|n| check(&format!("c{n}-{long}"), "critical", &[("message", &long), ("hint", &long)])).collect();
    host.told(&many);
    let message = endpoint.one().json();
    let blocks = message["blocks"].as_array().unwrap();
    assert!(blocks.len() <= 50, "{}", blocks.len());
    assert!(blocks[0]["text"]["text"].as_str().unwrap().chars().count() <= 150);
    let texts = blocks.iter().filter_map(|block| block["text"]["text"].as_str());
    assert!(texts.clone().all(|text| text.chars().count() <= 3000));
    let marked = blocks.iter().filter(|block| block["text"]["type"] == "mrkdwn");
    assert!(marked.clone().count() == 20 && marked.clone().all(|block| !block.to_string().contains("<!")));
    assert!(!message["text"].to_string().contains("<!"));
    assert!(texts.clone().any(|text| text == "And 50 more: dr-check(1) lists them."));
}

#[test]
fn f94_a_200_of_somebody_else_is_not_taken_for_a_notice_that_was_taken() {
    let endpoint = Endpoint::new();
    for (kind, wrong, right) in [
        ("slack", &["invalid_token", "<html>ok</html>", "{\"ok\":false}"][..], &["ok", "", "{\"success\":true}"][..]),
        ("ntfy", &["ok", "<html>", "{\"error\":\"x\"}"], &[NTFY]),
        ("pagerduty", &["ok", "{\"status\":\"invalid event\"}"], &[PAGERDUTY]),
    ] {
        let token = if kind == "slack" { "" } else { "token = \"canary\"\n" };
        let host = Host::with(&format!("kind = \"{kind}\"\nurl = \"{}\"\n{token}", endpoint.url()));
        for answer in wrong {
            endpoint.answer(&[(200, answer)]);
            let error = failed(&host.tell(&check("x", "critical", &[])), 76);
            assert!(error.contains("does not say that it has taken the notice"), "{error}");
        }
        for (at, answer) in right.iter().enumerate() {
            endpoint.answer(&[(200, answer)]);
            host.told(&check(&format!("c{at}"), "critical", &[]));
        }
    }
}

#[test]
fn f94_ntfy_is_told_of_a_fault_and_once_of_its_end() {
    let endpoint = Endpoint::saying(NTFY);
    let host = Host::with(&format!("kind = \"ntfy\"\nurl = \"{}\"\ntoken = \"tk_canary\"\n", endpoint.url()));
    let [bad, good, still_good] = fault();
    host.told(&bad);
    let request = endpoint.one();
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/services/canary-path"));
    let header = |name: &str| request.headers[name].as_str();
    assert_eq!((header("title"), header("priority")), ("main: critical: dump-age (shop)", "5"));
    assert_eq!((header("tags"), header("authorization")), ("rotating_light", "Bearer tk_canary"));
    let text = request.text();
    assert!(text.starts_with("CRITICAL: dump-age (shop)\n  dump-age is critical\n  cluster main, host "), "{text}");
    host.told(&good);
    let request = endpoint.one();
    assert_eq!((request.headers["priority"].as_str(), request.headers["tags"].as_str()), ("3", "white_check_mark"));
    host.told(&still_good);
    assert_eq!(endpoint.arrived().len(), 0);
}

#[test]
fn ntfy_gets_any_title_as_ascii_and_no_more_than_it_shows() {
    let endpoint = Endpoint::saying(NTFY);
    let host = Host::with(&format!("kind = \"ntfy\"\nurl = \"{}\"\n", endpoint.url()));
    let subject = "Bücher \u{1f4da}\r\nX-Evil: 1\u{202e}";
    let many: String = (0..30).map(|n| check(&format!("c{n}"), "warning", &[("message", &"ä".repeat(900))])).collect();
    host.told(&(check("dump-age", "critical", &[("subject", subject)]) + &many));
    let request = endpoint.one();
    assert!(!request.headers.contains_key("x-evil") && !request.headers.contains_key("authorization"));
    let title = &request.headers["title"];
    assert!(title.is_ascii(), "{title}");
    let script = "import sys,json,email.header as h; print(json.dumps(str(h.make_header(h.decode_header(sys.stdin.read())))))";
    let decoded = python(script, title.as_bytes());
    assert_eq!(decoded, "main: critical: dump-age (Bücher \u{1f4da}  X-Evil: 1\u{fffd}), and 30 more");
    assert!(request.body.len() <= 4096 && request.text().ends_with("\n…"), "{}", request.body.len());
}

#[test]
fn f94_pagerduty_gets_an_incident_and_its_end() {
    let endpoint = Endpoint::saying(PAGERDUTY);
    let host = Host::with(&format!("kind = \"pagerduty\"\nurl = \"{}\"\ntoken = \"canary-key\"\n", endpoint.url()));
    endpoint.answer(&[(202, PAGERDUTY), (202, PAGERDUTY)]);
    let [bad, good, still_good] = fault();
    host.told(&(bad + &check("wal-lag", "warning", &[])));
    let [critical, warning] = &endpoint.arrived()[..] else { panic!() };
    let event = critical.json();
    assert_eq!((&event["routing_key"], &event["event_action"]), (&json!("canary-key"), &json!("trigger")));
    assert_eq!(event["dedup_key"], "dr/main/check/dump-age/shop");
    let payload = &event["payload"];
    assert_eq!(payload["summary"], "main: critical: dump-age (shop): dump-age is critical");
    assert_eq!((&payload["severity"], &payload["class"]), (&json!("critical"), &json!("dump-age")));
    assert_eq!((&payload["group"], &payload["component"]), (&json!("main"), &json!("shop")));
    assert!(!payload["source"].as_str().unwrap().is_empty());
    assert_eq!(warning.json()["payload"]["severity"], "warning");
    host.told(&good);
    let event = endpoint.one().json();
    assert_eq!((&event["event_action"], &event["dedup_key"]), (&json!("resolve"), &json!("dr/main/check/dump-age/shop")));
    host.told(&still_good);
    assert_eq!(endpoint.arrived().len(), 0);
    // A key has at most 255 characters, and is the same again.
    let long = "x".repeat(400);
    host.told(&check(&long, "critical", &[("subject", &long)]));
    let key = |event: Value| event["dedup_key"].as_str().unwrap().to_owned();
    let first = key(endpoint.one().json());
    host.told(&check(&long, "ok", &[("subject", &long)]));
    assert!(first.len() <= 255 && first == key(endpoint.one().json()), "{first}");
}

#[test]
fn f93_an_endpoint_that_comes_back_is_told() {
    let (host, endpoint) = Host::with_webhook();
    endpoint.answer(&[(500, "canary"), (200, "")]);
    host.told(&fault()[0]);
    let [first, second] = &endpoint.arrived()[..] else { panic!() };
    // The same notice, by its name.
    assert_eq!(first.json()["id"], second.json()["id"]);
    host.told(&fault()[0]);
    assert_eq!(endpoint.arrived().len(), 0, "it is held back");
}

#[test]
fn f94_a_channel_that_is_down_keeps_no_other_from_being_told() {
    let (host, endpoint) = Host::with_webhook();
    host.channel("b", &webhook(&nowhere()));
    let output = support::fed(host.tool().args(["--patience", "1"]), &fault()[0]);
    let error = failed(&output, 69);
    assert!(
        error.contains("b.toml: http://127.0.0.1:") && error.contains("Connection refused") && !error.contains("canary"),
        "{error}"
    );
    endpoint.one();
    // Once it is up it is told, and it alone.
    let other = Endpoint::new();
    host.channel("b", &webhook(&other.url()));
    host.told(&fault()[0]);
    assert_eq!((endpoint.arrived().len(), other.arrived().len()), (0, 1));
}

#[test]
fn f94_all_that_fail_are_named_and_the_worst_decides() {
    let (denies, stalls) = (Endpoint::new(), Endpoint::new());
    denies.answer(&[(403, "canary")]);
    stalls.answer(&[(0, "")]);
    let host = Host::with(&webhook(&denies.url()));
    host.channel("b", &webhook(&stalls.url()));
    let started = std::time::Instant::now();
    let output = support::fed(host.tool().args(["--patience", "1s"]), &fault()[0]);
    let error = failed(&output, 77);
    assert!(error.contains("warning: channel ") && error.contains("b.toml") && error.contains("no answer in time"), "{error}");
    assert!(error.contains("a.toml: http://127.0.0.1:") && error.contains("answered 403") && !error.contains("canary"), "{error}");
    assert!(started.elapsed().as_secs() < 10);
    denies.answer(&[(404, "")]);
    assert!(failed(&host.tell(&fault()[0]), 78).contains("answered 404"));
}

#[test]
fn f96_what_goes_to_another_host_goes_with_tls() {
    let host = Host::with("kind = \"ntfy\"\nurl = \"http://192.0.2.1/canary\"\ntoken = \"tk_canary\"\n");
    let error = failed(&host.tell(&fault()[0]), 78);
    assert!(error.contains("http://192.0.2.1 has no TLS") && !error.contains("canary"), "{error}");
}

#[test]
fn f94_the_weekly_test_goes_through_every_channel() {
    let (host, one) = Host::with_webhook();
    let two = Endpoint::saying(PAGERDUTY);
    host.channel(
        "b",
        &format!("kind = \"pagerduty\"\nurl = \"{}\"\ntoken = \"k\"\nminimum = \"critical\"\nclusters = [\"x\"]\n", two.url()),
    );
    let test = || host.tool().args(["--test", "--patience", "1"]).env("DR_CLUSTER", "main").output().unwrap();
    for _ in 0..2 {
        // It is never held back.
        let output = test();
        assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
        let event = one.one().json();
        assert_eq!((&event["type"], &event["summary"]), (&json!("dr.test"), &json!("main: test: test")));
        let actions: Vec<_> = two.arrived().iter().map(|event| event.json()["event_action"].clone()).collect();
        assert_eq!(actions, ["trigger", "resolve"], "nobody is woken for longer");
    }
    two.answer(&[(401, "")]);
    assert!(failed(&test(), 77).contains("b.toml"));
    one.one();
    host.channel("b", "kind = \"ntfy\"\n");
    assert!(failed(&test(), 78).contains("b.toml: line 1: url is not set"));
    one.one();
}
