//! What is there already, and what is left behind.

use std::fs;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{Source, run, wait_for};

#[test]
fn f79_a_directory_that_is_not_empty_is_left_alone() {
    let source = Source::start(15);
    source.base();
    source.shell("mkdir x && touch x/keep x/me");
    let ran = run(&mut source.recover("x", &[]));
    assert!(ran.ends(73).contains("x is not empty: it has keep, me"), "{}", ran.stderr);
    let ran = run(&mut source.recover("x", &["--delta"]));
    assert!(ran.ends(73).contains("--delta does not touch it"), "{}", ran.stderr);
    let record = run(&mut source.recover("x", &["--move-aside", "--target", "immediate"])).record();
    let aside = record["moved_aside"].as_str().unwrap();
    assert!(fs::exists(format!("{aside}/keep")).unwrap() && source.path("x/recovery.signal").exists());
    // That of a server that runs is refused whatever is said.
    let data = source.server.data_dir().display().to_string();
    for more in ["--delta", "--move-aside"] {
        let ran = run(&mut source.recover(&data, &[more]));
        assert!(ran.ends(80).contains("a server runs there"), "{}", ran.stderr);
    }
    // That of another cluster.
    let other = Source::start(15);
    other.server.stop(false);
    let ran = run(&mut source.recover(&other.server.data_dir().display().to_string(), &["--delta"]));
    assert!(ran.ends(80).contains("is a directory of system"), "{}", ran.stderr);
}

#[test]
fn f79_a_store_is_never_moved_nor_written_to() {
    let source = Source::start(15);
    source.base();
    source.row(1);
    source.archived();
    source.shell("mkdir -p around && cp -a store around/store && ln -s around/store link");
    let before = source.shell("find store around | sort; ls -A");
    for (into, from, why) in [
        ("store", "store", "it is a store of backups"),
        ("store/main", "store", "it lies in the store store"),
        ("store/new/x", "store", "it lies in the store store"),
        ("around", "around/store", "the store around/store lies in it"),
        // Read from elsewhere, they are stores all the same.
        ("around", "store", "around/store lies in it"),
        ("link", "store", "it is a store of backups"),
        ("link/new", "store", "it lies in the store "),
    ] {
        for more in [&["--move-aside"][..], &["--delta"], &[], &["--preflight"]] {
            let ran = run(source.recover(into, more).env("DR_FROM", "").args(["--from", from]));
            let said = ran.ends(80);
            assert!(said.contains(why) && !said.contains("--move-aside") && said.contains("nothing was written"), "{into}: {said}");
        }
    }
    assert_eq!(source.shell("find store around | sort; ls -A"), before);
    run(&mut source.recover("beside", &["--preflight"])).ends(0);
}

#[test]
fn a_directory_is_not_made_by_root() {
    let source = Source::start(15);
    source.base();
    if rustix::process::geteuid().is_root() {
        let mut command = Command::new(source.path("bin/dr-recover"));
        command.args(["--from", "store", "--cluster", "main", "-i", "identity", "--into", "x"]).current_dir(source.place.path());
        assert!(run(&mut command).ends(78).contains("does not run as root"));
    }
    assert!(!source.path("x").exists());
}

