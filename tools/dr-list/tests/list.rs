//! What does a store show, and what of it is trusted?
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use dr_catalogue::{SigningKey, Tombstone, chain, manifest, name, signature, tombstone};
use dr_pipe::record::{self, Kind, Manifest};
use tempfile::TempDir;

const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../dr-seal/tests/main.key");

/// Stores with sealed backups, and a state directory.
struct Stores {
    root: TempDir,
    key: SigningKey,
}

impl Stores {
    /// A directory store `near`, still without backups.
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let key = root.path().join("main.key");
        fs::write(&key, fs::read(KEY).unwrap()).unwrap();
        fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let stores = Stores { key: SigningKey::load(&key.display().to_string()).unwrap(), root };
        stores.add("near");
        stores
    }

    fn add(&self, store: &str) {
        fs::create_dir(self.path(store)).unwrap();
        let id = if store == "near" { "a" } else { "b" }.repeat(32);
        fs::write(self.path(&format!("{store}/dr-store.json")), format!("{{\"format\":1,\"id\":\"{id}\"}}\n")).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Seals a backup taken on 2026-01-`day` at 02:00, as dr-push and dr-seal leave it.
    fn seal(&self, store: &str, manifest: &Manifest) {
        let bytes = manifest::to_bytes(manifest);
        let folder = self.path(&format!("{store}/{}", name::folder(&manifest.cluster, manifest.kind)));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(&manifest.object), vec![b'x'; manifest.bytes as usize]).unwrap();
        fs::write(folder.join(format!("{}.json", manifest.name)), &bytes).unwrap();
        let signature = signature::sign(&self.key, &bytes, &manifest.name);
        fs::write(folder.join(format!("{}.json.minisig", manifest.name)), signature).unwrap();
    }

    fn list(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dr-list"));
        command
            .current_dir(self.root.path())
            .env_clear()
            .env("DR_STATE", self.path("state"))
            .args(["--cluster", "main"])
            .args(args);
        command
    }

    fn public(&self) -> String {
        self.key.public_key().to_string()
    }

    /// The names listed, in order.
    fn names(&self, args: &[&str]) -> Vec<String> {
        let listed = self.list(args).assert().code(0).stderr("");
        names(&listed.get_output().stdout)
    }

    fn file(&self, day: u32, suffix: &str) -> PathBuf {
        self.path(&format!("near/main/dump/{}{suffix}", backup(day).name))
    }
}

fn names(stdout: &[u8]) -> Vec<String> {
    let lines = std::str::from_utf8(stdout).unwrap().lines();
    lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["name"].as_str().unwrap().to_owned()).collect()
}

/// The manifest of a dump taken on 2026-01-`day` at 02:00.
fn backup(day: u32) -> Manifest {
    let receipts = include_str!("../../dr-catalogue/tests/receipts.jsonl");
    let receipts = receipts.replace("2026-01-25T", &format!("2026-01-{day:02}T")).replace("20260125T", &format!("202601{day:02}T"));
    let chain = chain::check(&record::read(&mut receipts.as_bytes()).unwrap()).unwrap();
    manifest::from_chain(&chain, "main").unwrap()
}

fn near_with(days: &[u32]) -> Stores {
    let stores = Stores::new();
    for day in days {
        stores.seal("near", &backup(*day));
    }
    stores
}

