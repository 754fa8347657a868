//! What of a store is trusted, and what is said of the rest?
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use assert_cmd::Command;
use dr_pipe::record::Kind;
use support::{backup, names, near_with};

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
fn f72_what_was_seen_is_not_forgotten_in_silence() {
    let stores = near_with(&[24, 25]);
    let arguments = ["--from", "near", "-p", &stores.public()];
    let said = |code| String::from_utf8(stores.list(&arguments).assert().code(code).get_output().stderr.clone()).unwrap();
    assert_eq!(said(0), "");
    for rubbish in ["", "{", "[]"] {
        fs::write(stores.path("state/seen.json"), rubbish).unwrap();
        let stderr = said(0);
        assert!(stderr.contains("state/seen.json cannot be read any more (") && stderr.contains("it begins anew"), "{stderr}");
        assert_eq!(said(0), "", "it has begun anew");
    }
    for suffix in [".json", ".json.minisig", ".tar.zst.age"] {
        fs::remove_file(stores.file(25, suffix)).unwrap();
    }
    said(81);
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
