//! A host as dr-doctor finds it: keys, settings, a store, and what was found.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dr_pipe::record::{self, Check, Record, State};
use tempfile::TempDir;

pub const RECIPIENTS: [&str; 2] = [
    "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa",
    "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
];

/// A directory with all that a host that backs up has.
pub struct Host(pub TempDir);

/// What a call has come to.
pub struct Found {
    pub code: i32,
    pub checks: Vec<Check>,
    pub said: String,
}

impl Host {
    pub fn new() -> Host {
        let directory = tempfile::tempdir().unwrap();
        let host = Host(directory);
        host.write("recipients", &(RECIPIENTS.join("\n") + "\n"), 0o644);
        host.sign("main");
        fs::create_dir(host.path("state")).unwrap();
        fs::create_dir(host.path("home")).unwrap();
        fs::create_dir(host.path("store")).unwrap();
        host
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        chmod(&path, mode);
        path
    }

    /// Makes a pair of keys that sign.
    pub fn sign(&self, name: &str) {
        let (public, secret) = (self.path(&format!("{name}.pub")), self.path(&format!("{name}.key")));
        let mut minisign = Command::new("minisign");
        let made = minisign.args(["-GW", "-p"]).arg(public).arg("-s").arg(&secret).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        chmod(&secret, 0o600);
    }

    /// dr-doctor, with nothing set but where it may keep things.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dr-doctor"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", self.path("home")).env("DR_STATE", self.path("state")).args(["--cluster", "main", "--json"]);
        command
    }

    /// dr-doctor on a host that stores into `to`, for one check.
    pub fn backing_up(&self, to: &str, check: &str) -> Command {
        let mut command = self.command();
        command.args(["--to", to, "--check", check, "-R"]).arg(self.path("recipients"));
        command.arg("-s").arg(self.path("main.key")).arg("--public-key").arg(self.path("main.pub"));
        command
    }

    /// The same for a store in a directory.
    pub fn checking(&self, check: &str) -> Command {
        self.backing_up(self.path("store").to_str().unwrap(), check)
    }
}

impl Found {
    /// What became of a check; the worst, where it was made of several things.
    pub fn state(&self, check: &str) -> Option<State> {
        self.of(check).map(|check| check.state).max()
    }

    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Check> {
        self.checks.iter().filter(move |check| check.check == name)
    }

    /// All that was said of a check.
    pub fn words(&self, name: &str) -> String {
        let line = |check: &Check| format!("{:?} {} ({})", check.state, check.message, check.hint.clone().unwrap_or_default());
        self.of(name).map(line).collect::<Vec<_>>().join("; ")
    }
}

pub fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Runs it; every check that is bad has a hint, and the exit code is that of the worst.
pub fn run(command: &mut Command) -> Found {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = String::from_utf8_lossy(&stderr).into_owned();
    let records = record::read(&mut BufReader::new(&stdout[..])).unwrap();
    let checks: Vec<Check> = records
        .into_iter()
        .map(|record| match record {
            Record::Check(check) => *check,
            other => panic!("{other:?}"),
        })
        .collect();
    let code = status.code().unwrap();
    assert!(checks.iter().all(|check| check.state == State::Ok || check.hint.is_some()), "{checks:#?}");
    if code <= 1 {
        assert_eq!(code == 1, checks.iter().any(|check| check.state > State::Warning), "{checks:#?} {said}");
    }
    Found { code, checks, said }
}

/// Runs it for one check, which comes to `state`, and says `part`.
pub fn finds(command: &mut Command, check: &str, state: State, part: &str) {
    let found = run(command);
    assert_eq!(found.state(check), Some(state), "{check}: {} {}", found.words(check), found.said);
    assert!(found.words(check).contains(part), "{part:?} in {}", found.words(check));
}
