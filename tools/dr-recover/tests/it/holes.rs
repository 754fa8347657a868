//! What cannot be recovered is refused before anything is written.

use std::fs;
use std::io::Read;
use std::sync::Arc;

use dr_archive::{Contents, Options, Reader, Writer};
use dr_pipe::Sha256;
use serde_json::{Value, json};

use crate::fixture::{Source, run};

#[test]
fn f47_a_hole_is_named_with_what_can_be_reached() {
    let source = Source::start(15);
    let base = source.base();
    source.row(1);
    let at = source.now();
    source.row(2);
    source.archived();
    let first = source.sql("SELECT pg_walfile_name(pg_current_wal_lsn() + 1)");
    source.row(3);
    source.archived();
    source.row(4);
    source.archived();
    source.lose(&first);
    let ran = run(&mut source.recover("x", &[]));
    let said = ran.ends(66);
    assert!(said.contains(&format!("the WAL has a hole: {first} is missing")), "{said}");
    assert!(said.contains(&format!("hint: {base} reaches from")) && said.contains("nothing was written"), "{said}");
    assert!(!source.path("x").exists());
    let late = source.now();
    let ran = run(&mut source.recover("x", &["--target-time", &late]));
    assert!(ran.ends(66).contains("has a hole before it"), "{}", ran.stderr);
    // Up to the hole all is well.
    let (recovered, _) = source.arrive("x", &["--target-time", &at]);
    assert_eq!(recovered.rows(), "1");
}

#[test]
fn f47_a_hole_between_streamed_pieces_is_no_end() {
    let source = Source::start(15);
    source.base();
    source.row(1);
    let at = source.now();
    source.row(2);
    source.archived();
    let next = source.sql("SELECT pg_walfile_name(pg_current_wal_lsn() + 1)");
    let pieces = source.path("store/main/wal/00000001").join(format!("{next}.part"));
    fs::create_dir(&pieces).unwrap();
    fs::write(pieces.join("00002000-00003000.a1b2.zst.age"), b"behind what is missing").unwrap();
    let ran = run(&mut source.recover("x", &["--preflight"]));
    assert!(ran.ends(66).contains(&format!("the WAL has a hole: {next} is missing")), "{}", ran.stderr);
    let (recovered, _) = source.arrive("x", &["--target-time", &at]);
    assert_eq!(recovered.rows(), "1");
}

#[test]
fn f47_what_was_streamed_of_a_segment_is_not_the_whole_of_it() {
    let source = Source::start(15);
    source.base();
    source.row(1);
    let at = source.now();
    source.row(2);
    source.archived();
    source.row(3);
    source.shell("cp -a store other");
    let (segment, _) = source.streamed("other");
    source.row(4);
    source.archived();
    let both = ["--from", "other"];
    let (recovered, _) = source.arrive("whole", &both);
    assert_eq!(recovered.rows(), "1 2 3 4");
    drop(recovered);
    source.shell(&format!("cd store/main/wal/00000001 && chmod u+w {segment}.zst.age && truncate -s 500 {segment}.zst.age"));
    let ran = run(&mut source.recover("x", &both));
    assert!(ran.ends(65).contains(&format!("{segment} is there, and cannot be used: ")), "{}", ran.stderr);
    assert!(!source.path("x").exists());
    // Of a damaged piece there is no whole at all: what lies before is reached.
    source.lose(&segment.to_string());
    source.shell(&format!("cd other/main/wal/00000001/{segment}.part && chmod u+w * && truncate -s 100 *"));
    let ran = run(&mut source.recover("x", &both));
    assert!(ran.ends(81).contains(&format!("{segment} is there, and cannot be used: ")), "{}", ran.stderr);
    let (recovered, _) = source.arrive("before", &["--from", "other", "--target-time", &at]);
    assert_eq!(recovered.rows(), "1");
    drop(recovered);
    let (recovered, _) = source.arrive("without", &["--from", "other", "--no-partial"]);
    assert_eq!(recovered.rows(), "1 2");
}