#[test]
fn backups_are_listed_oldest_first_as_records() {
    let stores = near_with(&[25, 24]);
    assert_eq!(stores.names(&["--from", "near"]), [backup(24).name, backup(25).name]);
    let listed = stores.list(&["--from", "near", "-p", &stores.public()]).assert().code(0);
    let line = String::from_utf8(listed.get_output().stdout.clone()).unwrap();
    assert!(line.starts_with(r#"{"type":"backup","store":"near","signature":"good","format":1,"cluster":"main""#), "{line}");
}

#[test]
fn a_table_says_what_people_want_to_know() {
    let stores = near_with(&[25]);
    let listed = stores.list(&["--from", "near", "--table"]).assert().code(0);
    let text = String::from_utf8(listed.get_output().stdout.clone()).unwrap();
    let words: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let header = ["NAME", "TAKEN", "(UTC)", "AGE", "KIND", "DATABASE", "PLAIN", "STORED", "ROWS", "RESTORE", "SIGNATURE", "STORES"];
    assert_eq!(words[0], header);
    let (taken, rest) = (&words[1][..3], &words[1][5..]);
    assert_eq!(taken, [backup(25).name.as_str(), "2026-01-25", "02:00:00"]);
    assert_eq!(rest, ["dump", "shop", "4.88", "KiB", "16", "B", "42", "-", "unchecked", "1"]);
}

#[test]
fn a_table_estimates_from_signed_drills_how_long_a_restore_takes() {
    let stores = near_with(&[25]);
    let location = stores.path("near").display().to_string().parse().unwrap();
    let store = dr_store::Store::open_for_read(&location, &dr_store::StoreArgs::default()).unwrap();
    let publish = |name: &str, seconds: f64, passed: bool| {
        let drill = serde_json::json!({
            "type": "drill", "name": name, "drill": "restore-test", "cluster": "main", "passed": passed, "operator": "kim", "host": "h",
            "started_at": "2026-01-25T03:00:00Z", "finished_at": "2026-01-25T03:30:00Z", "environment": "e", "recipients": [],
            "stored_bytes": 32, "rto_seconds": seconds, "fetch_seconds": 0.0, "restore_seconds": seconds, "replay_seconds": 0.0,
            "check_seconds": 0.0, "steps": [], "issues": [], "next_actions": []
        });
        let Ok(record::Record::Drill(drill)) = serde_json::from_value(drill) else { panic!() };
        dr_catalogue::drills::publish_drill(&store, &drill, "", &stores.key).unwrap();
    };
    let public = stores.public();
    let estimate = |arguments: &[&str]| {
        let listed = stores.list(&[&["--from", "near", "--table"], arguments].concat()).assert().code(0);
        let (out, said) = (listed.get_output().stdout.clone(), listed.get_output().stderr.clone());
        let row = String::from_utf8(out).unwrap().lines().last().unwrap().to_owned();
        (
            row.split("42 ").last().unwrap().split("  ").find(|word| !word.is_empty()).unwrap().trim().to_owned(),
            String::from_utf8(said).unwrap(),
        )
    };
    publish("main_drill_20260125T030000Z_0001", 10.0, false);
    assert_eq!(estimate(&["-p", &public]), ("-".into(), String::new()), "a drill that has not passed shows nothing");
    publish("main_drill_20260125T030000Z_0002", 480.0, true);
    assert_eq!(estimate(&["-p", &public]), ("~4 min".into(), String::new()), "half the size");
    assert_eq!(estimate(&[]), ("-".into(), String::new()), "without a key none counts, and no word is lost on it");
    // One that cannot be trusted changes nothing but that it is said.
    fs::write(stores.path("near/main/drill/main_drill_20260125T030000Z_0003.json"), "{}").unwrap();
    let (time, said) = estimate(&["-p", &public]);
    assert!(time == "~4 min" && said.starts_with("dr-list: warning: ") && said.contains("0003.json"), "{time} {said}");
    // For programs nothing of it is read.
    assert_eq!(stores.names(&["--from", "near", "-p", &public]).len(), 1);
}

#[test]
fn a_base_is_shown_with_its_end_from_which_it_can_be_recovered() {
    let stores = Stores::new();
    let mut base = backup(25);
    (base.kind, base.produced.kind) = (Kind::Base, Kind::Base);
    base.name = base.name.replace("dump", "base");
    base.object = base.object.replace("dump", "base");
    // Began at 02:00, as its name says.
    base.taken_at = "2026-01-25T02:47:12.250Z".parse().unwrap();
    (base.produced.taken_at, base.produced.database, base.produced.rows) = (base.taken_at, None, None);
    stores.seal("near", &base);
    let listed = stores.list(&["--from", "near", "--table"]).assert().code(0);
    let text = String::from_utf8(listed.get_output().stdout.clone()).unwrap();
    let words: Vec<_> = text.lines().last().unwrap().split_whitespace().collect();
    assert_eq!((words[0], &words[1..3], words[5]), (&*base.name, &["2026-01-25", "02:47:13"][..], "base"), "up to the next second");
    assert_eq!(stores.names(&["--from", "near", "--at", "2026-01-25 02:47:13"]), [base.name], "what is shown can be asked for");
}

#[test]
fn an_empty_store_lists_nothing_and_has_no_latest() {
    let stores = Stores::new();
    stores.list(&["--from", "near"]).assert().code(0).stdout("").stderr("");
    stores.list(&["--from", "near", "--latest"]).assert().code(66).stdout("").stderr(
        "dr-list: error: no backup is there\n\
         dr-list: hint: see whether the store, --cluster and --database are right: dr-list --from STORE alone shows all there are\n",
    );
}

#[test]
fn one_backup_is_chosen_by_time_name_or_beginning() {
    let stores = near_with(&[23, 24, 25]);
    let chosen = |args: &[&str]| stores.names(&[&["--from", "near"], args].concat());
    assert_eq!(chosen(&["--latest"]), [backup(25).name]);
    assert_eq!(chosen(&["latest"]), [backup(25).name]);
    assert_eq!(chosen(&["--at", "2026-01-25T01:59:59Z"]), [backup(24).name]);
    assert_eq!(chosen(&["--at", "2026-01-24 02:00:01 UTC"]), [backup(24).name]);
    assert_eq!(chosen(&["--at", "2026-01-24T03:00:00+02:00"]), [backup(23).name]);
    assert_eq!(chosen(&[&backup(24).name]), [backup(24).name]);
    assert_eq!(chosen(&["main_dump_20260123"]), [backup(23).name]);
    stores.list(&["--from", "near", "main_dump"]).assert().code(64).stdout("");
    stores.list(&["--from", "near", "other"]).assert().code(66).stdout("");
    stores.list(&["--from", "near", "--at", "2026-01-01T00:00:00Z"]).assert().code(66).stdout("");
    stores.list(&["--from", "near", "--at", "yesterday"]).assert().code(64).stdout("");
}

#[test]
fn filters_leave_the_others_out() {
    let stores = near_with(&[25]);
    let mut other = backup(24);
    other.produced.database = Some("blog".into());
    stores.seal("near", &other);
    assert_eq!(stores.names(&["--from", "near", "--database", "blog", "--latest"]), [other.name]);
    assert!(stores.names(&["--from", "near", "--kind", "base"]).is_empty());
    assert!(stores.names(&["--from", "near", "--database", "none"]).is_empty());
}

#[test]
fn f06_an_object_without_a_manifest_is_no_backup() {
    let stores = near_with(&[24, 25]);
    fs::remove_file(stores.file(25, ".json")).unwrap();
    assert_eq!(stores.names(&["--from", "near"]), [backup(24).name], "killed after the signature");
    fs::remove_file(stores.file(25, ".json.minisig")).unwrap();
    assert_eq!(stores.names(&["--from", "near", "--latest"]), [backup(24).name], "killed after the object");
}

#[test]
fn f71_a_changed_manifest_is_never_shown_as_good() {
    let stores = near_with(&[24, 25]);
    let changed = fs::read_to_string(stores.file(25, ".json")).unwrap().replace("\"shop\"", "\"evil\"");
    fs::write(stores.file(25, ".json"), changed).unwrap();
    let key = stores.public();
    let listed = stores.list(&["--from", "near", "-p", &key]).assert().code(81);
    assert_eq!(names(&listed.get_output().stdout), [backup(24).name], "the others are listed");
    let stderr = String::from_utf8(listed.get_output().stderr.clone()).unwrap();
    assert!(stderr.contains("the signature does not fit: the manifest was changed or forged"), "{stderr}");
    stores.list(&["--from", "near", "-p", &key, "--latest"]).assert().code(81).stdout("");
    stores.list(&["--from", "near", "-p", &key, &backup(25).name]).assert().code(81).stdout("");
    let older = stores.list(&["--from", "near", "-p", &key, &backup(24).name]).assert().code(0);
    assert_eq!(names(&older.get_output().stdout), [backup(24).name]);
    let older = stores.list(&["--from", "near", "-p", &key, "--at", "2026-01-24T12:00:00Z"]).assert().code(0);
    assert_eq!(names(&older.get_output().stdout), [backup(24).name], "a flaw after that time hides nothing");
}

#[test]
fn f71_a_damaged_manifest_never_reaches_the_parser_where_a_key_is_known() {
    let stores = near_with(&[25]);
    fs::write(stores.file(25, ".json"), "[".repeat(100_000)).unwrap();
    stores.list(&["--from", "near", "-p", &stores.public()]).assert().code(81);
    stores.list(&["--from", "near"]).assert().code(65);
    fs::write(stores.file(25, ".json"), vec![b' '; (1 << 20) + 1]).unwrap();
    stores.list(&["--from", "near", "-p", &stores.public()]).assert().code(65);
}

#[test]
fn f71_swapped_signatures_are_found_out() {
    let stores = near_with(&[24, 25]);
    let (a, b) = (fs::read(stores.file(24, ".json.minisig")).unwrap(), fs::read(stores.file(25, ".json.minisig")).unwrap());
    fs::write(stores.file(24, ".json.minisig"), b).unwrap();
    fs::write(stores.file(25, ".json.minisig"), a).unwrap();
    stores.list(&["--from", "near", "-p", &stores.public()]).assert().code(81).stdout("");
}

#[test]
fn f71_a_backup_whose_signature_is_missing_is_not_shown_but_warned_of() {
    let stores = near_with(&[24, 25]);
    fs::remove_file(stores.file(25, ".json.minisig")).unwrap();
    let listed = stores.list(&["--from", "near"]).assert().code(0).stderr(format!(
        "dr-list: warning: near: main/dump/{}.json has no signature and is passed over: not published, or tampered with\n",
        backup(25).name
    ));
    assert_eq!(names(&listed.get_output().stdout), [backup(24).name]);
    stores.list(&["--from", "near", &backup(25).name]).assert().code(81).stdout("");
}

#[test]
fn f71_a_manifest_signed_with_another_key_is_refused() {
    let stores = near_with(&[25]);
    let pair = tempfile::tempdir().unwrap();
    let made =
        std::process::Command::new("minisign").current_dir(&pair).args(["-GW", "-p", "k.pub", "-s", "k.key"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let key = pair.path().join("k.pub").display().to_string();
    stores.list(&["--from", "near", "-p", &key]).assert().code(81).stdout("");
    let both = format!("{key},{}", stores.public());
    assert_eq!(stores.names(&["--from", "near", "-p", &both]), [backup(25).name], "any of several trusted keys");
}

#[test]
fn f70_a_manifest_under_another_name_kind_or_cluster_is_refused() {
    let stores = near_with(&[25]);
    let bytes = [fs::read(stores.file(25, ".json")).unwrap(), fs::read(stores.file(25, ".json.minisig")).unwrap()];
    for place in ["near/main/dump/main_dump_20260126T020000Z_7f3a", &format!("near/main/base/{}", backup(25).name)] {
        let path = stores.path(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path.with_extension("json"), &bytes[0]).unwrap();
        fs::write(path.with_extension("json.minisig"), &bytes[1]).unwrap();
        let unchecked = stores.list(&["--from", "near"]).assert().code(65);
        assert_eq!(names(&unchecked.get_output().stdout), [backup(25).name]);
        fs::remove_file(path.with_extension("json")).unwrap();
        fs::remove_file(path.with_extension("json.minisig")).unwrap();
    }
}

#[test]
fn f70_a_manifest_whose_object_is_gone_or_of_another_size_is_refused() {
    let stores = near_with(&[24, 25]);
    fs::write(stores.file(25, ".tar.zst.age"), "short").unwrap();
    let listed = stores.list(&["--from", "near"]).assert().code(65);
    assert_eq!(names(&listed.get_output().stdout), [backup(24).name]);
    fs::remove_file(stores.file(25, ".tar.zst.age")).unwrap();
    stores.list(&["--from", "near", "--latest"]).assert().code(66).stdout("");
}

#[test]
fn f72_a_catalogue_older_than_one_seen_before_is_not_trusted() {
    let stores = near_with(&[24, 25]);
    let key = stores.public();
    assert_eq!(stores.names(&["--from", "near", "-p", &key]).len(), 2);
    for suffix in [".json", ".json.minisig", ".tar.zst.age"] {
        fs::remove_file(stores.file(25, suffix)).unwrap();
    }
    let listed = stores.list(&["--from", "near", "-p", &key]).assert().code(81);
    assert_eq!(names(&listed.get_output().stdout), [backup(24).name]);
    let stderr = String::from_utf8(listed.get_output().stderr.clone()).unwrap();
    assert!(
        stderr.contains(&format!("the newest backup is {}, but {} was seen there before", backup(24).name, backup(25).name)),
        "{stderr}"
    );
    stores.list(&["--from", "near", "-p", &key, "--latest"]).assert().code(81).stdout("");
    let older = stores.list(&["--from", "near", "-p", &key, &backup(24).name]).assert().code(0);
    assert_eq!(names(&older.get_output().stdout), [backup(24).name], "a backup that is named is another matter");
    fs::remove_file(stores.path("state/seen.json")).unwrap();
    assert_eq!(stores.names(&["--from", "near", "-p", &key, "--latest"]), [backup(24).name], "accepted as the hint says");
}

#[test]
fn f72_a_catalogue_that_is_emptied_is_noticed_even_without_a_cluster() {
    let stores = near_with(&[25]);
    let key = stores.public();
    stores.names(&["--from", "near", "-p", &key]);
    fs::remove_dir_all(stores.path("near/main")).unwrap();
    let mut all = Command::new(env!("CARGO_BIN_EXE_dr-list"));
    all.current_dir(stores.root.path()).env_clear().env("DR_STATE", stores.path("state")).args(["--from", "near", "-p", &key]);
    all.assert().code(81).stdout("");
}

#[test]
fn several_stores_are_one_list_and_the_nearest_shows_a_backup() {
    let stores = near_with(&[25]);
    stores.add("far");
    for day in [24, 25] {
        stores.seal("far", &backup(day));
    }
    let listed = stores.list(&["--from", "near", "--from", "far"]).assert().code(0).stderr("");
    let text = String::from_utf8(listed.get_output().stdout.clone()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines.len() == 2 && lines[0].contains(r#""store":"far""#) && lines[1].contains(r#""store":"near""#), "{text}");
    let table = stores.list(&["--from", "near,far", "--table", "--latest"]).assert().code(0);
    assert!(String::from_utf8_lossy(&table.get_output().stdout).trim_end().ends_with(" 2"));
    fs::write(stores.file(25, ".json"), "{}").unwrap();
    assert_eq!(names(&stores.list(&["--from", "near,far", "--latest"]).assert().code(0).get_output().stdout), [backup(25).name]);
}

#[test]
fn stores_that_disagree_on_a_backup_are_a_conflict() {
    let stores = near_with(&[25]);
    stores.add("far");
    let mut other = backup(25);
    other.produced.rows = Some(7);
    stores.seal("far", &other);
    let listed = stores.list(&["--from", "near,far"]).assert().code(65);
    assert_eq!(names(&listed.get_output().stdout), [backup(25).name]);
}

#[test]
fn a_store_that_is_gone_does_not_hide_the_other() {
    let stores = near_with(&[25]);
    let listed = stores.list(&["--from", "gone", "--from", "near"]).assert().failure();
    assert_eq!(names(&listed.get_output().stdout), [backup(25).name]);
    let latest = stores.list(&["--from", "gone", "--from", "near", "--latest"]).assert().code(0);
    assert_eq!(names(&latest.get_output().stdout), [backup(25).name]);
    assert!(latest.get_output().stderr.starts_with(b"dr-list: warning: "));
    stores.list(&["--from", "gone", "--latest"]).assert().failure().stdout("");
}

#[test]
fn no_store_named_is_a_usage_error() {
    Stores::new().list(&[]).assert().code(64).stdout("").stderr(
        "dr-list: error: no store is named\n\
         dr-list: hint: name one with --from STORE, or DR_FROM: a directory, or s3://BUCKET/PREFIX\n",
    );
}

#[test]
fn f03_a_reader_that_has_seen_enough_is_no_failure() {
    let stores =
        near_with(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28]);
    let tool = env!("CARGO_BIN_EXE_dr-list");
    let script = format!("{tool} --from near --cluster main | head -n 1 >/dev/null; {tool} --from near --cluster main | true");
    let ran = std::process::Command::new("bash")
        .args(["-o", "pipefail", "-c", &script])
        .current_dir(stores.root.path())
        .env("DR_STATE", stores.path("state"))
        .output()
        .unwrap();
    assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:?}");
}

#[test]
fn what_is_no_backup_is_passed_over() {
    let stores = near_with(&[25]);
    for junk in [
        "near/main/dump/..json",
        "near/main/dump/x.json.minisig",
        "near/main/wal/00000001/x.json",
        "near/notes.json",
        "near/.x/dump/y.json",
    ] {
        let path = stores.path(junk);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "{}").unwrap();
    }
    let listed = stores.list(&["--from", "near"]).assert().code(0);
    assert_eq!(names(&listed.get_output().stdout), [backup(25).name]);
    assert_eq!(backup(25).kind, Kind::Dump);
}

#[test]
fn runs_of_wal_are_listed_without_their_gaps() {
    let stores = Stores::new();
    stores.add("far");
    let segments = [("00000001", "0000000100000000000000FE"), ("00000001", "0000000100000000000000FF")];
    let later = [
        ("00000001", "000000010000000100000000"),
        ("00000001", "000000010000000100000002"),
        ("00000002", "000000020000000100000003"),
    ];
    for (timeline, name) in segments.into_iter().chain(later) {
        let folder = stores.path(&format!("near/main/wal/{timeline}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.zst.age")), b"xyz").unwrap();
        // A claim alone is no segment.
        fs::write(folder.join(format!("0000000100000001000000AA.{}.claim", "0".repeat(32))), b"").unwrap();
    }
    let listed = stores.list(&["--from", "near", "--from", "far", "--wal"]).assert().code(0);
    let records = record::read(&mut listed.get_output().stdout.as_slice()).unwrap();
    let runs: Vec<_> = records
        .into_iter()
        .map(|record| match record {
            record::Record::Wal(wal) => (wal.timeline, wal.first, wal.last, wal.segments, wal.stored_bytes),
            other => panic!("{other:?}"),
        })
        .collect();
    let run = |timeline, first: &str, last: &str, segments| (timeline, first.to_owned(), last.to_owned(), segments, 3 * segments);
    assert_eq!(
        runs,
        [
            run(1, "0000000100000000000000FE", "000000010000000100000000", 3),
            run(1, "000000010000000100000002", "000000010000000100000002", 1),
            run(2, "000000020000000100000003", "000000020000000100000003", 1),
        ]
    );
    let table = stores.list(&["--from", "near", "--wal", "--table"]).assert().code(0);
    let table = String::from_utf8(table.get_output().stdout.clone()).unwrap();
    assert!(table.contains("TIMELINE") && table.contains("0000000100000000000000FE"), "{table}");
    // One store that cannot be read is told once.
    let missing = stores.list(&["--from", "near", "--from", "nowhere", "--wal"]).assert().code(78);
    let told = String::from_utf8(missing.get_output().stderr.clone()).unwrap();
    assert_eq!(told.matches("nowhere").count(), 1, "{told}");
}

#[test]
fn what_is_marked_for_deletion_is_listed_apart() {
    let stores = near_with(&[24, 25]);
    let Manifest { cluster, kind, name, object, bytes, sha256, .. } = backup(24);
    let marked = Tombstone {
        format: tombstone::FORMAT,
        cluster,
        kind,
        name: name.clone(),
        object,
        sha256,
        bytes,
        reasons: vec!["no rule keeps it".into()],
        deleted_at: "2026-03-01T00:00:00Z".parse().unwrap(),
        not_before_at: "2026-03-04T00:00:00Z".parse().unwrap(),
        host: "admin".into(),
    };
    let (text, stem) = (marked.to_bytes(), marked.stem());
    fs::write(stores.path(&format!("near/{stem}.tombstone")), &text).unwrap();
    // Signed by who deletes: the key that signs backups can mark none.
    let key = stores.path("delete.key");
    fs::write(&key, include_str!("../../dr-delete/tests/delete.key")).unwrap();
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let key = SigningKey::load(&key.display().to_string()).unwrap();
    fs::write(stores.path(&format!("near/{stem}.tombstone.minisig")), tombstone::sign(&key, &text, &stem)).unwrap();
    let public = format!("{},{}", stores.public(), key.public_key());
    let near = ["--from", "near", "-p", &public];
    assert_eq!(stores.names(&near), [backup(25).name]);
    let deleted = stores.list(&[&near[..], &["--deleted"]].concat()).assert().code(0).stderr("");
    let records = record::read(&mut deleted.get_output().stdout.as_slice()).unwrap();
    let [record::Record::Deleted(deleted)] = &records[..] else { panic!("{records:?}") };
    assert_eq!(
        (deleted.state.as_str(), deleted.name.as_deref(), deleted.not_before_at),
        ("marked", Some(&*name), Some(marked.not_before_at))
    );
    let table = stores.list(&[&near[..], &["--deleted", "--table"]].concat()).assert().code(0);
    let table = String::from_utf8(table.get_output().stdout.clone()).unwrap();
    assert!(table.contains("GOES AFTER (UTC)") && table.contains("2026-03-04 00:00:00"), "{table}");
    // Who names it gets it.
    stores.list(&[&near[..], &[&name]].concat()).assert().code(0);
}
