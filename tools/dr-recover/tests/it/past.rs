//! What comes with a backup from the past of its server, and what its own directory has from an earlier try.

use std::fs;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{Source, run, wait_for};

#[test]
fn settings_that_rose_after_the_backup_are_raised_and_a_wordy_log_is_understood() {
    let source = Source::start_with(15, &[("log_error_verbosity", "verbose"), ("max_connections", "30")]);
    source.base();
    source.server.configure(&[("max_connections", "40")]);
    source.server.restart();
    source.row(1);
    source.server.configure(&[("max_connections", "50"), ("max_worker_processes", "12")]);
    source.server.restart();
    source.row(2);
    source.archived();
    let (recovered, record) = source.arrive("x", &[]);
    assert_eq!((recovered.rows().as_str(), record["state"].as_str()), ("1 2", Some("promoted")));
    assert_eq!((recovered.sql("SHOW max_connections"), recovered.sql("SHOW max_worker_processes")), ("50".into(), "12".into()));
}

#[test]
fn what_a_server_has_of_its_own_recovery_is_left_behind() {
    let source = Source::start(18);
    // As a standby has them, and a cluster that dr-recover has made.
    let data = source.server.data_dir().display().to_string();
    let said = "x [1] LOG:  selected new timeline ID: 2\nx [1] LOG:  database system is ready to accept connections";
    source.shell(&format!("touch {data}/standby.signal && echo '{said}' > {data}/dr-recover.log"));
    source.base();
    source.row(1);
    source.archived();
    let (recovered, record) = source.arrive("x", &[]);
    assert_eq!((recovered.rows().as_str(), record["timeline"].as_u64()), ("1", Some(2)));
    assert!(!source.path("x/standby.signal").exists());
}

#[test]
fn places_of_the_old_machine_are_taken_out_of_included_files_too() {
    let source = Source::start(15);
    let data = source.server.data_dir().display().to_string();
    source.shell(&format!(
        "mkdir {data}/conf.d && echo \"include 'conf.d/first'\" >> {data}/postgresql.conf && echo \"include_dir 'more'\" > {data}/conf.d/first \
         && mkdir {data}/conf.d/more && printf '%s\\n' \"data_directory = '{data}'\" 'work_mem = 5MB' > {data}/conf.d/more/a.conf"
    ));
    source.base();
    source.row(1);
    source.archived();
    run(&mut source.recover("x", &[])).ends(0);
    let text = fs::read_to_string(source.path("x/conf.d/more/a.conf")).unwrap();
    assert_eq!(text, format!("# dr-recover: data_directory = '{data}'\nwork_mem = 5MB\n"));
}

#[test]
fn f83_a_position_inside_the_last_record_is_reached() {
    let source = Source::start(18);
    source.base();
    source.row(1);
    // What ends the segment is a record, of 24 bytes.
    let text = source.sql("WITH it AS MATERIALIZED (SELECT pg_switch_wal() - 8 AS lsn) SELECT lsn, pg_walfile_name(lsn) FROM it");
    let (inside, segment) = text.split_once('|').unwrap();
    wait_for(segment, || source.path(&format!("store/main/wal/00000001/{segment}.zst.age")).exists());
    let (recovered, _) = source.arrive("x", &["--target-lsn", inside]);
    assert_eq!(recovered.rows(), "1");
}

#[test]
fn f79_delta_leaves_alone_what_others_have_beside_a_tablespace() {
    let source = Source::start(15);
    source.shell("mkdir -m 700 here");
    source.sql(&format!("CREATE TABLESPACE fast LOCATION '{}'", source.path("here").display()));
    source.sql("CREATE TABLE far (n int) TABLESPACE fast");
    source.base();
    source.archived();
    run(&mut source.recover("x", &["--tablespaces-below", &source.path("below").display().to_string()])).ends(0);
    // The same directory served the cluster before pg_upgrade, or serves another one.
    source.shell("cd below/*; mkdir -p PG_14_202107181/5 lost+found; touch PG_14_202107181/5/1; touch $(echo PG_15_*)/1");
    run(&mut source.recover("x", &["--delta", "--tablespaces-below", &source.path("below").display().to_string()])).ends(0);
    assert_eq!(
        source.shell("cd below/*; ls -d PG_14_202107181/5/1 lost+found PG_15_*/1 2> err || true; rm err").lines().count(),
        2
    );
}

#[test]
fn f81_the_same_command_goes_on_where_it_had_moved_a_directory_aside() {
    let source = Source::start(15);
    source.shell("mkdir -m 700 here x && touch x/old");
    source.sql(&format!("CREATE TABLESPACE fast LOCATION '{}'", source.path("here").display()));
    source.sql("CREATE TABLE big TABLESPACE fast AS SELECT n, md5(n::text) FROM generate_series(1, 300000) n");
    source.base();
    source.row(1);
    source.archived();
    let below = source.path("below").display().to_string();
    let args = ["--move-aside", "-j1", "--tablespaces-below", &below];
    let mut child = source.recover("x", &args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("a beginning", || source.path("x/dr-recover.json").exists());
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap_or(());
    child.wait().unwrap();
    assert!(!source.path("x/global/pg_control").exists());
    let (recovered, _) = source.arrive("x", &args);
    assert_eq!((recovered.rows().as_str(), recovered.sql("SELECT count(*) FROM big").as_str()), ("1", "300000"));
    assert_eq!(source.shell("ls -d x_before_*; ls x_before_*/old").lines().count(), 2);
}
