//! Running dr-push in a world of its own.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A scratch directory with a state and a store.
pub struct World {
    scratch: tempfile::TempDir,
}

impl World {
    pub fn new() -> World {
        World { scratch: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub fn store(&self) -> String {
        self.path("store").to_str().unwrap().into()
    }

    /// dr-push of cluster `main` with nothing of this machine's settings.
    pub fn push(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dr-push"));
        self.settle(&mut command);
        command
    }

    /// A line of shell in which `dr-push` is ours.
    pub fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        self.settle(&mut command);
        command
    }

    fn settle(&self, command: &mut Command) {
        let bin = Path::new(env!("CARGO_BIN_EXE_dr-push")).parent().unwrap().display().to_string();
        command.env_clear().env("PATH", format!("{bin}:/usr/bin:/bin:/usr/sbin:/sbin")).env("HOME", self.scratch.path());
        command.env("DR_STATE", self.path("state")).env("DR_CLUSTER", "main").env("STORE", self.store());
    }

    /// Every file below the store but its marker, as `path mode`, sorted.
    pub fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        collect(&self.path("store"), "", &mut files);
        files.sort_unstable();
        files
    }

    /// The one object in the store.
    pub fn object(&self) -> Vec<u8> {
        let files = self.files();
        assert_eq!(files.len(), 1, "{files:?}");
        fs::read(self.path("store").join(files[0].rsplit_once(' ').unwrap().0)).unwrap()
    }
}

fn collect(directory: &Path, prefix: &str, files: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.map(Result::unwrap) {
        let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            assert_eq!(metadata.permissions().mode() & 0o7777, 0o700, "{name}");
            collect(&entry.path(), &format!("{name}/"), files);
        } else if name != "dr-store.json" {
            files.push(format!("{name} {:o}", metadata.permissions().mode() & 0o7777));
        }
    }
}

/// Its stderr, after its exit code was found to be `code`; without what every push without a receipt file says.
pub fn stderr_of(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    stderr.split_inclusive('\n').filter(|line| !line.starts_with(UNSEALABLE)).collect()
}

/// How the warning begins that no receipt file was named.
pub const UNSEALABLE: &str = "dr-push: warning: without a receipt file (DR_RECEIPT) nothing can seal main/";

/// Waits until something holds, for a minute at most.
pub fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} within a minute");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