#[test]
fn tablespaces_go_where_they_are_told() {
    for major in dr_testing::postgres::usual_majors() {
        let source = Source::start(major);
        source.shell("mkdir -m 700 here there taken; touch taken/file");
        let here = source.path("here").display().to_string();
        source.sql(&format!("CREATE TABLESPACE fast LOCATION '{here}'"));
        source.sql("CREATE TABLE far (n int) TABLESPACE fast; INSERT INTO far SELECT generate_series(1, 5000)");
        source.base();
        source.row(1);
        source.archived();
        let ran = run(&mut source.recover("x", &[]));
        assert!(ran.ends(73).contains("here is not empty"), "{}", ran.stderr);
        let mapping = |to: &str| format!("{here}={}", source.path(to).display());
        run(&mut source.recover("x", &["--tablespace", &mapping("taken")])).ends(73);
        run(&mut source.recover("x", &["--tablespace", &mapping("x/inside")])).ends(64);
        run(&mut source.recover("x", &["--tablespace", "1=/elsewhere"])).ends(64);
        assert!(!source.path("x").exists());
        let (recovered, _) = source.arrive("x", &["--tablespace", &mapping("there")]);
        assert_eq!(recovered.sql("SELECT count(*) FROM far"), "5000");
        assert_eq!(
            recovered.sql("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'fast'"),
            source.path("there").display().to_string()
        );
        let below = source.path("below").display().to_string();
        let (recovered, _) = source.arrive("y", &["--tablespaces-below", &below]);
        assert_eq!((recovered.sql("SELECT count(*) FROM far"), recovered.rows()), ("5000".into(), "1".into()));
        drop(recovered);
        // Over itself, where it is its own tablespace that is in the way.
        let (recovered, record) = source.arrive("y", &["--tablespaces-below", &below, "--delta"]);
        assert_eq!(recovered.sql("SELECT count(*) FROM far"), "5000");
        assert!(record["kept_bytes"].as_u64() > record["written_bytes"].as_u64(), "{record}");
    }
}

#[test]
fn configuration_from_elsewhere_comes_into_the_directory() {
    let source = Source::start(15);
    source.shell("mkdir etc && echo 'local all all trust' > etc/pg_hba.conf && echo 'local all all reject' > hba");
    source.server.configure(&[("hba_file", &source.path("etc/pg_hba.conf").display().to_string()), ("work_mem", "5MB")]);
    source.server.restart();
    source.server.authenticate(&["local all all reject"]);
    source.base();
    source.row(1);
    source.archived();
    source.shell("rm -r etc");
    let (recovered, _) = source.arrive("x", &["--set", "maintenance_work_mem=7MB"]);
    assert_eq!(recovered.sql("SHOW hba_file"), source.path("x/pg_hba.conf").display().to_string());
    assert_eq!((recovered.sql("SHOW work_mem"), recovered.sql("SHOW maintenance_work_mem")), ("5MB".into(), "7MB".into()));
    assert_eq!(recovered.rows(), "1");
}

#[test]
fn a_setting_that_does_not_fit_is_named() {
    let source = Source::start(15);
    source.base();
    source.row(1);
    source.archived();
    let ran = run(&mut source.recover("x", &["--start", "--wait", "--set", "shared_buffers=9999GB"]));
    let first = ran.ends(78).lines().find(|line| line.starts_with("dr-recover: error: ")).unwrap();
    assert!(first.contains("parameter \"shared_buffers\""), "{}", ran.stderr);
}

#[test]
fn a_standby_follows_the_archive() {
    let source = Source::start(18);
    source.base();
    source.row(1);
    source.archived();
    let record = run(&mut source.recover("x", &["--standby", "--start"])).record();
    assert_eq!(record["state"], "started");
    let standby = crate::fixture::Recovered { bin: source.server.bin_dir(), data: source.path("x") };
    wait_for("a standby", || {
        source.path("x/dr-recover.log").exists()
            && fs::read_to_string(source.path("x/dr-recover.log")).unwrap().contains("read-only connections")
    });
    wait_for("the first row", || standby.rows() == "1");
    source.row(2);
    source.archived();
    wait_for("the second row", || standby.rows() == "1 2");
    assert_eq!(standby.sql("SELECT pg_is_in_recovery()"), "t");
}

