//! What is marked for deletion?
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use dr_catalogue::{RangeTombstone, SigningKey, Tombstone, tombstone};
use dr_pipe::record::{self, Deleted, Manifest};
use support::{Stores, backup, near_with};

/// The key of whoever deletes: that which signs backups can mark none.
fn delete_key(stores: &Stores) -> SigningKey {
    let key = stores.path("delete.key");
    fs::write(&key, include_str!("../../dr-delete/tests/delete.key")).unwrap();
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    SigningKey::load(&key.display().to_string()).unwrap()
}

/// Writes a tombstone into a store.
fn mark(stores: &Stores, store: &str, key: &SigningKey, text: &[u8], stem: &str) {
    let path = |suffix: &str| stores.path(&format!("{store}/{stem}.tombstone{suffix}"));
    fs::create_dir_all(path("").parent().unwrap()).unwrap();
    fs::write(path(""), text).unwrap();
    fs::write(path(".minisig"), tombstone::sign(key, text, stem)).unwrap();
}

fn range(first: u64, last: u64) -> RangeTombstone {
    RangeTombstone {
        format: tombstone::FORMAT,
        cluster: "main".into(),
        timeline: 1,
        first: format!("0000000100000000{first:08X}"),
        last: format!("0000000100000000{last:08X}"),
        reasons: vec!["no kept base needs it".into()],
        deleted_at: "2026-03-01T00:00:00Z".parse().unwrap(),
        not_before_at: "2026-03-05T00:00:00Z".parse().unwrap(),
        host: "admin".into(),
    }
}

/// The records that are printed, and what is said beside them.
fn deleted(stores: &Stores, arguments: &[&str]) -> (Vec<Deleted>, String) {
    let output = stores.list(&[arguments, &["--deleted"]].concat()).assert().code(0);
    let deleted = |record| if let record::Record::Deleted(deleted) = record { *deleted } else { panic!("{record:?}") };
    let records = record::read(&mut output.get_output().stdout.as_slice()).unwrap();
    (records.into_iter().map(deleted).collect(), String::from_utf8_lossy(&output.get_output().stderr).into_owned())
}

#[test]
fn wal_that_is_marked_is_listed_with_the_backups_of_every_store() {
    let stores = near_with(&[24, 25]);
    stores.add("far");
    let key = delete_key(&stores);
    let marked = range(1, 0xA);
    for store in ["near", "far"] {
        mark(&stores, store, &key, &marked.to_bytes(), &marked.stem());
    }
    let public = format!("{},{}", stores.public(), key.public_key());
    let both = ["--from", "near", "--from", "far", "-p", &public];
    let (told, said) = deleted(&stores, &both);
    let shown: Vec<_> = told.iter().map(|told| (told.store.as_str(), told.first.as_deref(), told.last.as_deref())).collect();
    let (first, last) = (Some(marked.first.as_str()), Some(marked.last.as_str()));
    assert_eq!((shown, said.as_str()), (vec![("near", first, last), ("far", first, last)], ""));
    assert!(
        told.iter().all(|told| told.state == "marked" && told.name.is_none() && told.not_before_at == Some(marked.not_before_at))
    );
    let table = stores.list(&[&both[..], &["--deleted", "--table"]].concat()).assert().code(0);
    let table = String::from_utf8(table.get_output().stdout.clone()).unwrap();
    let line = format!("{}-{}  2026-03-01 00:00:00  2026-03-05 00:00:00  near", marked.first, marked.last);
    assert!(table.lines().any(|shown| shown == line), "{table}");
    // It is of no kind and no database.
    for narrowed in [["--kind", "dump"], ["--database", "shop"]] {
        assert_eq!(deleted(&stores, &[&both[..], &narrowed].concat()).0, []);
    }
    // One store that cannot be read does not hide the other.
    let output = stores.list(&["--from", "near", "--from", "nowhere", "-p", &public, "--deleted"]).assert().code(78);
    assert!(String::from_utf8_lossy(&output.get_output().stdout).contains(&marked.first));
}

#[test]
fn a_range_that_nobody_who_is_trusted_has_marked_is_not_listed() {
    let stores = near_with(&[24, 25]);
    let key = delete_key(&stores);
    let (marked, swapped) = (range(1, 9), range(0x10, 0x12));
    mark(&stores, "near", &key, &marked.to_bytes(), &marked.stem());
    // With the host's key alone nobody knows who has signed; with none all is believed.
    let (told, said) = deleted(&stores, &["--from", "near", "-p", &stores.public()]);
    assert!(told.is_empty() && said.contains("signed with key") && said.contains("; it marks nothing"), "{said}");
    assert_eq!(deleted(&stores, &["--from", "near"]).0.len(), 1);
    // Moved to another range.
    let public = format!("{},{}", stores.public(), key.public_key());
    let path = |stem: &str, suffix: &str| stores.path(&format!("near/{stem}.tombstone{suffix}"));
    for suffix in ["", ".minisig"] {
        fs::copy(path(&marked.stem(), suffix), path(&swapped.stem(), suffix)).unwrap();
    }
    let (told, said) = deleted(&stores, &["--from", "near", "-p", &public]);
    assert_eq!(told.len(), 1);
    assert!(said.contains("the signature is that of another tombstone; it marks nothing"), "{said}");
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
    // Signed by who deletes: the key that signs backups can mark none.
    let key = delete_key(&stores);
    mark(&stores, "near", &key, &marked.to_bytes(), &marked.stem());
    let public = format!("{},{}", stores.public(), key.public_key());
    let near = ["--from", "near", "-p", &public];
    assert_eq!(stores.names(&near), [backup(25).name]);
    let (told, said) = deleted(&stores, &near);
    let ([deleted], "") = (&told[..], said.as_str()) else { panic!("{told:?} {said}") };
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
