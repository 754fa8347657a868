//! A job is run, noted and told of, whatever becomes of it, and of those who are told.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Endpoint, OK, Reply, Rig, code, eventually, signal, stderr};

const MANIFEST: &str = r#"{"type":"manifest","format":1,"cluster":"main","kind":"dump","name":"main_dump_20260125T020000Z_7f3a","object":"o","bytes":4242,"sha256":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b9f86d081884c7d659a2feaa0","taken_at":"2026-01-25T02:00:00Z","stored_at":"2026-01-25T02:01:00Z","sequence":1,"recipients":[],"stores":[],"produced":{"kind":"dump","taken_at":"2026-01-25T02:00:00Z","suffix":"sql"},"tools":[]}"#;

#[test]
fn a_job_is_passed_through_noted_and_told() {
    let (rig, endpoint) = (Rig::new(), Endpoint::new(&[OK]));
    let file = rig.ping_file(&format!("# those who wait\n\n{}\n", endpoint.url()));
    let script = format!("cat; echo said >&2; echo '{MANIFEST}' | tee -a \"$DR_RUN\" >> \"$DR_RUN\"");
    let mut child = rig.job(&["--ping-file", &file], &script).stdin(Stdio::piped()).spawn().unwrap();
    eventually("the start is told while the job runs", || endpoint.had().len() == 1);
    child.stdin.take().unwrap().write_all(b"bytes").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), &output.stdout[..], &stderr(&output)[..]), (0, &b"bytes"[..], "said\n"));

    let [run] = &rig.runs()[..] else { panic!("one run") };
    assert_eq!((&run["type"], &run["job"], &run["cluster"]), (&json!("run"), &json!("dump"), &json!("main")));
    assert_eq!((&run["succeeded"], &run["exit_code"], &run["message"]), (&json!(true), &json!(0), &json!("said")));
    assert_eq!((&run["backup"], &run["stored_bytes"]), (&json!("main_dump_20260125T020000Z_7f3a"), &json!(4242)));
    let name = run["run"].as_str().unwrap();
    assert_eq!(name.len(), 36);

    assert_eq!(endpoint.paths(), ["/start", ""]);
    let had = endpoint.had();
    assert!(had.iter().all(|had| had.run() == name && had.method == "POST"));
    assert_eq!(had[1].body, "said");

    let beat = fs::read_to_string(rig.path("state/LAST_SUCCESS.txt")).unwrap();
    let (first, rest) = beat.split_once('\n').unwrap();
    let finished = run["finished_at"].as_str().unwrap();
    assert_eq!(first.trim_end_matches('Z'), &finished[..19]);
    assert!(rest.starts_with("cluster=main\njob=dump\nhost="), "{rest}");
    assert!(rest.ends_with(&format!("run={name}\nbackup=main_dump_20260125T020000Z_7f3a\nbytes=4242\n")), "{rest}");
    assert_eq!(fs::read_dir(rig.path("tmp")).unwrap().count(), 0);
}

#[test]
fn a_failure_keeps_its_code_and_the_last_heartbeat() {
    let (rig, endpoint) = (Rig::new(), Endpoint::new(&[OK]));
    let file = rig.ping_file(&endpoint.url());
    assert_eq!(code(&rig.job(&[], "true").output().unwrap()), 0);
    let beat = fs::read_to_string(rig.path("state/LAST_SUCCESS.txt")).unwrap();
    for wrong in [3, 64, 255] {
        let output = rig.job(&["--ping-file", &file], &format!("echo no >&2; exit {wrong}")).output().unwrap();
        assert_eq!((code(&output), &stderr(&output)[..]), (wrong, "no\n"));
        let run = rig.runs().pop().unwrap();
        assert_eq!((&run["succeeded"], &run["exit_code"], &run["message"]), (&json!(false), &json!(wrong), &json!("no")));
    }
    assert_eq!(endpoint.paths(), ["/start", "/3", "/start", "/64", "/start", "/255"]);
    assert_eq!(fs::read_to_string(rig.path("state/LAST_SUCCESS.txt")).unwrap(), beat);
    let output = rig.command(&["run", "--job", "base", "--cluster", "main", "--", "/nowhere/backup"]).output().unwrap();
    assert_eq!(code(&output), 66, "{}", stderr(&output));
    assert_eq!(rig.runs().pop().unwrap()["message"], "/nowhere/backup: no such program");
}

