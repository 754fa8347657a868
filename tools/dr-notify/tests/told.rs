//! What is told, when, and to whom?
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::{Endpoint, Host, NTFY, check, failed, fed, nowhere, run, said, webhook};

/// What each problem of a notice is, and its status, in their order.
fn problems(event: &Value) -> Vec<String> {
    let problems = event["problems"].as_array().unwrap().iter();
    problems.map(|problem| format!("{} {}", problem["status"].as_str().unwrap(), problem["key"].as_str().unwrap())).collect()
}

#[test]
fn another_that_hangs_keeps_nobody_from_being_told() {
    let (host, endpoint) = Host::with_webhook();
    let lock = std::fs::File::create(host.path("state/notify.lock")).unwrap();
    lock.lock().unwrap();
    let mut tool = host.tool();
    let output = fed(tool.args(["--patience", "1"]), &check("dump-age", "critical", &[]));
    assert!(output.status.success() && said(&output).contains("is held by another process"), "{}", said(&output));
    assert_eq!(endpoint.arrived().len(), 1);
}

#[test]
fn nothing_bad_is_no_notice() {
    let (host, endpoint) = Host::with_webhook();
    let verified =
        r#"{"type":"storage","store":"/s","cluster":"main","stored_bytes":1,"objects":1,"seen_at":"2026-01-25T02:00:00Z"}"#;
    for records in ["", "\n\n", &check("dump-age", "ok", &[]), &run("r1", 0, ""), &format!("{verified}\n")] {
        host.told(records);
    }
    // Standard input that is closed has nothing in it.
    let output = std::process::Command::new("/bin/sh")
        .args(["-c", "exec \"$0\" <&-", env!("CARGO_BIN_EXE_dr-notify")])
        .env_clear()
        .envs(host.tool().get_envs().filter_map(|(name, value)| Some((name, value?))))
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
    assert_eq!(endpoint.arrived().len(), 0);
    // Good news is told where it is asked for, once a day.
    for expected in [1, 0] {
        let output = fed(host.tool().arg("--all"), &(check("dump-age", "ok", &[]) + &run("r1", 0, "")));
        assert!(output.status.success(), "{}", said(&output));
        let arrived = endpoint.arrived();
        assert_eq!(arrived.len(), expected);
        arrived.iter().for_each(|told| assert_eq!(problems(&told.json()), ["good check/dump-age", "good run/dump"]));
    }
}

#[test]
fn one_notice_has_everything_the_worst_first() {
    let (host, endpoint) = Host::with_webhook();
    let drill = json!({"type": "drill", "name": "main_drill_1", "drill": "restore-test", "cluster": "main", "passed": false,
        "started_at": "2026-01-25T03:00:00Z", "finished_at": "2026-01-25T03:10:00Z", "operator": "root", "host": "prover",
        "environment": "throw-away", "recipients": [], "rto_seconds": 1.0, "fetch_seconds": 0.0, "restore_seconds": 1.0,
        "replay_seconds": 0.0, "check_seconds": 0.0, "issues": ["step amcheck failed: exit code 2"], "next_actions": [],
        "steps": [{"name": "amcheck", "phase": "check", "passed": false, "exit_code": 2, "started_at": "2026-01-25T03:00:00Z",
        "duration_seconds": 1.0, "output": "heap block 1 is damaged"}]});
    let finding = |object: &str, severity: &str| {
        json!({"type": "finding", "severity": severity, "code": "digest", "store": "/backups", "cluster": "main",
            "object": object, "message": "the digest differs", "hint": "restore another copy", "found_at": "2026-01-25T04:00:00Z"})
    };
    let records = [
        check("wal-lag", "warning", &[]),
        check("space", "unknown", &[]),
        check("clock", "ok", &[]),
        run("r1", 69, "connecting\nno route to host"),
        format!("{drill}\n"),
        format!("{}\n{}\n{}\n", finding("a", "error"), finding("b", "error"), finding("c", "note")),
    ]
    .concat();
    host.told(&records);
    let event = endpoint.one().json();
    let expected = ["check/space", "drill/restore-test", "finding/digest//backups", "run/dump", "check/wal-lag"];
    assert_eq!(problems(&event), expected.map(|key| format!("failed {key}")));
    let problem = |at: usize| &event["problems"][at];
    assert_eq!((&problem(1)["host"], &problem(1)["message"]), (&json!("prover"), &json!("step amcheck failed: exit code 2")));
    assert_eq!(problem(1)["last_words"], json!(["heap block 1 is damaged"]));
    assert_eq!(problem(2)["message"], "a: the digest differs; and 1 more of this kind");
    assert_eq!((&problem(3)["host"], &problem(3)["message"]), (&json!("db1"), &json!("the job exited with 69 after 12 min 5 s")));
    assert_eq!(problem(3)["last_words"], json!(["connecting", "no route to host"]));
    assert_eq!((&problem(3)["level"], &problem(3)["manual"]), (&json!("critical"), &json!("dr-dump(1)")));
    assert_eq!(event["summary"], "main: unknown: space, and 4 more");
    // The newest word counts, in whatever order it comes.
    let good = run("r2", 0, "").replace("T02:12:05Z", "T05:00:00Z");
    host.told(&(good + &run("r1", 69, "")));
    assert_eq!(problems(&endpoint.one().json()), ["cleared run/dump"]);
}

