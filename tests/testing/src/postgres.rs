//! A real PostgreSQL server for a test: made by initdb in a scratch directory, gone again when the test ends.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The port of a server without TCP: part of its socket's name only.
const SOCKET_PORT: u16 = 5432;

/// How long a server may take to start or stop; recovery after a crash is part of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Cleans up after a test that was killed: a pipe from the test ends, whatever ended the test.
const UNDERTAKER: &str = r#"
read -r word && exit
kill -QUIT "$(head -n 1 "$1/data/postmaster.pid")" 2> /dev/null
rm -rf -- "$1""#;

/// A running server of its own data directory, reached by the Unix socket in [`Server::socket_dir`] as the superuser
/// `postgres` without a password. Dropping it stops it at once and removes all of its files.
#[derive(Debug)]
pub struct Server {
    major: u32,
    port: u16,
    directory: TempDir,
    /// Our own child, not pg_ctl's, so that it is reaped when it dies: pg_ctl takes a zombie for a running server.
    postmaster: Mutex<Option<Child>>,
    undertaker: Option<(Child, ChildStdin)>,
}

/// The major versions installed on this machine, rising: Debian's own, and those of `scripts/postgres-from-wheel`.
pub fn majors() -> Vec<u32> {
    (13..=19).filter(|major| bin_dir(*major).is_some()).collect()
}

/// The major versions that most tests run on: the oldest and the newest that are supported, or those of `DR_TEST_MAJORS` (`16,17`).
///
/// # Panics
/// Where that is no list of numbers.
pub fn usual_majors() -> Vec<u32> {
    let named = std::env::var("DR_TEST_MAJORS").unwrap_or_else(|_| "15,18".into());
    named.split(',').map(|major| major.parse().expect("DR_TEST_MAJORS has numbers, separated by commas")).collect()
}

/// Where the programs of a major version are: `${DR_TEST_POSTGRES:-/var/cache/dr/postgres}/<major>/bin`, else Debian's.
pub fn bin_dir(major: u32) -> Option<PathBuf> {
    let extra = std::env::var_os("DR_TEST_POSTGRES").map_or_else(|| "/var/cache/dr/postgres".into(), PathBuf::from);
    [extra.join(major.to_string()).join("bin"), format!("/usr/lib/postgresql/{major}/bin").into()]
        .into_iter()
        .find(|bin| bin.join("initdb").exists())
}

impl Server {
    /// Starts a server of a major version with the settings of this fixture.
    ///
    /// # Panics
    /// With the server's log, if it does not start.
    pub fn start(major: u32) -> Server {
        Server::start_with(major, &[])
    }

    /// Starts a server whose postgresql.conf ends with `settings`. One that sets `listen_addresses` gets a free TCP port.
    ///
    /// # Panics
    /// With the server's log, if it does not start.
    pub fn start_with(major: u32, settings: &[(&str, &str)]) -> Server {
        let server = Server::initialise(major, settings);
        server.restart();
        server
    }

    /// Makes a server's data directory without starting it; [`Server::restart`] does. Settings that need files (keys,
    /// certificates) can thus be given after [`Server::file`] has made them.
    ///
    /// # Panics
    /// If initdb fails, or this major is not installed.
    pub fn initialise(major: u32, settings: &[(&str, &str)]) -> Server {
        let directory = tempfile::Builder::new().prefix("drpg").tempdir_in("/tmp").expect("a scratch directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        own(directory.path());
        let undertaker = undertaker(directory.path());
        let listens = settings.iter().any(|(name, value)| *name == "listen_addresses" && !value.is_empty());
        let port = if listens { free_port() } else { SOCKET_PORT };
        let server = Server { major, port, directory, postmaster: Mutex::new(None), undertaker: Some(undertaker) };
        let words = ["--no-sync", "--username=postgres", "--auth=trust", "--locale=C.UTF-8", "--encoding=UTF8", "--pgdata"];
        server.run(server.as_owner("initdb").args(words).arg(server.data_dir()));
        server.configure(&[
            ("listen_addresses", ""),
            ("unix_socket_directories", &server.socket_dir().display().to_string()),
            ("port", &port.to_string()),
            ("fsync", "off"),
            ("max_connections", "50"),
            ("shared_buffers", "32MB"),
            ("log_min_messages", "info"),
        ]);
        server.configure(settings);
        server
    }

    /// Appends settings to postgresql.conf; they hold from the next [`Server::reload`] or [`Server::restart`].
    pub fn configure(&self, settings: &[(&str, &str)]) {
        let mut file = fs::OpenOptions::new().append(true).open(self.data_dir().join("postgresql.conf")).expect("postgresql.conf");
        for (name, value) in settings {
            writeln!(file, "{name} = '{}'", value.replace('\'', "''")).expect("a setting");
        }
    }

    /// Replaces pg_hba.conf by `lines`, and has a running server read it.
    pub fn authenticate(&self, lines: &[&str]) {
        fs::write(self.data_dir().join("pg_hba.conf"), lines.join("\n") + "\n").expect("pg_hba.conf");
        if self.is_running() {
            self.reload();
        }
    }

    /// Writes a file beside the data directory that only the server's user can read, and says where it is.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
        own(&path);
        path
    }