#[test]
fn f45_two_contents_are_told_apart_by_whoever_knows_in_one_store_and_in_two() {
    let source = Source::start(15);
    source.base();
    source.row(1);
    let segment = source.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    source.archived();
    source.row(2);
    source.archived();
    source.shell("cp -a store other && cp -a store right");
    let place = source.server.data_dir().join("pg_wal").join(&segment);
    let right = fs::read(&place).unwrap();
    let mut wrong = right.clone();
    *wrong.last_mut().unwrap() ^= 1;
    fs::write(source.path(&segment), &wrong).unwrap();
    let push = "-R recipients -s main.key --cluster main --ahead 0";
    source.shell(&format!("! dr-wal-push $PWD/{segment} --to store {push} 2> refused"));
    let ran = run(&mut source.recover("x", &["--preflight"]));
    assert!(ran.ends(65).contains("--prefer-content"), "{}", ran.stderr);
    let digest = Sha256::of(&right).to_string();
    let (recovered, _) = source.arrive("x", &["--prefer-content", &digest]);
    assert_eq!(recovered.rows(), "1 2");
    drop(recovered);
    // Another one in another store: no option says which.
    source.shell("rm -r store && mv right store");
    source.shell(&format!("cd other/main/wal/00000001 && chmod u+w . * && rm {segment}.*"));
    source.shell(&format!("dr-wal-push $PWD/{segment} --to other {push}"));
    let ran = run(&mut source.recover("y", &["--from", "other"]));
    assert!(ran.ends(65).contains(&format!("{segment} is one in store and another in other")), "{}", ran.stderr);
    run(&mut source.recover("y", &["--preflight"])).ends(0);
}

#[test]
fn what_was_claimed_and_is_in_no_store_is_told() {
    let source = Source::start(15);
    source.base();
    source.row(1);
    source.archived();
    let last = source.sql("SELECT pg_walfile_name(pg_current_wal_lsn() + 1)");
    source.row(2);
    source.archived();
    assert!(!run(&mut source.recover("x", &["--preflight"])).stderr.contains("claimed"));
    fs::remove_file(source.path("store/main/wal/00000001").join(format!("{last}.zst.age"))).unwrap();
    let ran = run(&mut source.recover("x", &["--preflight"]));
    assert!(ran.ends(0).contains(&format!("warning: {last}: claimed, and in no store")), "{}", ran.stderr);
}

#[test]
fn f47_a_store_that_cannot_be_asked_may_have_what_is_missing_or_know_a_newer_timeline() {
    let source = Source::start(15);
    source.base();
    source.row(1);
    let at = source.now();
    source.row(2);
    source.archived();
    let missing = source.sql("SELECT pg_walfile_name(pg_current_wal_lsn() + 1)");
    source.row(3);
    source.archived();
    source.row(4);
    source.archived();
    let late = source.now();
    let also = |args: &[&str]| {
        let mut command = source.recover("x", &["--preflight", "--from", "s3://gone/pg", "--endpoint-url", "http://127.0.0.1:1"]);
        command.envs([("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_REGION", "us-east-1")]);
        run(command.args(["--patience", "1"]).args(args))
    };
    let said = also(&["--target-time", &at]);
    assert!(said.ends(69).contains("s3://gone/pg may know of a newer timeline, and cannot be asked"), "{}", said.stderr);
    assert!(said.stderr.contains("hint: wait for it, or say which timeline is right: --timeline 1 "), "{}", said.stderr);
    assert!(also(&["--target-time", &at, "--timeline", "1"]).ends(0).contains("s3://gone/pg is left out"));
    also(&["--target", "immediate"]).ends(0);
    source.lose(&missing);
    let said = also(&["--target-time", &late, "--timeline", "1"]);
    assert!(said.ends(69).contains("s3://gone/pg may have more, and cannot be asked"), "{}", said.stderr);
}