#[test]
fn f85_a_failed_drill_of_one_database_is_told_beside_a_good_one_of_another() {
    let (host, endpoint) = Host::with_webhook();
    let drill = |database: &str, minute: u32, passed: bool| {
        let drill = json!({"type": "drill", "name": format!("main_drill_{minute}"), "drill": "restore-test", "cluster": "main",
            "database": database, "passed": passed, "started_at": "2026-01-25T03:00:00Z",
            "finished_at": format!("2026-01-25T03:{minute}:00Z"), "operator": "root", "host": "prover", "environment": "throw-away",
            "recipients": [], "rto_seconds": 1.0, "fetch_seconds": 0.0, "restore_seconds": 1.0, "replay_seconds": 0.0,
            "check_seconds": 0.0, "steps": [], "issues": [], "next_actions": []});
        format!("{drill}\n")
    };
    host.told(&(drill("crm", 10, false) + &drill("shop", 11, true)));
    let event = endpoint.one().json();
    assert_eq!(problems(&event), ["failed drill/restore-test/crm"]);
    assert_eq!(event["problems"][0]["subject"], "crm");
    host.told(&drill("shop", 20, true));
    assert_eq!(endpoint.arrived().len(), 0);
    host.told(&drill("crm", 21, true));
    assert_eq!(problems(&endpoint.one().json()), ["cleared drill/restore-test/crm"]);
}

#[test]
fn a_job_that_was_busy_or_stopped_says_so() {
    let (host, endpoint) = Host::with_webhook();
    let stopped =
        run("r2", 0, "").replace("\"succeeded\":true", "\"succeeded\":false,\"signal\":\"KILL\"").replace("\"exit_code\":0,", "");
    for (record, level, message) in [
        (run("r1", 75, ""), "warning", "the job exited with 75 after 12 min 5 s"),
        (stopped, "critical", "the job was ended by signal KILL after 12 min 5 s"),
    ] {
        host.told(&record);
        let event = endpoint.one().json();
        assert_eq!((&event["level"], &event["problems"][0]["message"]), (&json!(level), &json!(message)));
    }
}

#[test]
fn f94_the_same_fault_is_held_back_for_a_day() {
    let (host, endpoint) = Host::with_webhook();
    let bad = check("dump-age", "critical", &[]);
    for (hours, told) in [(0, 1), (1, 0), (20, 0), (3, 1), (0, 0)] {
        host.age(hours);
        host.told(&bad);
        assert_eq!(endpoint.arrived().len(), told, "after {hours} more hours");
    }
    let output = fed(host.tool().args(["--repeat", "2h"]), &bad);
    assert!(output.status.success());
    assert_eq!(endpoint.arrived().len(), 0);
    host.age(2);
    fed(host.tool().env("DR_NOTIFY_REPEAT", "2h"), &bad);
    endpoint.one();
    // Without a memory everything is told, and with one that is rubbish, too.
    for rubbish in ["", "{", "[]", "{\"a\": 1}"] {
        for entry in fs::read_dir(host.path("state")).unwrap() {
            fs::write(entry.unwrap().path(), rubbish).unwrap();
        }
        host.told(&bad);
        endpoint.one();
    }
    let output = fed(host.tool().env("DR_STATE", "/dev/null/x"), &bad);
    assert!(output.status.success() && said(&output).contains("warning: cannot remember what was told"), "{}", said(&output));
    endpoint.one();
}

