//! dr-dump against real servers.
#![allow(clippy::unwrap_used, missing_docs)]

mod choice;
mod contents;
mod faults;
mod moment;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use dr_testing::postgres::Server;
use tempfile::TempDir;

/// The majors that every run covers: the oldest and the newest on the machine.
pub fn majors() -> Vec<u32> {
    let all = dr_testing::postgres::majors();
    let mut ends = vec![*all.first().expect("PostgreSQL is installed"), *all.last().unwrap()];
    ends.dedup();
    ends
}

/// dr-dump as its user would call it for `server`.
pub fn dr_dump(server: &Server) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dr-dump"));
    command.envs(server.env()).env("DR_PG_BINDIRS", server.bin_dir()).env_remove("DR_RECEIPT").stdin(Stdio::null());
    command
}

/// A dump on disk, unpacked by stock tools.
pub struct Dump {
    pub directory: TempDir,
    pub receipt: String,
}

impl Dump {
    /// Runs dr-dump and unpacks what it wrote with `zstd -d | tar -x`.
    pub fn make(server: &Server, args: &[&str]) -> Dump {
        let directory = TempDir::new().unwrap();
        let archive = directory.path().join("dump.tar.zst");
        let receipt = directory.path().join("receipt");
        let file = std::fs::File::create(&archive).unwrap();
        let output = dr_dump(server).args(args).arg("--receipt").arg(&receipt).stdout(file).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let unpack = format!("zstd -qdc {0}/dump.tar.zst | tar -x -C {0}", directory.path().display());
        assert!(Command::new("bash").args(["-o", "pipefail", "-c", &unpack]).status().unwrap().success());
        Dump { receipt: std::fs::read_to_string(receipt).unwrap(), directory }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Paths of all pieces, relative to the dump.
    pub fn pieces(&self, folder: &str) -> Vec<String> {
        let list = |suffix: &str| {
            let script = format!("cd {} && find {folder} -name '*.{suffix}' 2>/dev/null | sort", self.directory.path().display());
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
        };
        [list("copy"), list("bin")].concat()
    }
}

/// Both lines a tool said, for assertions.
pub fn text(output: &Output) -> String {
    format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr))
}

/// Loads a file of the samples.
pub fn load(server: &Server, database: &str, sample: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sample").join(sample);
    server.psql(database, &std::fs::read_to_string(path).unwrap());
}
