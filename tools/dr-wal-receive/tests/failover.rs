//! Another timeline, another server, WAL that is gone, and servers that are not the right ones.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::process::Command;

use dr_pipe::Exit;
use dr_testing::postgres::{Server, usual_majors};
use dr_wal::{Lsn, SegmentName, Shelved, Timeline, WalName};
use support::{Rig, SIZE, archiving, end, eventually, load};

fn lsn(server: &Server, sql: &str) -> Lsn {
    server.psql("postgres", sql).parse().unwrap()
}

#[test]
fn a_promotion_ends_one_timeline_and_the_next_is_gone_on_with() {
    for major in usual_majors() {
        let (server, rig) = (archiving(major, &[("wal_keep_size", "1GB")]), Rig::new());
        let receiver = rig.start(&server.conninfo("postgres"), &[]);
        load(&server, 2);
        eventually("it has a segment", || !rig.segments(1).is_empty());
        server.stop(false);
        fs::write(server.data_dir().join("standby.signal"), "").unwrap();
        server.restart();
        eventually("it streams from a standby", || server.psql("postgres", "SELECT count(*) FROM pg_stat_replication") == "1");
        server.psql("postgres", "SELECT pg_promote()");
        let end = load(&server, 2);
        eventually("the new timeline is stored", || rig.holds_without_a_gap(2, end));

        let history = rig.read(WalName::History(Timeline(2))).unwrap().0;
        assert_eq!(history, fs::read(server.data_dir().join("pg_wal/00000002.history")).unwrap());
        let at = dr_wal::History::parse(Timeline(2), &history).unwrap().parent().unwrap().at;
        let last = SegmentName::containing(Timeline(1), at, SIZE);
        let partial = rig.read(WalName::Partial(last)).unwrap().0;
        assert_eq!(partial.len() as u64, SIZE.bytes());
        // Up to the switch both timelines are one, byte by byte.
        let first = rig.read(SegmentName { timeline: Timeline(2), ..last }).unwrap().0;
        let common = usize::try_from(at.0 - last.start(SIZE).0).unwrap();
        assert!(partial[..common] == first[..common] && partial[common..].iter().all(|byte| *byte == 0));
        assert!(rig.holds_without_a_gap(1, last.start(SIZE)));
        rig.equals_archive(&server, 1);
        rig.equals_archive(&server, 2);
        assert_eq!(rig.push(&server, WalName::History(Timeline(2))), Shelved::Same);
        assert_eq!(rig.push(&server, WalName::Partial(last)), Shelved::Same, "zeros are what the server fills it up with, too");
        receiver.signal("TERM");
        assert_eq!(receiver.end(), Some(75));
        // The history is not asked for again, and a new start goes on where it was.
        let output = rig.run(&server.conninfo("postgres"), &["--once"]);
        assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A standby of a copy of the data of `primary`, that follows where `conninfo` says.
fn standby(primary: &Server, major: u32, conninfo: &str) -> Server {
    let standby = Server::initialise(major, &[]);
    let (from, to) = (primary.data_dir(), standby.data_dir());
    primary.psql("postgres", "SELECT pg_switch_wal()");
    primary.stop(false);
    let copied = Command::new("sh")
        .args(["-c", "rm -rf \"$2\" && cp -a \"$1\" \"$2\" && rm -f \"$2/postmaster.pid\"", "sh"])
        .args([&from, &to])
        .status();
    assert!(copied.unwrap().success());
    primary.restart();
    standby.configure(&[
        ("unix_socket_directories", &standby.socket_dir().display().to_string()),
        ("primary_conninfo", conninfo),
        ("archive_mode", "off"),
    ]);
    fs::write(to.join("standby.signal"), "").unwrap();
    fs::remove_dir_all(to.join("pg_replslot")).unwrap();
    fs::create_dir(to.join("pg_replslot")).unwrap();
    let owner = fs::metadata(&to).unwrap();
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    std::os::unix::fs::chown(to.join("pg_replslot"), Some(owner.uid()), Some(owner.gid())).unwrap();
    fs::set_permissions(to.join("pg_replslot"), fs::Permissions::from_mode(0o700)).unwrap();
    standby.restart();
    standby
}

#[test]
fn a_failover_to_another_server_is_followed_and_its_slot_is_made() {
    for major in usual_majors() {
        let primary = archiving(major, &[("wal_keep_size", "1GB")]);
        let standby = standby(&primary, major, &primary.conninfo("postgres"));
        let rig = Rig::new();
        let hosts = format!("{},{}", primary.socket_dir().display(), standby.socket_dir().display());
        let receiver = rig.start(&format!("host={hosts} user=postgres target_session_attrs=primary"), &[]);
        let end = load(&primary, 2);
        eventually("it has what there is", || rig.holds_without_a_gap(1, end));
        let replayed = "SELECT pg_last_wal_replay_lsn()";
        eventually("so has the standby", || lsn(&standby, replayed) >= end);
        primary.kill();
        standby.psql("postgres", "SELECT pg_promote()");
        let end = load(&standby, 2);
        eventually("the new primary is followed", || rig.holds_without_a_gap(2, end));
        assert_eq!(standby.psql("postgres", "SELECT slot_name FROM pg_replication_slots WHERE active"), "dr_main");
        let inventory = rig.inventory();
        assert!(inventory.has(&WalName::History(Timeline(2))));
        let last = SegmentName::containing(
            Timeline(1),
            dr_wal::History::parse(Timeline(2), &rig.read(WalName::History(Timeline(2))).unwrap().0).unwrap().parent().unwrap().at,
            SIZE,
        );
        assert!(inventory.has(&WalName::Partial(last)), "the unfinished segment of the old timeline is kept");
        assert!(rig.holds_without_a_gap(1, last.start(SIZE)));
        assert!(!support::files(&rig.path("store")).keys().any(|name| name.contains("gap-")), "{}", rig.log());
        // The old primary is back, and knows nothing of the new timeline: it is not followed.
        standby.stop(false);
        primary.restart();
        eventually("it is refused", || rig.log().contains("whose history does not know timeline 2"));
        receiver.signal("TERM");
        assert_eq!(receiver.end(), Some(75));
    }
}

#[test]
fn what_a_lost_primary_wrote_beyond_the_fork_is_kept_and_not_followed() {
    for major in usual_majors() {
        let primary = archiving(major, &[("wal_keep_size", "1GB")]);
        let standby = standby(&primary, major, "host=/nonexistent");
        let rig = Rig::new();
        let hosts = format!("{},{}", primary.socket_dir().display(), standby.socket_dir().display());
        let receiver = rig.start(&format!("host={hosts} user=postgres target_session_attrs=primary"), &[]);
        let lost = load(&primary, 3);
        let last = SegmentName::containing(Timeline(1), lost, SIZE);
        eventually("it has what there is", || {
            rig.holds_without_a_gap(1, lost) && last.start(SIZE).0 + rig.receiving(last).len() as u64 >= lost.0
        });
        primary.kill();
        standby.psql("postgres", "SELECT pg_promote()");
        let end = load(&standby, 1);
        eventually("the new primary is followed", || rig.holds_without_a_gap(2, end));
        let history = dr_wal::History::parse(Timeline(2), &rig.read(WalName::History(Timeline(2))).unwrap().0).unwrap();
        let at = history.parent().unwrap().at;
        assert!(at.0 + 2 * SIZE.bytes() < lost.0, "{at} {lost}");
        assert_eq!(rig.segments(2)[0].start(SIZE), SegmentName::containing(Timeline(2), at, SIZE).start(SIZE));
        rig.equals_archive(&primary, 1);
        let kept = rig.read(WalName::Partial(last)).unwrap().0;
        let known = usize::try_from(lost.0 - last.start(SIZE).0).unwrap();
        let written = fs::read(primary.data_dir().join("pg_wal").join(last.to_string())).unwrap();
        assert!(kept[..known] == written[..known], "the last transactions of the lost primary are kept");
        assert!(rig.log().contains("leads nowhere"), "{}", rig.log());
        receiver.signal("TERM");
        assert_eq!(receiver.end(), Some(75));
    }
}

#[test]
fn wal_that_is_gone_is_a_gap_on_record() {
    for major in usual_majors() {
        let (server, rig) = (archiving(major, &[("max_wal_size", "32MB"), ("min_wal_size", "32MB")]), Rig::new());
        let conn = server.conninfo("postgres");
        assert!(rig.run(&conn, &["--once"]).status.success());
        load(&server, 1);
        assert!(rig.run(&conn, &["--once"]).status.success());
        let before = *rig.segments(1).last().unwrap();
        let stopped = end(&server);
        server.psql("postgres", "SELECT pg_drop_replication_slot('dr_main')");
        let missing = server.data_dir().join("pg_wal").join(before.next(SIZE).to_string());
        eventually("the server has removed it", || {
            load(&server, 2);
            server.psql("postgres", "CHECKPOINT");
            !missing.exists()
        });
        let receiver = rig.start(&conn, &[]);
        let end = load(&server, 1);
        eventually("it goes on", || rig.segments(1).last().is_some_and(|last| last.end(SIZE).0 + SIZE.bytes() > end.0));
        let stored = || support::files(&rig.path("store"));
        eventually("the gap is stored", || stored().keys().any(|name| name.contains("gap-")));
        let name = stored().into_keys().find(|name| name.contains("gap-")).unwrap();
        assert!(name.starts_with("main/wal/00000001/gap-"), "{name}");
        let gap: serde_json::Value = serde_json::from_slice(&fs::read(rig.path("store").join(name)).unwrap()).unwrap();
        let (from, to): (Lsn, Lsn) = (gap["from"].as_str().unwrap().parse().unwrap(), gap["to"].as_str().unwrap().parse().unwrap());
        assert!(from >= stopped && from < to, "{gap}");
        let after: Vec<_> = rig.segments(1).into_iter().filter(|segment| segment.start(SIZE) >= to).collect();
        assert_eq!(after[0].start(SIZE), to);
        assert!(after.windows(2).all(|pair| pair[0].next(SIZE) == pair[1]));
        assert!(rig.log().contains("take a new base backup"), "{}", rig.log());
        receiver.signal("TERM");
        assert_eq!(receiver.end(), Some(75));
    }
}

#[test]
fn f45_another_system_is_refused_by_the_own_disk_and_by_the_store() {
    let (server, other, rig) = (Server::start(15), Server::start(18), Rig::new());
    assert!(rig.run(&server.conninfo("postgres"), &["--once"]).status.success());
    let output = rig.run(&other.conninfo("postgres"), &["--once"]);
    assert_eq!(output.status.code(), Some(65));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the server is system") && said.contains("nothing was received"), "{said}");

    let elsewhere = rig.path("elsewhere").display().to_string();
    let stored = support::files(&rig.path("store"));
    let mut command = rig.command(&other.conninfo("postgres"), &[]);
    let output = command.args(["--once"]).env("DR_STATE", &elsewhere);
    // The last --dir counts.
    let mut args: Vec<_> = output.get_args().map(|arg| arg.to_owned()).collect();
    let at = args.iter().position(|arg| arg == "--dir").unwrap();
    args[at + 1] = rig.path("dir2").into();
    let output =
        Command::new(env!("CARGO_BIN_EXE_dr-wal-receive")).env_clear().env("DR_STATE", &elsewhere).args(&args).output().unwrap();
    assert_eq!(output.status.code(), Some(65), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!stored.is_empty());
    let segments = |files: &std::collections::BTreeMap<String, u64>| files.keys().filter(|name| name.ends_with(".age")).count();
    assert_eq!(segments(&support::files(&rig.path("store"))), segments(&stored));
}

#[test]
fn a_slot_is_made_only_where_that_was_asked_for() {
    let (server, rig) = (Server::start(15), Rig::new());
    let mut command = rig.command(&server.conninfo("postgres"), &["--once"]);
    let args: Vec<_> = command.get_args().filter(|arg| *arg != "--create-slot").map(|arg| arg.to_owned()).collect();
    command = Command::new(env!("CARGO_BIN_EXE_dr-wal-receive"));
    let output = command.env_clear().env("DR_STATE", rig.path("state")).args(&args).output().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(Exit::Config.code())));
    assert!(String::from_utf8_lossy(&output.stderr).contains("replication slot dr_main does not exist"));
    assert_eq!(server.psql("postgres", "SELECT count(*) FROM pg_replication_slots"), "0");
}