#[test]
fn f94_a_notice_that_was_stopped_is_told_in_the_next_run() {
    let (host, endpoint) = Host::with_webhook();
    endpoint.answer(&[(0, "")]);
    let bad = check("dump-age", "critical", &[]);
    let mut child = host.tool().stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bad.as_bytes()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while endpoint.arrived().is_empty() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let error = failed(&child.wait_with_output().unwrap(), 75);
    assert!(error.contains("stopped by SIGTERM") && error.contains("some channels may have been told"), "{error}");
    host.told(&bad);
    endpoint.one();
}

#[test]
fn two_at_once_tell_it_once() {
    let (host, endpoint) = Host::with_webhook();
    let bad = check("dump-age", "critical", &[]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| host.told(&bad));
        }
    });
    endpoint.one();
}

#[test]
fn a_channel_is_told_what_it_wants_to_hear() {
    let endpoints = [Endpoint::new(), Endpoint::new(), Endpoint::new()];
    let settings = ["", "minimum = \"critical\"\n", "clusters = [\"shop\", \"eu\"]\n"];
    let host = Host::new();
    for ((name, endpoint), more) in ["all", "critical", "shop"].iter().zip(&endpoints).zip(settings) {
        host.channel(name, &(webhook(&endpoint.url()) + more));
    }
    let arrived = || endpoints.each_ref().map(|endpoint| endpoint.arrived().len());
    host.told(&check("wal-lag", "warning", &[]));
    assert_eq!(arrived(), [1, 0, 0]);
    host.told(&check("wal-lag", "critical", &[]));
    assert_eq!(arrived(), [1, 1, 0]);
    // For whom a warning is nothing, it is over.
    host.told(&check("wal-lag", "warning", &[]));
    let event = endpoints[1].one().json();
    assert_eq!((problems(&event), &event["problems"][0]["state"]), (vec!["cleared check/wal-lag".into()], &json!("warning")));
    assert_eq!(arrived(), [0, 0, 0]);
    // One notice for each cluster.
    host.told(&(check("a", "critical", &[]) + &check("a", "critical", &[("cluster", "shop")])));
    assert_eq!(arrived(), [2, 2, 1]);
    // What is about no cluster, all are told.
    let bare = check("clock", "critical", &[]).replace("\"cluster\":\"main\",", "");
    host.told(&bare);
    assert_eq!(arrived(), [1, 1, 1]);
    let output = fed(host.tool().args(["--cluster", "eu"]), &bare);
    assert!(output.status.success());
    assert_eq!(endpoints[2].one().json()["cluster"], "eu");
}

#[test]
fn f94_a_cluster_of_which_nobody_is_told_is_an_error() {
    let endpoint = Endpoint::new();
    let host = Host::with(&(webhook(&endpoint.url()) + "clusters = [\"mian\"]\n"));
    host.told(&check("wal-lag", "ok", &[]));
    assert!(failed(&host.tell(&check("wal-lag", "warning", &[])), 78).contains("no channel takes notices of cluster main"));
    assert_eq!(endpoint.arrived().len(), 0);
}

