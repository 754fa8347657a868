//! dr-copy of bases: the WAL that one cannot do without comes along, first.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::process::Output;

use dr_pipe::record::Manifest;
use dr_testing::s3::{BUCKET, Moto, S3sFs};
use dr_wal::{Lsn, Timeline, WalName};
use support::wal::{BYTES, Wal, name};
use support::{copied, manifest_of, run, states, stderr_of};

const BASE: &str = "main_base_20260125T020000Z_7f3a";
const LATER: &str = "main_base_20260126T020000Z_9b1c";

/// A base of the second timeline, whose WAL lies from somewhere in one segment to the end of another.
fn base(name: &str, first: u32, last: u32, wal: &str) -> Manifest {
    let lsn = |byte: u32| Lsn(byte.into()).to_string();
    let mut fields = serde_json::to_value(manifest_of(name, b"base")).unwrap();
    fields["kind"] = "base".into();
    fields["produced"] = serde_json::json!({
        "kind": "base", "taken_at": "2026-01-25T02:00:00Z", "suffix": "tar.zst", "system_identifier": "7",
        "base": {
            "timeline": 2, "start_lsn": lsn(first * BYTES + 0x28), "stop_lsn": lsn((last + 1) * BYTES), "wal": wal,
            "started_at": "2026-01-25T01:00:00Z", "stopped_at": "2026-01-25T02:00:00Z", "wal_segment_bytes": BYTES,
            "page_bytes": 8192, "page_checksums": true, "from_standby": false, "tablespaces": [], "damaged_pages": 0,
            "catalog_version": 202209061, "files": 1,
            "settings": { "max_connections": 100, "max_worker_processes": 8, "max_wal_senders": 10,
                "max_prepared_transactions": 0, "max_locks_per_transaction": 64 },
        },
    });
    serde_json::from_value(fields).unwrap()
}

/// WAL of three timelines, and a base that needs three segments of the second.
fn world(kept: &str) -> Wal {
    let wal = Wal::new();
    wal.put("near", WalName::History(Timeline(2)), b"1\t0/300100\tx\n");
    wal.put("near", WalName::History(Timeline(3)), b"1\t0/300100\tx\n2\t0/900100\tx\n");
    wal.fill("near", 1, 1..4);
    wal.fill("near", 2, 3..10);
    wal.fill("near", 3, 9..10);
    for number in [4, 5] {
        let backup = WalName::Backup { segment: name(2, number), offset: 0x28 };
        wal.put("near", backup, b"START WAL LOCATION: 0/500028 (file 000000020000000000000005)\n");
    }
    wal.world.seal("near", &base(BASE, 5, 7, kept), b"base");
    wal
}

fn copy(wal: &Wal, arguments: &str) -> Output {
    run(&mut wal.world.command(&format!("--cluster main --kind base {arguments} {BASE}")), b"")
}

/// Whether a base, and the WAL that it needs, are all that a store has of the cluster, byte for byte as in the source.
fn has_it_alone(wal: &Wal, store: &str) {
    let mut expected = wal.world.files("near");
    expected.retain(|key, _| {
        let needed = ["00000002.history", "0005.", "0006.", "0007.", "/system."].iter().any(|part| key.contains(part));
        key.starts_with("main/base/") || key.starts_with("main/wal/") && !key.contains("/00000001/") && needed
    });
    // The base; the history, three segments, and where the backup began; and which system it is.
    assert_eq!(expected.len(), 3 + 5 * 2 + 2);
    let mut there = wal.world.files(store);
    there.retain(|key, _| key != "main/RECOVERY.txt" && !key.contains(".tmp-"));
    assert!(there == expected, "{:?}\n{:?}", there.keys(), expected.keys());
}

#[test]
fn a_base_brings_the_wal_that_it_needs_and_no_other() {
    for kept in ["archived", "verified"] {
        let wal = world(kept);
        let output = copy(&wal, "--to far --to third");
        assert_eq!((stderr_of(&output, 0).as_str(), states(&output)), ("", vec!["copied far".into(), "copied third".into()]));
        has_it_alone(&wal, "far");
        has_it_alone(&wal, "third");
        let written: usize = wal.world.files("far").values().map(Vec::len).sum();
        let system: usize = wal.world.files("far").iter().filter(|(key, _)| key.contains("/system.")).map(|(_, it)| it.len()).sum();
        for record in copied(&output) {
            assert_eq!((record.objects, record.bytes as usize), (16, written - system));
        }
        assert_eq!(states(&copy(&wal, "--to far")), ["present far"]);

        // A base that is there without it gets it later, from whoever has it.
        fs::remove_dir_all(wal.world.path("far/main/wal")).unwrap();
        fs::remove_dir_all(wal.world.path("near/main/wal")).unwrap();
        let output = copy(&wal, "--from near --from third --to far");
        assert_eq!((stderr_of(&output, 0).as_str(), copied(&output)[0].objects), ("", 12));
        // And where the target has it, nobody else needs to.
        assert_eq!(states(&copy(&wal, "--to far")), ["present far"]);
    }
}

#[test]
fn a_base_that_has_its_wal_inside_brings_none() {
    let wal = world("inside");
    let output = copy(&wal, "--to far");
    assert_eq!((stderr_of(&output, 0).as_str(), copied(&output)[0].objects), ("", 4));
    assert!(wal.names("far").is_empty());
}

