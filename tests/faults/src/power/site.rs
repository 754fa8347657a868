//! A directory of one trial: the disk, and what lies beside it and is not lost.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::disk::{Disk, Loss};
use super::ground::Ground;

/// Where tools keep what they need on their way.
#[derive(Clone, Copy, Debug)]
pub enum Kept {
    /// State, receipts and spool are beside the disk, and stay.
    Beside,
    /// They are on the disk, and are lost with it.
    OnDisk,
}

/// How a line of shell has ended.
#[derive(Debug)]
pub struct Ended {
    pub good: bool,
    pub killed: bool,
    /// Its standard output and standard error.
    pub out: String,
    pub said: String,
}

/// The disk, and what lies beside it. Both are gone when it is dropped, the disk first.
pub struct Site<'g> {
    pub ground: &'g Ground,
    pub disk: Disk,
    pub kept: Kept,
    /// Which of the streams is stored.
    pub size: usize,
    scratch: TempDir,
}

impl<'g> Site<'g> {
    /// # Errors
    /// If the file system cannot be made.
    pub fn new(ground: &'g Ground, kept: Kept, size: usize, data: &'static str) -> Result<Site<'g>, String> {
        let scratch = tempfile::Builder::new().prefix("drpower").tempdir().map_err(|error| error.to_string())?;
        let disk = Disk::new(scratch.path().join("image"), scratch.path().join("disk"), data)?;
        Ok(Site { ground, disk, kept, size, scratch })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// State, receipts and spools: `name` there.
    pub fn kept(&self, name: &str) -> PathBuf {
        match self.kept {
            Kept::Beside => self.path(name),
            Kept::OnDisk => self.path("disk").join(name),
        }
    }

    /// The bytes that are stored.
    pub fn input(&self) -> Vec<u8> {
        fs::read(self.ground.input(self.size)).expect("bytes to be stored")
    }

    pub fn lose(&self, loss: Loss) -> Result<(), String> {
        self.disk.lose(loss)
    }

    /// Runs a line of shell, in which `$TRACED` stands before the program that is killed, if one is.
    pub fn run(&self, line: &str, traced: &str) -> Ended {
        let text = |path: &Path| path.display().to_string();
        fs::create_dir_all(self.kept("tmp")).expect("a place for spools");
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.scratch.path()).env_clear().envs(self.ground.environment());
        command.env("DR_STATE", text(&self.kept("state"))).env("DR_RECEIPT", text(&self.kept("receipts")));
        command.env("TMPDIR", text(&self.kept("tmp"))).env("INPUT", text(&self.ground.input(self.size))).env("TRACED", traced);
        let output = command.stdin(Stdio::null()).output().expect("sh");
        Ended {
            good: output.status.success(),
            killed: output.status.code() == Some(128 + 9) || output.status.signal() == Some(9),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// As [`Site::run`], of what must succeed; gives its standard output.
    ///
    /// # Errors
    /// What it said, if it has not.
    pub fn must(&self, line: &str) -> Result<String, String> {
        let ended = self.run(line, "");
        if ended.good { Ok(ended.out) } else { Err(format!("{line}: {}", ended.said)) }
    }

    /// All files of the store, as keys, without temporary ones.
    pub fn objects(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.path("disk/store"), "", &mut found);
        found.sort_unstable();
        found
    }
}

fn collect(directory: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), &format!("{name}/"), found);
        } else if !entry.file_name().to_string_lossy().starts_with(".tmp-") {
            found.push(name);
        }
    }
}