#[test]
fn a_full_disk_ends_it_before_anything_is_reported_that_is_not_safe() {
    let (server, rig) = (archiving(18, &[]), Rig::new());
    // A limit on the size of files is what a full disk is to a program, and needs no mount.
    let mut command = Command::new("sh");
    let receiver = rig.command(&server.conninfo("postgres"), &[]);
    command.env_clear().envs(receiver.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["-c", "ulimit -f 8192; exec \"$0\" \"$@\""]).arg(receiver.get_program()).args(receiver.get_args());
    let running = rig.start_command(command);
    eventually("the slot is there", || server.psql("postgres", "SELECT count(*) FROM pg_replication_slots") == "1");
    server.psql("postgres", "CREATE TABLE t AS SELECT g, repeat(md5(g::text), 8) FROM generate_series(1, 40000) g");
    assert_eq!(running.end(), Some(74), "{}", rig.log());
    assert!(rig.log().contains("the server keeps what was not reported as safe"), "{}", rig.log());
    let kept = lsn(&server, "SELECT restart_lsn FROM pg_replication_slots");
    let unfinished: Vec<_> =
        support::files(&rig.path("dir")).into_iter().filter(|(name, _)| name.ends_with(".receiving")).collect();
    let (name, bytes) = &unfinished[0];
    let segment: SegmentName = name.trim_end_matches(".receiving").parse().unwrap();
    assert!(kept.0 <= segment.start(SIZE).0 + bytes, "{kept} {unfinished:?}");
    // With room again, it goes on where it was.
    let end = load(&server, 1);
    let output = rig.run(&server.conninfo("postgres"), &["--once"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(rig.holds_without_a_gap(1, end));
    rig.equals_archive(&server, 1);
}
