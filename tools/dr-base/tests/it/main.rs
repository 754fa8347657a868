//! dr-base against real servers.
#![allow(clippy::unwrap_used, missing_docs)]

mod faults;
mod many;
mod remote;
mod restored;
mod wal;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use dr_archive::{Finished, verify};
use dr_pipe::record::{Base, Produced, Record};
use dr_testing::postgres::{Server, as_server_user, own};
use tempfile::TempDir;

/// The majors that every run covers: the oldest and the newest on the machine.
pub fn majors() -> Vec<u32> {
    let all = dr_testing::postgres::majors();
    let mut ends = vec![*all.first().expect("PostgreSQL is installed"), *all.last().unwrap()];
    ends.dedup();
    ends
}

/// Waits until `condition` holds.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waiting for {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Makes the tablespace `fast` in a directory of its own.
pub fn tablespace(server: &Server) -> TempDir {
    let disk = TempDir::new_in("/tmp").unwrap();
    own(disk.path());
    server.psql("postgres", &format!("CREATE TABLESPACE fast LOCATION '{}'", disk.path().display()));
    disk
}

/// Whether dr-base reads files here: by the last question before it does.
pub const READS_FILES: &str =
    "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'dr-base' AND query ~ 'pg_tablespace WHERE'";

/// dr-base as its user would call it for `server`.
pub fn dr_base(server: &Server) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dr-base"));
    command.envs(server.env()).env("PGDATABASE", "postgres").env("DR_PG_BINDIRS", server.bin_dir());
    command.env_remove("DR_RECEIPT").env_remove("DR_FROM").stdin(Stdio::null());
    command
}

/// A backup on disk.
pub struct Taken {
    pub directory: TempDir,
    pub output: Output,
    pub receipts: Vec<Record>,
}

impl Taken {
    /// Runs dr-base, whatever comes of it.
    pub fn attempt(server: &Server, args: &[&str]) -> Taken {
        Taken::of(dr_base(server).args(args))
    }

    /// Runs a command line of dr-base, whatever comes of it.
    pub fn of(command: &mut Command) -> Taken {
        let directory = TempDir::new_in("/tmp").unwrap();
        let file = std::fs::File::create(directory.path().join("base.tar.zst")).unwrap();
        let receipt = directory.path().join("receipt");
        let output = command.arg("--receipt").arg(&receipt).stdout(file).output().unwrap();
        let text = std::fs::read(&receipt).unwrap_or_default();
        Taken { receipts: dr_pipe::record::read(&mut &text[..]).unwrap(), output, directory }
    }

    /// Runs dr-base, which succeeds.
    pub fn make(server: &Server, args: &[&str]) -> Taken {
        let taken = Taken::attempt(server, args);
        assert!(taken.output.status.success(), "{}", text(&taken.output));
        taken
    }

    pub fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    /// What the receipt vouches for.
    pub fn produced(&self) -> Produced {
        let Some(Record::Receipt(receipt)) = self.receipts.last() else { panic!("no receipt: {}", text(&self.output)) };
        receipt.produced.clone().unwrap()
    }

    pub fn base(&self) -> Base {
        self.produced().base.unwrap()
    }

    pub fn has_receipt(&self) -> bool {
        self.receipts.iter().any(|record| matches!(record, Record::Receipt(_)))
    }

    /// Proves every byte of the archive.
    pub fn proved(&self) -> Finished {
        let file = std::fs::File::open(self.directory.path().join("base.tar.zst")).unwrap();
        let size = file.metadata().unwrap().len();
        verify(&mut &file, size, Some(&self.produced().archive.unwrap())).unwrap()
    }

    /// Unpacks it with stock tools, as a server's user would.
    pub fn unpack(&self) -> PathBuf {
        let pgdata = self.directory.path().join("data");
        std::fs::create_dir(&pgdata).unwrap();
        let script = format!("zstd -qdc {}/base.tar.zst | tar -x -C {}", self.directory.path().display(), pgdata.display());
        assert!(Command::new("bash").args(["-o", "pipefail", "-c", &script]).status().unwrap().success());
        pgdata
    }
}

/// Has PostgreSQL's own program say whether a directory is the backup that its manifest describes.
pub fn pg_verifybackup(server: &Server, args: &[&str], pgdata: &Path) {
    let output = Command::new(server.bin("pg_verifybackup")).args(args).arg(pgdata).output().unwrap();
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), text(&output));
}

/// A server of a restored data directory.
pub struct Restored {
    bin: PathBuf,
    pgdata: PathBuf,
    sockets: TempDir,
}

impl Restored {
    /// Starts it.
    pub fn start(like: &Server, pgdata: &Path) -> Restored {
        let sockets = TempDir::new_in("/tmp").unwrap();
        own(sockets.path());
        for path in [pgdata.parent().unwrap(), pgdata] {
            assert!(Command::new("chmod").arg("0711").arg(path).status().unwrap().success());
        }
        let owner = Command::new("chown").args(["-R", "--reference"]).arg(sockets.path()).arg(pgdata).status().unwrap();
        assert!(owner.success() && Command::new("chmod").arg("0700").arg(pgdata).status().unwrap().success());
        let restored = Restored { bin: like.bin_dir(), pgdata: pgdata.to_owned(), sockets };
        let options = format!("-c unix_socket_directories={} -c archive_mode=off -c port=5432", restored.sockets.path().display());
        let log = restored.sockets.path().join("log");
        let mut start = restored.pg_ctl();
        let started =
            start.args(["start", "-w", "-t", "60", "-o", &options, "-l"]).arg(&log).stdout(Stdio::null()).status().unwrap();
        assert!(started.success(), "{}", std::fs::read_to_string(log).unwrap_or_default());
        restored
    }

    pub fn psql(&self, sql: &str) -> String {
        let mut command = Command::new(self.bin.join("psql"));
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres", "-c", sql, "-h"]);
        let output = command.arg(self.sockets.path()).env("PGPORT", "5432").output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    fn pg_ctl(&self) -> Command {
        let mut command = Command::new(self.bin.join("pg_ctl"));
        as_server_user(&mut command).arg("-D").arg(&self.pgdata).current_dir("/");
        command
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        self.pg_ctl().args(["stop", "-m", "immediate"]).stdout(Stdio::null()).status().unwrap();
    }
}
