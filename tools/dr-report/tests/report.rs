//! What do reports say, can a record say something else with them, and which stored drills count?
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use dr_testing::s3::{BUCKET, S3sFs};
use pulldown_cmark::{Event, Options, Parser, Tag};
use serde_json::{Value, json};
use tempfile::TempDir;

const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../dr-seal/tests/main.key");
const PUBLIC: &str = "RWSltuq8u/69HyjyiejgtsMymSu8doSKZ41vsl2Ge1wYZX2xCi4DyXUg";
const STRANGER: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
const NAME: &str = "main_drill_20260125T030000Z_7f3a";

/// A signing key, an empty directory store, and a state directory.
struct World(TempDir);

impl World {
    fn new() -> Self {
        let world = World(tempfile::tempdir().unwrap());
        fs::write(world.path("main.key"), fs::read(KEY).unwrap()).unwrap();
        fs::set_permissions(world.path("main.key"), fs::Permissions::from_mode(0o600)).unwrap();
        for store in ["near", "far"] {
            fs::create_dir(world.path(store)).unwrap();
            let id = if store == "near" { "a" } else { "b" }.repeat(32);
            fs::write(world.path(store).join("dr-store.json"), format!("{{\"format\":1,\"id\":\"{id}\"}}\n")).unwrap();
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, store: &str, suffix: &str) -> PathBuf {
        self.path(store).join(format!("main/drill/{NAME}{suffix}"))
    }

    fn tool(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dr-report"));
        command.current_dir(self.0.path()).env_clear().env("DR_STATE", self.path("state")).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str], records: &[Value]) -> Output {
        feed(&mut self.tool(arguments), records)
    }

    fn publish(&self, arguments: &[&str], records: &[Value]) -> Output {
        self.run(&[&["--publish", "--signing-key", "main.key"], arguments].concat(), records)
    }

    /// What a run prints that must succeed without a word on stderr.
    fn good(&self, arguments: &[&str], records: &[Value]) -> String {
        let output = self.run(arguments, records);
        assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), ""));
        String::from_utf8(output.stdout).unwrap()
    }

    fn stored(&self, arguments: &[&str]) -> Output {
        self.run(&[&["--markdown", "--cluster", "main", "--from", "near"], arguments].concat(), &[])
    }
}

