//! What goes wrong, and what is left behind.

use std::io::Read;
use std::os::unix::fs::FileExt;

use crate::*;

/// A server whose pages have checksums.
pub fn with_checksums(major: u32) -> Server {
    let server = Server::initialise(major, &[]);
    let enabled = as_server_user(Command::new(server.bin("pg_checksums")).args(["--enable", "--no-sync", "-D"]))
        .arg(server.data_dir())
        .current_dir("/")
        .output()
        .unwrap();
    // The newest majors have them from the start.
    assert!(enabled.status.success() || text(&enabled).contains("already enabled"), "{}", text(&enabled));
    server.restart();
    server
}

/// Changes a byte of a table's third page on disk; gives the file's path below the data directory, and the block.
pub fn damage(server: &Server) -> (String, u64) {
    server.psql("postgres", "CREATE TABLE t AS SELECT n, repeat('x', 500) AS x FROM generate_series(1, 1000) AS n");
    let path = server.psql("postgres", "SELECT pg_relation_filepath('t')");
    server.stop(false);
    let file = std::fs::OpenOptions::new().read(true).write(true).open(server.data_dir().join(&path)).unwrap();
    let mut byte = [0; 1];
    file.read_exact_at(&mut byte, 2 * 8192 + 5000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 2 * 8192 + 5000).unwrap();
    server.restart();
    (path, 2)
}

#[test]
fn f65_a_damaged_page_is_named_and_the_backup_kept() {
    for major in majors() {
        let server = with_checksums(major);
        let (file, block) = damage(&server);
        let taken = Taken::attempt(&server, &["--with-wal"]);
        let said = text(&taken.output);
        assert_eq!(taken.code(), Some(65), "{said}");
        assert!(said.contains(&format!("warning: {file}, block {block}: the page's checksum is wrong")), "{said}");
        assert_eq!((taken.base().damaged_pages, taken.base().page_checksums), (1, true));
        taken.proved();
        pg_verifybackup(&server, &[], &taken.unpack());
    }
}

#[test]
fn every_page_of_a_sound_cluster_is_good() {
    for major in majors() {
        let server = with_checksums(major);
        server.psql(
            "postgres",
            "CREATE TABLE t AS SELECT n, random() AS x FROM generate_series(1, 500000) AS n; CREATE INDEX ON t (x); VACUUM t",
        );
        let taken = Taken::make(&server, &["--with-wal"]);
        assert_eq!((taken.base().damaged_pages, text(&taken.output)), (0, String::new()));
    }
}

#[test]
fn sockets_are_left_out_in_silence_and_other_oddities_are_named() {
    let server = Server::start(majors()[0]);
    let socket = server.data_dir().join(".s.PGSQL.6543");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let taken = Taken::make(&server, &["--with-wal"]);
    assert_eq!(text(&taken.output), "");
    assert!(socket.exists() && !taken.unpack().join(".s.PGSQL.6543").exists());
    let fifo = server.data_dir().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let taken = Taken::make(&server, &["--with-wal"]);
    let said = format!("dr-base: warning: {} is left out: neither a file nor a directory\n", fifo.display());
    assert_eq!(text(&taken.output), said);
}

#[test]
fn a_session_that_is_lost_is_a_backup_that_is_lost() {
    let server = Server::start(majors()[0]);
    let mut child = stalled(&server);
    server.psql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dr-base'");
    let (code, said, receipt) = finish(&mut child);
    assert_eq!((code, receipt), (Some(69), false), "{said}");
}

#[test]
fn a_signal_ends_it_and_its_session() {
    let server = Server::start(majors()[0]);
    let mut child = stalled(&server);
    assert!(Command::new("kill").arg(child.0.id().to_string()).status().unwrap().success());
    let (code, said, receipt) = finish(&mut child);
    assert_eq!((code, receipt), (Some(75), false), "{said}");
    wait_for("the session to go", || {
        server.psql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dr-base'") == "0"
    });
    wait_for("the slot to go", || server.psql("postgres", "SELECT count(*) FROM pg_replication_slots") == "0");
}

#[test]
fn f03_a_reader_that_goes_away_ends_it() {
    let server = Server::start(majors()[0]);
    for bytes in ["0", "1", "65536"] {
        for remote in ["", "--remote"] {
            let script = format!(
                "{} --with-wal {remote} | head -c {bytes} > /dev/null; exit ${{PIPESTATUS[0]}}",
                env!("CARGO_BIN_EXE_dr-base")
            );
            let mut command = dr_base(&server);
            let environment: Vec<_> =
                command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
            command = Command::new("bash");
            environment.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).for_each(|(name, value)| {
                command.env(name, value);
            });
            let output = command.args(["-c", &script]).output().unwrap();
            assert_eq!((output.status.code(), text(&output).lines().count()), (Some(74), 2), "{}", text(&output));
        }
    }
}

/// A backup that waits for its reader.
struct Stalled(std::process::Child, TempDir);

impl std::ops::Deref for Stalled {
    type Target = std::process::Child;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

fn stalled(server: &Server) -> Stalled {
    server.psql(
        "postgres",
        "CREATE TABLE big AS SELECT md5(n::text) || md5((n + 1)::text) AS x FROM generate_series(1, 300000) AS n",
    );
    let directory = TempDir::new_in("/tmp").unwrap();
    let mut command = dr_base(server);
    command.args(["--with-wal", "--jobs", "2"]).arg("--receipt").arg(directory.path().join("receipt"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 1]).unwrap();
    Stalled(child, directory)
}

/// Reads to the end: exit code, what was said, whether there is a receipt.
fn finish(stalled: &mut Stalled) -> (Option<i32>, String, bool) {
    let mut rest = Vec::new();
    stalled.0.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
    let mut said = String::new();
    stalled.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let code = stalled.0.wait().unwrap().code();
    (code, said, std::fs::read_to_string(stalled.1.path().join("receipt")).unwrap().contains("\"type\":\"receipt\""))
}
