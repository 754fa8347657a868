//! Faults of a server: each is made on a real one, seen in a check and in a metric, and gone again once it is mended.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use dr_pipe::record::State;
use dr_testing::postgres::{Server, as_server_user, own};
use support::{Said, World};

/// A world whose server is asked as somebody who may only watch.
fn watched(server: &Server) -> World {
    server.psql("postgres", "CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher");
    let mut world = World::new();
    world.environment = server.env().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    world.environment.push(("PGUSER".into(), "watcher".into()));
    world
}

#[test]
fn a_server_that_hangs_is_a_check_and_holds_nothing_up() {
    let (world, silent) = (World::new(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let port = silent.local_addr().unwrap().port().to_string();
    let begun = Instant::now();
    let said = world.check(&["-h", "127.0.0.1", "-p", &port, "-U", "watcher", "--patience", "1"]);
    said.assert("server 127.0.0.1", State::Critical);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn a_role_that_may_not_look_does_not_say_that_nothing_waits() {
    let server = Server::start_with(15, &[]);
    server.psql("postgres", "CREATE ROLE blind LOGIN");
    let mut world = World::new();
    world.environment = server.env().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    world.environment.push(("PGUSER".into(), "blind".into()));
    world.check(&[]).assert(&format!("server {}", server.socket_dir().display()), State::Unknown);
}

/// Looks until it is so, as others need a moment.
fn until(world: &mut World, args: &[&str], test: impl Fn(&Said) -> bool) -> Said {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        world.now = Utc::now();
        let said = world.check(args);
        if test(&said) {
            return said;
        }
        assert!(Instant::now() < deadline, "{:?}", said.checks);
    }
}

/// Puts a segment to be archived.
fn switch(server: &Server) {
    server.psql("postgres", "CREATE TABLE IF NOT EXISTS t (i int); INSERT INTO t VALUES (1); SELECT pg_switch_wal()");
}

#[test]
fn f53_archiving_that_fails_is_told_with_what_waits_until_it_goes_on() {
    let server = Server::start_with(15, &[("archive_mode", "on"), ("archive_command", "false")]);
    let mut world = watched(&server);
    let first = world.check(&[]);
    first.assert(&format!("server {}", server.socket_dir().display()), State::Ok);
    first.assert("archive-failure", State::Ok);
    world.promise("waiting_segments = 1");
    switch(&server);
    switch(&server);
    let said = until(&mut world, &[], |said| said.state("archive-failure") == Some(State::Critical));
    said.assert("archive-failure", State::Critical);
    said.assert("archive-waiting", State::Critical);
    assert!(
        said.metrics.iter().any(|line| line.starts_with("pg_dr_archive_last_failure_timestamp_seconds{")),
        "{:?}",
        said.metrics
    );
    server.configure(&[("archive_command", "true")]);
    server.reload();
    switch(&server);
    let mut said = until(&mut world, &[], |said| said.state("archive-waiting") == Some(State::Ok));
    // For a while it is told that it failed; then it is over.
    said.assert("archive-failure", State::Warning);
    world.now += TimeDelta::minutes(6);
    said = world.check(&[]);
    said.assert("archive-failure", State::Ok);
    assert!(said.metrics.iter().any(|line| line.starts_with("pg_dr_archive_waiting_segments{") && line.ends_with(" 0")));
}

#[test]
fn a_server_that_is_down_is_a_check_and_the_stores_are_judged() {
    let server = Server::start(15);
    let world = watched(&server);
    world.dump("near", 1, 10);
    let name = format!("server {}", server.socket_dir().display());
    server.stop(true);
    let said = world.check(&["--from", "near"]);
    said.assert(&name, State::Critical);
    said.assert("dump-age shop", State::Ok);
    assert_eq!(world.check(&["--from", "near", "--server", "never"]).state(&name), None);
    server.restart();
    world.check(&["--from", "near"]).assert(&name, State::Ok);
}

/// A receiver of WAL, as a standby is one.
fn receive(server: &Server, world: &World, slot: &str) -> Child {
    let directory = world.path("received");
    drop(std::fs::create_dir(&directory));
    let conninfo = format!("{} application_name=b", server.conninfo("postgres"));
    let mut command = Command::new(server.bin("pg_receivewal"));
    command.args(["--synchronous", "--no-loop", "--status-interval", "1", "-S", slot, "-d", &conninfo, "-D"]).arg(directory);
    command.stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_standby_that_lags_or_goes_away_and_a_slot_that_nobody_uses_are_told() {
    let server = Server::start(18);
    let mut world = watched(&server);
    server.psql("postgres", "SELECT pg_create_physical_replication_slot('b_slot', true)");
    world.promise("standbys = [\"b\"]\nreplication_lag = \"64kB\"");
    let mut standby = receive(&server, &world, "b_slot");
    let said = until(&mut world, &[], |said| said.state("replication-lag b") == Some(State::Ok));
    said.assert("standby b", State::Ok);
    said.assert("slot b_slot", State::Ok);

    // It hangs.
    let signal = |name: &str, child: &Child| {
        assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
    };
    signal("-STOP", &standby);
    server.psql("postgres", "CREATE TABLE filled AS SELECT generate_series(1, 100000)");
    world.now = Utc::now();
    let said = world.check(&[]);
    said.assert("replication-lag b", State::Critical);
    signal("-CONT", &standby);
    until(&mut world, &[], |said| said.state("replication-lag b") == Some(State::Ok));

    // It is gone.
    standby.kill().unwrap();
    standby.wait().unwrap();
    until(&mut world, &[], |said| said.state("replication-lag b").is_none());
    world.now += TimeDelta::seconds(302);
    let said = world.check(&[]);
    said.assert("standby b", State::Critical);
    said.assert("slot b_slot", State::Critical);
    assert!(said.metrics.iter().any(|line| line.starts_with(r#"pg_dr_standby_away_seconds{cluster="main",standby="b"} 30"#)));
    said.has(r#"pg_dr_slot_active{cluster="main",slot="b_slot"} 0"#);
    let mut standby = receive(&server, &world, "b_slot");
    let said = until(&mut world, &[], |said| said.state("replication-lag b") == Some(State::Ok));
    said.assert("standby b", State::Ok);
    said.assert("slot b_slot", State::Ok);
    standby.kill().unwrap();
    standby.wait().unwrap();
}

#[test]
fn an_idle_server_is_not_behind_and_one_that_writes_is() {
    let server = Server::start_with(15, &[("archive_mode", "on"), ("archive_command", "true")]);
    let mut world = watched(&server);
    switch(&server);
    let number = |server: &Server| {
        let number = server.psql("postgres", "SELECT trunc((pg_current_wal_lsn() - '0/0') / 16777216)");
        number.parse::<u64>().unwrap()
    };
    // All that was written is stored, a day ago.
    world.wal("near", number(&server) - 1);
    world.now += TimeDelta::days(1);
    let said = world.check(&["--from", "near"]);
    said.assert("wal-lag", State::Ok);
    said.has(r#"pg_dr_wal_lag_seconds{cluster="main"} 0"#);
    server.psql("postgres", "CREATE TABLE more AS SELECT generate_series(1, 10000)");
    world.now += TimeDelta::seconds(601);
    let said = world.check(&["--from", "near"]);
    said.assert("wal-lag", State::Critical);
    said.has(r#"pg_dr_wal_lag_seconds{cluster="main"} 601"#);
    world.wal("near", number(&server));
    world.check(&["--from", "near"]).assert("wal-lag", State::Ok);
}

#[test]
fn a_standby_is_asked_as_well_as_a_primary() {
    let server = Server::start(18);
    let mut world = watched(&server);
    server.stop(false);
    let signal = server.data_dir().join("standby.signal");
    std::fs::write(&signal, "").unwrap();
    own(&signal);
    let pg_ctl = |words: &[&str]| {
        let mut command = Command::new(server.bin("pg_ctl"));
        command.arg("-D").arg(server.data_dir()).args(words).args(["--wait", "--silent"]).current_dir("/tmp").stdout(Stdio::null());
        assert!(as_server_user(&mut command).status().unwrap().success());
    };
    pg_ctl(&["start"]);
    world.now = Utc::now();
    let said = world.check(&[]);
    said.assert(&format!("server {}", server.socket_dir().display()), State::Ok);
    let facts = std::fs::read_to_string(world.path("facts")).unwrap();
    assert!(facts.contains(r#""standby":true"#) && facts.contains(r#""written_lsn":"0/"#), "{facts}");
    pg_ctl(&["stop", "--mode=immediate"]);
}