#[test]
fn f47_a_base_whose_wal_is_missing_is_not_copied() {
    let wal = world("archived");
    let (objects, _) = wal.paths("near", "000000020000000000000006");
    let bytes = fs::read(&objects[0]).unwrap();
    fs::remove_file(&objects[0]).unwrap();
    let output = copy(&wal, "--to far");
    let stderr = stderr_of(&output, 66);
    assert!(stderr.contains("could not be restored from far: 000000020000000000000006") && stderr.contains(BASE), "{stderr}");
    assert!(copied(&output).is_empty() && wal.world.names("far").is_empty(), "{:?}", wal.world.names("far"));
    // What is damaged is as good as missing.
    fs::write(&objects[0], bytes).unwrap();
    wal.world.damage(&objects[0]);
    let output = copy(&wal, "--to far");
    let stderr = stderr_of(&output, 65);
    assert!(stderr.contains(BASE) && stderr.contains("000000020000000000000006"), "{stderr}");
    assert!(copied(&output).is_empty() && !wal.world.names("far").iter().any(|key| key.starts_with("main/base/")));
}

#[test]
fn with_all_wal_that_of_a_base_is_copied_once() {
    let wal = world("verified");
    // Both need the same segment.
    wal.world.seal("near", &base(LATER, 7, 8, "verified"), b"base");
    let mut records = Vec::new();
    for manifest in [base(BASE, 5, 7, "verified"), base(LATER, 7, 8, "verified")] {
        let backup = dr_pipe::record::Backup { store: "near".into(), signature: dr_pipe::record::SignatureState::Good, manifest };
        dr_pipe::record::write(&mut records, &dr_pipe::record::Record::Backup(Box::new(backup))).unwrap();
    }
    let output = run(&mut wal.world.command("--wal --to far"), &records);
    assert_eq!(stderr_of(&output, 0), "");
    let objects: u64 = copied(&output).iter().map(|it| it.objects).sum();
    let far = wal.world.files("far");
    assert_eq!((objects as usize, copied(&output).len()), (far.len(), 3));
    assert!(wal.names("near").iter().all(|key| far.contains_key(key)));
}

#[test]
fn f05_a_run_that_is_killed_anywhere_shows_no_base_without_its_wal_and_the_next_completes_it() {
    let wal = world("archived");
    let mut kills = 0;
    for n in 1.. {
        let line = format!(
            "exec strace -f -qq -o /dev/null -e trace=linkat -e inject=linkat:signal=KILL:when={n} \
             $COPY --cluster main --kind base --jobs 1 --to {n} {BASE}"
        );
        let output = wal.world.shell(&line).env("DR_STATE", format!("state{n}")).output().unwrap();
        let (far, killed) = (n.to_string(), output.status.code() != Some(0));
        if wal.world.names(&far).contains(&format!("main/base/{BASE}.json")) {
            has_it_alone(&wal, &far);
        }
        if !killed {
            break;
        }
        kills += 1;
        stderr_of(&copy(&wal, &format!("--to {far}")), 0);
        has_it_alone(&wal, &far);
    }
    assert!(kills >= 15, "{kills} kills");
}

#[test]
fn in_a_bucket_too_and_with_the_base_in_cold_storage_its_wal_stays_readable() {
    let (wal, server) = (world("archived"), S3sFs::start());
    let with = |arguments: &str| {
        let mut command = wal.world.command(&format!("--cluster main --kind base {arguments} {BASE}"));
        run(command.envs(server.environment()), b"")
    };
    let output = with("--to s3://dr-test/pg");
    assert_eq!((stderr_of(&output, 0).as_str(), copied(&output)[0].objects), ("", 16));
    assert_eq!(states(&with("--to s3://dr-test/pg")), ["present s3://dr-test/pg"]);
    stderr_of(&with("--from s3://dr-test/pg --to back"), 0);
    has_it_alone(&wal, "back");

    let moto = Moto::start();
    let arguments = format!("--cluster main --kind base --to s3://dr-test/pg --storage-class DEEP_ARCHIVE {BASE}");
    let output = run(wal.world.command(&arguments).envs(moto.environment()), b"");
    assert_eq!((stderr_of(&output, 0).as_str(), copied(&output)[0].storage_class.as_deref()), ("", Some("DEEP_ARCHIVE")));
    let class = |key: &str| moto.send("HEAD", &format!("/{BUCKET}/pg/{key}"), "").to_lowercase();
    assert!(class(&format!("main/base/{BASE}.tar.zst.age")).contains("deep_archive"));
    let names = wal.names("back");
    assert!(names.iter().all(|key| class(key).starts_with("http/1.1 200") && !class(key).contains("deep_archive")), "{names:?}");
    // A missing segment is told from a server as well.
    let (objects, _) = wal.paths("near", &segment_name());
    fs::remove_file(&objects[0]).unwrap();
    let output = with("--to s3://dr-test/other");
    assert!(stderr_of(&output, 66).contains(&segment_name()));
    assert!(!server.directory().join("data").join(BUCKET).join("other").exists(), "nothing was written");
}

fn segment_name() -> String {
    name(2, 7).to_string()
}