#[test]
fn delta_writes_only_what_differs() {
    let source = Source::start(18);
    source.sql("CREATE TABLE big AS SELECT n, repeat('x', 100) FROM generate_series(1, 100000) n");
    source.base();
    source.row(1);
    source.archived();
    let first = run(&mut source.recover("x", &[])).record();
    assert_eq!(first["kept_bytes"], 0);
    assert!(!source.path("x/dr-recover.json").exists());
    // Nothing has changed but what a restore always writes.
    let again = run(&mut source.recover("x", &["--delta"])).record();
    assert!(again["written_bytes"].as_u64().unwrap() < 1 << 20, "{again}");
    assert!(again["kept_bytes"].as_u64().unwrap() > 10 << 20, "{again}");
    // A file that was changed without a change of its size or time, one too many, one too few.
    let path = source.sql("SELECT pg_relation_filepath('big')");
    source.shell(&format!(
        "touch -r x/{path} when; printf X | dd of=x/{path} bs=1 seek=9000 conv=notrunc status=none; touch -r when x/{path}; \
         mkdir x/base/99 && touch x/base/99/1 x/backup_label.old && rm x/PG_VERSION"
    ));
    let (recovered, record) = source.arrive("x", &["--delta"]);
    assert!(record["written_bytes"].as_u64().unwrap() > 10 << 20, "{record}");
    assert_eq!((recovered.rows().as_str(), recovered.sql("SELECT count(*) FROM big").as_str()), ("1", "100000"));
    assert!(!source.path("x/base/99").exists());
    recovered.sql("INSERT INTO t VALUES (7)");
    drop(recovered);
    // Its own WAL is nowhere else: it is kept.
    let (recovered, _) = source.arrive("x", &["--delta"]);
    assert_eq!(recovered.rows(), "1");
    let kept = source.shell("ls -d x_pg_wal_before_*/00000002.history");
    assert!(!kept.is_empty());
}

#[test]
fn f81_a_restore_that_was_killed_goes_on_and_nothing_starts_from_its_half() {
    let source = Source::start(15);
    source.sql("CREATE TABLE big AS SELECT n, md5(n::text) FROM generate_series(1, 300000) n");
    source.base();
    source.row(1);
    source.archived();
    for files in [1, 200, 900] {
        let into = format!("x{files}");
        let mut child = source.recover(&into, &["-j1"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let data = source.path(&into);
        let count = || {
            Command::new("find")
                .arg(&data)
                .args(["-type", "f"])
                .stderr(Stdio::null())
                .output()
                .unwrap()
                .stdout
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
        };
        wait_for("some files", || child.try_wait().unwrap().is_some() || count() >= files);
        kill_process(Pid::from_child(&child), Signal::KILL).unwrap_or(());
        child.wait().unwrap();
        if data.join("dr-recover.json").exists() && !data.join("global/pg_control").exists() {
            let started = run(source.tool(source.server.bin("pg_ctl")).args(["start", "-s", "-w", "-l", "log", "-D", &into]));
            assert_ne!(started.code, Some(0), "{files}");
        }
        let args: &[&str] = if data.join("dr-recover.json").exists() || !data.exists() { &[] } else { &["--delta"] };
        let (recovered, _) = source.arrive(&into, args);
        assert_eq!((recovered.rows().as_str(), recovered.sql("SELECT count(*) FROM big").as_str()), ("1", "300000"), "{files}");
    }
}

#[test]
fn f78_a_full_disk_leaves_nothing_that_starts() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let source = Source::start(15);
    source.base();
    source.shell("mkdir small few");
    let mount = |name: &str, options: &str| {
        let options = format!("mode=777,{options}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(source.path(name)).status().unwrap();
        assert!(mounted.success());
    };
    mount("small", "size=8m");
    mount("few", "size=800m,nr_inodes=300");
    let small = run(&mut source.recover("small/x", &[]));
    let few = run(&mut source.recover("few/x", &[]));
    let left = (source.path("few/x/dr-recover.json").exists(), source.path("few/x/global/pg_control").exists());
    for name in ["small", "few"] {
        assert!(Command::new("umount").arg(source.path(name)).status().unwrap().success());
    }
    assert!(small.ends(74).contains("are needed: the files and a tenth more"), "{}", small.stderr);
    assert!(few.ends(74).contains("is half made, and no server starts from it"), "{}", few.stderr);
    assert_eq!(left, (true, false));
}