#[test]
fn f93_whatever_becomes_of_a_ping_the_job_ends_as_it_ends_and_in_time() {
    let nobody = dr_testing::postgres::free_port();
    let url = |endpoint: &Endpoint| endpoint.url();
    let silent = Endpoint::new(&[Reply::Nothing]);
    let broken = Endpoint::new(&[Reply::Say("500 Internal Server Error", "", "no")]);
    let gone = Endpoint::new(&[Reply::Say("404 Not Found", "", "not found")]);
    let moved = Endpoint::new(&[Reply::Say("301 Moved Permanently", "Location: http://127.0.0.1:1/canary\r\n", "")]);
    let mail = Endpoint::new(&[Reply::Garbage]);
    let unknown = Endpoint::new(&[Reply::Say("200 OK", "", "OK (not found)")]);
    let endless = format!("Retry-After: {}\r\n", u64::MAX).leak();
    let later = Endpoint::new(&[Reply::Say("503 Service Unavailable", endless, "no")]);
    let cases = [
        ("much later", url(&later), 69),
        ("refused", format!("http://127.0.0.1:{nobody}/canary-of-the-url"), 69),
        ("no such host", "https://nobody.invalid/canary-of-the-url".into(), 69),
        ("no answer", url(&silent), 69),
        ("500", url(&broken), 69),
        ("404", url(&gone), 78),
        ("moved", url(&moved), 78),
        ("no HTTP", url(&mail), 76),
        ("no such check", url(&unknown), 76),
        ("no TLS", "http://hc.example/canary-of-the-url".into(), 78),
        ("no URL", "canary-of-the-url".into(), 78),
        ("nothing", "# canary-of-the-url".into(), 78),
    ];
    let each = |what: &str, text: &str, expected| {
        let rig = Rig::new();
        let file = rig.ping_file(text);
        for (script, ends) in [("true", 0), ("exit 3", 3)] {
            let begun = Instant::now();
            let output = rig.job(&["--ping-file", &file, "--ping-patience", "1"], script).output().unwrap();
            assert_eq!(code(&output), ends, "{what}: {}", stderr(&output));
            assert!(begun.elapsed() < Duration::from_secs(12), "{what}: {:?}", begun.elapsed());
            let said = stderr(&output);
            assert!(said.starts_with("dr-heartbeat: warning: ") && !said.contains("canary"), "{what}: {said}");
            assert_eq!(rig.runs().pop().unwrap()["succeeded"], json!(ends == 0));
        }
        assert!(rig.path("state/LAST_SUCCESS.txt").exists(), "{what}");
        let output = rig.command(&["ping", "--ping-file", &file, "--ping-patience", "1"]).output().unwrap();
        assert_eq!(code(&output), expected, "{what}: {}", stderr(&output));
        assert!(!stderr(&output).contains("canary"), "{what}: {}", stderr(&output));
    };
    std::thread::scope(|scope| {
        for (what, text, expected) in &cases {
            scope.spawn(|| each(what, text, *expected));
        }
    });
}

#[test]
fn f93_a_server_that_comes_back_is_told_and_a_second_one_hears_it_anyway() {
    let down = Reply::Say("503 Service Unavailable", "Retry-After: 1\r\n", "");
    let (rig, endpoint, second) = (Rig::new(), Endpoint::new(&[down.clone(), down, OK]), Endpoint::new(&[OK]));
    let file = rig.ping_file(&format!("{}\n{}\n", endpoint.url(), second.url()));
    let output = rig.command(&["ping", "--ping-file", &file]).output().unwrap();
    assert_eq!((code(&output), endpoint.paths().len(), second.paths().len()), (0, 3, 1), "{}", stderr(&output));

    let silent = Endpoint::new(&[Reply::Nothing]);
    let file = rig.ping_file(&format!("{}\n{}\n", silent.url(), second.url()));
    let output = rig.command(&["ping", "--fail", "--ping-file", &file, "--ping-patience", "1"]).output().unwrap();
    assert_eq!((code(&output), second.paths().pop().unwrap()), (69, "/fail".into()), "{}", stderr(&output));
}