    /// Starts the server, stopping it first if it runs (all sessions are cut off, what is committed is kept).
    ///
    /// # Panics
    /// With the server's log, if it does not start within a minute.
    pub fn restart(&self) {
        self.stop(false);
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_file()).expect("the log");
        let child = self.as_owner("postgres").arg("-D").arg(self.data_dir()).stderr(log).spawn().expect("postgres");
        *self.postmaster() = Some(child);
        self.poll("start", |server| {
            assert!(server.is_running(), "PostgreSQL {} did not start:\n{}", server.major, server.log());
            server.is_ready()
        });
    }

    /// Has the server read its configuration files again: they hold for every later connection.
    pub fn reload(&self) {
        let reloads = |server: &Server| server.log().matches("received SIGHUP").count();
        let before = reloads(self);
        self.signal("HUP", &self.pids()[..1]);
        // The postmaster says so first, then reads, and takes no connection in between.
        self.poll("reload", |server| reloads(server) > before);
    }

    /// Stops the server if it runs, and waits until it is gone; `immediate` is a crash that needs recovery, else it is a fast
    /// shutdown.
    pub fn stop(&self, immediate: bool) {
        if let [postmaster, ..] = self.pids()[..] {
            self.signal(if immediate { "QUIT" } else { "INT" }, &[postmaster]);
            self.poll("stop", |server| !server.is_running());
        }
    }

    /// Kills the server and everything it started with SIGKILL: what a power cut looks like to a client.
    pub fn kill(&self) {
        self.signal("KILL", &self.pids());
        self.poll("die", |server| !server.is_running());
    }

    /// The process ids of the postmaster (first) and all that it started; none if it does not run.
    pub fn pids(&self) -> Vec<u32> {
        if !self.is_running() {
            return Vec::new();
        }
        let Some(postmaster) = self.postmaster().as_ref().map(Child::id) else { return Vec::new() };
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap_or_default();
        std::iter::once(postmaster).chain(children.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }

    /// Whether the postmaster lives.
    pub fn is_running(&self) -> bool {
        self.postmaster().as_mut().is_some_and(|child| child.try_wait().expect("our own child").is_none())
    }

    /// The major version, as 18.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The TCP port of a server that listens on one; else 5432, part of the socket's name.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of the Unix socket, short enough for its 107 bytes: what `PGHOST` takes.
    pub fn socket_dir(&self) -> &Path {
        self.directory.path()
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// All that the server has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// A program of this server's own version, as `pg_dump`.
    pub fn bin(&self, tool: &str) -> PathBuf {
        bin_dir(self.major).expect("installed").join(tool)
    }

    /// The directory of this server's own programs.
    pub fn bin_dir(&self) -> PathBuf {
        bin_dir(self.major).expect("installed")
    }

    /// The `PG…` variables by which any libpq client reaches this server.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        vec![("PGHOST", self.socket_dir().display().to_string()), ("PGPORT", self.port.to_string()), ("PGUSER", "postgres".into())]
    }

    /// A connection string for one of its databases; `database` has neither quotes nor spaces.
    pub fn conninfo(&self, database: &str) -> String {
        format!("host={} port={} user=postgres dbname={database}", self.socket_dir().display(), self.port)
    }

    /// Runs SQL in a database with psql (meta-commands too), and returns its rows as `psql -At` prints them, without the last
    /// line break.
    ///
    /// # Panics
    /// With psql's words, if any statement fails.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        self.try_psql(database, sql).unwrap_or_else(|error| panic!("psql {database}: {error}\n{sql}"))
    }

    /// As [`Server::psql`], but returns what psql says on stderr if a statement fails.
    ///
    /// # Errors
    /// What psql said.
    pub fn try_psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut command = Command::new(self.bin("psql"));
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-f", "-", "-d", &self.conninfo(database)]);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8").env("PGCLIENTENCODING", "UTF8");
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("psql is installed");
        let mut stdin = child.stdin.take().expect("piped");
        let (written, output) = std::thread::scope(|scope| {
            let writer = scope.spawn(move || stdin.write_all(sql.as_bytes()));
            let output = child.wait_with_output().expect("psql's output");
            (writer.join().expect("no panic"), output)
        });
        if !output.status.success() || written.is_err() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.ends_with('\n') {
            text.pop();
        }
        Ok(text)
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn postmaster(&self) -> MutexGuard<'_, Option<Child>> {
        self.postmaster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this postmaster (not one killed before, whose file is still there) says that it takes connections.
    fn is_ready(&self) -> bool {
        let file = fs::read_to_string(self.data_dir().join("postmaster.pid")).unwrap_or_default();
        let mut lines = file.lines();
        let pid = lines.next().and_then(|line| line.parse().ok());
        pid == self.postmaster().as_ref().map(Child::id) && lines.nth(6).is_some_and(|status| status.trim() == "ready")
    }

    /// Some of the processes may have ended by themselves meanwhile: whoever signals waits for what it does.
    fn signal(&self, name: &str, pids: &[u32]) {
        let mut kill = Command::new("kill");
        kill.arg(format!("-{name}")).args(pids.iter().map(u32::to_string)).stderr(Stdio::null());
        kill.status().unwrap_or_else(|error| panic!("{kill:?}: {error}"));
    }

    fn poll(&self, what: &str, mut condition: impl FnMut(&Server) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "PostgreSQL {} does not {what}:\n{}", self.major, self.log());
            #[expect(clippy::disallowed_methods, reason = "the condition above is polled until a deadline")]
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A program of this version as the user that may run a server, with nothing of the test's environment.
    fn as_owner(&self, tool: &str) -> Command {
        let bin = bin_dir(self.major).unwrap_or_else(|| panic!("PostgreSQL {} is not installed: run scripts/setup", self.major));
        let mut command = Command::new(bin.join(tool));
        if let Some((uid, gid)) = owner() {
            command.uid(uid).gid(gid);
        }
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8").env("TZ", "UTC").current_dir("/tmp");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn run(&self, command: &mut Command) {
        let output = command.stderr(Stdio::piped()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(output.status.success(), "{command:?}: {}\n{}", String::from_utf8_lossy(&output.stderr), self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Never panics, as it may run while a test is panicking already; what stays behind is the undertaker's.
        if let Some(mut postmaster) = self.postmaster().take() {
            drop(Command::new("kill").args(["-QUIT", &postmaster.id().to_string()]).stderr(Stdio::null()).status());
            drop(postmaster.wait());
        }
        if let Some((mut child, mut stdin)) = self.undertaker.take() {
            drop(stdin.write_all(b"done\n"));
            drop(stdin);
            drop(child.wait());
        }
    }
}

/// A free TCP port on the loopback interface, as far as one can know.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn undertaker(directory: &Path) -> (Child, ChildStdin) {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", UNDERTAKER, "sh"]).arg(directory);
    // A group of its own: an interrupt at the terminal must not end it before its work.
    let mut child = command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh");
    let stdin = child.stdin.take().expect("piped");
    (child, stdin)
}

