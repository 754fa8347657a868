//! Real servers that recover with dr-wal-fetch as their restore_command.
#![allow(clippy::unwrap_used)]

mod world;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use dr_store::{Location, Store, StoreArgs};
use dr_testing::postgres::{Server, as_server_user, own, usual_majors};
use dr_testing::proxy::{Fault, Proxy};
use dr_testing::s3::{BUCKET, S3sFs, environment};
use dr_wal::{Packed, Packing, SegmentName, Shelf, System, header};
use world::wait_for;

/// A primary, a copy of its first state, and the archive of its WAL behind a proxy.
struct Rig {
    primary: Server,
    s3: S3sFs,
    scratch: tempfile::TempDir,
}

impl Rig {
    /// A primary that has written some 20 segments since it was copied.
    fn new(major: u32) -> Rig {
        let primary = Server::start_with(major, &[("wal_keep_size", "4GB"), ("max_wal_size", "4GB")]);
        primary.psql("postgres", "create table t (i int, x text)");
        let scratch = tempfile::Builder::new().prefix("drfetch").tempdir_in("/tmp").unwrap();
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
        own(scratch.path());
        let ours = scratch.path().join("dr-wal-fetch");
        fs::copy(env!("CARGO_BIN_EXE_dr-wal-fetch"), &ours).unwrap();
        let mut base = Command::new(primary.bin("pg_basebackup"));
        base.args(["-d", &primary.conninfo("postgres"), "-X", "none", "--checkpoint=fast", "--no-sync", "-D"]);
        base.arg(scratch.path().join("base")).current_dir("/tmp");
        let output = as_server_user(&mut base).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Rig { primary, s3: S3sFs::start(), scratch }
    }

    fn load(&self, from: u32, segments: u32) {
        for i in from..from + segments {
            // Each fills most of a segment.
            let row = format!("insert into t select {i}, string_agg(md5(random()::text), '') from generate_series(1, 3000)");
            self.primary.psql(
                "postgres",
                &format!("{row}; select pg_logical_emit_message(true, 'dr', repeat('z', 12000000)); select pg_switch_wal()"),
            );
        }
    }

    /// Archives every finished segment that is not there yet; gives how many the archive has.
    fn archive(&self) -> usize {
        let place: Location = self.s3.directory().join("data").join(BUCKET).join("wal").to_str().unwrap().parse().unwrap();
        let store = Store::init(&place, &StoreArgs::default()).unwrap();
        let shelf = Shelf::new(&store, "main");
        let current = self.primary.psql("postgres", "select pg_walfile_name(pg_current_wal_lsn() + 1)");
        let packing = Packing { cluster: "main", recipients: None, level: 1, signing_key: None, system_identifier: None };
        let mut count = 0;
        for file in world::files(&self.primary.data_dir().join("pg_wal")) {
            let Ok(segment) = file.parse::<SegmentName>() else { continue };
            if file < current {
                let bytes = fs::read(self.primary.data_dir().join("pg_wal").join(&file)).unwrap();
                shelf.put_system(&System::of(&header::read(&bytes).unwrap())).unwrap();
                shelf.put(&Packed::new(segment.into(), &bytes, &packing).unwrap()).unwrap();
                count += 1;
            }
        }
        count
    }

    /// A server on a copy of the first state, not started: it recovers from the archive behind `proxy`.
    fn recovering(&self, proxy: &Proxy, signal: &str, words: &str) -> Server {
        let server = Server::initialise(self.primary.major(), &[]);
        let base = self.scratch.path().join("base");
        let copy = "rm -rf \"$2\" && cp -a \"$1\" \"$2\" && touch \"$2/$3\"";
        let mut copying = Command::new("sh");
        copying.args(["-c", copy, "sh"]).args([&base, &server.data_dir()]).arg(signal).current_dir("/tmp");
        assert!(as_server_user(&mut copying).status().unwrap().success());
        let command = self.restore_command(proxy, words);
        server.configure(&[
            ("unix_socket_directories", &server.socket_dir().display().to_string()),
            ("restore_command", &command),
            ("wal_retrieve_retry_interval", "100ms"),
        ]);
        server
    }

    fn restore_command(&self, proxy: &Proxy, words: &str) -> String {
        let ours = self.scratch.path();
        let environment = environment(&proxy.url()).into_iter().map(|(name, value)| format!("{name}={value} ")).collect::<String>();
        format!(
            "env {environment} DR_STATE={state} DR_PATIENCE=1 {program} %f %p --cluster main --from s3://{BUCKET}/wal {words}",
            state = ours.join("state").display(),
            program = ours.join("dr-wal-fetch").display(),
        )
    }