#[test]
fn f93_a_ping_file_that_cannot_be_read_or_is_open_to_others_stops_no_job() {
    let rig = Rig::new();
    let file = rig.ping_file("https://hc.example/canary");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    for (file, expected) in [(&file[..], 77), ("/nowhere/main.ping", 66), ("cred:ping", 78)] {
        let output = rig.job(&["--ping-file", file], "true").output().unwrap();
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(stderr(&output).contains("nobody is pinged"), "{}", stderr(&output));
        assert_eq!(code(&rig.command(&["ping", "--ping-file", file]).output().unwrap()), expected);
    }
    let output = rig.command(&["ping"]).output().unwrap();
    assert_eq!(code(&output), 64);
    let endpoint = Endpoint::new(&[OK]);
    rig.ping_file(&endpoint.url());
    let mut command = rig.command(&["ping", "--ping-file", "cred:main.ping", "--start"]);
    assert_eq!(code(&command.env("CREDENTIALS_DIRECTORY", rig.scratch.path()).output().unwrap()), 0);
    assert_eq!(endpoint.paths(), ["/start"]);
}

#[test]
fn f93_a_wrong_certificate_is_not_trusted() {
    let rig = Rig::new();
    let words = "req -x509 -newkey rsa:2048 -nodes -keyout own.key -out own.crt -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
                 -addext basicConstraints=critical,CA:FALSE";
    let made = Command::new("openssl").args(words.split_whitespace()).current_dir(rig.scratch.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let server = "import http.server,ssl,sys
class Hears(http.server.BaseHTTPRequestHandler):
    def do_POST(self): self.send_response(200); self.send_header('Content-Length','2'); self.end_headers(); self.wfile.write(b'OK')
    def log_message(self, *a): pass
s=http.server.HTTPServer(('127.0.0.1',0),Hears); c=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain('own.crt','own.key')
s.socket=c.wrap_socket(s.socket,server_side=True); print(s.server_port,flush=True); s.serve_forever()";
    let mut python = Command::new("python3");
    python.args(["-c", server]).current_dir(rig.scratch.path());
    let mut python = python.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut port = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(python.stdout.take().unwrap()), &mut port).unwrap();
    let authority = rig.path("own.crt").display().to_string();
    for (host, trust, expected) in [("localhost", false, 78), ("localhost", true, 0), ("127.0.0.1", true, 78)] {
        let file = rig.ping_file(&format!("https://{host}:{}/canary", port.trim()));
        let mut command = rig.command(&["ping", "--ping-file", &file, "--ping-patience", "10"]);
        if trust {
            command.args(["--ca-file", &authority]);
        }
        let begun = Instant::now();
        let output = command.output().unwrap();
        assert_eq!(code(&output), expected, "{host} {trust}: {}", stderr(&output));
        assert!(begun.elapsed() < Duration::from_secs(8), "it is not asked again");
        assert!(
            expected == 0 || stderr(&output).contains("certificate") && !stderr(&output).contains("canary"),
            "{}",
            stderr(&output)
        );
    }
    python.kill().unwrap();
    python.wait().unwrap();
}