#[test]
fn f94_rubbish_is_an_error_and_hides_nothing() {
    let bad = check("dump-age", "critical", &[]);
    for (rubbish, words) in [
        ("{\"type\":\"check\"", "record line 2: cut short"),
        ("rubbish\n", "record line 2: "),
        ("{\"type\":\"no-such\"}\n", "record line 2: unknown variant"),
        ("\u{0}\n", "record line 2: "),
    ] {
        let (host, endpoint) = Host::with_webhook();
        // What stands before it and after it is told, and that something is missing.
        let after = if rubbish.ends_with('\n') { check("wal-lag", "warning", &[]) } else { String::new() };
        assert!(failed(&host.tell(&format!("{bad}{rubbish}{after}")), 65).contains(words), "{rubbish:?}");
        let told: Vec<_> = endpoint.arrived().iter().flat_map(|event| problems(&event.json())).collect();
        assert!(told.contains(&"failed check/dump-age".into()) && told.contains(&"failed input/records".into()), "{told:?}");
        assert_eq!(told.contains(&"failed check/wal-lag".into()), !after.is_empty(), "{told:?}");
    }
    let (host, endpoint) = Host::with_webhook();
    let zeros = host.tool().stdin(Stdio::from(fs::File::open("/dev/zero").unwrap())).output().unwrap();
    failed(&zeros, 65);
    endpoint.one();
}