    fn queue(&self) -> PathBuf {
        let root = self.scratch.path().join("state/wal-fetch");
        let queue = world::files(&root).pop().expect("a queue");
        root.join(queue)
    }
}

fn rows(server: &Server) -> String {
    server.psql("postgres", "select count(*), count(distinct i), md5(string_agg(md5(x), '' order by i)) from t")
}

/// How many objects with WAL were asked for.
fn of_segments(lines: &[String]) -> usize {
    lines.iter().filter(|line| line.starts_with("GET") && line.contains(".zst")).count()
}

#[test]
fn a_server_recovers_twenty_segments_of_which_most_were_fetched_ahead() {
    for major in usual_majors() {
        let rig = Rig::new(major);
        rig.load(0, 20);
        let archived = rig.archive();
        assert!(archived >= 20);
        let proxy = Proxy::start(rig.s3.address(), &[]);
        let server = rig.recovering(&proxy, "recovery.signal", "--ahead 6");
        server.restart();
        wait_for("the end of recovery", || server.psql("postgres", "select pg_is_in_recovery()") == "f");
        assert_eq!(rows(&server), rows(&rig.primary), "PostgreSQL {major}");
        assert!(server.psql("postgres", "select pg_walfile_name(pg_current_wal_lsn())").starts_with("00000002"));
        let queue = rig.queue();
        assert!(world::files(&queue).iter().all(|name| !name.contains('.') || name.starts_with('.')), "{:?}", world::files(&queue));
        let log = server.log();
        assert!(!log.contains("dr-wal-fetch"), "{log}");
        // Each was fetched once, or twice where it was asked for before it had come.
        let seen = of_segments(&proxy.seen());
        assert!(seen < 2 * archived, "{seen} of {archived}");
    }
}

/// A standby goes on when the store is back: with codes above 125 it would have ended.
#[test]
fn f49_a_standby_survives_an_outage_and_catches_up() {
    for major in usual_majors() {
        let rig = Rig::new(major);
        rig.load(0, 3);
        rig.archive();
        let proxy = Proxy::start(rig.s3.address(), &[]);
        let standby = rig.recovering(&proxy, "standby.signal", "--standby --ahead 4");
        standby.restart();
        let caught_up = |rows: u32| standby.psql("postgres", "select count(*) from t") == rows.to_string();
        wait_for("the first rows", || caught_up(3));
        let out = Proxy::choosing(rig.s3.address(), |_, _| Some(Fault::Answer("500 Internal Server Error", "", "")));
        standby.configure(&[("restore_command", &rig.restore_command(&out, "--standby --ahead 4"))]);
        standby.reload();
        rig.load(3, 3);
        rig.archive();
        wait_for("an outage that it has met", || standby.log().contains("dr-wal-fetch: error: "));
        wait_for("several of its attempts", || out.seen().len() > 8);
        assert!(standby.is_running() && caught_up(3));
        out.heal();
        wait_for("the rest", || caught_up(6));
        assert_eq!(standby.psql("postgres", "select pg_is_in_recovery()"), "t");
    }
}

/// In recovery the same outage ends the server, and it goes on where it was once the store is back.
#[test]
fn f49_a_recovery_stops_at_an_outage_and_never_opens_with_rows_missing() {
    for major in usual_majors() {
        let rig = Rig::new(major);
        rig.load(0, 4);
        rig.archive();
        // From the third segment on nothing comes any more.
        let last = format!("{:02X}.", 5);
        let proxy = Proxy::choosing(rig.s3.address(), move |_, line| {
            line.contains(&last).then_some(Fault::Answer("403 Forbidden", "", "<Error><Code>AccessDenied</Code></Error>"))
        });
        let server = rig.recovering(&proxy, "recovery.signal", "--ahead 2");
        // It may take readers before it meets the outage, or never.
        drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.restart())));
        wait_for("its end", || {
            let open = server.try_psql("postgres", "select pg_is_in_recovery()").is_ok_and(|answer| answer == "f");
            assert!(!open, "PostgreSQL {major} opened: {}", server.log());
            !server.is_running()
        });
        assert!(server.log().contains("dr-wal-fetch: error: "), "{}", server.log());
        assert!(server.data_dir().join("recovery.signal").exists());
        proxy.heal();
        server.restart();
        wait_for("the end of recovery", || server.psql("postgres", "select pg_is_in_recovery()") == "f");
        assert_eq!(rows(&server), rows(&rig.primary), "PostgreSQL {major}");
    }
}