#[test]
fn f05_a_signal_goes_to_the_command_and_its_children_and_the_end_is_noted() {
    for (name, number) in [("TERM", 15), ("INT", 2), ("HUP", 1)] {
        let (rig, silent) = (Rig::new(), Endpoint::new(&[Reply::Nothing]));
        let file = rig.ping_file(&silent.url());
        let begun = rig.path("begun");
        // A shell whose child has the signal, too: by itself it would go on waiting for it.
        let script = format!("trap 'echo got {name} >&2; exit 7' {name}; touch {}; sleep 600; exit 0", begun.display());
        let child = rig.job(&["--ping-file", &file], &script).spawn().unwrap();
        eventually("it runs", || begun.exists());
        let asked = Instant::now();
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(code(&output), 7, "{name}: {}", stderr(&output));
        assert!(asked.elapsed() < Duration::from_secs(5), "{name}: {:?}", asked.elapsed());
        let run = rig.runs().pop().unwrap();
        assert_eq!((&run["exit_code"], &run["succeeded"]), (&json!(7), &json!(false)), "{name}");
        // The shell may say of its child how that has ended.
        assert!(run["message"].as_str().unwrap().ends_with(&format!("got {name}")), "{run}");

        fs::remove_file(&begun).unwrap();
        let child = rig.job(&[], &format!("touch {}; exec sleep 600", begun.display())).spawn().unwrap();
        eventually("it runs", || begun.exists());
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(code(&output), 75, "{name} ({number}): {}", stderr(&output));
        let run = rig.runs().pop().unwrap();
        assert_eq!((&run["signal"], &run["exit_code"]), (&json!(name), &json!(null)));
        assert_eq!(fs::read_dir(rig.path("tmp")).unwrap().count(), 0, "nothing stays");
    }
}

#[test]
fn f05_a_command_that_was_killed_is_told_as_a_failure_and_one_that_takes_its_time_is_let() {
    let (rig, endpoint) = (Rig::new(), Endpoint::new(&[OK]));
    let file = rig.ping_file(&endpoint.url());
    let output = rig.job(&["--ping-file", &file], "kill -KILL $$").output().unwrap();
    assert_eq!((code(&output), endpoint.paths().pop().unwrap()), (75, "/fail".into()), "{}", stderr(&output));
    assert_eq!(rig.runs().pop().unwrap()["signal"], "KILL");

    // It ends well, five seconds after it was asked to: its end is what counts.
    let begun = rig.path("begun");
    let script = format!("trap 'sleep 5; exit 0' TERM; touch {}; sleep 600 >/dev/null 2>&1 & wait", begun.display());
    let child = rig.job(&[], &script).spawn().unwrap();
    eventually("it runs", || begun.exists());
    let kill = Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), &rig.runs().pop().unwrap()["succeeded"]), (0, &json!(true)), "{}", stderr(&output));
}

#[test]
fn f95_two_runs_at_once_are_one_run() {
    let (rig, endpoint) = (Rig::new(), Endpoint::new(&[OK]));
    let file = rig.ping_file(&endpoint.url());
    let begun = rig.path("begun");
    let script = format!("touch {}; read -r word", begun.display());
    let mut first = rig.job(&[], &script).stdin(Stdio::piped()).spawn().unwrap();
    eventually("it runs", || begun.exists());

    let output = rig.job(&["--ping-file", &file], "true").output().unwrap();
    assert_eq!(code(&output), 75);
    assert!(
        stderr(&output).contains(&format!("another run of dump is at work (pid {}, since ", first.id())),
        "{}",
        stderr(&output)
    );
    assert!(endpoint.paths().is_empty(), "the first one will tell");
    // Another job, and another cluster, are not kept from running.
    assert_eq!(code(&rig.command(&["run", "--job", "base", "--cluster", "main", "--", "true"]).output().unwrap()), 0);
    assert_eq!(code(&rig.command(&["run", "--job", "dump", "--cluster", "other", "--", "true"]).output().unwrap()), 0);
    // One that does not end is told of.
    eventually("a second has passed", || {
        let output = rig.job(&["--ping-file", &file, "--max-run", "1"], "true").output().unwrap();
        assert_eq!(code(&output), 75);
        endpoint.paths() == ["/fail"]
    });

    let waiting = rig.job(&["--lock-wait", "30"], "true").spawn().unwrap();
    // Killed, it leaves no lock behind, and no end in the history.
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(code(&waiting.wait_with_output().unwrap()), 0);
    assert_eq!(rig.runs().iter().filter(|run| run["job"] == "dump").count(), 1);
}