#[test]
fn f83_what_lies_outside_of_the_window_is_refused() {
    let source = Source::start(18);
    let early = source.now();
    let base = source.base();
    source.row(1);
    source.archived();
    let ran = run(&mut source.recover("x", &["--target-time", &early]));
    let said = ran.ends(66);
    assert!(
        said.contains("lies before the end of the first backup") && said.contains(&format!("hint: {base} reaches from")),
        "{said}"
    );
    for (args, words) in [
        (["--target-time", "2999-01-01T00:00:00Z"], "is not reached: the WAL ends at"),
        (["--target-lsn", "FF/0"], "is not reached: the WAL ends at"),
        (["--target-xid", "4000000000"], "transaction 4000000000 is not in the WAL"),
        (["--target-name", "nothing"], "restore point \"nothing\" is not in the WAL"),
        (["--backup", "nothing"], "nothing"),
    ] {
        let ran = run(source.recover("x", &[]).args(args));
        assert!(ran.ends(66).contains(words), "{}", ran.stderr);
    }
    assert!(!source.path("x").exists());
}

#[test]
fn f49_wal_that_cannot_be_fetched_never_leads_to_a_promoted_server() {
    let source = Source::start(15);
    source.base();
    source.row(1);
    source.archived();
    let damaged = source.sql("SELECT pg_walfile_name(pg_current_wal_lsn() + 1)");
    source.row(2);
    source.archived();
    source.row(3);
    source.archived();
    let object = source.path("store/main/wal/00000001").join(format!("{damaged}.zst.age"));
    let good = fs::read(&object).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    fs::remove_file(&object).unwrap();
    fs::write(&object, &bad).unwrap();
    let ran = run(&mut source.recover("x", &["--start", "--wait", "-j1"]));
    let said = ran.ends(65);
    assert!(said.contains("the server ended") && said.contains(&damaged), "{said}");
    assert!(!source.path("x/postmaster.pid").exists());
    // Once it can be fetched again, the server goes on.
    fs::write(&object, &good).unwrap();
    let pg_ctl = source.server.bin("pg_ctl").display().to_string();
    let data = source.path("x").display().to_string();
    source.shell(&format!("{pg_ctl} start -w -s -D x -l x/log -o '-c port=5432 -c unix_socket_directories={data}'"));
    let rows = source.shell(&format!("psql -XAtq -h {data} -U postgres -d postgres -c 'SELECT count(*) FROM t'"));
    source.shell(&format!("{pg_ctl} stop -s -D x -m immediate"));
    assert_eq!(rows.trim(), "3");
}

#[test]
fn f82_a_backup_without_backup_label_is_not_restored() {
    let source = Source::start(15);
    source.shell("DR_RECEIPT=$PWD/receipt dr-base postgres > base");
    let lines = fs::read_to_string(source.path("receipt")).unwrap();
    let mut records: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // The same, all digests right, but for the label.
    let good = fs::read(source.path("base")).unwrap();
    let contents = Arc::new(Contents::open(&mut &good[..], good.len() as u64, None).unwrap());
    let mut reader = Reader::new(Arc::clone(&contents), &good[..]);
    let writer = Writer::new(Vec::new(), Options::new(contents.taken_at_unix_seconds()));
    for member in contents.members().filter(|member| member.path != "backup_label") {
        if member.is_directory() {
            writer.directory(&member.path).unwrap();
            continue;
        }
        let mut bytes = Vec::new();
        reader.read(member).read_to_end(&mut bytes).unwrap();
        writer.small(&member.path, None, &bytes).unwrap();
    }
    let (bad, finished) = writer.finish().unwrap();
    let receipt = records.last_mut().unwrap();
    receipt["out"] = json!({ "bytes": bad.len(), "sha256": Sha256::of(&bad) });
    receipt["produced"]["archive"] = serde_json::to_value(finished.root).unwrap();
    fs::write(source.path("bad"), &bad).unwrap();
    let text: String = records.iter().map(|record| format!("{record}\n")).collect();
    fs::write(source.path("receipt"), text).unwrap();
    source.shell(
        "export DR_RECEIPT=$PWD/receipt; dr-push --to store --cluster main < bad; dr-seal --cluster main -s main.key < receipt",
    );
    source.archived();
    let ran = run(&mut source.recover("x", &[]));
    assert!(ran.ends(65).contains("has no backup_label"), "{}", ran.stderr);
    assert!(!source.path("x").exists());
}
