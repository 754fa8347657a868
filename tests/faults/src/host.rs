//! A host that backs up, as an operator sets it up: its keys, and for each seed a store, a state and receipts of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

use dr_testing::programs;
use tempfile::TempDir;

/// What is run. Links to them stay what they are while others build.
const TOOLS: [&str; 9] = ["dr-dump", "dr-run", "dr-encrypt", "dr-push", "dr-seal", "dr-list", "dr-verify", "dr-pull", "dr-decrypt"];

/// How long anything may take that meets no fault or was killed, in seconds: so long only where it hangs.
const PATIENCE: &str = "120";

/// Keys, programs and settings that all seeds share.
pub struct Host {
    keys: TempDir,
    _bin: TempDir,
    /// Where programs are.
    path: String,
    settings: Vec<(&'static str, String)>,
}

impl Host {
    /// Makes the keys. The `settings` go to every program, and `programs` before the system's own.
    ///
    /// # Panics
    /// If that fails.
    pub fn new(programs: Option<&Path>, settings: Vec<(&'static str, String)>) -> Host {
        let keys = scratch("drkeys");
        let built = std::env::current_exe().expect("we run").parent().expect("a directory").to_owned();
        let bin = programs::reachable(&built, &TOOLS);
        let ours = std::env::var("PATH").unwrap_or_default();
        let before = programs.map(|directory| format!("{}:", directory.display())).unwrap_or_default();
        let path = format!("{}:{before}{ours}", bin.path().display());
        let host = Host { keys, _bin: bin, path, settings };
        let script =
            "age-keygen -o identity 2>log && age-keygen -y identity >recipients && minisign -GW -p signs.pub -s signs.key >log";
        let made = host.command("dash", host.keys.path()).args(["-c", script]).output().expect("dash");
        assert!(made.status.success(), "{script}: {}", said(&made));
        host
    }

    /// A key's file.
    pub fn key(&self, name: &str) -> PathBuf {
        self.keys.path().join(name)
    }

    fn command(&self, program: &str, directory: &Path) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", PATIENCE, program]).current_dir(directory).stdin(Stdio::null());
        // What a killed tool leaves goes with its seed.
        command
            .env_clear()
            .env("PATH", &self.path)
            .env("TMPDIR", directory)
            .envs(self.settings.iter().map(|(name, value)| (*name, value)));
        command
    }

    /// A place that has nothing yet, not even a store.
    pub fn place(&self) -> Place<'_> {
        Place { host: self, directory: scratch("drplace") }
    }
}

/// A store, a state and receipts; all gone when it is dropped.
pub struct Place<'h> {
    host: &'h Host,
    directory: TempDir,
}

impl Place<'_> {
    /// A file or directory in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A program as the host's user would call it. It is killed after [`PATIENCE`].
    pub fn command(&self, program: &str) -> Command {
        let text = |path: PathBuf| path.display().to_string();
        let mut command = self.host.command(program, self.directory.path());
        command.envs([
            ("DR_CLUSTER", "main".into()),
            ("DR_TO", text(self.path("store"))),
            ("DR_FROM", text(self.path("store"))),
            ("DR_STATE", text(self.path("state"))),
            ("DR_RECEIPT", text(self.path("receipts"))),
            ("DR_RECIPIENTS", text(self.host.key("recipients"))),
            ("DR_SIGNING_KEY", text(self.host.key("signs.key"))),
            ("DR_PUBLIC_KEY", text(self.host.key("signs.pub"))),
            ("DR_IDENTITY", text(self.host.key("identity"))),
            ("DR_SINGLE_RECIPIENT", "1".into()),
        ]);
        command
    }

    /// Runs a script in the shell that has no pipefail.
    pub fn dash(&self, script: &str) -> Output {
        self.command("dash").args(["-c", script]).output().expect("dash")
    }

    /// Runs a script that has to succeed.
    ///
    /// # Errors
    /// What it said.
    pub fn must(&self, script: &str) -> Result<Output, String> {
        let output = self.dash(script);
        if output.status.success() {
            return Ok(output);
        }
        Err(format!("{script}: {}: {}", ended(output.status), said(&output)))
    }

    /// The records of the backups that anybody sees who has the public key. What dr-list says is held against the files' names.
    ///
    /// # Errors
    /// Where the catalogue cannot be read, or something in it is not good.
    pub fn visible(&self) -> Result<Vec<String>, String> {
        let manifests = self.objects(".json");
        if !self.path("store/dr-store.json").exists() {
            // dr-list refuses what is no store yet.
            return if manifests.is_empty() { Ok(Vec::new()) } else { Err(format!("{manifests:?} in what is no store")) };
        }
        let listed = self.must("dr-list --json")?;
        let records: Vec<_> = String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect();
        if records.len() != manifests.len() || !records.iter().all(|record| record.contains("\"signature\":\"good\"")) {
            return Err(format!("dr-list shows {records:?}, and the store holds {manifests:?}"));
        }
        Ok(records)
    }

    /// Proves the newest backup by all that it holds.
    ///
    /// # Errors
    /// What dr-verify finds.
    pub fn proves(&self) -> Result<(), String> {
        let verified = self.must("dr-verify latest --json")?;
        let record = String::from_utf8_lossy(&verified.stdout);
        if record.contains("\"good\":true") { Ok(()) } else { Err(format!("dr-verify: {record}")) }
    }

    /// The files of the cluster's dumps whose name ends so.
    pub fn objects(&self, end: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("store/main/dump")).into_iter().flatten();
        let paths = entries.map(|entry| entry.expect("an entry of a directory").path());
        paths.filter(|path| path.file_name().is_some_and(|name| is_object(&name.to_string_lossy(), end))).collect()
    }
}

/// Whether a name is that of an object, and no temporary one's.
fn is_object(name: &str, end: &str) -> bool {
    name.ends_with(end) && !name.starts_with('.')
}

/// A directory of this campaign's own.
fn scratch(prefix: &str) -> TempDir {
    tempfile::Builder::new().prefix(prefix).tempdir_in("/tmp").expect("a scratch directory")
}

/// What a program said on standard error.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim_end().to_owned()
}

/// How a program ended, in words.
pub fn ended(status: ExitStatus) -> String {
    status.code().map_or_else(|| status.to_string(), |code| format!("code {code}"))
}