fn feed(command: &mut Command, records: &[Value]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    // It may end before it has read everything, which its exit code tells.
    drop(child.stdin.take().unwrap().write_all(lines.as_bytes()));
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn step(name: &str, phase: &str, code: i32, output: &str) -> Value {
    json!({"name": name, "phase": phase, "passed": code == 0, "exit_code": code, "started_at": "2026-01-25T03:00:10Z",
           "duration_seconds": 12.5, "output": output})
}

/// A drill that has passed.
fn drill() -> Value {
    json!({
        "type": "drill", "name": NAME, "drill": "pitr", "cluster": "main", "passed": true, "started_at": "2026-01-25T03:00:00Z",
        "finished_at": "2026-01-25T03:21:40Z", "operator": "kim", "host": "drill1", "environment": "throw-away",
        "backup": "main_base_20260125T000000Z_0001", "stored_bytes": 1_048_576, "restored_bytes": 4_194_304,
        "reached_at": "2026-01-25T02:58:00Z", "target": "time", "target_at": "2026-01-25T02:58:00Z", "segments": 42,
        "files": "main_files_20260125T000000Z_0002", "recipients": ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"],
        "rto_seconds": 1290.0, "rto_objective_seconds": 7200.0, "rpo_seconds": 120.0, "rpo_objective_seconds": 300.0,
        "fetch_seconds": 10.0, "restore_seconds": 600.0, "replay_seconds": 620.0, "check_seconds": 60.0,
        "steps": [step("recover", "restore", 0, "restored"), step("marker", "check", 0, "found: 1 row")],
        "issues": [], "next_actions": ["make the standby larger"]
    })
}

fn failed() -> Value {
    let mut drill = drill();
    drill["passed"] = json!(false);
    drill["steps"][1] = step("marker", "check", 3, "psql: error\nno row");
    drill["issues"] = json!(["step marker failed: exit code 3", "RPO objective missed"]);
    drill["rpo_seconds"] = json!(301.0);
    drill
}

#[test]
fn the_report_has_every_field_that_people_fill_in_by_hand() {
    let report = World::new().good(&[], &[drill()]);
    for field in [
        "# Drill report: main, pitr, 2026-01-25",
        "**PASSED.** All 2 steps passed, and nothing speaks against it.",
        "| **Drill** | main_drill_20260125T030000Z_7f3a |",
        "| **Date (UTC)** | 2026-01-25 |",
        "| **Primary operator** | kim |",
        "| **Environment** | throw-away |",
        "| **Host** | drill1 |",
        "| **Cluster** | main |",
        "| **Scenario tested** | pitr |",
        "| **Backup used** | main_base_20260125T000000Z_0001 |",
        "| **Moment that it shows (UTC)** | 2026-01-25 02:58:00 |",
        "| **Size of the backup in its store** | 1.00 MiB (1048576 bytes) |",
        "| **Recovery target** | time |",
        "| **Target time (UTC)** | 2026-01-25 02:58:00 |",
        "| **WAL used** | 42 segments of main |",
        "| **Backup of files (uploads)** | main_files_20260125T000000Z_0002 |",
        "| **Keys that can decrypt it** | age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p |",
        "| **Start time (UTC)** | 2026-01-25 03:00:00 |",
        "| **End time (UTC)** | 2026-01-25 03:21:40 |",
        "| **Duration** | 21 min 40 s |",
        "| RTO: how long a recovery takes | 2 h | 21 min 30 s | met |",
        "| RPO: how much is lost | 5 min | 2 min | met |",
        "| Replay of WAL | 10 min 20 s |",
        "## Steps followed",
        "| recover | restore | passed | 0 | 03:00:10 | 12.5 s | restored |",
        "## Validation results",
        "| marker | check | passed | 0 | 03:00:10 | 12.5 s | found: 1 row |",
        "## Issues encountered\n\nNone.",
        "## Follow-up actions\n\n- make the standby larger",
        "| Other participants |",
        "| Secondary reviewer |",
        "| Lessons learned |",
        "Signed off by: ",
    ] {
        assert!(report.contains(field), "{field}\n{report}");
    }
    assert!(!report.contains("Output of failed steps"));
}

#[test]
fn f85_a_drill_that_has_not_passed_says_so_first_and_shows_why() {
    let world = World::new();
    let report = world.good(&[], &[failed()]);
    assert_eq!(report.lines().nth(2), Some("**NOT PASSED.** There are 2 issues."));
    for part in [
        "| marker | check | **failed** | 3 | 03:00:10 | 12.5 s | no row |",
        "## Output of failed steps\n\nmarker:\n\n```text\npsql: error\nno row\n```",
        "- step marker failed: exit code 3\n- RPO objective missed",
        "| RPO: how much is lost | 5 min | 5 min 1 s | **missed** |",
        "## Where to look\n\n- Check: ",
    ] {
        assert!(report.contains(part), "{part}\n{report}");
    }
    let page = world.good(&["--html"], &[failed()]);
    assert!(page.contains("<span class=\"bad\">not passed</span>") && page.contains("not passed, and never before"), "{page}");
}

#[test]
fn the_same_record_gives_the_same_bytes() {
    let world = World::new();
    for format in ["--markdown", "--html"] {
        assert_eq!(world.good(&[format], &[drill(), failed()]), world.good(&[format], &[drill(), failed()]));
    }
}

/// Text that would be markup, a link, an element, an attribute, a list, a fence, or steer a terminal.
const HOSTILE: &str = "</title></svg><script>alert(1)</script> \" onload='x' | `code` **bold** _it_ [l](http://x) ![i](j) <http://x> \
                       http://x www.x.org a@b.org ~~s~~ &lt; \\| \u{1b}[2J\u{202e}\n# head\n- item\n1. one\n```\n````\n\n===\n---\n> q";

fn hostile() -> Value {
    let mut drill = failed();
    for field in ["drill", "environment", "host", "operator", "backup", "files", "target", "name", "cluster"] {
        drill[field] = json!(HOSTILE);
    }
    for list in ["issues", "next_actions", "recipients"] {
        drill[list] = json!([HOSTILE, "1. one", "- two", "+ three", "# four", "    five", "> six", "```"]);
    }
    drill["steps"] =
        json!([step(HOSTILE, "restore", 1, HOSTILE), step(HOSTILE, "check", 1, "``````\n</pre>"), step("a", "check", 0, HOSTILE)]);
    drill
}

#[test]
fn f85_a_record_cannot_write_markup_into_the_report() {
    let world = World::new();
    let (report, plain) = (world.good(&[], &[hostile()]), world.good(&[], &[failed()]));
    assert!(!report.contains(['\u{1b}', '\u{202e}']));
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS | Options::ENABLE_GFM;
    let mut headings = 0;
    let mut fences = Vec::new();
    for event in Parser::new_ext(&report, options) {
        match event {
            Event::Html(_) | Event::InlineHtml(_) | Event::Code(_) | Event::Rule | Event::FootnoteReference(_) => {
                panic!("{event:?}")
            }
            Event::Start(Tag::Link { .. } | Tag::Image { .. } | Tag::Emphasis | Tag::Strikethrough | Tag::BlockQuote(_)) => {
                panic!("{event:?}")
            }
            Event::Start(Tag::Heading { .. }) => headings += 1,
            Event::Start(Tag::CodeBlock(_)) => fences.push(String::new()),
            Event::Text(text) if fences.last().is_some() => fences.last_mut().unwrap().push_str(&text),
            _ => {}
        }
    }
    assert_eq!(headings, plain.lines().filter(|line| line.starts_with('#')).count());
    assert!(fences.len() == 2 && fences[0].contains("<script>") && fences[1].starts_with("``````\n</pre>"), "{fences:?}");
    // Where links are made out of plain text, too, there is nothing to make them of.
    let outside = report.split("## Output of failed steps").next().unwrap();
    assert!(!outside.contains("http://") && !outside.contains("www.") && !outside.contains("a@b"), "{outside}");
    let rows = |text: &str| Parser::new_ext(text, options).filter(|event| matches!(event, Event::Start(Tag::TableRow))).count();
    assert_eq!(rows(&report), rows(&plain) + 1, "one step more, and no cell too many");
}

#[test]
fn f85_a_record_cannot_write_elements_into_the_page() {
    let world = World::new();
    let (page, plain) = (world.good(&["--html"], &[hostile()]), world.good(&["--html"], &[failed()]));
    let elements = |page: &str| -> Vec<String> {
        page.split('<').skip(1).map(|rest| rest.split([' ', '>']).next().unwrap().trim_start_matches('/').to_owned()).collect()
    };
    let mut before = elements(&plain);
    before.extend(std::iter::repeat_n("li".to_owned(), 2 * 6));
    let (mut after, mut before) = (elements(&page), before);
    after.sort();
    before.sort();
    assert_eq!(after, before, "six issues more, and nothing else");
    assert!(!page.contains("<script") && !page.contains(" onload='") && !page.contains(['\u{1b}', '\u{202e}']));
}

#[test]
fn the_page_shows_the_history_newest_first_and_asks_nothing_from_elsewhere() {
    let mut later = failed();
    later["name"] = json!("main_drill_20260201T030000Z_7f3b");
    later["started_at"] = json!("2026-02-01T03:00:00Z");
    later["finished_at"] = json!("2026-02-01T03:30:00Z");
    let mut other = drill();
    other["drill"] = json!("restore-test");
    other["rpo_seconds"] = Value::Null;
    let page = World::new().good(&["--html"], &[later, drill(), other]);
    let (newer, older) = (page.find("<tr id=\"main_drill_20260201").unwrap(), page.find("<tr id=\"main_drill_20260125").unwrap());
    assert!(newer < older);
    assert!(page.contains("not passed; passed last at 2026-01-25 03:21:40 (1 of 2 passed)"), "{page}");
    assert_eq!(
        (page.matches("<svg").count(), page.matches("class=\"pass\"").count(), page.matches("class=\"fail\"").count()),
        (3, 3, 2)
    );
    assert_eq!(page.matches("No drill has measured it").count(), 1);
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("default-src 'none'"));
    for foreign in ["http:", "https:", "src=", "href=", "@import", "url(", "<script"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn f85_each_database_has_a_history_of_its_own() {
    let of = |database: &str, drill: Value, second: u32| {
        let mut drill = drill;
        drill["drill"] = json!("restore-test");
        drill["database"] = json!(database);
        drill["name"] = json!(format!("main_drill_20260125T03000{second}Z_7f3a"));
        drill["finished_at"] = json!(format!("2026-01-25T03:21:4{second}Z"));
        drill
    };
    let world = World::new();
    let page = world.good(&["--html"], &[of("<crm>", failed(), 0), of("shop", drill(), 1)]);
    assert!(page.contains("restore-test of &lt;crm&gt;</strong>: not passed, and never before (0 of 1 passed)"), "{page}");
    assert!(page.contains("restore-test of shop</strong>: passed at 2026-01-25 03:21:41 (1 of 1 passed)"), "{page}");
    let report = world.good(&[], &[of("shop", drill(), 1)]);
    assert!(report.contains("| **Scenario tested** | restore-test of shop |"), "{report}");
}

#[test]
fn several_drills_have_a_report_each_only_where_that_is_asked_for() {
    let world = World::new();
    let output = world.run(&[], &[drill(), failed()]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(64), 0));
    assert!(said(&output).starts_with("dr-report: error: there are 2 drills\n"), "{}", said(&output));
    assert_eq!(world.good(&["--markdown"], &[drill(), failed()]).matches("\n---\n\n# Drill report").count(), 1);
}

#[test]
fn what_is_no_drill_is_refused() {
    let world = World::new();
    let mut other = drill();
    other["cluster"] = json!("other");
    for (arguments, records, code) in [
        (&[][..], vec![], 66),
        (&["--html"], vec![], 66),
        (&[], vec![json!({"type": "start", "tool": "a", "suffix": "", "started_at": "2026-01-25T03:00:00Z"})], 65),
        (&[], vec![json!({"type": "drill"})], 65),
        (&["--cluster", "main"], vec![other], 78),
        (&["--html", "--markdown"], vec![drill()], 64),
        (&["--publish"], vec![drill()], 64),
        (&["--from", "near"], vec![drill()], 64),
    ] {
        let output = world.run(arguments, &records);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{arguments:?}: {}", said(&output));
    }
}

#[test]
fn a_file_is_written_whole_in_the_place_of_the_one_before() {
    let world = World::new();
    fs::write(world.path("page.html"), "old").unwrap();
    assert_eq!(world.good(&["--html", "--output", "page.html"], &[drill()]), "");
    assert!(fs::read_to_string(world.path("page.html")).unwrap().ends_with("</html>\n"));
    let output = world.run(&["--output", "absent/page.html"], &[drill()]);
    assert_eq!(output.status.code(), Some(66), "{}", said(&output));
    // A disk that is full: the page of yesterday stays.
    let line = format!("ulimit -f 0; exec {} --html --output page.html", env!("CARGO_BIN_EXE_dr-report"));
    let mut shell = Command::new("sh");
    let output = feed(shell.current_dir(world.0.path()).args(["-c", &line]), &[drill()]);
    assert_eq!(output.status.code(), Some(74), "{}", said(&output));
    assert!(fs::read_to_string(world.path("page.html")).unwrap().ends_with("</html>\n"));
    let left: Vec<_> = fs::read_dir(world.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "no temporary file: {left:?}");
}

#[test]
fn a_drill_is_stored_signed_and_can_be_stored_again() {
    let world = World::new();
    let mut passed_on = Vec::new();
    for _ in 0..2 {
        let output = world.publish(&["--to", "near", "--to", "far", "--cluster", "main"], &[drill()]);
        assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), ""));
        passed_on.push(output.stdout);
    }
    assert!(passed_on[0] == passed_on[1] && serde_json::from_slice::<Value>(&passed_on[0]).unwrap() == drill());
    for store in ["near", "far"] {
        let record = fs::read_to_string(world.file(store, ".json")).unwrap();
        assert!(serde_json::from_str::<Value>(&record).unwrap() == drill() && record.lines().count() > 40, "{record}");
        assert_eq!(fs::read_to_string(world.file(store, ".md")).unwrap(), world.good(&[], &[drill()]));
        // Stock minisign agrees.
        let mut minisign = Command::new("minisign");
        let status = minisign.args(["-Vq", "-P", PUBLIC, "-m"]).arg(world.file(store, ".json")).status();
        assert!(status.unwrap().success());
        assert_eq!(fs::read_dir(world.path(store).join("main/drill")).unwrap().count(), 3);
    }
    let output = world.stored(&["-p", PUBLIC, "--from", "far"]);
    assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), ""));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), world.good(&[], &[drill()]), "it lies in both, and is one");
}

