//! The tools whose calls fail: what each needs before, what comes after it, and what it may say.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Output;

use crate::host::{Place, ended, said};

/// Bytes that are backed up: more than one buffer of any tool.
const BYTES: usize = 600_000;

/// A tool in its place of the pipe.
pub struct Tool {
    pub name: &'static str,
    /// What stands before its name, to set its environment.
    pub with: &'static str,
    /// From where to where, in words of the shell.
    pub from_to: &'static str,
    /// What comes before it in the pipe.
    before: &'static [&'static str],
    /// What comes after it.
    after: &'static [&'static str],
    /// The files and directories to which faults may be kept, so that they meet threads that come second to a call.
    pub paths: &'static [&'static str],
}

const RUN: &str = "dr-run -- cat bytes >plain";
const ENCRYPT: &str = "dr-encrypt <plain >encrypted";
const PUSH: &str = "dr-push <encrypted";
const SEAL: &str = "dr-seal <receipts >sealed";

/// All of them. dr-push comes twice: without a receipt file its first thread leaves more first calls to the second.
pub const TOOLS: [Tool; 4] = [
    Tool {
        name: "dr-encrypt",
        with: "",
        from_to: "<plain >encrypted",
        before: &[RUN],
        after: &[PUSH, SEAL],
        paths: &["receipts", "plain", "encrypted"],
    },
    Tool {
        name: "dr-push",
        with: "",
        from_to: "<encrypted",
        before: &[RUN, ENCRYPT],
        after: &[SEAL],
        paths: &["receipts", "encrypted", "store", "store/main", "store/main/dump"],
    },
    Tool {
        name: "dr-push",
        with: "unset DR_RECEIPT; ",
        from_to: "<encrypted >receipt",
        before: &[RUN, ENCRYPT],
        after: &[],
        paths: &["encrypted"],
    },
    Tool {
        name: "dr-seal",
        with: "",
        from_to: "<receipts >sealed",
        before: &[RUN, ENCRYPT, PUSH],
        after: &[],
        paths: &["receipts", "store", "store/main", "store/main/dump", "sealed"],
    },
];

impl Tool {
    /// Does all that comes before it.
    pub fn prepare(&self, place: &Place<'_>) -> Result<(), String> {
        place.must(&format!("head -c {BYTES} /dev/urandom >bytes"))?;
        place.must("dr-push --init")?;
        self.before.iter().try_for_each(|stage| place.must(stage).map(drop))
    }

    /// The tool in the shell, below a program that watches it.
    pub fn below(&self, watcher: &str) -> String {
        format!("{}{watcher} {} {}", self.with, self.name, self.from_to)
    }

    /// Does all that comes after it, whatever comes of that; gives the last.
    pub fn finish(&self, place: &Place<'_>) -> Option<Output> {
        self.after.iter().fold(None, |_, stage| Some(place.dash(stage)))
    }

    /// Whether it leaves something that dr-seal publishes, or is dr-seal.
    pub fn is_sealed(&self) -> bool {
        self.with.is_empty()
    }

    /// Does it again, as an operator does it without cleaning up, where there are so many backups; gives how many there are to be.
    pub fn again(&self, place: &Place<'_>, visible: usize) -> Result<usize, String> {
        let resealed = self.before.contains(&PUSH);
        let (stages, then): (&[&str], _) = if resealed { (&[SEAL], 1) } else { (&[RUN, ENCRYPT, PUSH, SEAL], visible + 1) };
        for stage in stages {
            place.must(stage).map_err(|why| format!("it does not work again: {why}"))?;
        }
        Ok(then)
    }

    /// Holds what is stored against what was given.
    pub fn proves(&self, place: &Place<'_>) -> Result<(), String> {
        if self.is_sealed() {
            place.proves()?;
            return place.must("unset DR_RECEIPT; dr-pull latest | dr-decrypt | cmp - bytes").map(drop);
        }
        let stored = place.objects(".age");
        let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        match &stored[..] {
            [object] if read(object)? == read(&place.path("encrypted"))? => Ok(()),
            _ => Err(format!("success, and other bytes are stored than were given: {stored:?}")),
        }
    }

    /// Whether a failure is one that came after all was done: the receipt could not be synced, or dr-seal's record not printed, and
    /// it said so, if it could.
    pub fn ends_late(&self, log: &str, said: &str) -> bool {
        let failed = |call: &str, file: &str| log.lines().any(|line| line.contains(call) && line.contains(file) && is_failed(line));
        if self.name != "dr-seal" {
            return failed("fsync(", "/receipts>");
        }
        failed("write(1<", "/sealed>") && (said.is_empty() || said.contains("the backup is published in "))
    }

    /// Whether it said what happened and what to do, in two lines, and nothing that only we understand.
    pub fn says(&self, said: &str) -> Result<(), String> {
        let begins = |line: &&str, what: &str| line.starts_with(&format!("{}: {what}: ", self.name));
        // The runtime says this before it aborts, which we catch.
        let others = said.lines().filter(|line| !begins(line, "warning") && !line.starts_with("memory allocation of "));
        match &others.collect::<Vec<_>>()[..] {
            [error, hint] if begins(error, "error") && begins(hint, "hint") && !error.contains("panicked") => Ok(()),
            _ => Err("it did not say what happened and what to do in two lines".into()),
        }
    }
}

/// As a shell would call it.
impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.below("").replace("  ", " "))
    }
}

/// Whether a line of strace's log is that of a call which failed; where threads take turns, the end of a line is in another.
pub fn is_failed(line: &str) -> bool {
    line.contains("(INJECTED)") || line.ends_with("<unfinished ...>")
}

/// The last of what stages said, for people.
pub fn last_words(output: Option<&Output>) -> String {
    output.map(|output| format!("{}: {}", ended(output.status), said(output))).unwrap_or_default()
}