#[test]
fn a_channel_s_file_that_is_wrong_is_named_with_its_line_and_no_value() {
    for (settings, words) in [
        ("kind = \"slack\"\nurl = \"https://canary\n", "line 2: this is no TOML"),
        ("canary", "line 1: this is no TOML"),
        ("url = \"https://canary/\"\n", "line 1: kind is not set"),
        ("\nkind = \"canary\"\n", "line 2: no such kind of channel"),
        ("kind = \"webhook\"\n", "line 1: url is not set"),
        ("kind = \"webhook\"\nurl = \"canary\"\n", "line 2: url is not a URL"),
        ("kind = \"webhook\"\nurl = \"ftp://canary/\"\n", "line 2: url is its scheme"),
        ("kind = \"webhook\"\nurl = \"https://canary/\"\n\nsecert = \"canary\"\n", "line 4: secert means nothing"),
        ("kind = \"slack\"\nurl = \"https://canary/\"\nsecret = \"canary\"\n", "line 3: secret means nothing"),
        ("kind = \"ntfy\"\nurl = \"https://canary/\"\ntoken = [\"canary\"]\n", "line 3: token is no text"),
        ("kind = \"ntfy\"\nurl = \"https://canary/\"\ntoken = \"canary\\r\\nX: y\"\n", "line 3: token has letters"),
        ("kind = \"ntfy\"\nurl = \"https://canary/\"\nminimum = \"canary\"\n", "line 3: minimum is no such word"),
        ("kind = \"ntfy\"\nurl = \"https://canary/\"\nclusters = []\n", "line 3: clusters is no list"),
        ("kind = \"pagerduty\"\nurl = \"https://canary/\"\n", "line 1: token is not set"),
        ("kind = \"email\"\nto = \"canary@b\"\n", "line 1: from is not set"),
        ("kind = \"email\"\nfrom = \"canary@b\"\n", "line 1: to is not set"),
        ("kind = \"email\"\nfrom = \"canary@b\"\nto = \"\"\"canary@b\nBcc: canary@d\"\"\"\n", "line 3: to is no address"),
        ("kind = \"email\"\nfrom = \"canary@b\"\nto = [\"a@b\", 1]\n", "line 3: to is no list of texts"),
    ] {
        let host = Host::with(settings);
        let error = failed(&host.tell(""), 78);
        let named = format!("{}: ", host.path("channels/a.toml").display());
        assert!(error.contains(&named) && error.contains(words), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }
}

#[test]
fn f96_a_channel_s_file_that_others_can_read_is_refused_and_the_rest_is_told() {
    let (host, endpoint) = Host::with_webhook();
    host.channel("b", &webhook(&nowhere()));
    for mode in [0o644, 0o640, 0o604] {
        fs::set_permissions(host.path("channels/b.toml"), fs::Permissions::from_mode(mode)).unwrap();
        let error = failed(&host.tell(&check(&format!("c{mode}"), "critical", &[])), 77);
        assert!(error.contains("b.toml: its mode") && error.contains("lets others read it"), "{error}");
        endpoint.one();
    }
}

#[test]
fn every_channel_is_looked_at_before_something_is_wrong_and_nobody_is_told() {
    let (host, endpoint) = Host::with_webhook();
    let looked = |words: &[&str]| {
        let output = host.tool().arg("--preflight").args(words).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let checks: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(checks.iter().all(|check| check["type"] == "check" && check["check"] == "channels") && output.stderr.is_empty());
        let one = |check: &Value| {
            let subject = check["subject"].as_str().unwrap_or_default().rsplit('/').next().unwrap().to_owned();
            format!("{subject} {} {}", check["state"].as_str().unwrap(), check["message"].as_str().unwrap())
        };
        (output.status.code().unwrap(), checks.iter().map(one).collect::<Vec<_>>())
    };
    assert_eq!(looked(&[]), (0, vec!["a.toml ok it can be read, by nobody else, and says all that it must".to_owned()]));
    host.channel("b", "kind = \"ntfy\"\n");
    host.channel("c", "kind = \"email\"\nfrom = \"a@b\"\nto = \"c@d\"\nsendmail = \"/nonexistent/sendmail\"\n");
    host.channel("d", &webhook(&nowhere()));
    fs::set_permissions(host.path("channels/d.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, said) = looked(&["--cluster", "main"]);
    assert_eq!((code, said.len()), (1, 4));
    for (said, words) in said[1..].iter().zip(["line 1: url is not set", "/nonexistent/sendmail: No such", "its mode 0644"]) {
        assert!(said.contains(" critical ") && said.contains(words), "{words}: {said}");
    }
    ["b", "c", "d"].iter().for_each(|name| fs::remove_file(host.path(&format!("channels/{name}.toml"))).unwrap());
    host.channel("a", &format!("{}clusters = [\"other\"]\n", webhook(&endpoint.url())));
    assert_eq!(looked(&["--cluster", "main"]).1[1], " warning no channel takes notices of cluster main");
    fs::remove_file(host.path("channels/a.toml")).unwrap();
    let (code, said) = looked(&[]);
    assert!(code == 0 && said.len() == 1 && said[0].starts_with(" warning nobody can be told: no file in "), "{said:?}");
    assert_eq!(endpoint.arrived().len(), 0);
}

#[test]
fn f94_where_nobody_can_be_told_it_is_an_error_even_of_nothing() {
    let host = Host::new();
    assert!(failed(&host.tell(""), 78).contains("nobody can be told: no file in "));
    let output = fed(host.tool().env("DR_CHANNELS", "/nonexistent"), "");
    assert!(failed(&output, 78).contains("nobody can be told: /nonexistent: No such file"));
    let output = fed(host.tool().args(["--channel", "/nonexistent.toml"]), "");
    assert!(failed(&output, 66).contains("/nonexistent.toml: No such file"));
    let output = fed(host.tool().args(["--channel", "cred:ops"]), "");
    assert!(failed(&output, 78).contains("there is no $CREDENTIALS_DIRECTORY"));
    // A channel that is named is told alone, also as a credential.
    let (host, endpoint) = Host::with_webhook();
    host.channel("broken", "");
    let output = fed(
        host.tool().env("DR_CHANNEL", "cred:a.toml").env("CREDENTIALS_DIRECTORY", host.path("channels")),
        &check("x", "critical", &[]),
    );
    assert!(output.status.success(), "{}", said(&output));
    endpoint.one();
    for wrong in
        [&["--repeat", "0"][..], &["--test", "--unit", "x"], &["--unit", "-Hevil"], &["--unit", "a b"], &["--cluster", "../x"]]
    {
        failed(&fed(host.tool().args(wrong), ""), 64);
    }
}

#[test]
fn f96_no_secret_is_told() {
    let endpoint = Endpoint::saying(NTFY);
    let host = Host::with(&format!("kind = \"ntfy\"\nurl = \"{}\"\ntoken = \"tk_channelcanary\"\n", endpoint.url()));
    host.channel("b", &webhook(&endpoint.url()));
    let secret = "postgresql://app:canary@db/shop password=canary PASSWORD 'canary' AGE-SECRET-KEY-1CANARYCANARY \
                  tk_channelcanary envcanary1";
    let fields = ["check", "subject", "message", "hint"].map(|name| (name, secret));
    let job = run("r2", 1, &format!("{secret}\n-- {secret}"));
    let records = check("x", "critical", &fields) + &job;
    let output = fed(host.tool().env("PGPASSWORD", "envcanary1"), &records);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
    let arrived = endpoint.arrived();
    assert_eq!(arrived.len(), 2);
    for request in arrived {
        let mut headers = request.headers.clone();
        headers.remove("authorization");
        let all = format!("{headers:?} {}", request.text()).to_lowercase();
        assert!(!all.contains("canary") && all.contains("***"), "{all}");
    }
    for entry in fs::read_dir(host.path("state")).unwrap() {
        assert!(!fs::read_to_string(entry.unwrap().path()).unwrap().to_lowercase().contains("canary"));
    }
}

#[test]
fn a_unit_that_failed_is_told_of_with_its_last_words() {
    let (host, endpoint) = Host::with_webhook();
    let unit = |more: &[(&str, &str)]| {
        let output = host.tool().args(["--unit", "dr-backup@main.service"]).envs(more.iter().copied()).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
    };
    // Where nothing can be asked.
    unit(&[]);
    let event = endpoint.one().json();
    assert_eq!((&event["type"], &event["cluster"]), (&json!("dr.unit.failed"), &json!("main")));
    assert_eq!(event["problems"][0]["message"], "the unit failed");
    assert!(event["problems"][0]["hint"].as_str().unwrap().contains("journalctl -u dr-backup@main.service"));
    // With systemd, as it answers.
    host.age(2);
    let show = "test \"$1 $4\" = 'show dr-backup@main.service' && \
                printf 'Result=exit-code\\nExecMainStatus=69\\nInvocationID=ab12\\n'";
    host.program("systemctl", show);
    let journal = "case \"$*\" in *--unit=dr-backup@main.service*_SYSTEMD_INVOCATION_ID=ab12) \
                   printf 'dr-push: error: storing\\ndr-push: hint: password=canary\\n';; esac";
    host.program("journalctl", journal);
    unit(&[]);
    let problem = &endpoint.one().json()["problems"][0];
    assert_eq!(problem["message"], "the unit failed: its command exited with 69");
    assert_eq!(problem["last_words"], json!(["dr-push: error: storing", "dr-push: hint: password=***"]));
    // The same failure is told once; another one an hour later at the latest.
    host.age(30);
    unit(&[]);
    assert_eq!(endpoint.arrived().len(), 0);
    // What systemd has told the unit of OnFailure= counts more, as the other unit may run again by now.
    unit(&[
        ("MONITOR_UNIT", "dr-backup@main.service"),
        ("MONITOR_SERVICE_RESULT", "timeout"),
        ("MONITOR_EXIT_STATUS", "TERM"),
        ("MONITOR_INVOCATION_ID", "cd34"),
    ]);
    assert_eq!(endpoint.one().json()["problems"][0]["message"], "the unit failed: timeout, status TERM");
    // What systemctl says meanwhile counts for nothing where it is to tell of a failure; a success is told once, and then the next failure.
    host.program("systemctl", "echo Result=success");
    let ended = |result: &str| {
        let output = host.tool().args(["--unit", "dr-backup@main.service", "--service-result", result]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
    };
    ended("success");
    let event = endpoint.one().json();
    let problem = &event["problems"][0];
    assert_eq!(
        (&event["type"], &event["cluster"], &problem["status"]),
        (&json!("dr.unit.cleared"), &json!("main"), &json!("cleared"))
    );
    assert_eq!((&problem["key"], &problem["message"]), (&json!("unit/dr-backup@main.service"), &json!("the unit succeeded")));
    ended("success");
    assert_eq!(endpoint.arrived().len(), 0);
    ended("oom-kill");
    assert_eq!(endpoint.one().json()["problems"][0]["message"], "the unit failed: oom-kill");
    // Programs that fail are as good as none.
    host.program("systemctl", "echo 'Result=canary'; exit 1");
    host.program("journalctl", "exit 1");
    host.age(2);
    unit(&[("MONITOR_UNIT", "another.service"), ("MONITOR_SERVICE_RESULT", "timeout")]);
    assert_eq!(endpoint.one().json()["problems"][0]["message"], "the unit failed");
}