#[test]
fn another_drill_never_takes_the_place_of_one_that_is_stored() {
    let world = World::new();
    world.publish(&["--to", "near"], &[drill()]);
    let before = fs::read(world.file("near", ".json")).unwrap();
    let output = world.publish(&["--to", "near", "--to", "far"], &[failed()]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(73), 0), "{}", said(&output));
    assert!(said(&output).contains(&format!("drill {NAME} is not in near; run it again")), "{}", said(&output));
    assert_eq!(fs::read(world.file("near", ".json")).unwrap(), before);
}

#[test]
fn what_a_killed_run_has_left_is_completed() {
    for lost in [&[".json"][..], &[".json", ".json.minisig"]] {
        let world = World::new();
        world.publish(&["--to", "near"], &[drill()]);
        lost.iter().for_each(|suffix| fs::remove_file(world.file("near", suffix)).unwrap());
        assert_eq!(world.stored(&["-p", PUBLIC]).status.code(), Some(66), "half a drill is none");
        assert_eq!(world.publish(&["--to", "near"], &[drill()]).status.code(), Some(0));
        assert_eq!(world.stored(&["-p", PUBLIC]).status.code(), Some(0));
    }
}

#[test]
fn a_name_that_leaves_its_folder_is_refused() {
    let world = World::new();
    for (field, value) in [("name", "../../x"), ("name", ""), ("name", "a/b"), ("cluster", "../near"), ("cluster", "a/b")] {
        let mut drill = drill();
        drill[field] = json!(value);
        let output = world.publish(&["--to", "near"], &[drill]);
        assert_ne!(output.status.code(), Some(0), "{field} {value}");
        assert_eq!(fs::read_dir(world.path("near")).unwrap().count(), 1, "{field} {value}");
    }
}