#[test]
fn f96_no_secret_is_kept_or_told_and_none_can_be_seen_while_it_runs() {
    let (rig, endpoint) = (Rig::new(), Endpoint::new(&[OK]));
    let file = rig.ping_file(&endpoint.url());
    let begun = rig.path("begun");
    let script = format!(
        "echo \"connecting to postgresql://app:canary-1@db/shop as $PGPASSWORD, then {}\" >&2
         echo AGE-SECRET-KEY-1CANARYCANARY --password canary-3 >&2; touch {}; read -r word; exit 1",
        endpoint.url(),
        begun.display()
    );
    let script_file = rig.path("job.sh");
    fs::write(&script_file, script).unwrap();
    let script_file = script_file.display().to_string();
    let mut command = rig.command(&["run", "--job", "dump", "--cluster", "main", "--ping-file", &file, "--", "sh", &script_file]);
    let mut child = command.env("PGPASSWORD", "canary-2").stdin(Stdio::piped()).spawn().unwrap();
    eventually("it runs", || begun.exists());
    eventually("it is told", || endpoint.had().len() == 1);
    for process in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        for (name, word) in [("cmdline", "canary-of-the-url"), ("environ", "canary-of-the-url")] {
            let text = fs::read(process.path().join(name)).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&text).contains(word), "{}", process.path().join(name).display());
        }
    }
    drop(child.stdin.take());
    assert_eq!(code(&child.wait_with_output().unwrap()), 1);
    let message = rig.runs().pop().unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("connecting to postgresql://app:***@db/shop as ***"), "{message}");
    let bodies: String = endpoint.had().into_iter().map(|had| had.body).collect();
    assert!(bodies.contains("connecting to"));
    for kept in [bodies, rig.state()] {
        assert!(!kept.to_lowercase().contains("canary"), "{kept}");
    }
}

#[test]
fn f24_history_and_scratch_are_the_owner_s_alone_and_heartbeats_are_everybody_s() {
    for umask in ["000", "077"] {
        let rig = Rig::new();
        let script = "stat -c %a \"$DR_RUN\" \"${DR_RUN%/*}\"";
        let program = env!("CARGO_BIN_EXE_dr-heartbeat");
        let line = format!("umask {umask}; exec {program} run --job dump --cluster main -- sh -c '{script}'");
        let output = Command::new("sh").args(["-c", &line]).env("DR_STATE", rig.path("state")).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "600\n700\n", "{}", stderr(&output));
        let mode = |name: &str| rig.path("state").join(name).metadata().unwrap().mode() & 0o777;
        assert_eq!(
            (mode("runs-main.jsonl"), mode("run-main-dump.lock"), mode("LAST_SUCCESS.txt")),
            (0o600, 0o600, 0o644),
            "{umask}"
        );
    }
}

#[test]
fn a_host_that_can_note_nothing_backs_up_all_the_same() {
    let rig = Rig::new();
    fs::write(rig.path("file"), "").unwrap();
    let below = rig.path("file/state");
    let output = rig.job(&[], "echo done; exit 4").env("DR_STATE", &below).env("TMPDIR", &below).output().unwrap();
    assert_eq!((code(&output), &output.stdout[..]), (4, &b"done\n"[..]), "{}", stderr(&output));
    assert!(stderr(&output).lines().all(|line| line.starts_with("dr-heartbeat: warning: ")), "{}", stderr(&output));
}

#[test]
fn f05_what_a_command_leaves_running_holds_nothing_up() {
    let rig = Rig::new();
    let begun = Instant::now();
    let output = rig.job(&[], "echo said >&2; sleep 20 >/dev/null & exit 0").output();
    // The one that was left behind has our own standard error no more than that of the command.
    assert_eq!(code(&output.unwrap()), 0);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(rig.runs().pop().unwrap()["message"], "said");
}

#[test]
fn the_journal_s_priorities_pass_through() {
    let rig = Rig::new();
    let log = fs::File::create(rig.path("log")).unwrap();
    let meta = log.metadata().unwrap();
    let script = "test \"$JOURNAL_STREAM\" = \"$(stat -L -c %d:%i /proc/self/fd/2)\" && echo '<3>job: error: no' >&2; exit 1";
    let mut command = rig.job(&[], script);
    command.env("JOURNAL_STREAM", format!("{}:{}", meta.dev(), meta.ino())).stderr(log);
    assert_eq!(command.status().unwrap().code(), Some(1));
    assert_eq!(fs::read_to_string(rig.path("log")).unwrap(), "<3>job: error: no\n");
    assert_eq!(rig.runs().pop().unwrap()["message"], "job: error: no");
}

