//! What does a store show, and to whom?
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use dr_pipe::record::{self, Kind};
use support::{Stores, backup, names, near_with};

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
    let warning = "dr-list: warning: no backup of cluster main is there; without --cluster all clusters are listed\n";
    stores.list(&["--from", "near"]).assert().code(0).stdout("").stderr(warning);
    stores.list(&["--from", "near", "--deleted"]).assert().code(0).stdout("").stderr("");
    stores.list(&["--from", "near", "--latest"]).assert().code(66).stdout("").stderr(
        "dr-list: error: no backup is there\n\
         dr-list: hint: see whether the store, the cluster and the database are right: dr-list --from STORE alone shows all there are\n",
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
    let warning = "dr-list: warning: no backup of kind base of cluster main is there; without --cluster all clusters are listed\n";
    stores.list(&["--from", "near", "--kind", "base"]).assert().code(0).stdout("").stderr(warning);
}

#[test]
fn a_database_that_no_backup_is_of_is_told_with_those_there_are() {
    let stores = Stores::new();
    for (day, database) in (20..).zip(["blog", "hotel", "shop", "crm", "mail", "wiki", "ads"]) {
        let mut made = backup(day);
        made.produced.database = Some(database.into());
        stores.seal("near", &made);
    }
    let said = "no backup is of database shpo; there are backups of ads, blog, crm, hotel, mail and 2 more\n";
    let hint = "dr-list: hint: say another one with --database; dr-list shows all backups there are\n";
    let list = |words: &[&str]| stores.list(&[&["--from", "near", "--database", "shpo"], words].concat()).assert();
    for one in [&["--latest"][..], &["--at", "2026-01-25T03:00:00Z"], &["main_dump_20260120"]] {
        let said = if one[0].starts_with("--") { said } else { "no backup is of database shpo; there are backups of blog\n" };
        list(one).code(66).stdout("").stderr(format!("dr-list: error: {said}{hint}"));
    }
    list(&[]).code(0).stdout("").stderr(format!("dr-list: warning: {said}"));
    // Where nothing is at all, it is another reason.
    let other = list(&["--kind", "base"]).code(0).stdout("");
    let stderr = String::from_utf8_lossy(&other.get_output().stderr).into_owned();
    assert!(stderr.starts_with("dr-list: warning: no backup of kind base of database shpo of cluster main is there"), "{stderr}");
    let nothing = list(&["--kind", "base", "--latest"]).code(66);
    assert!(String::from_utf8_lossy(&nothing.get_output().stderr).starts_with("dr-list: error: no backup is there\n"));
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
    // What was streamed: of a segment that is there, of one that is not, and what comes behind a hole in it.
    let folder = stores.path("near/main/wal/00000002");
    for (segment, pages) in
        [("03", "00000000-00001000"), ("04", "00000000-00001000"), ("04", "00001000-00002000"), ("04", "00003000-00004000")]
    {
        let segment = folder.join(format!("0000000200000001000000{segment}.part"));
        fs::create_dir_all(&segment).unwrap();
        fs::write(segment.join(format!("{pages}.a1b2.zst.age")), b"xyz").unwrap();
    }
    let listed = stores.list(&["--from", "near", "--from", "far", "--wal"]).assert().code(0);
    let records = record::read(&mut listed.get_output().stdout.as_slice()).unwrap();
    let mut until = Vec::new();
    let runs: Vec<_> = records
        .into_iter()
        .map(|record| match record {
            record::Record::Wal(wal) => {
                until.push(wal.until_lsn.unwrap());
                (wal.timeline, wal.first, wal.last, wal.segments, wal.stored_bytes)
            }
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
            (2, "000000020000000100000004".into(), "000000020000000100000004".into(), 0, 9),
        ]
    );
    assert_eq!(until, ["1/1000000", "1/3000000", "1/4000000", "1/4002000"]);
    let table = stores.list(&["--from", "near", "--wal", "--table"]).assert().code(0);
    let table = String::from_utf8(table.get_output().stdout.clone()).unwrap();
    assert!(table.contains("TIMELINE") && table.contains("0000000100000000000000FE"), "{table}");
    assert!(table.contains("streamed") && table.contains("1/4002000"), "{table}");
    // One store that cannot be read is told once.
    let missing = stores.list(&["--from", "near", "--from", "nowhere", "--wal"]).assert().code(78);
    let told = String::from_utf8(missing.get_output().stderr.clone()).unwrap();
    assert_eq!(told.matches("nowhere").count(), 1, "{told}");
}