/// Has a command run as the user that runs the servers: another one only where the tests run as root.
pub fn as_server_user(command: &mut Command) -> &mut Command {
    if let Some((uid, gid)) = owner() {
        command.uid(uid).gid(gid);
    }
    command
}

/// Gives a file or directory to the user that runs the servers.
///
/// # Panics
/// If it is not there.
pub fn own(path: &Path) {
    if let Some((uid, gid)) = owner() {
        chown(path, Some(uid), Some(gid)).expect("root may chown");
    }
}

/// The user that runs the server when the tests run as root, which PostgreSQL refuses.
fn owner() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let line = passwd.lines().find(|line| line.starts_with("postgres:")).expect("a user postgres: run scripts/setup");
    let mut ids = line.split(':').skip(2).map(|id| id.parse::<u32>().expect("a number"));
    Some((ids.next().expect("a uid"), ids.next().expect("a gid")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_15_and_18_start_answer_restart_and_leave_nothing() {
        assert!(majors().contains(&15) && majors().contains(&18), "run scripts/setup");
        for major in majors() {
            let server = Server::start(major);
            assert!(server.psql("postgres", "SHOW server_version").starts_with(&major.to_string()));
            server.psql("postgres", "CREATE TABLE t AS SELECT 'é' AS x");
            server.stop(true);
            assert!(server.pids().is_empty());
            server.restart();
            server.kill();
            assert!(server.try_psql("postgres", "SELECT 1").is_err());
            server.restart();
            assert_eq!(server.psql("postgres", "TABLE t"), "é");
            let directory = server.socket_dir().to_owned();
            let pids = server.pids();
            drop(server);
            assert!(!directory.exists());
            assert!(pids.iter().all(|pid| !Path::new("/proc").join(pid.to_string()).exists()));
        }
    }
}