#[test]
fn a_heartbeat_of_another_cluster_is_not_overwritten() {
    let rig = Rig::new();
    assert_eq!(code(&rig.job(&[], "true").output().unwrap()), 0);
    let output = rig.command(&["run", "--job", "dump", "--cluster", "other", "--", "true"]).output().unwrap();
    assert_eq!(code(&output), 0);
    assert!(
        stderr(&output).contains("is of cluster main (give each cluster a --beats directory of its own"),
        "{}",
        stderr(&output)
    );
    assert!(fs::read_to_string(rig.path("state/LAST_SUCCESS.txt")).unwrap().contains("cluster=main\n"));
    let beats = rig.path("other").display().to_string();
    let command = ["run", "--job", "wal", "--cluster", "other", "--beats", &beats, "--", "true"];
    assert_eq!(stderr(&rig.command(&command).output().unwrap()), "");
    assert!(rig.path("other/wal_sync_last_ok.txt").exists());
}

#[test]
fn what_is_no_plain_file_in_the_state_directory_holds_no_job_up_and_is_not_written_through() {
    let rig = Rig::new();
    let (state, victim) = (rig.path("state"), rig.path("victim"));
    fs::create_dir_all(&state).unwrap();
    fs::write(&victim, "kept").unwrap();
    std::os::unix::fs::symlink(&victim, state.join("run-main-dump.lock")).unwrap();
    let made = Command::new("mkfifo").args([state.join("runs-main.jsonl"), state.join("LAST_SUCCESS.txt")]).status().unwrap();
    assert!(made.success());
    let begun = Instant::now();
    let output = rig.job(&[], "true").output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(
        stderr(&output).contains("nothing keeps two runs") && stderr(&output).contains("it is no plain file"),
        "{}",
        stderr(&output)
    );
    assert_eq!(fs::read_to_string(victim).unwrap(), "kept");
    assert!(fs::metadata(state.join("LAST_SUCCESS.txt")).unwrap().is_file());
}

#[test]
fn what_root_has_run_once_keeps_nothing_from_whose_the_state_is_and_else_it_is_said_whose_it_is() {
    const NOBODY: u32 = 65534;
    // Nobody else can do what this is about.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let rig = Rig::new();
    let bin = Path::new(env!("CARGO_BIN_EXE_dr-heartbeat")).parent().unwrap();
    let programs = dr_testing::programs::reachable(bin, &["dr-heartbeat"]);
    fs::set_permissions(rig.scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(rig.path("state")).unwrap();
    ["state", "tmp"].iter().for_each(|name| chown(rig.path(name), Some(NOBODY), Some(NOBODY)).unwrap());
    let nobody = || {
        let mut command = Command::new(programs.path().join("dr-heartbeat"));
        command.args(["run", "--job", "dump", "--cluster", "main", "--", "true"]).uid(NOBODY).gid(NOBODY);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("DR_STATE", rig.path("state")).env("TMPDIR", rig.path("tmp"));
        let output = command.output().unwrap();
        assert_eq!(code(&output), 0);
        stderr(&output)
    };
    assert_eq!(stderr(&rig.job(&[], "true").output().unwrap()), "");
    let made = || fs::read_dir(rig.path("state")).unwrap().map(|entry| entry.unwrap().path());
    made().for_each(|path| assert_eq!(path.metadata().unwrap().uid(), NOBODY, "{}", path.display()));
    assert_eq!(nobody(), "");
    assert_eq!(rig.runs().len(), 2);

    // What an older release has left.
    made().for_each(|path| chown(path, Some(0), Some(0)).unwrap());
    let said = nobody();
    for name in ["run-main-dump.lock", "runs-main.lock"] {
        let path = rig.path("state").join(name).display().to_string();
        assert!(said.contains(&format!("{path} belongs to root, and this runs as nobody")), "{said}");
        assert!(said.contains(&format!("(as root: chown nobody {path}, and what else root has left beside it)")), "{said}");
    }
}