#[test]
fn f85_a_stored_drill_counts_only_with_a_good_signature() {
    let edit = |path: &Path, from: &str, to: &str| {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(from));
        fs::write(path, text.replace(from, to)).unwrap();
    };
    type Damage<'a> = &'a dyn Fn(&World);
    let cases: [(&str, Damage<'_>, &str, &str); 6] = [
        ("forged", &|world| edit(&world.file("near", ".json"), "\"kim\"", "\"tim\""), PUBLIC, "the drill was changed or forged"),
        ("unsigned", &|world| fs::remove_file(world.file("near", ".json.minisig")).unwrap(), PUBLIC, "does not exist"),
        ("a stranger's", &|_| {}, STRANGER, "signed with key 1FBDFEBBBCEAB6A5, not with"),
        (
            "no signature",
            &|world| fs::write(world.file("near", ".json.minisig"), "hello").unwrap(),
            PUBLIC,
            "is no minisign signature",
        ),
        (
            "renamed",
            &|world| {
                for suffix in [".json", ".json.minisig"] {
                    let other = world.path(&format!("near/main/drill/main_drill_20270101T000000Z_0000{suffix}"));
                    fs::hard_link(world.file("near", suffix), other).unwrap();
                    fs::remove_file(world.file("near", suffix)).unwrap();
                }
            },
            PUBLIC,
            "the signature is that of another drill",
        ),
        ("too large", &|world| fs::write(world.file("near", ".json"), vec![b' '; 3 << 20]).unwrap(), PUBLIC, "at most"),
    ];
    for (what, damage, key, complaint) in cases {
        let world = World::new();
        world.publish(&["--to", "near"], &[drill()]);
        fs::remove_dir_all(world.path("state")).unwrap();
        damage(&world);
        let output = world.stored(&["-p", key]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(81), 0), "{what}: {}", said(&output));
        assert!(said(&output).contains("-p KEY, or DR_PUBLIC_KEY"), "{what}: {}", said(&output));
        let warning = said(&output).lines().next().unwrap().to_owned();
        assert!(warning.starts_with("dr-report: warning: near: ") && warning.contains(complaint), "{what}: {warning}");
        assert!(warning.ends_with(": this drill does not count"), "{what}: {warning}");
        assert!(!world.path("state/drills.json").exists(), "{what}: nor is it remembered");
    }
    // Without any key, nothing can be told apart.
    let world = World::new();
    world.publish(&["--to", "near"], &[drill()]);
    let output = world.stored(&[]);
    let told = said(&output);
    assert!(output.status.code() == Some(78) && told.contains("no public key of cluster main is known"), "{told}");
    assert!(
        told.contains("no public key of main is known: no drill counts") && told.contains("-p KEY, or DR_PUBLIC_KEY"),
        "{told}"
    );
}

