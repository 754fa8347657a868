//! A server, a scratch directory, and the tools run as an operator would run them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use dr_testing::postgres::Server;
use tempfile::TempDir;

/// A server and a place for files.
pub struct Place {
    pub server: Server,
    pub dir: TempDir,
}

/// What a tool did.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ran {
    /// The tool must have ended with `code`; gives what it said on stderr.
    #[track_caller]
    pub fn ends(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        &self.stderr
    }

    /// The only record it wrote.
    #[track_caller]
    pub fn record(&self) -> serde_json::Value {
        self.ends(0);
        serde_json::from_slice(&self.stdout).expect("one record")
    }
}

impl Place {
    pub fn new(major: u32) -> Place {
        Place { server: Server::start(major), dir: TempDir::new().expect("a scratch directory") }
    }

    /// Another server, same files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// dr-restore, pointed at the server. Clients of 18 here may have known flaws, so dumps are trusted unless a test says otherwise.
    pub fn restore(&self, args: &[&str]) -> Command {
        let mut command = self.tool(Path::new(env!("CARGO_BIN_EXE_dr-restore")));
        command.env("DR_TRUST_ARCHIVE", "true").args(args);
        command
    }

    /// A program of dr or PostgreSQL with nothing of the test's environment but the way to the server.
    pub fn tool(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8").env("TMPDIR", self.dir.path());
        command.env("DR_STATE", self.path("state")).env("DR_PG_BINDIRS", self.server.bin_dir()).env("HOME", self.dir.path());
        command.envs(self.server.env()).stdin(Stdio::null());
        command
    }

    /// `pg_dump` with these arguments.
    pub fn pg_dump(&self, args: &[&str]) -> Vec<u8> {
        let ran = run(self.tool(&self.server.bin("pg_dump")).args(args), b"");
        ran.ends(0);
        ran.stdout
    }

    /// The definitions of a database, without the keys that differ from dump to dump.
    pub fn definitions(&self, database: &str) -> String {
        let text = String::from_utf8(self.pg_dump(&["--schema-only", "--encoding=UTF8", database])).expect("UTF-8");
        text.lines()
            .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The archive that dr-dump makes of a database.
    pub fn dr_dump(&self, args: &[&str]) -> Vec<u8> {
        let program = Path::new(env!("CARGO_BIN_EXE_dr-restore")).with_file_name("dr-dump");
        assert!(program.exists(), "build dr-dump first: cargo build -p dr-dump");
        let ran = run(self.tool(&program).args(args), b"");
        ran.ends(0);
        ran.stdout
    }

    /// Names of databases like `pattern`, one per line.
    pub fn databases(&self, pattern: &str) -> String {
        self.server.psql("postgres", &format!("SELECT datname FROM pg_database WHERE datname LIKE '{pattern}' ORDER BY 1"))
    }

    /// Writes a file.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).expect("a file");
        path.display().to_string()
    }

    /// A directory with a program that claims to be of this version of PostgreSQL.
    pub fn stub(&self, program: &str, version: &str) -> PathBuf {
        let directory = self.path("stubs");
        fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join(program);
        fs::write(&path, format!("#!/bin/sh\necho '{program} (PostgreSQL) {version}'\n")).expect("a stub");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
        directory
    }
}

/// Runs a program to its end with `input` on its standard input.
pub fn run(command: &mut Command, input: &[u8]) -> Ran {
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be run");
    let stdin = child.stdin.take();
    let output = std::thread::scope(|scope| {
        // A program that fails early does not read all of it.
        scope.spawn(|| stdin.map(|mut stdin| drop(stdin.write_all(input))));
        child.wait_with_output().expect("its output")
    });
    Ran { code: output.status.code(), stdout: output.stdout, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
}

/// The hotel sample with some thousand rows, loaded into the database `hotel`.
pub fn hotel(server: &Server) {
    static SCRIPT: OnceLock<String> = OnceLock::new();
    let script = SCRIPT.get_or_init(|| {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sample/hotel");
        let mut files: Vec<_> = fs::read_dir(sample).expect("the sample").map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        let parts: Vec<_> = files.iter().map(|file| fs::read_to_string(file).expect("a script")).collect();
        format!("\\set rows 4000\n{}", parts.concat())
    });
    server.psql("postgres", "CREATE DATABASE hotel TEMPLATE template0");
    server.psql("hotel", script);
}
