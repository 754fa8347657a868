//! What does a drill prove, and what does it never pass?
#![allow(clippy::unwrap_used)]

mod steps;
mod verdict;

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use dr_pipe::record::{self, Drill, Record, Step};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

const RESTORED: &str = r#"{"type":"restored","database":"drill","backup":"main_dump_1","taken_at":"TAKEN","started_at":"2026-01-25T03:00:00Z","finished_at":"2026-01-25T03:00:01Z","duration_seconds":1.0,"proved":PROVED}"#;

/// The notes of one drill.
struct Notes(TempDir);

impl Notes {
    fn new() -> Self {
        Notes(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("notes")
    }

    fn tool(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dr-drill"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("DR_DRILL_RECORD", self.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a shell's line as a step, and gives what is seen of it.
    fn step(&self, phase: &str, name: &str, line: &str) -> Output {
        self.tool().args(["--phase", phase, name, "--", "sh", "-c", line]).output().unwrap()
    }

    /// A restore that says so, and a check.
    fn good(&self) {
        self.restored(&ago(3600), true);
        assert_eq!(self.step("check", "fingerprint", "echo equal").status.code(), Some(0));
    }

    fn restored(&self, taken_at: &str, proved: bool) {
        let record = RESTORED.replace("TAKEN", taken_at).replace("PROVED", &proved.to_string());
        assert_eq!(self.step("restore", "restore", &format!("echo '{record}'")).status.code(), Some(0));
    }

    /// The verdict: the exit code, and the record.
    fn finish(&self, arguments: &[&str]) -> (i32, Drill) {
        let output = self.finished(arguments);
        let records = record::read(&mut &output.stdout[..]).unwrap();
        let [Record::Drill(drill)] = &records[..] else { panic!("{records:?}, {}", said(&output)) };
        assert_eq!(output.status.code() == Some(0), drill.passed);
        assert_eq!(drill.issues.is_empty(), drill.passed);
        (output.status.code().unwrap(), (**drill).clone())
    }

    fn finished(&self, arguments: &[&str]) -> Output {
        let mut command = self.tool();
        command.args(["--finish", "--drill", "restore-test", "--cluster", "main"]).args(arguments).output().unwrap()
    }

    /// The steps as the verdict has them.
    fn steps(&self) -> Vec<Step> {
        self.finish(&[]).1.steps
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn ago(seconds: i64) -> String {
    (chrono::Utc::now() - chrono::TimeDelta::seconds(seconds)).to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

/// A record of a dump, or of a base, as dr-list prints it.
fn listed(name: &str, database: Option<&str>) -> String {
    let kind = if database.is_some() { "dump" } else { "base" };
    let produced = serde_json::json!({"kind": kind, "taken_at": ago(60), "suffix": "tar.zst", "database": database});
    let record = serde_json::json!({
        "type": "backup", "store": "near", "signature": "good", "format": 1, "cluster": "main", "kind": kind, "name": name,
        "object": "o", "bytes": 1, "sha256": "00".repeat(32), "taken_at": ago(60), "stored_at": ago(60), "sequence": 1,
        "recipients": [], "stores": [], "tools": [], "produced": produced
    });
    format!("echo '{record}';")
}