#[test]
fn a_store_that_is_gone_does_not_hide_the_drills_of_another() {
    let world = World::new();
    world.publish(&["--to", "far"], &[drill()]);
    let output = world.stored(&["-p", PUBLIC, "--from", "absent", "--from", "far"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("absent"), "{}", said(&output));
    assert_eq!(world.run(&["--cluster", "main", "--from", "absent"], &[]).status.code(), Some(78));
}

#[test]
fn drills_lie_in_s3_as_they_lie_in_a_directory() {
    let (world, server) = (World::new(), S3sFs::start());
    let bucket = format!("s3://{BUCKET}/pg");
    let s3 = |arguments: &[&str], records: &[Value]| feed(world.tool(arguments).envs(server.environment()), records);
    let publish = ["--publish", "--signing-key", "main.key", "--to", &bucket];
    for _ in 0..2 {
        let output = s3(&publish, &[drill()]);
        assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), ""));
    }
    assert_eq!(s3(&publish, &[failed()]).status.code(), Some(73));
    let output = s3(&["--cluster", "main", "--from", &bucket, "-p", PUBLIC], &[]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), world.good(&[], &[drill()]));
    let output = s3(&["--cluster", "main", "--from", &bucket, "-p", STRANGER], &[]);
    assert!(output.status.code() == Some(81) && said(&output).contains("this drill does not count"), "{}", said(&output));
}

#[test]
fn f74_whose_keys_were_proved_is_remembered_on_this_host() {
    let world = World::new();
    let remembered = || fs::read_to_string(world.path("state/drills.json")).unwrap_or_default();
    world.publish(&["--to", "near"], &[failed()]);
    assert_eq!(remembered(), "", "a drill that has not passed proves no key");
    let mut passed = drill();
    passed["name"] = json!("main_drill_20260201T030000Z_7f3b");
    world.publish(&["--to", "near"], &[passed]);
    assert!(
        remembered().contains("age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\":\"2026-01-25T03:21:40Z"),
        "{}",
        remembered()
    );
    // Another host learns it from the store.
    fs::remove_file(world.path("state/drills.json")).unwrap();
    assert_eq!(world.stored(&["-p", PUBLIC]).status.code(), Some(0));
    assert!(remembered().contains("age1ql3z7"), "{}", remembered());
}
